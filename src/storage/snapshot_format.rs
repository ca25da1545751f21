//! The bytes of a snapshot's file.
//!
//! A snapshot stands in for the log up to its index, so damage in it is as bad as damage in all of
//! that log; and it travels, byte for byte, from one node's disk to another's. So whoever reads one
//! must be able to tell, from the bytes alone, that they are all there, in order, and those of this
//! cluster's snapshot of this index.
//!
//! ```text
//! <index>-<term>.snap = header, part*, end            (the name: 20 digits each)
//! header = magic · version · length · cluster · index · term · bytes of configuration
//!          8       u32       u32      u64       u64     u64    u32
//!        · configuration · CRC32C
//!                          u32
//! part   = length · CRC32C · payload                  (1 byte to 1 MiB of payload)
//!          u32      u32
//! end    = ff ff ff ff · CRC32C · parts · bytes of payload · CRC32C of all before the end
//!          u32           u32      u64     u64                u32
//! ```
//!
//! All numbers are little-endian. `length` in the header is that of the whole header. The CRC of a
//! part and of the end covers all of it but itself, and is salted with cluster, index, term and its
//! offset in the file: a part is valid in one place of one snapshot only. So a part can be read
//! and trusted on its own, which is how a state machine takes a snapshot in without holding all of
//! it; a part that is missing, repeated or out of place is noticed; and the end tells a file that
//! was cut from one that is whole. Nothing may follow the end.
//!
//! What the payloads mean is the state machine's business. The file names no node on purpose.
//!
//! The CRCs find rot and accidents. They are no defence against a peer that lies: a peer that may
//! send snapshots is trusted (the Byzantine mode will have to sign them).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::codec;
use crate::consensus::SnapshotMark;
use crate::types::{ClusterId, LogIndex, Term};

/// The format that this program writes, and the newest that it knows.
pub const SNAPSHOT_VERSION: u32 = 1;
/// The snapshot that is being taken, until it has its name.
pub const TAKING_FILE: &str = "snapshot.tmp";
/// The snapshot that is being received, until it has its name.
pub const RECEIVING_FILE: &str = "received.tmp";
/// Bytes of payload in one part at most.
pub const MAX_PART: usize = 1 << 20;
/// Bytes of a part before its payload.
pub const PART_HEADER_LEN: usize = 8;
/// Bytes of the end.
pub const END_LEN: usize = 28;
/// Bytes of a header at most; the configuration is what makes it long.
pub const MAX_SNAPSHOT_HEADER: usize = 1 << 20;

const MAGIC: [u8; 8] = *b"KVRAFTSN";
/// Bytes of the header before the configuration.
const FIXED_LEN: usize = 44;
const END_MARK: u32 = u32::MAX;
const SUFFIX: &str = ".snap";

/// The name of the snapshot that covers the log up to entry `index` of `term`.
pub fn snapshot_name(index: LogIndex, term: Term) -> String {
    format!("{:020}-{:020}{SUFFIX}", index.0, term.0)
}

/// Index and term of the snapshot called `name`: `None` if the name does not end like a
/// snapshot's, an error if it does and is not one.
pub fn parse_snapshot_name(name: &str) -> Option<Result<(LogIndex, Term), &'static str>> {
    let stem = name.strip_suffix(SUFFIX)?;
    let parsed = super::format::two_numbers(stem).map(|(i, t)| (LogIndex(i), Term(t)));
    Some(parsed.ok_or("a snapshot's name is two numbers of 20 digits"))
}

/// What makes the checksums of one snapshot its own.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotSalt(u32);

impl SnapshotSalt {
    pub fn new(cluster: ClusterId, index: LogIndex, term: Term) -> SnapshotSalt {
        let crc = crc32c::crc32c(&cluster.0.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &index.0.to_le_bytes());
        SnapshotSalt(crc32c::crc32c_append(crc, &term.0.to_le_bytes()))
    }

    /// The checksum of a part or the end at `offset`: of its first word, and of what follows the
    /// checksum itself.
    fn crc(self, offset: u64, first: u32, rest: &[u8]) -> u32 {
        let crc = crc32c::crc32c_append(self.0, &offset.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &first.to_le_bytes());
        crc32c::crc32c_append(crc, rest)
    }
}

/// Writes a snapshot, piece by piece.
pub struct SnapshotEncoder {
    salt: SnapshotSalt,
    /// Bytes so far.
    offset: u64,
    parts: u64,
    payload: u64,
    /// Over all bytes so far.
    crc: u32,
}

impl SnapshotEncoder {
    /// Begins a snapshot; also its first bytes.
    pub fn begin(cluster: ClusterId, mark: &SnapshotMark) -> (SnapshotEncoder, Bytes) {
        let configuration = codec::encode_configuration(&mark.configuration);
        let length = FIXED_LEN + configuration.len() + 4;
        let mut out = BytesMut::with_capacity(length);
        out.put_slice(&MAGIC);
        out.put_u32_le(SNAPSHOT_VERSION);
        out.put_u32_le(length as u32);
        out.put_u64_le(cluster.0);
        out.put_u64_le(mark.index.0);
        out.put_u64_le(mark.term.0);
        out.put_u32_le(configuration.len() as u32);
        out.put_slice(&configuration);
        let crc = crc32c::crc32c(&out);
        out.put_u32_le(crc);
        let salt = SnapshotSalt::new(cluster, mark.index, mark.term);
        let crc = crc32c::crc32c(&out);
        let offset = out.len() as u64;
        (SnapshotEncoder { salt, offset, parts: 0, payload: 0, crc }, out.freeze())
    }

    /// Bytes so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The bytes of the next part.
    ///
    /// # Panics
    /// If it is empty or longer than [`MAX_PART`]: a mistake of the caller.
    pub fn part(&mut self, payload: &[u8]) -> Bytes {
        let length = payload.len();
        assert!(length > 0 && length <= MAX_PART, "a part of {length} bytes");
        let mut out = BytesMut::with_capacity(PART_HEADER_LEN + length);
        out.put_u32_le(length as u32);
        out.put_u32_le(self.salt.crc(self.offset, length as u32, payload));
        out.put_slice(payload);
        self.parts += 1;
        self.payload += length as u64;
        self.crc = crc32c::crc32c_append(self.crc, &out);
        self.offset += out.len() as u64;
        out.freeze()
    }

    /// The last bytes.
    pub fn end(&mut self) -> Bytes {
        let mut rest = BytesMut::with_capacity(END_LEN);
        rest.put_u64_le(self.parts);
        rest.put_u64_le(self.payload);
        rest.put_u32_le(self.crc);
        let mut out = BytesMut::with_capacity(END_LEN);
        out.put_u32_le(END_MARK);
        out.put_u32_le(self.salt.crc(self.offset, END_MARK, &rest));
        out.put_slice(&rest);
        self.offset += out.len() as u64;
        out.freeze()
    }
}

/// Where a snapshot is not what it should be, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotDamage {
    pub offset: u64,
    pub what: String,
}

impl std::fmt::Display for SnapshotDamage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} at offset {}", self.what, self.offset)
    }
}

fn damage<T>(offset: u64, what: impl Into<String>) -> Result<T, SnapshotDamage> {
    Err(SnapshotDamage { offset, what: what.into() })
}

/// The header at the beginning of `bytes` and its length; `None`: more bytes are needed.
pub fn decode_snapshot_header(
    bytes: &[u8],
    cluster: ClusterId,
) -> Result<Option<(SnapshotMark, usize)>, SnapshotDamage> {
    if bytes.len() < FIXED_LEN {
        return Ok(None);
    }
    let mut fixed = &bytes[8..FIXED_LEN];
    if bytes[..8] != MAGIC {
        return damage(0, "it does not begin as a snapshot does");
    }
    let (version, length) = (fixed.get_u32_le(), fixed.get_u32_le() as usize);
    if !(FIXED_LEN + 4..=MAX_SNAPSHOT_HEADER).contains(&length) {
        return damage(0, "the header's length is impossible");
    }
    if bytes.len() < length {
        return Ok(None);
    }
    let mut crc = &bytes[length - 4..length];
    if crc32c::crc32c(&bytes[..length - 4]) != crc.get_u32_le() {
        return damage(0, "the header's checksum is wrong");
    }
    if version != SNAPSHOT_VERSION {
        let known = format!("format version {version}, and this program knows {SNAPSHOT_VERSION}");
        return damage(0, known);
    }
    let found = ClusterId(fixed.get_u64_le());
    if found != cluster {
        return damage(0, format!("it belongs to cluster {:x}", found.0));
    }
    let (index, term) = (LogIndex(fixed.get_u64_le()), Term(fixed.get_u64_le()));
    let end = FIXED_LEN + fixed.get_u32_le() as usize;
    if end + 4 != length {
        return damage(0, "the header's configuration has an impossible length");
    }
    match codec::decode_configuration(&bytes[FIXED_LEN..end]) {
        Ok(configuration) => Ok(Some((SnapshotMark { index, term, configuration }, length))),
        Err(error) => damage(0, format!("the header's configuration cannot be read ({error})")),
    }
}

/// A part or the end, found in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// So many bytes from its beginning the next piece begins.
    Part {
        length: usize,
    },
    End {
        parts: u64,
        payload: u64,
        crc: u32,
    },
}

/// The piece at `offset`, where `bytes` begin; `None`: more bytes are needed.
pub fn decode_piece(
    bytes: &[u8],
    offset: u64,
    salt: SnapshotSalt,
) -> Result<Option<Piece>, SnapshotDamage> {
    let Some(mut header) = bytes.get(..PART_HEADER_LEN) else { return Ok(None) };
    let (first, crc) = (header.get_u32_le(), header.get_u32_le());
    let length = match first {
        END_MARK => END_LEN,
        length if (1..=MAX_PART as u32).contains(&length) => PART_HEADER_LEN + length as usize,
        _ => return damage(offset, "there is no part here"),
    };
    let Some(mut rest) = bytes.get(PART_HEADER_LEN..length) else { return Ok(None) };
    if salt.crc(offset, first, rest) != crc {
        return damage(offset, "a part's checksum is wrong");
    }
    Ok(Some(match first {
        END_MARK => Piece::End {
            parts: rest.get_u64_le(),
            payload: rest.get_u64_le(),
            crc: rest.get_u32_le(),
        },
        _ => Piece::Part { length },
    }))
}

/// What comes out of a snapshot that is read from its beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    Mark(SnapshotMark),
    Part(Bytes),
}

/// Reads and verifies a whole snapshot, whatever the pieces it comes in. What it holds is bounded
/// by a part and what was pushed last.
pub struct SnapshotDecoder {
    cluster: ClusterId,
    salt: Option<SnapshotSalt>,
    buffer: BytesMut,
    offset: u64,
    parts: u64,
    payload: u64,
    crc: u32,
    ended: bool,
}

impl SnapshotDecoder {
    pub fn new(cluster: ClusterId) -> SnapshotDecoder {
        let (buffer, salt) = (BytesMut::new(), None);
        SnapshotDecoder {
            cluster,
            salt,
            buffer,
            offset: 0,
            parts: 0,
            payload: 0,
            crc: 0,
            ended: false,
        }
    }

    /// Takes the next bytes of the file.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// What can be told from the bytes so far; `None`: push more.
    pub fn item(&mut self) -> Result<Option<Item>, SnapshotDamage> {
        if self.ended && !self.buffer.is_empty() {
            return damage(self.offset, "there is something behind the end");
        }
        let Some(salt) = self.salt else {
            let decoded = decode_snapshot_header(&self.buffer, self.cluster)?;
            let Some((mark, length)) = decoded else { return Ok(None) };
            self.salt = Some(SnapshotSalt::new(self.cluster, mark.index, mark.term));
            self.take(length);
            return Ok(Some(Item::Mark(mark)));
        };
        match decode_piece(&self.buffer, self.offset, salt)? {
            None => Ok(None),
            Some(Piece::Part { length }) => {
                self.parts += 1;
                self.payload += (length - PART_HEADER_LEN) as u64;
                Ok(Some(Item::Part(self.take(length).slice(PART_HEADER_LEN..))))
            }
            Some(Piece::End { parts, payload, crc }) => {
                if (parts, payload, crc) != (self.parts, self.payload, self.crc) {
                    return damage(self.offset, "the end does not fit what comes before it");
                }
                self.take(END_LEN);
                self.ended = true;
                self.item()
            }
        }
    }

    fn take(&mut self, length: usize) -> Bytes {
        let bytes = self.buffer.split_to(length).freeze();
        self.crc = crc32c::crc32c_append(self.crc, &bytes);
        self.offset += length as u64;
        bytes
    }

    /// No more bytes will come: whether they were a whole snapshot.
    pub fn finish(&self) -> Result<(), SnapshotDamage> {
        match self.ended && self.buffer.is_empty() {
            true => Ok(()),
            false => damage(self.offset, "the file ends here, before its end was written"),
        }
    }
}

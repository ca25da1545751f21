//! The bytes of the log: segments, groups, records, and what each crash leaves behind.
//!
//! # Files
//!
//! The log is a sequence of segments, files named `<sequence>-<first index>.seg` with 20 digits
//! each. Their order is that of the sequence, which rises by one and is never reused. `first index`
//! is the index of the next entry when the segment was opened: it is there for people and for
//! finding segments; after a truncation a segment may hold entries below it. `next.tmp` is the next
//! segment while it is being prepared: it holds nothing that counts, and recovery deletes it.
//!
//! ```text
//! segment  = header, opening group, group*, zeros
//! group    = durable mark, record*
//! record   = length · CRC32C · kind · detail · zero(2) · back · term · index · payload · padding
//!            u32      u32      u8     u8       u16       u32    u64    u64
//! ```
//!
//! All numbers are little-endian; every record begins at a multiple of 8 and is padded with zeros
//! to one. `length` is the payload's. The CRC covers the whole record, padding included, except
//! itself, and is salted with cluster, node, sequence and offset: a record is valid in one place
//! only, so neither what a file system once kept in these blocks nor a copied segment can pass
//! for one. `back` is the distance to the beginning of the record's group, in units of 8 bytes.
//!
//! | kind | | term, index | payload |
//! |---|---|---|---|
//! | 1 | entry; `detail`: 0 no-op, 1 command, 2 configuration | the entry's | the entry's |
//! | 2 | hard state | 0 | opaque; empty: never written |
//! | 3 | truncation: entries from `index` on are gone | 0, index | – |
//! | 4 | snapshot mark; `detail`: 0 plain, 1 begins anew | its entry's | the configuration then |
//! | 5 | durable mark: begins a group | 0 | durable offset u64, length of the group u64 |
//! | 6 | configuration: the newest, which stands at `index` | 0, index | a configuration |
//! | 7 | seal: segment `index` follows this one | 0, sequence | – |
//!
//! A snapshot mark says that a snapshot, durable under its name, covers the log up to `index`. A
//! plain one leaves the log as it is, which has that entry. With `detail` 1 the log holds nothing
//! that the snapshot continues: every entry before the mark goes, and the next follows `index`.
//! A kind of 0 does not exist: zeros are the end of what was written.
//!
//! # Versions
//!
//! Version 1 knew no snapshot mark that discards the log, and its segments open with the newest
//! configuration only. A program of version 1 would take a record that it does not know for the
//! end of the log, and cut it. So nothing new is ever written into a segment of version 1: the
//! first thing a newer program does with such a log is to open a segment of version 2, at which
//! the older program stops and says why.
//!
//! # Groups
//!
//! A group is what one fdatasync makes durable (group commit), and it counts as a whole or not at
//! all. So each `Persist` of the core, which lies within one group, is atomic: a hard state is
//! never there without the truncation written with it. A group is written only after the one
//! before it is durable. Therefore:
//!
//! > **The durable-offset rule.** A valid record whose group begins at offset G proves that
//! > everything before G was durable.
//!
//! The durable mark states G as its payload, once more. Ordinary groups follow each other closely;
//! when the log goes idle, a group of only the mark follows within 100 ms, so that the last real
//! group is proven too.
//!
//! # Opening a segment
//!
//! The header names cluster, node, sequence and first index, and says where the previous segment
//! ends (all before that was durable). The opening group repeats the hard state, the snapshot mark
//! and every configuration after it: so a segment needs no older one, and deleting old ones (when
//! snapshots allow it) never deletes the only copy of a vote. All configurations, not the newest
//! alone, because a truncation may take the newest back. Header and opening group are written
//! to `next.tmp` and synced, *then* the file gets its name, then the directory is synced, and only
//! then the first group goes into it. At last a group with a seal goes to the end of the
//! old segment, so that it is noticed if the new one ever vanishes.
//!
//! # Every crash, and what recovery does
//!
//! 1. *While a group is written, or before its sync ended.* Any part of it may be there. No valid
//!    record of a later group exists, for a later group is written only after this one is durable.
//!    It is a **tear**: nothing of it was ever acknowledged. The whole group is cut: overwritten
//!    with zeros and synced before anything else is written, so that it cannot come back; and it
//!    is reported.
//! 2. *After the sync ended and before anyone knew.* The group is complete, and counts. Recovery
//!    syncs the segment before it trusts what it read: it may have read from the page cache what
//!    the disk never got (the process died, the machine did not), and acknowledges it from then on.
//! 3. *While zeros are written ahead.* Zeros over zeros.
//! 4. *While `next.tmp` is prepared, before it has its name.* It is deleted.
//! 5. *After it has its name, before the directory is synced.* It has its name or has not; if it
//!    has, it is complete, for it was synced before. Either way nothing else is in it.
//! 6. *Before the old segment is sealed.* The new segment is there and says where the old one ends.
//!    A seal is a group like any other, and may be torn; it is beyond that end.
//! 7. *While a snapshot is taken or received.* It lies in `snapshot.tmp` or `received.tmp`, which
//!    recovery deletes. It is synced before it is renamed: under its name it is whole.
//! 8. *After a snapshot has its name, before its mark is durable.* It is an orphan, newer than the
//!    newest mark. Recovery deletes it: nothing relies on it, the log still has all that it
//!    covers (or the leader has, who sends it again), and a node that crashes here again and
//!    again must not fill its disk. A *mark* without its snapshot is refused.
//! 9. *While old segments are deleted.* The mark that covers them is durable, so is the opening of
//!    the segment behind each, and they go oldest first, the directory synced after each: what is
//!    left is always an unbroken end of the log that adjoins the mark.
//! 10. *While recovery cuts a tear.* What is left of it is still not followed by a later group:
//!     case 1 again.
//!
//! # Damage
//!
//! Damage before an offset that is known to have been durable is **corruption**: never cut, but
//! refused, by file, offset and index. Recovery knows that offset from what lies behind the damage:
//! it looks at every multiple of 8 for a valid record of a later group. For all segments but the
//! last, the next one's header says it; and header and opening group of any segment
//! were durable before the segment had its name. Records that are valid and do not follow from
//! what is before them (a gap between indexes, a term that goes back) are corruption as well.
//!
//! The stated limit: damage in the very last group, before anything was written behind it (100 ms
//! when idle), looks like a tear and cannot be told apart. Nor can damage that reaches from there
//! to the end and takes the proof behind with it.

use bytes::{BufMut, BytesMut};

use crate::types::{ClusterId, LogIndex, NodeId, Term};

/// The newest format this program knows, and the one it writes.
pub const VERSION: u32 = 2;
/// Bytes of a segment's header.
pub const HEADER_LEN: usize = 64;
/// Bytes of a record before its payload.
pub const RECORD_HEADER_LEN: usize = 32;
/// Bytes of a durable mark.
pub const MARK_LEN: u64 = RECORD_HEADER_LEN as u64 + 16;
/// Bytes of the group that seals a segment.
pub const SEAL_LEN: u64 = MARK_LEN + RECORD_HEADER_LEN as u64;
/// Kept free at a segment's end, so that an idle mark and the seal always fit.
pub const RESERVE: u64 = MARK_LEN + SEAL_LEN;
/// No payload is longer; far beyond any request that is let in.
pub const MAX_PAYLOAD: usize = 256 << 20;
/// The next segment, until it has its name.
pub const NEXT_FILE: &str = "next.tmp";

const MAGIC: [u8; 8] = *b"KVRAFTLG";
const SUFFIX: &str = ".seg";

/// Whose log it is: written at the head of every segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub node: NodeId,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    Entry(EntryKind),
    HardState,
    Truncation,
    SnapshotMark,
    /// A snapshot mark that discards every entry before it in the log.
    SnapshotInstead,
    DurableMark,
    Configuration,
    Seal,
}

/// What an entry's payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    Noop,
    Command,
    Configuration,
}

impl RecordKind {
    fn to_bytes(self) -> [u8; 2] {
        match self {
            RecordKind::Entry(EntryKind::Noop) => [1, 0],
            RecordKind::Entry(EntryKind::Command) => [1, 1],
            RecordKind::Entry(EntryKind::Configuration) => [1, 2],
            RecordKind::HardState => [2, 0],
            RecordKind::Truncation => [3, 0],
            RecordKind::SnapshotMark => [4, 0],
            RecordKind::SnapshotInstead => [4, 1],
            RecordKind::DurableMark => [5, 0],
            RecordKind::Configuration => [6, 0],
            RecordKind::Seal => [7, 0],
        }
    }

    fn from_bytes(bytes: [u8; 2]) -> Option<RecordKind> {
        Some(match bytes {
            [1, 0] => RecordKind::Entry(EntryKind::Noop),
            [1, 1] => RecordKind::Entry(EntryKind::Command),
            [1, 2] => RecordKind::Entry(EntryKind::Configuration),
            [2, 0] => RecordKind::HardState,
            [3, 0] => RecordKind::Truncation,
            [4, 0] => RecordKind::SnapshotMark,
            [4, 1] => RecordKind::SnapshotInstead,
            [5, 0] => RecordKind::DurableMark,
            [6, 0] => RecordKind::Configuration,
            [7, 0] => RecordKind::Seal,
            _ => return None,
        })
    }
}

/// The bytes that a record with `payload` bytes of payload takes.
pub fn record_len(payload: usize) -> u64 {
    (RECORD_HEADER_LEN + payload.next_multiple_of(8)) as u64
}

/// The fixed part of a record, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    pub kind: RecordKind,
    /// Where the record's group begins in the segment.
    pub group: u64,
    pub term: Term,
    pub index: LogIndex,
    /// Bytes of payload.
    pub length: usize,
    crc: u32,
}

impl RecordHeader {
    /// Decodes the first [`RECORD_HEADER_LEN`] bytes of the record at `offset`, if they can be
    /// ones. Cheap; only [`Salt::verify`] says whether the record is valid.
    pub fn decode(bytes: &[u8], offset: u64) -> Option<RecordHeader> {
        let bytes: &[u8; RECORD_HEADER_LEN] = bytes.get(..RECORD_HEADER_LEN)?.try_into().ok()?;
        let kind = RecordKind::from_bytes([bytes[8], bytes[9]])?;
        let length = u32_at(bytes, 0) as usize;
        if length > MAX_PAYLOAD || bytes[10] != 0 || bytes[11] != 0 {
            return None;
        }
        let group = offset.checked_sub(u64::from(u32_at(bytes, 12)) * 8)?;
        Some(RecordHeader {
            kind,
            group,
            term: Term(u64_at(bytes, 16)),
            index: LogIndex(u64_at(bytes, 24)),
            length,
            crc: u32_at(bytes, 4),
        })
    }

    /// Bytes of the whole record.
    pub fn record_len(&self) -> u64 {
        record_len(self.length)
    }
}

/// What makes the checksums of one segment its own.
#[derive(Clone, Copy, Debug)]
pub struct Salt(u32);

impl Salt {
    /// The salt of segment `sequence` of the log of `identity`.
    pub fn new(identity: Identity, sequence: u64) -> Salt {
        let crc = crc32c::crc32c(&identity.cluster.0.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &identity.node.0.to_le_bytes());
        Salt(crc32c::crc32c_append(crc, &sequence.to_le_bytes()))
    }

    fn crc(self, offset: u64, record: &[u8]) -> u32 {
        let crc = crc32c::crc32c_append(self.0, &offset.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &record[..4]);
        crc32c::crc32c_append(crc, &record[8..])
    }

    /// Whether `record`, the whole of it, is valid at `offset`.
    pub fn verify(self, header: &RecordHeader, offset: u64, record: &[u8]) -> bool {
        record.len() as u64 == header.record_len() && self.crc(offset, record) == header.crc
    }
}

/// Writes one group after the other into a buffer.
pub struct GroupEncoder<'a> {
    buffer: &'a mut BytesMut,
    salt: Salt,
    /// The segment's offset of the buffer's first byte.
    base: u64,
    /// Where the group begins in the buffer.
    start: usize,
}

impl<'a> GroupEncoder<'a> {
    /// Begins a group at the end of `buffer`, whose first byte lies at `base` in the segment.
    pub fn begin(buffer: &'a mut BytesMut, salt: Salt, base: u64) -> GroupEncoder<'a> {
        let start = buffer.len();
        buffer.resize(start + MARK_LEN as usize, 0);
        GroupEncoder { buffer, salt, base, start }
    }

    /// The segment's offset of what is written next.
    pub fn offset(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// Adds a record.
    pub fn record(&mut self, kind: RecordKind, term: Term, index: LogIndex, payload: &[u8]) {
        assert!(payload.len() <= MAX_PAYLOAD, "a record of {} bytes", payload.len());
        let at = self.buffer.len();
        self.buffer.put_u32_le(payload.len() as u32);
        self.buffer.put_u32_le(0);
        self.buffer.put_slice(&kind.to_bytes());
        self.buffer.put_u16_le(0);
        self.buffer.put_u32_le(((at - self.start) / 8) as u32);
        self.buffer.put_u64_le(term.0);
        self.buffer.put_u64_le(index.0);
        self.buffer.put_slice(payload);
        self.buffer.put_bytes(0, payload.len().next_multiple_of(8) - payload.len());
        self.seal(at, self.buffer.len());
    }

    /// Ends the group: its mark can be written now that its length is known.
    pub fn finish(mut self) {
        let offset = self.base + self.start as u64;
        let length = (self.buffer.len() - self.start) as u64;
        let (start, end) = (self.start, self.start + MARK_LEN as usize);
        let mut mark = &mut self.buffer[start..end];
        mark.put_u32_le(16);
        mark.put_u32_le(0);
        mark.put_slice(&RecordKind::DurableMark.to_bytes());
        mark.put_bytes(0, 2 + 4 + 8 + 8);
        mark.put_u64_le(offset);
        mark.put_u64_le(length);
        self.seal(start, end);
    }

    fn seal(&mut self, at: usize, end: usize) {
        let crc = self.salt.crc(self.base + at as u64, &self.buffer[at..end]);
        self.buffer[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// What a durable mark says: the offset that was durable, and its group's length.
pub fn decode_mark(payload: &[u8]) -> Option<(u64, u64)> {
    (payload.len() == 16).then(|| (u64_at(payload, 0), u64_at(payload, 8)))
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Of the format of the segment.
    pub version: u32,
    pub identity: Identity,
    pub sequence: u64,
    /// The index of the next entry when the segment was opened.
    pub first_index: LogIndex,
    /// Where the previous segment ends; zero for the first.
    pub previous_end: u64,
}

/// Why a header cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderError {
    Damaged(&'static str),
    Newer(u32),
}

impl SegmentHeader {
    /// The header's bytes. Magic, version, length and the place of the checksum (the last 4 of
    /// `length` bytes) stay the same in all versions to come.
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        let mut out = &mut bytes[..];
        out.put_slice(&MAGIC);
        out.put_u32_le(self.version);
        out.put_u32_le(HEADER_LEN as u32);
        out.put_u64_le(self.identity.cluster.0);
        out.put_u64_le(self.identity.node.0);
        out.put_u64_le(self.sequence);
        out.put_u64_le(self.first_index.0);
        out.put_u64_le(self.previous_end);
        let crc = crc32c::crc32c(&bytes[..HEADER_LEN - 4]);
        bytes[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// The header at the beginning of `bytes`.
    pub fn decode(bytes: &[u8]) -> Result<SegmentHeader, HeaderError> {
        if bytes.len() < HEADER_LEN {
            return Err(HeaderError::Damaged("the file is shorter than a segment's header"));
        }
        if bytes[..8] != MAGIC {
            return Err(HeaderError::Damaged("it does not begin as a segment does"));
        }
        let length = u32_at(bytes, 12) as usize;
        if length < HEADER_LEN || length > bytes.len() {
            return Err(HeaderError::Damaged("the header's length is impossible"));
        }
        if crc32c::crc32c(&bytes[..length - 4]) != u32_at(bytes, length - 4) {
            return Err(HeaderError::Damaged("the header's checksum is wrong"));
        }
        let version = u32_at(bytes, 8);
        match version {
            1..=VERSION => {}
            newer if newer > VERSION => return Err(HeaderError::Newer(newer)),
            _ => return Err(HeaderError::Damaged("the format version does not exist")),
        }
        Ok(SegmentHeader {
            version,
            identity: Identity {
                cluster: ClusterId(u64_at(bytes, 16)),
                node: NodeId(u64_at(bytes, 24)),
            },
            sequence: u64_at(bytes, 32),
            first_index: LogIndex(u64_at(bytes, 40)),
            previous_end: u64_at(bytes, 48),
        })
    }
}

/// The name of a segment.
pub fn segment_name(sequence: u64, first_index: LogIndex) -> String {
    format!("{sequence:020}-{:020}{SUFFIX}", first_index.0)
}

/// Sequence and first index of the segment called `name`: `None` if the name does not end like a
/// segment's, an error if it does and is not one.
pub fn parse_segment_name(name: &str) -> Option<Result<(u64, LogIndex), &'static str>> {
    let stem = name.strip_suffix(SUFFIX)?;
    let parsed = two_numbers(stem).map(|(sequence, first)| (sequence, LogIndex(first)));
    Some(parsed.ok_or("a segment's name is two numbers of 20 digits"))
}

/// The numbers of a file's name: `<20 digits>-<20 digits>`.
pub fn two_numbers(stem: &str) -> Option<(u64, u64)> {
    let (first, second) = stem.split_once('-')?;
    let number = |digits: &str| {
        let well_formed = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
        well_formed.then(|| digits.parse().ok()).flatten()
    };
    Some((number(first)?, number(second)?))
}

/// Four bytes, little-endian. The caller has checked that they are there.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Eight bytes, little-endian. The caller has checked that they are there.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

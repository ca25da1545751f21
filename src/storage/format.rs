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
//! | 5 | durable mark: begins a group | 0 | what is durable before it: see below |
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
//! configuration only; its durable marks end after the length of the group. A program of version 1
//! would take a record that it does not know for the end of the log, and cut it. So nothing new is
//! ever written into a segment of version 1: the first thing a newer program does with such a log
//! is to open a segment of version 2, at which the older program stops and says why.
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
//! The durable mark states G once more, in a payload of 56 bytes:
//!
//! ```text
//! G · length of this group · last index · last term · truncated from · snapshot's index
//! u64 u64                    u64          u64         u64              u64
//!   · truncations in this segment · CRC32C of the hard state
//!     u32                           u32
//! ```
//!
//! All but the first two sum up the log as it stood at G. This is the second copy of every entry's
//! index and term: when a group before G is damaged, this tells which entries it held, so that
//! exactly those can be fetched from others (see `salvage`). "Truncated from" is that of the newest
//! truncation in the segment; a term of 0 is one that is not known. The mark of an opening group
//! sums up the segment before. Ordinary groups follow each other closely;
//! when the log goes idle, a group of only the mark follows within 100 ms, so that the last real
//! group is proven too.
//!
//! # Opening a segment
//!
//! A header whose end of the previous segment is 2⁶⁴-1 says that *nothing* before it counts any
//! more: the segment holds the whole log, healed from damage; older segments are deleted.
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

pub use super::segment_header::{
    HeaderError, SegmentHeader, parse_segment_name, segment_name, two_numbers,
};

/// The newest format this program knows, and the one it writes.
pub const VERSION: u32 = 2;
/// Bytes of a segment's header.
pub const HEADER_LEN: usize = 64;
/// Bytes of a record before its payload.
pub const RECORD_HEADER_LEN: usize = 32;
/// Bytes of a durable mark.
pub const MARK_LEN: u64 = RECORD_HEADER_LEN as u64 + 56;
/// Bytes of the payload of a durable mark of version 1.
const OLD_MARK_PAYLOAD: usize = 16;
/// Bytes of a durable mark of version 1.
pub const OLD_MARK_LEN: u64 = (RECORD_HEADER_LEN + OLD_MARK_PAYLOAD) as u64;
/// In a header, as the end of the previous segment: nothing before this segment counts.
pub const VOID_BEFORE: u64 = u64::MAX;
/// The healed log, until it has its name.
pub const HEALED_FILE: &str = "healed.tmp";
/// Bytes of the group that seals a segment.
pub const SEAL_LEN: u64 = MARK_LEN + RECORD_HEADER_LEN as u64;
/// Kept free at a segment's end, so that an idle mark and the seal always fit.
pub const RESERVE: u64 = MARK_LEN + SEAL_LEN;
/// No payload is longer; far beyond any request that is let in.
pub const MAX_PAYLOAD: usize = 256 << 20;
/// The next segment, until it has its name.
pub const NEXT_FILE: &str = "next.tmp";

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

/// The log as it stood where a group begins, in a few numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub last_index: LogIndex,
    /// Zero if it is not known.
    pub last_term: Term,
    /// Truncations in the segment so far, and where the newest began.
    pub truncations: u32,
    pub truncated_from: LogIndex,
    pub snapshot: LogIndex,
    /// CRC32C of the hard state.
    pub hard_state: u32,
}

/// Writes one group after the other into a buffer.
pub struct GroupEncoder<'a> {
    buffer: &'a mut BytesMut,
    salt: Salt,
    /// The segment's offset of the buffer's first byte.
    base: u64,
    /// Where the group begins in the buffer.
    start: usize,
    /// None in a segment of version 1.
    summary: Option<Summary>,
}

impl<'a> GroupEncoder<'a> {
    /// Begins a group at the end of `buffer`, whose first byte lies at `base` in the segment. The
    /// log stands as `summary` says; a segment of version 1 has no place for that.
    pub fn begin(
        buffer: &'a mut BytesMut,
        salt: Salt,
        base: u64,
        summary: Option<Summary>,
    ) -> GroupEncoder<'a> {
        let start = buffer.len();
        let group = GroupEncoder { buffer, salt, base, start, summary };
        let length = group.mark_len();
        group.buffer.resize(start + length, 0);
        group
    }

    fn mark_len(&self) -> usize {
        match self.summary {
            Some(_) => MARK_LEN as usize,
            None => RECORD_HEADER_LEN + OLD_MARK_PAYLOAD,
        }
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
        let (start, end) = (self.start, self.start + self.mark_len());
        let mut mark = &mut self.buffer[start..end];
        mark.put_u32_le((end - start - RECORD_HEADER_LEN) as u32);
        mark.put_u32_le(0);
        mark.put_slice(&RecordKind::DurableMark.to_bytes());
        mark.put_bytes(0, 2 + 4 + 8 + 8);
        mark.put_u64_le(offset);
        mark.put_u64_le(length);
        if let Some(summary) = self.summary {
            mark.put_u64_le(summary.last_index.0);
            mark.put_u64_le(summary.last_term.0);
            mark.put_u64_le(summary.truncated_from.0);
            mark.put_u64_le(summary.snapshot.0);
            mark.put_u32_le(summary.truncations);
            mark.put_u32_le(summary.hard_state);
        }
        self.seal(start, end);
    }

    fn seal(&mut self, at: usize, end: usize) {
        let crc = self.salt.crc(self.base + at as u64, &self.buffer[at..end]);
        self.buffer[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// What a durable mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The offset that was durable: where its group begins.
    pub durable: u64,
    /// Its group's length.
    pub length: u64,
    /// None in a segment of version 1.
    pub summary: Option<Summary>,
}

/// Decodes a durable mark's payload.
pub fn decode_mark(payload: &[u8]) -> Option<Mark> {
    let at = |at| u64_at(payload, at);
    let summary = match payload.len() {
        OLD_MARK_PAYLOAD => None,
        56 => Some(Summary {
            last_index: LogIndex(at(16)),
            last_term: Term(at(24)),
            truncated_from: LogIndex(at(32)),
            snapshot: LogIndex(at(40)),
            truncations: u32_at(payload, 48),
            hard_state: u32_at(payload, 52),
        }),
        _ => return None,
    };
    Some(Mark { durable: at(0), length: at(8), summary })
}

/// Four bytes, little-endian. The caller has checked that they are there.
pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Eight bytes, little-endian. The caller has checked that they are there.
pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

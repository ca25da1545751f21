//! The first creation of a log, and its recovery after any stop.
//!
//! [`format`](super::format) says what each crash leaves behind and by which rule a tear is told
//! from corruption; here is that rule carried out. Recovery reads the segments in order, a chunk at
//! a time, and keeps of the entries no more than the index does: its memory is bounded by the
//! largest group, however long the log is.
//!
//! It changes nothing before it has read everything: a log that is refused is left as it was.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};

use crate::codec;
use crate::consensus::Configuration;
use crate::types::{LogIndex, Term};

use super::contents::{Contents, Place};
use super::disk::{Disk, DiskErrorKind, Operation, Outcome};
use super::error::LogError;
use super::format::{
    self, EntryKind, GroupEncoder, HEADER_LEN, HeaderError, Identity, NEXT_FILE, RecordKind, Salt,
    SegmentHeader, parse_segment_name, segment_name,
};
use super::log::{LogOptions, Tear};
use super::scan::{Group, GroupError, Record, SegmentReader};
use super::writer::{Segment, encode_opening_records};

/// Headers to come are no longer than this.
const MAX_HEADER_LEN: usize = 4096;
/// Zeros written at a time over a tear.
const ZERO_CHUNK: usize = 1 << 20;

/// A recovered log.
pub struct Found {
    pub contents: Contents,
    pub segments: BTreeMap<u64, (String, u64)>,
    pub current: Segment,
    pub tear: Option<Tear>,
}

/// See [`SegmentLog::create`](super::SegmentLog::create).
pub fn create<D: Disk>(
    disk: &mut D,
    identity: Identity,
    initial: &Configuration,
) -> Result<(), LogError> {
    let files = list(disk)?;
    if let Some((file, _)) = files.iter().find(|(name, _)| parse_segment_name(name).is_some()) {
        return Err(LogError::Exists { file: file.clone() });
    }
    delete_next(disk, &files)?;

    let (sequence, first_index) = (1, LogIndex(1));
    let header = SegmentHeader { identity, sequence, first_index, previous_end: 0 };
    let mut contents = Contents::empty(first_index, 1);
    let place = Place { sequence, offset: HEADER_LEN as u64 };
    let pushed = contents.push(first_index, Term(1), Some(initial.clone()), place);
    debug_assert_eq!(pushed, Ok(()), "an empty log takes any first entry");

    let mut buffer = BytesMut::from(&header.encode()[..]);
    let mut group = GroupEncoder::begin(&mut buffer, Salt::new(identity, sequence), 0);
    encode_opening_records(&mut group, &contents);
    // In the opening group, which is durable before the file has its name: a log without its
    // first entry never exists.
    let kind = RecordKind::Entry(EntryKind::Configuration);
    group.record(kind, Term(1), first_index, &codec::encode_configuration(initial));
    group.finish();

    let next = NEXT_FILE.to_owned();
    let name = segment_name(sequence, first_index);
    disk.execute(Operation::Create { file: next.clone(), size: buffer.len() as u64 })?;
    let bytes = buffer.freeze();
    disk.execute(Operation::Write { file: next.clone(), offset: 0, bytes, sync: true })?;
    disk.execute(Operation::Rename { from: next, to: name })?;
    disk.execute(Operation::SyncDirectory)?;
    Ok(())
}

/// Recovers the log; see [`SegmentLog::open`](super::SegmentLog::open).
pub fn open<D: Disk>(
    disk: &mut D,
    identity: Identity,
    options: &LogOptions,
) -> Result<Found, LogError> {
    let files = list(disk)?;
    let segments = read_headers(disk, identity, &files)?;
    let Some(oldest) = segments.first() else { return Err(LogError::NotInitialised) };
    let mut contents = Contents::empty(oldest.header.first_index, options.index_spacing_bytes);
    let mut end = None;
    for (position, segment) in segments.iter().enumerate() {
        let previous_end = segments.get(position + 1).map(|next| next.header.previous_end);
        let mut recovery = SegmentRecovery {
            reader: SegmentReader::new(
                disk,
                identity,
                segment.header.sequence,
                &segment.file,
                segment.length,
            ),
            segment,
            contents: &mut contents,
        };
        end = Some(recovery.read(position == 0, previous_end)?);
    }
    if oldest.header.first_index > contents.snapshot.0.next() {
        return Err(LogError::MissingSegment {
            sequence: oldest.header.sequence.saturating_sub(1),
            index: contents.snapshot.0.next(),
            evidence: format!(
                "the oldest is {}, and no snapshot covers what is before",
                oldest.file
            ),
        });
    }
    let (Some(last), Some(end)) = (segments.last(), end) else {
        return Err(LogError::NotInitialised);
    };
    let tear = make_durable(disk, &files, last, &end, &contents)?;
    let capacity = grow(disk, last, options.segment_bytes)?;
    let lengths = segments.iter().map(|s| (s.header.sequence, (s.file.clone(), s.length)));
    let mut lengths: BTreeMap<_, _> = lengths.collect();
    lengths.insert(last.header.sequence, (last.file.clone(), capacity));
    let current = Segment {
        sequence: last.header.sequence,
        name: last.file.clone(),
        offset: end.offset,
        capacity,
        zeroed_to: end.offset,
    };
    Ok(Found { contents, segments: lengths, current, tear })
}

/// Makes durable what recovery has read and will be relied upon from now on; removes the tear, if
/// there is one, for good.
fn make_durable<D: Disk>(
    disk: &mut D,
    files: &[(String, u64)],
    last: &FoundSegment,
    end: &End,
    contents: &Contents,
) -> Result<Option<Tear>, LogError> {
    let tear = end.torn_to.map(|torn_to| Tear {
        file: last.file.clone(),
        offset: end.offset,
        bytes: torn_to - end.offset,
        index: contents.last_index.next(),
    });
    if let Some(torn_to) = end.torn_to {
        let zeros = Bytes::from(vec![0; ZERO_CHUNK.min((torn_to - end.offset) as usize)]);
        let mut offset = end.offset;
        while offset < torn_to {
            let length = (torn_to - offset).min(zeros.len() as u64);
            let bytes = zeros.slice(..length as usize);
            disk.execute(Operation::Write { file: last.file.clone(), offset, bytes, sync: false })?;
            offset += length;
        }
    }
    delete_next(disk, files)?;
    disk.execute(Operation::Sync { file: last.file.clone() })?;
    disk.execute(Operation::SyncDirectory)?;
    Ok(tear)
}

/// Gives the last segment its full size, if it lacks it and the disk has the space. Returns its
/// length.
fn grow<D: Disk>(disk: &mut D, last: &FoundSegment, size: u64) -> Result<u64, LogError> {
    if last.length >= size {
        return Ok(last.length);
    }
    match disk.execute(Operation::Allocate { file: last.file.clone(), size }) {
        Ok(_) => {
            disk.execute(Operation::Sync { file: last.file.clone() })?;
            Ok(size)
        }
        Err(error) if error.kind == DiskErrorKind::NoSpace => Ok(last.length),
        Err(error) => Err(error.into()),
    }
}

fn list<D: Disk>(disk: &mut D) -> Result<Vec<(String, u64)>, LogError> {
    match disk.execute(Operation::List)? {
        Outcome::Files(files) => Ok(files),
        _ => Ok(Vec::new()),
    }
}

fn delete_next<D: Disk>(disk: &mut D, files: &[(String, u64)]) -> Result<(), LogError> {
    if files.iter().any(|(name, _)| name == NEXT_FILE) {
        disk.execute(Operation::Delete { file: NEXT_FILE.to_owned() })?;
    }
    Ok(())
}

/// A segment's file, with a header that is in order.
struct FoundSegment {
    file: String,
    length: u64,
    header: SegmentHeader,
}

/// Reads the header of every segment, in order, and sees to it that none is missing.
fn read_headers<D: Disk>(
    disk: &mut D,
    identity: Identity,
    files: &[(String, u64)],
) -> Result<Vec<FoundSegment>, LogError> {
    let mut named = Vec::new();
    for (file, length) in files {
        let unexpected =
            |what: &str| LogError::UnexpectedFile { file: file.clone(), what: what.to_owned() };
        if let Some(name) = parse_segment_name(file) {
            let (sequence, first_index) = name.map_err(unexpected)?;
            named.push((sequence, first_index, file, *length));
        }
    }
    named.sort_by_key(|segment| segment.0);
    let mut segments: Vec<FoundSegment> = Vec::with_capacity(named.len());
    for (sequence, first_index, file, length) in named {
        if let Some(previous) = segments.last() {
            let expected = previous.header.sequence + 1;
            if sequence < expected {
                let what = format!("{} has the same sequence", previous.file);
                return Err(LogError::UnexpectedFile { file: file.clone(), what });
            }
            if sequence > expected {
                return Err(LogError::MissingSegment {
                    sequence: expected,
                    index: previous.header.first_index,
                    evidence: format!("{} is there, and so is {file}", previous.file),
                });
            }
        }
        let header = read_header(disk, identity, (sequence, first_index), file)?;
        segments.push(FoundSegment { file: file.clone(), length, header });
    }
    Ok(segments)
}

fn read_header<D: Disk>(
    disk: &mut D,
    identity: Identity,
    named: (u64, LogIndex),
    file: &str,
) -> Result<SegmentHeader, LogError> {
    let read = Operation::Read { file: file.to_owned(), offset: 0, length: MAX_HEADER_LEN };
    let bytes = disk.execute(read)?.into_bytes();
    let corrupt = |what: &str| LogError::Corrupt {
        file: file.to_owned(),
        offset: 0,
        index: named.1,
        what: what.to_owned(),
    };
    let header = SegmentHeader::decode(&bytes).map_err(|error| match error {
        HeaderError::Damaged(what) => corrupt(what),
        HeaderError::Newer(found) => {
            LogError::NewerFormat { file: file.to_owned(), found, supported: format::VERSION }
        }
    })?;
    if header.identity != identity {
        return Err(LogError::Foreign {
            file: file.to_owned(),
            found_cluster: header.identity.cluster,
            found_node: header.identity.node,
            expected_cluster: identity.cluster,
            expected_node: identity.node,
        });
    }
    if (header.sequence, header.first_index) != named {
        return Err(corrupt("the header is that of another segment: the file was renamed"));
    }
    Ok(header)
}

/// Where a segment's groups end.
struct End {
    offset: u64,
    /// There is a tear from `offset` to here.
    torn_to: Option<u64>,
}

/// One segment on its way into the contents.
struct SegmentRecovery<'a, D: Disk> {
    reader: SegmentReader<'a, D>,
    segment: &'a FoundSegment,
    contents: &'a mut Contents,
}

impl<D: Disk> SegmentRecovery<'_, D> {
    /// Reads the whole segment: up to `known_end`, if the next segment says where it ends.
    fn read(&mut self, oldest: bool, known_end: Option<u64>) -> Result<End, LogError> {
        let opening = HEADER_LEN as u64;
        let group = match self.reader.group(opening, self.segment.length)? {
            Ok(group) => group,
            Err(GroupError { offset, what }) => return Err(self.corrupt(offset, &what)),
        };
        self.apply_opening(&group, oldest)?;
        let mut offset = group.end;
        if known_end.is_some_and(|end| end < offset || end > self.segment.length) {
            let what = "the next segment says that this one ends elsewhere";
            return Err(self.corrupt(self.segment.length, what));
        }
        loop {
            if known_end == Some(offset) {
                return Ok(End { offset, torn_to: None });
            }
            let limit = known_end.unwrap_or(self.segment.length);
            match self.reader.group(offset, limit)? {
                Ok(group) => {
                    for record in &group.records {
                        self.apply(record)?;
                    }
                    offset = group.end;
                }
                Err(error) if known_end.is_some() => {
                    return Err(self.corrupt(error.offset, &error.what));
                }
                Err(error) => return self.tear_or_corruption(offset, &error),
            }
        }
    }

    /// The group at `offset` is not complete: the log ends here, whole or torn, unless something
    /// behind it proves that it was durable.
    fn tear_or_corruption(&mut self, offset: u64, error: &GroupError) -> Result<End, LogError> {
        let behind = self.reader.look_behind(offset)?;
        if let Some(proof) = behind.proof {
            let what =
                format!("{} (the record at offset {proof} proves that it was durable)", error.what);
            return Err(self.corrupt(error.offset, &what));
        }
        Ok(End { offset, torn_to: behind.last_data.filter(|end| *end > offset) })
    }

    /// The opening group repeats what the segments before amount to: in the oldest one it is
    /// taken, in the others compared.
    fn apply_opening(&mut self, group: &Group, oldest: bool) -> Result<(), LogError> {
        let first_index = self.segment.header.first_index;
        if first_index != self.contents.last_index.next() {
            let what = format!(
                "it begins with entry {first_index}, and the log before it ends with entry {}",
                self.contents.last_index
            );
            return Err(self.corrupt(0, &what));
        }
        let mut seen = Vec::new();
        for record in &group.records {
            match record.kind {
                RecordKind::HardState => {
                    if !oldest && self.contents.hard_state != record.payload {
                        return Err(self.differs(record, "hard state"));
                    }
                    self.contents.hard_state = Bytes::copy_from_slice(&record.payload);
                }
                RecordKind::SnapshotMark => {
                    let mark = (record.index, record.term);
                    if !oldest && self.contents.snapshot != mark {
                        return Err(self.differs(record, "snapshot mark"));
                    }
                    self.contents.snapshot = mark;
                    self.contents.snapshot_configuration = self.configuration(record)?;
                }
                RecordKind::Configuration => {
                    let configuration = self.configuration(record)?;
                    if !oldest && self.contents.configuration() != (record.index, &configuration) {
                        return Err(self.differs(record, "configuration"));
                    }
                    // Its entry is in a segment that is gone, and no snapshot has it yet.
                    if oldest
                        && self.contents.snapshot.0 < record.index
                        && record.index < first_index
                    {
                        self.contents.configurations.push((record.index, configuration));
                    }
                }
                _ => {
                    self.apply(record)?;
                    continue;
                }
            }
            seen.push(record.kind);
        }
        let expected = [RecordKind::HardState, RecordKind::SnapshotMark, RecordKind::Configuration];
        if seen != expected {
            return Err(self.corrupt(HEADER_LEN as u64, "its opening group is not one"));
        }
        Ok(())
    }

    /// Applies a record that is valid and belongs to a complete group.
    fn apply(&mut self, record: &Record) -> Result<(), LogError> {
        let applied = match record.kind {
            RecordKind::Entry(kind) => {
                let configuration = match kind {
                    EntryKind::Configuration => Some(self.configuration(record)?),
                    EntryKind::Noop | EntryKind::Command => None,
                };
                let sequence = self.segment.header.sequence;
                let place = Place { sequence, offset: record.offset };
                self.contents.push(record.index, record.term, configuration, place)
            }
            RecordKind::HardState => {
                self.contents.hard_state = Bytes::copy_from_slice(&record.payload);
                Ok(())
            }
            RecordKind::Truncation => self.contents.truncate(record.index),
            RecordKind::SnapshotMark => {
                self.contents.snapshot = (record.index, record.term);
                self.contents.snapshot_configuration = self.configuration(record)?;
                Ok(())
            }
            RecordKind::Seal => {
                return Err(LogError::MissingSegment {
                    sequence: record.index.0,
                    index: self.contents.last_index.next(),
                    evidence: format!("{} says that it follows", self.segment.file),
                });
            }
            RecordKind::Configuration | RecordKind::DurableMark => {
                Err("a record that belongs elsewhere".to_owned())
            }
        };
        applied.map_err(|what| self.corrupt(record.offset, &what))
    }

    fn configuration(&self, record: &Record) -> Result<Configuration, LogError> {
        codec::decode_configuration(&record.payload).map_err(|error| {
            self.corrupt(record.offset, &format!("a configuration that cannot be read ({error})"))
        })
    }

    fn differs(&self, record: &Record, what: &str) -> LogError {
        self.corrupt(
            record.offset,
            &format!("its {what} is not the one with which the segment before it ends"),
        )
    }

    fn corrupt(&self, offset: u64, what: &str) -> LogError {
        LogError::Corrupt {
            file: self.segment.file.clone(),
            offset,
            index: self.contents.last_index.next(),
            what: what.to_owned(),
        }
    }
}

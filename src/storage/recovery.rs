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
use crate::consensus::{Configuration, SnapshotMark};
use crate::museum::Bug;
use crate::types::{LogIndex, Term};

use super::contents::{Contents, Place};
use super::disk::{Disk, DiskErrorKind, Operation, Outcome};
use super::error::LogError;
use super::format::{
    self, EntryKind, GroupEncoder, HEADER_LEN, HeaderError, Identity, NEXT_FILE, RecordKind, Salt,
    SegmentHeader, VERSION, parse_segment_name, segment_name,
};
use super::inventory::Inventory;
use super::report::{LogOptions, Tear};
use super::scan::{Group, GroupError, Record, SegmentReader};
use super::segments::{Segment, SegmentFile};
use super::snapshot_format::{RECEIVING_FILE, TAKING_FILE};
use super::writer::encode_opening_records;

/// Headers to come are no longer than this.
const MAX_HEADER_LEN: usize = 4096;
/// Zeros written at a time over a tear.
const ZERO_CHUNK: usize = 1 << 20;

/// A recovered log.
pub struct Found {
    pub contents: Contents,
    pub segments: BTreeMap<u64, SegmentFile>,
    pub snapshots: BTreeMap<LogIndex, (Term, u64)>,
    pub current: Segment,
    pub tear: Option<Tear>,
}

/// See [`SegmentLog::create`](super::SegmentLog::create); without `initial` the log has no entry.
pub fn create<D: Disk>(
    disk: &mut D,
    identity: Identity,
    initial: Option<&Configuration>,
) -> Result<(), LogError> {
    let files = list(disk)?;
    if let Some((file, _)) = files.iter().find(|(name, _)| parse_segment_name(name).is_some()) {
        return Err(LogError::Exists { file: file.clone() });
    }
    delete_temporary(disk, &files)?;

    let (sequence, first_index) = (1, LogIndex(1));
    let header =
        SegmentHeader { version: VERSION, identity, sequence, first_index, previous_end: 0 };
    let mut buffer = BytesMut::from(&header.encode()[..]);
    let mut group = GroupEncoder::begin(&mut buffer, Salt::new(identity, sequence), 0);
    encode_opening_records(&mut group, &Contents::empty(first_index, 1));
    if let Some(initial) = initial {
        // In the opening group, which is durable before the file has its name: a log without its
        // first entry never exists.
        let kind = RecordKind::Entry(EntryKind::Configuration);
        group.record(kind, Term(1), first_index, &codec::encode_configuration(initial));
    }
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
            cut_corruption: options.bugs.has(Bug::CorruptionCut),
        };
        end = Some(recovery.read(position == 0, previous_end)?);
    }
    if contents.first_index() > contents.snapshot.index.next() {
        return Err(LogError::MissingSegment {
            sequence: oldest.header.sequence.saturating_sub(1),
            index: contents.snapshot.index.next(),
            evidence: format!(
                "the oldest is {}, and no snapshot covers what is before",
                oldest.file
            ),
        });
    }
    let (Some(last), Some(end)) = (segments.last(), end) else {
        return Err(LogError::NotInitialised);
    };
    let inventory = Inventory::take(disk, identity, &files, &contents.snapshot)?;
    delete_temporary(disk, &files)?;
    for file in inventory.orphans {
        disk.execute(Operation::Delete { file })?;
    }
    let tear = make_durable(disk, last, &end, &contents)?;
    let capacity = grow(disk, last, options.segment_bytes)?;
    let current = Segment {
        sequence: last.header.sequence,
        name: last.file.clone(),
        version: last.header.version,
        offset: end.offset,
        capacity,
        zeroed_to: end.offset,
    };
    let segments = segment_files(&segments, capacity);
    Ok(Found { contents, segments, snapshots: inventory.snapshots, current, tear })
}

/// The segments as the log knows them; the last has been grown to `capacity`.
fn segment_files(segments: &[FoundSegment], capacity: u64) -> BTreeMap<u64, SegmentFile> {
    let ends = segments.iter().skip(1).map(|next| Some(next.header.previous_end));
    let each = segments.iter().zip(ends.chain([None]));
    each.map(|(segment, end)| {
        let length = if end.is_some() { segment.length } else { capacity };
        let name = segment.file.clone();
        (segment.header.sequence, SegmentFile { name, length, end: end.unwrap_or(0) })
    })
    .collect()
}

/// Makes durable what recovery has read and will be relied upon from now on; removes the tear, if
/// there is one, for good.
fn make_durable<D: Disk>(
    disk: &mut D,
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

/// Deletes what was being prepared when the node stopped.
fn delete_temporary<D: Disk>(disk: &mut D, files: &[(String, u64)]) -> Result<(), LogError> {
    let temporary = [NEXT_FILE, TAKING_FILE, RECEIVING_FILE];
    for (file, _) in files.iter().filter(|(name, _)| temporary.contains(&name.as_str())) {
        disk.execute(Operation::Delete { file: file.clone() })?;
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
    /// The bug of the museum: what is proven to have been durable is cut all the same.
    cut_corruption: bool,
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
        if self.cut_corruption && behind.proof.is_some() {
            return Ok(End { offset, torn_to: Some(self.segment.length) });
        }
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
        let mut configurations = Vec::new();
        let mut seen = Vec::new();
        let mut records = group.records.iter().peekable();
        while let Some(record) = records.next_if(|record| opens(record.kind)) {
            seen.push(record.kind);
            match record.kind {
                RecordKind::HardState if !oldest => {
                    if self.contents.hard_state != record.payload {
                        return Err(self.differs(record, "hard state"));
                    }
                }
                RecordKind::HardState => {
                    self.contents.hard_state = Bytes::copy_from_slice(&record.payload);
                }
                RecordKind::SnapshotMark if !oldest => {
                    if self.contents.snapshot != self.mark(record)? {
                        return Err(self.differs(record, "snapshot mark"));
                    }
                }
                RecordKind::SnapshotMark => self.contents.snapshot = self.mark(record)?,
                _ => configurations.push((record.index, self.configuration(record)?)),
            }
        }
        let version = self.segment.header.version;
        let wanted: &[RecordKind] = match version {
            1 => &[RecordKind::HardState, RecordKind::SnapshotMark, RecordKind::Configuration],
            _ => &[RecordKind::HardState, RecordKind::SnapshotMark],
        };
        let others = seen.get(wanted.len()..).unwrap_or_default();
        if !seen.starts_with(wanted) || others.iter().any(|k| *k != RecordKind::Configuration) {
            return Err(self.corrupt(HEADER_LEN as u64, "its opening group is not one"));
        }
        if oldest {
            // Their entries are in segments that are gone, and no snapshot had them yet.
            let index = self.contents.snapshot.index;
            configurations.retain(|(at, _)| *at > index && *at < first_index);
            self.contents.configurations = configurations;
        } else if version > 1 && self.contents.configurations != configurations {
            let what = "its configurations are not those with which the segment before it ends";
            return Err(self.corrupt(HEADER_LEN as u64, what));
        }
        records.try_for_each(|record| self.apply(record))
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
                let mark = self.mark(record)?;
                self.contents.mark(mark)
            }
            RecordKind::SnapshotInstead => {
                let mark = self.mark(record)?;
                self.contents.discard(mark)
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

    fn mark(&self, record: &Record) -> Result<SnapshotMark, LogError> {
        let configuration = self.configuration(record)?;
        Ok(SnapshotMark { index: record.index, term: record.term, configuration })
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

/// Whether a record of this kind says, at the head of a segment, what the ones before amount to.
fn opens(kind: RecordKind) -> bool {
    matches!(kind, RecordKind::HardState | RecordKind::SnapshotMark | RecordKind::Configuration)
}

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

use super::contents::Contents;
use super::disk::{Disk, DiskErrorKind, Operation, Outcome};
use super::error::LogError;
use super::format::{
    EntryKind, GroupEncoder, HEADER_LEN, HEALED_FILE, Identity, Mark, NEXT_FILE, RecordKind, Salt,
    SegmentHeader, VERSION, parse_segment_name, segment_name,
};
use super::headers::{FoundSegment, Headers, read_headers};
use super::inventory::{Inventory, newest_beyond};
use super::replay::Source;
use super::report::{LogOptions, Tear};
use super::salvage::{Losses, Region};
use super::scan::{Group, GroupError, Record, SegmentReader};
use super::segments::{Segment, SegmentFile};
use super::snapshot_format::{RECEIVING_FILE, TAKING_FILE};
use super::writer::encode_opening_records;

/// Zeros written at a time over a tear.
const ZERO_CHUNK: usize = 1 << 20;

/// A recovered log.
pub struct Found {
    pub contents: Contents,
    pub segments: BTreeMap<u64, SegmentFile>,
    pub snapshots: BTreeMap<LogIndex, (Term, u64)>,
    pub current: Segment,
    pub tear: Option<Tear>,
    /// Something was damaged, be it an entry or not: nothing was changed, not even the tear.
    pub is_damaged: bool,
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
    let empty = Contents::empty(first_index, 1);
    let mut buffer = BytesMut::from(&header.encode()[..]);
    let mut group =
        GroupEncoder::begin(&mut buffer, Salt::new(identity, sequence), 0, Some(empty.summary()));
    encode_opening_records(&mut group, &empty);
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

/// Recovers the log; see [`SegmentLog::open`](super::SegmentLog::open) and, for what happens with
/// `tolerate`, [`SegmentLog::open_damaged`](super::SegmentLog::open_damaged).
pub fn open<D: Disk>(
    disk: &mut D,
    identity: Identity,
    options: &LogOptions,
    tolerate: bool,
) -> Result<Found, LogError> {
    let files = list(disk)?;
    let Headers { segments, void } = read_headers(disk, identity, &files)?;
    let Some(oldest) = segments.first() else { return Err(LogError::NotInitialised) };
    let mut contents = Contents::empty(oldest.header.first_index, options.index_spacing_bytes);
    let mut losses = Losses::new(tolerate);
    let cut_corruption = options.bugs.has(Bug::CorruptionCut);
    let mut end = None;
    for (position, segment) in segments.iter().enumerate() {
        let previous_end = segments.get(position + 1).map(|next| next.header.previous_end);
        let sequence = segment.header.sequence;
        let reader = SegmentReader::new(disk, identity, sequence, &segment.file, segment.length);
        let (contents, losses) = (&mut contents, &mut losses);
        let mut recovery = SegmentRecovery { reader, segment, contents, losses, cut_corruption };
        end = Some(recovery.read(position == 0, previous_end)?);
    }
    let (Some(last), Some(end)) = (segments.last(), end) else {
        return Err(LogError::NotInitialised);
    };
    losses.finish(&contents)?;
    contents.forget_damage_that_is_covered();
    let gap = check_beginning(&contents, oldest);
    let inventory = gap.and_then(|()| Inventory::take(disk, identity, &files, &contents.snapshot));
    let inventory = inventory.map_err(|gone| match newest_beyond(&files, &contents.snapshot) {
        Some(snapshot) if is_a_hole(&gone) => LogError::Corrupt {
            file: last.file.clone(),
            offset: end.offset,
            index: contents.last_index.next(),
            what: format!(
                "what came before {snapshot} is gone already, so a record that names this \
                 snapshot was durable, and it is not here"
            ),
        },
        _ => gone,
    })?;
    let (mut tear, mut capacity) = (None, last.length);
    if losses.found {
        disk.execute(Operation::Sync { file: last.file.clone() })?;
    } else {
        delete_temporary(disk, &files)?;
        for file in inventory.orphans.into_iter().chain(void) {
            disk.execute(Operation::Delete { file })?;
        }
        tear = make_durable(disk, last, &end, &contents)?;
        capacity = grow(disk, last, options.segment_bytes)?;
    }
    let current = Segment {
        sequence: last.header.sequence,
        name: last.file.clone(),
        version: last.header.version,
        offset: end.offset,
        capacity,
        zeroed_to: end.offset,
    };
    let segments = segment_files(&segments, capacity);
    let (snapshots, is_damaged) = (inventory.snapshots, losses.found);
    Ok(Found { contents, segments, snapshots, current, tear, is_damaged })
}

/// The log must begin where its snapshot ends, or before.
fn check_beginning(contents: &Contents, oldest: &FoundSegment) -> Result<(), LogError> {
    let wanted = contents.snapshot.index.next();
    if contents.first_index() <= wanted {
        return Ok(());
    }
    Err(LogError::MissingSegment {
        sequence: oldest.header.sequence.saturating_sub(1),
        index: wanted,
        evidence: format!("the oldest is {}, and no snapshot covers what is before", oldest.file),
    })
}

/// Whether something is gone that lies before the log's snapshot, or is it. A log forgets that only
/// after a newer snapshot's mark: with a newer snapshot beside, it is the mark that is lost, in a
/// last group that would otherwise pass for torn.
fn is_a_hole(error: &LogError) -> bool {
    matches!(error, LogError::MissingSegment { .. } | LogError::MissingSnapshot { .. })
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
    let temporary = [NEXT_FILE, TAKING_FILE, RECEIVING_FILE, HEALED_FILE];
    for (file, _) in files.iter().filter(|(name, _)| temporary.contains(&name.as_str())) {
        disk.execute(Operation::Delete { file: file.clone() })?;
    }
    Ok(())
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
    losses: &'a mut Losses,
    /// The bug of the museum: what is proven to have been durable is cut all the same.
    cut_corruption: bool,
}

impl<D: Disk> SegmentRecovery<'_, D> {
    /// Reads the whole segment: up to `known_end`, if the next segment says where it ends.
    fn read(&mut self, oldest: bool, known_end: Option<u64>) -> Result<End, LogError> {
        let opening = HEADER_LEN as u64;
        let mut offset = match self.reader.group(opening, self.segment.length)? {
            Ok(group) => {
                self.apply_opening(&group, oldest)?;
                group.end
            }
            Err(error) if self.losses.tolerate && !oldest && !self.losses.is_pending() => {
                match self.do_without_opening(known_end, &error)? {
                    Some(next) => next,
                    None => return Ok(End { offset: opening, torn_to: None }),
                }
            }
            Err(GroupError { offset, what }) => return Err(self.corrupt(offset, &what)),
        };
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
                    self.meet(offset, &group.mark)?;
                    for record in &group.records {
                        self.apply(record)?;
                    }
                    offset = group.end;
                }
                Err(error) if self.cut_corruption && known_end.is_none() => {
                    return self.tear_or_corruption(offset, &error);
                }
                Err(error) if self.losses.tolerate => {
                    match self.salvage(offset, known_end, &error)? {
                        Some(next) => offset = next,
                        None => return self.tear_or_corruption(offset, &error),
                    }
                }
                Err(error) if known_end.is_some() => {
                    return Err(self.corrupt(error.offset, &error.what));
                }
                Err(error) => return self.tear_or_corruption(offset, &error),
            }
        }
    }

    /// The mark of a group is in order: it sums up what is before.
    fn meet(&mut self, offset: u64, mark: &Mark) -> Result<(), LogError> {
        let segment = self.segment;
        let source = Source { file: &segment.file, sequence: segment.header.sequence };
        self.losses.meet(source, offset, self.contents, mark.summary)
    }

    /// The opening group is damaged, and only repeats what is known: says where to go on. `None`:
    /// there is nothing behind it.
    fn do_without_opening(
        &mut self,
        known_end: Option<u64>,
        error: &GroupError,
    ) -> Result<Option<u64>, LogError> {
        self.check_first_index()?;
        self.contents.begin_segment();
        self.losses.found = true;
        let limit = known_end.unwrap_or(self.segment.length);
        let behind = self.reader.look_behind(HEADER_LEN as u64, limit)?;
        let next = behind.proof.map(|(_, group)| group).or(known_end);
        if next.is_some() {
            self.losses.add(Region {
                file: self.segment.file.clone(),
                sequence: self.segment.header.sequence,
                offset: error.offset,
                what: error.what.clone(),
                records: Vec::new(),
            });
        }
        Ok(next)
    }

    /// The group at `offset` is damaged: notes what can be read of it, and says where to go on.
    /// `None`: it is no damage, but the end of the log.
    fn salvage(
        &mut self,
        offset: u64,
        known_end: Option<u64>,
        error: &GroupError,
    ) -> Result<Option<u64>, LogError> {
        let limit = known_end.unwrap_or(self.segment.length);
        let behind = self.reader.look_behind(offset, limit)?;
        let Some(next) = behind.proof.map(|(_, group)| group).or(known_end) else {
            return Ok(None);
        };
        if let Ok(mark) = self.reader.mark(offset, limit)? {
            self.meet(offset, &mark)?;
        }
        let records = self.reader.salvage(offset, next)?;
        self.losses.add(Region {
            file: self.segment.file.clone(),
            sequence: self.segment.header.sequence,
            offset: error.offset,
            what: error.what.clone(),
            records,
        });
        Ok(Some(next))
    }

    /// The group at `offset` is not complete: the log ends here, whole or torn, unless something
    /// behind it proves that it was durable.
    fn tear_or_corruption(&mut self, offset: u64, error: &GroupError) -> Result<End, LogError> {
        let behind = self.reader.look_behind(offset, self.segment.length)?;
        if self.cut_corruption && behind.proof.is_some() {
            return Ok(End { offset, torn_to: Some(self.segment.length) });
        }
        if let Some((proof, _)) = behind.proof {
            let what =
                format!("{} (the record at offset {proof} proves that it was durable)", error.what);
            return Err(self.corrupt(error.offset, &what));
        }
        Ok(End { offset, torn_to: behind.last_data.filter(|end| *end > offset) })
    }

    fn check_first_index(&self) -> Result<(), LogError> {
        let first_index = self.segment.header.first_index;
        if first_index != self.contents.last_index.next() {
            let what = format!(
                "it begins with entry {first_index}, and the log before it ends with entry {}",
                self.contents.last_index
            );
            return Err(self.corrupt(0, &what));
        }
        Ok(())
    }

    /// The opening group repeats what the segments before amount to: in the oldest one it is
    /// taken, in the others compared.
    fn apply_opening(&mut self, group: &Group, oldest: bool) -> Result<(), LogError> {
        if !oldest {
            self.meet(HEADER_LEN as u64, &group.mark)?;
        }
        self.contents.begin_segment();
        self.check_first_index()?;
        let mut configurations = Vec::new();
        let mut seen = Vec::new();
        let mut records = group.records.iter().peekable();
        while let Some(record) = records.next_if(|record| opens(record.kind)) {
            seen.push(record.kind);
            match record.kind {
                RecordKind::HardState if !oldest && !self.losses.replaces_hard_state() => {
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
                _ => {
                    let configuration = self.source().configuration(self.contents, record)?;
                    configurations.push((record.index, configuration));
                }
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
            let first = self.segment.header.first_index;
            configurations.retain(|(at, _)| *at > index && *at < first);
            self.contents.configurations = configurations;
        } else if !self.contents.damaged.is_empty() {
            // Entries that are damaged may have been among them.
            self.contents.configurations = configurations;
        } else if version > 1 && self.contents.configurations != configurations {
            let what = "its configurations are not those with which the segment before it ends";
            return Err(self.corrupt(HEADER_LEN as u64, what));
        }
        records.try_for_each(|record| self.apply(record))
    }

    fn source(&self) -> Source<'_> {
        Source { file: &self.segment.file, sequence: self.segment.header.sequence }
    }

    fn apply(&mut self, record: &Record) -> Result<(), LogError> {
        let segment = self.segment;
        let source = Source { file: &segment.file, sequence: segment.header.sequence };
        source.apply(self.contents, record)
    }

    fn mark(&self, record: &Record) -> Result<SnapshotMark, LogError> {
        self.source().mark(self.contents, record)
    }

    fn differs(&self, record: &Record, what: &str) -> LogError {
        self.corrupt(
            record.offset,
            &format!("its {what} is not the one with which the segment before it ends"),
        )
    }

    fn corrupt(&self, offset: u64, what: &str) -> LogError {
        self.source().corrupt(self.contents, offset, what)
    }
}

/// Whether a record of this kind says, at the head of a segment, what the ones before amount to.
fn opens(kind: RecordKind) -> bool {
    matches!(kind, RecordKind::HardState | RecordKind::SnapshotMark | RecordKind::Configuration)
}

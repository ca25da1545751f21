//! A look into a log that changes nothing: what is in it, and what is wrong with it.
//!
//! What counts is decided by recovery itself, which is run on a disk that only reads (see
//! [`FileView`](super::FileView)): so this says what a start would say. Beside it, every group of
//! every segment is walked through for whoever wants to see the records.
//!
//! A node that runs goes on writing meanwhile. What it is just writing looks like a tear, and is
//! reported as one; a segment that it has opened or deleted since the files were listed looks like
//! a missing one: whoever asks tries again.

use crate::types::{LogIndex, Term};

use super::disk::{Disk, Operation, Outcome};
use super::error::LogError;
use super::format::{
    EntryKind, HEADER_LEN, Identity, RecordKind, SegmentHeader, parse_segment_name,
};
use super::log::SegmentLog;
use super::report::{Damaged, LogOptions, Recovered};
use super::scan::SegmentReader;
use super::snapshot_format::parse_snapshot_name;

/// What was found.
#[derive(Debug)]
pub struct Inspection {
    pub identity: Identity,
    pub segments: Vec<SegmentSeen>,
    pub snapshots: Vec<SnapshotSeen>,
    /// What a start would find, and the first entry it could read; or why it would refuse.
    pub recovered: Result<(Recovered, LogIndex), LogError>,
    /// Entries that cannot be read.
    pub damaged: Vec<Damaged>,
    /// Something is damaged, be it an entry or not.
    pub is_damaged: bool,
}

/// A segment's file.
#[derive(Debug)]
pub struct SegmentSeen {
    pub file: String,
    pub sequence: u64,
    pub version: u32,
    pub first_index: LogIndex,
    /// The file's length, and where the groups that can be read end.
    pub length: u64,
    pub end: u64,
    pub groups: u64,
    pub entries: u64,
}

/// A snapshot's file.
#[derive(Debug)]
pub struct SnapshotSeen {
    pub file: String,
    pub index: LogIndex,
    pub term: Term,
    pub bytes: u64,
    /// What is wrong with it. Not known of one that is newer than the newest mark.
    pub damage: Option<String>,
}

/// One record, as it passes by.
#[derive(Debug)]
pub struct RecordSeen<'a> {
    pub file: &'a str,
    pub offset: u64,
    pub kind: &'static str,
    pub term: Term,
    pub index: LogIndex,
    /// Bytes of payload.
    pub bytes: usize,
}

/// Looks at the log on `disk`; hands each record to `see`.
///
/// # Errors
/// If there is no log, or the disk fails. What is wrong with a log that is there is no error.
pub fn inspect<D: Disk>(
    mut disk: D,
    see: &mut dyn FnMut(&RecordSeen<'_>),
) -> Result<Inspection, LogError> {
    let Outcome::Files(files) = disk.execute(Operation::List)? else {
        return Err(LogError::NotInitialised);
    };
    let (mut identity, mut segments) = (None, Vec::new());
    for (file, length) in files.iter().filter(|(name, _)| parse_segment_name(name).is_some()) {
        let read = Operation::Read { file: file.clone(), offset: 0, length: HEADER_LEN };
        // What is wrong with a header, recovery says.
        let Ok(header) = SegmentHeader::decode(&disk.execute(read)?.into_bytes()) else { continue };
        identity.get_or_insert(header.identity);
        segments.push(walk(&mut disk, &header, file, *length, see)?);
    }
    let Some(identity) = identity else { return Err(LogError::NotInitialised) };
    let named = files.iter().filter_map(|(file, bytes)| {
        let (index, term) = parse_snapshot_name(file)?.ok()?;
        Some(SnapshotSeen { file: file.clone(), index, term, bytes: *bytes, damage: None })
    });
    let mut snapshots: Vec<_> = named.collect();
    let options = LogOptions { zero_ahead_bytes: 0, segment_bytes: 0, ..LogOptions::default() };
    let (mut damaged, mut is_damaged) = (Vec::new(), true);
    let recovered = match SegmentLog::open_damaged(disk, identity, options) {
        Err(error) => Err(error),
        Ok((mut log, recovered, found)) => {
            (damaged, is_damaged) = (log.damaged(), found);
            for snapshot in snapshots.iter_mut().filter(|s| s.index <= recovered.snapshot.index) {
                let loaded = log.load_snapshot(snapshot.index, &mut |_| Ok(()));
                snapshot.damage = loaded.err().map(|error| error.to_string());
                is_damaged |= snapshot.damage.is_some();
            }
            Ok((recovered, log.status().first_index))
        }
    };
    Ok(Inspection { identity, segments, snapshots, recovered, damaged, is_damaged })
}

/// Goes through the groups of a segment, over what is damaged.
fn walk<D: Disk>(
    disk: &mut D,
    header: &SegmentHeader,
    file: &str,
    length: u64,
    see: &mut dyn FnMut(&RecordSeen<'_>),
) -> Result<SegmentSeen, LogError> {
    let mut seen = SegmentSeen {
        file: file.to_owned(),
        sequence: header.sequence,
        version: header.version,
        first_index: header.first_index,
        length,
        end: HEADER_LEN as u64,
        groups: 0,
        entries: 0,
    };
    let mut reader = SegmentReader::new(disk, header.identity, header.sequence, file, length);
    let mut offset = HEADER_LEN as u64;
    loop {
        let (records, next) = match reader.group(offset, length)? {
            Ok(group) => {
                seen.groups += 1;
                (group.records, group.end)
            }
            Err(_) => match reader.look_behind(offset, length)?.proof {
                Some((_, group)) => (reader.salvage(offset, group)?, group),
                None => return Ok(seen),
            },
        };
        for record in &records {
            seen.entries += u64::from(matches!(record.kind, RecordKind::Entry(_)));
            let (kind, bytes) = (kind(record.kind), record.length);
            let (offset, term, index) = (record.offset, record.term, record.index);
            see(&RecordSeen { file, offset, kind, term, index, bytes });
        }
        (offset, seen.end) = (next, next);
    }
}

fn kind(kind: RecordKind) -> &'static str {
    match kind {
        RecordKind::Entry(EntryKind::Noop) => "noop",
        RecordKind::Entry(EntryKind::Command) => "command",
        RecordKind::Entry(EntryKind::Configuration) => "configuration",
        RecordKind::HardState => "hard-state",
        RecordKind::Truncation => "truncation",
        RecordKind::SnapshotMark => "snapshot-mark",
        RecordKind::SnapshotInstead => "snapshot-instead",
        RecordKind::DurableMark => "durable-mark",
        RecordKind::Configuration => "newest-configuration",
        RecordKind::Seal => "seal",
    }
}

//! The files of snapshots: taking one, keeping those that are needed, and reading them.
//!
//! # The order that everything rests on
//!
//! ```text
//!   snapshot durable under its name ─► mark durable in the log ─► old segments, old snapshots go
//!   SnapshotSaved / SnapshotReceived    append(persist)            compact / retain_snapshots
//! ```
//!
//! Whoever crashes between two of these has too much, never too little: an orphan, which recovery
//! deletes, or a log that a snapshot covers and that is compacted later. The log refuses to mark a
//! snapshot that has no file, and neither compacts nor deletes past a mark that is not durable.
//!
//! # Taking
//!
//! [`SegmentLog::snapshot_begin`], then one [`SegmentLog::snapshot_write`] after the other, each
//! when the one before was answered, and [`SegmentLog::snapshot_finish`]. Each part is synced by
//! itself. A snapshot that is written in one go leaves a gigabyte of dirty pages, and the next
//! group's fdatasync has to wait for all of them on most file systems; a part at a time, a group
//! waits for a part.
//!
//! A snapshot of an index that is there already is not written over: somebody may be reading it,
//! and the two mean the same.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::consensus::{Chunk, SnapshotMark};
use crate::types::{LogIndex, NodeId, Term};

use super::background::Owner;
use super::disk::{Disk, Operation};
use super::error::LogError;
use super::log::SegmentLog;
use super::report::LogEvent;
use super::script::Purpose;
use super::snapshot_format::{
    END_LEN, Item, MAX_PART, MAX_SNAPSHOT_HEADER, PART_HEADER_LEN, Piece, SnapshotDecoder,
    SnapshotEncoder, SnapshotSalt, TAKING_FILE, decode_piece, decode_snapshot_header,
    snapshot_name,
};

/// Bytes of a snapshot read at a time.
pub const READ_CHUNK: usize = 1 << 20;
/// Reads that may wait in the lane.
const MAX_JOBS: usize = 1024;

/// The snapshot that is being taken.
pub struct Taking {
    pub owner: Owner,
    mark: SnapshotMark,
    encoder: SnapshotEncoder,
}

impl<D: Disk> SegmentLog<D> {
    /// Begins to take a snapshot of the state machine as of `mark`; an unfinished one is dropped.
    pub fn snapshot_begin(&mut self, mark: SnapshotMark) {
        if let Some(Taking { owner: Owner::Taking(number, _), .. }) = self.taking.take() {
            self.lane.dead_takes = self.lane.dead_takes.max(number);
        }
        self.takes += 1;
        let owner = Owner::Taking(self.takes, mark.index);
        let (encoder, header) = SnapshotEncoder::begin(self.identity.cluster, &mark);
        let file = TAKING_FILE.to_owned();
        let operations = vec![
            Operation::Delete { file: file.clone() },
            Operation::Create { file: file.clone(), size: 0 },
            Operation::Write { file, offset: 0, bytes: header, sync: false },
        ];
        self.lane.push(owner, operations, Purpose::Report(None));
        self.taking = Some(Taking { owner, mark, encoder });
        self.start_background();
    }

    /// The next part, 1 byte to 1 MiB; answered by [`LogEvent::SnapshotPartWritten`]. Does nothing
    /// if no snapshot is being taken (any more): [`LogEvent::SnapshotFailed`] has said so.
    ///
    /// # Panics
    /// If the part is empty or longer.
    pub fn snapshot_write(&mut self, part: &Bytes) {
        let Some(taking) = &mut self.taking else { return };
        let file = TAKING_FILE.to_owned();
        let offset = taking.encoder.offset();
        let bytes = taking.encoder.part(part);
        let operations = vec![Operation::Write { file, offset, bytes, sync: true }];
        let done = Purpose::Report(Some(LogEvent::SnapshotPartWritten));
        self.lane.push(taking.owner, operations, done);
        self.start_background();
    }

    /// All parts were written: answered by [`LogEvent::SnapshotSaved`] once the snapshot is
    /// durable under its name.
    pub fn snapshot_finish(&mut self) {
        let Some(mut taking) = self.taking.take() else { return };
        let offset = taking.encoder.offset();
        let bytes = taking.encoder.end();
        let write = Operation::Write { file: TAKING_FILE.to_owned(), offset, bytes, sync: true };
        let event = LogEvent::SnapshotSaved { index: taking.mark.index };
        let total = taking.encoder.offset();
        self.name_snapshot(taking.owner, Some(write), TAKING_FILE, taking.mark, total, event);
        self.start_background();
    }

    /// Drops the snapshot that is being taken; answered by [`LogEvent::SnapshotFailed`]. One whose
    /// end was written already is finished all the same.
    pub fn snapshot_abort(&mut self) {
        let Some(owner) = self.taking.as_ref().map(|taking| taking.owner) else { return };
        self.give_up(owner, "it was given up");
        self.start_background();
    }

    /// Gives the file `from`, when it is durable, the name of `snapshot`.
    pub(super) fn name_snapshot(
        &mut self,
        owner: Owner,
        first: Option<Operation>,
        from: &str,
        snapshot: SnapshotMark,
        bytes: u64,
        event: LogEvent,
    ) {
        let from = from.to_owned();
        let mut operations = Vec::from_iter(first);
        let there = self.snapshots.get(&snapshot.index);
        let purpose = if there.is_some_and(|(term, _)| *term == snapshot.term) {
            operations.push(Operation::Delete { file: from });
            Purpose::Report(Some(event))
        } else {
            let to = snapshot_name(snapshot.index, snapshot.term);
            operations.extend([Operation::Rename { from, to }, Operation::SyncDirectory]);
            Purpose::Name { snapshot, bytes, event }
        };
        // What is taken comes after its parts; what was received has just been verified.
        match owner {
            Owner::Receiving(..) => self.lane.push_front(owner, operations, purpose),
            Owner::Taking(..) | Owner::None => self.lane.push(owner, operations, purpose),
        }
    }

    /// Name and length of the snapshot of `index`, if it is there.
    pub(super) fn snapshot_file(&self, index: LogIndex) -> Option<(String, u64)> {
        let (term, bytes) = self.snapshots.get(&index)?;
        Some((snapshot_name(index, *term), *bytes))
    }

    /// The term of the last entry of a snapshot that is there.
    pub fn snapshot_term(&self, index: LogIndex) -> Option<Term> {
        self.snapshots.get(&index).map(|(term, _)| *term)
    }

    /// Index and bytes of each snapshot that is durable under its name.
    pub fn snapshots(&self) -> Vec<(LogIndex, u64)> {
        self.snapshots.iter().map(|(index, (_, bytes))| (*index, *bytes)).collect()
    }

    /// Deletes the snapshots older than the newest durable mark, except those in `keep` (which
    /// somebody still reads or sends).
    pub fn retain_snapshots(&mut self, keep: &BTreeSet<LogIndex>) {
        let old = self.snapshots.range(..self.durable_mark).map(|(index, _)| *index);
        let old: Vec<LogIndex> = old.filter(|index| !keep.contains(index)).collect();
        for index in old {
            let Some((term, _)) = self.snapshots.remove(&index) else { continue };
            let delete = Operation::Delete { file: snapshot_name(index, term) };
            let operations = vec![delete, Operation::SyncDirectory];
            self.lane.push(Owner::None, operations, Purpose::Report(None));
        }
        self.start_background();
    }

    /// Reads up to `max_bytes` of the file of the snapshot of `index`, from `offset` on, to be
    /// sent; answered by [`LogEvent::SnapshotBytes`].
    pub fn read_snapshot(&mut self, to: NodeId, index: LogIndex, offset: u64, max_bytes: usize) {
        let found = self.snapshot_file(index).filter(|(_, total)| offset < *total);
        let Some((file, total)) = found.filter(|_| self.lane.len() < MAX_JOBS) else {
            let event = LogEvent::SnapshotBytes { to, index, offset, chunk: None };
            self.lane.push(Owner::None, Vec::new(), Purpose::Report(Some(event)));
            return self.start_background();
        };
        let length = max_bytes.clamp(1, READ_CHUNK);
        let read = vec![Operation::Read { file, offset, length }];
        self.lane.push(Owner::None, read, Purpose::Send { to, index, offset, total });
        self.start_background();
    }

    pub(super) fn send_bytes(
        &mut self,
        to: NodeId,
        index: LogIndex,
        offset: u64,
        total: u64,
        bytes: Option<Bytes>,
    ) {
        let chunk = bytes.filter(|data| !data.is_empty()).map(|data| {
            let done = offset + data.len() as u64 >= total;
            Chunk { data, done }
        });
        self.events.push(LogEvent::SnapshotBytes { to, index, offset, chunk });
    }

    /// Reads one part of the snapshot of `index` for the state machine: the first with `at` 0,
    /// the following ones where the answer before said. Answered by [`LogEvent::SnapshotPart`].
    pub fn read_part(&mut self, index: LogIndex, at: u64) {
        let Some((file, _)) = self.snapshot_file(index).filter(|_| self.lane.len() < MAX_JOBS)
        else {
            let event = LogEvent::SnapshotPart { index, at, part: None, next: None };
            self.lane.push(Owner::None, Vec::new(), Purpose::Report(Some(event)));
            return self.start_background();
        };
        let header = if at == 0 { MAX_SNAPSHOT_HEADER } else { 0 };
        let length = header + PART_HEADER_LEN + MAX_PART + END_LEN;
        let read = vec![Operation::Read { file, offset: at, length }];
        self.lane.push(Owner::None, read, Purpose::Part { index, at });
        self.start_background();
    }

    pub(super) fn part_read(&mut self, index: LogIndex, at: u64, bytes: Option<Bytes>) {
        let found = bytes.and_then(|bytes| self.part_at(index, at, &bytes));
        let (part, next) = match found {
            Some((part, next)) => (Some(part), next),
            None => (None, None),
        };
        self.events.push(LogEvent::SnapshotPart { index, at, part, next });
    }

    /// The part that begins in `bytes`, and where the next one begins, if there is one.
    fn part_at(&self, index: LogIndex, at: u64, bytes: &Bytes) -> Option<(Bytes, Option<u64>)> {
        let (term, total) = *self.snapshots.get(&index)?;
        let cluster = self.identity.cluster;
        let mut begin = 0;
        if at == 0 {
            let (mark, length) = decode_snapshot_header(bytes, cluster).ok()??;
            if (mark.index, mark.term) != (index, term) {
                return None;
            }
            begin = length;
        }
        let salt = SnapshotSalt::new(cluster, index, term);
        let piece = |from: usize| decode_piece(&bytes[from..], at + from as u64, salt).ok()?;
        let (part, end) = match piece(begin)? {
            Piece::Part { length } => {
                (bytes.slice(begin + PART_HEADER_LEN..begin + length), begin + length)
            }
            Piece::End { .. } => (Bytes::new(), begin),
        };
        // The end is right behind, or there is another part.
        let next = at + end as u64;
        if next + END_LEN as u64 != total {
            return (next < total && !part.is_empty()).then_some((part, Some(next)));
        }
        match piece(end)? {
            Piece::End { .. } => Some((part, None)),
            Piece::Part { .. } => Some((part, Some(next))),
        }
    }

    /// Reads and verifies the snapshot of `index` from beginning to end, handing each part to
    /// `sink`: for start-up, when there is nothing else to do. `sink` says what it cannot read.
    ///
    /// # Errors
    /// If it is missing or damaged, or `sink` refused it. What was handed out must not be used
    /// then.
    pub fn load_snapshot(
        &mut self,
        index: LogIndex,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<SnapshotMark, LogError> {
        let Some((file, total)) = self.snapshot_file(index) else {
            return Err(LogError::MissingSnapshot {
                index,
                file: format!("{:020}-*.snap", index.0),
            });
        };
        let damaged = |offset, what: String| LogError::DamagedSnapshot {
            index,
            file: file.clone(),
            offset,
            what,
        };
        let mut decoder = SnapshotDecoder::new(self.identity.cluster);
        let (mut offset, mut found) = (0, None);
        while offset < total {
            let read = Operation::Read { file: file.clone(), offset, length: READ_CHUNK };
            let bytes = self.disk.execute(read)?.into_bytes();
            if bytes.is_empty() {
                break;
            }
            decoder.push(&bytes);
            while let Some(item) = decoder.item().map_err(|d| damaged(d.offset, d.what))? {
                match item {
                    Item::Mark(mark) => found = Some(mark),
                    Item::Part(part) => sink(&part).map_err(|what| damaged(offset, what))?,
                }
            }
            offset += bytes.len() as u64;
        }
        decoder.finish().map_err(|d| damaged(d.offset, d.what))?;
        match found {
            Some(mark)
                if self.snapshots.get(&index).is_some_and(|(t, _)| *t == mark.term)
                    && mark.index == index =>
            {
                Ok(mark)
            }
            _ => Err(damaged(0, "it is the snapshot of another entry".to_owned())),
        }
    }
}

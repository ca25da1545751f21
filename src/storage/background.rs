//! What the log does beside its groups, a step at a time: compaction, and the snapshots' files.
//!
//! # What can go wrong
//!
//! Writing a snapshot of a gigabyte and deleting a hundred segments must not hold up a vote. The
//! disk has one queue, so whatever is submitted ahead of a group delays it.
//!
//! # The rule
//!
//! All of it goes through one lane, of which the disk never has more than one operation at a time,
//! and none of them moves more than a part of a snapshot. So a group waits behind one such
//! operation at most, and, since the lane is in order, what is asked first is done first: a file is
//! not deleted under somebody who asked to read it before.
//!
//! # When there is no space
//!
//! What is being taken or received is given up: its temporary file is deleted, whoever asked for
//! it is told, and the log has the space. Deletions are tried again. All other failures are final
//! for the node, except that a snapshot's file that cannot be *read* is a snapshot that is not
//! there: others have it.

use std::collections::VecDeque;

use crate::museum::Bug;
use crate::types::LogIndex;

use super::disk::{Disk, DiskError, DiskErrorKind, Operation, Outcome};
use super::error::LogError;
use super::log::{RETRY_AFTER, SegmentLog};
use super::report::LogEvent;
use super::script::{Purpose, Script};
use super::snapshot_format::{RECEIVING_FILE, TAKING_FILE};

/// What a job in the lane belongs to: the how-manieth snapshot taken or received, and its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    None,
    Taking(u64, LogIndex),
    Receiving(u64, LogIndex),
}

/// One thing to be done in the background.
pub struct Job {
    pub owner: Owner,
    pub operations: Vec<Operation>,
    pub purpose: Purpose,
}

/// The lane.
#[derive(Default)]
pub struct Lane {
    jobs: VecDeque<Job>,
    pub current: Option<(Owner, Script)>,
    /// Snapshots being taken up to this one, and received up to this one, are given up.
    pub dead_takes: u64,
    pub dead_receptions: u64,
}

impl Lane {
    pub fn push(&mut self, owner: Owner, operations: Vec<Operation>, purpose: Purpose) {
        self.jobs.push_back(Job { owner, operations, purpose });
    }

    /// Goes on with what was just done, before anything else.
    pub fn push_front(&mut self, owner: Owner, operations: Vec<Operation>, purpose: Purpose) {
        self.jobs.push_front(Job { owner, operations, purpose });
    }

    /// Jobs that wait.
    pub fn len(&self) -> usize {
        self.jobs.len()
    }

    fn is_dead(&self, owner: Owner) -> bool {
        match owner {
            Owner::None => false,
            Owner::Taking(number, _) => number <= self.dead_takes,
            Owner::Receiving(number, _) => number <= self.dead_receptions,
        }
    }
}

impl<D: Disk> SegmentLog<D> {
    /// Entries up to `to` are not needed any more: deletes the segments that hold nothing else.
    /// What no durable mark of a snapshot covers stays, whatever is asked.
    pub fn compact(&mut self, to: LogIndex) {
        let mut to = to.min(self.durable_mark);
        if self.options.bugs.has(Bug::CompactionGap) {
            to = self.last_index;
        }
        let segments = self.segments.range(..self.current.sequence);
        if self.is_damaged {
            return;
        }
        let old: Vec<u64> = segments
            .map(|(sequence, _)| *sequence)
            .take_while(|sequence| self.contents.first_index_after(*sequence) <= to.next())
            .collect();
        let Some(&last) = old.last() else { return };
        self.contents.forget_segments(last);
        if let Some(reading) = &mut self.reading {
            reading.forget_before(self.contents.first_index());
        }
        for sequence in old {
            let Some(segment) = self.segments.remove(&sequence) else { continue };
            self.counts.compacted_bytes += segment.end;
            let delete = Operation::Delete { file: segment.name };
            let operations = vec![delete, Operation::SyncDirectory];
            self.lane.push(Owner::None, operations, Purpose::Report(None));
        }
        self.start_background();
    }

    /// Starts the next job, if none is under way.
    pub(super) fn start_background(&mut self) {
        while self.failed.is_none()
            && self.lane.current.is_none()
            && let Some(job) = self.lane.jobs.pop_front()
        {
            if self.lane.is_dead(job.owner) {
                continue;
            }
            if job.operations.is_empty() {
                self.job_done(job.owner, job.purpose, None);
                continue;
            }
            let script = Script::start(&mut self.disk, job.operations, job.purpose);
            self.lane.current = Some((job.owner, script));
        }
    }

    /// The disk is done with the operation of the job under way.
    pub(super) fn background_completed(
        &mut self,
        result: Result<Outcome, DiskError>,
    ) -> Result<(), LogError> {
        let Some((owner, mut script)) = self.lane.current.take() else { return Ok(()) };
        let outcome = match (result, script.operation()) {
            (Ok(outcome), _) => Some(outcome),
            (Err(_), Some(Operation::Read { .. })) => None,
            // It was to be gone, and it is.
            (Err(error), Some(Operation::Delete { .. }))
                if error.kind == DiskErrorKind::NotFound =>
            {
                Some(Outcome::Done)
            }
            (Err(error), _) if error.kind == DiskErrorKind::NoSpace && owner == Owner::None => {
                script.wait(self.now + RETRY_AFTER);
                self.lane.current = Some((owner, script));
                return Ok(());
            }
            (Err(error), _) if error.kind == DiskErrorKind::NoSpace => {
                self.give_up(owner, &error.to_string());
                return Ok(());
            }
            (Err(error), _) => return Err(error.into()),
        };
        if self.lane.is_dead(owner) {
            return Ok(());
        }
        script.advance(&mut self.disk);
        if script.is_finished() {
            self.job_done(owner, script.purpose, outcome);
        } else {
            self.lane.current = Some((owner, script));
        }
        Ok(())
    }

    /// What is being taken or received comes to nothing; says so once its file is gone.
    pub(super) fn give_up(&mut self, owner: Owner, why: &str) {
        let why = why.to_owned();
        let (file, event) = match owner {
            Owner::None => return,
            Owner::Taking(number, index) => {
                self.lane.dead_takes = self.lane.dead_takes.max(number);
                self.taking = self.taking.take().filter(|taking| taking.owner != owner);
                (TAKING_FILE, LogEvent::SnapshotFailed { index, why })
            }
            Owner::Receiving(number, index) => {
                self.lane.dead_receptions = self.lane.dead_receptions.max(number);
                self.receiving = self.receiving.take().filter(|coming| coming.owner != owner);
                (RECEIVING_FILE, LogEvent::SnapshotRejected { index, why })
            }
        };
        let delete = vec![Operation::Delete { file: file.to_owned() }];
        self.lane.push_front(Owner::None, delete, Purpose::Report(Some(event)));
    }

    /// A job has come to its end; `outcome` is that of its last operation.
    fn job_done(&mut self, owner: Owner, purpose: Purpose, outcome: Option<Outcome>) {
        let bytes = outcome.map(Outcome::into_bytes);
        match purpose {
            Purpose::Report(event) => self.events.extend(event),
            Purpose::Name { snapshot, bytes, event } => {
                self.snapshots.insert(snapshot.index, (snapshot.term, bytes));
                self.events.push(event);
            }
            Purpose::Verify(verification) => self.verify(owner, verification, bytes),
            Purpose::Send { to, index, offset, total } => {
                self.send_bytes(to, index, offset, total, bytes);
            }
            Purpose::Part { index, at } => self.part_read(index, at, bytes),
            // The log's own scripts never come here.
            Purpose::Group { .. }
            | Purpose::IdleMark
            | Purpose::ChangeSegment(_)
            | Purpose::Allocation { .. } => {}
        }
    }
}

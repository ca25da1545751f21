//! Snapshots of this replica's own: when one is taken, and how, while writes go on.
//!
//! # The problem
//! A snapshot of a large state takes long to write. Writes must go on meanwhile, and it must be a
//! snapshot of *one* moment. If all replicas took theirs at once, all disks would be busy at once.
//! And it must never hold more than the log beneath it: a node that lost its log's tail in a crash
//! would come back with entries in its state that were never committed.
//!
//! # The rule
//! 1. *When*: about [`snapshot_log_bytes`](super::Options::snapshot_log_bytes) of commands were
//!    applied since the last one; for each snapshot up to a quarter more or less, by this replica's
//!    own seed, so that replicas drift apart. Or an operator wants one.
//! 2. *What*: a clone of the state machine, O(1), as of the last entry applied.
//! 3. *How*: one part at a time, the next when the one before is durable. So the disk is never
//!    given more than a part beside the log's own groups, and memory holds one part.
//! 4. *The end*: only when the log itself is durable up to the snapshot's index. Then the core is
//!    told, marks it in the log, and says what may be forgotten.
//!
//! ```text
//!   clone ─► begin, part ─► (durable) part ─► … ─► the log is durable up there? finish
//!         ─► SnapshotSaved ─► core ─► Persist{mark} ─► Compact{to} ─► segments, old snapshots go
//! ```
//!
//! # Caveats
//! While a received snapshot is being installed, none is taken: the state is about to be another.

use std::time::Duration;

use bytes::Bytes;

use super::Running;
use crate::consensus::{Consensus, Input, SnapshotMark};
use crate::kv::{Machine, MachineSnapshot};
use crate::museum::Bug;
use crate::storage::Disk;
use crate::types::{Instant, LogIndex, Random};

/// After a snapshot that failed (a full disk, mostly).
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What an entry counts beside its payload.
const ENTRY_BYTES: u64 = 40;

/// Snapshots that this replica takes of its own state.
#[derive(Clone, Debug)]
pub struct Snapshots {
    log_bytes: u64,
    random: Random,
    /// This time's: around `log_bytes`.
    threshold: u64,
    /// Bytes of log applied since the last snapshot's state.
    applied_bytes: u64,
    /// The last entry that a snapshot here covers.
    newest: LogIndex,
    taking: Option<Taking>,
    retry_at: Option<Instant>,
    /// For a bug of the museum: the state before the last entry.
    before_last: Option<Machine>,
}

/// A snapshot on its way to the disk.
#[derive(Clone, Debug)]
struct Taking {
    index: LogIndex,
    /// Of [`Snapshots::applied_bytes`], what it covers.
    applied_bytes: u64,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    /// A part is on its way to the disk; these come after it.
    Writing(Box<MachineSnapshot>),
    /// All parts are written; the log is not yet durable so far.
    Written,
    /// On its way to its name.
    Finishing,
}

impl Snapshots {
    /// None are under way. The newest covers the log up to `newest`.
    pub fn starting_from(newest: LogIndex, log_bytes: u64, seed: u64) -> Snapshots {
        let mut snapshots = Snapshots {
            log_bytes,
            random: Random::from_seed(seed.rotate_left(17)),
            threshold: 0,
            applied_bytes: 0,
            newest,
            taking: None,
            retry_at: None,
            before_last: None,
        };
        snapshots.draw_threshold();
        snapshots
    }

    fn draw_threshold(&mut self) {
        let spread = self.log_bytes / 2;
        let less = self.log_bytes - self.log_bytes / 4;
        self.threshold = less.saturating_add(self.random.below(spread.saturating_add(1).max(1)));
    }

    /// An entry with so many bytes of payload is being applied.
    pub fn count(&mut self, bytes: usize) {
        self.applied_bytes += bytes as u64 + ENTRY_BYTES;
    }

    /// For a bug of the museum: the state right before the last entry.
    pub fn remember(&mut self, machine: Machine) {
        self.before_last = Some(machine);
    }

    /// The last entry that a snapshot here covers.
    pub fn newest(&self) -> LogIndex {
        self.newest
    }

    /// What is being written.
    pub fn taking(&self) -> Option<LogIndex> {
        self.taking.as_ref().map(|taking| taking.index)
    }

    /// The state is now that of a received snapshot of `index`.
    pub fn installed(&mut self, index: LogIndex) {
        self.newest = index;
        self.applied_bytes = 0;
        self.before_last = None;
    }
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// An operator wants a snapshot, whatever was applied since the last one.
    pub(super) fn snapshot_wanted(&mut self) {
        self.snapshots.retry_at = None;
        let newest = self.snapshots.newest;
        if newest >= self.machine.applied_index() && self.installing.is_none() {
            self.snapshot_ended(newest, None);
        }
    }

    /// With each turn: begins a snapshot if it is time, and ends one that waits for the log.
    pub(super) fn look_after_snapshots(&mut self, now: Instant) {
        match &self.snapshots.taking {
            Some(Taking { index, stage: Stage::Written, .. })
                if self.core.status().durable_index >= *index =>
            {
                self.log.snapshot_finish();
                if let Some(taking) = &mut self.snapshots.taking {
                    taking.stage = Stage::Finishing;
                }
            }
            Some(_) => {}
            None if self.is_snapshot_due(now) => self.begin_snapshot(),
            None => {}
        }
    }

    fn is_snapshot_due(&self, now: Instant) -> bool {
        let Snapshots { newest, applied_bytes, threshold, retry_at, .. } = self.snapshots;
        let wanted = applied_bytes >= threshold || self.is_snapshot_wanted(newest);
        wanted
            && self.installing.is_none()
            && self.machine.applied_index() > newest
            && retry_at.is_none_or(|at| at <= now)
    }

    fn begin_snapshot(&mut self) {
        let index = self.machine.applied_index();
        let mut parts = match self.snapshots.before_last.take() {
            Some(mut before) if self.bugs.has(Bug::SnapshotAheadOfState) => {
                before.skip(index);
                before.snapshot()
            }
            _ => self.machine.snapshot(),
        };
        let (term, configuration) = (self.applied_term, self.applied_configuration.clone());
        self.log.snapshot_begin(SnapshotMark { index, term, configuration });
        if let Some(part) = parts.next() {
            self.log.snapshot_write(&part);
        }
        self.snapshots.draw_threshold();
        self.snapshots.taking = Some(Taking {
            index,
            applied_bytes: self.snapshots.applied_bytes,
            stage: Stage::Writing(Box::new(parts)),
        });
    }

    /// A part is durable: the next one may go.
    pub(super) fn snapshot_part_written(&mut self) {
        let Some(Taking { stage, .. }) = &mut self.snapshots.taking else { return };
        let Stage::Writing(parts) = stage else { return };
        let part: Option<Bytes> = parts.next();
        match part {
            Some(part) => self.log.snapshot_write(&part),
            None => *stage = Stage::Written,
        }
    }

    /// It is durable under its name.
    pub(super) fn snapshot_saved(&mut self, now: Instant, index: LogIndex) {
        if let Some(taking) = self.snapshots.taking.take_if(|taking| taking.index == index) {
            self.snapshots.applied_bytes -= taking.applied_bytes.min(self.snapshots.applied_bytes);
        }
        self.snapshots.newest = self.snapshots.newest.max(index);
        self.counters.snapshots_taken += 1;
        self.snapshot_ended(index, None);
        self.step(now, Input::SnapshotSaved { index });
    }

    pub(super) fn snapshot_failed(&mut self, now: Instant, index: LogIndex, why: &str) {
        // One that was given up for a received one is not missed.
        if self.snapshots.taking.take_if(|taking| taking.index == index).is_some() {
            self.counters.snapshots_failed += 1;
            self.snapshots.retry_at = Some(now + RETRY_AFTER);
            self.snapshot_ended(index, Some(why));
        }
    }

    /// Gives up the snapshot that is being taken, if one is: the state is about to be another.
    pub(super) fn abandon_snapshot(&mut self) {
        if self.snapshots.taking.take().is_some() {
            self.log.snapshot_abort();
        }
    }

    /// The core has no use for the log up to `to` any more.
    pub(super) fn compact(&mut self, to: LogIndex) {
        self.log.compact(to);
        let mut keep = self.core.snapshots_in_use();
        keep.extend(self.installing.as_ref().map(|installing| installing.index()));
        self.log.retain_snapshots(&keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_take_their_snapshots_at_different_times_around_the_same_size() {
        let mut seen = std::collections::BTreeSet::new();
        for seed in 0..50 {
            let mut snapshots = Snapshots::starting_from(LogIndex(0), 1 << 20, seed);
            for _ in 0..20 {
                snapshots.draw_threshold();
                assert!((786_432..=1_310_720).contains(&snapshots.threshold));
                seen.insert(snapshots.threshold);
            }
        }
        assert!(seen.len() > 900);
        let never = Snapshots::starting_from(LogIndex(0), u64::MAX, 7);
        assert!(never.threshold > u64::MAX / 2);
    }
}

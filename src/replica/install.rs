//! Installing a snapshot that the leader sent.
//!
//! # The problem
//! By the time the core wants it installed, the snapshot is whole, verified and durable, and the
//! core counts its entries as applied. But to make a state machine of a gigabyte takes seconds, in
//! which the node must go on answering heartbeats; and the core goes on handing over the entries
//! that follow.
//!
//! # The rule
//! The parts are read one by one, each in a turn of its own, into a *second* machine. Until it is
//! complete, the first one stays, as old as it is: stale reads are answered from it, linearizable
//! ones wait, because it has not applied what they need. Entries that the core hands over wait in a
//! queue (it hands over a bounded number of bytes at most). Then the machines are exchanged, and
//! the queue is applied.
//!
//! Writes that were proposed here and stand at or before the snapshot's index were swallowed by it:
//! their outcome is in the state, somewhere, but nobody can say which it was. Their clients hear
//! "unknown".
//!
//! # Caveats
//! A snapshot that turns out damaged *now* was verified a moment ago: the disk or the memory is not
//! to be trusted, and the log may hold nothing before it any more. The node stops and says so. If a
//! crash comes in between, the start loads the same snapshot, by the mark that stands in the log.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Fatal, Observation, Response, Running};
use crate::consensus::{Consensus, Entry, Input, SnapshotMark};
use crate::kv::{Machine, Restore, SnapshotError};
use crate::storage::Disk;
use crate::types::{Instant, LogIndex};

/// A snapshot on its way into a machine.
#[derive(Clone, Debug)]
pub struct Installing {
    mark: SnapshotMark,
    restore: Restore,
    /// Where the part lies that is being read.
    at: u64,
    /// Committed entries that follow it.
    queue: VecDeque<Vec<Entry>>,
}

impl Installing {
    /// What it covers.
    pub fn index(&self) -> LogIndex {
        self.mark.index
    }

    /// Keeps entries until the machine is there that they are for.
    pub fn keep(&mut self, entries: Vec<Entry>) {
        self.queue.push_back(entries);
    }
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// The core wants the state to be that of the received snapshot of `index`.
    pub(super) fn install_snapshot(&mut self, index: LogIndex) {
        self.abandon_snapshot();
        let Some(mark) = self.received.take().filter(|mark| mark.index == index) else {
            let why = "it was never received".to_owned();
            self.failure.get_or_insert(Fatal::Snapshot { index, why });
            return;
        };
        let (restore, at, queue) = (self.machine.restore(), 0, VecDeque::new());
        self.installing = Some(Installing { mark, restore, at, queue });
        self.log.read_part(index, at);
    }

    /// The log has read a part of a snapshot.
    pub(super) fn part_read(
        &mut self,
        now: Instant,
        index: LogIndex,
        at: u64,
        part: Option<Bytes>,
        next: Option<u64>,
    ) {
        let Some(installing) = &mut self.installing else { return };
        if (installing.index(), installing.at) != (index, at) {
            return;
        }
        let Some(part) = part else {
            let why = "a part of it cannot be read back, although it was verified when it came";
            self.failure.get_or_insert(Fatal::Snapshot { index, why: why.into() });
            return;
        };
        let taken = installing.restore.take(&part);
        match (taken, next) {
            (Err(error), _) => self.install_failed(index, &error),
            (Ok(()), Some(next)) => {
                installing.at = next;
                self.log.read_part(index, next);
            }
            (Ok(()), None) => {
                if let Some(Installing { mark, restore, queue, .. }) = self.installing.take() {
                    match restore.finish() {
                        Ok(machine) => self.exchange(now, mark, machine, queue),
                        Err(error) => self.install_failed(index, &error),
                    }
                }
            }
        }
    }

    fn install_failed(&mut self, index: LogIndex, error: &SnapshotError) {
        self.failure.get_or_insert(Fatal::Snapshot { index, why: error.to_string() });
    }

    /// From here on the state is what the snapshot holds.
    fn exchange(
        &mut self,
        now: Instant,
        mark: SnapshotMark,
        machine: Machine,
        queue: VecDeque<Vec<Entry>>,
    ) {
        let index = mark.index;
        if machine.applied_index() != index {
            let why = format!("it holds the state as of {}", machine.applied_index());
            self.failure.get_or_insert(Fatal::Snapshot { index, why });
            return;
        }
        self.machine = machine;
        self.applied_term = mark.term;
        self.applied_configuration = mark.configuration;
        self.snapshots.installed(index);
        self.note(|| Observation::Installed { index });
        self.counters.snapshots_installed += 1;
        for ticket in self.pending.proposed_up_to(index) {
            let why = "this node was sent a snapshot in which the write may be contained";
            self.finish(ticket, Response::Unknown(why.into()));
        }
        self.orders_swallowed(index);
        self.answer_reads_up_to(now, index);
        // All of it before the core is told, which would hand over what follows.
        let mut last = None;
        for entries in queue {
            last = self.apply(now, entries).or(last);
        }
        if let Some(index) = last {
            self.step(now, Input::Applied { index });
        }
    }
}

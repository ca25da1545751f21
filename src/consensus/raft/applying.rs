//! Applying: committed entries go to the state machine, in order, as fast as it takes them (figure
//! 2: "if commitIndex > lastApplied: increment lastApplied, apply log\[lastApplied\]").
//!
//! The state machine may be slow, and after a restart it has far to go. So only a bounded number of
//! bytes is handed over at a time, and entries that are not cached are read from the disk.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::state::Raft;
use crate::consensus::{Effect, Entry};
use crate::types::LogIndex;

/// Where the state machine stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Applying {
    /// The last entry handed to it…
    pub handed: LogIndex,
    /// …and the last that it has applied.
    pub applied: LogIndex,
    /// The last index and bytes of each batch between the two.
    pub batches: VecDeque<(LogIndex, usize)>,
    pub bytes: usize,
    /// The disk has been asked for the next entries.
    pub reading: bool,
}

impl Applying {
    /// A state machine that holds what a snapshot of `index` holds.
    pub fn starting_from(index: LogIndex) -> Applying {
        let batches = VecDeque::new();
        Applying { handed: index, applied: index, batches, bytes: 0, reading: false }
    }
}

impl Raft {
    pub(super) fn apply_committed(&mut self) {
        while self.applying.handed < self.commit_index
            && self.applying.bytes < self.config.max_applying_bytes
            && !self.applying.reading
        {
            let from = self.applying.handed.next();
            let max_bytes = self.config.max_applying_bytes - self.applying.bytes;
            if from < self.log.cached_from() {
                self.applying.reading = true;
                let to = self.commit_index.min(self.log.cached_from().previous());
                let max_bytes = max_bytes.min(self.config.max_message_bytes);
                self.effect(Effect::ReadLog { from, to, max_bytes });
            } else {
                let entries = self.log.slice(from, self.commit_index, max_bytes);
                self.hand_over(entries);
            }
        }
    }

    fn hand_over(&mut self, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        let bytes = entries.iter().map(Entry::size).sum();
        let Applying { handed, batches, bytes: total, .. } = &mut self.applying;
        *handed = last;
        batches.push_back((last, bytes));
        *total += bytes;
        self.effect(Effect::Apply { entries, proof: () });
    }

    /// The disk has read entries; perhaps for the state machine.
    pub(super) fn log_read_for_applying(&mut self, from: LogIndex, entries: &[Entry]) {
        if self.applying.reading && from == self.applying.handed.next() {
            self.applying.reading = false;
            let committed = entries.iter().take_while(|e| e.index <= self.commit_index);
            self.hand_over(committed.cloned().collect());
            self.apply_committed();
        }
    }

    /// The state machine has applied everything up to `index`.
    pub(super) fn applied(&mut self, index: LogIndex) {
        assert!(index <= self.applying.handed, "applied what was never handed over");
        let applying = &mut self.applying;
        applying.applied = applying.applied.max(index);
        while let Some((_, bytes)) = applying.batches.pop_front_if(|batch| batch.0 <= index) {
            applying.bytes -= bytes;
        }
        if let Some(leader) = self.leading_mut() {
            while let Some((_, bytes)) = leader.proposed.pop_front_if(|batch| batch.0 <= index) {
                leader.proposed_bytes -= bytes;
            }
        }
        self.apply_committed();
        self.shrink_cache();
    }

    /// What is applied and durable is needed only for followers a little behind.
    pub(super) fn shrink_cache(&mut self) {
        let keep_from = self.applying.applied.min(self.durability.index).next();
        self.log.shrink_cache(keep_from, self.config.cache_bytes);
    }
}

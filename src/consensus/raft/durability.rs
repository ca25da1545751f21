//! Durability: what the disk has, and what it is about to have.
//!
//! A disk writes while the core goes on. So the core knows its log in two lengths: what it *holds*
//! and what is *durable*. Whatever it tells others counts only the second (figure 2: persistent
//! state is "updated on stable storage before responding to RPCs").
//!
//! Stories: `a_vote_waits_for_the_disk`, `an_acknowledgement_waits_for_the_disk`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::types::{LogIndex, Seq};

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Durability {
    /// The log is durable up to here.
    pub index: LogIndex,
    /// The last write asked for.
    pub asked: Seq,
    /// The last write reported done.
    pub done: Seq,
    /// The write that holds the current hard state.
    pub hard_state: Seq,
    /// Writes under way that hold entries or a snapshot's mark: each number, and the last entry it
    /// still vouches for.
    pub(super) pending: VecDeque<(Seq, LogIndex)>,
}

impl Durability {
    /// As after a start: what was found is durable.
    pub fn recover(last_index: LogIndex) -> Durability {
        Durability {
            index: last_index,
            asked: Seq(0),
            done: Seq(0),
            hard_state: Seq(0),
            pending: VecDeque::new(),
        }
    }

    /// The write numbered `seq` is under way, after which the log is durable up to `last`.
    pub fn vouch(&mut self, seq: Seq, last: LogIndex) {
        self.pending.push_back((seq, last));
    }

    /// The writes up to `seq` are done.
    pub fn persisted(&mut self, seq: Seq) {
        assert!(seq <= self.asked, "the disk reports a write nobody asked for");
        self.done = self.done.max(seq);
        while let Some((_, last)) = self.pending.pop_front_if(|write| write.0 <= seq) {
            self.index = self.index.max(last);
        }
    }

    /// The write after which `index` is durable, if it is not yet.
    pub fn awaited_for(&self, index: LogIndex) -> Option<Seq> {
        if index <= self.index {
            return None;
        }
        let covering = self.pending.iter().find(|(_, last)| *last >= index);
        Some(covering.map_or(self.asked, |(seq, _)| *seq))
    }

    /// Entries from `index` on are gone: no write under way vouches for them any more.
    ///
    /// Why a later entry at the same place does not make an old write good again:
    /// 1. Write 1 holds entry 5 of term 2, and is under way.
    /// 2. A leader of term 3 replaces entry 5 (write 2); a leader of term 4 brings the entry of
    ///    term 2 back (write 3).
    /// 3. Write 1 is done. Entry 5 of term 2 is in the log *and* was in write 1, but after a crash
    ///    now the disk may hold write 2, that is, another entry 5.
    pub fn truncate_from(&mut self, index: LogIndex) {
        self.index = self.index.min(index.previous());
        for (_, last) in &mut self.pending {
            *last = (*last).min(index.previous());
        }
    }
}

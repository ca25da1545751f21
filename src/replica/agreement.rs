//! Agreement: whether the replicas are still in the same state.
//!
//! # The problem
//! Consensus makes the logs equal. If applying differs all the same (a bug, a flipped bit in
//! memory, two programs that count differently), every replica goes on answering, and they
//! contradict each other. Nobody notices for months; then nobody knows who was right.
//!
//! # The rule
//! The state machine keeps one number for its whole state ([`kv::hash`](crate::kv::hash)). At every
//! index that is a multiple of [`hash_every`](super::Options::hash_every) each replica tells all
//! others its number, and compares, among the voters:
//!
//! - A majority has another number than this one: this replica is the one that is wrong. It stops,
//!   and must not be started on this data again without a look at it.
//! - No number can reach a majority any more: nobody knows who is right. All refuse writes, so that
//!   it gets no worse, and raise an alarm; an operator decides.
//!
//! A learner compares, and does not count.
//!
//! # Caveats
//! The messages may be lost; a difference stays, so a later index shows it. A replica that catches
//! up compares with what others said lately only; whoever sees a number differ from its own at an
//! index answers with its own, so that a latecomer in the minority learns of it.

use std::collections::{BTreeMap, BTreeSet};

use super::{Fatal, Output, PeerMessage, Running};
use crate::consensus::Consensus;
use crate::storage::Disk;
use crate::types::{LogIndex, NodeId};

/// Numbers kept of each replica, this one included.
const KEPT: usize = 64;

/// What the replicas have said of their states.
#[derive(Clone, Debug)]
pub struct Agreement {
    every: u64,
    own: BTreeMap<LogIndex, u128>,
    theirs: BTreeMap<NodeId, BTreeMap<LogIndex, u128>>,
    /// Where no majority could be found.
    disagreed_at: Option<LogIndex>,
}

/// What the numbers at one index say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing yet, or nothing wrong with this replica.
    Fine,
    /// A majority of the voters has this other number.
    Minority { majority: u128 },
    /// No number can reach a majority.
    Nobody,
}

impl Agreement {
    /// To be compared at each multiple of `every`; never, if that is zero.
    pub fn at_every(every: u64) -> Agreement {
        let (own, theirs) = (BTreeMap::new(), BTreeMap::new());
        Agreement { every, own, theirs, disagreed_at: None }
    }

    /// Whether the replicas compare at `index`.
    pub fn is_due(&self, index: LogIndex) -> bool {
        self.every > 0 && index.0.is_multiple_of(self.every)
    }

    /// Where no majority could be found, if that ever happened.
    pub fn disagreed_at(&self) -> Option<LogIndex> {
        self.disagreed_at
    }

    /// Takes note of what `from` says; whether it differs from this replica's own number, and is
    /// new.
    fn heard(&mut self, from: NodeId, index: LogIndex, hash: u128) -> bool {
        let known = self.theirs.entry(from).or_default().insert(index, hash);
        shorten(self.theirs.entry(from).or_default());
        let differs = self.own.get(&index).is_some_and(|own| *own != hash);
        differs && known != Some(hash)
    }

    fn judge(&self, index: LogIndex, id: NodeId, voters: &BTreeSet<NodeId>) -> Verdict {
        let Some(own) = self.own.get(&index) else { return Verdict::Fine };
        let said = |voter: &NodeId| match *voter == id {
            true => Some(*own),
            false => self.theirs.get(voter)?.get(&index).copied(),
        };
        let mut counts: BTreeMap<u128, usize> = BTreeMap::new();
        voters.iter().filter_map(said).for_each(|hash| *counts.entry(hash).or_default() += 1);
        let Some((most, count)) = counts.iter().max_by_key(|(_, count)| **count) else {
            return Verdict::Fine;
        };
        let majority = voters.len() / 2 + 1;
        let silent = voters.len() - counts.values().sum::<usize>();
        match *count >= majority {
            true if most == own => Verdict::Fine,
            true => Verdict::Minority { majority: *most },
            false if count + silent < majority => Verdict::Nobody,
            false => Verdict::Fine,
        }
    }
}

fn shorten(said: &mut BTreeMap<LogIndex, u128>) {
    while said.len() > KEPT {
        said.pop_first();
    }
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// The state has come to an index where it is compared.
    pub(super) fn tell_state(&mut self, index: LogIndex) {
        let hash = self.machine.state_hash();
        self.agreement.own.insert(index, hash);
        shorten(&mut self.agreement.own);
        for to in self.others() {
            self.outputs.push(Output::Send { to, message: PeerMessage::StateHash { index, hash } });
        }
        self.judge_state(index);
    }

    /// Another replica tells its state at `index`.
    pub(super) fn state_told(&mut self, from: NodeId, index: LogIndex, hash: u128) {
        if !self.agreement.is_due(index) || !self.announced.members().contains(&from) {
            return;
        }
        if self.agreement.heard(from, index, hash)
            && let Some(own) = self.agreement.own.get(&index)
        {
            let message = PeerMessage::StateHash { index, hash: *own };
            self.outputs.push(Output::Send { to: from, message });
        }
        self.judge_state(index);
    }

    fn judge_state(&mut self, index: LogIndex) {
        match self.agreement.judge(index, self.id, &self.announced.voters) {
            Verdict::Fine => {}
            Verdict::Minority { majority } => {
                let own = self.agreement.own.get(&index).copied().unwrap_or_default();
                self.failure.get_or_insert(Fatal::Diverged { index, own, majority });
            }
            Verdict::Nobody => {
                self.agreement.disagreed_at.get_or_insert(index);
            }
        }
    }

    /// All members but this one.
    pub(super) fn others(&self) -> BTreeSet<NodeId> {
        let mut others = self.announced.members();
        others.remove(&self.id);
        others
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(own: u128, others: &[Option<u128>]) -> Verdict {
        let index = LogIndex(1024);
        let mut agreement = Agreement::at_every(1024);
        agreement.own.insert(index, own);
        for (place, hash) in others.iter().enumerate() {
            hash.map(|hash| agreement.heard(NodeId(place as u64 + 2), index, hash));
        }
        let voters = (1..=others.len() as u64 + 1).map(NodeId).collect();
        agreement.judge(index, NodeId(1), &voters)
    }

    #[test]
    fn only_a_majority_of_the_voters_convicts() {
        assert_eq!(judge(1, &[]), Verdict::Fine);
        assert_eq!(judge(1, &[Some(1), Some(2)]), Verdict::Fine);
        assert_eq!(judge(1, &[Some(2), None]), Verdict::Fine, "the third may say either");
        assert_eq!(judge(1, &[Some(2), Some(2)]), Verdict::Minority { majority: 2 });
        assert_eq!(judge(1, &[Some(2), Some(3)]), Verdict::Nobody);
        assert_eq!(judge(1, &[Some(2)]), Verdict::Nobody, "one against one");
        assert_eq!(judge(1, &[Some(2), Some(2), None, None]), Verdict::Fine);
        assert_eq!(judge(1, &[Some(1), Some(2), Some(2), Some(3)]), Verdict::Nobody);
    }

    #[test]
    fn a_learner_compares_and_does_not_count() {
        let index = LogIndex(1024);
        let mut agreement = Agreement::at_every(1024);
        agreement.own.insert(index, 1);
        agreement.heard(NodeId(2), index, 2);
        let voters = [NodeId(2)].into();
        let verdict = agreement.judge(index, NodeId(1), &voters);
        assert_eq!(verdict, Verdict::Minority { majority: 2 });
    }

    #[test]
    fn what_is_remembered_is_bounded_and_a_difference_is_answered_once() {
        let mut agreement = Agreement::at_every(1);
        agreement.own.insert(LogIndex(500), 7);
        for index in 0..1000 {
            let differs = agreement.heard(NodeId(2), LogIndex(index), 8);
            assert_eq!(differs, index == 500);
        }
        assert_eq!(agreement.theirs[&NodeId(2)].len(), KEPT);
        agreement.own.insert(LogIndex(999), 7);
        assert!(!agreement.heard(NodeId(2), LogIndex(999), 8), "not news");
    }
}

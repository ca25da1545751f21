//! State Machine Safety: if a server has applied a log entry at a given index to its state machine,
//! no other server will ever apply a different log entry for the same index (figure 3; §5.4.3).
//!
//! Why it matters: this is what a client relies on. All other properties serve it.
//!
//! Here is also kept what is known to be committed: the entries that anyone has applied.

use super::mirror::{Chain, Mirror, Tail};
use super::{Broken, Checked, Rule};
use crate::consensus::raft::HardState;
use crate::consensus::{Payload, Persist};
use crate::types::{LogIndex, NodeId, Term};

/// The rule.
pub static RULE: Rule = Rule {
    name: "State Machine Safety",
    section: "paper, figure 3 and §5.4.3",
    says: "if a server has applied an entry at a given index, no other server will ever apply a \
           different entry for the same index",
};

/// Committed is for ever.
pub static FOR_EVER: Rule = Rule {
    name: "committed entries stay",
    section: "paper, §5.3 and §5.4",
    says: "an entry that a server has applied is never removed from its log",
};

/// What anyone has applied, by index from 1 on.
#[derive(Debug, Default)]
pub struct Committed {
    /// Each entry's chain, who applied it first, and that node's term then.
    entries: Vec<(Chain, NodeId, Term)>,
    /// The chain up to where each node has applied.
    applied: std::collections::BTreeMap<NodeId, LogIndex>,
}

impl Committed {
    /// A node has applied an entry. True if it is the first to do so.
    pub fn applied(
        &mut self,
        id: NodeId,
        mirror: &mut Mirror,
        (index, term): (LogIndex, Term),
        payload: &Payload,
    ) -> Result<bool, Broken> {
        let place = index.0.saturating_sub(1) as usize;
        let before = match place {
            0 => Chain::default(),
            _ => self.entries.get(place - 1).map(|entry| entry.0).unwrap_or_default(),
        };
        let chain = before.then(index, term, payload);
        mirror.applied = index;
        self.applied.insert(id, index);
        match self.entries.get(place) {
            Some((first, _, _)) if *first == chain => Ok(false),
            Some((_, other, _)) => RULE
                .broken(format!(
                    "at index {index}, node {other} applied another entry than node {id}, whose \
                     entry is of term {term}"
                ))
                .map(|()| false),
            None if place > self.entries.len() => RULE
                .broken(format!(
                    "node {id} applied entry {index} without those before it, which nobody applied"
                ))
                .map(|()| false),
            None => {
                self.entries.push((chain, id, mirror.held.hard.term));
                Ok(true)
            }
        }
    }

    /// A node's state machine begins anew with what it has applied up to `index`.
    pub fn starts_from(&mut self, id: NodeId, index: LogIndex) {
        self.applied.insert(id, index);
    }

    /// A node's state machine is a snapshot's now: of what was applied somewhere, and no step back.
    pub fn installed(&mut self, id: NodeId, mirror: &mut Mirror, index: LogIndex) -> Checked {
        let before = std::mem::replace(&mut mirror.applied, index);
        self.applied.insert(id, index);
        if index < before {
            return RULE.broken(format!(
                "node {id} had applied everything up to {before}, and takes its state back to \
                 {index}"
            ));
        }
        if index > self.last() {
            return RULE.broken(format!(
                "node {id} installs a snapshot of {index}, and nobody applied more than {}",
                self.last()
            ));
        }
        Ok(())
    }

    /// The chain up to an entry that was applied.
    pub fn chain(&self, index: LogIndex) -> Option<Chain> {
        match index.0 {
            0 => Some(Chain::default()),
            index => self.entries.get(index as usize - 1).map(|entry| entry.0),
        }
    }

    /// A node wants this written; what it has applied must stay.
    pub fn is_not_removed(&self, id: NodeId, persist: &Persist<HardState>) -> Checked {
        let applied = self.applied.get(&id).copied().unwrap_or_default();
        match persist.truncate_from {
            Some(from) if from <= applied => FOR_EVER.broken(format!(
                "node {id} removes its entries from {from} on, and had applied up to {applied}"
            )),
            _ => Ok(()),
        }
    }

    /// A repair may cut only what was never committed.
    pub fn is_not_cut(&self, id: NodeId, mirror: &Mirror, tail: Tail) -> Checked {
        let cut = tail.index.next();
        match (self.chain(cut), mirror.durable.chain(cut)) {
            (Some(committed), Some(own)) if committed == own => FOR_EVER.broken(format!(
                "a repair cut the log of node {id} before entry {cut}, which was committed"
            )),
            _ => Ok(()),
        }
    }

    /// Who applied an entry first.
    pub fn first_to_apply(&self, index: LogIndex) -> Option<NodeId> {
        self.entries.get((index.0 as usize).checked_sub(1)?).map(|entry| entry.1)
    }

    /// The last entry known to be committed.
    pub fn last(&self) -> LogIndex {
        LogIndex(self.entries.len() as u64)
    }

    /// The last entry that is known to be committed in a term before `term`.
    pub fn before(&self, term: Term) -> Option<(LogIndex, Chain)> {
        let entries = self.entries.iter().enumerate().rev();
        let (place, entry) = entries.take(10_000).find(|(_, entry)| entry.2 < term)?;
        Some((LogIndex(place as u64 + 1), entry.0))
    }
}

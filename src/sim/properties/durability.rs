//! Durability: what a server has promised, it still has after a crash (figure 2, "persistent
//! state"; §5.1).
//!
//! Why it matters: a leader that counts an acknowledgement, or a candidate that counts a vote,
//! counts a *disk*. A server that comes back with less than it acknowledged makes a majority out of
//! one that is none.
//!
//! Three checks, from the outside in: what was found after a crash must be the durable log and a
//! part of what was asked for since, in order; it must hold every entry that the server has
//! acknowledged; and, where the rule itself counts, nothing is promised before it is durable.

use std::collections::BTreeMap;

use super::mirror::{Chain, Mirror, Tail};
use super::{Broken, Checked, Rule};
use crate::consensus::Persist;
use crate::consensus::raft::HardState;
use crate::types::{LogIndex, NodeId, Term};

/// The rule.
pub static RULE: Rule = Rule {
    name: "durability",
    section: "paper, figure 2 (persistent state) and §5.1",
    says: "what a server has promised to others is on its disk, and survives a crash",
};

/// What each node has acknowledged and not been told to remove since.
#[derive(Debug, Default)]
pub struct Promises(BTreeMap<NodeId, (LogIndex, Chain)>);

impl Promises {
    /// A node tells a leader that it has everything up to `index`.
    pub fn promised(&mut self, id: NodeId, mirror: &Mirror, index: LogIndex) {
        let Some(chain) = mirror.held.chain(index) else { return };
        let promise = self.0.entry(id).or_insert((index, chain));
        if index > promise.0 {
            *promise = (index, chain);
        }
    }

    /// A node is about to ask for this write. A new leader may take entries back, and with them
    /// what was promised of them.
    pub fn asked(&mut self, id: NodeId, mirror: &Mirror, persist: &Persist<HardState>) {
        let Some(from) = persist.truncate_from else { return };
        if self.0.get(&id).is_some_and(|promise| promise.0 >= from) {
            let left = from.previous();
            match mirror.held.chain(left) {
                Some(chain) => drop(self.0.insert(id, (left, chain))),
                None => drop(self.0.remove(&id)),
            }
        }
    }

    /// A node's log was repaired, and ends with `tail`: what was never committed may have been cut,
    /// and with it what was promised of it.
    pub fn repaired(&mut self, id: NodeId, mirror: &mut Mirror, tail: Tail) {
        mirror.cut(tail);
        if self.0.get(&id).is_some_and(|promise| promise.0 > tail.index) {
            self.0.remove(&id);
        }
    }

    /// What a node promised is not asked for any more.
    pub fn forget(&mut self, id: NodeId) {
        self.0.remove(&id);
    }

    /// A node has come back.
    pub fn survived(&self, id: NodeId, mirror: &Mirror) -> Checked {
        match self.0.get(&id) {
            Some((index, _)) if mirror.held.is_covered(*index) => Ok(()),
            Some((index, chain)) if mirror.held.chain(*index) != Some(*chain) => {
                RULE.broken(format!(
                    "node {id} had acknowledged entry {index}, crashed, and its log ends with {} \
                     now",
                    mirror.held.tail().index
                ))
            }
            _ => Ok(()),
        }
    }
}

/// A node found this after a crash. Says how many writes are missing.
pub fn recovered(
    id: NodeId,
    mirror: &mut Mirror,
    tail: Tail,
    hard: &HardState,
) -> Result<usize, Broken> {
    let durable = (mirror.durable.tail(), mirror.durable.hard.clone());
    let lost = mirror.recover(|log| {
        // Its term is never below that of its last entry.
        let own = match log.hard.term < log.tail().term {
            true => HardState { term: log.tail().term, voted_for: None },
            false => log.hard.clone(),
        };
        log.tail() == tail && own == *hard
    });
    lost.ok_or_else(|| Broken {
        rule: &RULE,
        how: format!(
            "node {id} came back with entry {} of term {} as its last, in term {} with {}; durable \
             were entry {} of term {}, term {} and {}, and no write that was under way explains \
             the difference",
            tail.index,
            tail.term,
            hard.term,
            vote(hard),
            durable.0.index,
            durable.0.term,
            durable.1.term,
            vote(&durable.1),
        ),
    })
}

fn vote(hard: &HardState) -> String {
    hard.voted_for.map_or("no vote".to_owned(), |id| format!("a vote for node {id}"))
}

/// A vote leaves a node: term and vote are on its disk.
pub fn vote_is_durable(id: NodeId, mirror: &Mirror, term: Term, candidate: NodeId) -> Checked {
    let hard = &mirror.durable.hard;
    if hard.term > term || (hard.term == term && hard.voted_for == Some(candidate)) {
        return Ok(());
    }
    RULE.broken(format!(
        "node {id} votes for node {candidate} in term {term}, and its disk has term {} and {}",
        hard.term,
        vote(hard)
    ))
}

/// An acknowledgement leaves a node: the entries are on its disk.
pub fn entry_is_durable(id: NodeId, mirror: &Mirror, index: LogIndex) -> Checked {
    // The acknowledgement may be an old one, of entries that another leader has replaced since.
    let durable = mirror.durable.tail().index;
    let replaced = mirror.held.tail().index < index;
    if durable >= index || replaced {
        return Ok(());
    }
    RULE.broken(format!("node {id} acknowledges entry {index}, and its disk ends with {durable}"))
}

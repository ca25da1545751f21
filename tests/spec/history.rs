//! What no single state shows: who ever led, what was ever decided, since when a read waits.
//!
//! It is part of the world that is explored: two worlds that look alike and came about differently
//! differ, if the difference could make one of them break a promise that the other keeps.

use kvraft::consensus::{Entry, Role};
use kvraft::types::{LogIndex, NodeId, Term, Ticket};

use crate::node::{Facts, Outcome};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// Who led each term, first come.
    pub leaders: Vec<(Term, NodeId)>,
    /// What was applied at each index from 1 on, by whoever was first, and in which term that was.
    pub decided: Vec<(Entry, Term)>,
    /// Reads that wait, and what was decided when they arrived.
    pub reads: Vec<(Ticket, LogIndex)>,
    /// A read that was served without something that was decided before it arrived: what it saw,
    /// and what it should have.
    pub stale: Option<(Ticket, LogIndex, LogIndex)>,
}

impl History {
    /// After a node became `facts`, and did what `outcome` says.
    pub fn after(&self, facts: &Facts, outcome: &Outcome) -> History {
        let mut next = self.clone();
        if facts.role == Role::Leader && next.leader_of(facts.term).is_none() {
            next.leaders.push((facts.term, facts.id));
            next.leaders.sort_unstable();
        }
        let new = facts.machine.iter().skip(next.decided.len());
        next.decided.extend(new.map(|entry| (entry.clone(), facts.term)));
        for (ticket, at) in &outcome.served {
            let waiting = next.reads.iter().position(|read| read.0 == *ticket);
            let Some((_, needed)) = waiting.map(|place| next.reads.remove(place)) else { continue };
            if *at < needed {
                next.stale = Some((*ticket, *at, needed));
            }
        }
        next.reads.retain(|read| !outcome.refused.contains(&read.0));
        next
    }

    /// A read arrives.
    pub fn asked(&self, ticket: Ticket) -> History {
        let mut next = self.clone();
        next.reads.push((ticket, LogIndex(self.decided.len() as u64)));
        next
    }

    pub fn leader_of(&self, term: Term) -> Option<NodeId> {
        self.leaders.iter().find(|led| led.0 == term).map(|led| led.1)
    }
}

//! Election Safety: at most one leader can be elected in a given term (figure 3; §5.2).
//!
//! Why it matters: two leaders of one term would give the same (index, term) to different entries,
//! and everything else rests on that pair naming one entry.
//!
//! It holds because each server votes at most once a term, and two majorities share a server. So
//! the vote itself is looked at too: a server that was heard to vote for two candidates of one term
//! has broken its word, whether or not both win.

use std::collections::BTreeMap;

use super::{Checked, Rule};
use crate::types::{NodeId, Term};

/// One leader a term.
pub static RULE: Rule = Rule {
    name: "Election Safety",
    section: "paper, figure 3 and §5.2",
    says: "at most one leader can be elected in a given term",
};

/// One vote a term.
pub static ONE_VOTE: Rule = Rule {
    name: "one vote a term",
    section: "paper, figure 2 and §5.2",
    says: "each server votes for at most one candidate in a given term, crash or not",
};

/// Who was elected, and who voted for whom.
#[derive(Debug, Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(Term, NodeId), NodeId>,
}

impl ElectionSafety {
    /// A node has become leader.
    pub fn leads(&mut self, id: NodeId, term: Term) -> Checked {
        match *self.leaders.entry(term).or_insert(id) {
            first if first == id => Ok(()),
            first => RULE.broken(format!("nodes {first} and {id} both lead term {term}")),
        }
    }

    /// A vote leaves a node.
    pub fn votes(&mut self, id: NodeId, term: Term, candidate: NodeId) -> Checked {
        match *self.votes.entry((term, id)).or_insert(candidate) {
            first if first == candidate => Ok(()),
            first => ONE_VOTE.broken(format!(
                "node {id} voted for node {first} in term {term}, and now for node {candidate}"
            )),
        }
    }
}

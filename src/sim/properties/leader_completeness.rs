//! Leader Completeness: if a log entry is committed in a given term, then that entry will be
//! present in the logs of the leaders for all higher-numbered terms (figure 3; §5.4).
//!
//! Why it matters: it is why entries flow in one direction only, from leaders to followers, and why
//! a leader never has to ask anyone what it missed.
//!
//! Checked when a leader is elected, against what is known to be committed, which is what anyone
//! has applied. In which term an entry was committed is known from the term of whoever applied it
//! first: that is the committing leader's, or a later one, which only makes the check weaker.

use super::mirror::Mirror;
use super::state_machine_safety::Committed;
use super::{Checked, Rule};
use crate::types::{NodeId, Term};

/// The rule.
pub static RULE: Rule = Rule {
    name: "Leader Completeness",
    section: "paper, figure 3 and §5.4",
    says: "if an entry is committed in a given term, it is present in the logs of the leaders of \
           all later terms",
};

/// A node has become leader of `term`.
pub fn check(id: NodeId, term: Term, mirror: &Mirror, committed: &Committed) -> Checked {
    let Some((index, chain)) = committed.before(term) else { return Ok(()) };
    match mirror.held.chain(index) {
        None if mirror.held.is_covered(index) => Ok(()),
        Some(own) if own == chain => Ok(()),
        own => {
            let first = committed.first_to_apply(index);
            let first = first.map(|id| format!(" and applied by node {id}")).unwrap_or_default();
            let had = match own.and_then(|_| mirror.held.term(index)) {
                Some(other) => format!("has another entry {index}, of term {other}, than the one"),
                None => format!("lacks entry {index}"),
            };
            RULE.broken(format!(
                "node {id} leads term {term} and {had} that was committed{first}; as leader it \
                 will make all others' logs like its own"
            ))
        }
    }
}

//! Linearizability: as if there were one copy (Herlihy & Wing 1990; paper §8).
//!
//! Why it matters: it is all that a client can see. A write that was acknowledged is seen by every
//! read that begins afterwards.
//!
//! Two checks. While clients run, each answer's revision is compared with the newest that anyone
//! had been told when the operation was called: it may not be older, and a write's must be newer.
//! That costs nothing and finds a stale read at once. After the run, the history of each key is
//! searched for an order that explains it ([`linearizable`](crate::verify::linearizable)), which
//! trusts no revision.

use super::{Checked, Rule};
use crate::types::Revision;
use crate::verify::linearizable::Verdict;
use crate::verify::register::{self, History};

/// The rule.
pub static RULE: Rule = Rule {
    name: "linearizability",
    section: "paper, §8",
    says: "each operation takes effect at one moment between its call and its answer; a read sees \
           every write that was acknowledged before it began",
};

/// Steps after which the search of one history is given up.
const BUDGET: u64 = 200_000;

/// An answer carries `revision`; when the operation was called, `seen` was the newest that anyone
/// had been told.
pub fn answer_is_fresh(what: &str, seen: Revision, revision: Revision, changes: bool) -> Checked {
    if revision > seen || (revision == seen && !changes) {
        return Ok(());
    }
    RULE.broken(format!(
        "{what} is answered as of revision {revision}; revision {seen} had been acknowledged \
         before it was called"
    ))
}

/// Searches the history of one key. False if the search was given up.
pub fn history_is_linearizable(key: &str, history: &History) -> Result<bool, super::Broken> {
    match register::check(history, BUDGET) {
        Verdict::Linearizable => Ok(true),
        Verdict::Undecided => Ok(false),
        Verdict::Violated { stuck } => {
            let how = match history.get(stuck) {
                Some(operation) => format!(
                    "no order explains the {} operations on {key}: at the latest {:?}, which was \
                     told {:?}, has no place",
                    history.len(),
                    operation.action,
                    operation.returned.as_ref().map(|(_, told)| told),
                ),
                None => format!("no order explains the operations on {key}"),
            };
            RULE.broken(how).map(|()| true)
        }
    }
}

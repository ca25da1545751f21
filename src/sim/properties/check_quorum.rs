//! Check-quorum: a leader that no majority answers steps down (dissertation §6.2).
//!
//! Why it matters: it does no harm to the log, but its clients wait for ever, and a cluster of
//! which one direction of one link is broken may never elect another.
//!
//! Checked on a leader that another has replaced: as long as it runs, and does not stand still, it
//! must notice within a bound, because the majority that elected the other does not answer it.

use std::time::Duration;

use super::{Checked, Rule};
use crate::types::{Instant, NodeId};

/// The rule.
pub static RULE: Rule = Rule {
    name: "check-quorum",
    section: "dissertation, §6.2",
    says: "a leader that has not heard a majority within an election time-out steps down",
};

/// An election time-out or two, on the slowest of clocks.
const BOUND: Duration = Duration::from_millis(1_500);

/// A node believes to lead, and another has led a newer term since then.
pub fn leads_since(id: NodeId, since: Instant, now: Instant) -> Checked {
    if now.since(since) <= BOUND {
        return Ok(());
    }
    RULE.broken(format!(
        "node {id} still believes to lead, and another has led a newer term for {:?}",
        now.since(since)
    ))
}

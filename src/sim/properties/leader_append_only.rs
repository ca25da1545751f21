//! Leader Append-Only: a leader never overwrites or deletes entries in its log; it only appends new
//! entries (figure 3; §5.3).
//!
//! Why it matters: a leader's log is what all others are made equal to. One that changed behind its
//! own end could take back what it has already counted as committed.

use super::mirror::Mirror;
use super::{Checked, Rule};
use crate::consensus::Persist;
use crate::consensus::raft::HardState;
use crate::types::NodeId;

/// The rule.
pub static RULE: Rule = Rule {
    name: "Leader Append-Only",
    section: "paper, figure 3 and §5.3",
    says: "a leader never overwrites or deletes entries in its log; it only appends",
};

/// A node wants this written: if it leads, nothing may go. A write that raises the term comes from
/// a node that has just stopped to lead.
pub fn check(id: NodeId, mirror: &Mirror, persist: &Persist<HardState>) -> Checked {
    let Some(term) = mirror.leads else { return Ok(()) };
    let now = persist.hard_state.as_ref().map_or(mirror.held.hard.term, |hard| hard.term);
    match persist.truncate_from {
        Some(from) if now <= term => RULE
            .broken(format!("node {id} leads term {term} and removes its entries from {from} on")),
        _ => Ok(()),
    }
}

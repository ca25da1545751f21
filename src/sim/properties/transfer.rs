//! Leadership transfer: a leader hands over only to a server that has its whole log (dissertation
//! §3.10).
//!
//! Why it matters: one that lacks entries cannot win. It only raises the term, and the cluster is
//! without a leader for longer than if the old one had crashed.

use super::mirror::Mirror;
use super::{Checked, Rule};
use crate::types::NodeId;

/// The rule.
pub static RULE: Rule = Rule {
    name: "leadership transfer",
    section: "dissertation, §3.10",
    says: "a leader hands over only to a server that has the leader's whole log, and takes no \
           proposals meanwhile",
};

/// A leader tells `to` to stand for election.
pub fn hands_over((id, leader): (NodeId, &Mirror), (to, target): (NodeId, &Mirror)) -> Checked {
    // A leader that was removed leaves in any case, and names whoever is furthest. And the target
    // may have heard of a newer leader meanwhile, who took entries from it.
    if leader.leads.is_none() || target.held.hard.term > leader.held.hard.term {
        return Ok(());
    }
    let (ours, theirs) = (leader.held.tail().index, target.held.tail().index);
    if theirs >= ours || target.held.is_covered(ours) {
        return Ok(());
    }
    RULE.broken(format!(
        "node {id}, whose log ends with {ours}, hands over to node {to}, whose log ends with \
         {theirs}"
    ))
}

//! Pre-vote: asking whether one could win deposes nobody (dissertation §9.6).
//!
//! Why it matters: a server that comes back from a partition has heard no leader for long. If its
//! mere question raised terms, it would depose a leader that works well.

use super::{Checked, Rule};
use crate::types::NodeId;

/// The rule.
pub static RULE: Rule = Rule {
    name: "pre-vote",
    section: "dissertation, §9.6",
    says: "a pre-vote changes nobody's term, and deposes no leader",
};

/// A pre-vote of `from` made the leader `id` step down.
pub fn deposes(id: NodeId, from: NodeId) -> Checked {
    RULE.broken(format!("node {id} led, and steps down because node {from} asks for a pre-vote"))
}

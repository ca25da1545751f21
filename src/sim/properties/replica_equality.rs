//! Replica equality: replicas that have applied the same entries have the same state (paper §2,
//! replicated state machines).
//!
//! Why it matters: consensus makes the *commands* equal. That the states are equal too rests on
//! applying being deterministic, and no quorum notices when it is not.

use std::collections::BTreeMap;

use super::{Checked, Rule};
use crate::types::{LogIndex, NodeId};

/// The rule.
pub static RULE: Rule = Rule {
    name: "replica equality",
    section: "paper, §2",
    says: "replicas that have applied the same entries have the same state",
};

/// The hash of the state at each index, and who came there first.
#[derive(Debug, Default)]
pub struct ReplicaEquality(BTreeMap<LogIndex, (u128, NodeId)>);

impl ReplicaEquality {
    /// A node has applied everything up to `index`.
    pub fn state(&mut self, id: NodeId, index: LogIndex, hash: u128) -> Checked {
        match *self.0.entry(index).or_insert((hash, id)) {
            (first, _) if first == hash => Ok(()),
            (_, other) => RULE.broken(format!(
                "nodes {other} and {id} have both applied everything up to entry {index}, and \
                 their states differ"
            )),
        }
    }
}

//! Soundness: a node does not find itself, or its peers, in a state that cannot be.
//!
//! Why it matters: the core asserts its own invariants, and refuses what no correct member sends.
//! In a world where everyone is correct, neither may ever happen.

use super::Rule;

/// The rule.
pub static RULE: Rule = Rule {
    name: "soundness",
    section: "the invariants of consensus::raft, each with its own section",
    says: "no node breaks an invariant that it asserts, is sent what no correct member sends, or \
           fails to start from its own disk",
};

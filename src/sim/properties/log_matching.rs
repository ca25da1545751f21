//! Log Matching: if two logs contain an entry with the same index and term, then the logs are
//! identical in all entries up through the given index (figure 3; §5.3).
//!
//! Why it matters: it is what lets a follower check one pair of numbers, the previous entry's index
//! and term, and know that everything before agrees.
//!
//! Checked where entries are appended: whoever first has an entry of some index and term says what
//! the chain of all before it is, and everyone else must agree.

use std::collections::BTreeMap;

use super::mirror::{Chain, Mirror};
use super::{Checked, Rule};
use crate::consensus::Persist;
use crate::consensus::raft::HardState;
use crate::types::{LogIndex, NodeId, Term};

/// The rule.
pub static RULE: Rule = Rule {
    name: "Log Matching",
    section: "paper, figure 3 and §5.3",
    says: "if two logs contain an entry with the same index and term, they are identical in all \
           entries up through that index",
};

/// A node wants to keep what it has behind a snapshot: then its log must have the snapshot's last
/// entry (figure 13, rule 6). `chain` is that of the committed log up to there.
pub fn follows_snapshot(
    id: NodeId,
    mirror: &Mirror,
    persist: &Persist<HardState>,
    chain: Option<Chain>,
) -> Checked {
    let Some(mark) = persist.snapshot.as_ref().filter(|_| !persist.discard_log) else {
        return Ok(());
    };
    if mirror.held.is_covered(mark.index) || mirror.held.chain(mark.index) == chain {
        return Ok(());
    }
    RULE.broken(format!(
        "node {id} keeps its log behind a snapshot of entry {} of term {}, and does not have that \
         entry",
        mark.index, mark.term
    ))
}

/// The chain at each index and term, and who had it first.
#[derive(Debug, Default)]
pub struct LogMatching(BTreeMap<(LogIndex, Term), (Chain, NodeId)>);

impl LogMatching {
    /// A node has appended these entries.
    pub fn appended(
        &mut self,
        id: NodeId,
        mirror: &Mirror,
        persist: &Persist<HardState>,
    ) -> Checked {
        for entry in &persist.entries {
            let Some(chain) = mirror.held.chain(entry.index) else { continue };
            let first = self.0.entry((entry.index, entry.term)).or_insert((chain, id));
            if first.0 != chain {
                return RULE.broken(format!(
                    "nodes {} and {id} both have an entry {} of term {}, and differ there or \
                     before it",
                    first.1, entry.index, entry.term
                ));
            }
        }
        Ok(())
    }
}

//! **Log Matching** (figure 3; §5.3): *if two logs contain an entry with the same index and term,
//! then the logs are identical in all entries up through the given index.*
//!
//! Why it matters: it lets a leader find out by one comparison, of one entry's term, that a
//! follower agrees with it on everything before.
//!
//! Why it holds: a leader creates at most one entry at an index in its term, entries never move,
//! and a follower takes entries only after the one that the leader has before them.
//!
//! Whatever a log does not hold any more is in a snapshot, and committed; then
//! [State Machine Safety](super::state_machine_safety) speaks about it.

use super::{Property, State};
use crate::disk::Log;

pub const PROPERTY: Property = Property::of_states("Log Matching", "§5.3", judge);

fn judge(state: &State<'_>) -> Option<String> {
    for (i, a) in state.nodes.iter().enumerate() {
        for b in &state.nodes[i + 1..] {
            if let Some(index) = mismatch(&a.log, &b.log) {
                return Some(format!(
                    "the logs of nodes {} and {} agree on a term after entry {index}, and differ \
                     there",
                    a.id, b.id
                ));
            }
        }
    }
    None
}

/// An index at which the logs differ, although they agree on a term there or later.
fn mismatch(a: &Log, b: &Log) -> Option<u64> {
    let mut agree = false;
    for entry in a.entries.iter().rev() {
        let Some(other) = b.get(entry.index) else { continue };
        agree |= other.term == entry.term;
        if agree && entry != other {
            return Some(entry.index.0);
        }
    }
    None
}

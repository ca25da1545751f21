//! **State Machine Safety** (figure 3; §5.4.3): *if a server has applied a log entry at a given
//! index to its state machine, no other server will ever apply a different log entry for the same
//! index.*
//!
//! Why it matters: it is what all the others are for. State machines that apply the same commands
//! in the same order are copies of each other.
//!
//! Why it holds: what is applied is committed, every later leader has it (Leader Completeness),
//! and so has, up to there, every follower that a leader tells to commit (Log Matching).
//!
//! A state machine may also get its state from a snapshot; that must be what the entries amount to.
//! Here a state machine's state *is* the entries that it was made of, so nothing can hide.

use super::{Property, State};

pub const PROPERTY: Property = Property::of_states("State Machine Safety", "§5.4.3", judge);

fn judge(state: &State<'_>) -> Option<String> {
    state.nodes.iter().find_map(|node| {
        let decided = state.history.decided.iter().map(|(entry, _)| entry);
        let (_, other) = node.machine.iter().zip(decided).find(|(ours, first)| ours != first)?;
        Some(format!("node {} applied another entry {} than the first", node.id, other.index))
    })
}

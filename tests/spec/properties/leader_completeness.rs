//! **Leader Completeness** (figure 3; §5.4): *if a log entry is committed in a given term, then
//! that entry will be present in the logs of the leaders for all higher-numbered terms.*
//!
//! Why it matters: entries flow from leaders to followers only. An entry that a leader lacked
//! would be lost, though its client was told that it is kept.
//!
//! Why it holds: a committed entry is on a majority, a voter refuses a candidate whose log is less
//! up to date than its own (§5.4.1), and a leader counts only entries of its own term (§5.4.2,
//! figure 8).
//!
//! *Committed in a term*: some node of that term handed it to its state machine. A leader of an
//! older term, which does not know yet that its time is over, may lack it.

use kvraft::consensus::Role;

use super::{Property, State};

pub const PROPERTY: Property = Property::of_states("Leader Completeness", "§5.4", judge);

fn judge(state: &State<'_>) -> Option<String> {
    let leaders = state.nodes.iter().filter(|node| node.role == Role::Leader);
    leaders.into_iter().find_map(|node| {
        let before = state.history.decided.iter().filter(|(_, term)| *term <= node.term);
        let gone = node.log.start.0;
        let missing = before
            .into_iter()
            .find(|(entry, _)| entry.index > gone && node.log.get(entry.index) != Some(entry));
        missing.map(|(entry, term)| {
            format!(
                "node {} leads term {} without entry {}/{}, which was committed in term {term}",
                node.id, node.term, entry.index, entry.term
            )
        })
    })
}

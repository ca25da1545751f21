//! **Election Safety** (figure 3; §5.2): *at most one leader can be elected in a given term.*
//!
//! Why it matters: a term's entries are told from another's by the term alone. Two leaders of one
//! term could put different entries at one index, and nobody could tell them apart.
//!
//! Why it holds: a candidate needs votes from a majority, each server votes once a term, and any
//! two majorities share a server. During a change of membership both sets' majorities are needed.
//!
//! *At most one, ever*: a leader that has stepped down counts too. So the history is asked, which
//! knows the first leader of each term.

use kvraft::consensus::Role;

use super::{Property, State};

pub const PROPERTY: Property = Property::of_states("Election Safety", "§5.2", judge);

fn judge(state: &State<'_>) -> Option<String> {
    let leaders = state.nodes.iter().filter(|node| node.role == Role::Leader);
    leaders.into_iter().find_map(|node| {
        let first = state.history.leader_of(node.term)?;
        (first != node.id)
            .then(|| format!("nodes {first} and {} both led term {}", node.id, node.term))
    })
}

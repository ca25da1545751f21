//! **Leader Append-Only** (figure 3; §5.3): *a leader never overwrites or deletes entries in its
//! log; it only appends new entries.*
//!
//! Why it matters: a leader counts who has its entries. What it counted must stay what it was.
//!
//! Why it holds: only a follower removes entries, and a server that leads a term follows nobody in
//! it. So this is a property of steps: as long as a node leads one term, its log only grows. What
//! is compacted away is not deleted: the snapshot holds it.

use kvraft::consensus::Role;

use super::Property;
use crate::node::Facts;

pub const PROPERTY: Property = Property::of_steps("Leader Append-Only", "§5.3", judge);

fn judge(before: &Facts, after: &Facts) -> Option<String> {
    let leads = |node: &Facts| node.role == Role::Leader;
    if !leads(before) || !leads(after) || before.term != after.term {
        return None;
    }
    let kept = before.log.entries.iter().filter(|entry| entry.index > after.log.start.0);
    kept.into_iter().find(|entry| after.log.get(entry.index) != Some(*entry)).map(|entry| {
        format!("node {} led term {} and changed its entry {}", after.id, after.term, entry.index)
    })
}

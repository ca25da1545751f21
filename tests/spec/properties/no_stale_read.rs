//! **No stale read** (§8; dissertation §6.4): *a read sees every write that was acknowledged before
//! the read arrived.*
//!
//! Why it matters: it is what makes a group of copies look like one.
//!
//! Why it holds: a leader serves a read at its commit index only after the no-op of its term is
//! committed, and after a majority has confirmed, later than the read arrived, that it still leads.
//!
//! Whatever anyone's state machine had applied when the read arrived may have been acknowledged. A
//! read served *at* an index sees the state as of there or later.

use super::{Property, State};

pub const PROPERTY: Property = Property::of_states("No stale read", "§8", judge);

fn judge(state: &State<'_>) -> Option<String> {
    let (ticket, at, needed) = state.history.stale?;
    Some(format!(
        "read {ticket} was served as of entry {at}, but entry {needed} was applied before it came"
    ))
}

//! The safety properties of the paper's figure 3, and no stale read: one a file, each a predicate
//! over a whole state, or over the step from one to the next.
//!
//! # How these relate to the simulator's
//! `src/sim/properties` says the same of the same core, for long lives of whole replicas, and so
//! must look only at what changed: an entry arrived here, a vote left there. That is fast, and it
//! is the judge that could overlook something. These look at *everything* that there is, every
//! time: slow, and as plain as the paper's own words. A bug that only one of the two judges sees
//! is a bug of the other.

mod election_safety;
mod leader_append_only;
mod leader_completeness;
mod log_matching;
mod no_stale_read;
mod state_machine_safety;

use crate::history::History;
use crate::node::Facts;

/// All nodes at one moment, and what came before.
pub struct State<'a> {
    pub nodes: &'a [&'a Facts],
    pub history: &'a History,
}

/// A property: its name in figure 3, and where the paper argues for it.
#[derive(Clone, Copy)]
pub struct Property {
    pub name: &'static str,
    pub section: &'static str,
    /// Why it does not hold of this state.
    pub of_state: fn(&State<'_>) -> Option<String>,
    /// Why it does not hold of one node's step.
    pub of_step: fn(&Facts, &Facts) -> Option<String>,
}

impl Property {
    const fn of_states(
        name: &'static str,
        section: &'static str,
        of_state: fn(&State<'_>) -> Option<String>,
    ) -> Property {
        Property { name, section, of_state, of_step: |_, _| None }
    }

    const fn of_steps(
        name: &'static str,
        section: &'static str,
        of_step: fn(&Facts, &Facts) -> Option<String>,
    ) -> Property {
        Property { name, section, of_state: |_| None, of_step }
    }
}

/// In figure 3's order, and then the one about reads.
pub const ALL: &[Property] = &[
    election_safety::PROPERTY,
    leader_append_only::PROPERTY,
    log_matching::PROPERTY,
    leader_completeness::PROPERTY,
    state_machine_safety::PROPERTY,
    no_stale_read::PROPERTY,
];

//! What a checker may see of a replica that nobody else needs to.
//!
//! A node shows what it *says*: messages, answers, figures. Raft's properties are about what it
//! *holds*: which entries are in its log, which it promised to keep, which it applied. A checker
//! that asked for all of that after every step would spend its time copying what did not change.
//! So a replica that is being observed notes what changes, as it changes, and hands it out when
//! asked. One that is not observed, as in every node, notes nothing.

use crate::consensus::{Consensus, Payload, Persist};
use crate::kv::{Machine, Outcome};
use crate::storage::Disk;
use crate::types::{LogIndex, Seq, Term};

use super::Running;

/// One change, in the order in which they happened.
#[derive(Clone, Debug)]
pub enum Observation<C: Consensus> {
    /// The core wants this in the log; the disk does not have it yet.
    Asked(Persist<C::HardState>),
    /// The write of this number, and all before it, are durable.
    Durable(Seq),
    /// The core asks for entries that it does not have in memory any more.
    ReadLog { from: LogIndex },
    /// A snapshot taken here is durable.
    SnapshotSaved { index: LogIndex },
    /// The log may forget what lies up to here.
    Compacted { to: LogIndex },
    /// The state machine is what a received snapshot holds.
    Installed { index: LogIndex },
    /// The entry was applied; `outcome` is the state machine's, if it was a command.
    Applied { index: LogIndex, term: Term, payload: Payload, outcome: Option<Outcome> },
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// From now on, changes are noted.
    pub fn observe(&mut self) {
        self.observations.get_or_insert_default();
    }

    /// What changed since this was last asked.
    pub fn take_observations(&mut self) -> Vec<Observation<C>> {
        self.observations.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(super) fn note(&mut self, observation: impl FnOnce() -> Observation<C>) {
        if let Some(observations) = &mut self.observations {
            observations.push(observation());
        }
    }

    /// The consensus core.
    pub fn core(&self) -> &C {
        &self.core
    }

    /// The state machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }
}

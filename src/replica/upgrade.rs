//! Upgrade: when the state machine's version is raised.
//!
//! # The problem
//! A new version's behaviour must begin at one entry, the same for all
//! ([`kv::version`](crate::kv::version)). A leader that proposed it too early would stop every
//! member whose program is older.
//!
//! # The rule
//! A replica whose program knows more than the version in force tells its leader so, every 200 ms.
//! A leader that has heard from *all* members, learners too, within the last seconds that they know
//! the next version, proposes to raise it. Nobody has to tell what is in force already, so this
//! falls silent as soon as the cluster is up to date.
//!
//! # Caveats
//! A proposal may be lost with its leader, or made twice: a raise that is not the next one is
//! refused, alike everywhere. A member that is exchanged for an older program right between its
//! word and the raise stops when it meets the raise, and says what it needs.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Output, PeerMessage, Running};
use crate::consensus::Consensus;
use crate::kv::Operation;
use crate::storage::Disk;
use crate::types::{Instant, NodeId};

/// Between two times that a replica tells, or a leader counts. A new cluster comes to the newest
/// version within as many of them as there are versions, and meanwhile refuses what is new.
const EVERY: Duration = Duration::from_millis(200);

/// What was heard longer ago does not count.
const VALID: Duration = Duration::from_secs(3);

/// What members have said that their programs know.
#[derive(Clone, Debug)]
pub struct Upgrade {
    /// When to tell or count next.
    next: Instant,
    heard: BTreeMap<NodeId, (u16, Instant)>,
}

impl Upgrade {
    /// Of a replica that starts at `now`.
    pub fn starting_at(now: Instant) -> Upgrade {
        Upgrade { next: now + EVERY, heard: BTreeMap::new() }
    }
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// When this replica wants to tell or count next, if there is anything to raise.
    pub(super) fn upgrade_deadline(&self) -> Option<Instant> {
        (self.machine.supports() > self.machine.version()).then_some(self.upgrade.next)
    }

    /// Tells the leader what this program knows; or proposes a raise, if this replica leads and all
    /// are ready.
    pub(super) fn look_after_upgrade(&mut self, now: Instant) {
        if self.upgrade_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        self.upgrade.next = now + EVERY;
        match self.core.leader() {
            Some(id) if id == self.id && self.all_are_ready(now) => {
                let to = self.machine.version() + 1;
                let _ = self.propose_of_itself(Operation::RaiseVersion { to });
            }
            Some(id) if id == self.id => {}
            Some(to) => {
                let message = PeerMessage::Supports { version: self.machine.supports() };
                self.outputs.push(Output::Send { to, message });
            }
            None => {}
        }
    }

    /// A member tells what its program knows.
    pub(super) fn support_told(&mut self, now: Instant, from: NodeId, version: u16) {
        if self.announced.members().contains(&from) {
            self.upgrade.heard.insert(from, (version, now));
        }
    }

    /// Whether all other members know the next version.
    fn all_are_ready(&self, now: Instant) -> bool {
        let to = self.machine.version() + 1;
        let ready = |id: &NodeId| {
            self.upgrade
                .heard
                .get(id)
                .is_some_and(|(version, heard)| *version >= to && now.since(*heard) <= VALID)
        };
        self.others().iter().all(ready)
    }
}

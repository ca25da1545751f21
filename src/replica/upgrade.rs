//! Upgrade: when the state machine's version is raised.
//!
//! # The problem
//! A new version's behaviour must begin at one entry, the same for all
//! ([`kv::version`](crate::kv::version)). A leader that proposed it too early would stop every
//! member whose program is older.
//!
//! # The rule
//! A replica whose program knows more than the version in force tells its leader so: at once when
//! there is a new leader, and every few heartbeats. A leader that has heard from *all* members,
//! learners too, within the last seconds that they know the next version, proposes to raise it.
//! Nobody has to tell what is in force already: this falls silent once the cluster is up to date.
//!
//! So a new cluster is at the latest version some round trips after its first election, before
//! anybody can want what an older one refuses.
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
use crate::types::{Instant, NodeId, Term};

/// Heartbeats between two times that a replica tells, or a leader counts, as long as nothing
/// changes: enough for a proposal to be applied.
const EVERY_HEARTBEATS: u32 = 4;

/// What was said last longer ago than so many of these times does not count.
const VALID_TIMES: u32 = 15;

/// What members have said that their programs know.
#[derive(Clone, Debug)]
pub struct Upgrade {
    every: Duration,
    /// When to tell or count next.
    next: Instant,
    /// The leader and the version in force when it was told or counted last.
    under: (Option<(NodeId, Term)>, u16),
    heard: BTreeMap<NodeId, (u16, Instant)>,
}

impl Upgrade {
    /// Of a replica that starts at `now`, in a cluster with a `heartbeat` this often.
    pub fn starting_at(now: Instant, heartbeat: Duration) -> Upgrade {
        let every = heartbeat * EVERY_HEARTBEATS;
        Upgrade { every, next: now, under: (None, 0), heard: BTreeMap::new() }
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
        let Some(deadline) = self.upgrade_deadline() else { return };
        let under = (self.known_leader, self.machine.version());
        if deadline > now && under == self.upgrade.under {
            return;
        }
        (self.upgrade.next, self.upgrade.under) = (now + self.upgrade.every, under);
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
        if !self.announced.members().contains(&from) {
            return;
        }
        let before = self.upgrade.heard.insert(from, (version, now));
        if before.is_none_or(|(before, _)| before < version) {
            self.upgrade.next = now;
        }
    }

    /// Whether all other members know the next version.
    fn all_are_ready(&self, now: Instant) -> bool {
        let (to, valid) = (self.machine.version() + 1, self.upgrade.every * VALID_TIMES);
        let ready = |id: &NodeId| {
            self.upgrade
                .heard
                .get(id)
                .is_some_and(|(version, heard)| *version >= to && now.since(*heard) <= valid)
        };
        self.others().iter().all(ready)
    }
}

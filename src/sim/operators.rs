//! Operators: who change the membership, hand the leadership over and take snapshots while all else
//! goes wrong; and what became of the nodes that came and went.

use std::time::Duration;

use super::coverage::Seen;
use super::node::Node;
use super::properties::Checked;
use super::schedule::{Errand, Loss, Target};
use super::world::{Happening, World, unsound};
use crate::consensus::raft::Raft;
use crate::consensus::{Change, Configuration, Consensus, Payload};
use crate::museum::Bug;
use crate::replica::{Event, Observation, Order, OrderResult};
use crate::types::{LogIndex, NodeId, Ticket};

/// How long an operator waits.
const TIMEOUT: Duration = Duration::from_secs(3);

/// How long a removed node lingers, at most: its process is retired by whoever runs it, some time
/// after.
const LINGERS: u64 = 2_000;

impl World {
    /// An operator asks the leader, or whoever comes first if nobody leads.
    pub fn run_errand(&mut self, errand: Errand) -> Checked {
        let leader = self.leader();
        let (place, order) = match errand {
            Errand::Snapshot { target } => (self.find(target), Some(Order::TakeSnapshot)),
            Errand::Transfer { to } => {
                let to = to.map(|to| self.nodes[self.find(to)].id);
                (leader, Some(Order::Transfer { to }))
            }
            _ => {
                let changes = self.changes(errand, leader)?;
                (leader, changes.map(|changes| Order::ChangeMembership { changes }))
            }
        };
        let node = &self.nodes[place];
        let (Some(order), true) = (order, node.is_up() && node.paused == 0) else { return Ok(()) };
        // No client's: those end with the client's place.
        let ticket = Ticket(u64::MAX - self.steps);
        self.turn(place, Event::Order { ticket, order, timeout: TIMEOUT })
    }

    /// The changes that an errand means, as the leader sees the members.
    fn changes(
        &mut self,
        errand: Errand,
        leader: usize,
    ) -> Result<Option<Vec<Change>>, super::Broken> {
        let Some(core) = self.nodes[leader].core() else { return Ok(None) };
        let current = core.status().configuration;
        let learner = |nth: u64| {
            let count = current.learners.len().max(1) as u64;
            current.learners.iter().nth((nth % count) as usize).copied()
        };
        let promote = |nth| learner(nth).map(|node| Change::Promote { node });
        // Two voters are as few as may be, and most must have a disk: what crashes comes back.
        let voter = |target: Target| {
            let id = self.nodes[self.find(target)].id;
            let rest = current.voters.iter().filter(|other| **other != id);
            let sound = rest.clone().filter(|id| self.has_a_disk(**id)).count();
            let enough = current.voters.len() > 2 && sound * 2 > rest.count();
            (current.voters.contains(&id) && enough).then_some(id)
        };
        Ok(match errand {
            Errand::AddLearner => {
                let joining = self.newcomer(&current)?;
                joining
                    .map(|node| vec![Change::AddLearner { node, address: format!("sim:{node}") }])
            }
            Errand::Promote { nth } => promote(nth).map(|change| vec![change]),
            Errand::Demote { target } => voter(target).map(|node| vec![Change::Demote { node }]),
            Errand::Remove { target: Target::Node(node) } if current.learners.contains(&node) => {
                Some(vec![Change::Remove { node }])
            }
            Errand::Remove { target } => voter(target).map(|node| vec![Change::Remove { node }]),
            Errand::Replace { target } => match (promote(0), voter(target)) {
                (Some(change), Some(node)) => Some(vec![change, Change::Remove { node }]),
                _ => None,
            },
            Errand::Transfer { .. } | Errand::Snapshot { .. } => None,
        })
    }

    fn has_a_disk(&self, id: NodeId) -> bool {
        self.nodes.iter().any(|node| node.id == id && !node.damaged)
    }

    /// Whether the group could go on for good without `id`, whatever configuration is in force.
    fn can_spare(&self, id: NodeId) -> bool {
        let cores = self.nodes.iter().filter_map(Node::core);
        let known = cores.map(|core| core.status().configuration);
        let is_left = |other: &&NodeId| **other != id && self.has_a_disk(**other);
        known.chain([self.members.1.clone()]).all(|configuration| {
            [&configuration.voters, &configuration.outgoing].iter().all(|voters| {
                voters.is_empty() || voters.iter().filter(is_left).count() * 2 > voters.len()
            })
        })
    }

    /// A node that is no member and never was: with an empty log, and running.
    fn newcomer(&mut self, current: &Configuration) -> Result<Option<NodeId>, super::Broken> {
        let members = current.members();
        let fresh = |place: &usize| {
            let node = &self.nodes[*place];
            !node.retired && !node.removed && !members.contains(&node.id)
        };
        let first = self.schedule.nodes as usize;
        let Some(place) = (first..self.nodes.len()).find(fresh) else { return Ok(None) };
        if !self.nodes[place].born && self.disk_is_at_fault(place) {
            return Ok(None);
        }
        let node = &mut self.nodes[place];
        let id = node.id;
        if !node.born {
            node.bear(None)
                .map_err(|error| unsound(format!("node {id} cannot be created: {error}")))?;
            self.properties.created_empty(id);
            self.coverage.count(Seen::Joined);
            self.start(place)?;
        }
        Ok(Some(id))
    }

    /// An operator is answered.
    pub fn order_done(&mut self, ticket: Ticket, result: &OrderResult) {
        let now = self.now;
        let errand = u64::MAX - ticket.0;
        self.coverage.count(match result {
            OrderResult::Done(_) => Seen::OrderDone,
            OrderResult::Refused { .. } => Seen::OrderRefused,
            OrderResult::Unknown(_) => Seen::OrderUnknown,
        });
        self.story.tell(now, || match result {
            OrderResult::Done(says) => format!("operator {errand} is told: {says}"),
            OrderResult::Refused { message, .. } => {
                format!("operator {errand} is refused: {message}")
            }
            OrderResult::Unknown(why) => format!("operator {errand} does not know: {why}"),
        });
    }

    /// A removed node's process is ended.
    pub fn retire(&mut self, place: usize) {
        self.crash(place, Loss::Nothing);
        self.nodes[place].retired = true;
    }

    /// A node crashes, and its disk rots at some place, or is empty. It is repaired by the others,
    /// or they must do without it for good: so one at a time at most.
    pub fn damage(&mut self, place: usize, rots_at: Option<f64>) {
        let bug = self.schedule.setting.bugs.has(Bug::WipedNodeReturns);
        let once = self.nodes.iter().all(|node| !node.damaged) || bug;
        if !once || !self.nodes[place].born || !self.can_spare(self.nodes[place].id) {
            return;
        }
        self.crash(place, Loss::Nothing);
        let node = &mut self.nodes[place];
        match rots_at {
            Some(share) => node.damaged = node.rot(share),
            None => {
                node.wipe();
                node.damaged = true;
                self.coverage.count(Seen::Wiped);
                if bug && self.nodes[place].bear(None).is_ok() {
                    self.nodes[place].damaged = false;
                    self.properties.wiped(self.nodes[place].id);
                }
            }
        }
    }

    /// Counts what is seen to change; true if something was applied.
    pub fn count_observation(&mut self, place: usize, observation: &Observation<Raft>) -> bool {
        match observation {
            Observation::Asked(persist) => {
                self.coverage.add(Seen::Truncation, u64::from(persist.truncate_from.is_some()));
                self.coverage.add(Seen::LogDiscarded, u64::from(persist.discard_log));
                let leads = self.nodes[place].leads;
                for entry in &persist.entries {
                    if let Payload::Configuration(configuration) = &entry.payload
                        && leads
                        && !configuration.outgoing.is_empty()
                    {
                        self.coverage.count(Seen::JointChange);
                    }
                }
                false
            }
            Observation::ReadLog { .. } => {
                self.coverage.count(Seen::LogRead);
                false
            }
            Observation::SnapshotSaved { .. } => {
                self.coverage.count(Seen::SnapshotTaken);
                false
            }
            Observation::Compacted { .. } => {
                self.coverage.count(Seen::Compacted);
                false
            }
            Observation::Durable(_) => false,
            Observation::Installed { .. } => {
                self.coverage.count(Seen::SnapshotInstalled);
                true
            }
            Observation::Applied { index, payload, .. } => {
                if let Payload::Configuration(configuration) = payload {
                    self.membership_applied(*index, configuration);
                }
                true
            }
        }
    }

    /// A configuration is committed.
    fn membership_applied(&mut self, index: LogIndex, now: &Configuration) {
        if index <= self.members.0 {
            return;
        }
        let (_, before) = std::mem::replace(&mut self.members, (index, now.clone()));
        if !now.outgoing.is_empty() || index == LogIndex(1) {
            return;
        }
        self.coverage.count(Seen::ChangeDone);
        let leader = self.nodes[self.leader()].id;
        let was: Vec<NodeId> = before.members().into_iter().collect();
        for id in was {
            let voted = before.voters.contains(&id) || before.outgoing.contains(&id);
            let (votes, learns) = (now.voters.contains(&id), now.learners.contains(&id));
            let kind = match (voted, votes, learns) {
                (true, false, true) => Seen::Demoted,
                (_, false, false) => Seen::Removed,
                _ if before.learners.contains(&id) && votes => Seen::Promoted,
                _ if votes && !before.outgoing.is_empty() && !before.outgoing.contains(&id) => {
                    Seen::Promoted
                }
                _ => continue,
            };
            self.coverage.count(kind);
            if !votes && voted && id == leader {
                self.coverage.count(Seen::LeaderRemoved);
            }
            if kind == Seen::Removed {
                let node = (id.0 - 1) as usize;
                self.nodes[node].removed = true;
                let lingers = Duration::from_millis(self.digest % LINGERS);
                self.arrange(self.now + lingers, Happening::Retire { node });
            }
        }
    }
}

//! Turns: one event at one node, and all that comes of it at once.

use std::time::Duration;

use super::coverage::Seen;
use super::properties::{Broken, Checked, check_quorum};
use super::schedule::Loss;
use super::words;
use super::world::{Happening, Letter, World, unsound};
use crate::consensus::Consensus;
use crate::consensus::raft::{Message, Raft};
use crate::replica::{Event, Fatal, Observation, Output, PeerMessage, Request};
use crate::storage::LogError;
use crate::types::{NodeId, Ticket};

/// Turns of nodes.
impl World {
    /// Starts a node, unless a fault keeps it down.
    pub fn start(&mut self, place: usize) -> Checked {
        let (now, setting) = (self.now, &self.schedule.setting);
        let node = &mut self.nodes[place];
        if node.is_up() || node.held_down > 0 || !node.born || node.retired {
            return Ok(());
        }
        let id = node.id;
        let report = match node.open(now, setting) {
            Ok(report) if node.repairing && node.damaged => {
                let count = report.damaged.len();
                self.story.tell(now, || {
                    format!("{id} finds {count} entries damaged, and asks the others for them")
                });
                self.coverage.count(Seen::Damaged);
                return self.turn(place, Event::Elapsed);
            }
            Ok(report) if node.repairing => {
                let first = report.damaged.first().map(|damaged| damaged.index);
                return Err(unsound(format!("node {id} finds entry {first:?} damaged")));
            }
            Ok(report) => report,
            // Its disk fails or is full even now: whoever watches over it tries again.
            Err(error @ LogError::Disk(_)) if self.disk_is_at_fault(place) => {
                self.story.tell(now, || format!("{id} cannot start: {error}"));
                self.nodes[place].crash(Loss::Unsynced);
                self.arrange(now + RESTART, Happening::Start { node: place });
                return Ok(());
            }
            // It lost what was durable, and says so: the others must do without it.
            Err(error @ (LogError::Corrupt { .. } | LogError::NotInitialised))
                if self.nodes[place].damaged =>
            {
                self.story.tell(now, || format!("{id} refuses to start: {error}"));
                self.coverage.count(Seen::Rotten);
                self.nodes[place].retired = true;
                return Ok(());
            }
            Err(error) => return Err(unsound(format!("node {id} does not start: {error}"))),
        };
        // What was damaged besides entries did not matter.
        node.damaged = false;
        let Some(status) = node.core().map(Consensus::status) else { return Ok(()) };
        if node.life > 1 {
            self.coverage.count(Seen::Restart);
        }
        self.coverage.add(Seen::TornTail, u64::from(report.tear.is_some()));
        let torn = if report.tear.is_some() { ", after a torn tail was cut" } else { "" };
        self.story.tell(now, || {
            format!(
                "{id} starts in term {}, its log ends with {}/{}{torn}",
                status.term, status.last_index, status.last_term
            )
        });
        let lost = self.properties.started(&status, false)?;
        self.coverage.add(Seen::LostTail, u64::from(lost > 0));
        self.turn(place, Event::Elapsed)
    }

    /// The others have made a node's log whole, and it takes part from here on.
    fn repaired(&mut self, place: usize) -> Checked {
        let node = &mut self.nodes[place];
        (node.repairing, node.damaged) = (false, false);
        let (now, id) = (self.now, node.id);
        let Some(status) = node.core().map(Consensus::status) else { return Ok(()) };
        self.coverage.count(Seen::Repaired);
        self.story.tell(now, || {
            format!("{id} is whole, its log ends with {}/{}", status.last_index, status.last_term)
        });
        self.properties.started(&status, true).map(drop)
    }

    /// A node dies.
    pub fn crash(&mut self, place: usize, loss: Loss) {
        let node = &mut self.nodes[place];
        if !node.is_up() {
            return;
        }
        let (now, id) = (self.now, node.id);
        if let Some(replica) = &node.replica {
            self.coverage.add(Seen::Relayed, replica.status().counters.relayed);
        }
        let asked = node.crash(loss);
        self.properties.follows(id);
        self.coverage.count(Seen::Crash);
        self.story.tell(now, || format!("{id} crashes"));
        for ticket in asked {
            self.client_loses(ticket);
        }
    }

    /// A node is asked by a client. False if there is nobody to ask.
    pub fn ask(
        &mut self,
        place: usize,
        ticket: Ticket,
        request: Request,
        timeout: Duration,
    ) -> Result<bool, Broken> {
        let node = &mut self.nodes[place];
        if !node.is_up() {
            return Ok(false);
        }
        node.asked.insert(ticket);
        let event = Event::Client { ticket, request, timeout, trace: None };
        if node.paused > 0 {
            node.keep(event);
        } else {
            self.turn(place, event)?;
        }
        Ok(true)
    }

    /// One event at one node, and all that comes of it.
    pub fn turn(&mut self, place: usize, event: Event<Message>) -> Checked {
        let node = &mut self.nodes[place];
        let id = node.id;
        let local = node.clock.local(self.now);
        let Some(replica) = &mut node.replica else { return Ok(()) };
        replica.handle(local, event);
        let outputs = replica.finish_turn(local);
        let observations = replica.take_observations();
        let becomes_whole = node.repairing && !replica.is_repairing() && outputs.is_ok();
        self.mix(id.0);
        if becomes_whole {
            self.repaired(place)?;
        }
        self.tell_commit(place);
        self.observe(place, &observations)?;
        match outputs {
            Ok(outputs) => {
                self.lead(place)?;
                if let Some(since) = self.nodes[place].superseded {
                    check_quorum::leads_since(id, since, self.now)?;
                }
                for output in outputs {
                    self.put_out(place, output)?;
                }
                self.arrange_disk(place);
                self.arrange_wake(place);
                Ok(())
            }
            Err(
                fatal @ (Fatal::Outgrown { .. } | Fatal::Diverged { .. } | Fatal::Snapshot { .. }),
            ) => Err(unsound(format!("node {id} stops: {fatal}"))),
            Err(fatal) => {
                self.story.tell(self.now, || format!("{id} stops itself: {fatal}"));
                self.coverage.count(Seen::FailedSync);
                // What the failed sync should have made durable is gone.
                self.crash(place, Loss::Unsynced);
                self.arrange(self.now + RESTART, Happening::Start { node: place });
                Ok(())
            }
        }
    }

    fn observe(&mut self, place: usize, observations: &[Observation<Raft>]) -> Checked {
        let id = self.nodes[place].id;
        let mut applied = false;
        for observation in observations {
            if self.story.is_wanted()
                && let Some(words) = words::observation(observation)
            {
                self.story.tell(self.now, || format!("{id} {words}"));
            }
            self.properties.observe(id, observation)?;
            applied |= self.count_observation(place, observation);
        }
        if let (true, Some(replica)) = (applied, &self.nodes[place].replica) {
            let machine = replica.machine();
            let (index, hash) = (machine.applied_index(), machine.state_hash());
            self.mix(index.0 ^ hash as u64);
            self.properties.state(id, index, hash)?;
        }
        Ok(())
    }

    /// Whether a node has begun or ceased to lead.
    fn lead(&mut self, place: usize) -> Checked {
        let node = &mut self.nodes[place];
        let id = node.id;
        let Some(core) = node.core() else { return Ok(()) };
        let leads = core.leader() == Some(id);
        if leads == node.leads {
            return Ok(());
        }
        let status = core.status();
        (node.leads, node.superseded) = (leads, None);
        if !leads {
            let same_term =
                self.properties.mirror(id).is_some_and(|m| m.leads == Some(m.held.hard.term));
            self.coverage.count(if same_term { Seen::StepDown } else { Seen::LeaderReplaced });
            self.story.tell(self.now, || format!("{id} does not lead any more"));
            self.properties.follows(id);
            return Ok(());
        }
        self.coverage.count(Seen::Leader);
        self.story.tell(self.now, || format!("{id} leads term {}", status.term));
        self.tell_logs();
        self.mix(status.term.0);
        let now = self.now;
        self.elected.push((now, id));
        // Not one of a newer term: this one may have been elected by a vote that came late.
        let properties = &self.properties;
        let is_older = |other: NodeId| {
            properties.mirror(other).and_then(|m| m.leads).is_some_and(|term| term < status.term)
        };
        for other in self.nodes.iter_mut().filter(|other| other.leads && is_older(other.id)) {
            other.superseded.get_or_insert(now);
        }
        self.arrange_faults_after_election();
        self.properties.leads(id, status.term)
    }

    fn put_out(&mut self, place: usize, output: Output<Message>) -> Checked {
        match output {
            Output::Send { to, message } => self.send(place, to, message),
            Output::Reply { ticket, response } => {
                if !self.nodes[place].asked.remove(&ticket) {
                    return Err(unsound(format!("ticket {ticket} is answered twice")));
                }
                self.client_hears(ticket, response)
            }
            Output::OrderDone { ticket, result } => {
                self.order_done(ticket, &result);
                Ok(())
            }
            Output::Configuration(_) => Ok(()),
            Output::PeerRejected { from, why } => {
                let id = self.nodes[place].id;
                Err(unsound(format!("node {id} refuses what node {from} says: {why}")))
            }
        }
    }

    fn send(&mut self, place: usize, to: NodeId, message: Letter) -> Checked {
        let (from, size) = (self.nodes[place].id, self.nodes.len());
        if let PeerMessage::Consensus(message) = &message {
            self.properties.sends(from, to, message)?;
            if let Message::TimeoutNow { .. } = message {
                self.properties.hands_over(from, to)?;
            }
            self.coverage.count_message(message);
        }
        let Some(target) = to.0.checked_sub(1).map(|to| to as usize).filter(|to| *to < size) else {
            return Ok(());
        };
        let link = place * size + target;
        let (class, bytes) = words::class_and_size(&message);
        let leaves = self.links[link].admit(message, class, bytes, self.now);
        self.arrange_arrival(link);
        if let Some(message) = leaves {
            self.at_once.push_back((place, target, message));
            self.arrange(self.now, Happening::AtOnce);
        }
        Ok(())
    }

    /// Notes that something happened, for the digest of the life.
    pub fn mix(&mut self, what: u64) {
        let mixed = self.digest ^ what ^ (self.now.0.as_nanos() as u64).rotate_left(17);
        self.digest = mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
    }
}

/// How long a node that stopped by itself stays down.
const RESTART: Duration = Duration::from_millis(300);

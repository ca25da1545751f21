//! The world: what happens next, and to whom.
//!
//! Nothing ticks. A queue holds all that is going to happen, by its moment and then by the order in
//! which it was arranged; the world takes out the first, jumps to its moment, and lets it happen.
//! A moment that has been overtaken (a deadline that moved, a node that died) is found void when it
//! comes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::time::Duration;

use super::clients::Clients;
use super::coverage::{Coverage, Seen};
use super::faults::InForce;
use super::node::Node;
use super::properties::{Broken, Checked, Properties, soundness};
use super::schedule::{Loss, Schedule};
use super::story::Story;
use super::words;
use crate::consensus::raft::{Message, Raft};
use crate::consensus::{Configuration, Consensus};
use crate::link::{Link, Policy};
use crate::replica::{Event, Observation, Output, PeerMessage, Request};
use crate::storage::LogError;
use crate::types::{Instant, NodeId, Random, Ticket};

/// What is going to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Happening {
    /// A node's deadline may have come.
    Wake {
        node: usize,
        life: u64,
    },
    /// A disk is done with an operation.
    Disk {
        node: usize,
        life: u64,
    },
    /// Messages arrive over a link.
    Arrival {
        link: usize,
    },
    /// A message arrives that nothing held up.
    AtOnce,
    /// A client does something.
    Client {
        client: usize,
    },
    /// A client has waited long enough.
    Patience {
        client: usize,
        ticket: Ticket,
    },
    FaultBegins {
        fault: usize,
    },
    FaultEnds {
        fault: usize,
    },
    /// A node that stopped by itself is started again.
    Start {
        node: usize,
    },
}

/// A message on its way.
pub type Letter = PeerMessage<Message>;

/// The whole of a simulated life.
pub struct World {
    pub now: Instant,
    queue: BinaryHeap<Reverse<(Instant, u64, Happening)>>,
    arranged: u64,
    pub schedule: Schedule,
    pub nodes: Vec<Node>,
    links: Vec<Link<Letter>>,
    arrivals: Vec<Option<Instant>>,
    at_once: VecDeque<(usize, usize, Letter)>,
    pub clients: Clients,
    pub in_force: BTreeMap<usize, InForce>,
    /// Elections won so far.
    pub elections: u64,
    pub properties: Properties,
    pub coverage: Coverage,
    pub story: Story,
    pub steps: u64,
    /// Over all that happened.
    pub digest: u64,
    /// No fault begins any more.
    pub peace: bool,
}

impl World {
    /// The beginning of the life that `schedule` tells.
    pub fn new(schedule: Schedule, told: bool) -> Result<World, Broken> {
        let size = schedule.nodes as usize;
        let voters = (1..=schedule.nodes).map(NodeId).collect();
        let initial = Configuration { voters, ..Configuration::default() };
        let mut properties = Properties::new(schedule.setting.strict);
        let mut nodes = Vec::with_capacity(size);
        for id in (1..=schedule.nodes).map(NodeId) {
            let node = Node::create(id, schedule.seed, &initial, &schedule.setting)
                .map_err(|error| unsound(format!("node {id} cannot be created: {error}")))?;
            properties.created(id, &initial);
            nodes.push(node);
        }
        let link = |place: usize| {
            let seed = schedule.seed ^ (place as u64 + 1).wrapping_mul(0xa076_1d64_78bd_642f);
            Link::new(Random::from_seed(seed))
        };
        let mut world = World {
            now: Instant::default(),
            queue: BinaryHeap::new(),
            arranged: 0,
            nodes,
            links: (0..size * size).map(link).collect(),
            arrivals: vec![None; size * size],
            at_once: VecDeque::new(),
            clients: Clients::new(&schedule),
            in_force: BTreeMap::new(),
            elections: 0,
            properties,
            coverage: Coverage::default(),
            story: Story::new(told),
            steps: 0,
            digest: schedule.seed,
            peace: false,
            schedule,
        };
        world.apply_policies();
        for node in 0..size {
            world.start(node)?;
        }
        world.arrange_schedule();
        Ok(world)
    }

    fn arrange_schedule(&mut self) {
        for client in 0..self.schedule.clients.len() {
            let pause = self.clients.pause(client);
            self.arrange(self.now + pause, Happening::Client { client });
        }
        self.arrange_faults();
    }

    /// Lets something happen at a moment to come.
    pub fn arrange(&mut self, at: Instant, happening: Happening) {
        self.arranged += 1;
        self.queue.push(Reverse((at.max(self.now), self.arranged, happening)));
    }

    /// Lets everything happen up to `until`, or until `done` says so. True if it did.
    pub fn run(
        &mut self,
        until: Instant,
        mut done: impl FnMut(&mut World) -> bool,
    ) -> Result<bool, Broken> {
        while let Some(Reverse((at, _, happening))) = self.queue.peek().copied() {
            if at > until {
                break;
            }
            self.queue.pop();
            self.now = at;
            self.happen(happening)?;
            if done(self) {
                return Ok(true);
            }
        }
        self.now = until;
        Ok(false)
    }

    fn happen(&mut self, happening: Happening) -> Checked {
        self.steps += 1;
        match happening {
            Happening::Wake { node, life } => self.wake(node, life),
            Happening::Disk { node, life } => self.disk_done(node, life),
            Happening::Arrival { link } => self.arrive(link),
            Happening::AtOnce => match self.at_once.pop_front() {
                Some((from, to, message)) => self.deliver(from, to, message),
                None => Ok(()),
            },
            Happening::Client { client } => self.client_acts(client),
            Happening::Patience { client, ticket } => self.client_gives_up(client, ticket),
            Happening::FaultBegins { fault } => self.fault_begins(fault),
            Happening::FaultEnds { fault } => self.fault_ends(fault),
            Happening::Start { node } => self.start(node),
        }
    }

    fn wake(&mut self, place: usize, life: u64) -> Checked {
        let node = &mut self.nodes[place];
        if node.life != life || node.wake.is_none_or(|wake| wake > self.now) {
            return Ok(());
        }
        node.wake = None;
        let local = node.clock.local(self.now);
        let due = node.replica.as_ref().and_then(|replica| replica.next_deadline());
        match due {
            Some(due) if due <= local && node.paused == 0 => self.turn(place, Event::Elapsed),
            _ => {
                self.arrange_wake(place);
                Ok(())
            }
        }
    }

    fn arrange_wake(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        if node.paused > 0 {
            return;
        }
        let Some(due) = node.replica.as_ref().and_then(|replica| replica.next_deadline()) else {
            return;
        };
        let at = node.clock.world(due).max(self.now);
        if node.wake.is_none_or(|wake| at < wake) {
            node.wake = Some(at);
            let life = node.life;
            self.arrange(at, Happening::Wake { node: place, life });
        }
    }

    /// A clock runs differently from now on: the deadline comes at another moment.
    pub fn clock_changed(&mut self, place: usize) {
        self.nodes[place].wake = None;
        self.arrange_wake(place);
    }

    fn disk_done(&mut self, place: usize, life: u64) -> Checked {
        let node = &mut self.nodes[place];
        if node.life != life {
            return Ok(());
        }
        node.disk_busy = false;
        if !node.disk.step() {
            return Ok(());
        }
        if node.paused > 0 {
            node.keep(Event::Disk);
            self.arrange_disk(place);
            return Ok(());
        }
        self.turn(place, Event::Disk)
    }

    fn arrange_disk(&mut self, place: usize) {
        let node = &mut self.nodes[place];
        if node.disk_busy || node.disk.waiting() == 0 {
            return;
        }
        node.disk_busy = true;
        let (at, life) = (self.now + node.draw_latency(), node.life);
        self.arrange(at, Happening::Disk { node: place, life });
    }

    fn arrive(&mut self, link: usize) -> Checked {
        if self.arrivals[link].is_none_or(|at| at > self.now) {
            return Ok(());
        }
        self.arrivals[link] = None;
        let letters: Vec<Letter> = self.links[link].due(self.now).collect();
        self.arrange_arrival(link);
        let (from, to) = self.ends(link);
        for message in letters {
            self.deliver(from, to, message)?;
        }
        Ok(())
    }

    fn deliver(&mut self, from: usize, to: usize, message: Letter) -> Checked {
        let (sender, now) = (self.nodes[from].id, self.now);
        let node = &mut self.nodes[to];
        if !node.is_up() {
            return Ok(());
        }
        if self.story.is_wanted() && words::is_worth_telling(&message) {
            let (receiver, paused) = (node.id, node.paused > 0);
            self.story.tell(now, || {
                let still = if paused { " (who stands still)" } else { "" };
                format!("{sender} → {receiver}{still}: {}", words::letter(&message))
            });
        }
        let event = Event::Peer { from: sender, message };
        if node.paused > 0 {
            node.keep(event);
            return Ok(());
        }
        self.turn(to, event)
    }

    fn arrange_arrival(&mut self, link: usize) {
        let Some(at) = self.links[link].next_deadline() else { return };
        if self.arrivals[link].is_none_or(|arranged| at < arranged) {
            self.arrivals[link] = Some(at);
            self.arrange(at, Happening::Arrival { link });
        }
    }

    fn ends(&self, link: usize) -> (usize, usize) {
        (link / self.nodes.len(), link % self.nodes.len())
    }

    /// Puts a policy in force.
    pub fn set_policy(&mut self, from: usize, to: usize, policy: Policy) {
        let link = from * self.nodes.len() + to;
        // A policy that is not valid would have been refused when the schedule was drawn.
        let _ = self.links[link].set_policy(policy, self.now);
        self.arrivals[link] = None;
        self.arrange_arrival(link);
    }

    /// Adds what was counted elsewhere.
    pub fn finish(&mut self) {
        self.coverage.add(Seen::Repeated, self.properties.repeated());
        let relayed = self.nodes.iter().filter_map(|node| node.replica.as_ref());
        let relayed = relayed.map(|replica| replica.status().counters.relayed).sum();
        self.coverage.add(Seen::Relayed, relayed);
        for link in &self.links {
            let counters = link.counters();
            self.coverage.add(Seen::Lost, counters.lost + counters.overflowed);
            self.coverage.add(Seen::Duplicated, counters.duplicated);
            self.coverage.add(Seen::Reordered, counters.reordered);
            self.coverage.add(Seen::CutMessage, counters.cut);
        }
    }
}

/// Turns of nodes.
impl World {
    /// Starts a node, unless a fault keeps it down.
    pub fn start(&mut self, place: usize) -> Checked {
        let (now, setting) = (self.now, &self.schedule.setting);
        let node = &mut self.nodes[place];
        if node.is_up() || node.held_down > 0 {
            return Ok(());
        }
        let id = node.id;
        let report = match node.open(now, setting) {
            Ok(report) => report,
            // Its disk fails or is full even now: whoever watches over it tries again.
            Err(error @ LogError::Disk(_)) if self.disk_is_at_fault(place) => {
                self.story.tell(now, || format!("{id} cannot start: {error}"));
                self.nodes[place].crash(Loss::Unsynced);
                self.arrange(now + RESTART, Happening::Start { node: place });
                return Ok(());
            }
            Err(error) => return Err(unsound(format!("node {id} does not start: {error}"))),
        };
        let status = match &node.replica {
            Some(replica) => replica.core().status(),
            None => return Ok(()),
        };
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
        let lost = self.properties.started(&status)?;
        self.coverage.add(Seen::LostTail, u64::from(lost > 0));
        self.turn(place, Event::Elapsed)
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
        let event = Event::Client { ticket, request, timeout };
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
        self.mix(id.0);
        self.observe(place, &observations)?;
        match outputs {
            Ok(outputs) => {
                self.lead(place)?;
                for output in outputs {
                    self.put_out(place, output)?;
                }
                self.arrange_disk(place);
                self.arrange_wake(place);
                Ok(())
            }
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
            match observation {
                Observation::Asked(persist) => {
                    self.coverage.add(Seen::Truncation, u64::from(persist.truncate_from.is_some()));
                }
                Observation::Applied { .. } => applied = true,
                Observation::ReadLog { .. } => self.coverage.count(Seen::LogRead),
                Observation::Durable(_) => {}
            }
            self.properties.observe(id, observation)?;
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
        let Some(replica) = &node.replica else { return Ok(()) };
        let leads = replica.core().leader() == Some(id);
        let was = std::mem::replace(&mut node.leads, leads);
        if leads == was {
            return Ok(());
        }
        if !leads {
            self.coverage.count(Seen::LeaderReplaced);
            self.story.tell(self.now, || format!("{id} does not lead any more"));
            self.properties.follows(id);
            return Ok(());
        }
        let status = replica.core().status();
        self.coverage.count(Seen::Leader);
        self.story.tell(self.now, || format!("{id} leads term {}", status.term));
        self.mix(status.term.0);
        self.elections += 1;
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
            Output::OrderDone { .. } | Output::Configuration(_) => Ok(()),
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
            if let Message::RequestVote { .. } = message {
                self.coverage.count(Seen::Election);
            }
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

/// What cannot be, and is.
pub fn unsound(how: String) -> Broken {
    Broken { rule: &soundness::RULE, how }
}

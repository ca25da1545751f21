//! The world: what happens next, and to whom.
//!
//! Nothing ticks. A queue holds all that is going to happen, by its moment and then by the order in
//! which it was arranged; the world takes out the first, jumps to its moment, and lets it happen.
//! A moment that has been overtaken (a deadline that moved, a node that died) is found void when it
//! comes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};

use super::clients::Clients;
use super::coverage::{Coverage, Seen};
use super::faults::InForce;
use super::node::Node;
use super::properties::{Broken, Checked, Properties, pre_vote, progress, soundness};
use super::schedule::Schedule;
use super::stage::Stage;
use super::story::Story;
use super::words;
use crate::chaos::Fault;
use crate::consensus::Configuration;
use crate::consensus::raft::Message;
use crate::link::{Link, Policy};
use crate::replica::{Event, PeerMessage};
use crate::types::{Instant, LogIndex, NodeId, Random, Term, Ticket};

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
    /// A node that was removed is shut down.
    Retire {
        node: usize,
    },
    /// The scenario may go on.
    Scene,
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
    pub links: Vec<Link<Letter>>,
    arrivals: Vec<Option<Instant>>,
    pub at_once: VecDeque<(usize, usize, Letter)>,
    pub clients: Clients,
    pub in_force: BTreeMap<usize, InForce>,
    /// The scenario that is performed, if one is.
    pub stage: Option<Stage>,
    /// Its faults that are in force, each with its step.
    pub injected: Vec<(usize, Fault)>,
    /// The members as of the last configuration that anyone applied.
    pub members: (LogIndex, Configuration),
    /// Elections won so far: when, and by whom.
    pub elected: Vec<(Instant, NodeId)>,
    pub properties: Properties,
    pub coverage: Coverage,
    pub story: Story,
    /// What each node has acknowledged to each, as far as was told.
    pub told: BTreeMap<(NodeId, NodeId), (Term, LogIndex)>,
    /// What each leader has committed, as far as was told.
    pub commits: BTreeMap<NodeId, LogIndex>,
    pub steps: u64,
    /// Over all that happened.
    pub digest: u64,
    /// No fault begins any more.
    pub peace: bool,
}

impl World {
    /// The beginning of the life that `schedule` tells.
    pub fn new(schedule: Schedule, told: bool) -> Result<World, Broken> {
        let size = (schedule.nodes + schedule.spares) as usize;
        let voters = (1..=schedule.nodes).map(NodeId).collect();
        let initial = Configuration { voters, ..Configuration::default() };
        let mut properties = Properties::new(schedule.setting.strict);
        let mut nodes = Vec::with_capacity(size);
        for id in (1..=size as u64).map(NodeId) {
            let mut node = Node::new(id, schedule.seed, &schedule.setting);
            if id.0 <= schedule.nodes {
                node.bear(Some(&initial))
                    .map_err(|error| unsound(format!("node {id} cannot be created: {error}")))?;
                properties.created(id, &initial);
            }
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
            stage: schedule.scenario.clone().map(Stage::new),
            injected: Vec::new(),
            members: (LogIndex(0), initial),
            elected: Vec::new(),
            told: BTreeMap::new(),
            commits: BTreeMap::new(),
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
            if self.steps >= MAX_STEPS {
                let how = format!("{MAX_STEPS} things happened, and no end:\n{}", self.describe());
                return Err(Broken { rule: &progress::RULE, how });
            }
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
            Happening::Retire { node } => {
                self.retire(node);
                Ok(())
            }
            Happening::Scene => self.scene(),
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

    pub fn arrange_wake(&mut self, place: usize) {
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

    pub fn arrange_disk(&mut self, place: usize) {
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
        let node = &self.nodes[to];
        if !node.is_up() {
            return Ok(());
        }
        let (receiver, paused) = (node.id, node.paused > 0);
        if self.story.is_wanted() && self.is_news(sender, receiver, &message) {
            self.story.tell(now, || {
                let still = if paused { " (who stands still)" } else { "" };
                format!("{sender} → {receiver}{still}: {}", words::letter(&message))
            });
        }
        let asks = matches!(message, PeerMessage::Consensus(Message::PreVote { .. }));
        let event = Event::Peer { from: sender, message };
        let node = &mut self.nodes[to];
        if node.paused > 0 {
            node.keep(event);
            return Ok(());
        }
        let led = node.leads && asks;
        self.turn(to, event)?;
        if led && !self.nodes[to].leads && self.nodes[to].is_up() {
            return pre_vote::deposes(self.nodes[to].id, sender);
        }
        Ok(())
    }

    pub fn arrange_arrival(&mut self, link: usize) {
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

/// More than happens in any life that gets on: somebody goes round in circles.
const MAX_STEPS: u64 = 3_000_000;

/// What cannot be, and is.
pub fn unsound(how: String) -> Broken {
    Broken { rule: &soundness::RULE, how }
}

//! The world: replicas, their disks in memory, and a network that may do anything but invent.

use std::collections::BTreeMap;
use std::time::Duration;

use kvraft::chaos::Clock;
use kvraft::consensus::raft::{Message, Raft};
use kvraft::consensus::{Change, Config, Configuration, Payload};
use kvraft::kv::version::LATEST_VERSION;
use kvraft::kv::{Answer, MachineOptions, Query};
use kvraft::museum::Bugs;
use kvraft::replica::{
    Consistency, Counters, Event, Observation, Options, Order, OrderResult, Output, PeerMessage,
    Replica, ReplicaStatus, Request, Response,
};
use kvraft::retention::Retention;
use kvraft::storage::{Crash, Identity, LogOptions, MemoryDisk, SegmentLog};
use kvraft::types::{ClusterId, Instant, LogIndex, NodeId, Random, Ticket};

use crate::clients::{Clients, TIMEOUT};
use crate::leases::{Book, is_about_a_lease};

pub const CLUSTER: ClusterId = ClusterId(7);

pub struct World {
    now: Instant,
    pub nodes: BTreeMap<NodeId, Node>,
    pub network: Vec<Letter>,
    /// Nodes below this id cannot talk to the others.
    pub cut: Option<NodeId>,
    pub clients: Clients,
    pub crashes: u64,
    /// The state's hash at each applied index, as whoever came there first had it.
    hashes: BTreeMap<LogIndex, u128>,
    /// What became of each order that was answered.
    pub orders: BTreeMap<Ticket, OrderResult>,
    last_order: u64,
    /// The answer to [`World::ask`].
    pub alone: Option<Response>,
    /// A bug put back into every replica that starts from now on.
    pub bugs: Bugs,
    /// How often replicas that start from now on take snapshots.
    pub snapshot_log_bytes: u64,
    /// Whether the states are compared from outside as well.
    pub compare: bool,
    /// What clients with leases were told.
    pub leases: Book,
}

pub struct Node {
    pub disk: MemoryDisk,
    /// None: down.
    pub replica: Option<Replica<Raft, MemoryDisk>>,
    /// Requests that it was asked and has not answered.
    asked: Vec<Ticket>,
    starts: u64,
    /// Of its lives that are over.
    done: Vec<Counters>,
    /// The newest version of the state machine that its program knows.
    pub supports: u16,
    /// Orders that it was given and has not answered.
    ordered: Vec<Ticket>,
    pub clock: Clock,
    /// Of a process that is stopped, as by SIGSTOP: what happened meanwhile.
    held: Option<Vec<Event<Message>>>,
}

pub struct Letter {
    from: NodeId,
    to: NodeId,
    message: PeerMessage<Message>,
}

impl Node {
    fn of(disk: MemoryDisk) -> Node {
        let (asked, done, ordered) = Default::default();
        let clock = Clock::new(Instant::default(), Instant::default());
        Node {
            disk,
            replica: None,
            asked,
            starts: 0,
            done,
            supports: LATEST_VERSION,
            ordered,
            clock,
            held: None,
        }
    }
}

impl World {
    pub fn new(size: u64, random: &mut Random) -> Result<World, String> {
        let voters = (1..=size).map(NodeId).collect();
        let initial = Configuration { voters, ..Configuration::default() };
        let mut nodes = BTreeMap::new();
        for node in (1..=size).map(NodeId) {
            let mut disk = MemoryDisk::new();
            SegmentLog::create(&mut disk, Identity { cluster: CLUSTER, node }, &initial)
                .map_err(|error| error.to_string())?;
            disk.set_stepped(true);
            nodes.insert(node, Node::of(disk));
        }
        let mut world = World {
            now: Instant::default(),
            nodes,
            network: Vec::new(),
            cut: None,
            clients: Clients::new(4),
            crashes: 0,
            hashes: BTreeMap::new(),
            orders: BTreeMap::new(),
            last_order: 0,
            alone: None,
            bugs: Bugs::none(),
            snapshot_log_bytes: 2 << 10,
            compare: true,
            leases: Book::default(),
        };
        for id in (1..=size).map(NodeId) {
            world.start(id, random)?;
        }
        Ok(world)
    }

    pub fn ignore_syncs(&self) {
        for node in self.nodes.values() {
            node.disk.set_ignore_syncs(true);
        }
    }

    /// From now on no file grows; or they may again.
    pub fn set_disk_full(&self, full: bool) {
        for node in self.nodes.values() {
            let used = node.disk.files().values().map(|file| file.len() as u64).sum();
            node.disk.set_capacity(full.then_some(used));
        }
    }

    /// Asks the only node, and lets time pass until it answers.
    pub fn ask_alone(&mut self, request: Request) -> Response {
        let id = NodeId(1);
        let ticket = Ticket(self.now.0.as_nanos() as u64);
        let mut event =
            Some(Event::Client { ticket, request, timeout: Duration::from_secs(5), trace: None });
        for _ in 0..10_000 {
            let node = self.nodes.get_mut(&id).expect("there is one");
            let disk = node.disk.handle();
            let replica = node.replica.as_mut().expect("it is up");
            replica.handle(self.now, Event::Elapsed);
            if disk.step() {
                replica.handle(self.now, Event::Disk);
            }
            event.take().into_iter().for_each(|event| replica.handle(self.now, event));
            for output in replica.finish_turn(self.now).expect("the disk only has no space") {
                if let Output::Reply { response, .. } = output {
                    self.now = self.now + Duration::from_millis(5);
                    return response;
                }
            }
            self.now = self.now + Duration::from_millis(1);
        }
        panic!("ten seconds, and no answer");
    }

    pub fn relayed(&self) -> u64 {
        self.total(|counters| counters.relayed)
    }

    /// What all replicas did in all their lives.
    pub fn total(&self, of: impl Fn(&Counters) -> u64) -> u64 {
        let alive = self.nodes.values().filter_map(|node| node.replica.as_ref());
        let lives = alive.map(|replica| replica.status().counters);
        let all = lives.chain(self.nodes.values().flat_map(|node| node.done.iter().copied()));
        all.map(|counters| of(&counters)).sum()
    }

    /// How `id` stands, if it is up.
    pub fn status(&self, id: NodeId) -> Option<ReplicaStatus> {
        Some(self.nodes.get(&id)?.replica.as_ref()?.status())
    }

    pub fn start(&mut self, id: NodeId, random: &mut Random) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        node.starts += 1;
        let consensus = Config {
            cache_bytes: 200,
            max_message_bytes: 500,
            snapshot_chunk_bytes: 300,
            keep_entries: 4,
            ..Config::new(id, random.bits())
        };
        let options = Options {
            // Small, so that every life crosses many segments.
            log: LogOptions {
                segment_bytes: 8 << 10,
                zero_ahead_bytes: 1 << 10,
                ..LogOptions::default()
            },
            log_reserve: 1 << 10,
            snapshot_log_bytes: self.snapshot_log_bytes,
            hash_every: 16,
            retention: Retention::Revisions(20),
            machine: MachineOptions { supports: node.supports, ..MachineOptions::default() },
            ..Options::new(CLUSTER, consensus)
        };
        let options = options.with_bugs(self.bugs);
        node.held = None;
        let now = node.clock.local(self.now);
        let (mut replica, _) = Replica::open(now, options, node.disk.handle())
            .map_err(|error| format!("node {id} does not start: {error}"))?;
        replica.observe();
        node.replica = Some(replica);
        self.turn(id, Event::Elapsed)
    }

    /// The power of `id` fails: what its disk had not synced is lost, or some of it.
    pub fn crash(&mut self, id: NodeId, random: &mut Random) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some(replica) = node.replica.take() else { return };
        node.done.push(replica.status().counters);
        drop(replica);
        node.ordered.clear();
        let keep_some = random.chance(0.7);
        node.disk.crash(if keep_some {
            Crash::KeepSome(random.bits())
        } else {
            Crash::LoseUnsynced
        });
        self.clients.lost(std::mem::take(&mut node.asked));
        self.crashes += 1;
    }

    /// One event at one replica, and all that comes of it at once.
    pub fn turn(&mut self, id: NodeId, event: Event<Message>) -> Result<(), String> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        let Some(replica) = &mut node.replica else { return Ok(()) };
        if let Some(held) = &mut node.held {
            held.push(event);
            return Ok(());
        }
        let now = node.clock.local(self.now);
        replica.handle(now, event);
        let outputs = replica.finish_turn(now).map_err(|error| format!("node {id}: {error}"))?;
        let status = replica.status();
        let (at, is_whole) = (status.machine_applied, status.repair.is_none());
        let known = if is_whole { *self.hashes.entry(at).or_insert(status.state_hash) } else { 0 };
        if is_whole && known != status.state_hash && self.compare {
            return Err(format!("node {id} has another state than others had at index {at}"));
        }
        for observation in replica.take_observations() {
            if let Observation::Applied { index, payload, outcome: Some(outcome), .. } = observation
                && let Payload::Command(command) = payload
            {
                self.leases.applied(self.now, index, &command, &outcome);
            }
        }
        for output in outputs {
            match output {
                Output::Send { to, message } => {
                    self.network.push(Letter { from: id, to, message });
                }
                Output::Reply { ticket, response } => {
                    if ticket == Ticket(u64::MAX - 1) {
                        self.alone = Some(response);
                        continue;
                    }
                    if is_about_a_lease(ticket) {
                        self.leases.answered(ticket, &response)?;
                        continue;
                    }
                    node.asked.retain(|asked| *asked != ticket);
                    self.clients.answered(ticket, response)?;
                }
                Output::OrderDone { ticket, result } => {
                    node.ordered.retain(|ordered| *ordered != ticket);
                    if self.orders.insert(ticket, result).is_some() {
                        return Err(format!("order {ticket} is answered twice"));
                    }
                }
                Output::Configuration(_) => {}
                Output::PeerRejected { from, why } => {
                    return Err(format!("node {id} rejects what {from} says: {why}"));
                }
            }
        }
        Ok(())
    }

    pub fn somebody(&self, random: &mut Random) -> NodeId {
        NodeId(1 + random.below(self.nodes.len() as u64))
    }

    pub fn hostile_step(&mut self, random: &mut Random) -> Result<(), String> {
        let id = self.somebody(random);
        match random.below(1000) {
            0..400 => self.deliver(random, 0.03),
            400..700 => self.disk_step(id),
            700..796 => self.client_step(id, random),
            796..800 => self.order_step(id, random),
            800..960 => self.time_passes(Duration::from_millis(1 + random.below(15))),
            960..970 => {
                self.crash(id, random);
                Ok(())
            }
            970..988 if self.is_down(id) => self.start(id, random),
            988..992 => {
                self.cut = Some(self.somebody(random));
                Ok(())
            }
            992.. => {
                self.cut = None;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// An operator wants something of `id`, who may lead or not.
    fn order_step(&mut self, id: NodeId, random: &mut Random) -> Result<(), String> {
        let node = self.somebody(random);
        let order = match random.below(6) {
            0 => Order::Transfer { to: None },
            1 => Order::Transfer { to: Some(node) },
            2 => Order::ChangeMembership { changes: vec![Change::Demote { node }] },
            3 | 4 => Order::ChangeMembership { changes: vec![Change::Promote { node }] },
            _ => Order::TakeSnapshot,
        };
        self.order(id, order).map(drop)
    }

    /// Gives `id` an order, if it is up.
    pub fn order(&mut self, id: NodeId, order: Order) -> Result<Ticket, String> {
        self.last_order += 1;
        let ticket = Ticket(self.last_order);
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.replica.is_some()) {
            node.ordered.push(ticket);
        }
        let timeout = Duration::from_secs(2);
        self.turn(id, Event::Order { ticket, order, timeout })?;
        Ok(ticket)
    }

    pub fn is_down(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.replica.is_none())
    }

    /// A letter arrives, mostly the oldest; or is lost.
    pub fn deliver(&mut self, random: &mut Random, loss: f64) -> Result<(), String> {
        if self.network.is_empty() {
            return Ok(());
        }
        let any = random.chance(0.2);
        let place = if any { random.below(self.network.len() as u64) as usize } else { 0 };
        let Letter { from, to, message } = self.network.remove(place);
        if random.chance(loss) {
            // Doubled: the copy comes later.
            self.network.push(Letter { from, to, message: message.clone() });
        }
        let apart = self.cut.is_some_and(|cut| (from < cut) != (to < cut));
        if apart || random.chance(loss) {
            return Ok(());
        }
        self.turn(to, Event::Peer { from, message })
    }

    pub fn disk_step(&mut self, id: NodeId) -> Result<(), String> {
        match self.nodes.get(&id) {
            Some(node) if node.disk.step() => self.turn(id, Event::Disk),
            _ => Ok(()),
        }
    }

    pub fn client_step(&mut self, id: NodeId, random: &mut Random) -> Result<(), String> {
        if self.is_down(id) {
            return Ok(());
        }
        let Some((ticket, request)) = self.clients.ask(random) else { return Ok(()) };
        if let Some(node) = self.nodes.get_mut(&id) {
            node.asked.push(ticket);
        }
        self.turn(id, Event::Client { ticket, request, timeout: TIMEOUT, trace: None })
    }

    pub fn time_passes(&mut self, duration: Duration) -> Result<(), String> {
        self.now = self.now + duration;
        for id in self.nodes.keys().copied().collect::<Vec<_>>() {
            let Some(node) = self.nodes.get(&id) else { continue };
            let deadline = node.replica.as_ref().and_then(Replica::next_deadline);
            let now = node.clock.local(self.now);
            if deadline.is_some_and(|deadline| deadline <= now) && node.held.is_none() {
                self.turn(id, Event::Elapsed)?;
            }
        }
        Ok(())
    }

    pub fn now(&self) -> Instant {
        self.now
    }

    /// The process of `id` stands still.
    pub fn pause(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.held.get_or_insert_default();
        }
    }

    /// And goes on, with all that has come meanwhile.
    pub fn resume(&mut self, id: NodeId) -> Result<(), String> {
        let held = self.nodes.get_mut(&id).and_then(|node| node.held.take());
        held.into_iter().flatten().try_for_each(|event| self.turn(id, event))
    }

    /// One line a node.
    pub fn describe(&self) -> String {
        let replicas = self.nodes.values().filter_map(|node| node.replica.as_ref());
        let lines = replicas.map(|replica| {
            let status = replica.status();
            let c = status.consensus;
            format!(
                "{} {} term {} leader {:?} first {} last {} durable {} commit {} applied {} \
                 ({}), {} pending, room {}",
                c.id,
                c.role,
                c.term,
                c.leader,
                c.first_index,
                c.last_index,
                c.durable_index,
                c.commit_index,
                c.applied_index,
                status.machine_applied,
                status.pending_requests,
                replica.room(),
            )
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Every order was answered by whoever is still alive.
    pub fn nothing_is_ordered(&self) -> bool {
        self.nodes.values().all(|node| node.ordered.is_empty())
    }

    pub fn all_equal(&self) -> bool {
        let replicas = self.nodes.values().filter_map(|node| node.replica.as_ref());
        let positions: Vec<_> = replicas
            .map(Replica::status)
            .map(|status| (status.machine_applied, status.consensus.last_index))
            .collect();
        positions.iter().all(|p| *p == positions[0] && p.0 == p.1)
    }

    /// Asks every replica for everything that clients rely on.
    pub fn check(&mut self) -> Result<(), String> {
        for (id, node) in &mut self.nodes {
            let now = node.clock.local(self.now);
            let Some(replica) = &mut node.replica else { continue };
            let answers = std::cell::RefCell::new(replica);
            self.clients.check(*id, |key| {
                let query = Query::Get { key: key.to_vec().into() }.encode();
                let request = Request::Read { query, consistency: Consistency::Stale };
                let ticket = Ticket(u64::MAX);
                let mut replica = answers.borrow_mut();
                replica
                    .handle(now, Event::Client { ticket, request, timeout: TIMEOUT, trace: None });
                let outputs = replica.finish_turn(now).expect("a read breaks nothing");
                let answer = outputs.into_iter().find_map(|output| match output {
                    Output::Reply { response: Response::Answer(answer), .. } => Some(answer),
                    _ => None,
                });
                Answer::decode(&answer.expect("a stale read is answered at once"))
                    .expect("our own answer")
            })?;
        }
        Ok(())
    }
}

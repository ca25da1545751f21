//! A replica: consensus, log and state machine composed into one deterministic value.
//!
//! It is told what happened ([`Event`]) and says what must be done ([`Output`]), like the core
//! within it; only the disk it drives itself, through the [`Disk`] trait. A node wraps sockets and
//! a clock around it, the simulator a virtual world: both run this same code.
//!
//! ```text
//!        Event                                                        Output
//!   Client ───► requests (pending) ──Propose, Read──► core ──Send───► (after the disk) ──► Send
//!   Peer ─────────────────────Receive────────────────►  │
//!   Disk ───► log ──────────Persisted, LogRead───────►  ├──Persist─► log
//!                                                       ├──Apply───► machine ──► Reply
//!                                                       └──ServeRead──► machine ──► Reply
//! ```
//!
//! # Turns
//! Its driver hands in all events that wait, then calls [`Replica::finish_turn`]. Proposals of a
//! turn reach the core as one batch and the log as one group: under load, one message to each
//! follower and one fdatasync carry many clients' writes.
//!
//! # Requests
//! A follower hands its clients' requests on to the leader, in messages on the same links as all
//! else. [`pending`] says what a client is told when that fails.

pub mod agreement;
pub mod install;
mod message;
mod observe;
pub mod orders;
pub mod pending;
mod request;
mod serve;
pub mod snapshots;
mod status;
mod step;
pub mod upgrade;

use std::collections::BTreeMap;
use std::time::Duration;

pub use message::*;
pub use observe::Observation;
pub use request::*;
pub use status::*;

use crate::consensus::{
    Config, Configuration, Consensus, Input, Proposal, Saved, SnapshotMark, ToBytes,
};
use crate::kv::{Machine, MachineOptions};
use crate::museum::Bugs;
use crate::storage::{Disk, Identity, LogError, LogOptions, Recovered, SegmentLog, Tear};
use crate::types::{ClusterId, Instant, LogIndex, NodeId, Seq, Term, Ticket};
use agreement::Agreement;
use install::Installing;
use orders::Orders;
use pending::{PendingRequests, Seen};
use snapshots::Snapshots;
use upgrade::Upgrade;

/// What a replica is told once, at its start.
#[derive(Clone, Debug)]
pub struct Options {
    pub cluster: ClusterId,
    pub consensus: Config,
    pub log: LogOptions,
    /// Requests under way at once, of clients here and of relaying nodes; more are refused as busy.
    pub max_requests: usize,
    /// Bytes of log that clients' writes must leave free, for what a cluster needs to go on: votes,
    /// no-ops, configurations.
    pub log_reserve: u64,
    /// A snapshot is taken about every so many bytes of commands: see [`snapshots`].
    pub snapshot_log_bytes: u64,
    /// The replicas compare their states at each multiple of this index; zero: never. All members
    /// must say the same: see [`agreement`].
    pub hash_every: u64,
    /// What the program brings to the state machine.
    pub machine: MachineOptions,
}

impl Options {
    /// The defaults, for a member of `cluster` that `consensus` describes.
    pub fn new(cluster: ClusterId, consensus: Config) -> Options {
        Options {
            cluster,
            consensus,
            log: LogOptions::default(),
            max_requests: 16_384,
            log_reserve: 64 << 10,
            snapshot_log_bytes: 64 << 20,
            hash_every: 1024,
            machine: MachineOptions::default(),
        }
    }

    /// For the simulator: the same, with `bugs` put back, wherever they live.
    pub fn with_bugs(mut self, bugs: Bugs) -> Options {
        self.consensus.bugs = bugs;
        self.log.bugs = bugs;
        self.machine.bugs = bugs;
        self
    }
}

/// What was found on the disk at the start.
#[derive(Clone, Debug)]
pub struct OpenReport {
    pub last_index: LogIndex,
    /// A write that the last stop cut short; it was removed, and had never been acknowledged.
    pub tear: Option<Tear>,
}

/// A reason to stop the node at once: going on could break a promise.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error("the log failed: {0}")]
    Log(#[from] LogError),
    #[error(
        "the cluster raised its state machine to version {to}, and this program knows versions up \
         to {supports}: start this node with a newer program"
    )]
    Outgrown { to: u16, supports: u16 },
    #[error(
        "at index {index} this node's state has the hash {own:032x}, and a majority of the voters \
         has {majority:032x}: this node is wrong. Keep its directory for whoever looks into it, \
         and let the node come back without its data, under a new id"
    )]
    Diverged { index: LogIndex, own: u128, majority: u128 },
    #[error(
        "the received snapshot of index {index} cannot be installed: {why}. The disk or the memory \
         of this machine is not to be trusted; if it is sound, start the node again"
    )]
    Snapshot { index: LogIndex, why: String },
}

/// One replica of one Raft group.
pub struct Replica<C: Consensus, D: Disk> {
    id: NodeId,
    core: C,
    log: SegmentLog<D>,
    machine: Machine,
    max_requests: usize,
    log_reserve: u64,
    stopping: bool,
    pending: PendingRequests,
    /// What each node has relayed here lately.
    relays_seen: BTreeMap<NodeId, Seen>,
    /// This turn's writes, which become one batch.
    proposals: Vec<Proposal>,
    /// Messages that wait for a write to be durable.
    held: BTreeMap<Seq, Vec<(NodeId, C::Message)>>,
    outputs: Vec<Output<C::Message>>,
    /// The leader that waiting requests were last looked at for.
    known_leader: Option<NodeId>,
    announced: Configuration,
    /// Of the last entry applied, and in force as of it: what a snapshot's mark says.
    applied_term: Term,
    applied_configuration: Configuration,
    orders: Orders,
    snapshots: Snapshots,
    /// The snapshot that was received last, until the core says what to do with it.
    received: Option<SnapshotMark>,
    installing: Option<Installing>,
    agreement: Agreement,
    upgrade: Upgrade,
    bugs: Bugs,
    counters: Counters,
    commit_latencies: Vec<Duration>,
    failure: Option<Fatal>,
    /// Of a replica that a checker observes; see [`Observation`].
    observations: Option<Vec<Observation<C>>>,
}

/// Samples of commit latency kept until somebody takes them.
const MAX_SAMPLES: usize = 4096;

impl<C: Consensus, D: Disk> Replica<C, D> {
    /// A replica as it stands after a start, from what `disk` holds.
    ///
    /// # Errors
    /// As [`SegmentLog::open`]: not initialised, damaged, another node's.
    pub fn open(now: Instant, options: Options, disk: D) -> Result<(Self, OpenReport), LogError> {
        let Options { cluster, consensus, log, machine, .. } = options;
        let (id, seed, bugs) = (consensus.id, consensus.seed, consensus.bugs);
        let (mut log, recovered) = SegmentLog::open(disk, Identity { cluster, node: id }, log)?;
        let report = OpenReport { last_index: recovered.last_index, tear: recovered.tear.clone() };
        let machine = Machine::with(MachineOptions { replica: id.0, ..machine });
        let machine = load(&mut log, &recovered.snapshot, machine)?;
        let SnapshotMark { index, term, configuration } = recovered.snapshot.clone();
        let core = C::recover(now, consensus, saved(recovered)?);
        let announced = core.status().configuration;
        let replica = Replica {
            id,
            core,
            log,
            machine,
            max_requests: options.max_requests,
            log_reserve: options.log_reserve,
            stopping: false,
            pending: PendingRequests::starting_from(seed),
            relays_seen: BTreeMap::new(),
            proposals: Vec::new(),
            held: BTreeMap::new(),
            outputs: vec![Output::Configuration(announced.clone())],
            known_leader: None,
            announced,
            applied_term: term,
            applied_configuration: configuration,
            orders: Orders::default(),
            snapshots: Snapshots::starting_from(index, options.snapshot_log_bytes, seed),
            received: None,
            installing: None,
            agreement: Agreement::at_every(options.hash_every),
            upgrade: Upgrade::starting_at(now),
            bugs,
            counters: Counters::default(),
            commit_latencies: Vec::new(),
            failure: None,
            observations: None,
        };
        Ok((replica, report))
    }

    /// Takes in what happened. What must be done comes out of [`Replica::finish_turn`].
    pub fn handle(&mut self, now: Instant, event: Event<C::Message>) {
        match event {
            Event::Elapsed => self.elapsed(now),
            Event::Disk => self.poll_log(now),
            Event::Peer { from, message } => self.peer_says(now, from, message),
            Event::Client { ticket, request, timeout } => {
                self.client_asks(now, ticket, request, timeout);
            }
            Event::Forget { ticket } => self.forget(ticket),
            Event::Order { ticket, order, timeout } => self.order(now, ticket, order, timeout),
            Event::Campaign => self.step(now, Input::Campaign),
            Event::Stop => {
                self.stopping = true;
                self.say_farewell(now);
            }
        }
    }

    /// Ends a turn: proposes what clients brought, lets the log write, and says what must be done.
    ///
    /// # Errors
    /// After one, the replica must not be used any more, and its node must stop.
    pub fn finish_turn(&mut self, now: Instant) -> Result<Vec<Output<C::Message>>, Fatal> {
        self.look_for_a_leader(now);
        if !self.proposals.is_empty() {
            let batch = std::mem::take(&mut self.proposals);
            self.step(now, Input::Propose(batch));
        }
        self.look_after_transfers();
        self.look_after_snapshots(now);
        self.log.flush();
        match self.failure.take() {
            Some(fatal) => Err(fatal),
            None => Ok(std::mem::take(&mut self.outputs)),
        }
    }

    /// When [`Event::Elapsed`] is wanted, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines = [
            self.core.next_deadline(),
            self.log.next_deadline(),
            self.pending.next_deadline(),
            self.orders.next_deadline(),
            self.upgrade_deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }

    pub fn status(&self) -> ReplicaStatus {
        ReplicaStatus {
            consensus: self.core.status(),
            log: self.log.status(),
            revision: self.machine.revision(),
            keys: self.machine.keys(),
            bytes: self.machine.bytes(),
            sessions: self.machine.sessions(),
            state_hash: self.machine.state_hash(),
            machine_applied: self.machine.applied_index(),
            machine_version: self.machine.version(),
            machine_supports: self.machine.supports(),
            snapshot_index: self.snapshots.newest(),
            snapshot_being_taken: self.snapshots.taking(),
            snapshot_being_installed: self.installing.as_ref().map(Installing::index),
            disagreed_at: self.agreement.disagreed_at(),
            pending_requests: self.pending.count(),
            counters: self.counters,
        }
    }

    /// Bytes of log that certainly still fit on the disk.
    pub fn room(&self) -> u64 {
        self.log.room()
    }

    /// How long writes proposed here took until they were applied, since this was last asked; the
    /// first few thousand of them.
    pub fn take_commit_latencies(&mut self) -> Vec<Duration> {
        std::mem::take(&mut self.commit_latencies)
    }

    /// How long the disk's syncs took, since this was last asked; the last few hundred of them.
    pub fn take_sync_times(&mut self) -> Vec<Duration> {
        self.log.take_sync_times()
    }

    fn elapsed(&mut self, now: Instant) {
        if self.core.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.step(now, Input::Elapsed);
        }
        if self.log.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.poll_log(now);
        }
        for ticket in self.pending.expired(now) {
            if let Some(pending) = self.pending.remove(ticket) {
                let response = pending.timed_out();
                self.answer(pending.origin, response);
            }
        }
        self.orders_expired(now);
        self.look_after_upgrade(now);
    }

    fn peer_says(&mut self, now: Instant, from: NodeId, message: PeerMessage<C::Message>) {
        match message {
            PeerMessage::Consensus(message) => {
                let bytes = C::log_bytes(&message) as u64;
                if bytes > 0 && bytes + self.log_reserve > self.log.room() {
                    // As if it had been lost: the leader sends it again, until there is room.
                    self.counters.dropped_for_space += 1;
                    return;
                }
                self.step(now, Input::Receive { from, message });
            }
            PeerMessage::Relay { ticket, request, timeout } => {
                self.peer_relays(now, from, ticket, request, timeout);
            }
            PeerMessage::RelayReply { ticket, response } => {
                self.relay_answered(now, from, ticket, response);
            }
            PeerMessage::StateHash { index, hash } => self.state_told(from, index, hash),
            PeerMessage::Supports { version } => self.support_told(now, from, version),
            PeerMessage::RepairRequest { .. } | PeerMessage::RepairReply { .. } => {}
        }
    }

    fn answer(&mut self, origin: pending::Origin, response: Response) {
        self.outputs.push(match origin {
            pending::Origin::Client { ticket } => Output::Reply { ticket, response },
            pending::Origin::Peer { node, ticket } => {
                Output::Send { to: node, message: PeerMessage::RelayReply { ticket, response } }
            }
        });
    }

    fn forget(&mut self, theirs: Ticket) {
        if let Some(ticket) = self.pending.of_client(theirs) {
            self.pending.remove(ticket);
        }
    }
}

/// The state that the snapshot of `mark` holds, or `machine` as it is without one.
fn load<D: Disk>(
    log: &mut SegmentLog<D>,
    mark: &SnapshotMark,
    machine: Machine,
) -> Result<Machine, LogError> {
    if mark.index == LogIndex(0) {
        return Ok(machine);
    }
    let mut restore = machine.restore();
    log.load_snapshot(mark.index, &mut |part| restore.take(part).map_err(|e| e.to_string()))?;
    let (index, file) = (mark.index, format!("{:020}-{:020}.snap", mark.index.0, mark.term.0));
    let unusable = |what| LogError::DamagedSnapshot { index, file, offset: 0, what };
    match restore.finish() {
        Ok(machine) if machine.applied_index() == index => Ok(machine),
        Ok(machine) => {
            Err(unusable(format!("it holds the state as of {}", machine.applied_index())))
        }
        Err(error) => Err(unusable(error.to_string())),
    }
}

/// What the log found, in the words of the consensus boundary.
fn saved<C: Consensus>(recovered: Recovered) -> Result<Saved<C>, LogError> {
    let hard_state = match recovered.hard_state.is_empty() {
        true => C::HardState::default(),
        false => C::HardState::from_bytes(&recovered.hard_state)
            .ok_or(LogError::ForeignHardState { bytes: recovered.hard_state.len() })?,
    };
    Ok(Saved {
        hard_state,
        snapshot: recovered.snapshot,
        log_start: recovered.log_start,
        configurations: recovered.configurations,
        term_runs: recovered.term_runs,
        last_index: recovered.last_index,
    })
}

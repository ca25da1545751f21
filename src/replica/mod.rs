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

mod message;
pub mod pending;
mod request;
mod serve;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use message::*;
pub use request::*;

use crate::consensus::{
    self, Config, Configuration, Consensus, Effect, Entry, Input, Payload, Persist, Proposal,
    Saved, ToBytes,
};
use crate::kv::Machine;
use crate::storage::{
    Disk, Identity, LogError, LogEvent, LogOptions, LogStatus, Recovered, SegmentLog, Tear,
};
use crate::types::{ClusterId, Instant, LogIndex, NodeId, Seq, Ticket};
use pending::{PendingRequests, Seen};

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
}

impl Options {
    /// The defaults, for a member of `cluster` that `consensus` describes.
    pub fn new(cluster: ClusterId, consensus: Config) -> Options {
        let log = LogOptions::default();
        Options { cluster, consensus, log, max_requests: 16_384, log_reserve: 64 << 10 }
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
    counters: Counters,
    commit_latencies: Vec<Duration>,
    failure: Option<LogError>,
}

/// What a replica has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes taken into the log here.
    pub proposals_accepted: u64,
    /// Writes refused by the core: not leading, or busy.
    pub proposals_refused: u64,
    /// Requests handed on to a leader.
    pub relayed: u64,
    /// Entries applied to the state machine.
    pub entries_applied: u64,
    /// Messages dropped because the disk has no room for what they carry.
    pub dropped_for_space: u64,
    /// Messages that no correct member sends.
    pub peers_rejected: u64,
}

/// A replica as others may see it.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    pub consensus: consensus::Status,
    pub log: LogStatus,
    pub revision: crate::types::Revision,
    pub keys: u64,
    /// Bytes of keys and values in the state machine.
    pub bytes: u64,
    pub sessions: u64,
    pub state_hash: u128,
    pub pending_requests: usize,
    pub counters: Counters,
}

/// Samples of commit latency kept until somebody takes them.
const MAX_SAMPLES: usize = 4096;

impl<C: Consensus, D: Disk> Replica<C, D> {
    /// A replica as it stands after a start, from what `disk` holds.
    ///
    /// # Errors
    /// As [`SegmentLog::open`]: not initialised, damaged, another node's.
    pub fn open(now: Instant, options: Options, disk: D) -> Result<(Self, OpenReport), LogError> {
        let Options { cluster, consensus, log, max_requests, log_reserve } = options;
        let id = consensus.id;
        let pending = PendingRequests::starting_from(consensus.seed);
        let identity = Identity { cluster, node: id };
        let (log, recovered) = SegmentLog::open(disk, identity, log)?;
        let report = OpenReport { last_index: recovered.last_index, tear: recovered.tear.clone() };
        let core = C::recover(now, consensus, saved(recovered)?);
        let announced = core.status().configuration;
        let replica = Replica {
            id,
            core,
            log,
            machine: Machine::new(),
            max_requests,
            log_reserve,
            stopping: false,
            pending,
            relays_seen: BTreeMap::new(),
            proposals: Vec::new(),
            held: BTreeMap::new(),
            outputs: vec![Output::Configuration(announced.clone())],
            known_leader: None,
            announced,
            counters: Counters::default(),
            commit_latencies: Vec::new(),
            failure: None,
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
            Event::Order { ticket, .. } => {
                let message = "not understood yet".into();
                let result = OrderResult::Refused { leader: None, message };
                self.outputs.push(Output::OrderDone { ticket, result });
            }
            Event::Campaign => self.step(now, Input::Campaign),
            Event::Stop => self.stopping = true,
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
        self.log.flush();
        match self.failure.take() {
            Some(error) => Err(error.into()),
            None => Ok(std::mem::take(&mut self.outputs)),
        }
    }

    /// When [`Event::Elapsed`] is wanted, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        let deadlines =
            [self.core.next_deadline(), self.log.next_deadline(), self.pending.next_deadline()];
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
        }
    }

    /// Collects what the disk has done.
    fn poll_log(&mut self, now: Instant) {
        let events = match self.log.poll(now) {
            Ok(events) => events,
            Err(error) => {
                self.failure.get_or_insert(error);
                return;
            }
        };
        for event in events {
            match event {
                LogEvent::Durable(seq) => {
                    self.step(now, Input::Persisted { seq });
                    self.release(seq);
                }
                LogEvent::Read { from, entries } => {
                    self.step(now, Input::LogRead { from, entries });
                }
                LogEvent::ReadFailed { from } => {
                    self.step(now, Input::LogRead { from, entries: Vec::new() });
                }
                LogEvent::SnapshotPartWritten
                | LogEvent::SnapshotSaved { .. }
                | LogEvent::SnapshotFailed { .. }
                | LogEvent::SnapshotWritten { .. }
                | LogEvent::SnapshotReceived { .. }
                | LogEvent::SnapshotRejected { .. }
                | LogEvent::SnapshotBytes { .. }
                | LogEvent::SnapshotPart { .. } => {}
            }
        }
    }

    /// Sends what waited for `seq`.
    fn release(&mut self, seq: Seq) {
        while let Some(first) = self.held.first_entry().filter(|entry| *entry.key() <= seq) {
            for (to, message) in first.remove() {
                self.outputs.push(Output::Send { to, message: PeerMessage::Consensus(message) });
            }
        }
    }

    /// Steps the core, and does what it says until it has nothing more to say.
    fn step(&mut self, now: Instant, input: Input<C>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let before = self.core.checkpoint();
            let effects = self.core.step(now, input);
            self.core.assert_invariants(&before);
            for effect in effects {
                inputs.extend(self.carry_out(now, effect));
            }
        }
    }

    /// Does one thing that the core wants done; the input that answers it, if that is known now.
    fn carry_out(&mut self, now: Instant, effect: Effect<C>) -> Option<Input<C>> {
        match effect {
            Effect::Persist(persist) => self.persist(&persist),
            Effect::Send { to, message, after: Some(seq) } => {
                self.held.entry(seq).or_default().push((to, message));
            }
            Effect::Send { to, message, after: None } => {
                self.outputs.push(Output::Send { to, message: PeerMessage::Consensus(message) });
            }
            Effect::Apply { entries, .. } => {
                let index = self.apply(now, entries)?;
                return Some(Input::Applied { index });
            }
            Effect::ReadLog { from, to, max_bytes } => self.log.read(from, to, max_bytes),
            Effect::Accepted { ticket, index, term } => {
                self.counters.proposals_accepted += 1;
                self.pending.advance(ticket, pending::Stage::Proposed { index, term });
            }
            Effect::ServeRead { ticket, at } => self.read_confirmed(ticket, at),
            Effect::Refuse { ticket, why } => self.core_refused(ticket, why),
            Effect::ReadSnapshot { .. }
            | Effect::WriteSnapshot { .. }
            | Effect::InstallSnapshot { .. }
            | Effect::Compact { .. } => {}
            Effect::PeerRejected { from, why } => {
                self.counters.peers_rejected += 1;
                self.outputs.push(Output::PeerRejected { from, why });
            }
        }
        None
    }

    fn persist(&mut self, persist: &Persist<C::HardState>) {
        self.log.append(persist);
        let changes = |entry: &Entry| matches!(entry.payload, Payload::Configuration(_));
        if persist.truncate_from.is_some() || persist.entries.iter().any(changes) {
            let configuration = self.core.status().configuration;
            if configuration != self.announced {
                self.announced = configuration.clone();
                self.outputs.push(Output::Configuration(configuration));
            }
        }
    }

    /// Applies committed entries, answers those who wait for them, and says how far it came.
    fn apply(&mut self, now: Instant, entries: Vec<Entry>) -> Option<LogIndex> {
        let last = entries.last()?.index;
        for Entry { index, term, payload } in entries {
            self.counters.entries_applied += 1;
            let outcome = match payload {
                Payload::Command(command) => Some(self.machine.apply(index, &command)),
                Payload::Noop | Payload::Configuration(_) => {
                    self.machine.skip(index);
                    None
                }
            };
            self.entry_applied(now, index, term, outcome);
        }
        for ticket in self.pending.answerable(last) {
            self.answer_read(ticket);
        }
        Some(last)
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

//! A replica that takes part: core, log and state machine composed.

use std::collections::{BTreeMap, VecDeque};

use super::agreement::Agreement;
use super::announcing::Announcing;
use super::forgetting::Forgetting;
use super::install::Installing;
use super::leases::Leases;
use super::members::{Membership, is_member};
use super::orders::Orders;
use super::pending::{self, Pending, PendingRequests, Seen};
use super::quota::Limit;
use super::snapshots::Snapshots;
use super::status::{Counters, Place, Traced};
use super::supply::{Lending, Reader};
use super::upgrade::Upgrade;
use super::{
    Event, Fatal, Observation, Options, Output, PeerMessage, Recorder, ReplicaStatus, Response,
    Samples, Stopwatch,
};
use crate::consensus::{
    Checkpoint, Configuration, Consensus, Input, Proposal, Saved, SnapshotMark, ToBytes,
};
use crate::kv::{Machine, MachineOptions};
use crate::museum::Bugs;
use crate::storage::{Disk, LogError, Recovered, SegmentLog};
use crate::types::{Instant, LogIndex, NodeId, Seq, Term, Ticket};

/// A replica whose log is whole: it takes part.
pub struct Running<C: Consensus, D: Disk> {
    pub(super) id: NodeId,
    pub(super) core: C,
    pub(super) log: SegmentLog<D>,
    pub(super) machine: Machine,
    pub(super) max_requests: usize,
    pub(super) log_reserve: u64,
    pub(super) stopping: bool,
    pub(super) pending: PendingRequests,
    /// What each node has relayed here lately.
    pub(super) relays_seen: BTreeMap<NodeId, Seen>,
    /// The first term that this replica has led since its start.
    pub(super) first_led: Option<Term>,
    /// This turn's writes, which become one batch.
    pub(super) proposals: Vec<Proposal>,
    /// Messages that wait for a write to be durable.
    pub(super) held: BTreeMap<Seq, Vec<(NodeId, C::Message)>>,
    pub(super) outputs: Vec<Output<C::Message>>,
    /// The leader, and its term, that waiting requests were last looked at for.
    pub(super) known_leader: Option<(NodeId, Term)>,
    pub(super) announced: Configuration,
    /// Of the last entry applied, and in force as of it: what a snapshot's mark says.
    pub(super) applied_term: Term,
    pub(super) applied_configuration: Configuration,
    pub(super) orders: Orders,
    pub(super) snapshots: Snapshots,
    /// The snapshot that was received last, until the core says what to do with it.
    pub(super) received: Option<SnapshotMark>,
    pub(super) installing: Option<Installing>,
    pub(super) agreement: Agreement,
    pub(super) upgrade: Upgrade,
    pub(super) forgetting: Forgetting,
    pub(super) leases: Leases,
    pub(super) limit: Limit,
    pub(super) announcing: Announcing,
    pub(super) membership: Membership,
    pub(super) bugs: Bugs,
    pub(super) counters: Counters,
    /// The first and the last of the entries that were removed last, for they are not the leader's.
    pub(super) removed: Option<(LogIndex, LogIndex)>,
    pub(super) samples: Samples,
    pub(super) stopwatch: Option<Stopwatch>,
    pub(super) failure: Option<Fatal>,
    /// Of a replica that a checker observes; see [`Observation`].
    pub(super) observations: Option<Vec<Observation<C>>>,
    /// Whom each read of the log is for, in their order.
    pub(super) reads: VecDeque<Reader>,
    pub(super) lending: Lending,
    /// Of a node that keeps a record of its core's life.
    pub(super) recorder: Option<Box<dyn Recorder<C>>>,
}

/// Samples of a kind kept until somebody takes them.
pub(super) const MAX_SAMPLES: usize = 4096;

impl<C: Consensus, D: Disk> Running<C, D> {
    /// A replica as it stands after a start, from what `log` holds.
    ///
    /// # Errors
    /// If the log's snapshot is damaged, or the hard state is of another algorithm.
    pub(super) fn start(
        now: Instant,
        options: Options,
        mut log: SegmentLog<D>,
        recovered: Recovered,
    ) -> Result<Self, LogError> {
        let Options { consensus, machine, .. } = options;
        let (id, seed, bugs) = (consensus.id, consensus.seed, consensus.bugs);
        let lending = Lending::new(consensus.snapshot_chunk_bytes);
        let machine = Machine::with(MachineOptions { replica: id.0, ..machine });
        let machine = load(&mut log, &recovered.snapshot, machine)?;
        let SnapshotMark { index, term, configuration } = recovered.snapshot.clone();
        let heartbeat = consensus.heartbeat_interval;
        let core = C::recover(now, consensus, saved(recovered)?);
        let announced = core.status().configuration;
        Ok(Running {
            id,
            core,
            log,
            machine,
            max_requests: options.max_requests,
            log_reserve: options.log_reserve,
            stopping: false,
            pending: PendingRequests::starting_from(seed),
            relays_seen: BTreeMap::new(),
            first_led: None,
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
            upgrade: Upgrade::starting_at(now, heartbeat),
            forgetting: Forgetting::starting_at(now, options.retention),
            leases: Leases::default(),
            limit: Limit::of(options.quota),
            announcing: Announcing::starting_at(now, heartbeat, options.announcement),
            membership: Membership::starting_at(now, heartbeat),
            bugs,
            counters: Counters::default(),
            removed: None,
            samples: Samples::default(),
            stopwatch: options.stopwatch,
            failure: None,
            observations: None,
            reads: VecDeque::new(),
            lending,
            recorder: None,
        })
    }

    /// Takes in what happened. What must be done comes out of
    /// [`finish_turn`](super::Replica::finish_turn).
    pub fn handle(&mut self, now: Instant, event: Event<C::Message>) {
        match event {
            Event::Elapsed => self.elapsed(now),
            Event::Disk => self.poll_log(now),
            Event::Peer { from, message } => self.peer_says(now, from, message),
            Event::Client { ticket, request, timeout, trace } => {
                self.client_asks(now, ticket, request, timeout, trace);
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
        self.look_after_leases(now);
        self.look_for_a_leader(now);
        self.look_after_upgrade(now);
        self.look_after_the_past(now);
        self.look_after_the_quota(now);
        self.look_after_the_announcement(now);
        self.look_after_the_membership(now);
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
            self.forgetting_deadline(),
            self.leases_deadline(),
            self.announcing_deadline(),
            self.membership_deadline(),
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
            compacted_revision: self.machine.compacted_revision(),
            past_bytes: self.machine.past_bytes(),
            size: self.machine.size(),
            leases: self.machine.leases(),
            sessions: self.machine.sessions(),
            state_hash: self.machine.state_hash(),
            machine_applied: self.machine.applied_index(),
            machine_version: self.machine.version(),
            machine_supports: self.machine.supports(),
            last_member: self.machine.roster().last_member(),
            snapshot_index: self.snapshots.newest(),
            snapshot_being_taken: self.snapshots.taking(),
            snapshot_being_installed: self.installing.as_ref().map(Installing::index),
            disagreed_at: self.agreement.disagreed_at(),
            repair: None,
            pending_requests: self.pending.count(),
            counters: self.counters,
        }
    }

    pub fn traced(&self) -> Vec<Traced> {
        let traced = |(ticket, pending): (Ticket, &Pending)| {
            let parent = pending.trace?;
            Some(Traced {
                parent,
                own: parent.part_of(self.id, ticket),
                is_write: pending.request.is_write(),
                stage: pending.stage,
            })
        };
        self.pending.traced().filter_map(traced).collect()
    }

    pub fn place(&self) -> Place {
        let Checkpoint { role, term, commit_index, last_index, .. } = self.core.checkpoint();
        Place {
            role,
            term,
            leader: self.core.leader(),
            commit_index,
            last_index,
            snapshot_index: self.snapshots.newest(),
            snapshots_installed: self.counters.snapshots_installed,
            removals: self.counters.removals,
            removed: self.removed,
        }
    }

    pub fn is_learner(&self) -> bool {
        let known = self.machine.roster().member(self.id);
        self.announced.learners.contains(&self.id) && !known.is_some_and(|it| it.is_enlisted)
    }

    /// Bytes of log that certainly still fit on the disk.
    pub fn room(&self) -> u64 {
        self.log.room()
    }

    pub fn take_samples(&mut self) -> Samples {
        Samples { writes: self.log.take_times(), ..std::mem::take(&mut self.samples) }
    }

    pub fn end_record(&mut self, now: Instant) {
        if let Some(mut recorder) = self.recorder.take() {
            recorder.end(&self.core, now);
        }
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
    }

    pub(super) fn peer_says(
        &mut self,
        now: Instant,
        from: NodeId,
        message: PeerMessage<C::Message>,
    ) {
        if is_member(&self.announced, from) {
            self.membership.heard(now, from);
        }
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
            PeerMessage::Relay { ticket, term, request, timeout, trace } => {
                self.peer_relays(now, (from, ticket), term, (request, timeout, trace));
            }
            PeerMessage::RelayReply { ticket, response } => {
                self.relay_answered(now, from, ticket, response);
            }
            PeerMessage::StateHash { index, hash } => self.state_told(from, index, hash),
            PeerMessage::Supports { version } => self.support_told(now, from, version),
            PeerMessage::RepairRequest { index, term } => self.repair_asked(from, index, term),
            PeerMessage::SnapshotRequest { covers, snapshot, offset } => {
                self.snapshot_asked(from, (covers, snapshot, offset));
            }
            // It has what it asked for, or was started anew since.
            PeerMessage::RepairReply { .. } | PeerMessage::SnapshotReply { .. } => {}
        }
    }

    pub(super) fn answer(&mut self, origin: pending::Origin, response: Response) {
        self.outputs.push(match origin {
            pending::Origin::Client { ticket } => Output::Reply { ticket, response },
            pending::Origin::Peer { node, ticket } => {
                Output::Send { to: node, message: PeerMessage::RelayReply { ticket, response } }
            }
            pending::Origin::Itself => return,
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

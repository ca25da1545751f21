//! Serving requests: reads by the core, wherever it stands; writes by the core if this replica
//! leads, else by the leader.

use std::time::Duration;

use super::members::is_member;
use super::pending::{Origin, Pending, Stage};
use super::running::MAX_SAMPLES;
use super::{
    Consistency, MemberOrder, MemberResult, Output, PeerMessage, Refused, Request, Response,
    Running,
};
use crate::consensus::{Consensus, Input, Proposal, Refusal};
use crate::kv::version::MEMBERS_ARE_KNOWN;
use crate::kv::{Command, Effect, Operation, Outcome, Query};
use crate::storage::Disk;
use crate::types::{Instant, LeaseId, LogIndex, NodeId, Term, Ticket, TraceContext};

/// A client that is told "busy" may try again after this long.
const RETRY_AFTER_MILLIS: u32 = 25;

impl<C: Consensus, D: Disk> Running<C, D> {
    /// A client of this node asks.
    pub(super) fn client_asks(
        &mut self,
        now: Instant,
        ticket: Ticket,
        request: Request,
        timeout: Duration,
        trace: Option<TraceContext>,
    ) {
        let origin = Origin::Client { ticket };
        let revokes = match self.admit(&request, None) {
            Ok(revokes) => revokes,
            Err(response) => {
                self.answer(origin, response);
                return;
            }
        };
        if let Request::Read { query, consistency: Consistency::Stale } = &request {
            let response = self.query(query);
            self.answer(origin, response);
            return;
        }
        self.take_in(now, origin, (request, timeout, trace), revokes);
    }

    fn take_in(
        &mut self,
        now: Instant,
        origin: Origin,
        (request, timeout, trace): (Request, Duration, Option<TraceContext>),
        revokes: Option<LeaseId>,
    ) {
        let (deadline, stage) = (now + timeout, Stage::Waiting);
        let pending = Pending { origin, request, arrived: now, deadline, stage, revokes, trace };
        let ticket = self.pending.insert(pending);
        self.dispatch(now, ticket);
    }

    /// Another node hands on a request of its client. Only a leader takes it; it is never handed
    /// on again.
    ///
    /// A refusal must be true, and a write must be taken once, although the network may double it:
    /// 1. S2 hands a write to S1, which leads term 4. The message is doubled.
    /// 2. S1 takes the first copy into its log, and restarts. It forgets which relays it has seen.
    /// 3. The second copy arrives. If S1 now said "nothing was written", or took it again, it would
    ///    be wrong: the first copy is committed later.
    ///
    /// So the relay names the term, and who did not lead that term in *this* life says "unknown".
    pub(super) fn peer_relays(
        &mut self,
        now: Instant,
        (from, theirs): (NodeId, Ticket),
        term: Term,
        (request, timeout, trace): (Request, Duration, Option<TraceContext>),
    ) {
        if !self.relays_seen.entry(from).or_default().is_new(theirs) {
            return;
        }
        let origin = Origin::Peer { node: from, ticket: theirs };
        // Whether an earlier life of this node has taken it cannot be known.
        if request.is_write() && self.first_led.is_none_or(|first| term < first) {
            let why = format!(
                "the leader that the write was handed to, node {}, has restarted since",
                self.id
            );
            self.answer(origin, Response::Unknown(why));
            return;
        }
        let admitted =
            self.admit(&request, Some(from)).and_then(|revokes| match self.core.leader() {
                Some(id) if id == self.id => Ok(revokes),
                other => Err(no_leader(other)),
            });
        match admitted {
            Ok(revokes) => self.take_in(now, origin, (request, timeout, trace), revokes),
            Err(response) => self.answer(origin, response),
        }
    }

    /// Whether a request may come in at all, of a client here or handed on by `from`, and which
    /// lease it revokes. Nothing invalid is ever proposed.
    fn admit(
        &mut self,
        request: &Request,
        from: Option<NodeId>,
    ) -> Result<Option<LeaseId>, Response> {
        let refused = |why, message: String| Err(Response::Refused { why, message });
        if self.stopping {
            return refused(Refused::Stopping, "this node is stopping: ask another".into());
        }
        if self.pending.count() >= self.max_requests {
            let message = format!("this node has {} requests under way", self.pending.count());
            return refused(Refused::Busy { retry_after_millis: RETRY_AFTER_MILLIS }, message);
        }
        let checked = match request {
            Request::Write { command } => Command::glimpse(command)
                .map_err(|error| error.to_string())
                .and_then(|command| {
                    command.validate().map_err(|error| error.to_string()).map(|()| command)
                })
                .and_then(|command| self.may_write(command, from).map(Some)),
            Request::Read { query, .. } => Query::decode(query)
                .map_err(|error| error.to_string())
                .and_then(|query| query.validate().map_err(|error| error.to_string()))
                .map(|()| None),
            Request::Lease { .. } => Ok(None),
            Request::Member(_) if self.machine.version() < MEMBERS_ARE_KNOWN => {
                Err("some member's program is too old for changes by clients".into())
            }
            Request::Member(_) => Ok(None),
        };
        let mut revokes = None;
        match checked {
            Err(message) => return refused(Refused::Invalid, message),
            Ok(Some(operation)) => {
                self.has_room_for(&operation)?;
                if let Operation::LeaseRevoke { id } = operation {
                    revokes = Some(id);
                }
            }
            Ok(None) => {}
        }
        match request {
            Request::Write { .. } if let Some(index) = self.agreement.disagreed_at() => {
                refused(Refused::Disagreement, disagreement(index))
            }
            Request::Write { command }
                if command.len() as u64 + self.log_reserve > self.log.room() =>
            {
                Err(self.no_room())
            }
            _ => Ok(revokes),
        }
    }

    /// The operation of a command, if a client here, or the node `from`, may write it.
    fn may_write(&self, command: Command, from: Option<NodeId>) -> Result<Operation, String> {
        let why = match &command.operation {
            Operation::RaiseVersion { .. } => "the cluster raises its version itself",
            Operation::LeaseCheckpoint(_) => "the cluster notes itself how long its leases last",
            Operation::Enlist { .. } => "the cluster itself writes down who is to vote",
            Operation::Announce(announcement) => {
                let node = announcement.node;
                if from == Some(node) && is_member(&self.announced, node) {
                    return Ok(command.operation);
                }
                "a member is announced by itself alone"
            }
            _ => return Ok(command.operation),
        };
        Err(why.into())
    }

    /// Puts an operation of the cluster's own into this turn's batch, as a client's would be: not
    /// if this replica stops, if the states differ, or if the log has no room. Nobody waits for its
    /// answer: whether it was taken shows in the state machine. Its ticket, if it is on its way.
    pub(super) fn propose_of_itself(&mut self, operation: Operation) -> Option<Ticket> {
        let command = Command { session: None, operation }.encode();
        let fits = command.len() as u64 + self.log_reserve <= self.log.room();
        if self.stopping || self.agreement.disagreed_at().is_some() || !fits {
            return None;
        }
        let ticket = self.pending.draw();
        self.proposals.push(Proposal { ticket, command });
        Some(ticket)
    }

    /// The log has no room: the disk is full, or is busy making room.
    fn no_room(&self) -> Response {
        if self.log.status().full {
            let message = format!(
                "the disk of node {} is full: it takes no writes until there is space again",
                self.id
            );
            return Response::Refused { why: Refused::NoSpace, message };
        }
        let why = Refused::Busy { retry_after_millis: RETRY_AFTER_MILLIS };
        let message = format!("the log of node {} is just being extended", self.id);
        Response::Refused { why, message }
    }

    /// Brings a waiting request on its way, if a leader is known.
    pub(super) fn dispatch(&mut self, now: Instant, ticket: Ticket) {
        let Some(pending) = self.pending.get(ticket) else { return };
        let relayed = matches!(pending.origin, Origin::Peer { .. });
        match (self.core.leader(), &pending.request) {
            // The core asks the leader how far it must have applied, wherever that is.
            (Some(_), Request::Read { .. }) => {
                self.pending.advance(ticket, Stage::Confirming);
                self.step(now, Input::Read { ticket });
            }
            (Some(id), Request::Lease { .. }) if id == self.id => {
                self.pending.advance(ticket, Stage::Confirming);
                self.step(now, Input::Read { ticket });
            }
            (Some(id), Request::Write { command }) if id == self.id => {
                let (command, revokes) = (command.clone(), pending.revokes);
                if let Some(lease) = revokes {
                    self.client_revokes(now, ticket, lease);
                }
                self.pending.advance(ticket, Stage::Proposing);
                self.proposals.push(Proposal { ticket, command });
            }
            (Some(id), Request::Member(order)) if id == self.id => {
                let order = order.clone();
                self.order_of_client(now, ticket, &order);
            }
            (Some(to), request) if !relayed => {
                let (request, timeout) = (request.clone(), pending.deadline.since(now));
                let trace = pending.trace.map(|trace| trace.part_of(self.id, ticket));
                self.counters.relayed += 1;
                let term = self.core.checkpoint().term;
                self.pending.advance(ticket, Stage::Relayed { to, term });
                let message = PeerMessage::Relay { ticket, term, request, timeout, trace };
                self.outputs.push(Output::Send { to, message });
            }
            (leader, _) if relayed => self.finish(ticket, no_leader(leader)),
            (_, _) => self.pending.advance(ticket, Stage::Waiting),
        }
    }

    /// If another leader is known than before, or the same one of a later term: requests that wait
    /// may go there, and those that were handed to the old one may not be answered any more. A node
    /// that lost its leadership, and has it again, was perhaps started anew in between. What it was
    /// asked then is asked again; a write is not, and may yet be answered.
    pub(super) fn look_for_a_leader(&mut self, now: Instant) {
        let leader = self.core.leader().map(|id| (id, self.core.checkpoint().term));
        if leader == self.known_leader {
            return;
        }
        self.known_leader = leader;
        let Some((leader, term)) = leader else { return };
        for (ticket, to) in self.pending.relayed_elsewhere(leader, term) {
            let write = matches!(self.pending.get(ticket), Some(p) if p.request.is_write());
            if !write {
                self.pending.advance(ticket, Stage::Waiting);
            } else if to != leader {
                let why = "the leader that the write was handed to was replaced before it answered";
                self.finish(ticket, Response::Unknown(why.into()));
            }
        }
        for ticket in self.pending.waiting() {
            self.dispatch(now, ticket);
        }
    }

    /// The leader answers a request that was handed to it.
    pub(super) fn relay_answered(
        &mut self,
        now: Instant,
        from: NodeId,
        ticket: Ticket,
        response: Response,
    ) {
        let Some(pending) = self.pending.get(ticket) else { return };
        if !matches!(pending.stage, Stage::Relayed { to, .. } if to == from) {
            return;
        }
        match response {
            // It certainly took nothing, so the request may go to another, once one is known.
            Response::Refused {
                why: Refused::NoLeader { .. } | Refused::Stopping | Refused::Repairing,
                ..
            } if self.core.leader() != Some(from) => {
                self.pending.advance(ticket, Stage::Waiting);
                self.dispatch(now, ticket);
            }
            response => self.finish(ticket, response),
        }
    }

    /// The core would not take a request.
    pub(super) fn core_refused(&mut self, now: Instant, ticket: Ticket, why: Refusal) {
        self.counters.proposals_refused += 1;
        if self.lease_refused(now, ticket) {
            return;
        }
        if self.membership.enlisting.remove(&ticket).is_some() {
            self.finish(ticket, half_done());
            return;
        }
        match why {
            Refusal::NotLeader { leader } => {
                let of_client = self
                    .pending
                    .get(ticket)
                    .is_some_and(|p| !matches!(p.origin, Origin::Peer { .. }));
                if of_client {
                    // It has gone nowhere: it waits for the next leader.
                    self.pending.advance(ticket, Stage::Waiting);
                    self.known_leader = None;
                } else {
                    self.finish(ticket, no_leader(leader));
                }
            }
            Refusal::ChangeUnderWay
            | Refusal::NotCaughtUp { .. }
            | Refusal::Invalid(_)
            | Refusal::TransferFailed { .. } => {}
            Refusal::Busy => {
                let why = Refused::Busy { retry_after_millis: RETRY_AFTER_MILLIS };
                let message = "the leader has too much under way".into();
                self.finish(ticket, Response::Refused { why, message });
            }
        }
    }

    /// The read may be answered once `at` is applied.
    pub(super) fn read_confirmed(&mut self, now: Instant, ticket: Ticket, at: LogIndex) {
        if self.expiry_confirmed(ticket, at) {
            return;
        }
        self.pending.advance(ticket, Stage::Applying { at });
        if self.machine.applied_index() >= at {
            self.answer_read(now, ticket);
        }
    }

    /// Answers a read from the state machine as it is.
    pub(super) fn answer_read(&mut self, now: Instant, ticket: Ticket) {
        match self.pending.get(ticket).map(|pending| &pending.request) {
            Some(Request::Read { query, .. }) => {
                let response = self.query(query);
                self.finish(ticket, response);
            }
            Some(Request::Lease { .. }) => self.answer_about_lease(now, ticket),
            // What it wants was so before it came.
            Some(Request::Member(MemberOrder::Update { node, .. })) => {
                let done = MemberResult::Done { node: *node };
                self.finish(ticket, Response::Member(done));
            }
            Some(Request::Write { .. } | Request::Member(_)) | None => {}
        }
    }

    fn query(&self, query: &[u8]) -> Response {
        match Query::decode(query) {
            Ok(query) => Response::Answer(self.machine.query(&query).encode()),
            Err(error) => Response::Refused { why: Refused::Invalid, message: error.to_string() },
        }
    }

    /// The entry at `index` is applied: those who proposed there learn what became of theirs.
    pub(super) fn entry_applied(
        &mut self,
        now: Instant,
        index: LogIndex,
        term: Term,
        outcome: Option<Outcome>,
    ) {
        for (proposed_in, ticket) in self.pending.proposed_at(index) {
            let enlisted = self.membership.enlisting.remove(&ticket);
            match &outcome {
                Some(outcome) if proposed_in == term => {
                    if let Some(pending) = self.pending.get(ticket)
                        && self.samples.commits.len() < MAX_SAMPLES
                    {
                        self.samples.commits.push(now.since(pending.arrived));
                    }
                    self.finish(
                        ticket,
                        match (enlisted, &outcome.effect) {
                            (None, _) => Response::Written(outcome.encode()),
                            (Some(_), Effect::Refused(_)) => half_done(),
                            (Some(node), _) => Response::Member(MemberResult::Done { node }),
                        },
                    );
                }
                _ if enlisted.is_some() => self.finish(ticket, half_done()),
                // Another leader's entry is committed in this place, so this one never will be.
                _ => self.finish(ticket, no_leader(self.known_leader.map(|(id, _)| id))),
            }
        }
    }

    pub(super) fn finish(&mut self, ticket: Ticket, response: Response) {
        if let Some(pending) = self.pending.remove(ticket) {
            self.answer(pending.origin, response);
        }
    }
}

/// Of a member that was added, and may yet stay a learner.
fn half_done() -> Response {
    let why = "the member was added, and whether it will vote is unknown: look at the members";
    Response::Unknown(why.into())
}

fn disagreement(index: LogIndex) -> String {
    format!(
        "at index {index} the replicas' states differed, and no majority had the same: nothing is \
         written any more until an operator has compared them"
    )
}

pub(super) fn no_leader(leader: Option<NodeId>) -> Response {
    let message = match leader {
        Some(id) => format!("this node does not lead, node {id} does; nothing was written"),
        None => "no leader took the request; nothing was written".to_owned(),
    };
    Response::Refused { why: Refused::NoLeader { leader }, message }
}

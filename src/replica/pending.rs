//! Requests that wait for their answer, and until when.
//!
//! Whatever becomes of a request, its client gets exactly one answer, and one that is *true*: a
//! refusal means that it certainly has no effect, and "unknown" is said whenever it may have one.
//! What may be said at a deadline depends on how far a request had come, so that is what is kept:
//!
//! ```text
//!               a leader is known, elsewhere          the answer
//!   Waiting ─────────────────────────────► Relayed ──────────────►
//!      │ ▲                                    │
//!      │ └────────── it did not take it ──────┘
//!      │ this replica leads
//!      ├──────────► Proposing ─────► Proposed{index, term} ──► applied
//!      └──────────► Confirming ────► Applying{at} ───────────► answered
//!                                         │ ▲
//!                                         ▼ │  of a lease whose end is under way
//!                                       Deciding
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{LeaseAsk, Request, Response};
use crate::types::{Instant, LeaseId, LogIndex, NodeId, Random, Term, Ticket, TraceContext};

/// A request under way.
#[derive(Clone, Debug)]
pub struct Pending {
    pub origin: Origin,
    pub request: Request,
    pub arrived: Instant,
    pub deadline: Instant,
    pub stage: Stage,
    /// Of a write that revokes a lease: which.
    pub revokes: Option<LeaseId>,
    /// What it is a part of, if somebody follows its path.
    pub trace: Option<TraceContext>,
}

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A client of this node, who calls the request `ticket`.
    Client { ticket: Ticket },
    /// Another node that relayed it, and calls it `ticket`.
    Peer { node: NodeId, ticket: Ticket },
    /// Nobody: this replica itself wants it, and sees what became of it.
    Itself,
}

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// For a leader to be known. It has gone nowhere.
    Waiting,
    /// For the leader's answer.
    Relayed { to: NodeId, term: Term },
    /// In this turn's batch of proposals; or held by the core, which is handing over. It may yet
    /// get into the log.
    Proposing,
    /// In the log here; possibly committed one day.
    Proposed { index: LogIndex, term: Term },
    /// For a quorum to confirm that this replica leads.
    Confirming,
    /// For the state machine to have applied `at`.
    Applying { at: LogIndex },
    /// For what becomes of the lease that it is to keep alive.
    Deciding,
}

/// All requests under way, by ticket and by deadline.
#[derive(Debug, Default)]
pub struct PendingRequests {
    requests: BTreeMap<Ticket, Pending>,
    deadlines: BTreeSet<(Instant, Ticket)>,
    waiting: BTreeSet<Ticket>,
    proposed: BTreeMap<(LogIndex, Term), Ticket>,
    applying: BTreeSet<(LogIndex, Ticket)>,
    clients: BTreeMap<Ticket, Ticket>,
    traced: BTreeSet<Ticket>,
    last: Ticket,
}

impl PendingRequests {
    /// No requests. Their tickets will begin at a place that `seed` decides, because a leader may
    /// answer a ticket that an earlier life of this node gave out, and a new request of the same
    /// ticket would take that answer for its own.
    pub fn starting_from(seed: u64) -> PendingRequests {
        let last = Ticket(Random::from_seed(!seed).bits() >> 1);
        PendingRequests { last, ..PendingRequests::default() }
    }

    pub fn count(&self) -> usize {
        self.requests.len()
    }

    /// A ticket that nothing else has.
    pub fn draw(&mut self) -> Ticket {
        self.last = Ticket(self.last.0 + 1);
        self.last
    }

    /// Takes a request in, waiting. The ticket is this replica's own.
    pub fn insert(&mut self, pending: Pending) -> Ticket {
        let ticket = self.draw();
        self.deadlines.insert((pending.deadline, ticket));
        self.index(ticket, pending.stage);
        if let Origin::Client { ticket: theirs } = pending.origin {
            self.clients.insert(theirs, ticket);
        }
        if pending.is_followed() {
            self.traced.insert(ticket);
        }
        self.requests.insert(ticket, pending);
        ticket
    }

    pub fn get(&self, ticket: Ticket) -> Option<&Pending> {
        self.requests.get(&ticket)
    }

    /// The request has come this far now.
    pub fn advance(&mut self, ticket: Ticket, stage: Stage) {
        let Some(pending) = self.requests.get_mut(&ticket) else { return };
        let before = std::mem::replace(&mut pending.stage, stage);
        self.unindex(ticket, before);
        self.index(ticket, stage);
    }

    /// Takes a request out, to be answered.
    pub fn remove(&mut self, ticket: Ticket) -> Option<Pending> {
        let pending = self.requests.remove(&ticket)?;
        self.deadlines.remove(&(pending.deadline, ticket));
        self.unindex(ticket, pending.stage);
        if let Origin::Client { ticket: theirs } = pending.origin {
            self.clients.remove(&theirs);
        }
        if pending.is_followed() {
            self.traced.remove(&ticket);
        }
        Some(pending)
    }

    fn index(&mut self, ticket: Ticket, stage: Stage) {
        match stage {
            Stage::Waiting => drop(self.waiting.insert(ticket)),
            Stage::Proposed { index, term } => drop(self.proposed.insert((index, term), ticket)),
            Stage::Applying { at } => drop(self.applying.insert((at, ticket))),
            Stage::Relayed { .. } | Stage::Proposing | Stage::Confirming | Stage::Deciding => {}
        }
    }

    fn unindex(&mut self, ticket: Ticket, stage: Stage) {
        match stage {
            Stage::Waiting => drop(self.waiting.remove(&ticket)),
            Stage::Proposed { index, term } => drop(self.proposed.remove(&(index, term))),
            Stage::Applying { at } => drop(self.applying.remove(&(at, ticket))),
            Stage::Relayed { .. } | Stage::Proposing | Stage::Confirming | Stage::Deciding => {}
        }
    }

    /// What this replica calls a client's request.
    pub fn of_client(&self, theirs: Ticket) -> Option<Ticket> {
        self.clients.get(&theirs).copied()
    }

    /// Requests whose path somebody follows.
    pub fn traced(&self) -> impl Iterator<Item = (Ticket, &Pending)> {
        self.traced.iter().filter_map(|ticket| Some((*ticket, self.requests.get(ticket)?)))
    }

    /// Requests that wait for a leader to be known.
    pub fn waiting(&self) -> Vec<Ticket> {
        self.waiting.iter().copied().collect()
    }

    /// Requests that were relayed to anyone but the leader of `term`, and to whom.
    pub fn relayed_elsewhere(&self, leader: NodeId, term: Term) -> Vec<(Ticket, NodeId)> {
        let elsewhere = |(ticket, pending): (&Ticket, &Pending)| match pending.stage {
            Stage::Relayed { to, term: then } if (to, then) != (leader, term) => {
                Some((*ticket, to))
            }
            _ => None,
        };
        self.requests.iter().filter_map(elsewhere).collect()
    }

    /// Those proposed at `index`, whatever the term: the entry there has been applied.
    pub fn proposed_at(&self, index: LogIndex) -> Vec<(Term, Ticket)> {
        let range = (index, Term(0))..=(index, Term(u64::MAX));
        self.proposed.range(range).map(|((_, term), ticket)| (*term, *ticket)).collect()
    }

    /// Those proposed at or below `index`.
    pub fn proposed_up_to(&self, index: LogIndex) -> Vec<Ticket> {
        let range = ..=(index, Term(u64::MAX));
        self.proposed.range(range).map(|(_, ticket)| *ticket).collect()
    }

    /// Reads that a state machine at `applied` can answer.
    pub fn answerable(&self, applied: LogIndex) -> Vec<Ticket> {
        let range = ..=(applied, Ticket(u64::MAX));
        self.applying.range(range).map(|(_, ticket)| *ticket).collect()
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Requests whose time is over.
    pub fn expired(&self, now: Instant) -> Vec<Ticket> {
        let range = ..=(now, Ticket(u64::MAX));
        self.deadlines.range(range).map(|(_, ticket)| *ticket).collect()
    }
}

/// The tickets that one node has relayed lately: a network may deliver a relay twice, and a write
/// without a session would then be applied twice.
#[derive(Debug, Default)]
pub struct Seen {
    lately: VecDeque<Ticket>,
    tickets: BTreeSet<Ticket>,
}

/// So many relays back, a ticket is recognised.
const SEEN: usize = 4096;

impl Seen {
    /// Whether `ticket` was not seen lately; it is now.
    pub fn is_new(&mut self, ticket: Ticket) -> bool {
        if !self.tickets.insert(ticket) {
            return false;
        }
        self.lately.push_back(ticket);
        if self.lately.len() > SEEN
            && let Some(oldest) = self.lately.pop_front()
        {
            self.tickets.remove(&oldest);
        }
        true
    }
}

impl Pending {
    /// Whether somebody wants to see its path.
    fn is_followed(&self) -> bool {
        self.trace.is_some_and(|trace| trace.sampled)
    }

    /// What is true of a request whose time is over.
    pub fn timed_out(&self) -> Response {
        use super::Refused::{NoLeader, TimedOut};
        let refused = |why, message: &str| Response::Refused { why, message: message.into() };
        let write = self.request.is_write();
        let keeps_alive = matches!(self.request, Request::Lease { ask: LeaseAsk::KeepAlive, .. });
        match self.stage {
            // Only writes are proposed. A leader that hands over holds them.
            Stage::Proposing => Response::Unknown(
                "the leader holds the write while it hands over its leadership, and may still \
                 take it"
                    .into(),
            ),
            Stage::Waiting => refused(
                NoLeader { leader: None },
                "no leader was known in time, so the request went nowhere: is a majority of the \
                 nodes up and connected?",
            ),
            Stage::Proposed { index, term } => Response::Unknown(format!(
                "the write stands in the log at index {index} of term {term}, but no majority \
                 confirmed it in time",
            )),
            Stage::Relayed { to, .. } if write => Response::Unknown(format!(
                "the write was handed to node {to}, the leader, who did not answer in time",
            )),
            Stage::Relayed { to, .. } if keeps_alive => Response::Unknown(format!(
                "the keep-alive was handed to node {to}, the leader, who did not answer in time",
            )),
            Stage::Deciding => Response::Unknown(
                "an end or a checkpoint of the lease was under way, and was not decided in time"
                    .into(),
            ),
            Stage::Relayed { to, .. } => refused(
                TimedOut,
                &format!("node {to}, the leader, did not answer the read in time"),
            ),
            Stage::Confirming => refused(
                TimedOut,
                "no majority confirmed in time that this node still leads, so it must not answer",
            ),
            Stage::Applying { at } => {
                refused(TimedOut, &format!("the state did not reach index {at} in time"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_is_taken_once_and_the_memory_of_it_is_bounded() {
        let mut seen = Seen::default();
        assert!(seen.is_new(Ticket(7)));
        assert!(!seen.is_new(Ticket(7)), "doubled by the network");
        for ticket in 100..100 + SEEN as u64 {
            assert!(seen.is_new(Ticket(ticket)));
        }
        assert_eq!((seen.tickets.len(), seen.lately.len()), (SEEN, SEEN));
        assert!(seen.is_new(Ticket(7)), "too long ago");
    }
}

//! Keep-alives: what clients ask about leases that only the leader can answer.
//!
//! # The rule
//! Such a request is confirmed like a linearizable read, by the leader itself: when a quorum has
//! answered a round that began after the request came, nobody else had been elected by then. Ten
//! thousand of them share a round. The lease lasts its whole time from that moment on, which is
//! after the call and before the answer.
//!
//! It is *not* acknowledged yet, if an entry is under way that might make it untrue:
//!
//! - A revocation, the leader's own or a client's. What comes of it is the answer: mostly that the
//!   lease is gone.
//! - A checkpoint, or one that is applied: the next leader would give the lease no more than it
//!   says. So it is struck out first, for all that are kept alive in the same turn by one entry.
//!
//! # Caveats
//! Whoever waited for such an entry when the leadership ended asks the next leader.

use std::time::Duration;

use super::pending::{Origin, Stage};
use super::serve::no_leader;
use super::{LeaseAsk, Request, Response, Running};
use crate::consensus::Consensus;
use crate::kv::{Answer, LeaseStatus, Refusal};
use crate::storage::Disk;
use crate::types::{Instant, LeaseId, Ticket};

/// Of one lease.
const MANY: usize = 64;

impl<C: Consensus, D: Disk> Running<C, D> {
    /// The leadership was confirmed after this request came, and all is applied that was committed
    /// then.
    pub(super) fn answer_about_lease(&mut self, now: Instant, ticket: Ticket) {
        let Some(pending) = self.pending.get(ticket) else { return };
        let Request::Lease { id, ask } = pending.request else { return };
        if !self.counts_leases(now) {
            self.ask_the_next_leader(ticket);
            return;
        }
        let status = match (self.machine.lease(id), ask) {
            (None, _) => None,
            (Some(lease), LeaseAsk::TimeToLive) => Some(self.as_it_stands(lease)),
            (Some(lease), LeaseAsk::KeepAlive) => match self.keep_alive(&lease) {
                true => Some(self.as_it_stands(lease)),
                false => {
                    self.decide_later(id, ticket);
                    return;
                }
            },
        };
        let answer = Answer {
            revision: self.machine.revision(),
            refused: status.is_none().then_some(Refusal::LeaseNotFound),
            leases: status.into_iter().collect(),
            ..Answer::default()
        };
        self.finish(ticket, Response::Answer(answer.encode()));
    }

    fn decide_later(&mut self, id: LeaseId, ticket: Ticket) {
        self.pending.advance(ticket, Stage::Deciding);
        let waiting = self.leases.waiting.entry(id).or_default();
        waiting.push(ticket);
        // Those whose time is over have been answered. Nothing else would ever remove them where
        // nothing is decided.
        if waiting.len() > MANY && waiting.len().is_power_of_two() {
            waiting.retain(|ticket| self.pending.get(*ticket).is_some());
        }
    }

    /// Lets a lease last its whole time from now on; whether that is certain.
    fn keep_alive(&mut self, lease: &LeaseStatus) -> bool {
        let LeaseStatus { id, granted, remaining, .. } = *lease;
        if self.leases.ending.contains_key(&id) {
            return false;
        }
        let Some(deadlines) = &mut self.leases.deadlines else { return false };
        deadlines.renew(id, Duration::from_secs(granted));
        match self.leases.noting.get(&id) {
            Some(noting) if noting.strikes_out => false,
            None if remaining == 0 => {
                self.counters.leases_renewed += 1;
                true
            }
            _ => {
                self.leases.to_strike.insert(id);
                false
            }
        }
    }

    /// With what it has left, in whole seconds.
    fn as_it_stands(&self, lease: LeaseStatus) -> LeaseStatus {
        let left = self.leases.deadlines.as_ref().and_then(|it| it.left(lease.id));
        LeaseStatus { remaining: left.unwrap_or_default().as_secs(), ..lease }
    }

    /// This replica leads no more, and has not answered.
    pub(super) fn ask_the_next_leader(&mut self, ticket: Ticket) {
        match self.pending.get(ticket).map(|pending| pending.origin) {
            Some(Origin::Client { .. }) => {
                self.pending.advance(ticket, Stage::Waiting);
                // So that it is looked at again, whoever that is.
                self.known_leader = None;
            }
            Some(Origin::Peer { .. }) => self.finish(ticket, no_leader(self.core.leader())),
            // The node itself keeps no lease alive.
            Some(Origin::Itself) | None => {}
        }
    }
}

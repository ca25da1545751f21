//! Reads: answering without writing to the log, and yet never a stale answer (§8; dissertation
//! §6.4).
//!
//! # The problem
//! A read changes nothing, so putting it in the log is waste. But a leader that simply answers
//! from its own state may be wrong about being the leader.
//!
//! # What can go wrong
//! - 1. S1 leads and is cut off. The others elect S2, which commits `x = 2`.
//!   2. A client that S1 still reaches reads `x = 1`: a value older than one already acknowledged.
//! - 1. S2 has just won. It *has* every committed entry, but does not know yet which they are: its
//!      commit index may lag behind the old leader's.
//!   2. It serves a read at that index, and misses the last acknowledged write.
//! - A confirmation that was on its way before the read arrived proves nothing about the time
//!   after.
//!
//! # The rule
//! 1. Wait until the no-op of this term is committed: from then on the commit index is no older
//!    than any leader's before.
//! 2. Note the commit index *c*, and begin a **round**: a heartbeat with a new number to everyone.
//! 3. When a quorum has answered with this number or a later one, nobody else had won until the
//!    round began. Every read that arrived before that moment may be answered from a state that
//!    has applied *c*.
//!
//! Many reads share a round: while one is under way, arrivals gather for the next.
//!
//! # Caveats
//! The answers name no server or start of it, only the term and the round's number. That is
//! enough: a term has one leader, and one that restarts leads only in a later term.

use super::quorum::quorum;
use super::state::{Leader, Raft, RoleState};
use crate::consensus::{Consensus, Effect, Refusal};
use crate::types::{Instant, LogIndex, Ticket};

/// The reads that a leader has accepted and not yet confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Reads {
    /// They arrived after the current round began, or before the term's no-op was committed.
    waiting: Vec<Ticket>,
    current: Option<Round>,
    newest_round: u64,
}

/// Reads whose confirmation is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    at: LogIndex,
    tickets: Vec<Ticket>,
}

impl Reads {
    /// The number that heartbeats carry.
    pub fn newest_round(&self) -> u64 {
        self.newest_round
    }

    /// How many reads wait for their confirmation.
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.current.as_ref().map_or(0, |round| round.tickets.len())
    }
}

impl Raft {
    /// A client wants to read.
    pub(super) fn read(&mut self, now: Instant, ticket: Ticket) {
        let limit = self.config.max_pending_reads;
        let known = self.leader();
        let Some(leader) = self.leading_mut() else {
            self.refuse(ticket, Refusal::NotLeader { leader: known });
            return;
        };
        if leader.reads.pending() >= limit {
            self.refuse(ticket, Refusal::Busy);
            return;
        }
        leader.reads.waiting.push(ticket);
        self.start_round(now);
    }

    /// Begins a round for the reads that wait, unless one is under way or it is too early.
    pub(super) fn start_round(&mut self, now: Instant) {
        let at = self.commit_index;
        let Some(Leader { reads, first_of_term, .. }) = self.leading_mut() else { return };
        if reads.waiting.is_empty() || reads.current.is_some() || at < *first_of_term {
            return;
        }
        reads.newest_round += 1;
        reads.current = Some(Round { at, tickets: std::mem::take(&mut reads.waiting) });
        self.send_heartbeats();
        self.confirm_reads(now);
    }

    /// Serves the reads of the current round once a quorum has answered it.
    pub(super) fn confirm_reads(&mut self, now: Instant) {
        let id = self.id();
        let Raft { role: RoleState::Leader(leader), log, effects, .. } = self else { return };
        let Leader { progress, reads, .. } = leader;
        let newest = reads.newest_round;
        let answered = |other| {
            other == id || progress.get(&other).is_some_and(|p| p.acknowledged_round >= newest)
        };
        if reads.current.is_none() || !quorum(log.configuration(), answered) {
            return;
        }
        if let Some(Round { at, tickets }) = reads.current.take() {
            effects.extend(tickets.into_iter().map(|ticket| Effect::ServeRead { ticket, at }));
        }
        self.start_round(now);
    }

    /// The leadership has ended: these reads find their answer elsewhere.
    pub(super) fn abandon_reads(&mut self, reads: &mut Reads) {
        let leader = self.leader();
        let current = reads.current.take().map(|round| round.tickets).unwrap_or_default();
        for ticket in current.into_iter().chain(std::mem::take(&mut reads.waiting)) {
            self.refuse(ticket, Refusal::NotLeader { leader });
        }
    }
}

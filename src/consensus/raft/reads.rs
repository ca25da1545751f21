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
//! # The rule: rounds
//! 1. Wait until the no-op of this term is committed: from then on the commit index is no older
//!    than any leader's before.
//! 2. Note the commit index *c*, and begin a **round**: a heartbeat with a new number to everyone.
//! 3. When a quorum has answered with this number or a later one, nobody else had won until the
//!    round began. Every read that arrived before that moment may be answered from a state that
//!    has applied *c*.
//!
//! Many reads share a round: while one is under way, arrivals gather for the next.
//!
//! # Followers
//! A follower serves reads from its own state machine, once it knows how far that must be: it asks
//! the leader ([`ReadIndex`](Message::ReadIndex)), for all reads that wait at once. The leader
//! treats the question like a read of its own. The question carries a name (which start of the
//! follower, which question of it), so that an answer to an older one, or to an earlier life of the
//! same server, is not taken for it.
//!
//! # Leases
//! Opt-in ([`Config::lease`](crate::consensus::Config::lease)): a quorum that answered a round was
//! loyal to this leader when it answered, and stays so for the shortest election time-out
//! ([`election`](super::election)). So nobody else can win until that long after the round *began*,
//! and until then reads need no round at all.
//!
//! ```text
//!   leader:     round 7 begins ─────────────── lease until here, less the clocks' error
//!                   │  heartbeat                        │
//!   follower:       └──► loyal from the receipt on ─────┼──►
//!                    answer │                           │
//!   leader:                 ▼ counts from its *sending*, for the answer may have been slow
//! ```
//!
//! It is the one place where safety rests on clocks: they must measure an election time-out alike
//! within the declared error. Three more things belong to it. A server that restarts has forgotten
//! whom it was loyal to, and stays loyal to nobody in particular for one time-out. A leader that
//! hands over asks others to break their loyalty, and forgoes its lease first. And whoever wants an
//! election on request cannot break it: neither others' loyalty nor the loyalty of the very server
//! that is to stand, whose vote for itself is a vote like any other.
//!
//! # Caveats
//! The answers to rounds name no server or start of it, only the term and the round's number. That
//! is enough: a term has one leader, and one that restarts leads only in a later term.
//!
//! With leases every heartbeat begins a round. So the answers that confirm a read's round may come
//! when later rounds have begun; they confirm it all the same.
//!
//! A learner, and a server that was removed, has no time-out and so never doubts its leader. Its
//! readers wait until there is an answer, or until those who ask for them give up.
//!
//! # When the rule is removed
//! - The no-op: `a_read_waits_for_the_no_op`; `museum_read_before_noop` ends with a stale read.
//! - The round: `a_cut_off_leader_serves_no_read`, `reads_share_a_round`,
//!   `a_round_is_confirmed_though_the_next_has_begun`.
//! - Followers: `a_follower_serves_reads`, `a_question_to_a_deposed_leader_is_asked_anew`.
//! - Leases: `a_lease_ends_before_a_vote`, `a_restarted_voter_waits_with_leases`,
//!   `a_loyal_server_does_not_stand_on_request`; `museum_lease_from_answer` counts the lease from
//!   the wrong moment, and serves a stale read.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::message::{Message, ReadContext};
use super::quorum::reached;
use super::state::{Leader, Raft, RoleState};
use crate::consensus::{Consensus, Effect, Refusal};
use crate::museum::Bug;
use crate::types::{Instant, LogIndex, NodeId, Random, Term, Ticket};

/// Rounds whose beginning is remembered for the lease.
const MAX_ROUNDS: usize = 64;

/// The reads that a leader has accepted and not yet confirmed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Reads {
    /// They arrived after the current round began, or before the term's no-op was committed.
    waiting: Vec<Reader>,
    current: Option<Round>,
    newest_round: u64,
    /// Where there are leases: rounds that no quorum has answered yet, and when they began.
    begun: VecDeque<(u64, Instant)>,
    /// No other leader can be elected before.
    lease_until: Option<Instant>,
    /// Somebody may have been told to break others' loyalty.
    forfeited: bool,
}

/// Who wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
enum Reader {
    Client(Ticket),
    Follower(NodeId, ReadContext),
}

/// Reads whose confirmation is under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
struct Round {
    number: u64,
    at: LogIndex,
    readers: Vec<Reader>,
}

impl Reads {
    /// The number that heartbeats carry.
    pub fn newest_round(&self) -> u64 {
        self.newest_round
    }

    /// How many reads wait for their confirmation.
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.current.as_ref().map_or(0, |round| round.readers.len())
    }

    /// No lease any more, as long as this leadership lasts.
    pub fn forfeit_lease(&mut self) {
        self.forfeited = true;
        self.lease_until = None;
    }

    fn has_lease(&self, now: Instant) -> bool {
        self.lease_until.is_some_and(|until| now < until)
    }

    /// Counts a new round, and remembers when it began.
    fn begin(&mut self, now: Instant, leased: bool) {
        self.newest_round += 1;
        if leased {
            self.begun.push_back((self.newest_round, now));
            if self.begun.len() > MAX_ROUNDS {
                self.begun.pop_front();
            }
        }
    }

    /// A quorum has answered round `answered`, or later ones.
    fn extend_lease(&mut self, answered: u64, length: Duration) {
        while let Some((_, began)) = self.begun.pop_front_if(|round| round.0 <= answered) {
            if !self.forfeited {
                self.lease_until = self.lease_until.max(Some(began + length));
            }
        }
    }
}

/// The leader's side.
impl Raft {
    /// A client wants to read.
    pub(super) fn read(&mut self, now: Instant, ticket: Ticket) {
        if self.leading().is_none() {
            self.ask_the_leader(now, ticket);
        } else if !self.wants_to_read(now, Reader::Client(ticket)) {
            self.refuse(ticket, Refusal::Busy);
        }
    }

    /// A follower wants to know how far it must have applied. If there is no answer it asks again.
    pub(super) fn read_index(
        &mut self,
        now: Instant,
        from: NodeId,
        term: Term,
        context: ReadContext,
    ) {
        if term == self.term() {
            self.wants_to_read(now, Reader::Follower(from, context));
        }
    }

    /// Takes a read in, unless too many wait.
    fn wants_to_read(&mut self, now: Instant, reader: Reader) -> bool {
        let (limit, at) = (self.config.max_pending_reads, self.commit_index);
        let unasked = self.has(Bug::UnconfirmedReads);
        let Some(Leader { reads, first_of_term, .. }) = self.leading_mut() else { return false };
        if (reads.has_lease(now) || unasked) && at >= *first_of_term {
            self.serve(at, [reader]);
            return true;
        }
        if reads.pending() >= limit {
            return false;
        }
        reads.waiting.push(reader);
        self.start_round(now);
        true
    }

    /// Begins a round for the reads that wait, unless one is under way or it is too early.
    pub(super) fn start_round(&mut self, now: Instant) {
        let (at, leased) = (self.commit_index, self.config.lease.is_some());
        let hasty = self.has(Bug::ReadBeforeNoop);
        let Some(Leader { reads, first_of_term, .. }) = self.leading_mut() else { return };
        let early = at < *first_of_term && !hasty;
        if reads.waiting.is_empty() || reads.current.is_some() || early {
            return;
        }
        reads.begin(now, leased);
        let (number, readers) = (reads.newest_round, std::mem::take(&mut reads.waiting));
        reads.current = Some(Round { number, at, readers });
        self.send_heartbeats();
        self.confirm_reads(now);
    }

    /// With leases every heartbeat begins a round, so that the lease goes on without reads.
    pub(super) fn begin_lease_round(&mut self, now: Instant) {
        let leased = self.config.lease.is_some();
        if let Some(leader) = self.leading_mut().filter(|_| leased) {
            leader.reads.begin(now, leased);
        }
    }

    /// Serves the reads of the current round once a quorum has answered it.
    pub(super) fn confirm_reads(&mut self, now: Instant) {
        let id = self.id();
        let length = self.lease_length();
        let from_answer = self.has(Bug::LeaseFromAnswer);
        let Raft { role: RoleState::Leader(leader), log, .. } = self else { return };
        let Leader { progress, reads, .. } = &mut **leader;
        let newest = reads.newest_round;
        let answered_by = |other| match progress.get(&other) {
            Some(progress) => progress.acknowledged_round,
            None if other == id => newest,
            None => 0,
        };
        let answered = reached(log.configuration(), answered_by);
        if let Some(length) = length {
            let heard = reads.begun.front().is_some_and(|round| round.0 <= answered);
            reads.extend_lease(answered, length);
            if from_answer && heard {
                reads.lease_until = Some(now + length);
            }
        }
        // This round or a later one: with leases the next has often begun before the answers come.
        if let Some(Round { at, readers, .. }) =
            reads.current.take_if(|round| round.number <= answered)
        {
            self.serve(at, readers);
            self.start_round(now);
        }
    }

    fn lease_length(&self) -> Option<Duration> {
        let lease = self.config.lease?;
        Some(self.config.election_timeout.start.saturating_sub(lease.clock_error))
    }

    fn serve(&mut self, at: LogIndex, readers: impl IntoIterator<Item = Reader>) {
        let term = self.term();
        for reader in readers {
            match reader {
                Reader::Client(ticket) => self.effect(Effect::ServeRead { ticket, at }),
                Reader::Follower(id, context) => {
                    self.send(id, Message::ReadIndexReply { term, context, at });
                }
            }
        }
    }

    /// The leadership has ended: these reads find their answer elsewhere.
    pub(super) fn abandon_reads(&mut self, reads: &mut Reads) {
        let leader = self.leader();
        let current = reads.current.take().map(|round| round.readers).unwrap_or_default();
        for reader in current.into_iter().chain(std::mem::take(&mut reads.waiting)) {
            if let Reader::Client(ticket) = reader {
                self.refuse(ticket, Refusal::NotLeader { leader });
            }
        }
    }
}

/// The reads of a follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Questions {
    last: ReadContext,
    /// They arrived after the open question was asked.
    waiting: Vec<Ticket>,
    pub(super) open: Option<Question>,
}

/// A question under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct Question {
    context: ReadContext,
    readers: Vec<Ticket>,
    pub(super) again_at: Instant,
}

impl Questions {
    /// None yet, of a start that `seed` names.
    pub fn new(seed: u64) -> Questions {
        let last = ReadContext { incarnation: Random::from_seed(!seed).bits(), counter: 0 };
        Questions { last, waiting: Vec::new(), open: None }
    }

    /// When the open question is asked again.
    pub fn ask_again_at(&self) -> Option<Instant> {
        self.open.as_ref().map(|question| question.again_at)
    }

    /// How many reads wait.
    pub fn pending(&self) -> usize {
        self.waiting.len() + self.open.as_ref().map_or(0, |question| question.readers.len())
    }
}

/// The follower's side.
impl Raft {
    fn ask_the_leader(&mut self, now: Instant, ticket: Ticket) {
        let leader = self.leader();
        if leader.is_none() {
            self.refuse(ticket, Refusal::NotLeader { leader });
        } else if self.questions.pending() >= self.config.max_pending_reads {
            self.refuse(ticket, Refusal::Busy);
        } else {
            self.questions.waiting.push(ticket);
            self.ask_next(now);
        }
    }

    /// Asks for all that wait, unless a question is open.
    fn ask_next(&mut self, now: Instant) {
        let Some(to) = self.leader() else { return };
        if self.questions.open.is_some() || self.questions.waiting.is_empty() {
            return;
        }
        self.questions.last.counter += 1;
        let context = self.questions.last;
        let readers = std::mem::take(&mut self.questions.waiting);
        let again_at = now + self.config.heartbeat_interval;
        self.questions.open = Some(Question { context, readers, again_at });
        self.send(to, Message::ReadIndex { term: self.term(), context });
    }

    /// The question or its answer may have been lost.
    pub(super) fn ask_again(&mut self, now: Instant) {
        let (leader, interval) = (self.leader(), self.config.heartbeat_interval);
        let Some(open) = self.questions.open.as_mut().filter(|open| now >= open.again_at) else {
            return;
        };
        open.again_at = now + interval;
        let context = open.context;
        if let Some(to) = leader {
            self.send(to, Message::ReadIndex { term: self.term(), context });
        }
    }

    /// The leader has answered.
    pub(super) fn read_index_reply(
        &mut self,
        now: Instant,
        from: NodeId,
        term: Term,
        context: ReadContext,
        at: LogIndex,
    ) {
        let current = term == self.term() && self.leader() == Some(from);
        let open = &mut self.questions.open;
        let Some(Question { readers, .. }) = open.take_if(|it| current && it.context == context)
        else {
            return;
        };
        readers.into_iter().for_each(|ticket| self.effect(Effect::ServeRead { ticket, at }));
        self.ask_next(now);
    }

    /// There is another leader, or none: these reads find their answer elsewhere.
    pub(super) fn abandon_questions(&mut self) {
        let leader = self.leader();
        let open = self.questions.open.take().map(|question| question.readers);
        let waiting = std::mem::take(&mut self.questions.waiting);
        for ticket in open.unwrap_or_default().into_iter().chain(waiting) {
            self.refuse(ticket, Refusal::NotLeader { leader });
        }
    }
}

//! Election: how a leader is chosen (§5.2), who may be (§5.4.1), and how those who cannot win are
//! kept from trying (dissertation §4.2.3, §6.2, §9.6).
//!
//! # The problem
//! Exactly one server should extend the log at a time, and when it dies another must take over,
//! without anyone to ask who is alive.
//!
//! # What can go wrong
//! - Two servers both think that they lead. *Terms* number the leaders, a server votes once a term,
//!   and a majority must vote: so a term has at most one leader (Election Safety, figure 3). An old
//!   leader that missed its own fall finds out from the first message of a newer term.
//! - Nobody wins. All time out together, vote for themselves, and split the vote, again and again.
//!   *Random* time-outs make one of them first, usually by far.
//! - A server wins that lacks committed entries, and overwrites them. A voter refuses a candidate
//!   whose log is less up to date than its own; since a committed entry is on a majority, some
//!   voter in every majority has it (Leader Completeness, figure 3).
//! - A vote is given and forgotten. See [`state`](super::state): votes wait for the disk.
//! - A server that was cut off raises its term again and again, and when it returns its term
//!   deposes a leader that did nothing wrong. So it first asks whether it *could* win, without
//!   raising anything: the **pre-vote** (§9.6).
//! - A server that was removed, or that alone does not hear the leader, asks for votes and gets
//!   them from servers that hear the leader well. So who has heard of a leader within the shortest
//!   time-out stays **loyal**: it neither votes nor takes on the new term (§4.2.3).
//! - A leader that can send and not receive keeps everyone loyal and commits nothing, for ever. So
//!   a leader that has not heard from a quorum for an election time-out steps down by itself:
//!   **check-quorum** (§6.2). The two belong together: loyalty without check-quorum is a deadlock.
//!
//! # The rule
//! A follower that hears nothing from a leader for its time-out asks all others whether they would
//! vote for it. If a quorum would, it raises the term, votes for itself and asks for real, again
//! and again until one of three things happens: a majority votes for it, a leader of the same or a
//! newer term speaks up, or its time-out passes once more.
//!
//! *Up to date* means: the later term of the last entry wins; with equal terms the longer log.
//!
//! ```text
//!  S1 ──X (leader, crashes)
//!  S2 ─── time-out ─ PreVote 5? ──────────► RequestVote 5 ───────► leads term 5
//!  S3 ─────────────────────── would ────────────────────── votes ─────────────►
//! ```
//!
//! # Caveats
//! A candidate's request waits for its own disk too, although only its vote for itself need to:
//! 1. S1 holds entry 9, not yet on its disk, and asks for votes in term 5 "with a log up to 9".
//! 2. S1 crashes, and comes back with a log up to 8, in term 4. It stands again, in term 5.
//! 3. S2's vote for the first request arrives. S1 counts it, wins without entry 9, which S2 has and
//!    which may be committed.
//!
//! Once the request waits, what it says of the log is still true after any crash. A pre-vote
//! promises nothing and waits for nothing.
//!
//! Loyalty has its price: a follower that is cut off from the leader *alone* cannot win and gets
//! nothing, until the link is mended. The group goes on without it.
//!
//! A server may all the same have a newer term than its leader, if it stood on request. It says so
//! when the leader speaks, and the leader steps down: a refusal in silence would leave it out for
//! ever, since the others, being loyal, refuse its pre-votes.
//!
//! Disks are part of the time that an election takes: the candidate's, then the voters'. Where they
//! need longer than an election time-out, nobody is ever elected (§5.6).
//!
//! # When the rule is removed
//! - Up to date: `a_candidate_with_an_older_log_loses`. Without that rule figure 3's Leader
//!   Completeness has no ground to stand on.
//! - One vote a term: `museum_step_down_clears_vote`, `museum_vote_before_disk`.
//! - Pre-vote and loyalty: `a_server_that_was_cut_off_disturbs_nobody` and
//!   `who_hears_the_leader_stays_loyal`; in `museum_pre_vote_raises_term` nobody is loyal, and a
//!   server that was away deposes a good leader; in `museum_no_pre_vote` its term does.
//! - Check-quorum: `a_leader_that_hears_nobody_steps_down`; `museum_no_check_quorum`.
//! - All three together: `a_stale_term_and_pre_vote_do_not_deadlock`,
//!   `a_removed_server_disturbs_nobody`.

use std::collections::BTreeMap;

use super::message::Message;
use super::quorum::quorum;
use super::state::{HardState, Raft, RoleState};
use crate::consensus::Configuration;
use crate::museum::Bug;
use crate::types::{Instant, LogIndex, NodeId, Term};

/// Changing roles.
impl Raft {
    /// Only a voter stands for election: a learner, or a server outside the configuration, waits.
    ///
    /// But a voter whose vote is taken away by an entry that is not committed yet, as far as it
    /// knows, may be the only one that can win (dissertation §4.2.2):
    ///
    /// 1. S2 and S3 have committed the joint entry that leaves S2 as the only voter.
    /// 2. S3 leads, appends C_new = {S2}, and loses its leadership before S2 has it.
    /// 3. S2 needs S3's vote by its own log, and does not get it: S3's log is longer.
    ///
    /// So S3 stands, is elected by S2 alone, commits C_new, and goes.
    pub(super) fn may_campaign(&self) -> bool {
        let has_vote = |configuration: &Configuration| {
            configuration.voters.contains(&self.id()) || configuration.outgoing.contains(&self.id())
        };
        let uncommitted = self.log.configuration_index() > self.commit_index;
        has_vote(self.log.configuration())
            || uncommitted && has_vote(self.log.configuration_before())
    }

    /// Becomes a follower: of a newer term, of a leader, or both.
    ///
    /// Within the same term the vote stays: a candidate that steps down has voted (for itself), and
    /// would elect a second leader if it forgot that.
    pub(super) fn follow(&mut self, now: Instant, term: Term, leader: Option<NodeId>) {
        debug_assert!(term >= self.term());
        let changed = term > self.term() || leader != self.known_leader();
        let forgets = self.has(Bug::StepDownClearsVote) && self.role().is_candidate();
        if term > self.term() || forgets {
            self.set_hard_state(HardState { term, voted_for: None });
        }
        if leader.is_some() {
            self.loyal_until = now + self.config.election_timeout.start;
        }
        // Nothing was heard of a leader if there is none to hear of: then the time-out that is
        // running goes on, or a server whose log is too old to win could put off all others.
        let deadline = match self.role {
            RoleState::Follower { deadline, .. }
            | RoleState::PreCandidate { deadline, .. }
            | RoleState::Candidate { deadline, .. }
                if leader.is_none() =>
            {
                deadline
            }
            _ => self.election_deadline(now),
        };
        self.become_role(RoleState::Follower { leader, deadline });
        if changed {
            self.abandon_questions();
        }
    }

    /// The leader that a follower follows.
    fn known_leader(&self) -> Option<NodeId> {
        if let RoleState::Follower { leader, .. } = &self.role { *leader } else { None }
    }

    /// What only a leader knows ends with its leadership.
    fn become_role(&mut self, role: RoleState) {
        if let RoleState::Leader(mut old) = std::mem::replace(&mut self.role, role) {
            self.abandon_reads(&mut old.reads);
            self.abandon_transfer(old.transfer);
        }
    }

    pub(super) fn election_deadline(&mut self, now: Instant) -> Instant {
        now + self.random.duration(self.config.election_timeout.clone())
    }

    /// A leader that no quorum answers has no business to lead: others may have elected another,
    /// and clients that wait for it would wait in vain (dissertation §6.2).
    pub(super) fn check_quorum(&mut self, now: Instant) {
        let patience = self.config.election_timeout.end;
        let id = self.id();
        let Some(leader) = self.leading() else { return };
        let heard = |other: NodeId| {
            let progress = leader.progress.get(&other);
            other == id
                || progress.is_some_and(|progress| {
                    now.since(progress.last_heard.unwrap_or(leader.since)) < patience
                })
        };
        if !quorum(self.log.configuration(), heard) && !self.has(Bug::NoCheckQuorum) {
            let term = self.term();
            self.follow(now, term, None);
        }
    }

    /// Whether `message` asks this server to help depose a leader that it hears well.
    pub(super) fn is_disturbed_by(&self, now: Instant, message: &Message) -> bool {
        let Message::RequestVote { transfer, .. } = message else { return false };
        !transfer && self.is_loyal(now)
    }

    fn is_loyal(&self, now: Instant) -> bool {
        let leads = self.leading().is_some();
        leads || now < self.loyal_until
    }
}

/// Pre-vote.
impl Raft {
    /// Asks everyone whether it could win an election.
    pub(super) fn ask_whether_it_could_win(&mut self, now: Instant) {
        if !self.may_campaign() || self.leading().is_some() {
            return;
        }
        if self.has(Bug::NoPreVote) {
            self.campaign(now, false);
            return;
        }
        self.abandon_questions();
        let deadline = self.election_deadline(now);
        let votes = BTreeMap::from([(self.id(), true)]);
        self.role = RoleState::PreCandidate { votes, retry: now, deadline };
        self.ask_for_votes(now);
        self.count_votes(now);
    }

    /// Somebody asks whether this server would vote for it.
    pub(super) fn pre_vote(
        &mut self,
        now: Instant,
        from: NodeId,
        next_term: Term,
        last: (Term, LogIndex),
    ) {
        let granted = next_term > self.term() && self.is_up_to_date(last) && !self.is_loyal(now);
        self.send(from, Message::PreVoteReply { term: self.term(), next_term, granted });
    }

    pub(super) fn pre_vote_reply(
        &mut self,
        now: Instant,
        from: NodeId,
        next_term: Term,
        granted: bool,
    ) {
        let expected = self.term().next();
        let RoleState::PreCandidate { votes, .. } = &mut self.role else { return };
        if next_term == expected {
            votes.insert(from, granted);
            self.count_votes(now);
        }
    }
}

/// The election itself.
impl Raft {
    /// An operator, or a test, wants an election. It is as if the leader had handed over; but where
    /// reads rest on leases, nobody may break the loyalty that they rest on: neither others' nor,
    /// with its vote for itself, its own.
    pub(super) fn campaign_on_request(&mut self, now: Instant) {
        let leased = self.config.lease.is_some();
        if !(leased && self.is_loyal(now)) {
            self.campaign(now, !leased);
        }
    }

    /// Stands for election in a new term.
    pub(super) fn campaign(&mut self, now: Instant, transfer: bool) {
        if !self.may_campaign() || self.leading().is_some() {
            return;
        }
        self.abandon_questions();
        let term = self.term().next();
        self.set_hard_state(HardState { term, voted_for: Some(self.id()) });
        self.elections_started += 1;
        let deadline = self.election_deadline(now);
        self.role = RoleState::Candidate { votes: BTreeMap::new(), retry: now, deadline, transfer };
        self.ask_for_votes(now);
        if self.has(Bug::VoteBeforeDisk) || self.has(Bug::ForgottenTerm) {
            self.own_vote_is_durable(now);
        }
    }

    /// Asks everyone who has not answered: requests are repeated until an answer comes (§5.5).
    pub(super) fn ask_for_votes(&mut self, now: Instant) {
        let (last_log_index, last_log_term) = (self.log.last_index(), self.log.last_term());
        let term = self.term();
        let heartbeat_interval = self.config.heartbeat_interval;
        let (request, votes) = match &mut self.role {
            RoleState::PreCandidate { votes, retry, .. } => {
                *retry = now + heartbeat_interval;
                let next_term = term.next();
                (Message::PreVote { next_term, last_log_index, last_log_term }, votes)
            }
            RoleState::Candidate { votes, retry, transfer, .. } => {
                *retry = now + heartbeat_interval;
                let transfer = *transfer;
                let request =
                    Message::RequestVote { term, last_log_index, last_log_term, transfer };
                (request, votes)
            }
            RoleState::Follower { .. } | RoleState::Leader(_) => return,
        };
        let asks_only = matches!(request, Message::PreVote { .. });
        // Who would not vote a moment ago may have lost its leader since: it is asked again.
        let answered: Vec<NodeId> =
            votes.iter().filter(|(_, yes)| **yes || !asks_only).map(|(id, _)| *id).collect();
        let log_is_durable = self.durability.awaited_for(last_log_index);
        for id in self.others() {
            if answered.contains(&id) {
                continue;
            }
            if asks_only || self.has(Bug::VoteBeforeDisk) {
                self.send(id, request.clone());
            } else {
                self.send_durably(id, request.clone(), log_is_durable);
            }
        }
    }

    /// A candidate's own vote counts like any other: once it is on disk.
    pub(super) fn own_vote_is_durable(&mut self, now: Instant) {
        let durable = self.durability.done >= self.durability.hard_state
            || self.has(Bug::VoteBeforeDisk)
            || self.has(Bug::ForgottenTerm);
        let id = self.id();
        let RoleState::Candidate { votes, .. } = &mut self.role else { return };
        if durable && votes.insert(id, true).is_none() {
            self.count_votes(now);
        }
    }

    /// Somebody asks for this server's vote (figure 2, RequestVote RPC, receiver).
    pub(super) fn request_vote(
        &mut self,
        now: Instant,
        from: NodeId,
        term: Term,
        last: (Term, LogIndex),
    ) {
        let free = self.hard_state.voted_for.is_none_or(|id| id == from);
        let refuses = self.has(Bug::LearnerRefusesVote) && !self.may_campaign();
        let granted = term == self.term() && free && self.is_up_to_date(last) && !refuses;
        if granted {
            if self.hard_state.voted_for.is_none() {
                let voted_for = Some(from);
                self.set_hard_state(HardState { term, voted_for });
            }
            // "Granting vote to candidate" restarts the time-out (figure 2, followers).
            let next = self.election_deadline(now);
            if let RoleState::Follower { deadline, .. } | RoleState::PreCandidate { deadline, .. } =
                &mut self.role
            {
                *deadline = next;
            }
        }
        let reply = Message::RequestVoteReply { term: self.term(), granted };
        if self.has(Bug::VoteBeforeDisk) {
            self.send(from, reply);
        } else {
            self.send_durably(from, reply, None);
        }
    }

    /// Whether a log that ends with `last` (term, then index) is at least as up to date as this
    /// one. The pair compares as §5.4.1 says: by term first, then by index.
    fn is_up_to_date(&self, last: (Term, LogIndex)) -> bool {
        last >= (self.log.last_term(), self.log.last_index())
    }

    /// Somebody answers this server's request for a vote.
    pub(super) fn request_vote_reply(
        &mut self,
        now: Instant,
        from: NodeId,
        term: Term,
        granted: bool,
    ) {
        let current = self.term();
        let RoleState::Candidate { votes, .. } = &mut self.role else { return };
        if term == current {
            votes.insert(from, granted);
            self.count_votes(now);
        }
    }

    /// Goes on to the election if it could win it, and leads if it has.
    fn count_votes(&mut self, now: Instant) {
        let yes = |votes: &BTreeMap<NodeId, bool>| {
            quorum(self.log.configuration(), |id| votes.get(&id) == Some(&true))
        };
        match &self.role {
            RoleState::PreCandidate { votes, .. } if yes(votes) => self.campaign(now, false),
            RoleState::Candidate { votes, .. } if yes(votes) => self.lead(now),
            _ => {}
        }
    }
}

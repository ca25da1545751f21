//! Election: how a leader is chosen (§5.2), and who may be (§5.4.1).
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
//!
//! # The rule
//! A follower that hears nothing from a leader for its time-out raises the term, votes for itself
//! and asks all others, again and again until one of three things happens: a majority votes for
//! it, a leader of the same or a newer term speaks up, or its time-out passes once more.
//!
//! *Up to date* means: the later term of the last entry wins; with equal terms the longer log.
//!
//! # Caveats
//! A candidate's request waits for its own disk too, although only its vote for itself need to:
//! 1. S1 holds entry 9, not yet on its disk, and asks for votes in term 5 "with a log up to 9".
//! 2. S1 crashes, and comes back with a log up to 8, in term 4. It stands again, in term 5.
//! 3. S2's vote for the first request arrives. S1 counts it, wins without entry 9, which S2 has and
//!    which may be committed.
//!
//! Once the request waits, what it says of the log is still true after any crash.

use std::collections::BTreeMap;

use super::message::Message;
use super::quorum::quorum;
use super::state::{HardState, Raft, RoleState};
use crate::types::{Instant, LogIndex, NodeId, Term};

impl Raft {
    /// Only a voter stands for election: a learner, or a server outside the configuration, waits.
    pub(super) fn may_campaign(&self) -> bool {
        let configuration = self.log.configuration();
        configuration.voters.contains(&self.id()) || configuration.outgoing.contains(&self.id())
    }

    /// Becomes a follower: of a newer term, of a leader, or both.
    ///
    /// Within the same term the vote stays: a candidate that steps down has voted (for itself), and
    /// would elect a second leader if it forgot that.
    pub(super) fn follow(&mut self, now: Instant, term: Term, leader: Option<NodeId>) {
        debug_assert!(term >= self.term());
        if term > self.term() {
            self.set_hard_state(HardState { term, voted_for: None });
        }
        // Nothing was heard of a leader if there is none to hear of: then the time-out that is
        // running goes on, or a server whose log is too old to win could put off all others.
        let deadline = match self.role {
            RoleState::Follower { deadline, .. } if leader.is_none() => deadline,
            RoleState::Candidate { deadline, .. } if leader.is_none() => deadline,
            _ => self.election_deadline(now),
        };
        let was_leader =
            std::mem::replace(&mut self.role, RoleState::Follower { leader, deadline });
        if let RoleState::Leader(mut old) = was_leader {
            self.abandon_reads(&mut old.reads);
        }
    }

    fn election_deadline(&mut self, now: Instant) -> Instant {
        now + self.random.duration(self.config.election_timeout.clone())
    }

    /// Stands for election in a new term.
    pub(super) fn campaign(&mut self, now: Instant) {
        if !self.may_campaign() || self.leading().is_some() {
            return;
        }
        let term = self.term().next();
        self.set_hard_state(HardState { term, voted_for: Some(self.id()) });
        self.elections_started += 1;
        let deadline = self.election_deadline(now);
        self.role = RoleState::Candidate { votes: BTreeMap::new(), retry: now, deadline };
        self.ask_for_votes(now);
    }

    /// Asks everyone who has not answered: requests are repeated until an answer comes (§5.5).
    pub(super) fn ask_for_votes(&mut self, now: Instant) {
        let request = Message::RequestVote {
            term: self.term(),
            last_log_index: self.log.last_index(),
            last_log_term: self.log.last_term(),
            transfer: false,
        };
        let heartbeat_interval = self.config.heartbeat_interval;
        let RoleState::Candidate { votes, retry, .. } = &mut self.role else { return };
        *retry = now + heartbeat_interval;
        let answered: Vec<NodeId> = votes.keys().copied().collect();
        let log_is_durable = self.durability.awaited_for(self.log.last_index());
        for id in self.others() {
            if !answered.contains(&id) {
                self.send_durably(id, request.clone(), log_is_durable);
            }
        }
    }

    /// A candidate's own vote counts like any other: once it is on disk.
    pub(super) fn own_vote_is_durable(&mut self, now: Instant) {
        let durable = self.durability.done >= self.durability.hard_state;
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
        // The pair compares as §5.4.1 says: by term first, then by index.
        let up_to_date = last >= (self.log.last_term(), self.log.last_index());
        let free = self.hard_state.voted_for.is_none_or(|id| id == from);
        let granted = term == self.term() && free && up_to_date;
        if granted {
            if self.hard_state.voted_for.is_none() {
                let voted_for = Some(from);
                self.set_hard_state(HardState { term, voted_for });
            }
            // "Granting vote to candidate" restarts the time-out (figure 2, followers).
            let next = self.election_deadline(now);
            if let RoleState::Follower { deadline, .. } = &mut self.role {
                *deadline = next;
            }
        }
        let reply = Message::RequestVoteReply { term: self.term(), granted };
        self.send_durably(from, reply, None);
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

    /// Leads if a quorum voted for it.
    fn count_votes(&mut self, now: Instant) {
        let RoleState::Candidate { votes, .. } = &self.role else { return };
        if quorum(self.log.configuration(), |id| votes.get(&id) == Some(&true)) {
            self.lead(now);
        }
    }
}

//! Progress: what a leader believes of each follower's log (figure 2: `nextIndex`, `matchIndex`).
//!
//! # The problem
//! A new leader does not know how far each follower's log agrees with its own. Sending one message
//! and waiting for its answer would find out, but one message at a time is slow; sending many
//! ahead is fast, but wasted while the place where the logs agree is unknown, or while the
//! follower is dead.
//!
//! # What can go wrong
//! - A follower that is dead or slow costs the leader memory and bandwidth without bound.
//! - A follower that lost one message waits for it while everything after it is sent in vain.
//! - An answer is late, or of a question that is no longer open, and the leader believes it.
//! - A member that caught up once, and died, is taken for one that keeps up.
//!
//! # The rule
//! Three states, as in etcd's library:
//!
//! - **probe**: where the logs agree is unknown, or the follower does not answer. One message is
//!   sent, the next when it was answered; heartbeats repeat the question without any entries, so
//!   a dead follower costs nothing.
//! - **replicate**: a message was answered by "matched". Messages leave without waiting for
//!   answers, `next_index` moving ahead optimistically, up to a bounded window in flight.
//! - **snapshot**: the next entry is compacted away. The follower gets a snapshot, a bounded chunk
//!   at a time, and no entries meanwhile ([`snapshot`](super::snapshot)).
//!
//! ```text
//!            matched                          conflict, or unanswered for too long
//!   probe ────────────► replicate     replicate ──────────────────────────────────► probe
//!
//!   either ── the next entry is gone, and the follower answers ──► snapshot ── installed ──► probe
//! ```
//!
//! So each follower costs the leader a bounded window, whatever state it is in: one that is slow,
//! dead or far behind never slows the others (dissertation §10.2.1, §3.3).
//!
//! `match_index` only ever grows within a term: a follower's acknowledged entries are on its disk,
//! and only a newer leader could make it remove them.
//!
//! # Catching up
//! A new member must not get a vote while it lacks most of the log: until it caught up, the group
//! could commit nothing without it (dissertation §4.2.1). Replication to it is thought of in
//! *rounds*: each round is to bring it all that the leader's log held when the round began. A
//! member that takes no longer than an election time-out for a round has caught up; and it is no
//! longer so once the round under way takes longer than that.
//!
//! # Patience
//! An answer that does not come may be lost, or on its way over a slow link. Whoever sends again at
//! once in the second case makes the link slower still, and is late again: the same entries, over
//! and over. So each time that an answer does not come the leader waits twice as long for the next,
//! up to a bound, and half as long again with each that comes in time (as TCP does, RFC 6298).
//!
//! # Caveats
//! Heartbeats to a follower that is replicated to ask about what it surely has, so they do not
//! reveal that a message with entries was lost. Only its answer that does not come does, after an
//! election time-out at least. (A broken connection loses messages; a working one does not.)
//!
//! # When the rule is removed
//! `a_slow_follower_holds_up_nobody`, `lost_messages_are_sent_again`,
//! `a_slow_link_does_not_carry_the_same_entries_again_and_again`;
//! `a_learner_is_promoted_when_it_has_caught_up`,
//! `a_learner_that_died_after_catching_up_gets_no_vote`.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::snapshot::Sending;
use crate::consensus::PeerStatus;
use crate::types::{Instant, LogIndex};

/// A leader's view of one follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Progress {
    /// The last entry known to be durable there and equal to the leader's.
    pub match_index: LogIndex,
    /// The next entry to send; always past `match_index`.
    pub next_index: LogIndex,
    pub state: State,
    /// The newest round of leadership confirmation that it answered: see [`super::reads`].
    pub acknowledged_round: u64,
    /// When it last answered anything.
    pub last_heard: Option<Instant>,
    /// The entry from which on the disk has been asked, to send them on.
    pub reading_from: Option<LogIndex>,
    /// For how many election time-outs an answer is waited for.
    pub(super) patience: u32,
    pub catching_up: CatchingUp,
}

/// The longest that an answer is waited for, in election time-outs.
const MAX_PATIENCE: u32 = 8;

/// How fast a member follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CatchingUp {
    /// The leader's last index when the round began.
    target: LogIndex,
    pub(super) since: Instant,
    /// The last round that ended was short enough.
    done: bool,
}

/// How messages are sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// One message at a time; `sent`: it is under way.
    Probe { sent: bool },
    /// Many at a time.
    Replicate(InFlight),
    /// A snapshot instead of entries.
    Snapshot(Sending),
}

/// Messages with entries that were sent and not yet answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct InFlight {
    /// The last index and the bytes of each, oldest first.
    messages: VecDeque<(LogIndex, usize)>,
    bytes: usize,
    /// When the oldest became the oldest: the time its answer is due counts from here.
    pub(super) since: Instant,
}

impl InFlight {
    /// Notes a message that was sent.
    pub fn push(&mut self, now: Instant, last_index: LogIndex, bytes: usize) {
        if self.messages.is_empty() {
            self.since = now;
        }
        self.messages.push_back((last_index, bytes));
        self.bytes += bytes;
    }

    /// Forgets the messages that `match_index` answers.
    pub fn acknowledge(&mut self, now: Instant, match_index: LogIndex) {
        while let Some((_, bytes)) = self.messages.pop_front_if(|message| message.0 <= match_index)
        {
            self.bytes -= bytes;
            self.since = now;
        }
    }

    /// Whether another message must wait.
    pub fn is_full(&self, max_messages: usize, max_bytes: usize) -> bool {
        self.messages.len() >= max_messages || self.bytes >= max_bytes
    }

    /// How long the oldest message has waited for its answer; zero if there is none.
    pub fn overdue(&self, now: Instant) -> std::time::Duration {
        if self.messages.is_empty() { Default::default() } else { now.since(self.since) }
    }
}

impl Progress {
    /// A follower of which nothing is known: figure 2 begins at the end of the leader's log.
    pub fn new(now: Instant, next_index: LogIndex) -> Progress {
        Progress {
            match_index: LogIndex(0),
            next_index,
            state: State::Probe { sent: false },
            acknowledged_round: 0,
            last_heard: None,
            reading_from: None,
            patience: 1,
            catching_up: CatchingUp { target: next_index.previous(), since: now, done: false },
        }
    }

    /// Ends rounds of catching up, and begins the next; `last` is the leader's last index, `limit`
    /// the longest that a round may take.
    pub fn count_rounds(&mut self, now: Instant, last: LogIndex, limit: std::time::Duration) {
        let CatchingUp { target, since, .. } = self.catching_up;
        if self.match_index >= target {
            let done = now.since(since) <= limit;
            self.catching_up = CatchingUp { target: last, since: now, done };
        }
    }

    /// Whether it lacks no more than what a round of at most `limit` brings it: the last round was
    /// short enough, and this one is not too long already (it may have died since).
    pub fn has_caught_up(&self, now: Instant, limit: std::time::Duration) -> bool {
        self.catching_up.done && now.since(self.catching_up.since) <= limit
    }

    /// As others may see it; `last` is the leader's last entry.
    ///
    /// What it lacks it has lacked since the round under way began, which is to bring it what was
    /// there already. A heartbeat's answer begins a round, too: of a follower that had everything,
    /// no more than one interval of theirs is counted too much.
    pub fn status(&self, last: LogIndex) -> PeerStatus {
        let in_flight = match &self.state {
            State::Replicate(in_flight) => (in_flight.messages.len(), in_flight.bytes),
            State::Probe { .. } | State::Snapshot(_) => (0, 0),
        };
        PeerStatus {
            match_index: self.match_index,
            next_index: self.next_index,
            state: self.state_name(),
            last_heard: self.last_heard,
            in_flight,
            behind_since: (self.match_index < last).then_some(self.catching_up.since),
        }
    }

    /// The snapshot that is being sent, if one is.
    pub fn snapshot(&self) -> Option<LogIndex> {
        if let State::Snapshot(sending) = &self.state { Some(sending.index) } else { None }
    }

    /// Gives messages up that have waited for their answer too long; `timeout` is the longest
    /// election time-out.
    pub fn give_up_overdue(&mut self, now: Instant, timeout: std::time::Duration) {
        let State::Replicate(in_flight) = &self.state else { return };
        if in_flight.overdue(now) > timeout * self.patience {
            self.patience = (self.patience * 2).min(MAX_PATIENCE);
            self.probe_from(self.match_index.next());
        }
    }

    /// The follower has everything up to `index`, durably. `timeout` is the longest election
    /// time-out.
    pub fn matched(&mut self, now: Instant, index: LogIndex, timeout: std::time::Duration) {
        if let State::Replicate(in_flight) = &self.state
            && index > self.match_index
            && in_flight.overdue(now) <= timeout
        {
            self.patience = (self.patience / 2).max(1);
        }
        self.match_index = self.match_index.max(index);
        match &mut self.state {
            State::Probe { .. } => {
                self.next_index = self.match_index.next();
                self.state = State::Replicate(InFlight::default());
            }
            State::Replicate(in_flight) => {
                in_flight.acknowledge(now, self.match_index);
                self.next_index = self.next_index.max(self.match_index.next());
            }
            // It may have got there otherwise: from its own disk, or from another leader.
            State::Snapshot(sending) if self.match_index >= sending.index => {
                self.next_index = self.match_index.next();
                self.state = State::Replicate(InFlight::default());
            }
            State::Snapshot(_) => self.next_index = self.next_index.max(self.match_index.next()),
        }
    }

    /// The logs may disagree after `next_index - 1`: look there, one message at a time.
    pub fn probe_from(&mut self, next_index: LogIndex) {
        self.next_index = next_index.max(self.match_index.next());
        self.state = State::Probe { sent: false };
    }

    /// The state's name, for tables.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Probe { .. } => "probe",
            State::Replicate(_) => "replicate",
            State::Snapshot(_) => "snapshot",
        }
    }
}

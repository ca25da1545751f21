//! What Raft's members say to each other.
//!
//! The paper has two remote procedure calls; here each call and each reply is a message of its
//! own, because a reply may be lost, late or doubled like any other message. The sender is not in
//! the message: the transport vouches for it.

use crate::consensus::Entry;
use crate::types::{LogIndex, Term};

/// A message from one member to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// A candidate asks for a vote (figure 2, RequestVote RPC).
    RequestVote {
        /// The candidate's term.
        term: Term,
        /// The position of its last entry…
        last_log_index: LogIndex,
        /// …and that entry's term: what the voter compares its own log with (§5.4.1).
        last_log_term: Term,
    },
    /// The answer to a [`Message::RequestVote`].
    RequestVoteReply {
        /// The voter's term, for the candidate to update itself.
        term: Term,
        granted: bool,
    },
    /// A leader replicates entries; without any it is a heartbeat (figure 2, AppendEntries RPC).
    AppendEntries {
        /// The leader's term.
        term: Term,
        /// The entry right before `entries`: its position…
        prev_log_index: LogIndex,
        /// …and its term. The follower takes the entries only if it has this one (§5.3).
        prev_log_term: Term,
        /// Consecutive, from `prev_log_index + 1` on.
        entries: Vec<Entry>,
        /// The leader's commit index.
        leader_commit: LogIndex,
        /// Not in the paper: echoed in the reply, it confirms that its receiver still followed
        /// this leader when the round began (§8; dissertation §6.4).
        round: u64,
    },
    /// The answer to a [`Message::AppendEntries`].
    AppendEntriesReply {
        /// The follower's term, for the leader to update itself.
        term: Term,
        /// From the request.
        round: u64,
        result: AppendResult,
    },
}

/// What became of an AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AppendResult {
    /// The follower's log equals the leader's up to here, *and is durable* up to here.
    Matched(LogIndex),
    /// It does not have the previous entry. The rest lets the leader skip a whole term of
    /// conflicting entries at a time (end of §5.3).
    Conflict {
        /// The `prev_log_index` that did not match.
        rejected: LogIndex,
        /// The follower's term there; zero if its log is shorter.
        term: Term,
        /// The first index of that term in the follower's log; or one past its end.
        index: LogIndex,
    },
}

impl Message {
    /// The sender's term.
    pub fn term(&self) -> Term {
        match self {
            Message::RequestVote { term, .. }
            | Message::RequestVoteReply { term, .. }
            | Message::AppendEntries { term, .. }
            | Message::AppendEntriesReply { term, .. } => *term,
        }
    }
}

//! What Raft's members say to each other.
//!
//! The paper has two remote procedure calls; here each call and each reply is a message of its
//! own, because a reply may be lost, late or doubled like any other message. The sender is not in
//! the message: the transport vouches for it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::consensus::Entry;
use crate::types::{LogIndex, Term};

/// A message from one member to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Message {
    /// Before it raises its term, a server asks whether it could win (dissertation §9.6). Nobody's
    /// term changes.
    PreVote {
        /// The term that it would stand in: its own and one.
        next_term: Term,
        /// As in [`Message::RequestVote`].
        last_log_index: LogIndex,
        /// As in [`Message::RequestVote`].
        last_log_term: Term,
    },
    /// The answer to a [`Message::PreVote`].
    PreVoteReply {
        /// The voter's own term.
        term: Term,
        /// The `next_term` that was asked about.
        next_term: Term,
        granted: bool,
    },
    /// A candidate asks for a vote (figure 2, RequestVote RPC).
    RequestVote {
        /// The candidate's term.
        term: Term,
        /// The position of its last entry…
        last_log_index: LogIndex,
        /// …and that entry's term: what the voter compares its own log with (§5.4.1).
        last_log_term: Term,
        /// The leader itself handed over: who still hears it votes all the same (dissertation
        /// §4.2.3).
        transfer: bool,
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
    /// A leader sends a part of its snapshot to a follower whose next entries are compacted away
    /// (figure 13, InstallSnapshot RPC).
    InstallSnapshot {
        /// The leader's term.
        term: Term,
        /// The last entry that the snapshot covers…
        snapshot_index: LogIndex,
        /// …and that entry's term.
        snapshot_term: Term,
        /// Where `data` lies in the snapshot.
        offset: u64,
        data: Bytes,
        /// `data` reaches its end.
        done: bool,
    },
    /// The answer to a [`Message::InstallSnapshot`].
    InstallSnapshotReply {
        /// The follower's term, for the leader to update itself.
        term: Term,
        /// From the request.
        snapshot_index: LogIndex,
        result: SnapshotResult,
    },
    /// A leader that hands over: stand for election now (dissertation §3.10).
    TimeoutNow {
        /// The leader's term.
        term: Term,
    },
    /// A follower wants to serve reads: how far must it have applied (dissertation §6.4)?
    ReadIndex {
        /// The follower's term.
        term: Term,
        /// The follower's own name for the question.
        context: ReadContext,
    },
    /// The answer to a [`Message::ReadIndex`].
    ReadIndexReply {
        /// The leader's term.
        term: Term,
        /// From the request.
        context: ReadContext,
        /// Reads that the question stands for may be served once this is applied.
        at: LogIndex,
    },
}

/// Names a question of a follower, so that an answer to another, or to an earlier life of the same
/// node, is told from its own. (The node itself the transport vouches for.)
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct ReadContext {
    /// Drawn at each start.
    pub incarnation: u64,
    /// Counts the questions since.
    pub counter: u64,
}

/// How far a follower has come with a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SnapshotResult {
    /// It has so many bytes of it: go on from there.
    Received { bytes: u64 },
    /// It has everything up to the snapshot's index, durably: by this snapshot or otherwise.
    Installed,
}

/// What became of an AppendEntries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AppendResult {
    /// The follower's log equals the leader's up to here, *and is durable* up to here.
    Matched(LogIndex),
    /// The request is of an older term than the follower's: it says nothing about logs or rounds.
    Stale,
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
            Message::PreVoteReply { term, .. }
            | Message::RequestVote { term, .. }
            | Message::RequestVoteReply { term, .. }
            | Message::AppendEntries { term, .. }
            | Message::AppendEntriesReply { term, .. }
            | Message::InstallSnapshot { term, .. }
            | Message::InstallSnapshotReply { term, .. }
            | Message::TimeoutNow { term }
            | Message::ReadIndex { term, .. }
            | Message::ReadIndexReply { term, .. } => *term,
            // Its sender's own term is the one before.
            Message::PreVote { next_term, .. } => Term(next_term.0.saturating_sub(1)),
        }
    }
}

//! What a client asks of a replica, and what it gets.

use bytes::Bytes;

use super::members::{MemberOrder, MemberResult};
use crate::types::{LeaseId, NodeId};

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// An encoded [`Command`](crate::kv::Command); it goes into the log byte for byte.
    Write { command: Bytes },
    /// An encoded [`Query`](crate::kv::Query).
    Read { query: Bytes, consistency: Consistency },
    /// About a lease, what only the leader knows. Answered like a [`Query`](crate::kv::Query) for
    /// it, but that [`remaining`](crate::kv::LeaseStatus::remaining) is what it has left now.
    Lease { id: LeaseId, ask: LeaseAsk },
    /// From the state machine's version 4 on: a change of membership.
    Member(MemberOrder),
}

/// What is asked about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LeaseAsk {
    /// That it last its whole time from now on.
    KeepAlive,
    /// How long it lasts yet.
    TimeToLive,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// It sees every write that was acknowledged before the read began.
    Linearizable,
    /// This replica's state as it is: possibly old, always a state that the cluster was in.
    Stale,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Response {
    /// An encoded [`Outcome`](crate::kv::Outcome). The write is on a majority's disks.
    Written(Bytes),
    /// An encoded [`Answer`](crate::kv::Answer).
    Answer(Bytes),
    /// What became of a change of membership.
    Member(MemberResult),
    /// Certainly no effect.
    Refused { why: Refused, message: String },
    /// It may or may not take effect, now or later.
    Unknown(String),
}

/// Why a request certainly has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// No leader is known here, or the one that was known did not take it.
    NoLeader { leader: Option<NodeId> },
    /// Too much is under way: try again after so many milliseconds.
    Busy { retry_after_millis: u32 },
    /// The request itself is wrong: never try it again.
    Invalid,
    /// The disk is full, or so is the quota.
    NoSpace,
    /// It was not proposed within its time.
    TimedOut,
    /// This node is going down.
    Stopping,
    /// The replicas' states differ, and none of them is a majority's: no writes any more.
    Disagreement,
    /// This node's log is damaged, and it repairs it before it takes part again.
    Repairing,
}

impl Request {
    /// Whether it may get into the log.
    pub fn is_write(&self) -> bool {
        matches!(self, Request::Write { .. } | Request::Member(_))
    }
}

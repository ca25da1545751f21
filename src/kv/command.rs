//! What clients ask of the state machine, and what it answers.

use bytes::Bytes;

use crate::types::{LogIndex, Revision};

/// One command of the log: an operation, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Command {
    /// Present: a retry of the same command is applied once.
    pub session: Option<SessionStamp>,
    pub operation: Operation,
}

/// Which session a command belongs to, and which of its commands it is (dissertation §6.3).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionStamp {
    pub id: SessionId,
    /// Numbers the session's commands, from 1.
    pub sequence: u64,
    /// The client has the results up to this sequence: the replicas may forget them.
    pub acknowledged: u64,
    /// The applied index that the client saw when it opened the session.
    pub opened_at: LogIndex,
}

/// 128 random bits, drawn by the client; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

/// A change to one key, or to the state machine itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    Put {
        key: Bytes,
        value: Bytes,
    },
    Delete {
        key: Bytes,
    },
    CompareAndSwap {
        key: Bytes,
        expected: Expected,
        value: Bytes,
    },
    /// From here on the state machine is of version `to`: see [`version`](super::version). Only the
    /// cluster itself proposes it, never a client.
    RaiseVersion {
        to: u16,
    },
}

/// What compare-and-swap wants to find.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Expected {
    Absent,
    Value(Bytes),
    ModRevision(Revision),
}

/// What applying a command did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outcome {
    /// Of the store, right after.
    pub revision: Revision,
    pub effect: Effect,
}

/// The part of an [`Outcome`] that depends on the operation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// The key was set; whether it existed before.
    Put { existed: bool },
    /// Whether there was such a key.
    Deleted { existed: bool },
    /// Compare-and-swap found what it wanted.
    Swapped,
    /// Compare-and-swap found this instead.
    Unchanged { found: Option<KeyValue> },
    /// The state machine is of this version now.
    Raised { version: u16 },
    /// The command was not applied.
    Refused(Refusal),
}

/// Why a command in the log was not applied; every replica says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    #[error("the command is of a version that the cluster does not know")]
    UnknownVersion,
    #[error("the command cannot be decoded")]
    Malformed,
    #[error("the client's session has expired; whether an earlier try took effect is unknown")]
    SessionExpired,
    #[error("too many unacknowledged writes in one session")]
    SessionFull,
    #[error("the result was already acknowledged by the client and is forgotten")]
    StaleSequence,
}

/// A key as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct KeyValue {
    pub key: Bytes,
    pub value: Bytes,
    pub create_revision: Revision,
    pub mod_revision: Revision,
    /// Changes since the key was created, from 1.
    pub version: u64,
}

/// A question to the state machine; it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    Get {
        key: Bytes,
    },
    Range {
        /// Inclusive; empty: from the first key.
        start: Bytes,
        /// Exclusive; empty: to the last key.
        end: Bytes,
        /// At most so many keys; 0: as many as fit one answer.
        limit: u64,
        keys_only: bool,
        count_only: bool,
    },
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Answer {
    /// Of the store when it was read.
    pub revision: Revision,
    /// Ascending by key; for a get, one or none.
    pub items: Vec<KeyValue>,
    /// The range holds more than this answer; go on after the last key.
    pub more: bool,
    /// Keys in the whole range.
    pub count: u64,
}

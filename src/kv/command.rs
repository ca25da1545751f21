//! What clients ask of the state machine, and what it answers.

use std::sync::Arc;

use bytes::Bytes;

use super::limits::{STORED_ITEM_BYTES, STORED_LEASE_BYTES};
use super::{RequestOp, Transaction, TransactionResult};
use crate::types::{LeaseId, LogIndex, NodeId, Revision};

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

/// A change to keys or leases, to what is known of the members, or to the state machine itself.
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
    /// From version 3 on, as all that follow: several operations at one revision, if what they
    /// compare is as they want it.
    Transaction(Transaction),
    /// What was before this revision may be forgotten.
    Compact {
        revision: Revision,
    },
    /// A lease begins. Whoever proposes it draws the id, because no replica may draw anything.
    LeaseGrant {
        id: LeaseId,
        /// In seconds.
        ttl: u64,
    },
    /// A lease ends, and every key that is attached to it goes. No machine knows what time it is:
    /// it ends when somebody says so.
    LeaseRevoke {
        id: LeaseId,
    },
    /// How long leases last if another leader takes over now. Only the cluster itself proposes it,
    /// never a client.
    LeaseCheckpoint(Vec<LeaseCheckpoint>),
    /// From version 4 on, as all that follow: an alarm goes on or off.
    Alarm(AlarmOrder),
    /// What a member is called, and where it serves clients. Only a member itself proposes it.
    Announce(Announcement),
    /// A learner is to get a vote once it has caught up. Only the cluster itself proposes it.
    Enlist {
        node: NodeId,
    },
}

/// Something is wrong with a member, and everybody must heed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alarm {
    /// Whom it is about, as far as who raised it said so: etcd takes any number.
    pub member: NodeId,
    pub kind: AlarmKind,
}

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AlarmKind {
    /// There is no room for more.
    NoSpace = 1,
    /// The replicas' states differ.
    Corrupt = 2,
}

/// An alarm is to be on, or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AlarmOrder {
    pub alarm: Alarm,
    pub is_on: bool,
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Announcement {
    pub node: NodeId,
    pub name: String,
    pub client_urls: Vec<String>,
}

impl Operation {
    /// Bytes that it adds to [`Machine::size`](super::Machine::size) at most; zero: it needs no
    /// room. Of a transaction, whichever branch is taken.
    pub fn cost(&self) -> u64 {
        match self {
            Operation::Put { key, value } | Operation::CompareAndSwap { key, value, .. } => {
                STORED_ITEM_BYTES + (key.len() + value.len()) as u64
            }
            Operation::Transaction(transaction) => transaction.cost(),
            Operation::LeaseGrant { .. } => STORED_LEASE_BYTES,
            _ => 0,
        }
    }
}

impl Transaction {
    fn cost(&self) -> u64 {
        let of_branch = |branch: &[RequestOp]| -> u64 {
            let costs = branch.iter().map(|operation| match operation {
                RequestOp::Put(put) => STORED_ITEM_BYTES + (put.key.len() + put.value.len()) as u64,
                RequestOp::Transaction(inner) => inner.cost(),
                RequestOp::Range(_) | RequestOp::DeleteRange(_) => 0,
            });
            costs.sum()
        };
        of_branch(&self.success).max(of_branch(&self.failure))
    }
}

/// What one lease has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LeaseCheckpoint {
    pub id: LeaseId,
    /// In seconds; 0: as long as it was granted for.
    pub remaining: u64,
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
    Put {
        existed: bool,
    },
    /// Whether there was such a key.
    Deleted {
        existed: bool,
    },
    /// Compare-and-swap found what it wanted.
    Swapped,
    /// Compare-and-swap found this instead.
    Unchanged {
        found: Option<KeyValue>,
    },
    /// The state machine is of this version now.
    Raised {
        version: u16,
    },
    /// What the transaction's operations found and did. Behind a pointer, because a session that
    /// keeps it is copied now and then.
    Transaction(Arc<TransactionResult>),
    Compacted,
    LeaseGranted,
    /// The lease is gone, and so many keys with it.
    LeaseRevoked {
        deleted: u64,
    },
    /// Of those that are still there, it is noted.
    LeasesCheckpointed,
    /// The alarm that is on now, or was until now.
    Alarm {
        alarm: Option<Alarm>,
    },
    Announced,
    Enlisted,
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
    #[error("mvcc: required revision has been compacted")]
    Compacted,
    #[error("mvcc: required revision is a future revision")]
    FutureRevision,
    #[error("key not found")]
    KeyNotFound,
    #[error("requested lease not found")]
    LeaseNotFound,
    #[error("lease already exists")]
    LeaseExists,
    #[error("the transaction would answer more than one answer may hold: ask for less at once")]
    ResultTooLarge,
    #[error("the transaction would look at too many keys: compare, read or delete less at once")]
    TooMuchToVisit,
    #[error("mvcc: database space exceeded")]
    NoSpace,
    #[error("corrupt cluster")]
    Corrupt,
    #[error("there are too many alarms or members already")]
    TooMany,
}

impl Refusal {
    /// Every one of them, each at its number: what a snapshot and the state's hash know it by.
    /// Never renumbered.
    pub(super) const NUMBERED: [Refusal; 15] = [
        Refusal::UnknownVersion,
        Refusal::Malformed,
        Refusal::SessionExpired,
        Refusal::SessionFull,
        Refusal::StaleSequence,
        Refusal::Compacted,
        Refusal::FutureRevision,
        Refusal::KeyNotFound,
        Refusal::LeaseNotFound,
        Refusal::LeaseExists,
        Refusal::ResultTooLarge,
        Refusal::TooMuchToVisit,
        Refusal::NoSpace,
        Refusal::Corrupt,
        Refusal::TooMany,
    ];

    pub(super) fn number(self) -> u8 {
        self as u8
    }
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
    /// The lease that it is attached to; zero: none.
    pub lease: LeaseId,
}

//! Questions to the state machine, and its answers.

use bytes::Bytes;

use super::{KeyValue, Refusal, Transaction, TransactionResult};
use crate::types::{LeaseId, Revision};

/// A question to the state machine; it changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Query {
    Get {
        key: Bytes,
    },
    Range(RangeRequest),
    /// What the replicas know of a lease. When it ends, only the leader knows.
    Lease {
        id: LeaseId,
        /// Answer its keys, too.
        keys: bool,
        /// Of its keys, those behind this one.
        after: Bytes,
    },
    /// All leases with an id above this one, without their keys.
    Leases {
        after: LeaseId,
    },
    /// The store's revision and nothing else: what everybody's answer says. Asked linearizably, it
    /// tells how far this replica is.
    Revision,
    /// A transaction that [only reads](Transaction::only_reads): several ranges of one moment.
    Transaction(Transaction),
}

impl Query {
    /// Whether it is a range of which this answer leaves something out for want of room.
    pub fn is_cut_by(&self, answer: &Answer) -> bool {
        let Query::Range(range) = self else { return false };
        let is_limited = range.limit > 0 && answer.items.len() as u64 >= range.limit;
        answer.more && !is_limited
    }
}

/// Asked with each key that is looked at: whether to go on. Once it says no, nobody wants the
/// answer any more, and it may be any.
pub type Patience<'a> = &'a dyn Fn() -> bool;

/// Which keys are read, as of when, and how they are answered.
///
/// Filters, order and limit are etcd's, and take effect in that order. What does not fit one answer
/// is left for the next ([`Answer::more`]). Whoever needs all of it asks again, at the revision of
/// the first answer: from behind the last key that came, if they come in the order of their keys;
/// else for the same, but [`skip`](RangeRequest::skip) as many as came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct RangeRequest {
    /// Inclusive; empty: from the first key.
    pub start: Bytes,
    /// Exclusive; empty: to the last key.
    pub end: Bytes,
    /// At most so many keys; 0: as many as fit one answer.
    pub limit: u64,
    pub keys_only: bool,
    pub count_only: bool,
    /// As the keys were at this revision; 0: as they are.
    pub revision: Revision,
    /// Leaves out what was changed last before this; 0: nothing.
    pub min_mod_revision: Revision,
    /// Leaves out what was changed last after this; 0: nothing.
    pub max_mod_revision: Revision,
    /// Leaves out what was created before this; 0: nothing.
    pub min_create_revision: Revision,
    /// Leaves out what was created after this; 0: nothing.
    pub max_create_revision: Revision,
    pub sort_order: SortOrder,
    pub sort_target: SortTarget,
    /// So many of those that would be answered came in earlier answers.
    pub skip: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortOrder {
    /// Ascending.
    #[default]
    None,
    Ascend,
    Descend,
}

/// What the order looks at. Keys that are equal in it come in the order of their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum SortTarget {
    #[default]
    Key,
    Version,
    Create,
    Mod,
    Value,
}

/// The answer to a [`Query`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Answer {
    /// Of the store when it was read.
    pub revision: Revision,
    /// In the order that was asked for; for a get, one or none.
    pub items: Vec<KeyValue>,
    /// There is more than this answer holds.
    pub more: bool,
    /// Keys in the whole range, filters and limit aside; or of the lease; or leases.
    pub count: u64,
    /// Ascending by id.
    pub leases: Vec<LeaseStatus>,
    /// Of a transaction.
    pub transaction: Option<TransactionResult>,
    /// There is no answer, and why.
    pub refused: Option<Refusal>,
}

/// What the replicas know of a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LeaseStatus {
    pub id: LeaseId,
    /// For how many seconds it was granted.
    pub granted: u64,
    /// How many seconds it had left at the last checkpoint; 0: there was none since it was renewed.
    pub remaining: u64,
    /// Ascending, if they were asked for.
    pub keys: Vec<Bytes>,
}

/// What became of a key at one revision, as a watch tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Change {
    /// Which of the changes of its revision, from 0.
    pub sub: u32,
    /// The key was deleted: of `item`, only the key and the mod revision mean something.
    pub is_delete: bool,
    pub item: KeyValue,
}

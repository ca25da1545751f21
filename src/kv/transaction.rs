//! Transactions, in etcd's form: comparisons, and what is done if they hold or if they do not.
//!
//! A range of keys is always a start, inclusive, and an end, exclusive; an empty end reaches to the
//! last key. One key alone is the range from that key to the same with a zero byte behind it
//! ([`after`]), because no other key lies in between. etcd's own encodings of "one key" and "to the
//! last" are a matter of its protocol, and are translated there.

use bytes::Bytes;

use super::{KeyValue, RangeRequest};
use crate::types::{LeaseId, Revision};

/// Several operations that take effect at one revision, or not at all.
///
/// Which of the two lists is done is decided before anything is, for nested transactions too: their
/// comparisons see the keys as they were. What is *read* sees what was done before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Transaction {
    /// All of them must hold.
    pub compare: Vec<Compare>,
    pub success: Vec<RequestOp>,
    pub failure: Vec<RequestOp>,
}

impl Transaction {
    /// Whether it changes nothing, whichever way it goes.
    pub fn only_reads(&self) -> bool {
        self.success.iter().chain(&self.failure).all(|operation| match operation {
            RequestOp::Range(_) => true,
            RequestOp::Put(_) | RequestOp::DeleteRange(_) => false,
            RequestOp::Transaction(inner) => inner.only_reads(),
        })
    }
}

/// What every key of a range must be like.
///
/// If there is no key in the range, the numbers are compared to zero, so that "version 0" means
/// "absent"; a comparison of values does not hold then.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Compare {
    pub start: Bytes,
    pub end: Bytes,
    pub result: CompareResult,
    pub target: CompareTarget,
}

/// How what is found must relate to what is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CompareResult {
    Equal,
    Greater,
    Less,
    NotEqual,
}

/// Which part of a key is compared, and with what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CompareTarget {
    Version(u64),
    CreateRevision(Revision),
    ModRevision(Revision),
    Value(Bytes),
    Lease(LeaseId),
}

/// One operation of a transaction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum RequestOp {
    Range(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Transaction(Transaction),
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct PutRequest {
    pub key: Bytes,
    pub value: Bytes,
    /// Zero: none, and the key leaves the one that it is attached to.
    pub lease: LeaseId,
    /// Answer what was there before.
    pub prev_kv: bool,
    /// Keep the value that is there; there must be one.
    pub ignore_value: bool,
    /// Keep the lease that is there; there must be a key.
    pub ignore_lease: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct DeleteRangeRequest {
    pub start: Bytes,
    pub end: Bytes,
    /// Answer what was there before.
    pub prev_kv: bool,
}

/// What a transaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct TransactionResult {
    /// The comparisons held.
    pub succeeded: bool,
    /// One for each operation that was done, in order.
    pub responses: Vec<ResponseOp>,
}

/// What one operation of a transaction found or did.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ResponseOp {
    Range {
        items: Vec<KeyValue>,
        /// The limit left some out.
        more: bool,
        /// Keys in the whole range.
        count: u64,
    },
    Put {
        /// What was there before, if that was asked and something was.
        prev: Option<KeyValue>,
    },
    DeleteRange {
        deleted: u64,
        /// What was there before, if that was asked.
        prev: Vec<KeyValue>,
    },
    Transaction(TransactionResult),
}

/// The first key behind `key`: the end of the range that holds that key alone.
pub fn after(key: &[u8]) -> Bytes {
    [key, &[0]].concat().into()
}

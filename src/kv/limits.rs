//! How large things may be, and requests that no replica should ever see.
//!
//! A limit is checked twice. [`Command::validate`] and [`Query::validate`] run where a request
//! enters the cluster, so that a person gets a clear refusal before anything is proposed. Applying
//! checks the same again, because a command that is in the log came from *some* node, and perhaps
//! from an older one; there the refusal is [`Refusal::Malformed`](super::Refusal::Malformed), on
//! every replica alike. So a limit that decides what is applied is part of the log's format: it may
//! change only together with [`COMMAND_VERSION`](super::COMMAND_VERSION).

use super::{
    Announcement, Command, LeaseCheckpoint, Operation, PutRequest, Query, RequestOp, SessionStamp,
    Transaction, duplicates,
};
use crate::types::{LeaseId, NodeId};

/// Bytes of an encoded command or query: etcd's limit on a request, 1.5 MiB.
pub const MAX_REQUEST_BYTES: usize = 1536 << 10;

/// Bytes of keys and values in one answer (with [`ITEM_OVERHEAD_BYTES`] for each item); the item
/// that crosses the line is left for the next answer, but the first item always goes.
pub const MAX_ANSWER_PAYLOAD_BYTES: usize = 1 << 20;

/// What an item costs in an answer beside its key and value: six words, a pad for each of the two.
pub const ITEM_OVERHEAD_BYTES: usize = 64;

/// What an operation of a transaction costs in its result, whatever it answers.
pub const RESPONSE_OVERHEAD_BYTES: usize = 64;

/// What a transaction may answer: keys, values and overhead. It is not cut: the transaction that
/// would answer more is refused as a whole. Twice the largest value, so that a value can always be
/// exchanged for another.
pub const MAX_RESULT_PAYLOAD_BYTES: usize = 2 * MAX_REQUEST_BYTES;

/// Bytes of an encoded outcome, and of a result in a snapshot.
pub const MAX_OUTCOME_BYTES: usize = MAX_RESULT_PAYLOAD_BYTES + (64 << 10);

/// Bytes of an encoded answer or outcome that a client is ready to read: more than any that a
/// replica writes, which is a full payload, a single item of nearly [`MAX_REQUEST_BYTES`], or
/// [`MAX_OUTCOME_BYTES`].
pub const MAX_ANSWER_BYTES: usize = 4 << 20;

/// Comparisons and operations of a transaction: etcd's limit. Of the three lists the longest
/// counts, and a nested transaction may have as many as those around it leave.
pub const MAX_TRANSACTION_OPS: usize = 128;

/// Transactions within transactions, the outermost counted. etcd's limit follows from the one
/// above; each level costs stack, so there is one of its own here.
pub const MAX_TRANSACTION_DEPTH: usize = 16;

/// Keys that the comparisons, ranges and deletions of a transaction may look at, all together, and
/// besides as many as there are keys and past versions: so that any one range can always be read or
/// deleted. Without it, a transaction of a megabyte could walk all keys ten thousand times, and no
/// replica would do anything else for hours.
pub const MAX_TRANSACTION_VISITS: u64 = 1_000_000;

/// Keys that a small question looks at. To walk and to sort so many takes a fraction of a
/// millisecond: whoever drives the machine can answer between two entries.
pub const SMALL_QUERY_VISITS: u64 = 2048;

/// Seconds that a lease may be granted for: etcd's limit, nearly three centuries.
pub const MAX_LEASE_TTL: u64 = 9_000_000_000;

/// What a key, or a version of it that is past, costs of the quota beside its bytes: the maps that
/// it stands in, its numbers, and its change in the log of changes. etcd counts as much.
pub const STORED_ITEM_BYTES: u64 = 256;

/// What a lease costs of the quota.
pub const STORED_LEASE_BYTES: u64 = 64;

/// Alarms that are on at once.
pub const MAX_ALARMS: usize = 256;

/// Members that are known by name: more than any cluster has, some of them just removed.
pub const MAX_ANNOUNCED: usize = 128;

/// Bytes of a member's name, of one of its clients' addresses, and how many of those.
pub const MAX_NAME_BYTES: usize = 128;
pub const MAX_URL_BYTES: usize = 256;
pub const MAX_URLS: usize = 8;

/// How much the sessions may keep. All replicas of a cluster must agree on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// Sessions; beyond it the least recently used one goes.
    pub sessions: usize,
    /// Results in one session that the client has not acknowledged.
    pub results: usize,
    /// Bytes of results in one session, as [`result_bytes`](super::session::result_bytes) counts.
    pub session_bytes: usize,
    /// Bytes of results in all sessions; beyond it the least recently used session goes.
    pub total_bytes: usize,
    /// From version 2 on: a session that was not used for so many entries of the log goes.
    pub idle_entries: u64,
}

/// The limits of every cluster.
pub const SESSION_LIMITS: SessionLimits = SessionLimits {
    sessions: 10_000,
    results: 1024,
    session_bytes: 8 << 20,
    total_bytes: 32 << 20,
    // At ten thousand writes a second, half an hour.
    idle_entries: 1 << 24,
};

/// A request that is wrong in itself: trying again cannot help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("the key is empty: give a key of at least one byte")]
    EmptyKey,
    #[error(
        "the request is {bytes} bytes long, and at most {limit} are taken: store less in one key"
    )]
    TooLarge { bytes: usize, limit: usize },
    #[error("a session's id must not be zero: draw 128 random bits")]
    ZeroSession,
    #[error("a session numbers its commands from 1, and this one is 0")]
    ZeroSequence,
    #[error(
        "command {sequence} of a session says that results up to {acknowledged} arrived, its own \
         among them"
    )]
    AcknowledgedAhead { sequence: u64, acknowledged: u64 },
    #[error("a command that raises the state machine's version belongs to no session")]
    RaiseInSession,
    #[error("duplicate key given in txn request")]
    DuplicateKey,
    #[error("too many operations in txn request: at most {MAX_TRANSACTION_OPS} are taken")]
    TooManyOps,
    #[error("the transaction is nested deeper than {MAX_TRANSACTION_DEPTH} levels")]
    TooDeep,
    #[error("value is provided: it is to be ignored, so leave it empty")]
    ValueProvided,
    #[error("lease is provided: it is to be ignored, so leave it out")]
    LeaseProvided,
    #[error("a transaction that may change something is no query: it is a command")]
    NoQuery,
    #[error("a lease's id must not be zero: draw one")]
    ZeroLease,
    #[error("a lease lasts from 1 to {MAX_LEASE_TTL} seconds, not {ttl}")]
    LeaseTtl { ttl: u64 },
    #[error("node 0 is nobody")]
    Nobody,
    #[error("a member's name has from 1 to {MAX_NAME_BYTES} bytes")]
    MemberName,
    #[error(
        "a member serves clients at {MAX_URLS} addresses at most, of {MAX_URL_BYTES} bytes each"
    )]
    ClientUrls,
}

impl Command {
    /// Whether the command may be proposed. Call it before [`Command::encode`].
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Some(stamp) = &self.session {
            stamp.validate()?;
        }
        if self.session.is_some() && matches!(self.operation, Operation::RaiseVersion { .. }) {
            return Err(Invalid::RaiseInSession);
        }
        self.operation.validate()?;
        small_enough(self.encoded_bytes())
    }
}

impl SessionStamp {
    fn validate(&self) -> Result<(), Invalid> {
        if self.id.0 == 0 {
            return Err(Invalid::ZeroSession);
        }
        if self.sequence == 0 {
            return Err(Invalid::ZeroSequence);
        }
        if self.acknowledged >= self.sequence {
            let (sequence, acknowledged) = (self.sequence, self.acknowledged);
            return Err(Invalid::AcknowledgedAhead { sequence, acknowledged });
        }
        Ok(())
    }
}

impl Operation {
    fn validate(&self) -> Result<(), Invalid> {
        match self {
            Operation::Put { key, .. }
            | Operation::Delete { key }
            | Operation::CompareAndSwap { key, .. } => non_empty(key),
            Operation::Transaction(transaction) => transaction.validate(),
            Operation::LeaseGrant { id, ttl } => {
                non_zero(*id)?;
                let possible = (1..=MAX_LEASE_TTL).contains(ttl);
                if possible { Ok(()) } else { Err(Invalid::LeaseTtl { ttl: *ttl }) }
            }
            Operation::LeaseRevoke { id } => non_zero(*id),
            Operation::LeaseCheckpoint(checkpoints) => checkpoints.iter().try_for_each(|it| {
                let LeaseCheckpoint { id, remaining: ttl } = *it;
                non_zero(id)?;
                if ttl <= MAX_LEASE_TTL { Ok(()) } else { Err(Invalid::LeaseTtl { ttl }) }
            }),
            Operation::Announce(announcement) => announcement.validate(),
            Operation::Enlist { node } => somebody(*node),
            Operation::RaiseVersion { .. } | Operation::Compact { .. } | Operation::Alarm(_) => {
                Ok(())
            }
        }
    }
}

impl Announcement {
    fn validate(&self) -> Result<(), Invalid> {
        somebody(self.node)?;
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES {
            return Err(Invalid::MemberName);
        }
        let too_long = self.client_urls.iter().any(|url| url.len() > MAX_URL_BYTES);
        if self.client_urls.len() > MAX_URLS || too_long {
            return Err(Invalid::ClientUrls);
        }
        Ok(())
    }
}

impl Transaction {
    /// Whether the transaction makes sense, whatever the keys are.
    pub fn validate(&self) -> Result<(), Invalid> {
        self.validate_within(MAX_TRANSACTION_OPS, MAX_TRANSACTION_DEPTH)?;
        // Last, because only now it is known to be of a bounded size.
        duplicates::check(self)
    }

    fn validate_within(&self, operations: usize, depth: usize) -> Result<(), Invalid> {
        let depth = depth.checked_sub(1).ok_or(Invalid::TooDeep)?;
        let most = self.compare.len().max(self.success.len()).max(self.failure.len());
        let left = operations.checked_sub(most).ok_or(Invalid::TooManyOps)?;
        self.success.iter().chain(&self.failure).try_for_each(|operation| match operation {
            RequestOp::Range(_) | RequestOp::DeleteRange(_) => Ok(()),
            RequestOp::Put(put) => put.validate(),
            RequestOp::Transaction(inner) => inner.validate_within(left, depth),
        })
    }
}

impl PutRequest {
    fn validate(&self) -> Result<(), Invalid> {
        non_empty(&self.key)?;
        if self.ignore_value && !self.value.is_empty() {
            return Err(Invalid::ValueProvided);
        }
        if self.ignore_lease && self.lease.0 != 0 {
            return Err(Invalid::LeaseProvided);
        }
        Ok(())
    }
}

impl Query {
    /// Whether the query may be asked. Call it before [`Query::encode`].
    pub fn validate(&self) -> Result<(), Invalid> {
        match self {
            Query::Get { key } => non_empty(key)?,
            Query::Transaction(transaction) => {
                transaction.validate()?;
                if !transaction.only_reads() {
                    return Err(Invalid::NoQuery);
                }
            }
            Query::Range(_) | Query::Lease { .. } | Query::Leases { .. } | Query::Revision => {}
        }
        small_enough(self.encoded_bytes())
    }
}

fn non_empty(key: &[u8]) -> Result<(), Invalid> {
    if key.is_empty() { Err(Invalid::EmptyKey) } else { Ok(()) }
}

fn non_zero(id: LeaseId) -> Result<(), Invalid> {
    if id.0 == 0 { Err(Invalid::ZeroLease) } else { Ok(()) }
}

fn somebody(node: NodeId) -> Result<(), Invalid> {
    if node.0 == 0 { Err(Invalid::Nobody) } else { Ok(()) }
}

fn small_enough(bytes: usize) -> Result<(), Invalid> {
    if bytes > MAX_REQUEST_BYTES {
        return Err(Invalid::TooLarge { bytes, limit: MAX_REQUEST_BYTES });
    }
    Ok(())
}

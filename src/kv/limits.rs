//! How large things may be, and requests that no replica should ever see.
//!
//! A limit is checked twice. [`Command::validate`] and [`Query::validate`] run where a request
//! enters the cluster, so that a person gets a clear refusal before anything is proposed. Applying
//! checks the same again, because a command that is in the log came from *some* node, and perhaps
//! from an older one; there the refusal is [`Refusal::Malformed`](super::Refusal::Malformed), on
//! every replica alike. So a limit that decides what is applied is part of the log's format: it may
//! change only together with [`COMMAND_VERSION`](super::COMMAND_VERSION).

use super::{Command, Operation, Query, SessionStamp};

/// Bytes of an encoded command or query: etcd's limit on a request, 1.5 MiB.
pub const MAX_REQUEST_BYTES: usize = 1536 << 10;

/// Bytes of keys and values in one answer (with [`ITEM_OVERHEAD_BYTES`] for each item); the item
/// that crosses the line is left for the next answer, but the first item always goes.
pub const MAX_ANSWER_PAYLOAD_BYTES: usize = 1 << 20;

/// What an item costs in an answer beside its key and value: five words, a pad for each of the two.
pub const ITEM_OVERHEAD_BYTES: usize = 56;

/// Bytes of an encoded answer or outcome that a client is ready to read: more than any that a
/// replica writes, which is a full payload or a single item of nearly [`MAX_REQUEST_BYTES`].
pub const MAX_ANSWER_BYTES: usize = 4 << 20;

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
}

impl Command {
    /// Whether the command may be proposed. Call it before [`Command::encode`].
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Some(stamp) = &self.session {
            stamp.validate()?;
        }
        match (self.operation.key(), &self.session) {
            (Some(key), _) => non_empty(key)?,
            (None, Some(_)) => return Err(Invalid::RaiseInSession),
            (None, None) => {}
        }
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
    /// The key that it is about, if it is about one.
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Operation::Put { key, .. }
            | Operation::Delete { key }
            | Operation::CompareAndSwap { key, .. } => Some(key),
            Operation::RaiseVersion { .. } => None,
        }
    }
}

impl Query {
    /// Whether the query may be asked. Call it before [`Query::encode`].
    pub fn validate(&self) -> Result<(), Invalid> {
        if let Query::Get { key } = self {
            non_empty(key)?;
        }
        small_enough(self.encoded_bytes())
    }
}

fn non_empty(key: &[u8]) -> Result<(), Invalid> {
    if key.is_empty() { Err(Invalid::EmptyKey) } else { Ok(()) }
}

fn small_enough(bytes: usize) -> Result<(), Invalid> {
    if bytes > MAX_REQUEST_BYTES {
        return Err(Invalid::TooLarge { bytes, limit: MAX_REQUEST_BYTES });
    }
    Ok(())
}

//! What a history consists of.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

/// A moment of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The line, from 1. It decides what came first.
    pub line: u64,
    /// Nanoseconds, for people; and for leases.
    pub time: Option<u64>,
}

/// What something that has a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A key of the store; a lock is one, too.
    Data,
    Lease,
    /// What is watched: a key, or all that begin so.
    Watched {
        prefix: bool,
    },
}

/// Something that operations are about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub kind: Kind,
    pub name: String,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Data => write!(f, "{}", self.name),
            Kind::Lease => write!(f, "lease {}", self.name),
            Kind::Watched { prefix: false } => write!(f, "watch of {}", self.name),
            Kind::Watched { prefix: true } => write!(f, "watch of {}*", self.name),
        }
    }
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its place among [`History::keys`].
    pub key: usize,
    pub deed: Deed,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Nothing takes effect unless the value is this, before anything else is done.
    Check(Option<Bytes>),
    Read,
    Write(Bytes),
    Append(Bytes),
    Delete,
}

impl Deed {
    /// Its name in the format.
    pub fn name(&self) -> &'static str {
        match self {
            Deed::Check(_) => "check",
            Deed::Read => "read",
            Deed::Write(_) => "write",
            Deed::Append(_) => "append",
            Deed::Delete => "delete",
        }
    }
}

/// What was asked for. `None` is an absent value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write(Bytes),
    Cas {
        old: Option<Bytes>,
        new: Option<Bytes>,
    },
    Append(Bytes),
    Delete,
    Txn(Vec<Step>),
    /// A lease that lives so long after it was granted or kept alive.
    Grant(Duration),
    KeepAlive,
    Revoke,
    /// By this holder.
    Acquire(Bytes),
    Release(Bytes),
    /// Changes from this revision on.
    Watch {
        from: u64,
    },
}

/// A change that a watch told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub revision: u64,
    pub key: usize,
    /// `None`: it was deleted.
    pub value: Option<Bytes>,
}

/// What somebody was told, besides that it is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// By a read.
    Value(Option<Bytes>),
    /// By the reads of a transaction, in their order.
    Values(Vec<Option<Bytes>>),
    /// How long the lease lives.
    Life(Duration),
    /// By a watch; these, and nothing else, up to a revision.
    Changes {
        changes: Vec<Change>,
        upto: u64,
    },
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok {
        found: Found,
        rev: Option<u64>,
    },
    /// Something else was there than what was asked for.
    Mismatch,
    /// Certainly no effect.
    Failed,
    Unknown,
}

/// One operation, from its call to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    pub process: u64,
    pub node: Option<u64>,
    /// Its place among [`History::keys`]; of a transaction, that of its first step.
    pub key: usize,
    /// What it writes is attached to this lease: its place among the keys.
    pub lease: Option<usize>,
    pub call: Call,
    pub called: Moment,
    pub outcome: Outcome,
    /// `None`: it was under way when the history ended.
    pub ended: Option<Moment>,
}

impl Call {
    /// Its name in the format.
    pub fn name(&self) -> &'static str {
        match self {
            Call::Read => "read",
            Call::Write(_) => "write",
            Call::Cas { .. } => "cas",
            Call::Append(_) => "append",
            Call::Delete => "delete",
            Call::Txn(_) => "txn",
            Call::Grant(_) | Call::KeepAlive | Call::Revoke => "lease",
            Call::Acquire(_) | Call::Release(_) => "lock",
            Call::Watch { .. } => "watch",
        }
    }

    /// Whether it changes nothing, whatever becomes of it.
    pub fn only_looks(&self) -> bool {
        match self {
            Call::Read | Call::KeepAlive | Call::Watch { .. } => true,
            Call::Txn(steps) => {
                steps.iter().all(|step| matches!(step.deed, Deed::Check(_) | Deed::Read))
            }
            _ => false,
        }
    }
}

impl Outcome {
    pub fn is_ok(&self) -> bool {
        matches!(self, Outcome::Ok { .. })
    }

    /// The store's revision, if the answer said it.
    pub fn rev(&self) -> Option<u64> {
        match self {
            Outcome::Ok { rev, .. } => *rev,
            _ => None,
        }
    }
}

/// A whole history; operations stand in the order of their calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub keys: Vec<Key>,
    pub operations: Vec<Operation>,
}

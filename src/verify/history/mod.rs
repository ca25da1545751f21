//! The history of a store: who asked for what, when, and what they were told. JSON Lines.
//!
//! # The format
//! ```json
//! {"process":3,"type":"invoke","f":"write","key":"k","value":"a","time":1200,"node":2}
//! {"process":3,"type":"ok","f":"write","key":"k","time":1900,"rev":17}
//! ```
//! A *process* does one thing after the other: a line with `invoke`, and then one with `ok` (it is
//! done), `fail` (it certainly had no effect) or `info` (nobody knows whether it took effect, or
//! will). A process whose operation ended in `info` never returns: whoever goes on after that is a
//! new process. What is under way when the file ends ends in `info`, too.
//!
//! | `f` | `value` |
//! |---|---|
//! | `read` | in the `ok`: the string that was read, `null` for an absent key |
//! | `write` | in the `invoke`: a string |
//! | `cas` | in the `invoke`: `[old, new]`, each a string, or `null` for absent |
//! | `append` | in the `invoke`: the string that is added to the end; absent is as good as empty |
//! | `delete` | none |
//!
//! A `cas` that found something else is `fail` with `"error":"mismatch"`. That is an answer, too:
//! at some moment meanwhile the value was *not* `old`.
//!
//! `time` (nanoseconds), `node` and `rev` (of an `ok`: the store's revision) may be left out, and
//! fields that nobody knows are skipped. The order of the *lines* is the order in which things
//! happened; times are for people, and may not go back. Keys and values are UTF-8.
//!
//! # Bounds
//! A line has at most [`MAX_LINE`] bytes and a history at most [`MAX_OPERATIONS`] operations.

mod count;
mod event;
mod reader;

pub use count::Count;
pub use event::{Event, Type};
pub use reader::{BadLine, Reader};

use bytes::Bytes;

/// Bytes of a line, without its end.
pub const MAX_LINE: usize = 1 << 20;
/// Operations of a history.
pub const MAX_OPERATIONS: usize = 10_000_000;
/// What can be done. Transactions, watches, leases and locks will stand beside these.
pub const FUNCTIONS: [&str; 5] = ["read", "write", "cas", "append", "delete"];

/// A moment of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment {
    /// The line, from 1. It decides what came first.
    pub line: u64,
    /// Nanoseconds, for people.
    pub time: Option<u64>,
}

/// What was asked for. `None` is an absent value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    Read,
    Write(Bytes),
    Cas { old: Option<Bytes>, new: Option<Bytes> },
    Append(Bytes),
    Delete,
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done; what a read found.
    Ok {
        found: Option<Bytes>,
        rev: Option<u64>,
    },
    /// A `cas` found something else.
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
    /// Its place among [`History::keys`].
    pub key: usize,
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
        }
    }
}

/// A whole history; operations stand in the order of their calls.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub keys: Vec<String>,
    pub operations: Vec<Operation>,
}

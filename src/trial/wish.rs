//! What a client wants, before it is asked for.

use super::workload::Kind;
use crate::types::LeaseId;
use crate::verify::history::Call;

/// One operation, with the names of what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub kind: Kind,
    /// The first is what it is about. A transaction's steps name them by their places. Of a lease's
    /// grant, keep-alive or end, those that are meant to hang on it.
    pub keys: Vec<String>,
    /// The lease that it is about, or that what is written is attached to; of a release, that the
    /// lock was acquired with.
    pub lease: Option<LeaseId>,
    pub call: Call,
}

impl Wish {
    /// About one key.
    pub fn of(kind: Kind, key: &str, call: Call) -> Wish {
        Wish { kind, keys: vec![key.to_owned()], lease: None, call }
    }

    pub fn with_lease(self, lease: LeaseId) -> Wish {
        Wish { lease: Some(lease), ..self }
    }

    /// The first key; empty if there is none.
    pub fn key(&self) -> &str {
        self.keys.first().map_or("", String::as_str)
    }

    /// Whether it is about a lease itself.
    pub fn is_of_lease(&self) -> bool {
        matches!(self.call, Call::Grant(_) | Call::KeepAlive | Call::Revoke)
    }
}

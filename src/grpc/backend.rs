//! What the services need of the node that they stand on.

use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;

use super::snapshot::SnapshotBytes;
use super::watch::Hub;
use crate::kv::{Answer, Machine, Query};
use crate::replica::{Consistency, Order, OrderResult, ReplicaStatus, Request, Response};
use crate::types::{ClusterId, LeaseId, NodeId, Revision, Term};

/// A node, as its clients' services see it.
pub trait Backend {
    /// Asks the replica; the answer comes some turns later, or after `timeout` that it did not.
    fn ask(&self, request: Request, timeout: Duration) -> LocalBoxFuture<'static, Response>;

    /// Answers a valid query from the state here: as it is, or once it is known to be recent
    /// enough, for which it waits no longer than `timeout`. `None`: it is recent enough now, but to
    /// answer is more work than the node's thread has time for. A [copy](Backend::state) may be
    /// asked, elsewhere.
    fn look(
        &self,
        query: Query,
        consistency: Consistency,
        timeout: Duration,
    ) -> LocalBoxFuture<'static, Result<Option<Answer>, Response>>;

    /// All of it: dear, and not for every call.
    fn status(&self) -> ReplicaStatus;

    /// Has the replica do what an operator may order; nobody hands it on.
    fn order(&self, order: Order, timeout: Duration) -> LocalBoxFuture<'static, OrderResult>;

    /// A copy of the state as it is here, which costs next to nothing; none while its log is being
    /// repaired.
    fn state(&self) -> Option<Machine>;

    /// Whether this member has no vote, and is to have none.
    fn is_learner(&self) -> bool;

    /// The newest snapshot's file, open; else why there is none.
    fn open_snapshot(&self) -> Result<SnapshotBytes, String>;

    /// Who leads, as far as is known here.
    fn leader(&self) -> Option<NodeId>;

    fn term(&self) -> Term;

    /// All leases as this node knows them, and the revision of its state: the first to end first,
    /// if it leads; else by their names.
    fn leases(&self) -> (Revision, Vec<LeaseId>);

    fn identity(&self) -> &Identity;

    /// What tells of changes: to clients that watch, and to services that wait for something.
    fn hub(&self) -> &Rc<Hub>;
}

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub node: NodeId,
    /// Where this node serves etcd's API, as `http://127.0.0.1:…`.
    pub url: String,
}

/// A new one for each connection, which has its own share of the node.
pub type Backends = Rc<dyn Fn() -> Rc<dyn Backend>>;

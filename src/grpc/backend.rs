//! What the services need of the node that they stand on.

use std::rc::Rc;
use std::time::Duration;

use futures::future::LocalBoxFuture;

use crate::kv::{Answer, Query};
use crate::replica::{Consistency, ReplicaStatus, Request, Response};
use crate::types::{ClusterId, NodeId, Term};

/// A node, as its clients' services see it.
pub trait Backend {
    /// Asks the replica; the answer comes some turns later, or after `timeout` that it did not.
    fn ask(&self, request: Request, timeout: Duration) -> LocalBoxFuture<'static, Response>;

    /// Answers a valid query from the state here: as it is, or once it is known to be recent
    /// enough, for which it waits no longer than `timeout`.
    fn look(
        &self,
        query: Query,
        consistency: Consistency,
        timeout: Duration,
    ) -> LocalBoxFuture<'static, Result<Answer, Response>>;

    /// All of it: dear, and not for every call.
    fn status(&self) -> ReplicaStatus;

    /// Who leads, as far as is known here.
    fn leader(&self) -> Option<NodeId>;

    fn term(&self) -> Term;

    fn identity(&self) -> &Identity;
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

//! A node for tests of what stands on one: it can be watched, if it has a hub, and answers nothing,
//! or what a test makes up.

use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::backend::{Backend, Identity};
use super::snapshot::SnapshotBytes;
use super::watch::Hub;
use crate::kv::{Answer, Machine, Query};
use crate::replica::{Consistency, Order, OrderResult, ReplicaStatus, Request, Response};
use crate::types::{ClusterId, LeaseId, NodeId, Revision, Term};

struct Idle {
    hub: Option<Rc<Hub>>,
    identity: Identity,
    answers: Option<fn(Query) -> Answer>,
}

/// Node 2 of cluster 1, in term 5. It knows no leader.
pub fn node(hub: Option<&Rc<Hub>>) -> Rc<dyn Backend> {
    Rc::new(Idle { hub: hub.cloned(), identity: identity(), answers: None })
}

/// The same, but asked something, it answers so.
pub fn answering(answers: fn(Query) -> Answer) -> Rc<dyn Backend> {
    Rc::new(Idle { hub: None, identity: identity(), answers: Some(answers) })
}

fn identity() -> Identity {
    Identity { cluster: ClusterId(1), node: NodeId(2), url: String::new() }
}

impl Backend for Idle {
    fn ask(&self, _: Request, _: Duration) -> LocalBoxFuture<'static, Response> {
        futures::future::pending().boxed_local()
    }

    fn look(
        &self,
        query: Query,
        _: Consistency,
        _: Duration,
    ) -> LocalBoxFuture<'static, Result<Option<Answer>, Response>> {
        match self.answers {
            Some(answers) => futures::future::ready(Ok(Some(answers(query)))).boxed_local(),
            None => futures::future::pending().boxed_local(),
        }
    }

    fn status(&self) -> ReplicaStatus {
        ReplicaStatus::nothing()
    }

    fn order(&self, _: Order, _: Duration) -> LocalBoxFuture<'static, OrderResult> {
        futures::future::pending().boxed_local()
    }

    fn state(&self) -> Option<Machine> {
        None
    }

    fn is_learner(&self) -> bool {
        false
    }

    fn open_snapshot(&self) -> Result<SnapshotBytes, String> {
        Err("an idle node has none".to_owned())
    }

    fn leader(&self) -> Option<NodeId> {
        None
    }

    fn term(&self) -> Term {
        Term(5)
    }

    fn leases(&self) -> (Revision, Vec<LeaseId>) {
        (Revision(0), Vec::new())
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn hub(&self) -> &Rc<Hub> {
        self.hub.as_ref().expect("a node that is watched is given a hub")
    }
}

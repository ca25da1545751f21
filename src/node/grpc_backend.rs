//! The node as etcd's services see it.
//!
//! A write goes over the [`Desk`] like one of `client.capnp`, is counted like one, and shares its
//! bounds: each connection has a share of its own. A query is answered right here, from the state
//! as it is, without a turn of the event loop; if it must be linearizable, after [`Reads`] says so.
//! One that is much work is counted here when that is known, and answered from a copy elsewhere.

use std::rc::Rc;
#[cfg(feature = "otel")]
use std::time::SystemTime;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::client_metrics::{ClientMetrics, Kind};
use super::desk::{Desk, Share, refused};
use super::operator_desk::OperatorDesk;
use super::reads::Reads;
use super::snapshot_file::SnapshotFile;
use super::status::Window;
use crate::grpc::watch::{Hub, Source};
use crate::grpc::{Backend, Identity, SnapshotBytes};
use crate::kv::{Answer, Machine, Query};
#[cfg(feature = "otel")]
use crate::observe::trace;
use crate::replica::{Consistency, Order, OrderResult, Refused, ReplicaStatus, Request, Response};
use crate::rpc::Seldom;
use crate::storage::Disk;
use crate::types::{LeaseId, NodeId, Revision, Term};

/// One for each connection.
pub struct GrpcBackend<D: Disk> {
    pub desk: Rc<Desk>,
    pub share: Rc<Share>,
    pub reads: Rc<Reads>,
    pub window: Rc<Window<D>>,
    pub operators: Rc<OperatorDesk>,
    pub metrics: Rc<ClientMetrics>,
    pub identity: Rc<Identity>,
    pub hub: Rc<Hub>,
    /// About requests whose client hears that they timed out.
    pub complaint: Rc<Seldom>,
}

impl<D: Disk + 'static> Backend for GrpcBackend<D> {
    fn ask(&self, request: Request, timeout: Duration) -> LocalBoxFuture<'static, Response> {
        let began = Instant::now();
        let kind = match &request {
            Request::Write { .. } | Request::Member(_) => Kind::Write,
            Request::Read { consistency: Consistency::Linearizable, .. } => Kind::Read,
            Request::Read { consistency: Consistency::Stale, .. } => Kind::StaleRead,
            Request::Lease { .. } => Kind::Lease,
        };
        let asked = self.desk.ask(&self.share, request, timeout);
        let (metrics, complaint) = (Rc::clone(&self.metrics), Rc::clone(&self.complaint));
        let answered = async move {
            let response = match asked {
                Ok(answer) => answer.await,
                Err(response) => response,
            };
            metrics.answered(kind, &response, began.elapsed());
            explain(&response, &complaint);
            response
        };
        answered.boxed_local()
    }

    fn look(
        &self,
        query: Query,
        consistency: Consistency,
        timeout: Duration,
    ) -> LocalBoxFuture<'static, Result<Option<Answer>, Response>> {
        let began = Instant::now();
        let (reads, window) = (Rc::clone(&self.reads), Rc::clone(&self.window));
        let (desk, share) = (Rc::clone(&self.desk), Rc::clone(&self.share));
        let metrics = Rc::clone(&self.metrics);
        #[cfg(feature = "otel")]
        let followed = (self.identity.node, trace::current(), SystemTime::now());
        let looked = async move {
            let (kind, confirmed) = match consistency {
                Consistency::Linearizable => (Kind::Read, reads.confirm(timeout).await.map(Some)),
                Consistency::Stale if desk.is_closed() => (Kind::StaleRead, Ok(None)),
                Consistency::Stale => (Kind::StaleRead, Ok(Some(()))),
            };
            #[cfg(feature = "otel")]
            let confirmed_at = SystemTime::now();
            let looked = match confirmed.map(|may| may.and_then(|()| window.look(&query))) {
                Ok(Some(answer)) => Ok(answer),
                // There is no state here, or the node stops: the way of all others says why.
                Ok(None) => asked(&desk, &share, &query, consistency, timeout)
                    .await
                    .map(|answer| (!query.is_cut_by(&answer)).then_some(answer)),
                Err(response) => Err(response),
            };
            metrics.looked(kind, &looked, began.elapsed());
            #[cfg(feature = "otel")]
            if kind == Kind::Read {
                let (node, parent, from) = followed;
                super::paths::read(node, parent, from, confirmed_at);
            }
            looked
        };
        looked.boxed_local()
    }

    fn status(&self) -> ReplicaStatus {
        self.window.status()
    }

    fn order(&self, order: Order, timeout: Duration) -> LocalBoxFuture<'static, OrderResult> {
        let operators = Rc::clone(&self.operators);
        async move {
            let result = operators.ask(order.clone(), timeout).await;
            tracing::info!("a client of etcd's API: {order:?}: {result:?}");
            result
        }
        .boxed_local()
    }

    fn state(&self) -> Option<Machine> {
        self.window.replica.borrow().look(Machine::clone)
    }

    fn is_learner(&self) -> bool {
        self.window.replica.borrow().is_learner()
    }

    fn open_snapshot(&self) -> Result<SnapshotBytes, String> {
        let file = SnapshotFile::newest(&self.window.config.directory)?;
        Ok(file.into_bytes())
    }

    fn leader(&self) -> Option<NodeId> {
        self.window.replica.borrow().leader()
    }

    fn term(&self) -> Term {
        self.window.replica.borrow().term()
    }

    fn leases(&self) -> (Revision, Vec<LeaseId>) {
        self.window.replica.borrow().leases()
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn hub(&self) -> &Rc<Hub> {
        &self.hub
    }
}

/// A client of etcd's API hears "request timed out" for several reasons: here is which.
fn explain(response: &Response, complaint: &Seldom) {
    if let Response::Unknown(why) | Response::Refused { why: Refused::TimedOut, message: why } =
        response
        && let Some(held_back) = complaint.speak()
    {
        tracing::warn!(held_back, "a client of etcd's API hears \"request timed out\": {why}");
    }
}

/// Where watches find what they tell.
pub struct Changes<D: Disk> {
    pub window: Rc<Window<D>>,
}

impl<D: Disk> Source for Changes<D> {
    fn look(&self, look: &mut dyn FnMut(&Machine)) {
        if let Some(machine) = self.window.replica.borrow().state() {
            look(machine);
        }
    }
}

/// The answer of the replica itself to a query.
async fn asked(
    desk: &Rc<Desk>,
    share: &Rc<Share>,
    query: &Query,
    consistency: Consistency,
    timeout: Duration,
) -> Result<Answer, Response> {
    let request = Request::Read { query: query.encode(), consistency };
    match desk.ask(share, request, timeout)?.await {
        Response::Answer(bytes) => {
            Answer::decode(&bytes).map_err(|error| refused(Refused::Invalid, &error.to_string()))
        }
        other => Err(other),
    }
}

//! The node as etcd's services see it.
//!
//! A request goes over the [`Desk`] like one of `client.capnp`, is counted like one, and shares its
//! bounds: each connection has a share of its own.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::desk::{Desk, Share};
use super::metrics::{ClientMetrics, Kind};
use super::operator_desk::OperatorDesk;
use super::snapshot_file::SnapshotFile;
use super::status::Window;
use crate::grpc::watch::{Hub, Source};
use crate::grpc::{Backend, Identity, SnapshotBytes};
use crate::kv::Machine;
use crate::replica::{Consistency, Order, OrderResult, ReplicaStatus, Request, Response};
use crate::storage::Disk;
use crate::types::{LeaseId, NodeId, Revision, Term};

/// One for each connection.
pub struct GrpcBackend<D: Disk> {
    pub desk: Rc<Desk>,
    pub share: Rc<Share>,
    pub window: Rc<Window<D>>,
    pub operators: Rc<OperatorDesk>,
    pub metrics: Rc<ClientMetrics>,
    pub identity: Rc<Identity>,
    pub hub: Rc<Hub>,
}

impl<D: Disk> Backend for GrpcBackend<D> {
    fn ask(&self, request: Request, timeout: Duration) -> LocalBoxFuture<'static, Response> {
        let began = Instant::now();
        let kind = match &request {
            Request::Write { .. } | Request::Member(_) => Kind::Write,
            Request::Read { consistency: Consistency::Linearizable, .. } => Kind::Read,
            Request::Read { consistency: Consistency::Stale, .. } => Kind::StaleRead,
            Request::Lease { .. } => Kind::Lease,
        };
        let asked = self.desk.ask(&self.share, request, timeout);
        let metrics = Rc::clone(&self.metrics);
        let answered = async move {
            let response = match asked {
                Ok(answer) => answer.await,
                Err(response) => response,
            };
            metrics.answered(kind, &response, began.elapsed());
            response
        };
        answered.boxed_local()
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
        self.window.replica.borrow().state().cloned()
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

//! The node as etcd's services see it.
//!
//! A write goes over the [`Desk`] like one of `client.capnp`, is counted like one, and shares its
//! bounds: each connection has a share of its own. A query is answered right here, from the state
//! as it is, without a turn of the event loop; if it must be linearizable, after [`Reads`] says so.

use std::rc::Rc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::LocalBoxFuture;

use super::desk::{Desk, Share, refused};
use super::metrics::{ClientMetrics, Kind};
use super::reads::Reads;
use super::status::Window;
use crate::grpc::{Backend, Identity};
use crate::kv::{Answer, Query};
use crate::replica::{Consistency, Refused, ReplicaStatus, Request, Response};
use crate::storage::Disk;
use crate::types::{NodeId, Term};

/// One for each connection.
pub struct GrpcBackend<D: Disk> {
    pub desk: Rc<Desk>,
    pub share: Rc<Share>,
    pub reads: Rc<Reads>,
    pub window: Rc<Window<D>>,
    pub metrics: Rc<ClientMetrics>,
    pub identity: Rc<Identity>,
}

impl<D: Disk + 'static> Backend for GrpcBackend<D> {
    fn ask(&self, request: Request, timeout: Duration) -> LocalBoxFuture<'static, Response> {
        let began = Instant::now();
        let kind = match &request {
            Request::Write { .. } => Kind::Write,
            Request::Read { consistency: Consistency::Linearizable, .. } => Kind::Read,
            Request::Read { consistency: Consistency::Stale, .. } => Kind::StaleRead,
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

    fn look(
        &self,
        query: Query,
        consistency: Consistency,
        timeout: Duration,
    ) -> LocalBoxFuture<'static, Result<Answer, Response>> {
        let began = Instant::now();
        let (reads, window) = (Rc::clone(&self.reads), Rc::clone(&self.window));
        let (desk, share) = (Rc::clone(&self.desk), Rc::clone(&self.share));
        let metrics = Rc::clone(&self.metrics);
        let looked = async move {
            let (kind, confirmed) = match consistency {
                Consistency::Linearizable => (Kind::Read, reads.confirm(timeout).await.map(Some)),
                Consistency::Stale if desk.is_closed() => (Kind::StaleRead, Ok(None)),
                Consistency::Stale => (Kind::StaleRead, Ok(Some(()))),
            };
            let looked = match confirmed.map(|may| may.and_then(|()| window.look(&query))) {
                Ok(Some(answer)) => Ok(answer),
                // There is no state here, or the node stops: the way of all others says why.
                Ok(None) => asked(&desk, &share, &query, consistency, timeout).await,
                Err(response) => Err(response),
            };
            metrics.looked(kind, &looked, began.elapsed());
            looked
        };
        looked.boxed_local()
    }

    fn status(&self) -> ReplicaStatus {
        self.window.status()
    }

    fn leader(&self) -> Option<NodeId> {
        self.window.replica.borrow().leader()
    }

    fn term(&self) -> Term {
        self.window.replica.borrow().term()
    }

    fn identity(&self) -> &Identity {
        &self.identity
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

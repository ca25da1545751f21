//! The side of `client.capnp` that listens.
//!
//! A request is read, handed to the [`Desk`], and answered when the replica has answered. Whatever
//! is wrong with it is an answer too ("refused: invalid"), because a client can act on that, and on
//! an error of the protocol it cannot.

use std::rc::Rc;
use std::time::Instant;

use super::client_metrics::{ClientMetrics, Kind};
use super::desk::{Desk, Share, refused};
use crate::observe::trace::within;
use crate::replica::{Consistency, Refused, Request, Response};
use crate::rpc::client::{self, Asked, Hello};
use crate::schema::client_capnp::client as schema;

/// Where a node's greeting comes from.
pub type Greeting = Rc<dyn Fn() -> Hello>;

/// One for each connection.
pub struct ClientServer {
    desk: Rc<Desk>,
    share: Rc<Share>,
    greeting: Greeting,
    metrics: Rc<ClientMetrics>,
}

impl ClientServer {
    /// The capability for one connection.
    pub fn capability(
        desk: Rc<Desk>,
        greeting: Greeting,
        metrics: Rc<ClientMetrics>,
    ) -> capnp::capability::Client {
        let server = ClientServer { desk, share: Rc::default(), greeting, metrics };
        capnp_rpc::new_client::<schema::Client, _>(server).client
    }

    /// The answer to what stands in `params`, and what kind of request it was.
    async fn answer(
        &self,
        params: schema::ExecuteParams,
    ) -> Result<(Kind, Response), capnp::Error> {
        let read = client::read_request(params.get()?.get_request()?);
        // The message is as large as the request, and the answer may take its time.
        drop(params);
        let Asked { request, timeout, trace } = match read {
            Ok(read) => read,
            Err(error) => {
                let message = format!("the request cannot be read: {error}");
                return Ok((Kind::Invalid, refused(Refused::Invalid, &message)));
            }
        };
        let kind = match &request {
            Request::Write { .. } | Request::Member(_) => Kind::Write,
            Request::Read { consistency: Consistency::Linearizable, .. } => Kind::Read,
            Request::Read { consistency: Consistency::Stale, .. } => Kind::StaleRead,
            Request::Lease { .. } => Kind::Lease,
        };
        let asked = within(trace, async { self.desk.ask(&self.share, request, timeout) });
        let response = match asked.await {
            Ok(answer) => answer.await,
            Err(response) => response,
        };
        Ok((kind, response))
    }
}

impl schema::Server for ClientServer {
    async fn hello(
        self: Rc<Self>,
        _: schema::HelloParams,
        mut results: schema::HelloResults,
    ) -> Result<(), capnp::Error> {
        (self.greeting)().write(results.get().init_hello());
        Ok(())
    }

    async fn execute(
        self: Rc<Self>,
        params: schema::ExecuteParams,
        mut results: schema::ExecuteResults,
    ) -> Result<(), capnp::Error> {
        let began = Instant::now();
        let (kind, response) = self.answer(params).await?;
        client::write_response(&response, results.get().init_response());
        self.metrics.answered(kind, &response, began.elapsed());
        Ok(())
    }
}

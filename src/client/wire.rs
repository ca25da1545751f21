//! The conversation of `schema/client.capnp`, from the client's side.

use std::time::Duration;

use crate::config::Address;
use crate::observe::trace;
use crate::replica::{Request, Response};
use crate::rpc::client::{Hello, read_response, write_request};
use crate::rpc::{self, Limits};
use crate::schema::client_capnp;

/// What a node offers its clients.
pub(super) type Connection = client_capnp::client::Client;

/// A call got no answer, or none that makes sense; whether it arrived is not known.
#[derive(Debug)]
pub(super) struct CallError(pub(super) String);

impl From<capnp::Error> for CallError {
    fn from(error: capnp::Error) -> CallError {
        CallError(match error.kind {
            capnp::ErrorKind::Disconnected => "the connection broke".to_owned(),
            _ => error.to_string(),
        })
    }
}

/// Connects to a node.
pub(super) async fn dial(address: &Address) -> Result<(Connection, rpc::Connection), String> {
    let stream = rpc::connect(address).await.map_err(|error| match error.nobody_listens() {
        true => "nobody listens there".to_owned(),
        false => error.source.to_string(),
    })?;
    Ok(rpc::Connection::open(stream, Limits::default()))
}

/// Asks a node who it is.
pub(super) async fn hello(connection: &Connection) -> Result<Hello, CallError> {
    let answer = connection.hello_request().send().promise.await?;
    Hello::read(answer.get()?.get_hello()?).map_err(|error| CallError(error.to_string()))
}

/// Sends a request; the node gives it `limit`.
pub(super) async fn execute(
    connection: &Connection,
    request: &Request,
    limit: Duration,
) -> Result<Response, CallError> {
    let mut call = connection.execute_request();
    write_request(request, limit, trace::current(), call.get().init_request());
    let answer = call.send().promise.await?;
    read_response(answer.get()?.get_response()?).map_err(|error| CallError(error.to_string()))
}

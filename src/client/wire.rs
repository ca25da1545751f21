//! The conversation of `schema/client.capnp`, from the client's side.

use std::time::Duration;

use super::pool::Hello;
use crate::config::Address;
use crate::replica::{Consistency, Refused, Request, Response};
use crate::rpc::{self, Limits};
use crate::schema::client_capnp::{self, refused, response};
use crate::types::{ClusterId, LogIndex, NodeId, Revision, Term};

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
    let hello = answer.get()?.get_hello()?;
    Ok(Hello {
        cluster: ClusterId(hello.get_cluster()),
        node: NodeId(hello.get_node()),
        leader: some_node(hello.get_leader()),
        term: Term(hello.get_term()),
        applied_index: LogIndex(hello.get_applied_index()),
        revision: Revision(hello.get_revision()),
        build: hello.get_build()?.to_string().unwrap_or_default(),
    })
}

/// Sends a request; the node gives it `limit`.
pub(super) async fn execute(
    connection: &Connection,
    request: &Request,
    limit: Duration,
) -> Result<Response, CallError> {
    let mut call = connection.execute_request();
    let mut to = call.get().init_request();
    to.set_timeout_millis(limit.as_millis().clamp(1, u32::MAX.into()) as u32);
    match request {
        Request::Write { command } => to.set_write(command),
        Request::Read { query, consistency } => {
            let mut read = to.init_read();
            read.set_query(query);
            read.set_stale(*consistency == Consistency::Stale);
        }
    }
    let answer = call.send().promise.await?;
    read_response(answer.get()?.get_response()?)
}

fn read_response(from: response::Reader<'_>) -> Result<Response, CallError> {
    let unknown_word = |_| CallError("the node's answer is of a later version".to_owned());
    Ok(match from.which().map_err(unknown_word)? {
        response::Written(bytes) => Response::Written(bytes?.to_vec().into()),
        response::Answer(bytes) => Response::Answer(bytes?.to_vec().into()),
        response::Unknown(why) => Response::Unknown(why?.to_string().unwrap_or_default()),
        response::Refused(from) => {
            let from = from?;
            let message = from.get_message()?.to_string().unwrap_or_default();
            let why = match from.which().map_err(unknown_word)? {
                refused::NoLeader(node) => Refused::NoLeader { leader: some_node(node) },
                refused::Busy(millis) => Refused::Busy { retry_after_millis: millis },
                refused::Invalid(()) => Refused::Invalid,
                refused::NoSpace(()) => Refused::NoSpace,
                refused::TimedOut(()) => Refused::TimedOut,
                refused::Stopping(()) => Refused::Stopping,
            };
            Response::Refused { why, message }
        }
    })
}

fn some_node(node: u64) -> Option<NodeId> {
    (node != 0).then_some(NodeId(node))
}

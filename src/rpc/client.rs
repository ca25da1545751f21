//! `schema/client.capnp` to and from plain Rust.
//!
//! Whatever arrives comes from outside: every reading function answers with an error that says what
//! is wrong, and never panics. Bytes that are handed on opaquely (commands, queries, outcomes,
//! answers) are copied out of the message once, because the message goes and they stay.

use std::time::Duration;

use bytes::Bytes;

use super::members;
use crate::codec::CodecError;
use crate::replica::{Consistency, LeaseAsk, Refused, Request, Response};
use crate::schema::client_capnp as schema;
use crate::types::{ClusterId, LeaseId, LogIndex, NodeId, Revision, Term, TraceContext};

/// The largest command or query that is taken off a connection. The limits that people meet are
/// the state machine's, and below it.
pub const MAX_REQUEST_BYTES: usize = 2 << 20;

/// A client that names no time gets this.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(5);

/// No request is kept longer, whatever its client says.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// What a node says of itself to a client that greets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub leader: Option<NodeId>,
    pub term: Term,
    pub applied_index: LogIndex,
    pub revision: Revision,
    /// Version of its program.
    pub build: String,
}

impl Hello {
    pub fn write(&self, mut to: schema::hello::Builder<'_>) {
        to.set_cluster(self.cluster.0);
        to.set_node(self.node.0);
        to.set_leader(self.leader.map_or(0, |leader| leader.0));
        to.set_term(self.term.0);
        to.set_applied_index(self.applied_index.0);
        to.set_revision(self.revision.0);
        to.set_build(&self.build);
    }

    pub fn read(from: schema::hello::Reader<'_>) -> Result<Hello, CodecError> {
        Ok(Hello {
            cluster: ClusterId(from.get_cluster()),
            node: node(from.get_node())?,
            leader: node(from.get_leader()).ok(),
            term: Term(from.get_term()),
            applied_index: LogIndex(from.get_applied_index()),
            revision: Revision(from.get_revision()),
            build: text(from.get_build()?)?,
        })
    }
}

/// A node's number; zero is nobody.
pub(super) fn node(number: u64) -> Result<NodeId, CodecError> {
    if number == 0 { Err(CodecError("node 0 is nobody".into())) } else { Ok(NodeId(number)) }
}

pub(super) fn text(from: capnp::text::Reader<'_>) -> Result<String, CodecError> {
    from.to_string().map_err(|_| CodecError("a text that is not UTF-8".into()))
}

/// A request, as it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub request: Request,
    pub timeout: Duration,
    /// What it is a part of, if somebody follows its path.
    pub trace: Option<TraceContext>,
}

/// Writes a request and the time it may take.
pub fn write_request(
    request: &Request,
    timeout: Duration,
    trace: Option<TraceContext>,
    mut to: schema::request::Builder<'_>,
) {
    if let Some(trace) = trace {
        to.set_trace_parent(trace.to_string().as_str());
    }
    to.set_timeout_millis(timeout.min(MAX_TIMEOUT).as_millis().max(1) as u32);
    match request {
        Request::Write { command } => to.set_write(command),
        Request::Read { query, consistency } => {
            let mut read = to.init_read();
            read.set_query(query);
            read.set_stale(*consistency == Consistency::Stale);
        }
        Request::Lease { id, ask } => {
            let mut question = to.init_read().init_lease();
            question.set_id(id.0);
            question.set_keep_alive(*ask == LeaseAsk::KeepAlive);
        }
        Request::Member(order) => members::write_order(order, to.init_member()),
    }
}

/// Reads a request and the time it may take, within bounds.
pub fn read_request(from: schema::request::Reader<'_>) -> Result<Asked, CodecError> {
    let timeout = match from.get_timeout_millis() {
        0 => DEFAULT_TIMEOUT,
        millis => Duration::from_millis(millis.into()).min(MAX_TIMEOUT),
    };
    let request = match from.which()? {
        schema::request::Write(command) => Request::Write { command: bounded(command?)? },
        schema::request::Read(read) if read.has_lease() => {
            let question = read.get_lease()?;
            let ask = match question.get_keep_alive() {
                true => LeaseAsk::KeepAlive,
                false => LeaseAsk::TimeToLive,
            };
            Request::Lease { id: LeaseId(question.get_id()), ask }
        }
        schema::request::Read(read) => Request::Read {
            query: bounded(read.get_query()?)?,
            consistency: if read.get_stale() {
                Consistency::Stale
            } else {
                Consistency::Linearizable
            },
        },
        schema::request::Member(order) => Request::Member(members::read_order(order?)?),
    };
    // As of a header that cannot be read: the request is served, and nobody follows it (W3C §4.3).
    let trace = match from.has_trace_parent() {
        true => from.get_trace_parent()?.to_str().ok().and_then(|text| text.parse().ok()),
        false => None,
    };
    Ok(Asked { request, timeout, trace })
}

fn bounded(bytes: &[u8]) -> Result<Bytes, CodecError> {
    if bytes.len() > MAX_REQUEST_BYTES {
        let text = format!("a request of {} bytes; at most {MAX_REQUEST_BYTES}", bytes.len());
        return Err(CodecError(text));
    }
    Ok(Bytes::copy_from_slice(bytes))
}

/// Bytes of a question about a lease.
const LEASE_QUESTION: usize = 24;

/// Bytes of payload in a request.
pub fn request_size(request: &Request) -> usize {
    match request {
        Request::Write { command: bytes } | Request::Read { query: bytes, .. } => bytes.len(),
        Request::Lease { .. } => LEASE_QUESTION,
        Request::Member(_) => members::MAX_ADDRESS_BYTES,
    }
}

/// Bytes of payload in a response.
pub fn response_size(response: &Response) -> usize {
    match response {
        Response::Written(bytes) | Response::Answer(bytes) => bytes.len(),
        Response::Refused { message: text, .. } | Response::Unknown(text) => text.len(),
        Response::Member(_) => 0,
    }
}

/// Writes a response.
pub fn write_response(response: &Response, mut to: schema::response::Builder<'_>) {
    match response {
        Response::Written(outcome) => to.set_written(outcome),
        Response::Answer(answer) => to.set_answer(answer),
        Response::Unknown(why) => to.set_unknown(why),
        Response::Member(result) => members::write_result(result, to.init_member()),
        Response::Refused { why, message } => {
            let mut refused = to.init_refused();
            refused.set_message(message);
            match why {
                Refused::NoLeader { leader } => {
                    refused.set_no_leader(leader.map_or(0, |leader| leader.0));
                }
                Refused::Busy { retry_after_millis } => refused.set_busy(*retry_after_millis),
                Refused::Invalid => refused.set_invalid(()),
                Refused::NoSpace => refused.set_no_space(()),
                Refused::TimedOut => refused.set_timed_out(()),
                Refused::Stopping => refused.set_stopping(()),
                Refused::Disagreement => refused.set_disagreement(()),
                Refused::Repairing => refused.set_repairing(()),
            }
        }
    }
}

/// Reads a response.
pub fn read_response(from: schema::response::Reader<'_>) -> Result<Response, CodecError> {
    Ok(match from.which()? {
        schema::response::Written(outcome) => Response::Written(Bytes::copy_from_slice(outcome?)),
        schema::response::Answer(answer) => Response::Answer(Bytes::copy_from_slice(answer?)),
        schema::response::Unknown(why) => Response::Unknown(text(why?)?),
        schema::response::Member(result) => Response::Member(members::read_result(result?)?),
        schema::response::Refused(refused) => {
            let refused = refused?;
            let why = match refused.which()? {
                schema::refused::NoLeader(leader) => {
                    Refused::NoLeader { leader: node(leader).ok() }
                }
                schema::refused::Busy(millis) => Refused::Busy { retry_after_millis: millis },
                schema::refused::Invalid(()) => Refused::Invalid,
                schema::refused::NoSpace(()) => Refused::NoSpace,
                schema::refused::TimedOut(()) => Refused::TimedOut,
                schema::refused::Stopping(()) => Refused::Stopping,
                schema::refused::Disagreement(()) => Refused::Disagreement,
                schema::refused::Repairing(()) => Refused::Repairing,
            };
            Response::Refused { why, message: text(refused.get_message()?)? }
        }
    })
}

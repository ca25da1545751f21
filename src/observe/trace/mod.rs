//! What the work at hand is a part of, if somebody follows a request's path.
//!
//! **The problem.** A request goes from its client to a node, from there perhaps to the leader, to
//! the disks of a majority, and into the state machine. Whoever wants to know where its time went
//! must find the parts again that several programs saw.
//!
//! **The rule.** Who asks says what it is a part of (the W3C's trace context: `traceparent` over
//! gRPC and HTTP, a field in `client.capnp`, TRACEPARENT in the environment of `kvctl`), and who
//! hands a request on hands that on, too. Within a program it is not an argument of every function
//! in between: a server says it where a request comes in ([`within`]), and where the request goes
//! on, that is asked for ([`current`]).
//!
//! With the feature `otel`, and a collector named in OTEL_EXPORTER_OTLP_ENDPOINT, `kvctl` and the
//! nodes also tell what they saw: see `export`, and `paths` of the node.

#[cfg(feature = "otel")]
pub mod export;

use http::HeaderMap;
use tokio::task::futures::TaskLocalFuture;

use crate::types::TraceContext;

tokio::task_local! {
    static CONTEXT: Option<TraceContext>;
}

/// `work`, as a part of `context`.
pub fn within<W: Future>(
    context: Option<TraceContext>,
    work: W,
) -> TaskLocalFuture<Option<TraceContext>, W> {
    CONTEXT.scope(context, work)
}

/// What the work at hand is a part of.
pub fn current() -> Option<TraceContext> {
    CONTEXT.try_with(|context| *context).ok().flatten()
}

/// What the headers of a request say. What cannot be read says nothing (W3C Trace Context, §4.3).
pub fn of_headers(headers: &HeaderMap) -> Option<TraceContext> {
    headers.get("traceparent")?.to_str().ok()?.parse().ok()
}

/// What the environment says, as of tools that are called in the middle of a path.
pub fn of_environment() -> Option<TraceContext> {
    std::env::var("TRACEPARENT").ok()?.parse().ok()
}

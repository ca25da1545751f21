//! A command as a part of a path that somebody follows.
//!
//! `TRACEPARENT` says of what: nodes are told, and go on from there. With the feature `otel` and a
//! collector, the command is a part of its own, or the beginning.

use crate::observe::trace;

/// For a collector to take what is to be told.
#[cfg(feature = "otel")]
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(2);

/// `command`, as a part of what the environment says.
#[cfg(not(feature = "otel"))]
pub async fn followed<C: Future>(command: C) -> C::Output {
    trace::within(trace::of_environment(), command).await
}

/// `command`, as a part of what the environment says, or as the beginning; the collector is told.
#[cfg(feature = "otel")]
pub async fn followed<C: Future>(command: C) -> C::Output {
    use std::time::SystemTime;

    use trace::export::{self, Side, Span};

    use super::output;
    use crate::types::TraceContext;

    if let Err(error) = export::begin("kvctl", None) {
        output::warn(format!("nobody is told of the request's path: {error}"));
    }
    let parent = trace::of_environment();
    if !export::is_on() {
        return trace::within(parent, command).await;
    }
    let own = match parent {
        Some(parent) => parent.child(rand::random()),
        None => {
            let (trace, span) = (rand::random::<u128>().max(1), rand::random::<u64>().max(1));
            TraceContext { trace, span, sampled: true }
        }
    };
    let from = SystemTime::now();
    let outcome = trace::within(Some(own), command).await;
    let (to, attributes) = (SystemTime::now(), Vec::new());
    export::tell(Span { name: "kvctl", side: Side::Client, parent, own, from, to, attributes });
    // It may wait for the collector: the work is done by now.
    let _ = tokio::task::spawn_blocking(|| export::end(PATIENCE)).await;
    outcome
}

//! `etcdserverpb.Watch`: clients are told what changes, as it changes.
//!
//! # The problem
//!
//! Ten thousand clients may watch, some of one key and some of all, and each must be told every
//! change that it asked for, once and in order, whether it reads at once, an hour late or never. A
//! write must not wait for any of them; and what one of them makes the node keep must have a bound.
//!
//! # The rule
//!
//! The history of the state machine ([`Machine::changes`](crate::kv::Machine::changes)) is what is
//! told, and every node has it: so each serves watches from its own machine, a follower a moment
//! later than the leader. One [`Hub`] for the node looks at each new change once, finds whom it
//! concerns (`index.rs`), and puts a handle of it into their streams' queues, in small steps
//! between the turns of the event loop.
//!
//! ```text
//!   event loop ──bell──► hub ──index──► queue of each feed ──► its stream ──► the client
//!                         │                    ▲ full: the watch falls behind
//!                      machine ──── history, in pieces, when the client has room
//! ```
//!
//! Every watch knows the first change that it has not been told of. It is *synced* if the hub
//! hands it what comes; else it is *behind*, and its stream reads the history for it, when the
//! client has room, until there is no more. Whether a watch begins in the past, or its client did
//! not read for an hour, or the hub was left behind: it is the same way back (`feed.rs`). One at a
//! time reads the history, a piece between two turns of all else: ten thousand that come back
//! together take their time, and not the node's.
//!
//! If compaction overtakes a watch that is behind, it is canceled, and told so. A synced one that
//! is only a few thousand entries late is not: what is compacted goes bit by bit, and until the
//! next change of the hub is really gone, it is told.
//!
//! # What it may keep
//!
//! - The node has 100,000 watches at most, and 64 MiB of their ranges; more are refused with a
//!   reason.
//! - The queue of a stream has 128 batches and 4 for each of its watches (one is a handle of some
//!   tens of bytes, for one watch and one revision), and 2 MiB of changes, or one revision that has
//!   more. A value counts once for all watches of a stream, and is shared with the state machine
//!   until it is compacted there.
//! - Beside it, a stream holds the four messages of `Replies`, of half a mebibyte of keys and
//!   values and one revision more (and what these replaced, if the client wants to know), or, cut
//!   in fragments, one of that size; and the answers to 16 requests.
//!
//! # Caveats
//!
//! A client that asks for progress while one of its watches begins in the future hears nothing
//! until it has begun; later releases of etcd 3.5 do not answer at all.

mod feed;
mod hub;
mod index;
mod intervals;
mod message;
mod range;
mod stream;
mod subscription;
#[cfg(test)]
mod tests;
mod watcher;

use std::rc::Rc;

use tonic::body::Body;

pub use hub::{Hub, HubFigures, HubOptions, NoWatch, Source};
pub use range::KeyRange;
pub use subscription::{Compacted, Subscription};
pub use watcher::Changes;

use super::backend::Backend;
use super::call::Call;

/// Serves one connection.
pub struct WatchService {
    pub backend: Rc<dyn Backend>,
}

impl WatchService {
    pub async fn route(self: Rc<Self>, method: &str, call: Call) -> Option<http::Response<Body>> {
        let backend = Rc::clone(&self.backend);
        Some(match method {
            "Watch" => {
                call.stream(async move |incoming, replies| {
                    stream::serve(backend, incoming, replies).await
                })
                .await
            }
            _ => return None,
        })
    }
}

//! Questions that are much work: they are answered beside the node's thread.
//!
//! # The problem
//! A node is one thread. To count, sort and write down a million keys takes seconds, and while that
//! thread does so, no heartbeat is sent and none is heard: the others elect another leader.
//!
//! # The rule
//! A question is first put where the state is. One that looks at few keys and answers little is
//! answered there ([`Machine::query_small`](crate::kv::Machine::query_small)); most are. Any other
//! is given up there, and waits for one of [`AT_ONCE`] places. Who has a place takes a copy of the
//! state, which costs O(1), and a thread of its own makes the answer from it: counted once, sorted
//! once, down to the bytes on the wire. The node's thread only hands them on.
//!
//! The copy is taken after the read was confirmed, so it is recent enough; and what is written or
//! compacted later does not change it, so items and count are of one revision.
//!
//! # Memory
//! An answer has no largest size but that of a message, as etcd's. While it is made it costs some
//! hundred bytes an item, and its message; and the copy keeps what is replaced meanwhile. Only who
//! has a place costs that, and nobody who waits for one. Once it is made, an answer has left its
//! place, and counts among those that are not taken: see [`bounds`](super::bounds).
//!
//! # Caveats
//! Who waits too long for a place is told that its time is over. When a client goes away, the walk
//! for it ends with the next key; but a sort that has begun is not interrupted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tonic::Status;

use super::backend::Backend;
use super::status;
use crate::kv::{Answer, Query};

/// Answers that are made at the same time: more would only share the processors.
pub const AT_ONCE: usize = 2;

/// Of one node, over all connections. See the [module](self).
#[derive(Debug)]
pub struct LargeQueries {
    places: Arc<Semaphore>,
}

impl Default for LargeQueries {
    fn default() -> LargeQueries {
        LargeQueries { places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl LargeQueries {
    /// What `make` makes of the answer to a valid query, on a thread beside this one. The state is
    /// that of the moment when there is a place, which is waited for no longer than `timeout`.
    ///
    /// # Errors
    /// No place in time, no state here, the state machine's refusal, or what `make` says.
    pub async fn answer<T: Send + 'static>(
        &self,
        backend: &dyn Backend,
        query: Query,
        timeout: Duration,
        make: impl FnOnce(Answer) -> Result<T, Status> + Send + 'static,
    ) -> Result<T, Status> {
        let place = tokio::time::timeout(timeout, Arc::clone(&self.places).acquire_owned()).await;
        let place = place.map_err(|_| status::timed_out())?.map_err(|_| status::stopped())?;
        let copy = backend.state().ok_or_else(status::no_leader)?;
        let (sender, made) = oneshot::channel();
        tokio::task::spawn_blocking(move || {
            let _place = place;
            let answer = copy.query_whole(&query, &|| !sender.is_closed());
            // It may be the last to hold much of what was replaced.
            drop(copy);
            if !sender.is_closed() {
                let _ = sender.send(unrefused(answer).and_then(make));
            }
        });
        let lost = |_| Err(Status::internal("etcdserver: whoever made the answer is gone"));
        made.await.unwrap_or_else(lost)
    }
}

/// An answer that is none is an error.
pub fn unrefused(answer: Answer) -> Result<Answer, Status> {
    match answer.refused {
        Some(refusal) => Err(status::of_refusal(refusal)),
        None => Ok(answer),
    }
}

#[cfg(test)]
mod tests;

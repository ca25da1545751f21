//! What calls hold of the server, from their first byte until their answer is taken.
//!
//! # The problem
//! A client can ask, and never read what it is answered. Each answer then waits here for as long as
//! the client stays; and an answer may be all that is stored.
//!
//! # The rule
//! Every call has a place among those that the server takes, until the last byte of its answer
//! has left for the client, or nobody wants it any more. A small answer needs no more than that:
//! places times [`SMALL`] is what all of them can come to. A larger one takes its bytes out of a
//! budget before it is handed out, and gives them back with its place. If there are too few left,
//! it waits for as long as its caller would; as many bytes may wait as the budget has, and what
//! comes then is thrown away, and its call refused. One that is larger than the budget takes all
//! of it, and only one such waits.
//!
//! # Caveats
//! An answer is counted from when it is made: how many are being made is `large.rs`'s affair. What
//! is refused has no place. Its head waits in the library, and is bounded by the calls that one
//! connection may have, for each connection.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use super::status;

/// Bytes of an answer that the budget does not count.
pub const SMALL: usize = 16 << 10;

/// Over all places where the server listens.
pub struct Bounds {
    calls: Arc<Semaphore>,
    /// In bytes, as is the next: answers that are handed out, and such as wait to be.
    unread: Arc<Semaphore>,
    waiting: Semaphore,
    budget: u32,
}

/// What one call holds. Whoever has something of the call shares it.
pub struct Claim {
    bounds: Arc<Bounds>,
    /// Of the budget, for a large answer. Not set before there is one, nor by a stream.
    share: OnceLock<Option<OwnedSemaphorePermit>>,
    _place: OwnedSemaphorePermit,
}

impl Bounds {
    /// For so many calls at once, and so many bytes of larger answers.
    pub fn new(calls: usize, budget: u32) -> Bounds {
        Bounds {
            calls: Arc::new(Semaphore::new(calls)),
            unread: Arc::new(Semaphore::new(budget as usize)),
            waiting: Semaphore::new(budget as usize),
            budget,
        }
    }

    /// A call begins, if there is a place for it.
    pub fn admit(self: &Arc<Self>) -> Result<Arc<Claim>, Status> {
        let place = Arc::clone(&self.calls).try_acquire_owned();
        let place = place.map_err(|_| status::too_many_requests())?;
        Ok(Arc::new(Claim { bounds: Arc::clone(self), share: OnceLock::new(), _place: place }))
    }

    /// Places and bytes that are free.
    #[cfg(test)]
    pub fn free(&self) -> (usize, usize) {
        (self.calls.available_permits(), self.unread.available_permits())
    }
}

impl Claim {
    /// The answer is one message of so many bytes, about to be handed out: waits until it may be,
    /// for `patience` at most.
    ///
    /// # Errors
    /// Too much waits already, or this did in vain.
    pub async fn answer(&self, bytes: usize, patience: Duration) -> Result<(), Status> {
        let share = match bytes > SMALL {
            true => Some(self.bounds.share(bytes, patience).await?),
            false => None,
        };
        let _ = self.share.set(share);
        Ok(())
    }

    /// Whether the answer is one message, and not a stream of them.
    pub fn is_of_one_answer(&self) -> bool {
        self.share.get().is_some()
    }
}

impl Bounds {
    async fn share(
        &self,
        bytes: usize,
        patience: Duration,
    ) -> Result<OwnedSemaphorePermit, Status> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.budget);
        if let Ok(share) = Arc::clone(&self.unread).try_acquire_many_owned(bytes) {
            return Ok(share);
        }
        let too_many = |_| status::too_many_requests();
        let _waiting = self.waiting.try_acquire_many(bytes).map_err(too_many)?;
        // In the order in which they came: the small ones do not keep out a large one for ever.
        let share = Arc::clone(&self.unread).acquire_many_owned(bytes);
        match tokio::time::timeout(patience, share).await {
            Ok(Ok(share)) => Ok(share),
            Ok(Err(_)) | Err(_) => Err(status::too_many_requests()),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);
    const BUDGET: u32 = 100 << 10;
    const HALF: usize = 50 << 10;

    #[test]
    fn small_answers_are_not_counted_and_large_ones_wait_in_order() {
        let bounds = Arc::new(Bounds::new(10, BUDGET));
        let ask = |bytes: usize| {
            let claim = bounds.admit().unwrap();
            async move { claim.answer(bytes, PATIENCE).await.map(|()| claim) }.boxed_local()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let half = ask(HALF).await.unwrap_or_else(|_| panic!("there is room"));
            // More than there is at all: it waits for everything.
            let mut whale = ask(usize::MAX);
            assert!(futures::poll!(&mut whale).is_pending());
            let refused = ask(HALF).await.map(drop).unwrap_err();
            assert_eq!(refused.message(), "etcdserver: too many requests");
            let small = ask(SMALL).now_or_never().unwrap();
            assert!(small.is_ok_and(|claim| claim.is_of_one_answer()));
            drop(half);
            let whale = whale.await.unwrap_or_else(|_| panic!("it is its turn"));
            assert_eq!(bounds.free(), (9, 0));
            let mut next = [ask(HALF), ask(HALF)];
            assert!(next.iter_mut().all(|it| it.now_or_never().is_none()));
            drop(whale);
            let [first, second] = next;
            let both = (first.await, second.await);
            assert!(both.0.is_ok() && both.1.is_ok() && bounds.free() == (8, 0));
            drop(both);
            assert_eq!(bounds.free(), (10, BUDGET as usize));
        });
    }

    #[test]
    fn who_waits_too_long_is_refused_and_leaves_nothing_behind() {
        let bounds = Arc::new(Bounds::new(10, BUDGET));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (first, second) = (bounds.admit().unwrap(), bounds.admit().unwrap());
            first.answer(HALF + 1, PATIENCE).await.unwrap();
            let soon = Duration::from_millis(10);
            assert!(second.answer(HALF, soon).await.is_err());
            // Whoever waits, and goes away.
            assert!(second.answer(HALF, PATIENCE).now_or_never().is_none());
            drop(first);
            second.answer(BUDGET as usize, PATIENCE).now_or_never().unwrap().unwrap();
        });
    }
}

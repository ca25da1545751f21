//! One watch inside the node, for the services that wait for something to happen.

use std::rc::Rc;

use super::feed::{Feed, Next};
use super::hub::{Hub, NoWatch};
use super::range::{KeyRange, Wants};
use super::watcher::Changes;
use crate::types::Revision;

/// What is to be told next is compacted: whoever watches must look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compacted up to revision {0}")]
pub struct Compacted(pub Revision);

/// A watch of one range. It ends when this is dropped.
pub struct Subscription {
    feed: Feed,
}

impl Hub {
    /// Watches `range` from a revision on; without one, from now on.
    ///
    /// # Errors
    /// The node has too many watches, or no history to watch.
    pub fn watch(
        self: &Rc<Hub>,
        range: KeyRange,
        from: Option<Revision>,
    ) -> Result<Subscription, NoWatch> {
        let mut feed = Feed::new(self);
        feed.watch(range, Wants::ALL, from)?;
        Ok(Subscription { feed })
    }
}

impl Subscription {
    /// Waits for the next changes: whole revisions, each change once, in order.
    ///
    /// # Errors
    /// Some are compacted; nothing comes after that.
    pub async fn next(&mut self) -> Result<Changes, Compacted> {
        loop {
            let leave = self.feed.leave().await;
            let next = self.feed.next();
            if leave.is_some() {
                tokio::task::yield_now().await;
            }
            drop(leave);
            match next {
                Next::Events { changes, .. } => return Ok(changes),
                Next::Compacted { at, .. } => return Err(Compacted(at)),
                Next::Later => tokio::task::yield_now().await,
                Next::Nothing => self.feed.rings().await,
            }
        }
    }
}

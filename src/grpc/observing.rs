//! Observing: what becomes of some keys, change by change, out of the state's own history.
//!
//! # The rule
//! Whoever observes reads on from where it was, a bounded number of changes at a time, whenever the
//! bell rings that this node's state has moved; and it reads only as fast as its client takes it,
//! so nothing is kept for anybody. If what it would read next is compacted, it hears that, and
//! looks again how things stand.

use std::time::Duration;

use bytes::Bytes;
use tonic::Status;

use super::backend::Backend;
use super::status;
use super::turns::Turns;
use crate::kv::{KeyValue, Refusal, after};
use crate::types::Revision;

/// Changes read at once.
const AT_ONCE: usize = 1024;

/// Between two looks at a state that keeps changing.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Keys that are observed, and from where on.
pub struct Watched {
    start: Bytes,
    end: Bytes,
    /// The next change: its revision, and which of that.
    from: (Revision, u32),
}

/// What became of the keys.
pub enum Observed {
    Put(KeyValue),
    Deleted,
    /// Nobody knows any more.
    Compacted,
}

impl Watched {
    /// One key, from a revision on.
    pub fn key(key: &Bytes, from: Revision) -> Watched {
        Watched { start: key.clone(), end: after(key), from: (from, 0) }
    }

    /// All keys of those who take turns.
    pub fn range(turns: &Turns, from: Revision) -> Watched {
        Watched { start: turns.start.clone(), end: turns.end.clone(), from: (from, 0) }
    }

    /// The next put, if it is still known.
    pub async fn next_put(&mut self, backend: &dyn Backend) -> Result<Option<KeyValue>, Status> {
        loop {
            match self.next(backend).await? {
                Observed::Put(item) => return Ok(Some(item)),
                Observed::Deleted => {}
                Observed::Compacted => return Ok(None),
            }
        }
    }

    /// Waits for the next change.
    pub async fn next(&mut self, backend: &dyn Backend) -> Result<Observed, Status> {
        loop {
            let moved = backend.moved();
            let moved = moved.notified();
            let (mut found, mut looked) = (Ok(None), 0);
            backend.look(&mut |machine| found = self.read(machine, &mut looked));
            match found {
                Ok(Some(observed)) => return Ok(observed),
                Ok(None) if looked == AT_ONCE => tokio::task::yield_now().await,
                Ok(None) => {
                    moved.await;
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                Err(Refusal::Compacted) => return Ok(Observed::Compacted),
                Err(refusal) => return Err(status::of_refusal(refusal)),
            }
        }
    }

    fn read(
        &mut self,
        machine: &crate::kv::Machine,
        looked: &mut usize,
    ) -> Result<Option<Observed>, Refusal> {
        let (revision, sub) = self.from;
        for change in machine.changes_from(revision, sub)?.take(AT_ONCE) {
            *looked += 1;
            self.from = (change.item.mod_revision, change.sub + 1);
            let key = &change.item.key;
            if self.start <= *key && *key < self.end {
                return Ok(Some(match change.is_delete {
                    true => Observed::Deleted,
                    false => Observed::Put(change.item),
                }));
            }
        }
        Ok(None)
    }
}

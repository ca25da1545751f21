//! Observing: what becomes of some keys, change by change, as the node's own watches tell it.
//!
//! # The rule
//! Whoever observes takes the next change when its client has taken the last. If what would come
//! next is compacted, it hears that, and looks again how things stand.

use std::collections::VecDeque;
use std::rc::Rc;

use bytes::Bytes;
use tonic::{Code, Status};

use super::backend::Backend;
use super::status;
use super::turns::Turns;
use super::watch::{KeyRange, NoWatch, Subscription};
use crate::kv::{Change, KeyValue, Refusal};
use crate::types::Revision;

/// Keys that are observed, and what has become of them that nobody has asked for yet.
pub struct Watched {
    changes: Subscription,
    waiting: VecDeque<Rc<Change>>,
}

/// What became of the keys.
pub enum Observed {
    Put(KeyValue),
    Deleted,
    /// Nobody knows any more.
    Compacted,
}

impl Watched {
    /// One key, after a revision.
    pub fn key(backend: &dyn Backend, key: &Bytes, after: Revision) -> Result<Watched, Status> {
        Watched::of(backend, KeyRange::of(key, b""), after)
    }

    /// All keys of those who take turns, after a revision.
    pub fn all(backend: &dyn Backend, turns: &Turns, after: Revision) -> Result<Watched, Status> {
        Watched::of(backend, KeyRange::of(&turns.start, &turns.end), after)
    }

    fn of(
        backend: &dyn Backend,
        range: Option<KeyRange>,
        after: Revision,
    ) -> Result<Watched, Status> {
        let range = range.ok_or_else(|| Status::internal("etcdserver: an empty range"))?;
        let changes = backend.hub().watch(range, Some(Revision(after.0 + 1)));
        let changes = changes.map_err(|why| no_watch(&why))?;
        Ok(Watched { changes, waiting: VecDeque::new() })
    }

    /// The next put, if it is still known.
    pub async fn next_put(&mut self) -> Option<KeyValue> {
        loop {
            match self.next().await {
                Observed::Put(item) => return Some(item),
                Observed::Deleted => {}
                Observed::Compacted => return None,
            }
        }
    }

    /// Waits for the next change.
    pub async fn next(&mut self) -> Observed {
        loop {
            if let Some(change) = self.waiting.pop_front() {
                return match change.is_delete {
                    true => Observed::Deleted,
                    false => Observed::Put(change.item.clone()),
                };
            }
            match self.changes.next().await {
                Ok(changes) => self.waiting.extend(changes.iter().cloned()),
                Err(_) => return Observed::Compacted,
            }
        }
    }
}

fn no_watch(why: &NoWatch) -> Status {
    match why {
        NoWatch::TooMany => Status::new(Code::ResourceExhausted, format!("kvraft: {why}")),
        NoWatch::Repairing => status::no_leader(),
        NoWatch::NoHistory => status::of_refusal(Refusal::UnknownVersion),
    }
}

//! One watch, and the queue that it shares with the others of its feed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use tokio::sync::Notify;

use super::range::{KeyRange, Wants};
use crate::kv::Change;
use crate::types::Revision;

/// Which change: its revision, and its number within it.
pub type Position = (Revision, u32);

/// The changes of one revision that a group of watches is told: one list for all of them.
pub type Changes = Rc<[Rc<Change>]>;

/// What keeping a change costs beside its key and value.
pub const CHANGE_OVERHEAD_BYTES: usize = 128;

pub fn bytes_of(change: &Change) -> usize {
    change.item.key.len() + change.item.value.len() + CHANGE_OVERHEAD_BYTES
}

/// Where a watch gets its changes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// From the hub, as they are made.
    Synced,
    /// From the history, until it has caught up.
    Behind,
    /// Nowhere any more.
    Gone,
}

/// One watch.
pub struct Watcher {
    /// Unlike a client's id, no other watch of the node has or had it.
    pub number: u64,
    pub range: KeyRange,
    pub wants: Wants,
    pub outlet: Rc<Outlet>,
    pub place: Cell<Place>,
    /// The first change that was neither told nor put into the queue.
    pub next: Cell<Position>,
    /// How much of the queue is its.
    pub queued: Cell<usize>,
}

/// Something for one watch, of one revision.
pub struct Batch {
    pub watch: Rc<Watcher>,
    pub changes: Changes,
    /// Counted for it in the queue.
    bytes: usize,
}

/// What waits to be told to one client, or inside the node.
#[derive(Default)]
pub struct Outlet {
    queue: RefCell<VecDeque<Batch>>,
    bytes: Cell<usize>,
    newest: Cell<Revision>,
    pub watches: Cell<usize>,
    /// Those that must catch up, in turn.
    pub behind: RefCell<VecDeque<Rc<Watcher>>>,
    /// Rings when something new waits.
    pub bell: Notify,
}

/// Batches that an outlet holds for whatever it has, and for each of its watches besides: so that
/// each of many watches of one key has room for what concerns them all.
const BATCHES: usize = 128;
const BATCHES_FOR_EACH: usize = 4;

/// Bytes of changes that an outlet holds, or one revision that has more. A value is counted once,
/// however many of the watches it concerns.
const BYTES: usize = 2 << 20;

impl Outlet {
    pub fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Puts something into the queue; whether there was room. `bytes` is what all changes of that
    /// revision have that concern anybody.
    pub fn push(
        &self,
        watch: &Rc<Watcher>,
        revision: Revision,
        changes: Changes,
        bytes: usize,
    ) -> bool {
        let mut queue = self.queue.borrow_mut();
        let is_counted = !queue.is_empty() && self.newest.get() == revision;
        let bytes = if is_counted { 0 } else { bytes };
        let most = BATCHES + BATCHES_FOR_EACH * self.watches.get();
        let is_too_much = self.bytes.get() + bytes > BYTES && !queue.is_empty();
        if queue.len() >= most || is_too_much {
            return false;
        }
        self.newest.set(revision);
        self.bytes.set(self.bytes.get() + bytes);
        watch.queued.set(watch.queued.get() + 1);
        queue.push_back(Batch { watch: Rc::clone(watch), changes, bytes });
        self.bell.notify_one();
        true
    }

    /// What has waited longest.
    pub fn pop(&self) -> Option<Batch> {
        let batch = self.queue.borrow_mut().pop_front()?;
        self.bytes.set(self.bytes.get() - batch.bytes);
        batch.watch.queued.set(batch.watch.queued.get() - 1);
        Some(batch)
    }

    /// Forgets all that waits.
    pub fn clear(&self) {
        self.queue.take();
        self.behind.take();
    }
}

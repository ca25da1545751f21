//! What one client's stream, or one who watches inside the node, is told.
//!
//! A feed has any number of watches. What the hub hands to them waits in one queue, of a bounded
//! size; a watch for which it has no room falls behind. So does every new one. A watch that is
//! behind reads the history in pieces, each when its feed's owner asks for more, and only after all
//! that it has in the queue: nothing is left out, told twice or out of order. Once it has seen all
//! that there is, it is synced: the hub hands it what comes next.

use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::OwnedSemaphorePermit;

use super::hub::{Hub, NoWatch};
use super::range::{KeyRange, Wants};
use super::watcher::{Changes, Outlet, Place, Watcher, bytes_of};
use crate::kv::version::KEYS_HAVE_A_PAST;
use crate::kv::{Change, Machine};
use crate::types::Revision;

/// Changes of the history that one step looks at.
const PIECE: usize = 1000;

/// A watch that catches up is told up to so many revisions at once, etcd's number, or until they
/// have so many bytes. With the replaced versions, and a last revision of the largest request, that
/// is still less than many clients of gRPC take (4 MiB).
const REVISIONS: usize = 1000;
const BYTES: usize = 512 << 10;

/// The watches of one owner. When it goes, they end.
pub struct Feed {
    hub: Rc<Hub>,
    outlet: Rc<Outlet>,
    watches: BTreeMap<u64, Rc<Watcher>>,
    /// What the first of those that are behind will be told, once it is enough.
    gathering: Gathering,
    /// Whether those that are behind come next.
    is_their_turn: bool,
}

#[derive(Default)]
struct Gathering {
    changes: Vec<Rc<Change>>,
    revisions: usize,
    bytes: usize,
}

/// The next thing that a feed has to tell.
pub enum Next {
    /// Whole revisions of one watch.
    Events { watch: u64, changes: Changes },
    /// The watch is over: what it wants next is compacted.
    Compacted { watch: u64, at: Revision },
    /// Nothing yet, but asking again leads on. Somebody else should have a chance before.
    Later,
    /// Nothing, until the bell rings.
    Nothing,
}

/// How a piece of the history ended.
enum Piece {
    Compacted(Revision),
    /// There is enough for a message.
    Full,
    /// There is more to be looked at.
    More,
    /// It was the last one; the machine's revision.
    End(Revision),
}

impl Feed {
    pub fn new(hub: &Rc<Hub>) -> Feed {
        hub.feed_opened();
        Feed {
            hub: Rc::clone(hub),
            outlet: Rc::default(),
            watches: BTreeMap::new(),
            gathering: Gathering::default(),
            is_their_turn: false,
        }
    }

    /// Watches a range from a revision on, which may be yet to come; without one, from now on. Its
    /// number, and the machine's revision.
    ///
    /// # Errors
    /// The node has too many watches, or no history to watch.
    pub fn watch(
        &mut self,
        range: KeyRange,
        wants: Wants,
        from: Option<Revision>,
    ) -> Result<(u64, Revision), NoWatch> {
        let look = |machine: &Machine| (machine.version(), machine.revision());
        let (version, now) = self.hub.peek(look).ok_or(NoWatch::Repairing)?;
        if version < KEYS_HAVE_A_PAST {
            return Err(NoWatch::NoHistory);
        }
        let from = from.unwrap_or(Revision(now.0 + 1));
        let watch = self.hub.add(&self.outlet, range, wants, from, now)?;
        let number = watch.number;
        self.watches.insert(number, watch);
        Ok((number, now))
    }

    /// Ends a watch; whether it was there. Nothing of it is told any more.
    pub fn cancel(&mut self, watch: u64) -> bool {
        let Some(watch) = self.watches.remove(&watch) else { return false };
        let is_first = self.outlet.behind.borrow().front().map(|it| it.number);
        if is_first == Some(watch.number) {
            self.gathering = Gathering::default();
        }
        self.hub.remove(&watch);
        true
    }

    /// Rings when there is something to be told.
    pub async fn rings(&self) {
        self.outlet.bell.notified().await;
    }

    /// Whether there is something to be told, or found out.
    pub fn has_more(&self) -> bool {
        !self.outlet.is_empty() || !self.outlet.behind.borrow().is_empty()
    }

    /// Who reads the history next, if the history is what is next.
    fn reader(&self) -> Option<Rc<Watcher>> {
        // What is first among those that are behind may have something in the queue still.
        let behind = self.outlet.behind.borrow();
        let ready = behind.front().filter(|watch| watch.queued.get() == 0);
        ready.filter(|_| self.is_their_turn || self.outlet.is_empty()).cloned()
    }

    /// Waits until [`Feed::next`] may be called: who reads the history needs leave, and is to keep
    /// it until the others have had a chance.
    pub async fn leave(&self) -> Option<OwnedSemaphorePermit> {
        match self.reader() {
            Some(_) => self.hub.leave_to_read().await,
            None => None,
        }
    }

    /// What is to be told next. It takes a bounded time.
    pub fn next(&mut self) -> Next {
        let reader = self.reader();
        self.is_their_turn = !self.is_their_turn;
        match reader {
            Some(watch) => self.catch_up(&watch),
            None => self.take_queued(),
        }
    }

    fn take_queued(&mut self) -> Next {
        let Some(batch) = self.outlet.pop() else { return Next::Nothing };
        match batch.watch.place.get() {
            Place::Gone => Next::Later,
            _ => Next::Events { watch: batch.watch.number, changes: batch.changes },
        }
    }

    /// One piece of the history, for the first of those that are behind.
    fn catch_up(&mut self, watch: &Rc<Watcher>) -> Next {
        let (number, gathering) = (watch.number, &mut self.gathering);
        let Some(piece) = self.hub.peek(|machine| gathering.read(machine, watch)) else {
            return Next::Nothing;
        };
        match piece {
            Piece::Compacted(at) => {
                self.cancel(number);
                return Next::Compacted { watch: number, at };
            }
            // All may have their turn, but for who has half a message.
            Piece::More if !self.gathering.changes.is_empty() => return Next::Later,
            Piece::More | Piece::Full => self.outlet.behind.borrow_mut().rotate_left(1),
            Piece::End(now) => {
                self.outlet.behind.borrow_mut().pop_front();
                self.hub.has_caught_up(watch, now);
            }
        }
        let Gathering { changes, .. } = std::mem::take(&mut self.gathering);
        match changes.is_empty() {
            true => Next::Later,
            false => Next::Events { watch: number, changes: changes.into() },
        }
    }

    /// The revision up to which all watches were told everything, if nothing that is known now is
    /// still to be told to any. A watch that begins later has not caught up: its client would take
    /// the answer for a place to go on from, and begin too early.
    pub fn caught_up(&self) -> Option<Revision> {
        let done = self.hub.done();
        let is_here = |watch: &Rc<Watcher>| watch.next.get().0.0 <= done.0 + 1;
        (!self.has_more() && self.watches.values().all(is_here)).then_some(done)
    }

    /// The same, of one watch.
    pub fn has_caught_up(&self, watch: u64) -> Option<Revision> {
        let (watch, done) = (self.watches.get(&watch)?, self.hub.done());
        let is_synced = watch.place.get() == Place::Synced && watch.queued.get() == 0;
        (is_synced && watch.next.get().0.0 <= done.0 + 1).then_some(done)
    }

    pub fn is_empty(&self) -> bool {
        self.watches.is_empty()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // Those that are behind go at once, and not each out of the queue of all.
        let behind = self.outlet.behind.take();
        self.watches.values().for_each(|watch| self.hub.remove(watch));
        drop(behind);
        self.outlet.clear();
        self.hub.feed_closed();
    }
}

impl Gathering {
    /// Looks at a piece of the history, from where the watch is.
    fn read(&mut self, machine: &Machine, watch: &Watcher) -> Piece {
        let (revision, sub) = watch.next.get();
        let Ok(changes) = machine.changes_from(revision, sub) else {
            return Piece::Compacted(machine.compacted_revision());
        };
        let mut current = revision;
        for (number, change) in changes.enumerate() {
            let at = (change.item.mod_revision, change.sub);
            let is_boundary = at.0 > current || at.1 == 0;
            if is_boundary && (self.revisions >= REVISIONS || self.bytes >= BYTES) {
                return Piece::Full;
            }
            if number == PIECE {
                return Piece::More;
            }
            current = at.0;
            watch.next.set((at.0, at.1 + 1));
            if watch.wants.takes(&change) && watch.range.contains(&change.item.key) {
                let last = self.changes.last().map(|last| last.item.mod_revision);
                self.revisions += usize::from(last != Some(at.0));
                self.bytes += bytes_of(&change);
                self.changes.push(Rc::new(change));
            }
        }
        Piece::End(machine.revision())
    }
}

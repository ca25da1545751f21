//! What hands the changes of the state machine to those who watch: one for the whole node.
//!
//! It works in small steps, each a task's turn of its own, so that no number of watches holds up
//! the node's event loop for longer than one: [`PIECE`] changes looked at, or batches handed over.
//! (To find the groups of one change is one piece, however many distinct ranges hold its key.)

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::index::{Group, Index};
use super::range::{KeyRange, Wants};
use super::watcher::{Changes, Outlet, Place, Position, Watcher, bytes_of};
use crate::kv::{Change, Machine};
use crate::types::Revision;

/// Changes that one step looks at, and batches that it hands over, at most.
const PIECE: usize = 256;

/// Where the changes come from.
pub trait Source {
    /// Looks at the state machine as it is. There is none while the node repairs its log, and then
    /// nobody looks.
    fn look(&self, look: &mut dyn FnMut(&Machine));
}

/// What a hub is told once.
#[derive(Clone, Copy, Debug)]
pub struct HubOptions {
    /// Watches at once.
    pub watches: usize,
    /// Bytes of all their ranges.
    pub range_bytes: usize,
    /// Between two messages to a watch that wants to hear even that there was nothing; up to a
    /// tenth is added, so that the streams of a restart do not all speak at once.
    pub progress: Duration,
}

impl Default for HubOptions {
    fn default() -> HubOptions {
        let progress = Duration::from_secs(600);
        HubOptions { watches: 100_000, range_bytes: 64 << 20, progress }
    }
}

/// Why there is no watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoWatch {
    #[error("this node has as many watches as it can")]
    TooMany,
    #[error("this node repairs its log")]
    Repairing,
    #[error("the state machine keeps no history yet")]
    NoHistory,
}

/// What the hub has and has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubFigures {
    pub watches: u64,
    /// Clients' streams, and those who watch inside the node.
    pub feeds: u64,
    /// Watches that are catching up.
    pub behind: u64,
    /// Events told to clients.
    pub events: u64,
}

/// Hands the changes of the state machine to those who watch: one for the whole node.
pub struct Hub {
    source: Rc<dyn Source>,
    options: HubOptions,
    state: RefCell<State>,
    /// Of the machine when somebody last said that it moved.
    moved: Cell<Revision>,
    bell: Notify,
    rest: Notify,
    /// Who may read the history.
    readers: Arc<Semaphore>,
    feeds: Cell<u64>,
    behind: Cell<u64>,
    events: Cell<u64>,
}

#[derive(Default)]
struct State {
    /// The synced ones.
    index: Index<Watcher>,
    watches: usize,
    range_bytes: usize,
    last_number: u64,
    /// The next change to look at.
    at: Position,
    /// Up to here, all was handed over.
    done: Revision,
    /// Of the revision that is being looked at, by group.
    gathered: BTreeMap<u64, Gathered>,
    gathered_bytes: usize,
    handing: Option<Handing>,
}

struct Gathered {
    group: Rc<Group<Watcher>>,
    changes: Vec<Rc<Change>>,
}

/// A whole revision on its way to those whom it concerns.
struct Handing {
    revision: Revision,
    bytes: usize,
    groups: VecDeque<(Rc<Group<Watcher>>, Changes)>,
    /// In the first group, who was the last to get it.
    behind: Option<u64>,
}

/// How a look at the machine ended.
enum Looked {
    /// A revision is complete that concerns somebody.
    Revision,
    Piece,
    /// There is no more.
    End,
}

impl Hub {
    pub fn new(source: Rc<dyn Source>, options: HubOptions) -> Hub {
        Hub {
            source,
            options,
            state: RefCell::default(),
            moved: Cell::default(),
            bell: Notify::new(),
            rest: Notify::new(),
            readers: Arc::new(Semaphore::new(1)),
            feeds: Cell::default(),
            behind: Cell::default(),
            events: Cell::default(),
        }
    }

    pub fn options(&self) -> &HubOptions {
        &self.options
    }

    /// The state machine stands at `revision`. To be called after every turn: if nobody watches, or
    /// nothing has changed, it costs next to nothing.
    pub fn moved(&self, revision: Revision) {
        if self.moved.replace(revision) != revision && !self.state.borrow().index.is_empty() {
            self.bell.notify_one();
        }
    }

    /// Works whenever something has moved. Never ends.
    pub async fn run(self: Rc<Hub>) {
        loop {
            self.bell.notified().await;
            while self.step() {
                tokio::task::yield_now().await;
            }
        }
    }

    /// Does a bounded amount of work; whether there is more.
    pub fn step(&self) -> bool {
        let mut budget = PIECE;
        let mut state = self.state.borrow_mut();
        loop {
            self.hand_over(&mut state, &mut budget);
            if budget == 0 {
                return true;
            }
            match self.look(&mut state, &mut budget) {
                Looked::Revision => {}
                Looked::Piece => return true,
                Looked::End => {
                    self.rest.notify_waiters();
                    return false;
                }
            }
        }
    }

    /// Looks at what changed, until a revision is complete that concerns somebody.
    fn look(&self, state: &mut State, budget: &mut usize) -> Looked {
        let mut looked = Looked::End;
        self.source.look(&mut |machine| looked = self.look_at(machine, state, budget));
        looked
    }

    fn look_at(&self, machine: &Machine, state: &mut State, budget: &mut usize) -> Looked {
        let now = machine.revision();
        let (revision, sub) = state.at;
        if state.index.is_empty() && state.gathered.is_empty() {
            state.go_to(now);
            return Looked::End;
        }
        let Ok(changes) = machine.changes_left(revision, sub) else {
            self.overtaken(state, now);
            return Looked::End;
        };
        for change in changes {
            let at = (change.item.mod_revision, change.sub);
            if at.0 > state.at.0 && !state.gathered.is_empty() {
                state.complete();
                return Looked::Revision;
            }
            if *budget == 0 {
                return Looked::Piece;
            }
            *budget -= 1;
            state.at = (at.0, at.1 + 1);
            state.done = Revision(at.0.0.saturating_sub(1)).max(state.done);
            *budget = budget.saturating_sub(state.gather(change));
        }
        // A revision is applied as a whole: what ends here is complete.
        if state.gathered.is_empty() {
            state.go_to(now);
            return Looked::End;
        }
        state.complete();
        Looked::Revision
    }

    /// What comes next is gone: this node jumped, by a snapshot that has no such history, or this
    /// hub is slower than compaction by thousands of entries. Each watch finds out by itself how
    /// much of its past is left. It takes one step for all of them, but comes once in an age.
    fn overtaken(&self, state: &mut State, now: Revision) {
        state.gathered.clear();
        for watch in state.index.take() {
            self.fall_behind(&watch, state.at.0);
        }
        state.go_to(now);
    }

    fn hand_over(&self, state: &mut State, budget: &mut usize) {
        let State { handing, index, done, .. } = state;
        let Some(Handing { revision, bytes, groups, behind }) = handing else { return };
        while let Some((group, changes)) = groups.front() {
            if *budget == 0 {
                return;
            }
            let members = group.members(*behind, *budget);
            *budget -= members.len();
            for (_, watch) in &members {
                // Who came meanwhile has heard of it, or does not want to.
                if watch.next.get() > (*revision, 0) {
                    continue;
                }
                if watch.outlet.push(watch, *revision, Rc::clone(changes), *bytes) {
                    watch.next.set((Revision(revision.0 + 1), 0));
                } else {
                    index.remove(&watch.range, watch.wants, watch.number);
                    self.fall_behind(watch, *revision);
                }
            }
            match members.last() {
                Some((number, _)) => *behind = Some(*number),
                None => {
                    groups.pop_front();
                    *behind = None;
                }
            }
        }
        *done = *revision;
        *handing = None;
    }

    /// The watch gets its changes from the history, from this revision on: it has heard of all that
    /// was before, or it is in its queue.
    fn fall_behind(&self, watch: &Rc<Watcher>, from: Revision) {
        watch.next.set(watch.next.get().max((from, 0)));
        watch.place.set(Place::Behind);
        watch.outlet.behind.borrow_mut().push_back(Rc::clone(watch));
        watch.outlet.bell.notify_one();
        self.behind.set(self.behind.get() + 1);
    }

    /// One more watch, from a revision on. `now` is the machine's at this moment.
    pub(super) fn add(
        &self,
        outlet: &Rc<Outlet>,
        range: KeyRange,
        wants: Wants,
        from: Revision,
        now: Revision,
    ) -> Result<Rc<Watcher>, NoWatch> {
        let mut state = self.state.borrow_mut();
        let range_bytes = state.range_bytes + range.bytes();
        if state.watches >= self.options.watches || range_bytes > self.options.range_bytes {
            return Err(NoWatch::TooMany);
        }
        state.watches += 1;
        state.range_bytes = range_bytes;
        state.last_number += 1;
        outlet.watches.set(outlet.watches.get() + 1);
        let watch = Rc::new(Watcher {
            number: state.last_number,
            range,
            wants,
            outlet: Rc::clone(outlet),
            place: Cell::new(Place::Behind),
            next: Cell::new((from, 0)),
            queued: Cell::new(0),
        });
        match from > now {
            true => state.sync(&watch, now),
            false => self.fall_behind(&watch, from),
        }
        Ok(watch)
    }

    /// A watch that was behind has seen everything up to `now`, the machine's revision at this
    /// moment.
    pub(super) fn has_caught_up(&self, watch: &Rc<Watcher>, now: Revision) {
        self.behind.set(self.behind.get() - 1);
        self.state.borrow_mut().sync(watch, now);
    }

    /// The watch is over.
    pub(super) fn remove(&self, watch: &Watcher) {
        let mut state = self.state.borrow_mut();
        match watch.place.replace(Place::Gone) {
            Place::Synced => state.index.remove(&watch.range, watch.wants, watch.number),
            Place::Behind => {
                watch.outlet.behind.borrow_mut().retain(|it| it.number != watch.number);
                self.behind.set(self.behind.get() - 1);
            }
            Place::Gone => return,
        }
        state.watches -= 1;
        state.range_bytes -= watch.range.bytes();
        watch.outlet.watches.set(watch.outlet.watches.get() - 1);
    }

    /// The revision up to which every synced watch has all in its queue, or was told it.
    pub fn done(&self) -> Revision {
        self.state.borrow().done
    }

    /// Waits until the hub has handed over all that there is.
    pub async fn rests(&self) {
        self.rest.notified().await;
    }

    /// Waits for leave to read a piece of the history, and keeps it until all others have had their
    /// turn: thousands that catch up at once would each take but a moment, and all together as long
    /// as a leader may be silent.
    pub(super) async fn leave_to_read(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.readers).acquire_owned().await.ok()
    }

    /// Looks at the state machine, if there is one.
    pub fn peek<T>(&self, look: impl FnOnce(&Machine) -> T) -> Option<T> {
        let (mut look, mut seen) = (Some(look), None);
        self.source.look(&mut |machine| {
            if let Some(look) = look.take() {
                seen = Some(look(machine));
            }
        });
        seen
    }

    pub(super) fn feed_opened(&self) {
        self.feeds.set(self.feeds.get() + 1);
    }

    pub(super) fn feed_closed(&self) {
        self.feeds.set(self.feeds.get() - 1);
    }

    /// So many events went to a client.
    pub(super) fn told(&self, events: usize) {
        self.events.set(self.events.get() + events as u64);
    }

    pub fn figures(&self) -> HubFigures {
        HubFigures {
            watches: self.state.borrow().watches as u64,
            feeds: self.feeds.get(),
            behind: self.behind.get(),
            events: self.events.get(),
        }
    }
}

impl State {
    /// All up to `now` is handed over, or concerns nobody.
    fn go_to(&mut self, now: Revision) {
        self.at = (Revision(now.0 + 1), 0);
        self.done = now;
    }

    /// From here on the watch gets from the hub what comes.
    fn sync(&mut self, watch: &Rc<Watcher>, now: Revision) {
        if self.index.is_empty() && self.handing.is_none() && self.gathered.is_empty() {
            self.go_to(now);
        }
        let next = (Revision(now.0 + 1), 0);
        watch.next.set(watch.next.get().max(next));
        watch.place.set(Place::Synced);
        self.index.insert(&watch.range, watch.wants, watch.number, Rc::clone(watch));
    }

    /// To how many groups it goes.
    fn gather(&mut self, change: Change) -> usize {
        let change = Rc::new(change);
        let mut concerned = 0;
        let State { index, gathered, .. } = self;
        index.find(&change.item.key, |group| {
            if group.wants.takes(&change) {
                let fresh = || Gathered { group: Rc::clone(group), changes: Vec::new() };
                let its = gathered.entry(group.id).or_insert_with(fresh);
                its.changes.push(Rc::clone(&change));
                concerned += 1;
            }
        });
        if concerned > 0 {
            self.gathered_bytes += bytes_of(&change);
        }
        concerned
    }

    /// The gathered revision goes on its way.
    fn complete(&mut self) {
        let revision = self.at.0;
        let groups = std::mem::take(&mut self.gathered).into_values();
        self.handing = Some(Handing {
            revision,
            bytes: std::mem::take(&mut self.gathered_bytes),
            groups: groups.map(|Gathered { group, changes }| (group, changes.into())).collect(),
            behind: None,
        });
        self.at = (Revision(revision.0 + 1), 0);
    }
}

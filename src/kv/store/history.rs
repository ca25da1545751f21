//! What the keys were before, and what became of them: from the machine's version 3 on.
//!
//! # The problem
//!
//! A read may ask for the keys as they were at some revision, and a watch for every change since.
//! Neither may cost a copy of everything, and what nobody asks for any more must go.
//!
//! # The rule
//!
//! There are two ways to a version, both persistent, so that a clone still costs O(1):
//!
//! - the **log**, from (revision, position in its transaction) to what a key became there: this is
//!   what watches walk;
//! - the **past**, beside each key every version that is not its latest any more, deletions among
//!   them: this is what reads of the past look into, together with the latest. It is kept with the
//!   [keys](super::keys).
//!
//! Both hold the same [`Item`]s, so that a version costs its key and value once.
//!
//! A version that was replaced at revision *s* can be read up to *s* − 1. So compaction at *c* may
//! drop it if *s* ≤ *c*; and a deletion at or before *c*, because to find nothing says the same.
//!
//! # Compaction in small steps
//!
//! To drop millions of versions takes seconds, in which a replica would neither apply nor answer.
//! So a compaction only moves a mark, [`History::compacted`]: whatever asks for less is refused
//! from then on. The rubbish is swept with the entries that follow, a bounded number of changes
//! each ([`History::sweep`]): at least twice as many as the newest revision made, so that the broom
//! comes nearer whatever the entries do, and sweeping costs no more than a few times what
//! making the changes did. How far the broom has come is state like any other: it depends on
//! nothing but the entries, is hashed, and is part of a snapshot.
//!
//! The change *at* the mark is kept, because a watch may begin there. What it replaced goes, from
//! version 4 on: else to delete everything and compact to there would free nothing. The log cannot
//! say how far that has come, so each entry looks for the first changes at the mark that have not
//! been dealt with; where it found none is remembered, and is no state.
//!
//! # Caveats
//!
//! What was before version 3 is not known: the history of a cluster that was raised begins as if it
//! had been compacted at the revision of that moment. The very last change before, be it a put or a
//! deletion, is the only one at the mark that no watch can see, because it is in no log. (What a
//! put set can be read all the same.)

use std::sync::Arc;

use bytes::Bytes;
use imbl::Vector;

use super::item::Item;
use super::keys::{Keys, Set};
use crate::kv::Refusal;
use crate::kv::hash::{self, Digest};
use crate::types::Revision;

/// Where in the log: the revision, and which of its changes, from 0.
pub type Position = (Revision, u32);

/// Changes that one entry sweeps, if the newest revision made few: a fraction of a millisecond.
/// Part of what replicas agree on: it changes only with the machine's version.
pub const SWEEP_WITH_EACH_ENTRY: usize = 64;

/// Behind all changes of a revision.
fn end_of(revision: Revision) -> Position {
    (revision, u32::MAX)
}

#[derive(Clone, Debug)]
pub struct History {
    /// Nothing before it can be read. `None`: it was never compacted, which is not the same as at
    /// zero, although all can be read then, too: etcd takes one compaction at zero.
    compacted: Option<Revision>,
    /// In the order of their positions: it grows at its end alone, and is swept at its beginning.
    log: Vector<(Position, Arc<Item>)>,
    /// Versions in the past of all keys, deletions among them.
    past: u64,
    /// From version 4 on: what the changes at the mark replaced is rubbish, too.
    clears_mark: bool,
    /// Before it, no change at the mark has left anything. No state: a replica that does not know
    /// finds out.
    cleared: Position,
    /// Of keys and values in the past.
    bytes: u64,
    /// The sum of the hashes of every change and every past version.
    digest: Digest,
}

impl History {
    /// Of a store whose past, up to here, is not known.
    pub fn since(compacted: Option<Revision>) -> History {
        let (log, past) = (Vector::new(), 0);
        let (clears_mark, cleared) = (false, Position::default());
        let (bytes, digest) = (0, Digest::default());
        History { compacted, log, past, clears_mark, cleared, bytes, digest }
    }

    /// From now on, what was replaced at the mark goes, too.
    pub fn clear_marks(&mut self) {
        self.clears_mark = true;
    }

    /// Nothing before it can be read; zero: all can.
    pub fn compacted(&self) -> Revision {
        self.compacted.unwrap_or_default()
    }

    /// Where it was compacted last, if it ever was.
    pub fn last_compaction(&self) -> Option<Revision> {
        self.compacted
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many changes, and how many past versions, there are.
    pub fn counts(&self) -> (u64, u64) {
        (self.log.len() as u64, self.past)
    }

    /// A key was set, as the change of number `sub` of its revision.
    pub fn note_set(&mut self, set: Set, sub: u32) {
        let Set { before, now, undone } = set;
        let revision = now.kv.mod_revision;
        if let Some(before) = before.filter(|before| before.kv.mod_revision < revision) {
            self.keep(&before);
        }
        self.forget(undone);
        self.append((revision, sub), now);
    }

    /// A key was deleted, as the change of number `sub` of its revision.
    pub fn note_deletion(&mut self, before: &Item, deletion: Arc<Item>, sub: u32) {
        let revision = deletion.kv.mod_revision;
        if before.kv.mod_revision < revision {
            self.keep(before);
        }
        self.keep(&deletion);
        self.append((revision, sub), deletion);
    }

    /// A version is in the past.
    pub fn keep(&mut self, item: &Item) {
        self.past += 1;
        self.bytes += item.bytes();
        self.digest.add(hash::of_past(item.hash));
    }

    /// These versions are in the past no more.
    fn forget(&mut self, items: impl IntoIterator<Item = Arc<Item>>) {
        for item in items {
            self.past -= 1;
            self.bytes -= item.bytes();
            self.digest.remove(hash::of_past(item.hash));
        }
    }

    fn append(&mut self, at: Position, item: Arc<Item>) {
        self.digest.add(hash::of_change(item.hash, at.1));
        self.log.push_back((at, item));
    }

    /// From now on nothing before `at` can be read. `now` is the store's revision.
    pub fn compact(&mut self, at: Revision, now: Revision) -> Result<(), Refusal> {
        if Some(at) <= self.compacted {
            return Err(Refusal::Compacted);
        }
        if at > now {
            return Err(Refusal::FutureRevision);
        }
        self.compacted = Some(at);
        Ok(())
    }

    /// Where the changes begin that the broom has left.
    pub fn first_change(&self) -> Option<Position> {
        self.log.front().map(|(at, _)| *at)
    }

    /// Whether there is anything left to be swept.
    pub fn has_rubbish(&self) -> bool {
        let before = self.first_change().is_some_and(|(it, _)| it < self.compacted());
        before || (self.clears_mark && self.next_at_mark().is_some())
    }

    /// The first change at the mark that may have left something.
    fn next_at_mark(&self) -> Option<(Position, Bytes)> {
        let mark = self.compacted();
        if self.cleared == end_of(mark) {
            return None;
        }
        let next = self.log_from(self.cleared.max((mark, 0))).next();
        next.filter(|(at, _)| at.0 == mark).map(|(at, item)| (*at, item.kv.key.clone()))
    }

    /// How much the next entry sweeps. A transaction, a lease or a range that is deleted may make
    /// any number of changes at once: with a fixed number the broom could fall behind for ever.
    fn broom(&self) -> usize {
        let newest = self.log.last().map_or(0, |((_, sub), _)| *sub as usize + 1);
        SWEEP_WITH_EACH_ENTRY.max(newest.saturating_mul(2))
    }

    /// Drops a bounded number of changes that lie before the mark, each with the version that it
    /// replaced.
    pub fn sweep(&mut self, keys: &mut Keys) {
        let broom = self.broom();
        for _ in 0..broom {
            let Some(at) = self.first_change() else { return };
            if at.0 >= self.compacted() {
                self.sweep_mark(keys, broom);
                return;
            }
            let Some((at, item)) = self.log.pop_front() else { return };
            self.digest.remove(hash::of_change(item.hash, at.1));
            // Earlier ones went with earlier changes.
            let forgotten = keys.forget(&item.kv.key, at.0, item.is_tombstone());
            self.forget(forgotten.into_iter().flatten());
        }
    }

    /// Drops at most so many versions that the changes at the mark replaced; nothing is left before
    /// it. Those that were dropped already do not count, so that it does not matter who remembers.
    fn sweep_mark(&mut self, keys: &mut Keys, mut broom: usize) {
        while self.clears_mark && broom > 0 {
            let Some((at, key)) = self.next_at_mark() else {
                // All that was done at a revision was done by one entry.
                self.cleared = end_of(self.compacted());
                return;
            };
            let [replaced, _] = keys.forget(&key, at.0, false);
            broom -= usize::from(replaced.is_some());
            self.forget(replaced);
            self.cleared = (at.0, at.1.saturating_add(1));
        }
    }

    /// The changes behind this one, or all that are kept.
    pub fn log_after(&self, at: Option<Position>) -> impl Iterator<Item = &(Position, Arc<Item>)> {
        let first = at.map_or(0, |at| self.place(at).map_or_else(|next| next, |there| there + 1));
        self.log.focus().narrow(first..).into_iter()
    }

    /// The changes from this one on.
    pub fn log_from(&self, at: Position) -> impl Iterator<Item = &(Position, Arc<Item>)> {
        let first = self.place(at).unwrap_or_else(|next| next);
        self.log.focus().narrow(first..).into_iter()
    }

    /// Where in the log a change is, or else where the next one behind it is.
    fn place(&self, at: Position) -> Result<usize, usize> {
        self.log.binary_search_by(|(it, _)| it.cmp(&at))
    }

    pub fn digest(&self) -> Digest {
        self.with_mark(self.digest)
    }

    /// The digest computed afresh, in time proportional to all that is kept.
    pub fn recompute_digest(&self, keys: &Keys) -> Digest {
        let mut digest = Digest::default();
        keys.past_after(None).filter_map(|(_, item)| item).for_each(|item| {
            digest.add(hash::of_past(hash::of_item(&item.kv)));
        });
        self.log.iter().for_each(|(at, item)| {
            digest.add(hash::of_change(hash::of_item(&item.kv), at.1));
        });
        self.with_mark(digest)
    }

    fn with_mark(&self, mut digest: Digest) -> Digest {
        digest.add(hash::of_compacted(self.compacted));
        digest
    }

    /// Puts back a change, behind all that are there.
    pub fn restore_change(&mut self, at: Position, item: Arc<Item>) -> Result<(), &'static str> {
        let next = match self.log.last() {
            Some((last, _)) if last.0 == at.0 => last.1.checked_add(1),
            Some((last, _)) if last.0 > at.0 => None,
            // The broom stops between any two changes, be they of one revision: it may have taken
            // the first ones of the revision where the log begins now, if that one is to go.
            None if at.0 < self.compacted() => Some(at.1),
            _ => Some(0),
        };
        if next != Some(at.1) {
            return Err("the changes are out of order");
        }
        self.append(at, item);
        Ok(())
    }
}

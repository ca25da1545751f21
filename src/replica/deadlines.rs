//! Deadlines: when each lease is over, on the clock of a leader that may have slept.
//!
//! # The problem
//! A leader's clock may lie. A process that was stopped, or a machine that was suspended, finds
//! when it wakes that seconds have passed in which nobody could reach it, to keep a lease alive; a
//! clock that jumps ahead shows the same, and nothing has passed at all. It cannot tell the two.
//!
//! # The rule
//! A leader counts only time that it was awake for. It looks at its clock again and again, at the
//! latest when its next heartbeat is due; if there is more than [`LONGEST_STEP`] between two looks,
//! it counts that much and no more. So all leases last longer by what it slept through: later than
//! they need, never earlier.
//!
//! # Caveats
//! A clock that runs fast is believed, and one that jumps by less than that.
//!
//! # Cost
//! Two ordered sets: to renew one of a hundred thousand leases costs a few look-ups, and to see
//! that none is over costs one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::kv::LeaseCheckpoint;
use crate::types::{Instant, LeaseId};

/// So much is believed to pass between two looks at the clock; ten heartbeats.
pub const LONGEST_STEP: Duration = Duration::from_millis(500);

/// Whatever has more left than this is noted as often: so much later may it end, at most, for each
/// change of leader. etcd's.
pub const NOTE_EVERY: Duration = Duration::from_secs(300);

/// When all leases are over. Times are of what was counted since the start.
#[derive(Clone, Debug)]
pub struct Deadlines {
    counted: Duration,
    /// The last look at the clock.
    seen: Instant,
    lives: BTreeMap<LeaseId, Life>,
    /// Of those that are not about to end.
    ends: BTreeSet<(Duration, LeaseId)>,
    notes: BTreeSet<(Duration, LeaseId)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    end: Duration,
    /// When to note next what it has left.
    note: Option<Duration>,
    /// Somebody has asked for its end, and it is not known yet what came of it.
    is_ending: bool,
}

impl Deadlines {
    /// None yet, as of `now`.
    pub fn starting_at(now: Instant) -> Deadlines {
        Deadlines {
            counted: Duration::ZERO,
            seen: now,
            lives: BTreeMap::new(),
            ends: BTreeSet::new(),
            notes: BTreeSet::new(),
        }
    }

    /// It is `now`.
    pub fn pass(&mut self, now: Instant) {
        self.counted += now.since(self.seen).min(LONGEST_STEP);
        self.seen = self.seen.max(now);
    }

    /// From now on it lasts so long.
    pub fn renew(&mut self, id: LeaseId, life: Duration) {
        let before = self.lives.get(&id).copied();
        self.forget(id);
        let end = self.counted.saturating_add(life);
        let is_ending = before.is_some_and(|before| before.is_ending);
        let note = (life > NOTE_EVERY).then(|| self.counted + NOTE_EVERY);
        self.keep(id, Life { end, note, is_ending });
    }

    /// The lease is no more.
    pub fn forget(&mut self, id: LeaseId) {
        if let Some(life) = self.lives.remove(&id) {
            self.ends.remove(&(life.end, id));
            life.note.map(|note| self.notes.remove(&(note, id)));
        }
    }

    fn keep(&mut self, id: LeaseId, life: Life) {
        self.lives.insert(id, life);
        if !life.is_ending {
            self.ends.insert((life.end, id));
        }
        // A note of one that is to end might be written behind its end, and meant for another of
        // the same name by then.
        if let Some(note) = life.note.filter(|_| !life.is_ending) {
            self.notes.insert((note, id));
        }
    }

    /// Somebody has asked for its end: it is not over until that is decided. Or it was decided, and
    /// the lease has not ended.
    pub fn set_ending(&mut self, id: LeaseId, is_ending: bool) {
        if let Some(life) = self.lives.get(&id).copied() {
            self.forget(id);
            self.keep(id, Life { is_ending, ..life });
        }
    }

    /// The leases whose time is over, the first to end first.
    pub fn over(&self) -> impl Iterator<Item = LeaseId> + '_ {
        let now = (self.counted, LeaseId(u64::MAX));
        self.ends.range(..=now).map(|(_, id)| *id)
    }

    /// Whether its time is over.
    pub fn is_over(&self, id: LeaseId) -> bool {
        self.lives.get(&id).is_some_and(|life| !life.is_ending && life.end <= self.counted)
    }

    /// How long a lease lasts yet, if it is known.
    pub fn left(&self, id: LeaseId) -> Option<Duration> {
        self.lives.get(&id).map(|life| life.end.saturating_sub(self.counted))
    }

    /// What is to be noted now, of so many leases at most. What is lost is noted the next time.
    pub fn take_notes(&mut self, most: usize) -> Vec<LeaseCheckpoint> {
        let now = (self.counted, LeaseId(u64::MAX));
        let due: Vec<_> = self.notes.range(..=now).take(most).map(|(_, id)| *id).collect();
        due.into_iter().filter_map(|id| self.note_of(id)).collect()
    }

    fn note_of(&mut self, id: LeaseId) -> Option<LeaseCheckpoint> {
        let mut life = self.lives.get(&id).copied()?;
        let left = life.end.saturating_sub(self.counted);
        self.forget(id);
        life.note = (left > NOTE_EVERY).then(|| self.counted + NOTE_EVERY);
        self.keep(id, life);
        // What was begun counts whole, and zero means something else.
        let remaining = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        (remaining > 0).then_some(LeaseCheckpoint { id, remaining })
    }

    /// All leases, the first to end first.
    pub fn in_order(&self) -> Vec<LeaseId> {
        let mut all: Vec<_> = self.lives.iter().map(|(id, life)| (life.end, *id)).collect();
        all.sort_unstable();
        all.into_iter().map(|(_, id)| id).collect()
    }

    /// When the first lease is over, and when something is to be noted, if the clock goes on.
    pub fn next_end(&self) -> Option<Instant> {
        self.ends.first().map(|(end, _)| self.shown_at(*end))
    }

    pub fn next_note(&self) -> Option<Instant> {
        self.notes.first().map(|(note, _)| self.shown_at(*note))
    }

    /// When so much is counted; or soon enough to count all that passes until then.
    fn shown_at(&self, counted: Duration) -> Instant {
        self.seen + counted.saturating_sub(self.counted).min(LONGEST_STEP / 2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn over(deadlines: &Deadlines) -> Vec<u64> {
        deadlines.over().map(|id| id.0).collect()
    }

    /// Lets so much time pass, as a leader sees it that is awake.
    fn awake(deadlines: &mut Deadlines, time: Duration) {
        let end = deadlines.seen + time;
        while deadlines.seen < end {
            deadlines.pass((deadlines.seen + LONGEST_STEP / 2).min(end));
        }
    }

    #[test]
    fn time_that_was_slept_through_does_not_count() {
        let mut deadlines = Deadlines::starting_at(Instant::from_millis(0));
        deadlines.renew(LeaseId(1), 2 * SECOND);
        awake(&mut deadlines, SECOND);
        deadlines.pass(deadlines.seen + 3600 * SECOND);
        assert!(over(&deadlines).is_empty());
        assert_eq!(deadlines.left(LeaseId(1)), Some(SECOND / 2));
        awake(&mut deadlines, SECOND / 2);
        assert_eq!(over(&deadlines), [1]);
    }

    #[test]
    fn a_lease_whose_end_is_under_way_is_not_over_again() {
        let mut deadlines = Deadlines::starting_at(Instant::from_millis(0));
        for id in 1..=3 {
            deadlines.renew(LeaseId(id), (4 - id) as u32 * SECOND / 4);
        }
        awake(&mut deadlines, SECOND);
        assert_eq!(over(&deadlines), [3, 2, 1]);
        deadlines.set_ending(LeaseId(2), true);
        assert_eq!(over(&deadlines), [3, 1]);
        deadlines.renew(LeaseId(2), Duration::ZERO);
        assert_eq!(over(&deadlines), [3, 1], "whoever renews it does not decide that");
        deadlines.set_ending(LeaseId(2), false);
        assert_eq!(over(&deadlines), [3, 1, 2]);
        deadlines.forget(LeaseId(3));
        assert_eq!(over(&deadlines), [1, 2]);
    }

    #[test]
    fn what_lasts_long_is_noted_every_five_minutes() {
        let mut deadlines = Deadlines::starting_at(Instant::from_millis(0));
        deadlines.renew(LeaseId(1), 2 * NOTE_EVERY + SECOND / 2);
        deadlines.renew(LeaseId(2), NOTE_EVERY);
        let mut notes = Vec::new();
        for _ in 0..3 * NOTE_EVERY.as_secs() {
            awake(&mut deadlines, SECOND);
            notes.extend(deadlines.take_notes(10));
        }
        let note = |remaining| LeaseCheckpoint { id: LeaseId(1), remaining };
        assert_eq!(notes, [note(301), note(1)]);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Pass(u64),
        Renew(u64, u64),
        Forget(u64),
        Ending(u64, bool),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..800u64).prop_map(Step::Pass),
            (0..6u64, 0..3u64).prop_map(|(id, life)| Step::Renew(id, life)),
            (0..6u64).prop_map(Step::Forget),
            (0..6u64, any::<bool>()).prop_map(|(id, is)| Step::Ending(id, is)),
        ]
    }

    proptest! {
        /// Against a list that is searched.
        #[test]
        fn the_sets_agree_with_a_list(steps in prop::collection::vec(step(), 1..80)) {
            let mut deadlines = Deadlines::starting_at(Instant::from_millis(0));
            let (mut now, mut counted) = (0, 0);
            let mut list: BTreeMap<u64, (u64, bool)> = BTreeMap::new();
            for step in steps {
                match step {
                    Step::Pass(millis) => {
                        (now, counted) = (now + millis, counted + millis.min(500));
                        deadlines.pass(Instant::from_millis(now));
                    }
                    Step::Renew(id, life) => {
                        deadlines.renew(LeaseId(id), life as u32 * SECOND);
                        let is_ending = list.get(&id).is_some_and(|(_, it)| *it);
                        list.insert(id, (counted + life * 1000, is_ending));
                    }
                    Step::Forget(id) => {
                        deadlines.forget(LeaseId(id));
                        list.remove(&id);
                    }
                    Step::Ending(id, is_ending) => {
                        deadlines.set_ending(LeaseId(id), is_ending);
                        list.entry(id).and_modify(|(_, it)| *it = is_ending);
                    }
                }
                let mut expected: Vec<_> = list
                    .iter()
                    .filter(|(_, (end, is_ending))| *end <= counted && !is_ending)
                    .map(|(id, (end, _))| (*end, *id))
                    .collect();
                expected.sort_unstable();
                let expected: Vec<_> = expected.into_iter().map(|(_, id)| id).collect();
                prop_assert_eq!(over(&deadlines), expected);
                prop_assert_eq!(deadlines.in_order().len(), list.len());
                let first = list.values().filter(|(_, it)| !it).map(|(end, _)| *end).min();
                let next = first.map(|end| now + end.saturating_sub(counted).min(250));
                prop_assert_eq!(deadlines.next_end(), next.map(Instant::from_millis));
            }
        }
    }
}

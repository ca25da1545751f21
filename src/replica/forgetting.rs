//! Forgetting: the past that is compacted by itself.
//!
//! # The problem
//! Every change stays readable until somebody compacts it away, and mostly nobody does: the past
//! would grow until memory is full.
//!
//! # The rule
//! A leader that has more of a past than is to be [kept](Retention) proposes to compact it, like a
//! client. By number, whenever an eighth more has gathered than is kept, and more than 64
//! revisions; by time, sixteen times within the time that is kept, each replica noting meanwhile
//! which revision it was when.
//!
//! A number of revisions says nothing of their size. So if the past is still larger than
//! [`MAX_PAST_BYTES`] when all rubbish of the last compaction is gone, half of its revisions go;
//! and if that is not enough, half of the rest.
//!
//! # The broom
//! What a compaction leaves is swept with the entries that follow, and in a cluster where nothing
//! happens none do. So a leader that sees rubbish, and no entry for a second, proposes one that
//! does nothing: to compact to where it was compacted already, which is refused. While the alarm is
//! on that there is no room, it does not wait so long.
//!
//! # Caveats
//! It is no part of what replicas must agree on: two leaders that keep differently compact
//! differently, and the log says what holds. A proposal may be lost with its leader; the next one
//! makes its own. A new leader by time knows only what it has noted itself since its start, so
//! after a restart of all nodes more is kept for a while.

use std::collections::VecDeque;
use std::time::Duration;

use super::Running;
use crate::consensus::Consensus;
use crate::kv::version::KEYS_HAVE_A_PAST;
use crate::kv::{AlarmKind, Machine, Operation};
use crate::retention::{MAX_PAST_BYTES, Retention};
use crate::storage::Disk;
use crate::types::{Instant, LogIndex, Revision};

/// Of a retention by time: so many notes are made within it.
const NOTES: u32 = 16;

/// For fewer revisions no compaction is proposed: each is an entry, which every replica writes.
const WORTH_IT: u64 = 64;

/// So long an entry is waited for that sweeps, before one is proposed for that alone.
const IDLE: Duration = Duration::from_secs(1);

/// The same, while there is no room for writes: they wait for just that.
const IN_NEED: Duration = Duration::from_millis(10);

/// A proposal that was not heard of for so long is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a replica knows of its past.
#[derive(Clone, Debug)]
pub struct Forgetting {
    keep: Retention,
    /// Which revision it was when, oldest first; of a retention by time.
    notes: VecDeque<(Instant, Revision)>,
    /// When to note next.
    next: Instant,
    /// What was proposed last, and when.
    proposed: Option<(Revision, Instant)>,
    /// Of a leader that sees rubbish: when to propose an entry that sweeps, if this one is still
    /// the last then.
    broom: Option<(Instant, LogIndex)>,
}

impl Forgetting {
    /// Of a replica that starts at `now`.
    pub fn starting_at(now: Instant, keep: Retention) -> Forgetting {
        Forgetting { keep, notes: VecDeque::new(), next: now, proposed: None, broom: None }
    }

    fn note(&mut self, now: Instant, time: Duration, revision: Revision) {
        if self.next > now {
            return;
        }
        self.next = now + time / NOTES;
        self.notes.push_back((now, revision));
        // The last one that is old enough says what goes.
        while self.notes.get(1).is_some_and(|(when, _)| now.since(*when) >= time) {
            self.notes.pop_front();
        }
    }

    /// Up to where the past may go.
    fn goal(&self, now: Instant, past: Past) -> Option<Revision> {
        let Past { revision, compacted, too_large } = past;
        match self.keep {
            Retention::All => None,
            Retention::Revisions(_) if too_large && revision > compacted => {
                let kept = revision.0.saturating_sub(compacted.0);
                Some(Revision(revision.0 - kept / 2))
            }
            Retention::Revisions(keep) => {
                let goal = revision.0.checked_sub(keep)?;
                let worth_it = WORTH_IT.max(keep / 8);
                (goal.checked_sub(compacted.0)? > worth_it).then_some(Revision(goal))
            }
            Retention::Time(time) => {
                let (when, goal) = self.notes.front()?;
                (now.since(*when) >= time && *goal > compacted).then_some(*goal)
            }
        }
    }
}

/// What there is of a past.
#[derive(Clone, Copy)]
struct Past {
    /// The present.
    revision: Revision,
    compacted: Revision,
    /// Although nothing of it is rubbish.
    too_large: bool,
}

impl Past {
    fn of(machine: &Machine) -> Past {
        Past {
            revision: machine.revision(),
            compacted: machine.compacted_revision(),
            too_large: machine.past_bytes() > MAX_PAST_BYTES && !machine.has_rubbish(),
        }
    }
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// When this replica wants to note which revision it is, or to sweep, if it is to.
    pub(super) fn forgetting_deadline(&self) -> Option<Instant> {
        let Forgetting { keep, next, broom, .. } = &self.forgetting;
        let note = matches!(keep, Retention::Time(_)).then_some(*next);
        [note, broom.map(|(when, _)| when)].into_iter().flatten().min()
    }

    /// Notes which revision it is; proposes a compaction, if this replica leads and it is time.
    pub(super) fn look_after_the_past(&mut self, now: Instant) {
        let past = Past::of(&self.machine);
        if let Retention::Time(time) = self.forgetting.keep {
            self.forgetting.note(now, time, past.revision);
        }
        let has_past = self.machine.version() >= KEYS_HAVE_A_PAST;
        if !has_past || self.core.leader() != Some(self.id) {
            (self.forgetting.proposed, self.forgetting.broom) = (None, None);
            return;
        }
        self.keep_sweeping(now);
        let under_way =
            |(goal, when): (Revision, Instant)| goal > past.compacted && now.since(when) < PATIENCE;
        if self.forgetting.proposed.is_some_and(under_way) {
            return;
        }
        let Some(goal) = self.forgetting.goal(now, past) else { return };
        if self.propose_of_itself(Operation::Compact { revision: goal }).is_some() {
            self.forgetting.proposed = Some((goal, now));
        }
    }

    /// Sees to it that what was compacted is swept, although nothing else happens.
    fn keep_sweeping(&mut self, now: Instant) {
        let applied = self.machine.applied_index();
        let in_need = self.machine.roster().is_raised(AlarmKind::NoSpace);
        let pause = if in_need { IN_NEED } else { IDLE };
        let mark = self.machine.last_compaction().filter(|_| self.machine.has_rubbish());
        self.forgetting.broom = match (mark, self.forgetting.broom) {
            (None, _) => None,
            (Some(_), Some((when, last))) if last == applied && when > now => Some((when, last)),
            (Some(revision), Some((_, last))) if last == applied => {
                let _ = self.propose_of_itself(Operation::Compact { revision });
                Some((now + pause, applied))
            }
            (Some(_), _) => Some((now + pause, applied)),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goal(keep: Retention, revision: u64, compacted: u64, too_large: bool) -> Option<u64> {
        let past = Past { revision: Revision(revision), compacted: Revision(compacted), too_large };
        let now = Instant(Duration::ZERO);
        Forgetting::starting_at(now, keep).goal(now, past).map(|goal| goal.0)
    }

    #[test]
    fn a_number_of_revisions_is_kept_and_an_eighth_more_may_gather() {
        let keep = Retention::Revisions;
        assert_eq!(goal(keep(8_000), 10_000, 1_000, false), None);
        assert_eq!(goal(keep(8_000), 10_001, 1_000, false), Some(2_001));
        assert_eq!(goal(keep(1), 165, 100, false), None, "for so few it is not worth an entry");
        assert_eq!(goal(keep(1), 166, 100, false), Some(165));
        assert_eq!(goal(keep(8_000), 10, 0, false), None);
        assert_eq!(goal(Retention::All, 10_000, 0, true), None);
    }

    /// Half, and half of the rest, until nothing is left but the present.
    #[test]
    fn a_past_of_too_many_bytes_goes_by_halves() {
        let (mut compacted, mut steps) = (1_000, 0);
        while let Some(goal) = goal(Retention::Revisions(10_000), 2_000, compacted, true) {
            assert!(goal > compacted && 2_000 - goal == (2_000 - compacted) / 2);
            (compacted, steps) = (goal, steps + 1);
        }
        assert_eq!((compacted, steps), (2_000, 10));
    }
}

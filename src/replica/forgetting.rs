//! Forgetting: the past that is compacted by itself.
//!
//! # The problem
//! Every change stays readable until somebody compacts it away, and mostly nobody does: the past
//! would grow until memory is full.
//!
//! # The rule
//! A leader that has more of a past than is to be [kept](Retention) proposes to compact it, like a
//! client. By number, whenever an eighth more has gathered than is kept; by time, sixteen times
//! within the time that is kept, each replica noting meanwhile which revision it was when.
//!
//! # Caveats
//! It is no part of what replicas must agree on: two leaders that keep differently compact
//! differently, and the log says what holds. A proposal may be lost with its leader; the next one
//! makes its own. A new leader by time knows only what it has noted itself since its start, so
//! after a restart of all nodes more is kept for a while.

use std::collections::VecDeque;
use std::time::Duration;

use super::Running;
use crate::consensus::{Consensus, Input, Proposal};
use crate::kv::version::KEYS_HAVE_A_PAST;
use crate::kv::{Command, Operation};
use crate::retention::Retention;
use crate::storage::Disk;
use crate::types::{Instant, Revision};

/// Of a retention by time: so many notes are made within it.
const NOTES: u32 = 16;

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
}

impl Forgetting {
    /// Of a replica that starts at `now`.
    pub fn starting_at(now: Instant, keep: Retention) -> Forgetting {
        Forgetting { keep, notes: VecDeque::new(), next: now, proposed: None }
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

    /// Up to where the past may go, with `revision` the present.
    fn goal(&self, now: Instant, revision: Revision, compacted: Revision) -> Option<Revision> {
        match self.keep {
            Retention::All => None,
            Retention::Revisions(keep) => {
                let goal = revision.0.checked_sub(keep)?;
                let worth_it = keep / 8 + 1;
                (goal >= compacted.0 + worth_it).then_some(Revision(goal))
            }
            Retention::Time(time) => {
                let (when, goal) = self.notes.front()?;
                (now.since(*when) >= time && *goal > compacted).then_some(*goal)
            }
        }
    }
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// When this replica wants to note which revision it is, if it is to.
    pub(super) fn forgetting_deadline(&self) -> Option<Instant> {
        matches!(self.forgetting.keep, Retention::Time(_)).then_some(self.forgetting.next)
    }

    /// Notes which revision it is; proposes a compaction, if this replica leads and it is time.
    pub(super) fn look_after_the_past(&mut self, now: Instant) {
        let (revision, compacted) = (self.machine.revision(), self.machine.compacted_revision());
        if let Retention::Time(time) = self.forgetting.keep {
            self.forgetting.note(now, time, revision);
        }
        let has_past = self.machine.version() >= KEYS_HAVE_A_PAST;
        if !has_past || self.core.leader() != Some(self.id) {
            self.forgetting.proposed = None;
            return;
        }
        let under_way =
            |(goal, when): (Revision, Instant)| goal > compacted && now.since(when) < PATIENCE;
        if self.forgetting.proposed.is_some_and(under_way) {
            return;
        }
        let Some(goal) = self.forgetting.goal(now, revision, compacted) else { return };
        self.forgetting.proposed = Some((goal, now));
        let operation = Operation::Compact { revision: goal };
        let command = Command { session: None, operation }.encode();
        // Nobody waits for this ticket: whether it was taken shows in the machine.
        let ticket = self.pending.draw();
        self.step(now, Input::Propose(vec![Proposal { ticket, command }]));
    }
}

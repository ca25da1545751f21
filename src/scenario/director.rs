//! Which step is due. The same for a simulated world and a living cluster: both tell it what they
//! see, and do what it says.

use std::time::Duration;

use super::moment::Condition;
use super::script::Scenario;

/// What is seen of a cluster at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    /// Since the beginning.
    pub now: Duration,
    /// Somebody leads, and every member follows closely.
    pub ready: bool,
    /// Elections won so far.
    pub elections: u64,
    /// Writes acknowledged so far.
    pub writes: u64,
    /// Faults of the scenario that are in force.
    pub faults: usize,
}

/// Where a run of a scenario stands.
#[derive(Clone, Debug, Default)]
pub struct Director {
    /// The step that comes next.
    next: usize,
    /// What was seen when the step before it began.
    before: Sight,
    /// When what it waits for came true.
    met: Option<Duration>,
    /// Why it could not begin, when it was tried last.
    refused: Option<String>,
}

impl Director {
    /// One of a run that begins at this sight.
    pub fn new(sight: &Sight) -> Director {
        Director { before: *sight, ..Director::default() }
    }

    /// The step that is to begin now.
    pub fn due(&mut self, scenario: &Scenario, sight: &Sight) -> Option<usize> {
        let moment = scenario.steps.get(self.next)?.moment;
        let since = |seen: u64, before: u64| seen.saturating_sub(before);
        let is_met = match moment.condition {
            Condition::Next => true,
            Condition::At(at) => sight.now >= at,
            Condition::Ready => sight.ready,
            Condition::LeaderChanges => since(sight.elections, self.before.elections) > 0,
            Condition::Writes(count) => since(sight.writes, self.before.writes) >= count,
            Condition::FaultsOver => sight.faults == 0,
        };
        if self.met.is_none() && is_met {
            let begins = match moment.condition {
                Condition::Next => self.before.now,
                Condition::At(at) => at,
                _ => sight.now,
            };
            self.met = Some(begins);
        }
        let is_due = self.met.is_some_and(|met| sight.now >= met + moment.wait);
        is_due.then_some(self.next)
    }

    /// The step that was due has begun.
    pub fn begun(&mut self, sight: &Sight) {
        *self = Director { next: self.next + 1, before: *sight, met: None, refused: None };
    }

    /// It could not begin yet: it is tried again.
    pub fn refused(&mut self, why: String) {
        self.refused = Some(why);
    }

    /// Why the step that comes next has not begun.
    pub fn waits_for(&self, scenario: &Scenario) -> Option<(usize, String)> {
        let step = scenario.steps.get(self.next)?;
        let why = match &self.refused {
            Some(why) => why.clone(),
            None => format!("it waits for {}", step.moment.condition),
        };
        Some((self.next, why))
    }
}

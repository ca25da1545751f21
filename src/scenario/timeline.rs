//! What was seen of a run, as far as expectations are about it. All times count from its beginning.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::expectation::Calls;
use super::script::{Of, Scenario};
use crate::types::NodeId;

/// An operation of a client that was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    pub calls: Calls,
    pub called: Duration,
    pub answered: Duration,
}

/// A run, as it was seen.
#[derive(Clone, Debug, Default)]
pub struct Timeline {
    /// How long it took.
    pub lasted: Duration,
    /// When each step began, and when its fault ended, if they did.
    pub steps: Vec<(Option<Duration>, Option<Duration>)>,
    /// The steps that are done once they have begun, though they are faults: they have no end.
    pub momentary: BTreeSet<usize>,
    pub answered: Vec<Answered>,
    /// Elections won, and by whom.
    pub elections: Vec<(Duration, NodeId)>,
    /// Who leads, if anybody: each change.
    pub leaders: Vec<(Duration, Option<NodeId>)>,
    /// Whether the cluster was ready: each change.
    pub ready: Vec<(Duration, bool)>,
    /// How many voters there were: each change.
    pub voters: Vec<(Duration, u64)>,
    /// Whether all replicas came to the same state; unknown, if nobody looked.
    pub replicas_equal: Option<bool>,
    /// Whether the history is what it must be; unknown, if that could not be decided.
    pub verdict: Option<bool>,
}

impl Timeline {
    /// One of a run that begins now.
    pub fn new(scenario: &Scenario) -> Timeline {
        let steps = scenario.steps.iter().enumerate();
        let momentary = steps.filter(|(_, step)| step.is_momentary()).map(|(place, _)| place);
        Timeline {
            steps: vec![(None, None); scenario.steps.len()],
            momentary: momentary.collect(),
            ..Timeline::default()
        }
    }

    /// A step has begun.
    pub fn begun(&mut self, step: usize, now: Duration) {
        if let Some(times) = self.steps.get_mut(step) {
            times.0 = Some(now);
        }
    }

    /// The fault of a step has ended.
    pub fn ended(&mut self, step: usize, now: Duration) {
        if let Some(times) = self.steps.get_mut(step)
            && !self.momentary.contains(&step)
        {
            times.1.get_or_insert(now);
        }
    }

    /// The cluster is ready, or is not.
    pub fn is_ready(&mut self, now: Duration, ready: bool) {
        if self.ready.last().is_none_or(|(_, last)| *last != ready) {
            self.ready.push((now, ready));
        }
    }

    /// This one leads, or nobody.
    pub fn leads(&mut self, now: Duration, leader: Option<NodeId>) {
        if self.leaders.last().is_none_or(|(_, last)| *last != leader) {
            self.leaders.push((now, leader));
        }
    }

    /// There are so many voters.
    pub fn has_voters(&mut self, now: Duration, voters: u64) {
        if self.voters.last().is_none_or(|(_, last)| *last != voters) {
            self.voters.push((now, voters));
        }
    }

    /// When the first step after `now` began; the end, if none did.
    fn next_step(&self, after: usize, now: Duration) -> Duration {
        let begins = self.steps.iter().skip(after + 1).filter_map(|(begun, _)| *begun);
        begins.filter(|begun| *begun > now).min().unwrap_or(self.lasted)
    }

    /// The span of time that is meant, if it came to that. What lies behind the end is no part of
    /// it.
    pub fn span(&self, of: Of) -> Option<Range<Duration>> {
        let (start, end) = match of {
            Of::Whole => (Duration::ZERO, self.lasted),
            Of::Step(step) => {
                let (begun, ended) = *self.steps.get(step)?;
                let begun = begun?;
                (begun, ended.unwrap_or_else(|| self.next_step(step, begun)))
            }
            Of::After(step) => {
                let ended = self.steps.get(step)?.1?;
                (ended, self.next_step(step, ended))
            }
        };
        let span = start..end.min(self.lasted);
        (!span.is_empty()).then_some(span)
    }
}

//! A scenario as a value: what the file says, read and found to make sense.

use std::ops::Range;
use std::time::Duration;

use super::deed::{Deed, Order};
use super::expectation::Expectation;
use super::line::Mentions;
use super::moment::Moment;
use crate::chaos::Flap;

/// A scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The name of the file, for messages.
    pub file: String,
    pub name: String,
    /// What it teaches.
    pub teaches: String,
    /// The cluster begins with nodes 1 to this.
    pub nodes: u64,
    /// Where that stands; nowhere, if it is the default.
    pub nodes_at: Range<usize>,
    pub seed: u64,
    /// How long it takes, from when the cluster is ready.
    pub lasts: Duration,
    /// Leaders serve reads by a lease.
    pub lease: bool,
    pub workload: Workload,
    pub steps: Vec<Step>,
    /// What is expected of the whole.
    pub expect: Vec<Expected>,
    /// The nodes that it names, and where.
    pub mentions: Mentions,
}

/// What clients do all the time.
#[derive(Clone, Debug, PartialEq)]
pub struct Workload {
    pub clients: u64,
    /// Keys that they share.
    pub keys: u64,
    /// The share of reads among their operations.
    pub reads: f64,
    /// Between the end of an operation and the next, on average.
    pub pause: Duration,
    /// How long one waits for an answer before it asks elsewhere.
    pub timeout: Duration,
}

/// One step.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Where it stands.
    pub at: Range<usize>,
    /// Its line, from 1.
    pub line: usize,
    pub moment: Moment,
    pub deed: Deed,
    /// What it does, as it is written.
    pub text: String,
    /// A fault's duration. Without one it lasts until it is healed.
    pub lasts: Option<Duration>,
    pub flap: Option<Flap>,
    /// What is expected while it lasts…
    pub expect: Vec<Expected>,
    /// …and of what comes after.
    pub then: Vec<Expected>,
}

impl Step {
    /// Whether it is done once it has begun: a fault without an end, such as a clock's jump.
    pub fn is_momentary(&self) -> bool {
        matches!(&self.deed, Deed::Fault(wish) if wish.is_momentary())
    }
}

/// Something that is expected.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub at: Range<usize>,
    /// Its line, from 1.
    pub line: usize,
    /// As it is written.
    pub text: String,
    pub what: Expectation,
}

impl Scenario {
    /// How many nodes join.
    pub fn joins(&self) -> u64 {
        let adds = |step: &&Step| matches!(step.deed, Deed::Order(Order::Add { .. }));
        self.steps.iter().filter(adds).count() as u64
    }

    /// All that is expected, with the step that it is expected of.
    pub fn expected(&self) -> impl Iterator<Item = (Of, &Expected)> {
        let steps = self.steps.iter().enumerate().flat_map(|(step, it)| {
            let during = it.expect.iter().map(move |expected| (Of::Step(step), expected));
            during.chain(it.then.iter().map(move |expected| (Of::After(step), expected)))
        });
        steps.chain(self.expect.iter().map(|expected| (Of::Whole, expected)))
    }
}

/// The span of time that something is expected of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    Whole,
    /// From when this step begins until its fault ends, or the next step begins.
    Step(usize),
    /// From when its fault ends until the next step begins.
    After(usize),
}

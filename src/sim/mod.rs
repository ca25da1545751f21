//! The simulator: whole clusters in a virtual world, from one seed.
//!
//! # The problem
//! The bugs that matter in a consensus system need three things at once that a test on a real
//! cluster meets once in a year: a crash between two writes, while a message is late, during an
//! election. And when it meets them, nobody can say what happened.
//!
//! # The rule
//! Everything that decides a life is a value: time, randomness, what the network does with a
//! message, what a disk forgets. A life is a function of its seed, runs as fast as the machine can
//! compute, and can be lived again, told as a story, and made smaller. What runs in it is the
//! *same* code as in a node: [`Replica`](crate::replica::Replica) with its core, log and state
//! machine, and the links' own policies; only the disk is
//! [one in memory](crate::storage::MemoryDisk).
//!
//! ```text
//!   seed ──► flavour ──► Schedule ──► World ──┬──► properties, after every step
//!                            ▲                ├──► story, if anybody listens
//!                          shrink             └──► Report: coverage, digest, what broke
//! ```
//!
//! Reading order: [`schedule`] (a life written down), [`flavour`] (how a seed becomes one) and
//! [`scripts`] (what chance would not find), [`world`] (what happens next), [`faults`],
//! [`clients`], [`properties`] (what must hold), [`peace`] (what must happen once the faults end),
//! [`telling`] (what a reader is told of it).
//! A [scenario](crate::scenario) that people wrote is performed on the [`stage`].
//!
//! # Caveats
//! A simulator finds what it can produce. What it cannot: two threads that race (there are none
//! below this floor), the real disk and sockets (tests of their own), and whatever no fault in
//! [`schedule::What`] stands for.

pub mod clients;
pub mod coverage;
pub mod faults;
pub mod flavour;
mod meaning;
pub mod node;
pub mod operators;
pub mod peace;
pub mod properties;
pub mod schedule;
pub mod scripts;
pub mod shrink;
pub mod stage;
pub mod steering;
pub mod story;
pub mod telling;
pub mod turns;
pub mod words;
pub mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use crate::scenario::Finding;
use crate::types::Instant;

pub use coverage::{Coverage, Seen};
pub use flavour::{Bias, Plan, schedule as draw};
pub use properties::{Broken, Rule};
pub use schedule::{Schedule, Setting};
pub use shrink::shrink;

use properties::soundness;
use stage::Stage;
use world::World;

/// What became of a life.
#[derive(Clone, Debug)]
pub struct Report {
    pub seed: u64,
    pub nodes: u64,
    /// The property that was broken, if one was, and when.
    pub broken: Option<(Broken, Instant)>,
    pub coverage: Coverage,
    /// Things that happened.
    pub steps: u64,
    /// Virtual time lived.
    pub lived: Duration,
    /// Writes acknowledged.
    pub acknowledged: u64,
    /// Histories of a key that were too hard to judge.
    pub undecided: u64,
    /// Two lives are the same if these are.
    pub digest: u64,
    /// What became of the expectations of a scenario.
    pub findings: Vec<Finding>,
    /// Lines, if they were asked for.
    pub story: Vec<String>,
}

/// Lives the life of `seed`.
pub fn run(seed: u64, plan: &Plan) -> Report {
    live(draw(seed, plan), false)
}

/// Lives the life that `schedule` tells; `told`: with its story.
pub fn live(schedule: Schedule, told: bool) -> Report {
    let (seed, nodes) = (schedule.seed, schedule.nodes);
    let mut report = Report {
        seed,
        nodes,
        broken: None,
        coverage: Coverage::default(),
        steps: 0,
        lived: Duration::ZERO,
        acknowledged: 0,
        undecided: 0,
        digest: 0,
        findings: Vec::new(),
        story: Vec::new(),
    };
    let hostile = schedule.duration;
    let mut world = match begin(schedule, told) {
        Ok(world) => world,
        Err(broken) => {
            report.broken = Some((broken, Instant::default()));
            return report;
        }
    };
    let lived = catch_unwind(AssertUnwindSafe(|| {
        match world.stage {
            Some(_) => world.perform()?,
            None => drop(world.run(Instant(hostile), |_| false)?),
        }
        world.heal()?;
        world.clients.judge()?;
        world.judge_scenario()
    }));
    let outcome = lived.unwrap_or_else(|panic| Err(panicked(&*panic)));
    world.finish();
    if let Err(broken) = &outcome {
        world.tell_logs();
        world.story.tell(world.now, || format!("✗ {}: {}", broken.rule.name, broken.how));
    }
    report.broken = outcome.err().map(|broken| (broken, world.now));
    report.coverage = world.coverage.clone();
    report.steps = world.steps;
    report.lived = world.now.0;
    report.acknowledged = world.clients.acknowledged;
    report.undecided = world.clients.undecided;
    report.digest = world.digest;
    report.findings = world.stage.take().map(Stage::into_findings).unwrap_or_default();
    report.story = world.story.into_lines();
    report
}

fn begin(schedule: Schedule, told: bool) -> Result<World, Broken> {
    catch_unwind(AssertUnwindSafe(|| World::new(schedule, told)))
        .unwrap_or_else(|panic| Err(panicked(&*panic)))
}

/// A node found itself in a state that cannot be.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Broken {
    let says = panic.downcast_ref::<String>().map(String::as_str);
    let says = says.or_else(|| panic.downcast_ref::<&str>().copied());
    let how = format!("a node stops on its own invariant: {}", says.unwrap_or("no word of why"));
    Broken { rule: &soundness::RULE, how }
}

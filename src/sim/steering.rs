//! For each exhibit of the museum: where its bug is looked for, and how long.
//!
//! # An honest bias
//! Some bugs need circumstances that chance alone produces once in a million lives: figure 8 needs
//! four elections in a row, each cut short at the right moment. A plan for such a bug says which
//! faults there are and when; everything else is still drawn from the seed. The bias is part of the
//! exhibit, and what it says is shown with it: a bug that is only found with it is a bug that tests
//! by chance alone do not find.
//!
//! The same plan without the bug must find nothing: `tests/sim.rs` and `make soak` see to that.

use std::time::Duration;

use super::flavour::{Bias, Kind, Plan};
use crate::museum::{Bug, Bugs};

/// Where a bug is looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Steering {
    pub plan: Plan,
    /// The bug must be caught within so many seeds.
    pub seeds: u64,
    /// The bias in words; empty: none.
    pub bias: &'static str,
}

/// How `bug` is hunted.
pub fn steering(bug: Bug) -> Steering {
    let by_chance =
        Plan { duration: Duration::from_secs(10), bugs: Bugs::only(bug), ..Plan::default() };
    let (seeds, bias, words) = biased(bug);
    Steering { plan: Plan { bias, ..by_chance }, seeds, bias: words }
}

fn biased(bug: Bug) -> (u64, Bias, &'static str) {
    let none = Bias::default();
    match bug {
        Bug::CommitOldTerm => (
            2_000,
            Bias {
                kinds: &[Kind::Crash, Kind::Partition],
                rate: Some(6.0),
                after_election: 0.9,
                idle: 0.2,
                slow_disks: true,
            },
            "leaders crash or are cut off within milliseconds of their election, again and again, \
             and disks are slow",
        ),
        Bug::VoteBeforeDisk | Bug::StepDownClearsVote | Bug::ForgottenTerm => (
            500,
            Bias {
                kinds: &[Kind::Crash, Kind::PowerCut, Kind::Partition],
                rate: Some(3.0),
                after_election: 0.3,
                ..none
            },
            "many elections, and crashes around them",
        ),
        Bug::AckBeforeDisk | Bug::SyncRetried => (
            300,
            Bias {
                kinds: &[Kind::Crash, Kind::PowerCut, Kind::FailedSync],
                rate: Some(2.0),
                ..none
            },
            "crashes, power cuts and failing syncs only",
        ),
        Bug::ShortAppendTruncates | Bug::CommitPastMatch => (
            500,
            Bias { kinds: &[Kind::Noise, Kind::Partition, Kind::Crash], rate: Some(2.0), ..none },
            "networks that double, delay and reorder",
        ),
        Bug::ReadBeforeNoop => (
            500,
            Bias { kinds: &[Kind::Crash, Kind::Partition, Kind::Pause], rate: Some(2.0), ..none },
            "leaders that change often",
        ),
        _ => (500, none, ""),
    }
}

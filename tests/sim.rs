//! The simulator: lives by the hundred in which nothing may break; and lives in which something was
//! broken on purpose, which must be noticed.
//!
//! `kvctl sim --seed 7 --trace` tells one of them.

use std::time::Duration;

use kvraft::museum::{Bug, Bugs};
use kvraft::sim::steering::steering;
use kvraft::sim::{self, Coverage, Plan, Report, Seen};

/// Lives that a person can wait for; `kvctl sim` and `make soak` live longer ones.
fn short() -> Plan {
    Plan { duration: Duration::from_secs(6), ..Plan::default() }
}

fn expect_whole(report: &Report) {
    if let Some((broken, at)) = &report.broken {
        let (rule, seed) = (broken.rule, report.seed);
        panic!(
            "seed {seed}, after {at}: {} ({}): {}\nreplay: kvctl sim --seed {seed} --duration 6s \
             --trace",
            rule.name, rule.section, broken.how
        );
    }
}

#[test]
fn nothing_breaks_in_hostile_lives() {
    let mut coverage = Coverage::default();
    for seed in 0..100 {
        let report = sim::run(seed, &short());
        expect_whole(&report);
        coverage += &report.coverage;
    }
    // Lives this short seldom tear a write just so, or fill a disk long enough: `make soak` counts
    // those.
    let seldom = |seen: &Seen| matches!(seen, Seen::TornTail | Seen::NoSpace);
    let never: Vec<_> =
        coverage.iter().filter(|(seen, count)| *count == 0 && !seldom(seen)).collect();
    assert!(never.is_empty(), "a quiet world proves nothing: {never:?} never happened");
}

/// Lives that once went wrong, and why. A change elsewhere may lead a seed to another life: then it
/// is one more hostile life, and the chapter that was mended says what its rule is.
#[test]
fn lives_that_once_went_wrong_go_right() {
    let once = [
        // The founding configuration rotted, its term too: of whom a majority is to supply it, was
        // asked of the members before it, and there are none.
        10_941,
    ];
    for seed in once {
        expect_whole(&sim::run(seed, &Plan { nodes: (3, 7), ..Plan::default() }));
    }
}

#[test]
fn a_seed_is_a_life() {
    for seed in [3, 4, 5] {
        let (one, other) = (sim::run(seed, &short()), sim::run(seed, &short()));
        assert_eq!((one.digest, one.steps), (other.digest, other.steps), "seed {seed}");
    }
    let digests: Vec<_> = (0..5).map(|seed| sim::run(seed, &short()).digest).collect();
    assert!(digests.windows(2).all(|pair| pair[0] != pair[1]), "and another seed, another");
}

#[test]
fn disks_that_lie_are_noticed() {
    let plan = Plan { lying_disks: true, ..short() };
    let caught = (0..30).find(|seed| sim::run(*seed, &plan).broken.is_some());
    assert!(caught.is_some(), "thirty lives without a single sync, and nothing was missed");
}

/// A sampling of the museum: each of these bugs is caught, within the number of seeds that its
/// exhibit states. `make soak` hunts all of them.
#[test]
fn bugs_of_the_museum_are_caught() {
    for bug in [
        Bug::ReadBeforeNoop,
        Bug::CommitPastMatch,
        Bug::VoteBeforeDisk,
        Bug::ForgottenTerm,
        Bug::AckBeforeDisk,
        Bug::NoSessions,
        Bug::DivergentApply,
    ] {
        let steering = steering(bug);
        let caught = (0..steering.seeds).find_map(|seed| sim::run(seed, &steering.plan).broken);
        assert!(caught.is_some(), "{bug}: {} seeds, and nobody noticed", steering.seeds);
        // The bias alone breaks nothing.
        let honest = Plan { bugs: Bugs::none(), ..steering.plan };
        (0..2).for_each(|seed| expect_whole(&sim::run(seed, &honest)));
    }
}

/// A failure is made small, and what is left of it fails in the same way.
#[test]
fn a_failure_is_made_small() {
    let plan = steering(Bug::ReadBeforeNoop).plan;
    let seed = (0..500).find(|seed| sim::run(*seed, &plan).broken.is_some());
    let schedule = sim::draw(seed.expect("a stale read"), &plan);
    let rule = |report: &Report| report.broken.as_ref().map(|(broken, _)| broken.rule.name);
    let first = rule(&sim::live(schedule.clone(), false));
    let (small, report) = sim::shrink(schedule.clone(), &mut |_| {}).expect("it fails again");
    assert_eq!(rule(&report), first, "another failure would be another story");
    assert!(small.faults.len() < schedule.faults.len(), "{} faults", small.faults.len());
    assert!(report.story.last().is_some_and(|line| line.contains('✗')), "the story ends there");
}

//! The scenarios that are shipped, in the simulator: the same files as on a living cluster.
//!
//! `make soak` performs each of them with many more seeds.

use std::path::Path;
use std::sync::Arc;

use kvraft::scenario::{Scenario, Source, read};
use kvraft::sim::{self, Plan, Report};

/// Enough to see that a scenario still says what it should.
const SEEDS: u64 = 1;

fn parse(name: &str, text: &str) -> Scenario {
    let source = Source { name, text };
    read(source).unwrap_or_else(|mistakes| panic!("{}", source.show(&mistakes[0])))
}

fn live(scenario: &Arc<Scenario>, seed: u64) -> Report {
    let plan = Plan { scenario: Some(Arc::clone(scenario)), ..Plan::default() };
    sim::run(seed, &plan)
}

fn perform(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/scenarios").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    holds(parse(&format!("ops/scenarios/{name}"), &text), SEEDS);
}

fn holds(scenario: Scenario, seeds: u64) {
    let scenario = Arc::new(scenario);
    for seed in 0..seeds {
        let report = live(&scenario, seed);
        if let Some((broken, at)) = &report.broken {
            let (file, rule) = (&scenario.file, broken.rule.name);
            panic!(
                "{rule}, after {at}: {}\nreplay: kvctl sim --scenario {file} --seed {seed} --trace",
                broken.how
            );
        }
        let name = &scenario.name;
        assert!(!report.findings.is_empty() && report.acknowledged > 20, "{name}: {report:?}");
    }
}

/// A scenario of three nodes and eight seconds.
fn small(name: &str, steps: &str) -> Scenario {
    let head =
        "teaches = \"Something.\"\nnodes = 3\nlasts = \"8s\"\nexpect = \"the verdict holds\"";
    parse(name, &format!("name = \"{name}\"\n{head}\n{steps}"))
}

/// As on a living cluster: what a person does to a node ends the faults that hinder it.
#[test]
fn whoever_is_started_or_killed_by_hand_is_not_hindered_any_more() {
    for (name, fault, order) in [
        ("started", "kill 2", "node start 2"),
        ("killed", "pause 2", "node kill 2"),
        ("restarted", "pause 2", "node restart 2"),
    ] {
        let steps = format!(
            "[[step]]\ndo = \"{fault}\"\nfor = \"7s\"\n\
             [[step]]\nwait = \"1s\"\ndo = \"{order}\"\nexpect = \"ready within 4s\"\n"
        );
        holds(small(name, &steps), 5);
    }
}

#[test]
fn who_has_just_joined_is_promoted_and_a_learner_is_removed() {
    let steps = "[[step]]\ndo = \"member add --learner\"\n\
                 [[step]]\ndo = \"member promote 4\"\nexpect = \"4 voters\"\n";
    holds(small("promoted", steps), 5);
    let steps = "[[step]]\ndo = \"member add --learner\"\n\
                 [[step]]\nwhen = \"ready\"\nwait = \"1s\"\ndo = \"member remove 4\"\n\
                 [[step]]\nwhen = \"ready\"\nwait = \"1s\"\ndo = \"member add\"\n\
                 expect = \"4 voters\"\n";
    holds(small("removed", steps), 5);
}

/// Who was ready when everybody was killed is not ready for that.
#[test]
fn ready_is_who_is_ready_again() {
    let steps = "[[step]]\nwhen = \"ready\"\nwait = \"1s\"\ndo = \"node kill all\"\n\
                 expect = \"ready within 1ms\"\n";
    let report = live(&Arc::new(small("at-once", steps)), 0);
    let (broken, _) = report.broken.expect("nobody is ready within a millisecond");
    assert!(broken.how.contains("everybody followed closely after"), "{}", broken.how);
}

/// A test for each, so that they run side by side.
macro_rules! performed {
    ($($test:ident $file:literal,)*) => {
        $(#[test] fn $test() { perform($file) })*

        #[test]
        fn none_is_forgotten() {
            let here = [$($file,)*];
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/ops/scenarios");
            for entry in std::fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let is_listed = here.contains(&name.as_str());
                assert!(!name.ends_with(".toml") || is_listed, "{name} has no test");
            }
        }
    };
}

performed! {
    all_killed "all-killed.toml",
    bridge "bridge.toml",
    clock_jumps "clock-jumps.toml",
    corrupted_follower "corrupted-follower.toml",
    crash_loop "crash-loop.toml",
    deaf_leader "deaf-leader.toml",
    disk_full_leader "disk-full-leader.toml",
    everyone_alone "everyone-alone.toml",
    flapping_link "flapping-link.toml",
    fsync_failure "fsync-failure.toml",
    half_dead_leader "half-dead-leader.toml",
    join_under_partition "join-under-partition.toml",
    leader_removed "leader-removed.toml",
    lease_and_drift "lease-and-drift.toml",
    lossy_wan "lossy-wan.toml",
    minority_rejoins "minority-rejoins.toml",
    mute_leader "mute-leader.toml",
    no_majority "no-majority.toml",
    paused_leader "paused-leader.toml",
    power_cut "power-cut.toml",
    rings "rings.toml",
    rolling_restart "rolling-restart.toml",
    slow_disk "slow-disk.toml",
    slow_follower "slow-follower.toml",
    starved_leader "starved-leader.toml",
    transfer_under_load "transfer-under-load.toml",
    twice_and_late "twice-and-late.toml",
    voters_lose_power "voters-lose-power.toml",
}

/// A test that can fail: what is expected here cannot be.
#[test]
fn a_wrong_expectation_is_broken_and_says_so() {
    let text = r#"
name = "too-much"
teaches = "That a scenario can fail."
nodes = 3
lasts = "4s"

[[step]]
wait = "1s"
do = "isolate all"
for = "2s"
expect = "writes resume within 100ms"
"#;
    let scenario = Arc::new(parse("too-much.toml", text));
    let report = live(&scenario, 1);
    let (broken, _) = report.broken.as_ref().expect("nobody can write");
    assert_eq!(broken.rule.name, "expectation");
    assert!(
        broken.how.starts_with("too-much.toml:11: `writes resume within 100ms`: "),
        "{broken:?}"
    );
    let again = live(&scenario, 1);
    assert_eq!((again.digest, again.steps), (report.digest, report.steps), "a seed is a life");
}

/// A step whose moment never comes is no success either.
#[test]
fn a_step_that_never_begins_is_told() {
    let text = r#"
name = "waits"
teaches = "That waiting is not doing."
nodes = 3
lasts = "3s"

[[step]]
when = "1,000,000 writes"
do = "isolate leader"
for = "1s"
"#;
    let report = live(&Arc::new(parse("waits.toml", text)), 1);
    let how = report.broken.map(|(broken, _)| broken.how).unwrap_or_default();
    let says = "waits.toml:7: this step never began: it waits for 1000000 more writes";
    assert!(how.starts_with(says), "{how}");
}

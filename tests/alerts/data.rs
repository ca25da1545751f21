//! Data that is not as it was written.

use crate::watched::Watched;

#[test]
fn a_log_that_rots() {
    let it = Watched::of(3);
    it.ok("bench --clients 4 --duration 1s --warm-up 0s");
    let victim = it.follower();
    // Nobody can help it before the second fault ends.
    it.ok(&format!("chaos isolate {victim}"));
    it.ok(&format!("chaos corrupt {victim}"));
    it.ok("chaos heal 2");
    it.fire(&["Corruption", "RepairStuck"]);
    it.ok("chaos heal");
    it.ok("cluster wait");
    // What was found stays on show until somebody has looked.
    it.ok(&format!("node restart {victim}"));
    it.clear();
}

#[test]
fn a_trial_that_finds_a_violation() {
    let it = Watched::of(3);
    let tried = (1..=5).any(|seed| {
        let seed = seed.to_string();
        let line = ["verify", "--reads", "stale", "--workloads", "register", "--faults"];
        let rest = ["partition,pause", "--duration", "4s", "--seed", &seed];
        it.home.run(&[&line[..], &rest[..]].concat()).code == 4
    });
    assert!(tried, "stale reads were linearizable five times");
    it.fire(&["TrialViolation"]);
    it.clear();
}

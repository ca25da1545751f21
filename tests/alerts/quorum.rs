//! Leaders and majorities.

use crate::kvctl_home::wait_until;
use crate::watched::Watched;

#[test]
fn one_member_after_the_other() {
    let it = Watched::of(3);
    let first = it.follower();
    it.ok(&format!("chaos kill {first}"));
    it.fire(&["MemberDown", "QuorumAtRisk"]);
    let second = (1..=3).find(|id| *id != first && *id != it.leader()).unwrap();
    let _load = it.load(4);
    it.ok(&format!("chaos kill {second} --yes"));
    it.fire(&["QuorumLost", "NoLeader", "RequestErrors"]);
    it.ok("chaos heal");
    it.clear();
}

#[test]
fn elections_without_end() {
    let it = Watched::of(3);
    // Whoever leads stands still until somebody else does, again and again.
    for _ in 0..8 {
        let leader = it.leader();
        it.ok(&format!("chaos pause {leader}"));
        wait_until("nobody else leads", || {
            let status = it.home.json(&["cluster", "status"]);
            status["leader"].as_u64().is_some_and(|id| id != leader)
        });
        it.ok("chaos heal");
    }
    it.fire(&["TooManyElections"]);
    it.clear();
}

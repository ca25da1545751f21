//! What consensus excludes, where disks break what it demands of them: to keep what was synced.
//!
//! 1. S1 leads term T with the votes of S2 and S3, and has a write committed by them.
//! 2. The disks of S2 and S3 are put back to a copy of before T, as whoever restores machines from
//!    snapshots does. They have forgotten their votes, and the write.
//! 3. S1 is cut off, and believes for a while longer that it leads. S2 stands for election: in T.
//!
//! Two leaders of one term; and the same index of the same term holds another write on each side,
//! which the log matching property (paper §5.3) excludes, so that nobody notices when they meet.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::kvctl_home::{Home, wait_until};
use crate::watched::Watched;

/// Who is to lead first believes in it for long, and of the others one always stands first.
const TIMEOUTS: &str = "
[node.1]
election_timeout_min_millis = 15000
election_timeout_max_millis = 16000
[node.3]
election_timeout_min_millis = 1500
election_timeout_max_millis = 3000
";

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{}", from.display());
}

#[test]
fn disks_that_are_put_back_make_two_leaders_and_replicas_that_differ() {
    let home = Home::new();
    home.ok(&["cluster", "up", "-n", "3"]);
    home.ok(&["cluster", "down"]);
    let file = home.path().join("default/cluster.toml");
    fs::write(&file, fs::read_to_string(&file).unwrap() + TIMEOUTS).unwrap();
    home.ok(&["cluster", "up"]);
    let it = Watched::cluster(home, 3);
    it.ok("put a before");
    let log = |node: u64| it.home.path().join(format!("default/nodes/{node}/log"));
    let kept = |node: u64| it.home.path().join(format!("log-{node}"));
    for node in [2, 3] {
        copy(&log(node), &kept(node));
    }
    it.ok("leader transfer 1");
    it.ok("put a lost");
    it.ok("chaos cut 1-2,1-3");
    it.ok("node stop 2 3 --yes");
    for node in [2, 3] {
        fs::remove_dir_all(log(node)).unwrap();
        fs::rename(kept(node), log(node)).unwrap();
    }
    it.ok("node start 2 3");
    it.fire(&["TwoLeaders"]);
    let told = |kind: &str| {
        let events = it.home.json(&["cluster", "events", "-n", "1000"]);
        let mut events = events["events"].as_array().unwrap().iter();
        let about = |event: &serde_json::Value| {
            event["detail"].as_str().is_some_and(|detail| detail.starts_with("KvraftTwoLeaders"))
        };
        events.any(|event| event["kind"] == kind && about(event))
    };
    wait_until("the history does not tell of the alert", || told("alert-fires"));

    let status = it.home.json(&["cluster", "status"]);
    let other = status["nodes"][1]["client"].as_str().unwrap();
    it.ok(&format!("put a kept --timeout 20s --endpoints {other}"));
    it.ok("chaos heal");
    let roles = || {
        let status = it.home.json(&["cluster", "status"]);
        let role = |node: usize| status["nodes"][node]["report"]["role"].clone();
        [role(0), role(1)]
    };
    wait_until("the first does not give up", || roles() == ["follower", "leader"]);
    it.clear();
    wait_until("the history does not tell that the alert is over", || told("alert-over"));

    // Of three, a majority would be right, and the third would end. Of two, nobody knows.
    it.ok("member remove 3");
    let load = it.load(8);
    it.fire(&["ReplicaDisagreement"]);
    drop(load);
    // Somebody decides who is right.
    it.ok("cluster down");
    it.ok("cluster recover --from 2 --yes");
    it.ok("cluster up");
    wait_until("Prometheus does not come back", || {
        it.home.json(&["ops", "status"])["side_cars"][0]["state"] == "running"
    });
    it.clear();
    assert_eq!(it.ok("get a"), "kept\n");
}

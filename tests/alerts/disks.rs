//! Disks that are slow or full, and what is stored.

use crate::kvctl_home::Home;
use crate::watched::Watched;

#[test]
fn disks_that_are_slow() {
    let it = Watched::of(3);
    let _load = it.load(4);
    it.ok("chaos disk slow all 400ms");
    it.fire(&["SlowFsync", "SlowCommit"]);
    it.ok("chaos heal");
    it.clear();
}

#[test]
fn a_disk_that_is_full() {
    let it = Watched::of(3);
    let victim = it.follower();
    let _load = it.load(4);
    it.ok(&format!("chaos disk full {victim}"));
    for _ in 0..4 {
        // It fails on the node whose disk is full, and that is wanted.
        it.home.run(&["snapshot", "now"]);
    }
    it.fire(&["DiskFull", "SnapshotFailing"]);
    it.ok("chaos heal");
    it.clear();
}

#[test]
fn a_quota_that_is_nearly_used() {
    let home = Home::new();
    home.up_with(1, &["quota = \"1MiB\""]);
    let it = Watched::cluster(home, 1);
    let put = it.home.run_with(&["put", "large", "-"], &vec![b'x'; 900 << 10]);
    assert_eq!(put.code, 0, "{}", put.err);
    it.fire(&["QuotaNearlyUsed"]);
    it.ok("del large");
    let revision = it.home.json(&["put", "small", "v"])["revision"].to_string();
    it.home.ok(&["compact", &revision]);
    it.clear();
}

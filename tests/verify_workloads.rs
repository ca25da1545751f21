//! Transactions, leases, locks and watches under faults, by etcd's API, on a living cluster.

mod kvctl_home;

use std::process::{Command, Stdio};

use kvctl_home::{Home, ended, wait_until};
use serde_json::Value;

/// With nodes that keep no more of their logs than they must: whoever misses a few seconds is sent
/// a snapshot.
fn forgetful() -> Home {
    let home = Home::new();
    home.up_with(3, &["snapshot_log_bytes = 65536", "keep_entries = 10"]);
    home
}

fn of<'j>(json: &'j Value, list: &str, name: &str, is: &str) -> &'j Value {
    let found = json[list].as_array().unwrap().iter().find(|it| it[name] == is);
    found.unwrap_or_else(|| panic!("no {is} in {list}: {json:#}"))
}

fn state(status: &Value, node: u64) -> &Value {
    status["nodes"].as_array().unwrap().iter().find(|it| it["node"] == node).unwrap()
}

#[test]
fn transactions_leases_locks_and_watches_hold_under_faults() {
    let home = forgetful();
    let json = home.json(&[
        "verify",
        "--duration",
        "12s",
        "--seed",
        "5",
        "--workloads",
        "register,txn,lease,lock,lock-service,watch",
        "--faults",
        "partition,isolate,kill,pause,delay",
    ]);
    assert_eq!(json["verdict"], "valid", "{json:#}");
    for f in ["write", "txn", "lease", "lock", "watch"] {
        let done = of(&json, "operations", "f", f)["ok"].as_u64().unwrap();
        assert!(done > 0, "{f}");
    }
    for name in ["leases", "watches", "recovery", "final reads"] {
        assert_eq!(of(&json, "expectations", "name", name)["held"], "yes", "{json:#}");
    }
    let number = |name: &str| json["watches"][name].as_u64().unwrap();
    assert!(number("watches") >= 6 && number("events") > 1_000, "{json:#}");
    assert!(json["casualties"]["node_starts"].as_u64().unwrap() > 0, "{json:#}");
    // Locks of the service were got, with tokens.
    let history = std::fs::read_to_string(json["history"]["path"].as_str().unwrap()).unwrap();
    let lines = history.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let got = lines.filter(|line| {
        let is_service = line["key"].as_str().is_some_and(|key| key.starts_with("lock-service/"));
        is_service && line["f"] == "lock" && line["type"] == "ok" && line["rev"].is_u64()
    });
    assert!(got.count() > 0, "{json:#}");
    // The same is in the file, and can be judged by itself.
    let again = home.json(&["check", json["history"]["path"].as_str().unwrap()]);
    assert_eq!(again["verdict"], "valid");
    assert_eq!(again["operations"], json["operations"]);
}

#[test]
fn a_follower_installs_a_snapshot_while_watches_go_on() {
    let home = forgetful();
    let status = || home.json(&["cluster", "status"]);
    let leader = status()["leader"].as_u64().unwrap();
    let behind = if leader == 1 { 2 } else { 1 };
    let index =
        |node: u64, name: &str| state(&status(), node)["report"][name].as_u64().unwrap_or_default();
    let mut verify = home.command(&[
        "verify",
        "--duration",
        "5m",
        "--faults",
        "none",
        "--workloads",
        "register,lock-service,watch",
        "-o",
        "json",
    ]);
    let verify = verify.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let began = index(leader, "revision");
    wait_until("clients are at work", || index(leader, "revision") > began + 10);
    let (large, node) = ("x".repeat(20 << 10), behind.to_string());
    let mut tries = 0;
    while index(behind, "snapshots_installed") == 0 {
        assert!(tries < 20, "it is never sent a snapshot");
        tries += 1;
        home.ok(&["chaos", "pause", &node, "--for", "60s"]);
        // What lies in its sockets by then may be all that it needs: then it is done once more.
        let last = index(leader, "last_index");
        wait_until("the log is compacted past it, or is kept for a snapshot under way", || {
            home.ok(&["put", "large", &large]);
            let status = status();
            let peers = state(&status, leader)["report"]["peers"].as_array().unwrap();
            let is_sent = |peer: &Value| peer["node"] == behind && peer["state"] == "snapshot";
            let is_past = |node| index(node, "first_index") > last;
            peers.iter().any(is_sent) || (1..=3).all(|node| node == behind || is_past(node))
        });
        let last = index(leader, "last_index");
        home.ok(&["chaos", "heal"]);
        wait_until("it has caught up", || index(behind, "applied_index") >= last);
    }
    let interrupted = Command::new("kill").args(["-INT", &verify.id().to_string()]).status();
    assert!(interrupted.unwrap().success());
    let ended = ended(verify.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    let number = |name: &str| json["casualties"][name].as_u64().unwrap();
    assert!(number("snapshots_installed") > 0, "{json:#}");
    assert_eq!(of(&json, "expectations", "name", "watches")["held"], "yes", "{json:#}");
}

#[test]
fn watches_alone_are_refused_for_there_is_nothing_to_watch() {
    let home = Home::with(1);
    let said = home.fails(2, &["verify", "--workloads", "watch"]);
    assert!(said.contains("name another kind beside them"), "{said}");
}

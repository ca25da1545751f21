//! `kvctl verify` from end to end, on living clusters: what it says, what it leaves, how it ends.

mod kvctl_home;

use std::process::{Child, Stdio};

use kvctl_home::{Home, ended, wait_until};
use kvraft::config::ClusterDirectory;
use kvraft::supervisor::receipt;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

fn path(home: &Home, name: &str) -> String {
    home.path().join(name).to_str().unwrap().to_owned()
}

fn in_force(home: &Home) -> usize {
    home.json(&["chaos", "status"])["faults"].as_array().unwrap().len()
}

/// A long run with faults of which one is in force now.
fn under_way(home: &Home, arguments: &[&str]) -> Child {
    let mut command = home.command(&[&["verify", "--duration", "5m"], arguments].concat());
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    wait_until("a fault is in force", || in_force(home) > 0);
    child
}

#[test]
fn a_run_is_valid_is_told_on_every_channel_and_leaves_no_fault() {
    let home = Home::with(5);
    let [history, report, xml] =
        ["history.jsonl", "report.html", "junit.xml"].map(|name| path(&home, name));
    let json = home.json(&[
        "verify",
        "--duration",
        "5s",
        "--seed",
        "1",
        "--history",
        &history,
        "--report",
        &report,
        "--junit",
        &xml,
    ]);
    assert_eq!((&json["verdict"], &json["seed"]), (&"valid".into(), &1.into()), "{json:#}");
    assert_eq!(json["interrupted"], false);
    let expectations = json["expectations"].as_array().unwrap();
    assert_eq!(expectations.len(), 7);
    assert!(expectations.iter().all(|it| it["held"] == "yes"), "{expectations:?}");
    let injected = |it: &Value| it["injected"].as_u64().unwrap();
    let faults: u64 = json["faults"].as_array().unwrap().iter().map(injected).sum();
    assert!(faults > 0, "{json:#}");
    assert!(json["final_reads"].as_u64().unwrap() >= 5, "{json:#}");
    assert_eq!(in_force(&home), 0);

    let lines = std::fs::read(&history).unwrap();
    assert_eq!(json["history"]["xxh3"], format!("{:016x}", xxh3_64(&lines)));
    let again = home.json(&["check", &history]);
    assert_eq!(again["verdict"], "valid");
    assert_eq!(again["operations"], json["operations"]);

    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.contains("\"verdict\":\"valid\"") && page.contains(&history), "{}", page.len());
    for elsewhere in ["http:", "https:", "<link", " src=", "@import", "url("] {
        assert!(!page.contains(elsewhere), "the page needs nothing else: {elsewhere}");
    }
    let xml = std::fs::read_to_string(&xml).unwrap();
    assert!(xml.contains("<testsuites name=\"kvctl verify\""), "{xml}");
    assert!(xml.contains("failures=\"0\"") && xml.contains("name=\"recovery\""), "{xml}");
}

#[test]
fn whoever_interrupts_it_gets_a_verdict_and_whoever_kills_it_leaves_nothing() {
    let home = Home::with(3);
    let child = under_way(&home, &["--faults", "partition,pause", "-o", "json"]);
    end(child.id(), Signal::SIGINT);
    let interrupted = ended(child.wait_with_output().unwrap());
    assert_eq!(interrupted.code, 0, "{}{}", interrupted.out, interrupted.err);
    let json: Value = serde_json::from_str(&interrupted.out).unwrap();
    assert_eq!((&json["interrupted"], &json["verdict"]), (&true.into(), &"valid".into()));
    assert_eq!(in_force(&home), 0);
    // Nobody asked for a history, and it is there all the same.
    let history = json["history"]["path"].as_str().unwrap();
    assert!(history.starts_with(home.path().join("default/verify").to_str().unwrap()));
    home.ok(&["check", history]);

    let mut child = under_way(&home, &["--faults", "partition,pause,delay"]);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("faults end by themselves", || in_force(&home) == 0);
    home.ok(&["cluster", "wait", "--ready"]);
    home.ok(&["put", "a", "b"]);
}

/// The supervisor's process, looked for without kvctl, which would start another.
fn supervisor(home: &Home) -> Option<u32> {
    let directory = ClusterDirectory::at(home.path().join("default")).unwrap();
    receipt::supervisor_of(&directory).unwrap().map(|process| process.pid)
}

fn end(pid: u32, signal: Signal) {
    kill(Pid::from_raw(pid as i32), signal).unwrap();
}

#[test]
fn a_supervisor_that_is_killed_meanwhile_costs_no_verdict() {
    let home = Home::with(3);
    let faults = ["--faults", "partition,pause,kill,delay", "-o", "json"];
    let child = under_way(&home, &faults);
    let another = |before: Option<u32>| {
        wait_until("there is another", || supervisor(&home).is_some_and(|pid| Some(pid) != before));
    };
    let before = supervisor(&home);
    end(before.unwrap(), Signal::SIGKILL);
    another(before);
    // With every node beside it: a fault may just have killed them all.
    let status = home.json(&["cluster", "status"]);
    let before = supervisor(&home);
    end(before.unwrap(), Signal::SIGKILL);
    for node in status["nodes"].as_array().unwrap() {
        let pid = node["pid"].as_u64().map(|pid| Pid::from_raw(pid as i32));
        // One that a fault has killed is not there.
        let _ = pid.map(|pid| kill(pid, Signal::SIGKILL));
    }
    another(before);
    wait_until("another fault is in force", || in_force(&home) > 0);
    end(child.id(), Signal::SIGINT);
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(json["verdict"], "valid", "{json:#}");
    assert_eq!(in_force(&home), 0);
    home.ok(&["cluster", "wait", "--ready"]);
}

#[test]
fn a_cluster_that_is_taken_down_is_not_called_wrong_and_comes_back_without_faults() {
    let home = Home::with(3);
    let child = under_way(&home, &["--faults", "partition,delay,disk", "-o", "json"]);
    home.ok(&["cluster", "down"]);
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 5, "{}{}", ended.out, ended.err);
    assert!(ended.err.contains("the cluster was taken down"), "{}", ended.err);
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(json["verdict"], "unknown", "{json:#}");
    assert!(home.fails(1, &["chaos", "status"]).contains("kvctl cluster up"));
    home.ok(&["cluster", "up"]);
    wait_until("what was in force ends in its time", || in_force(&home) == 0);
    home.ok(&["cluster", "wait", "--ready"]);
    home.ok(&["put", "a", "b"]);
    // What was acknowledged before is there: the history goes on, and is not contradicted.
    home.ok(&["check", json["history"]["path"].as_str().unwrap()]);
}

#[test]
fn a_violation_is_told_and_can_be_checked_again() {
    let home = Home::with(3);
    let [history, report, xml] =
        ["history.jsonl", "report.html", "junit.xml"].map(|name| path(&home, name));
    // Reads of a replica that hears nothing are old, which is no fault of the store: we ask for it.
    let found = home.run(&[
        "verify",
        "--duration",
        "6s",
        "--reads",
        "stale",
        "--faults",
        "isolate",
        "--seed",
        "3",
        "--workloads",
        "register",
        "--history",
        &history,
        "--report",
        &report,
        "--junit",
        &xml,
    ]);
    assert_eq!(found.code, 4, "{}{}", found.out, found.err);
    assert!(found.out.contains("is violated:\n  1. process "), "{}", found.out);
    assert!(found.out.contains("\nviolation: "), "{}", found.out);
    assert!(found.out.contains(&format!("kvctl check {history}")), "{}", found.out);
    let page = std::fs::read_to_string(&report).unwrap();
    assert!(page.contains("\"verdict\":\"violation\"") && page.contains("\"story\":[\"1. process"));
    assert!(std::fs::read_to_string(&xml).unwrap().contains("<failure"));
    assert_eq!(home.run(&["check", &history]).code, 4);
}

#[test]
fn whoever_writes_meanwhile_breaks_no_promise() {
    let home = Home::with(3);
    let mut bench = home.command(&["bench", "--duration", "30s", "--clients", "2"]);
    let mut bench = bench.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let ended = home.run(&["verify", "--duration", "1s", "--faults", "none", "-o", "json"]);
    bench.kill().unwrap();
    bench.wait().unwrap();
    let json: Value = serde_json::from_str(&ended.out).unwrap();
    let is_equal = |it: &&Value| it["name"] == "equal replicas";
    let equal = json["expectations"].as_array().unwrap().iter().find(is_equal).unwrap();
    assert!(["yes", "unknown"].contains(&equal["held"].as_str().unwrap()), "{equal}");
    assert_ne!(json["verdict"], "violation", "{json:#}");
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_begins() {
    let home = Home::new();
    let said = home.fails(2, &["verify", "--faults", "earthquake"]);
    assert!(said.contains("`earthquake` is no kind of fault: there are partition"), "{said}");
    assert_eq!(home.run(&["verify", "--workloads", "queue"]).code, 2);
    assert!(home.fails(1, &["verify"]).contains("there is no cluster"));
}

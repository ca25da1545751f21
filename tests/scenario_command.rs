//! Scenarios on living clusters: `kvctl chaos run` and `kvctl chaos lint` as people type them.

mod kvctl_home;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use kvctl_home::{Home, ended, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn shipped(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ops/scenarios").join(name)
}

/// Runs kvctl, with no cluster but what it starts itself: exit code, standard output and error.
fn kvctl(arguments: &[&str]) -> (i32, String, String) {
    let ended = Home::new().run(arguments);
    (ended.code, ended.out, ended.err)
}

/// A scenario that takes four seconds.
fn short(expectation: &str, more: &str) -> String {
    format!(
        "name = \"short\"\nteaches = \"Something.\"\nnodes = 3\nlasts = \"4s\"\n\
         expect = [\"the verdict holds\", \"all replicas are equal\"]\n\n[[step]]\n\
         when = \"20 writes\"\ndo = \"isolate leader\"\nfor = \"1500ms\"\n\
         expect = \"{expectation}\"\n{more}"
    )
}

fn write(text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("short.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.display().to_string();
    (directory, path)
}

#[test]
fn what_is_expected_is_seen_and_told() {
    let (_directory, path) = write(&short("a new leader within 30s", ""));
    // Longer than it lasts: refused, by line.
    let (code, out, _) = kvctl(&["chaos", "lint", &path]);
    assert!(code == 2 && out.contains("short.toml:11:10: 30s is longer than"), "{out}");
    let (_directory, path) = write(&short("at least 1 election", "then = \"ready within 3s\"\n"));
    let (code, out, err) = kvctl(&["chaos", "run", &path, "--up", "-o", "json"]);
    assert!(code == 0 || code == 5, "{code}: {out} {err}");
    let told: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(told["scenario"], "short");
    assert_eq!(told["expectations"][0]["text"], "at least 1 election");
    assert_eq!(told["expectations"][0]["held"], "yes", "{out}");
    assert!(told["steps"][0]["began_seconds"].is_number(), "{out}");
    assert_eq!(told["expectations"][2]["held"], "yes", "the verdict: {out}");
}

#[test]
fn a_wrong_expectation_ends_with_4() {
    let (_directory, path) = write(&short("no election", ""));
    let (code, out, err) = kvctl(&["chaos", "run", &path, "--up"]);
    assert_eq!(code, 4, "{out} {err}");
    let line = out.lines().find(|line| line.contains("no election")).unwrap_or_default();
    assert!(line.contains("NO") && line.contains("1 election"), "{out}");
    assert!(out.contains(" s  isolate leader"), "steps are told as they happen: {out}");
}

#[test]
fn a_scenario_for_other_clusters_is_refused_by_line() {
    let home = Home::with(3);
    let five = shipped("paused-leader.toml").display().to_string();
    let said = home.fails(2, &["chaos", "run", &five]);
    assert!(said.contains("the scenario is for 5 nodes, and the cluster has 3"), "{said}");
    assert!(said.contains("paused-leader.toml:7:9"), "{said}");
    assert!(said.contains("--up"), "{said}");
    let (code, _, err) = kvctl(&["chaos", "run", &five]);
    assert!(code == 1 && err.contains("cluster up") && err.contains("--up"), "{err}");
    let (_directory, path) = write(&short("no election", "\n[[step]]\ndo = \"isolate 7\"\n"));
    let said = home.fails(2, &["chaos", "run", &path]);
    assert!(said.contains("there is no node 7") && said.contains("no end"), "{said}");
}

/// On a cluster that is there: nothing of it is left in force.
#[test]
fn half_dead_leader() {
    let home = Home::with(3);
    let path = shipped("half-dead-leader.toml").display().to_string();
    let out = home.ok(&["chaos", "run", &path]);
    assert!(out.contains("node 1 leads") && out.contains("valid: "), "{out}");
    assert_eq!(home.ok(&["chaos", "status"]), "no fault is in force\n");
}

#[test]
fn all_killed() {
    let path = shipped("all-killed.toml").display().to_string();
    let (code, out, err) = kvctl(&["chaos", "run", &path, "--up"]);
    assert_eq!(code, 0, "{out} {err}");
}

/// Leaders serve reads by a lease, and the leader's clock runs at this rate while it is cut off.
fn lease(rate: &str) -> String {
    format!(
        "name = \"short\"\nteaches = \"Something.\"\nnodes = 3\nlasts = \"6s\"\nlease = true\n\
         expect = \"the verdict holds\"\n\n\
         [workload]\nclients = 12\nkeys = 2\nreads = \"70%\"\npause = \"5ms\"\n\n\
         [[step]]\ndo = \"leader transfer 1\"\n\n\
         [[step]]\nwhen = \"ready\"\ndo = \"clock drift 1 {rate}\"\nfor = \"4s\"\n\n\
         [[step]]\nwait = \"500ms\"\ndo = \"isolate 1\"\nfor = \"2500ms\"\n"
    )
}

#[test]
fn a_clock_beyond_the_bound_that_a_lease_allows_for_is_caught() {
    let (directory, path) = write(&lease("0.1"));
    let history = directory.path().join("history.jsonl").display().to_string();
    let (code, out, err) = kvctl(&["chaos", "run", &path, "--up", "--history", &history]);
    assert_eq!(code, 4, "{out} {err}");
    assert!(out.contains("linearizability of `scenario/"), "{out}");
    let read = out.lines().find(|line| line.contains("(at node 1) read")).unwrap_or_default();
    assert!(read.contains("and was told"), "the old leader's read is what is stale: {out}");
    // The cluster is gone, and the evidence is not.
    let (code, out, _) = kvctl(&["check", &history]);
    assert_eq!(code, 4, "{out}");
}

#[test]
fn a_clock_within_that_bound_does_no_harm() {
    let (_directory, path) = write(&lease("0.98"));
    let home = Home::new();
    let told = home.json(&["chaos", "run", &path, "--up"]);
    assert_eq!(told["verdict"], "valid", "{told:#}");
    let history = told["history"]["path"].as_str().unwrap();
    assert!(history.starts_with(home.path().join(".verify").to_str().unwrap()), "{history}");
    home.ok(&["check", history]);
}

/// A run of this scenario, of which a fault is in force now.
fn under_way(home: &Home, scenario: &str) -> std::process::Child {
    let mut command = home.command(&["chaos", "run", scenario]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let in_force = || !home.json(&["chaos", "status"])["faults"].as_array().unwrap().is_empty();
    wait_until("a fault is in force", in_force);
    child
}

#[test]
fn a_supervisor_that_is_killed_meanwhile_costs_no_verdict() {
    let home = Home::with(3);
    let path = shipped("half-dead-leader.toml").display().to_string();
    let child = under_way(&home, &path);
    let pid = home.json(&["cluster", "status"])["supervisor_pid"].as_i64().unwrap() as i32;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    assert!(ended.err.contains("a new one looks after the nodes"), "{}", ended.err);
    assert_eq!(home.ok(&["chaos", "status"]), "no fault is in force\n");
}

#[test]
fn whoever_kills_it_leaves_no_fault() {
    let home = Home::with(3);
    let (_directory, path) = write(&short("at least 1 election", ""));
    let mut child = under_way(&home, &path);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("it ends in its time", || home.ok(&["chaos", "status"]) == "no fault is in force\n");
    home.ok(&["cluster", "wait", "--ready"]);
    home.ok(&["put", "a", "b"]);
}

#[test]
fn who_was_stopped_before_takes_no_part() {
    let home = Home::with(3);
    home.ok(&["node", "stop", "3"]);
    let text = "name = \"short\"\nteaches = \"Something.\"\nnodes = 3\nlasts = \"2s\"\n\
                expect = [\"the verdict holds\", \"at least 5 writes\"]\n\n\
                [[step]]\nwait = \"1s\"\nexpect = \"no election\"\n";
    let (_directory, path) = write(text);
    let told = home.json(&["chaos", "run", &path]);
    assert_eq!(told["verdict"], "valid", "{told:#}");
}

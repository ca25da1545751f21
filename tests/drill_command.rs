//! `kvctl chaos drill` from end to end: what is hidden, what is counted, what is left.

mod kvctl_home;

use std::process::{Child, Stdio};

use kvctl_home::{Home, ended, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A drill of which something has gone wrong.
fn under_way(home: &Home, exercise: &str, patience: &str) -> Child {
    let arguments = ["chaos", "drill", "--within", "200ms", "-o", "json", "--exercise", exercise];
    let mut command = home.command(&[&arguments[..], &["--patience", patience]].concat());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // Told only after it is on disk: who kills the supervisor now does not kill the fault.
    let begun = || home.ok(&["cluster", "events"]).matches("fault-began").count();
    let before = begun();
    let child = command.spawn().unwrap();
    wait_until("something has gone wrong", || begun() > before);
    child
}

fn score(child: Child, code: i32) -> Value {
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!(ended.code, code, "{}{}", ended.out, ended.err);
    serde_json::from_str(&ended.out).unwrap()
}

/// The nodes that are in this state.
fn nodes(home: &Home, state: &str) -> Vec<String> {
    let status = home.json(&["cluster", "status"]);
    let nodes = status["nodes"].as_array().unwrap().iter();
    nodes.filter(|node| node["state"] == state).map(|node| node["node"].to_string()).collect()
}

#[test]
fn whoever_mends_it_is_told_what_it_was_and_what_was_needless() {
    let home = Home::with(5);
    let drill = under_way(&home, "dead-leader", "5m");
    // Neither the list nor the history says what it is.
    let faults = home.json(&["chaos", "status"]);
    assert_eq!(faults["faults"][0]["wish"], serde_json::json!({ "kind": "hidden" }));
    assert_eq!(faults["faults"][0].get("nodes"), None);
    let told = home.ok(&["cluster", "events"]);
    let began = told.lines().find(|line| line.contains("fault-began")).unwrap();
    assert!(began.contains("something") && !began.contains("leader"), "{began}");

    wait_until("it is seen who is dead", || nodes(&home, "stopped").len() == 1);
    let dead = nodes(&home, "stopped").remove(0);
    let healthy = nodes(&home, "running").remove(0);
    home.ok(&["node", "restart", &healthy]);
    home.ok(&["node", "start", &dead]);
    let score = score(drill, 0);
    assert_eq!((&score["exercise"], &score["needless"]), (&"dead-leader".into(), &1.into()));
    let deeds = score["deeds"].as_array().unwrap();
    let helped: Vec<_> = deeds.iter().map(|deed| deed["helped"].as_bool().unwrap()).collect();
    assert_eq!(helped, [false, true], "{score:#}");
    let seconds = |name: &str| score[name].as_f64().unwrap();
    assert!(seconds("noticed_seconds") <= seconds("mended_seconds"), "{score:#}");
    assert_eq!((&score["verdict"], &score["violated_keys"]), (&"valid".into(), &0.into()));
    assert!(score["acknowledged_writes"].as_u64().unwrap() > 0, "{score:#}");
    assert_eq!(home.ok(&["chaos", "status"]), "no fault is in force\n");

    let drill = under_way(&home, "cut-off-leader", "5m");
    home.ok(&["chaos", "heal"]);
    let score = self::score(drill, 0);
    assert_eq!((&score["needless"], &score["verdict"]), (&0.into(), &"valid".into()), "{score:#}");
}

#[test]
fn what_nobody_mends_is_healed_in_the_end() {
    let home = Home::with(3);
    let drill = under_way(&home, "frozen-leader", "1s");
    assert!(home.fails(1, &["chaos", "drill"]).contains("faults in force already"));
    let score = score(drill, 4);
    assert_eq!((&score["mended_seconds"], &score["noticed_seconds"]), (&Value::Null, &Value::Null));
    assert_eq!(home.ok(&["chaos", "status"]), "no fault is in force\n");
    home.ok(&["cluster", "wait", "--ready"]);
    assert_eq!(nodes(&home, "running").len(), 3);
}

#[test]
fn a_drill_outlives_its_supervisor_and_leaves_evidence() {
    let home = Home::with(3);
    let drill = under_way(&home, "cut-off-leader", "5m");
    let pid = home.json(&["cluster", "status"])["supervisor_pid"].as_i64().unwrap() as i32;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    // The first command after that starts another; it, too, knows what is hidden.
    wait_until("it is still there", || home.ok(&["chaos", "status"]).contains("something"));
    home.ok(&["chaos", "heal"]);
    let score = score(drill, 0);
    assert_eq!(score["verdict"], "valid", "{score:#}");
    home.ok(&["check", score["history"].as_str().unwrap()]);
    let page = std::fs::read_to_string(score["report"].as_str().unwrap()).unwrap();
    assert!(page.contains("cut-off-leader"));
}

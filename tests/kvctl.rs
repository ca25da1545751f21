//! kvctl as its users meet it: real processes, exit codes, what stands on which stream.

mod kvctl_home;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use kvctl_home::{Home, ended, wait_until};
use serde_json::Value;
use tempfile::TempDir;

#[test]
fn without_a_cluster_every_command_says_so_and_what_to_do() {
    let home = Home::new();
    for arguments in [
        &["get", "k"][..],
        &["put", "k", "v"],
        &["cluster", "status"],
        &["cluster", "down"],
        &["cluster", "logs"],
        &["cluster", "wait"],
        &["node", "kill", "leader"],
        &["export"],
    ] {
        let err = home.fails(1, arguments);
        assert!(err.contains("there is no cluster `default`"), "{err}");
        assert!(err.contains("next: start one: kvctl cluster up"), "{err}");
    }
    assert_eq!(home.json(&["cluster", "list"])["clusters"], Value::Array(vec![]));
    home.ok(&["doctor"]);
}

#[test]
fn the_daily_commands() {
    let home = Home::with(3);
    assert!(home.ok(&["put", "greeting", "hello"]).contains("created at revision 2"));
    assert!(home.ok(&["put", "greeting", "hello!"]).contains("replaced at revision 3"));
    assert_eq!(home.ok(&["get", "greeting"]), "hello!\n");
    assert_eq!(home.ok(&["get", "greeting", "--raw"]), "hello!");
    let got = home.json(&["get", "greeting"]);
    assert_eq!((&got["value"], &got["mod_revision"]), (&"hello!".into(), &3.into()));
    let err = home.fails(1, &["get", "absent"]);
    assert!(err.contains("there is no key `absent`"), "{err}");

    let err = home.fails(4, &["cas", "greeting", "x", "--expect", "y"]);
    assert!(err.contains("found `hello!`"), "{err}");
    let err = home.fails(4, &["cas", "absent", "x", "--expect-revision", "9"]);
    assert!(err.contains("it does not exist"), "{err}");
    home.ok(&["cas", "greeting", "x", "--expect-revision", "3"]);
    home.ok(&["cas", "new", "x", "--expect-absent"]);

    home.ok(&["put", "--hex", "00ff", "bytes"]);
    let put = home.run_with(&["put", "raw", "-"], b"\xff\x00");
    assert_eq!(put.code, 0, "{}", put.err);
    assert_eq!(home.ok(&["scan"]), "\\x00\\xff\tbytes\ngreeting\tx\nnew\tx\nraw\t\\xff\\x00\n");
    assert_eq!(home.ok(&["scan", "gr", "-o", "name"]), "greeting\n");
    assert_eq!(home.ok(&["scan", "--start", "greeting", "--end", "raw", "--keys-only"]).len(), 13);
    assert_eq!(home.ok(&["scan", "--count-only"]), "4\n");
    let scanned = home.json(&["scan", "--limit", "1"]);
    assert_eq!((&scanned["items"][0]["key_b64"], &scanned["more"]), (&"AP8=".into(), &true.into()));

    assert!(home.ok(&["del", "new"]).starts_with("deleted new at revision"));
    home.fails(1, &["del", "new"]);
    assert_eq!(home.json(&["del", "new", "raw"])["deleted"], 1);

    for wrong in [&["put", "", "v"][..], &["get", "--hex", "xyz"], &["get", "k", "--node", "9"]] {
        home.fails(2, wrong);
    }
    let big = home.run_with(&["put", "big", "-"], &vec![b'x'; 1600 << 10]);
    assert_eq!(big.code, 2, "{}", big.err);
    assert!(big.err.contains("too large"), "{}", big.err);
}

#[test]
fn a_cluster_goes_up_once_and_down_without_a_trace() {
    let home = Home::with(3);
    let again = home.run(&["cluster", "up"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.err.contains("runs already; nothing was changed"), "{}", again.err);
    let err = home.fails(2, &["cluster", "up", "-n", "5"]);
    assert!(err.contains("exists with -n 3"), "{err}");
    let status = home.json(&["cluster", "status"]);
    assert_eq!((&status["ready"], &status["nodes"][2]["node"]), (&true.into(), &3.into()));
    let other = home.run(&["--name", "other", "cluster", "up", "-n", "2", "--transport", "tcp"]);
    assert_eq!(other.code, 0, "{}", other.err);
    assert!(other.err.contains("2 nodes tolerate the loss of 0"), "{}", other.err);
    home.ok(&["--name", "other", "put", "k", "other's"]);
    assert_eq!(home.ok(&["cluster", "list", "-o", "name"]), "default\nother\n");

    home.ok(&["put", "k", "v"]);
    let receipt = home.json(&["cluster", "down"]);
    for what in ["processes", "sockets", "ports", "locks"] {
        assert_eq!(receipt[what], Value::Array(vec![]), "{receipt}");
    }
    let err = home.fails(1, &["get", "k"]);
    assert!(err.contains("is not running") && err.contains("kvctl cluster up"), "{err}");
    home.ok(&["cluster", "up"]);
    assert_eq!(home.ok(&["get", "k"]), "v\n");
    home.ok(&["cluster", "down", "--purge"]);
    assert!(!home.path().join("default").exists());
    assert_eq!(home.ok(&["--name", "other", "get", "k"]), "other's\n");
}

#[test]
fn a_lost_quorum_is_told_with_who_is_missing_and_healed_as_it_says() {
    let home = Home::with(3);
    home.ok(&["put", "k", "v"]);
    home.ok(&["node", "pause", "leader"]);
    home.ok(&["cluster", "wait", "--leader"]);
    home.ok(&["put", "k", "still", "--timeout", "20s"]);
    let status = home.json(&["cluster", "status"]);
    let nodes = status["nodes"].as_array().unwrap();
    let node = |state: &str| {
        nodes.iter().find(|n| n["state"] == state).map(|n| n["node"].to_string()).unwrap()
    };
    let (paused, running) = (node("paused"), node("running"));
    home.ok(&["node", "stop", &running]);
    let began = Instant::now();
    let err = home.fails(3, &["put", "k", "w", "--timeout", "1s"]);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(err.contains("outcome unknown") || err.contains("never proposed"), "{err}");
    assert!(err.contains(&format!("node {paused} is paused")), "{err}");
    assert!(err.contains(&format!("next: kvctl node start {running}")), "{err}");
    let last = (1..=3).map(|n| n.to_string()).find(|n| *n != paused && *n != running).unwrap();
    let stale = home.run(&["get", "k", "--stale", "--node", &last]);
    // A follower may not have heard yet that the last write is committed.
    assert!(stale.code == 0 && ["v\n", "still\n"].contains(&&stale.out[..]), "{}", stale.err);
    assert!(stale.err.contains(&format!(" by node {last}")), "{}", stale.err);
    home.fails(3, &["cluster", "wait", "--ready", "--timeout", "200ms"]);
    home.ok(&["node", "start", &running]);
    home.ok(&["node", "resume", &paused]);
    home.ok(&["cluster", "wait"]);
    home.ok(&["put", "k", "again"]);
    home.fails(2, &["node", "kill", "7"]);
}

#[test]
fn an_import_survives_its_leaders_and_every_node_exports_the_same() {
    let home = Home::with(3);
    let records = 3_000;
    let mut text = String::new();
    for i in 0..records {
        text.push_str(&format!("{{\"key\":\"k{i:05}\",\"value\":\"v{i}\"}}\n"));
    }
    let file = home.path().join("records.jsonl");
    std::fs::write(&file, &text).unwrap();
    let import = home
        .command(&["import", file.to_str().unwrap(), "--rate", "1000", "-o", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    for loaded in [500, 1_500] {
        wait_until("the import goes on", || {
            home.run(&["scan", "--count-only"]).out.trim().parse().unwrap_or(0) > loaded
        });
        home.ok(&["node", "kill", "leader"]);
    }
    let import = ended(import.wait_with_output().unwrap());
    assert_eq!(import.code, 0, "{}{}", import.out, import.err);
    let done: Value = serde_json::from_str(&import.out).unwrap();
    assert_eq!((&done["loaded"], &done["complete"]), (&records.into(), &true.into()));
    home.ok(&["cluster", "wait"]);
    let scanned = home.json(&["scan", "--limit", "1"]);
    assert_eq!(scanned["count"], records);
    // Doubled writes would have consumed more revisions.
    assert_eq!(scanned["revision"], 1 + records);
    for node in ["1", "2", "3"] {
        let export = || home.run(&["export", "--node", node, "--stale"]).out;
        wait_until("each node has it all", || export() == text);
    }
}

#[test]
fn a_bad_line_stops_an_import_or_is_skipped_as_asked() {
    let home = Home::with(1);
    let lines =
        b"{\"key\":\"a\",\"value\":\"1\"}\n\n{\"key\":\"b\"}\n{\"key\":\"c\",\"value\":\"3\"}\n";
    let stopped = home.run_with(&["import", "-"], lines);
    assert_eq!(stopped.code, 1, "{}", stopped.err);
    assert!(
        stopped.err.contains("line 3 of standard input: there is no `value`"),
        "{}",
        stopped.err
    );
    assert!(stopped.err.contains("loaded so far: 1 records"), "{}", stopped.err);
    assert_eq!(home.ok(&["scan", "-o", "name"]), "a\n");
    let skipped = home.run_with(&["import", "-", "--on-error", "skip", "--prefix", "p/"], lines);
    assert_eq!(skipped.code, 0, "{}", skipped.err);
    assert!(skipped.err.contains("line 3") && skipped.out.contains("1 bad line skipped"));
    assert_eq!(home.ok(&["scan", "-o", "name"]), "a\np/a\np/c\n");
    home.fails(2, &["import", "/nonexistent"]);
    let twice = b"{\"key\":\"t\",\"value\":\"1\"}\n{\"key\":\"t\",\"value\":\"2\"}\n";
    assert_eq!(home.run_with(&["import", "-"], twice).code, 0);
    assert_eq!(home.ok(&["get", "t"]), "2\n", "the later line wins");
}

#[test]
fn a_closed_pipe_ends_a_command_quietly() {
    let home = Home::with(1);
    let value = "x".repeat(100_000);
    for key in 0..20 {
        home.ok(&["put", &format!("k{key}"), &value]);
    }
    let mut child =
        home.command(&["scan"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!((ended.code, &ended.err[..]), (0, ""));
}

#[test]
fn a_throw_away_cluster_returns_the_commands_code_and_leaves_nothing() {
    let home = Home::new();
    let temporary = TempDir::new().unwrap();
    let kvctl = env!("CARGO_BIN_EXE_kvctl");
    let script =
        format!("{kvctl} put a 1 >&2 && {kvctl} get a && echo $KVRAFT_ENDPOINTS && exit 7");
    let run = |script: &str| {
        let mut command = home.command(&["cluster", "run", "-n", "1", "--", "sh", "-c", script]);
        command.env("TMPDIR", temporary.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };
    let ran = ended(run(&script).output().unwrap());
    assert_eq!(ran.code, 7, "{}", ran.err);
    assert!(ran.out.starts_with("1\nunix:"), "{}", ran.out);
    let left = || std::fs::read_dir(temporary.path()).unwrap().map(|e| e.unwrap().path());
    assert_eq!(left().collect::<Vec<PathBuf>>(), Vec::<PathBuf>::new());

    // Killed, it cannot clean up: the supervisor does.
    let mut child = run("echo up; cat").stdin(Stdio::piped()).spawn().unwrap();
    wait_until("it is up", || {
        left().next().is_some_and(|home| home.join("default/nodes").exists())
    });
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("it is gone", || left().next().is_none());
    assert_eq!(home.run(&["cluster", "run", "--", "/nonexistent"]).code, 2);
}

#[test]
fn a_new_supervisor_takes_over_and_events_tell_the_story() {
    let home = Home::with(3);
    let before = home.json(&["cluster", "status"]);
    let pid = before["supervisor_pid"].as_i64().unwrap() as i32;
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    let after = home.json(&["cluster", "status"]);
    assert_ne!(after["supervisor_pid"], before["supervisor_pid"]);
    for node in 0..3 {
        assert_eq!(after["nodes"][node]["pid"], before["nodes"][node]["pid"]);
    }
    let leader = home.json(&["node", "kill", "leader"])["nodes"][0].clone();
    home.ok(&["cluster", "wait"]);
    let events = home.json(&["cluster", "events"]);
    let events = events["events"].as_array().unwrap();
    let killed = |e: &&Value| e["kind"] == "node-killed" && e["node"] == leader;
    assert!(events.iter().any(|e| killed(&e)), "{events:?}");
    assert!(home.ok(&["cluster", "logs", "--node", "1", "-n", "3"]).starts_with("1 │ "));
    assert_eq!(home.json(&["cluster", "restart"])["restarted"].as_array().unwrap().len(), 3);
}

#[test]
fn a_bench_measures_and_names_what_it_measured() {
    let home = Home::with(1);
    let arguments =
        ["bench", "--op", "mixed", "--clients", "4", "--duration", "300ms", "--warm-up", "50ms"];
    let report = home.json(&[&arguments[..], &["--keys", "10"]].concat());
    assert!(report["operations"].as_u64().unwrap() > 0, "{report}");
    assert_eq!((&report["errors"], &report["cluster"]["nodes"]), (&0.into(), &1.into()));
    assert_eq!(report["cluster"]["durability"], "fsync");
    assert!(report["latency_seconds"]["p99"].as_f64().unwrap() > 0.0);
}

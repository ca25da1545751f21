//! `kvctl log` on a directory: what it finds, how it ends, and that it changes nothing.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;
use std::time::Duration;

use bytes::Bytes;
use kvraft::config::Durability;
use kvraft::consensus::raft::HardState;
use kvraft::consensus::{Configuration, Entry, Payload, Persist};
use kvraft::storage::{FileDisk, Identity, LogEvent, LogOptions, SegmentLog};
use kvraft::types::{ClusterId, Instant, LogIndex, NodeId, Seq, Term};
use serde_json::Value;

/// A log of entries 1–41 of node 3, still open.
fn written(directory: &Path) -> SegmentLog<FileDisk> {
    let (sender, wakes) = channel();
    let waker = Box::new(move || {
        // A test that has ended need not be woken.
        let _ = sender.send(());
    });
    let mut disk = FileDisk::open(directory, Durability::Fsync, waker).unwrap();
    let identity = Identity { cluster: ClusterId(0xc1), node: NodeId(3) };
    let members =
        Configuration { voters: (1..=3).map(NodeId).collect(), ..Configuration::default() };
    SegmentLog::create(&mut disk, identity, &members).unwrap();
    let options = LogOptions { segment_bytes: 4096, ..LogOptions::default() };
    let (mut log, _) = SegmentLog::open(disk, identity, options).unwrap();
    for seq in 1..=40 {
        let payload = Payload::Command(Bytes::from(vec![seq as u8; 200]));
        let entry = Entry { term: Term(1), index: LogIndex(seq + 1), payload };
        log.append(&Persist::<HardState> {
            seq: Seq(seq),
            snapshot: None,
            discard_log: false,
            hard_state: None,
            truncate_from: None,
            entries: vec![entry],
        });
        log.flush();
        let mut durable = false;
        while !durable {
            wakes.recv_timeout(Duration::from_secs(20)).expect("the disk answers");
            let events = log.poll(Instant::from_millis(1)).unwrap();
            durable = events.contains(&LogEvent::Durable(Seq(seq)));
        }
    }
    log
}

fn kvctl(arguments: &[&str]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_kvctl")).args(arguments).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code().unwrap_or(-1), text)
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn a_log_is_shown_whole_and_damaged_and_never_touched() {
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("log");
    let log = written(&directory);
    let node = home.path().to_str().unwrap();
    // Its owner is alive and holds the lock.
    let before = files(&directory);
    let (code, out) = kvctl(&["log", "verify", node]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("the log of node 3 of cluster 193 is whole"), "{out}");
    assert!(out.contains("entries 1 to 41"), "{out}");
    drop(log);

    let select = ["log", "inspect", node, "-o", "json", "--records", "--from", "7", "--to", "8"];
    let (code, out) = kvctl(&select);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["schema_version"], &json["last_index"]), (0, &1.into(), &41.into()));
    let records = json["records"].as_array().unwrap();
    assert!(records.iter().any(|r| r["index"] == 7 && r["kind"] == "command"), "{out}");
    assert!(json["segments"].as_array().unwrap().len() > 2, "{out}");

    // The payload of entry 6 is 200 fives.
    let (name, bytes) = before.iter().next().unwrap();
    let at = bytes.windows(100).position(|window| window == [5; 100]).unwrap();
    let mut damaged = bytes.clone();
    damaged[at] ^= 1;
    std::fs::write(directory.join(name), &damaged).unwrap();
    let now = files(&directory);
    let (code, out) = kvctl(&["log", "verify", directory.to_str().unwrap()]);
    assert_eq!(code, 4, "{out}");
    assert!(out.contains("1 entries cannot be read"), "{out}");
    let (code, out) = kvctl(&["log", "inspect", node, "-o", "json"]);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &json["damage"][0]["index"]), (4, &6.into()), "{out}");
    assert_eq!(json["damage"][0]["term"], 1);
    assert_eq!(json["damage"][0]["file"], name.as_str());
    assert_eq!(kvctl(&["log", "inspect", node]).0, 4);
    assert_eq!(files(&directory), now, "nothing was changed");
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let home = tempfile::tempdir().unwrap();
    let code = |what: &str| kvctl(&["log", "inspect", what]).0;
    assert_eq!(code(home.path().to_str().unwrap()), 1);
    assert_eq!(code(home.path().join("nowhere").to_str().unwrap()), 2);
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

//! A living cluster's cores, recorded through what happens to a cluster, and lived again.

mod kvctl_home;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use kvraft::chaos::{Who, Wish};
use kvraft::consensus::raft::{Message, Raft};
use kvraft::consensus::{Input, Payload};
use kvraft::node::recorder::ring;
use kvraft::record::{
    Divergence, Ending, Header, Reader, Record, Replayed, begin_file, block, replay, write_record,
};
use kvraft::testing::Cluster;
use kvraft::types::NodeId;
use serde_json::Value;

use kvctl_home::Home;

fn record(cluster: &Cluster, node: NodeId) -> PathBuf {
    cluster.directory().node(node).record_directory()
}

/// The newest file that a node writes, replayed; what it was told, by kind.
fn replayed(path: &Path) -> (Header, Replayed, BTreeMap<&'static str, usize>) {
    let file = std::fs::read(path).unwrap();
    let (header, reader) = Reader::<Raft>::open(&file).unwrap();
    let mut told = BTreeMap::new();
    let replayed = replay(reader, &mut |seen| {
        let kind = match seen.input {
            Input::Receive { message: Message::InstallSnapshot { .. }, .. } => "a snapshot's part",
            Input::Receive { .. } => "a message",
            Input::Propose(_) => "proposals",
            Input::ChangeMembership { .. } => "a change of members",
            Input::SnapshotSaved { .. } => "a snapshot saved",
            Input::SnapshotReceived { .. } => "a snapshot received",
            _ => "something else",
        };
        *told.entry(kind).or_default() += 1;
    });
    (header, replayed, told)
}

fn files(cluster: &Cluster, node: NodeId) -> Vec<PathBuf> {
    ring::files(&record(cluster, node))
        .unwrap_or_default()
        .into_iter()
        .map(|(_, path)| path)
        .collect()
}

#[test]
fn what_happens_to_a_cluster_can_be_lived_again_on_every_node() {
    let cluster = Cluster::builder(3)
        .configure(|config| {
            config.record = true;
            config.storage.snapshot_log_bytes = 64 << 10;
            config.storage.keep_entries = 1;
        })
        .start()
        .unwrap();
    cluster.put("a", "1").unwrap();
    // What was not written yet is lost with it.
    let leader = cluster.leader().unwrap();
    let written = |path: &PathBuf| replayed(path).1.steps > 5;
    cluster
        .wait_until("its record has begun", |_| files(&cluster, leader).iter().any(written))
        .unwrap();
    cluster.kill(leader).unwrap();
    let killed = leader;
    cluster.put("b", "2").unwrap();
    cluster.wait_ready().unwrap();
    // The others go on, and forget what the isolated one lacks.
    let isolated = killed;
    let fault = cluster.inject(Wish::Isolate { nodes: vec![Who::Node(isolated)] }).unwrap();
    let others: Vec<_> = cluster.nodes().into_iter().filter(|node| *node != isolated).collect();
    for _ in 0..10 {
        cluster.put("large", vec![b'x'; 16 << 10]).unwrap();
    }
    cluster
        .wait_until("a leader among the others", |status| status.leader != Some(isolated))
        .unwrap();
    for node in &others {
        cluster.take_snapshot(Some(*node)).unwrap();
    }
    cluster.heal(&[fault.fault.id]).unwrap();
    cluster.wait_ready().unwrap();
    let joined = cluster.add_voter().unwrap();
    cluster.put("c", "3").unwrap();
    cluster.transfer(None).unwrap();
    cluster.put("d", "4").unwrap();
    // Down in good order: each record has its end.
    let mut nodes = cluster.nodes();
    nodes.push(joined);
    for node in &nodes {
        cluster.stop(*node).unwrap();
    }
    let mut all = BTreeMap::new();
    for node in nodes {
        let files = files(&cluster, node);
        let lives = if node == killed { 2 } else { 1 };
        assert_eq!(files.len(), lives, "node {node}");
        for (at, path) in files.iter().enumerate() {
            let (header, replayed, told) = replayed(path);
            assert_eq!((header.node, header.first_step), (node, 0));
            let killed_here = node == killed && at == 0;
            let ends_well = match &replayed.ending {
                Ending::Whole => !killed_here,
                Ending::Open | Ending::Damaged(_) => killed_here,
                Ending::Died { .. } | Ending::Diverged(_) => false,
            };
            assert!(ends_well, "node {node}, file {at}: {replayed:?}");
            // A state is noted now and then, and at the end: there was none to who was killed.
            let stated = killed_here || replayed.states > 0;
            assert!(replayed.steps > 5 && stated, "node {node}: {replayed:?}");
            told.into_iter().for_each(|(kind, count)| *all.entry(kind).or_default() += count);
        }
    }
    // What was meant to happen has happened.
    for kind in [
        "a message",
        "proposals",
        "a change of members",
        "a snapshot saved",
        "a snapshot's part",
        "a snapshot received",
    ] {
        assert!(all.get(kind).is_some_and(|count: &usize| *count > 0), "{kind}: {all:?}");
    }
    cluster.down().unwrap();
}

/// Changes the first value that the record's node was told, and makes all checksums fit.
fn falsify(path: &Path, told: &[u8]) {
    let file = std::fs::read(path).unwrap();
    let (header, reader) = Reader::<Raft>::open(&file).unwrap();
    let mut forged = begin_file(&header);
    let mut found = 0;
    for record in reader {
        let mut record = record.unwrap();
        let entries = match &mut record {
            Record::Step {
                input: Input::Receive { message: Message::AppendEntries { entries, .. }, .. },
                ..
            } => &mut entries[..],
            _ => &mut [],
        };
        for entry in entries {
            let Payload::Command(command) = &mut entry.payload else { continue };
            let Some(at) = command.windows(told.len()).position(|part| part == told) else {
                continue;
            };
            let mut bytes = command.to_vec();
            bytes[at] ^= 1;
            *command = bytes.into();
            found += 1;
        }
        let mut bytes = Vec::new();
        write_record(&record, &mut bytes);
        forged.extend_from_slice(&block(&bytes));
        forged.extend_from_slice(&bytes);
    }
    assert_eq!(found, 1, "the value was not told");
    std::fs::write(path, forged).unwrap();
}

#[test]
fn the_command_tells_and_judges_a_record_and_finds_the_one_that_lies() {
    let home = Home::new();
    home.ok(&["cluster", "up", "-n", "3", "--record"]);
    home.ok(&["put", "greeting", "hello"]);
    // While it runs.
    for node in ["1", "2", "3"] {
        let ended = home.run(&["replay", node]);
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
        assert!(ended.out.contains("every effect the same"), "{}", ended.out);
    }
    let leader = home.json(&["cluster", "status"])["leader"].as_u64().unwrap();
    home.ok(&["cluster", "down"]);
    let follower = if leader == 1 { "2" } else { "1" };
    let told = home.ok(&["replay", &leader.to_string(), "--at", "-30s", "--around", "30s"]);
    for words in ["leads term", "greeting := hello", "commits up to", "every effect the same"] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let json = home.json(&["replay", follower, "--trace"]);
    assert_eq!((&json["open"], &json["divergence"]), (&Value::Bool(false), &Value::Null));
    let told = json["story"].as_array().unwrap().iter();
    assert!(told.clone().any(|line| line["says"].as_str().unwrap().contains("hello")), "{json}");

    let directory = home.path().join("default/nodes").join(follower).join("record");
    let (_, path) = ring::files(&directory).unwrap().pop().unwrap();
    falsify(&path, b"hello");
    let ended = home.run(&["replay", follower]);
    assert_eq!(ended.code, 4, "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("differs: its effects"), "{}", ended.out);
    let (_, replayed, _) = replayed(&path);
    let differs = matches!(replayed.ending, Ending::Diverged(Divergence::Effects { .. }));
    assert!(differs, "{replayed:?}");
    home.ok(&["cluster", "down", "--purge"]);
    assert!(!directory.exists());
}

#[test]
fn what_cannot_be_replayed_is_said() {
    let home = Home::new();
    home.ok(&["cluster", "up", "-n", "1"]);
    home.ok(&["cluster", "down"]);
    let said = home.fails(1, &["replay", "1"]);
    assert!(said.contains("keeps no record") && said.contains("--record"), "{said}");
    let said = home.fails(2, &["replay", "9"]);
    assert!(said.contains("there is no node 9"), "{said}");
    // An existing cluster is as it is.
    let said = home.fails(2, &["cluster", "up", "--record"]);
    assert!(said.contains("`record = true`"), "{said}");
    let directory = home.path().join("of-another");
    std::fs::create_dir(&directory).unwrap();
    std::fs::write(directory.join("00000000000000000001.rec"), b"kvrafrec\x09\0\0\0").unwrap();
    let said = home.fails(1, &["replay", directory.to_str().unwrap()]);
    assert!(said.contains("format is version 9"), "{said}");
}

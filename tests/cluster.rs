//! A whole cluster of real nodes: what happens to it, and that nothing of it is left.

use std::time::Duration;

use kvraft::config::Transport;
use kvraft::control::State;
use kvraft::supervisor::{process, receipt};
use kvraft::testing::Cluster;
use kvraft::types::NodeId;

#[test]
fn a_value_survives_the_leader_and_nothing_survives_the_cluster() {
    let cluster = Cluster::start(3).unwrap();
    cluster.put("greeting", "hello").unwrap();
    let before = cluster.status().unwrap();
    let first = cluster.kill_leader().unwrap();
    assert_eq!(cluster.get("greeting").unwrap().unwrap(), "hello");
    let status = cluster.wait_ready().unwrap();
    // It may have been elected again, but in a term of its own.
    assert!(status.term > before.term, "{} {}", status.term, before.term);
    let killed = status.node(first).unwrap();
    assert_eq!((killed.restarts, killed.state), (0, State::Running));
    let directory = cluster.directory().clone();
    let receipt = cluster.down().unwrap();
    assert_eq!(receipt.stopped.len(), 3);
    assert!(receipt.stopped.iter().all(|node| node.how == "stopped"), "{receipt:?}");
    assert!(!directory.path().exists());
}

#[test]
fn a_new_supervisor_finds_the_nodes_uninterrupted() {
    let cluster = Cluster::builder(3).transport(Transport::Tcp).start().unwrap();
    let before = cluster.status().unwrap();
    cluster.kill_supervisor().unwrap();
    cluster.put("while", "nobody watches").unwrap();
    let after = cluster.wait_ready().unwrap();
    assert_ne!(after.supervisor_pid, before.supervisor_pid);
    assert_eq!((after.leader, after.term), (before.leader, before.term));
    for (before, after) in before.nodes.iter().zip(&after.nodes) {
        assert_eq!((before.pid, &before.client), (after.pid, &after.client));
        assert!(after.adopted);
    }
    cluster.down().unwrap();
}

#[test]
fn stopped_paused_and_started_nodes_are_known_as_such() {
    let cluster = Cluster::start(3).unwrap();
    let leader = cluster.leader().unwrap();
    let follower = cluster.nodes().into_iter().find(|node| *node != leader).unwrap();
    cluster.pause(follower).unwrap();
    cluster.put("a", "1").unwrap();
    assert_eq!(cluster.status().unwrap().node(follower).unwrap().state, State::Paused);
    cluster.resume(follower).unwrap();
    cluster.stop(follower).unwrap();
    let status = cluster.wait_ready().unwrap();
    assert_eq!(status.node(follower).unwrap().state, State::Stopped);
    cluster.put("b", "2").unwrap();
    cluster.start_node(follower).unwrap();
    cluster.restart(leader).unwrap();
    cluster.wait_ready().unwrap();
    assert_eq!(cluster.get("b").unwrap().unwrap(), "2");
    let kinds: Vec<String> =
        cluster.events().unwrap().into_iter().map(|event| event.kind).collect();
    for kind in ["node-paused", "node-resumed", "node-stopped", "leader-changed"] {
        assert!(kinds.iter().any(|it| it == kind), "{kind}: {kinds:?}");
    }
}

#[test]
fn a_panic_leaves_nothing() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let panicked = std::thread::spawn(move || {
        let cluster = Cluster::start(1).unwrap();
        let node = cluster.directory().node(NodeId(1)).node_toml();
        sender.send((cluster.directory().clone(), node)).unwrap();
        panic!("as tests do (this one is on purpose)");
    });
    assert!(panicked.join().is_err());
    let (directory, node) = receiver.recv_timeout(Duration::from_secs(1)).unwrap();
    assert!(process::running("kvnode", &node).unwrap().is_empty());
    assert!(receipt::look(&directory).unwrap().is_clean());
    assert!(!directory.path().exists());
}

#[test]
fn a_corrupt_segment_is_named_and_repaired_from_the_others() {
    let cluster = Cluster::start(3).unwrap();
    for i in 0..50 {
        cluster.put(&format!("key-{i}"), "value").unwrap();
    }
    let follower = cluster.nodes().into_iter().find(|id| Some(*id) != cluster.leader().ok());
    let follower = follower.unwrap();
    cluster.stop(follower).unwrap();
    // The middle of what was written and synced long ago.
    let log = cluster.directory().node(follower).log_directory();
    let segment = std::fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .min()
        .unwrap();
    let mut bytes = std::fs::read(&segment).unwrap();
    let place = bytes.windows(6).position(|window| window == b"key-20").unwrap();
    bytes[place] ^= 1;
    std::fs::write(&segment, bytes).unwrap();

    cluster.start_node(follower).unwrap();
    cluster
        .wait_until("be repaired", |status| {
            let report = status.node(follower).and_then(|node| node.report.as_ref());
            report.is_some_and(|report| report.ready && report.keys == 50)
        })
        .unwrap();
    let told = std::fs::read_to_string(cluster.directory().node(follower).log_file()).unwrap();
    let name = segment.file_name().unwrap().to_string_lossy().into_owned();
    let line = told.lines().rfind(|line| line.contains("are damaged")).unwrap();
    assert!(line.contains(&name) && line.contains("index"), "{line}");
    assert!(!segment.exists(), "the healed log has replaced the damaged one");
    assert_eq!(cluster.get("key-20").unwrap().unwrap(), "value");
    cluster.down().unwrap();
}

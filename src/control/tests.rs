use super::*;
use crate::config::{Durability, Slow, Transport};
use crate::schema::control_capnp as schema;
use crate::types::{ClusterId, LogIndex, NodeId, Revision, Term};

fn report() -> NodeStatus {
    NodeStatus {
        node: NodeId(3),
        cluster: ClusterId(u64::MAX),
        pid: 77,
        role: Role::Leader,
        term: Term(5),
        voted_for: Some(NodeId(3)),
        leader: None,
        first_index: LogIndex(1),
        last_index: LogIndex(9),
        durable_index: LogIndex(8),
        commit_index: LogIndex(7),
        applied_index: LogIndex(6),
        revision: Revision(4),
        keys: 2,
        state_hash: "00ff".into(),
        uptime_millis: 1234,
        log_bytes: 1 << 40,
        segments: 2,
        disk_full: true,
        ready: true,
        peers: vec![PeerStatus {
            node: NodeId(1),
            match_index: LogIndex(6),
            next_index: LogIndex(7),
            state: "probe".into(),
            silent_millis: None,
        }],
        voters: vec![NodeId(1), NodeId(3)],
        learners: vec![NodeId(4)],
        outgoing: vec![NodeId(2)],
        snapshot_index: Some(LogIndex(5)),
        snapshot_bytes: 1 << 33,
        transfer_target: Some(NodeId(1)),
        faults: 2,
        faults_version: 9,
        last_member: NodeId(6),
        snapshots_installed: 4,
        links: vec![LinkTraffic {
            peer: NodeId(1),
            connected: true,
            sent_messages: 1,
            sent_bytes: 2,
            deliveries: 3,
            delivery_micros: 4,
            dropped: 5,
            faulted: 6,
            under_way: 7,
        }],
        served: Served { reads: 1, writes: 2, failed: 3, commits: 4, commit_micros: 5 },
        durability: Durability::FsyncDropUnsynced,
        build: "0.1.0".into(),
    }
}

fn cluster() -> ClusterStatus {
    let address = |name: &str| format!("unix:/c/nodes/3/{name}.sock").parse().unwrap();
    ClusterStatus {
        name: "default".into(),
        cluster: ClusterId(12),
        directory: "/c".into(),
        transport: Transport::Tcp,
        durability: Durability::None,
        supervisor_pid: 4,
        http_address: "127.0.0.1:9".parse().unwrap(),
        leader: Some(NodeId(3)),
        term: Term(5),
        ready: true,
        foreground: true,
        since_millis: 5,
        nodes: vec![NodeState {
            node: NodeId(3),
            state: State::CrashLooping,
            pid: None,
            since_millis: 7,
            restarts: 8,
            last_exit: Some("exit code 1".into()),
            client: address("client"),
            peer: address("peer"),
            control: address("control"),
            http: "127.0.0.1:10".parse().unwrap(),
            grpc: Some("127.0.0.1:11".parse().unwrap()),
            log: "/c/nodes/3/node.log".into(),
            adopted: true,
            next_start_millis: Some(11),
            problem: Some("died".into()),
            report: Some(report()),
            report_millis: Some(6),
            standing: Standing::Leaving,
            progress: Some("waits".into()),
        }],
        retired: vec![Retired { node: NodeId(2), since_millis: 3, purged: true }],
        faults: 3,
        slow: Slow(20),
        build: "0.1.0".into(),
    }
}

#[test]
fn a_cluster_status_survives_the_wire_and_json() {
    let before = cluster();
    let mut message = capnp::message::Builder::new_default();
    before.write(message.init_root());
    let read = message.get_root_as_reader::<schema::cluster_status::Reader<'_>>().unwrap();
    assert_eq!(ClusterStatus::read(read).unwrap(), before);
    let json = serde_json::to_string(&before).unwrap();
    assert!(json.contains(r#""state":"crash-looping""#), "{json}");
    assert_eq!(serde_json::from_str::<ClusterStatus>(&json).unwrap(), before);
}

#[test]
fn absent_is_absent_on_the_other_side_too() {
    let mut before = cluster();
    let node = &mut before.nodes[0];
    (node.last_exit, node.next_start_millis, node.problem) = (None, None, None);
    (node.report, node.report_millis, node.pid) = (None, None, Some(1));
    (node.standing, node.progress) = (Standing::Member, None);
    let mut message = capnp::message::Builder::new_default();
    before.write(message.init_root());
    let read = message.get_root_as_reader::<schema::cluster_status::Reader<'_>>().unwrap();
    assert_eq!(ClusterStatus::read(read).unwrap(), before);
}

#[test]
fn every_state_and_action_keeps_its_meaning() {
    for state in State::ALL {
        assert_eq!(State::from(schema::node_state::State::from(*state)), *state);
        assert_eq!(state.as_str().parse(), Ok(*state));
    }
    for standing in Standing::ALL {
        assert_eq!(Standing::from(schema::node_state::Standing::from(*standing)), *standing);
    }
    for action in Action::ALL {
        assert_eq!(Action::from(schema::supervisor::Action::from(*action)), *action);
    }
    assert_eq!(
        "kil".parse::<Action>().unwrap_err(),
        "`kil` is none of start, stop, kill, pause, resume, restart"
    );
}

#[test]
fn an_unknown_word_names_its_field() {
    let mut message = capnp::message::Builder::new_default();
    {
        let mut status = message.init_root::<schema::node_status::Builder<'_>>();
        report().write(status.reborrow());
        status.set_role("emperor");
    }
    let read = message.get_root_as_reader::<schema::node_status::Reader<'_>>().unwrap();
    let error = NodeStatus::read(read).unwrap_err().to_string();
    assert!(error.contains("role") && error.contains("emperor"), "{error}");
}

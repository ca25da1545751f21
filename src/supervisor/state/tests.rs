//! What the file says, and what contradicts it.

use super::*;

fn cluster(transport: Transport) -> (tempfile::TempDir, ClusterDirectory, ClusterConfig) {
    let temporary = tempfile::tempdir().unwrap();
    let directory = ClusterDirectory::at(temporary.path()).unwrap();
    let mut config = ClusterConfig::new("a".parse().unwrap(), 3);
    config.transport = transport;
    (temporary, directory, config)
}

#[test]
fn ports_are_handed_out_once_and_are_all_different() {
    let (_temporary, directory, config) = cluster(Transport::Tcp);
    let state = StateFile::read_or_new(&config, &directory).unwrap();
    let mut ports = std::collections::BTreeSet::from([state.http.port()]);
    for node in state.nodes.values() {
        for address in [&node.peer, &node.client, &Address::Tcp(node.http)] {
            let Address::Tcp(address) = address else { panic!("{address}") };
            assert!(address.ip().is_loopback() && ports.insert(address.port()));
        }
    }
    assert_eq!(ports.len(), 10);
    state.write(&directory.supervisor_json()).unwrap();
    assert_eq!(StateFile::read_or_new(&config, &directory).unwrap(), state);
}

#[test]
fn a_port_that_somebody_took_is_replaced_only_where_nothing_runs() {
    let (_temporary, directory, config) = cluster(Transport::Tcp);
    let before = StateFile::new(&config, &directory).unwrap();
    let thieves = [1, 2].map(|id| TcpListener::bind(before.nodes[&NodeId(id)].http).unwrap());
    let mut after = before.clone();
    let told = after.replace_taken_ports(|id| id != NodeId(2)).unwrap();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].starts_with("metrics of node 1: "), "{told:?}");
    assert_ne!(after.nodes[&NodeId(1)].http, before.nodes[&NodeId(1)].http);
    assert_eq!(after.nodes[&NodeId(2)], before.nodes[&NodeId(2)]);
    drop(thieves);
}

#[test]
fn edits_that_contradict_the_log_are_refused() {
    let (_temporary, directory, config) = cluster(Transport::Unix);
    StateFile::new(&config, &directory).unwrap().write(&directory.supervisor_json()).unwrap();
    let refusal = |config: &ClusterConfig, directory: &ClusterDirectory| {
        StateFile::read_or_new(config, directory).unwrap_err().to_string()
    };
    let more = ClusterConfig { nodes: 5, ..config.clone() };
    assert!(refusal(&more, &directory).contains("created with 3"));
    let other = ClusterConfig { id: ClusterId(config.id.0 ^ 1), ..config.clone() };
    assert!(refusal(&other, &directory).contains("data of cluster"));
    let tcp = ClusterConfig { transport: Transport::Tcp, ..config.clone() };
    assert!(refusal(&tcp, &directory).contains("`transport` is tcp"));
    let moved = tempfile::tempdir().unwrap();
    let elsewhere = ClusterDirectory::at(moved.path()).unwrap();
    fs::copy(directory.supervisor_json(), elsewhere.supervisor_json()).unwrap();
    assert!(refusal(&config, &elsewhere).contains("move the directory back"));
}

#[test]
fn a_lost_or_damaged_file_is_not_taken_for_a_new_cluster() {
    let (_temporary, directory, config) = cluster(Transport::Unix);
    directory.node(NodeId(1)).create().unwrap();
    let error = StateFile::read_or_new(&config, &directory).unwrap_err();
    assert!(matches!(error, StateError::Missing { .. }), "{error}");
    fs::write(directory.supervisor_json(), "{\"version\": 1").unwrap();
    let error = StateFile::read_or_new(&config, &directory).unwrap_err();
    assert!(matches!(error, StateError::Damaged { .. }), "{error}");
}

#[test]
fn a_number_is_given_once_and_the_others_are_told_where_everybody_is() {
    let (_temporary, directory, config) = cluster(Transport::Tcp);
    let mut state = StateFile::new(&config, &directory).unwrap();
    let toml = |state: &StateFile, id| state.node_config(&config, &directory, id).unwrap();
    assert!(toml(&state, NodeId(1)).join.is_empty());
    assert_eq!(state.reserve(&directory, NodeId(0)).unwrap(), NodeId(4));
    assert_eq!(state.nodes[&NodeId(4)].standing, Standing::Joining);
    let join = toml(&state, NodeId(4)).join_addresses();
    assert_eq!(join.into_keys().collect::<Vec<_>>(), [1, 2, 3].map(NodeId));
    assert_eq!(state.check(&config, &directory), Ok(()), "three founders, as was asked for");
    let retired = Retirement { since_millis: 1, purged: true };
    state.nodes.get_mut(&NodeId(4)).unwrap().retired = Some(retired);
    assert_eq!(state.roll(), "the nodes are 1 to 3");
    assert_eq!(state.reserve(&directory, NodeId(0)).unwrap(), NodeId(5));
    assert_eq!(state.roll(), "the nodes are 1, 2, 3, 5");
    assert_eq!(state.members().member.len(), 3);
    let path = directory.supervisor_json();
    state.write(&path).unwrap();
    assert_eq!(StateFile::read_or_new(&config, &directory).unwrap(), state);
}

#[test]
fn a_file_from_before_there_were_changes_of_membership_is_read() {
    let (_temporary, directory, config) = cluster(Transport::Unix);
    let state = StateFile::new(&config, &directory).unwrap();
    let mut json = serde_json::to_value(&state).unwrap();
    for node in json["nodes"].as_object_mut().unwrap().values_mut() {
        for field in ["founder", "standing", "retired"] {
            node.as_object_mut().unwrap().remove(field).unwrap();
        }
    }
    fs::write(directory.supervisor_json(), json.to_string()).unwrap();
    assert_eq!(StateFile::read(&directory).unwrap(), Some(state));
}

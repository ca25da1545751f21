//! Pauses, and who ends them.

use std::time::Duration;

use kvraft::chaos::{NodeFault, Who, Wish};
use kvraft::control::{NodeClient, State};
use kvraft::testing::{Cluster, PATIENCE};
use kvraft::types::NodeId;

use super::support::{all, nothing_is_left, until};

#[test]
fn a_timed_pause_ends_in_time_even_without_the_supervisor() {
    let cluster = Cluster::start(5).unwrap();
    let leader = cluster.leader().unwrap();
    let pause = |nodes: Vec<Who>| Wish::Node { nodes, fault: NodeFault::Pause };
    let fault = cluster.inject_for(pause(vec![Who::Leader]), Duration::from_secs(1)).unwrap().fault;
    assert_eq!(fault.nodes, [leader].into());
    let state = |cluster: &Cluster| cluster.status().unwrap().node(leader).unwrap().state;
    assert_eq!(state(&cluster), State::Paused);
    cluster.put("without", "the old leader").unwrap();
    let control = cluster.status().unwrap().node(leader).unwrap().control.clone();
    cluster.kill_supervisor().unwrap();
    // It answers again, and nobody but the guard can have done that.
    cluster.block_on(async {
        let client = NodeClient::connect(leader, &control).await.unwrap();
        client.status(PATIENCE).await.unwrap();
    });
    assert_eq!(cluster.faults().unwrap(), []);

    // The supervisor's own: healed early, and the guard is gone; and one that somebody else ends.
    cluster.inject_for(pause(vec![Who::Node(leader)]), Duration::from_secs(3600)).unwrap();
    assert_eq!(cluster.heal(&[]).unwrap().healed.len(), 1);
    until("it goes on", || state(&cluster) == State::Running);
    cluster.inject(pause(vec![Who::Node(leader)])).unwrap();
    cluster.resume(leader).unwrap();
    until("it is seen that it goes on", || cluster.faults().unwrap().is_empty());
    nothing_is_left(&cluster);

    // One of them is down: none is paused, and nobody guards what is not.
    let other = all().into_iter().rfind(|id| *id != leader).unwrap();
    cluster.stop(other).unwrap();
    let both = pause(vec![Who::All]);
    assert!(cluster.inject_for(both, Duration::from_secs(3600)).is_err());
    assert_eq!(cluster.faults().unwrap(), []);
    let paused = |cluster: &Cluster| {
        cluster.status().unwrap().nodes.iter().any(|node| node.state == State::Paused)
    };
    until("none stands still", || !paused(&cluster));
    let state = std::fs::read_to_string(cluster.directory().supervisor_json()).unwrap();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    assert_eq!(state["chaos"]["guards"], serde_json::json!([]));
    cluster.start_node(other).unwrap();
    cluster.wait_ready().unwrap();

    let injected = cluster.inject(pause([1, 2, 3].map(|id| Who::Node(NodeId(id))).into())).unwrap();
    assert!(injected.warning.unwrap().contains("no majority"));
    cluster.heal(&[]).unwrap();
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

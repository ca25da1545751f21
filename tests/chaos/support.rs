//! What is looked at before, during and after a fault.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use kvraft::chaos::{NodeFault, Who, Wish};
use kvraft::control::State;
use kvraft::testing::{Cluster, PATIENCE};
use kvraft::types::NodeId;

pub type Directed = (NodeId, NodeId);

/// What each node says of its links.
pub struct Metrics(BTreeMap<NodeId, String>);

pub fn scrape(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

impl Metrics {
    pub fn of(cluster: &Cluster) -> Metrics {
        let nodes = cluster.status().unwrap().nodes;
        Metrics(nodes.iter().map(|node| (node.node, scrape(node.http))).collect())
    }

    /// The links on which a fault is in force.
    pub fn faulty(&self) -> BTreeSet<Directed> {
        let mut links = BTreeSet::new();
        for (node, text) in &self.0 {
            for line in text.lines() {
                let Some(rest) = line.strip_prefix("kvraft_link_fault_active{peer=\"") else {
                    continue;
                };
                let (peer, value) = rest.split_once("\"} ").unwrap();
                if value == "1" {
                    links.insert((*node, NodeId(peer.parse().unwrap())));
                }
            }
        }
        links
    }

    /// Messages that faults met, by what they did, on all links.
    pub fn met(&self, effect: &str) -> u64 {
        let wanted = format!("effect=\"{effect}\"");
        let lines = self.0.values().flat_map(|text| text.lines());
        let lines = lines.filter(|line| {
            line.starts_with("kvraft_link_fault_messages_total{") && line.contains(&wanted)
        });
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < end, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn all() -> Vec<NodeId> {
    (1..=5).map(NodeId).collect()
}

/// Nothing is left: no fault at the supervisor, none in any node, no file; and everybody agrees.
pub fn nothing_is_left(cluster: &Cluster) {
    assert_eq!(cluster.faults().unwrap(), []);
    until("every node forgets its faults", || Metrics::of(cluster).faulty().is_empty());
    for id in all() {
        assert!(!cluster.directory().node(id).faults_file().exists(), "node {id}");
    }
    let client = cluster.client().unwrap();
    let written = cluster.block_on(client.put("after", "all")).unwrap().revision;
    cluster
        .wait_until("everybody has applied the same, and has it on disk", |status| {
            let reports: Vec<_> = status.nodes.iter().filter_map(|it| it.report.as_ref()).collect();
            let first = reports.first().map(|it| (it.applied_index, it.state_hash.clone()));
            let is_level = |it: &&kvraft::control::NodeStatus| {
                it.revision >= written
                    && it.durable_index == it.last_index
                    && it.applied_index == it.last_index
                    && Some((it.applied_index, it.state_hash.clone())) == first
            };
            reports.len() == 5 && reports.iter().all(is_level)
        })
        .unwrap();
}

/// The wish that something is wrong with one node, or with all that are something.
pub fn on(who: Who, fault: NodeFault) -> Wish {
    Wish::Node { nodes: vec![who], fault }
}

/// What the supervisor says that a node is doing.
pub fn state(cluster: &Cluster, id: NodeId) -> State {
    cluster.status().unwrap().node(id).unwrap().state
}

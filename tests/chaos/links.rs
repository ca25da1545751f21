//! Faults of links.
//!
//! What one does is seen in two ways: by what clients are told, and by what the nodes count on each
//! of their links (`/metrics`).

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kvraft::chaos::{Flap, Injection, LinkWish, Links, Who, Wish};
use kvraft::client::{Client, Options};
use kvraft::config::{Address, Transport};
use kvraft::control::{ClusterStatus, NodeClient};
use kvraft::link::Policy;
use kvraft::replica::Consistency;
use kvraft::testing::{Cluster, PATIENCE};
use kvraft::types::NodeId;

use super::support::{Metrics, all, nothing_is_left, scrape, until};

fn link(from: Who, to: Who, policy: Policy) -> Wish {
    Wish::Link { links: Links::These(vec![LinkWish { from, to, both: true }]), policy }
}

fn everywhere(policy: Policy) -> Wish {
    Wish::Link { links: Links::All, policy }
}

/// A client that reaches these nodes only, and does not wait for ever.
fn client_of(cluster: &Cluster, nodes: &[NodeId], timeout: Duration) -> Client {
    let states = cluster.status().unwrap().nodes;
    let here = states.iter().filter(|state| nodes.contains(&state.node));
    let endpoints: Vec<Address> = here.map(|state| state.client.clone()).collect();
    let options = Options { timeout, ..Options::default() };
    cluster.block_on(Client::connect(&endpoints, options)).unwrap()
}

/// Every shape cuts what it says and nothing else, and is gone when it is healed.
fn shapes(transport: Transport) {
    let cluster = Cluster::builder(5).transport(transport).start().unwrap();
    let node = |id| Who::Node(NodeId(id));
    let wishes = [
        Wish::Partition { groups: vec![vec![node(1), node(2)]] },
        Wish::Isolate { nodes: vec![Who::Leader] },
        Wish::OneWay { from: vec![Who::Leader], to: vec![Who::Followers] },
        Wish::Rings,
        Wish::Bridge { node: node(3) },
        link(node(1), node(2), Policy::cut()),
        everywhere(Policy { delay: Duration::from_millis(1), ..Policy::default() }),
    ];
    for wish in wishes {
        let told = format!("{wish}");
        let before = Metrics::of(&cluster).met("cut");
        // Two that follow have nothing to say to each other; and the bridge may be the leader.
        let speaks = !matches!(wish, Wish::Link { .. } | Wish::Bridge { .. });
        let injected = cluster.inject(wish).unwrap();
        assert_eq!(injected.unheard, [], "{told}");
        assert_eq!(Metrics::of(&cluster).faulty(), injected.fault.links, "{told}");
        if speaks {
            until("messages are cut", || Metrics::of(&cluster).met("cut") > before);
        }
        let receipt = cluster.heal(&[injected.fault.id]).unwrap();
        assert_eq!((receipt.healed.len(), receipt.unheard.len()), (1, 0), "{told}");
        assert!(Metrics::of(&cluster).faulty().is_empty(), "{told}");
    }
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn every_shape_cuts_what_it_says_over_unix_sockets() {
    shapes(Transport::Unix);
}

#[test]
fn every_shape_cuts_what_it_says_over_tcp() {
    shapes(Transport::Tcp);
}

#[test]
fn a_minority_refuses_writes_and_the_majority_goes_on() {
    let cluster = Cluster::start(5).unwrap();
    let leader = cluster.leader().unwrap();
    let other = all().into_iter().find(|id| *id != leader).unwrap();
    let minority = [leader, other];
    let majority: Vec<_> = all().into_iter().filter(|id| !minority.contains(id)).collect();
    let who = |ids: &[NodeId]| ids.iter().copied().map(Who::Node).collect::<Vec<_>>();
    let here = client_of(&cluster, &minority, Duration::from_secs(2));
    let there = client_of(&cluster, &majority, PATIENCE);
    cluster.block_on(here.put("before", "1")).unwrap();

    let groups = vec![who(&minority), who(&majority)];
    let injected = cluster.inject(Wish::Partition { groups }).unwrap();
    assert_eq!(injected.warning, None, "a majority is left");
    cluster.block_on(there.put("among", "three")).unwrap();
    assert!(cluster.block_on(here.put("among", "two")).is_err());
    assert!(cluster.block_on(here.get("among", Consistency::Linearizable)).is_err());
    assert!(Metrics::of(&cluster).met("cut") > 0);

    cluster.heal(&[]).unwrap();
    let got = cluster.block_on(there.get("among", Consistency::Linearizable)).unwrap();
    assert_eq!(got.item.map(|item| item.value), Some("three".into()));
    nothing_is_left(&cluster);

    // Three parts, none of them a majority: the one who does it is told.
    let groups = vec![who(&[NodeId(1), NodeId(2)]), who(&[NodeId(3), NodeId(4)])];
    let injected = cluster.inject(Wish::Partition { groups }).unwrap();
    assert!(injected.warning.unwrap().contains("no majority"));
    cluster.heal(&[]).unwrap();
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn what_is_less_than_a_cut_does_what_it_says() {
    let cluster = Cluster::start(5).unwrap();
    let client = client_of(&cluster, &all(), PATIENCE);
    let healthy = Policy::default;
    let put = |key: &str, bytes: usize| {
        let began = Instant::now();
        cluster.block_on(client.put(key.to_owned(), vec![7; bytes])).unwrap();
        began.elapsed()
    };
    put("warm", 1);

    // There and back again.
    cluster.inject(everywhere(Policy { delay: Duration::from_millis(40), ..healthy() })).unwrap();
    let took = put("late", 1);
    assert!(took >= Duration::from_millis(80), "a round trip of twice 40 ms took {took:?}");
    cluster.heal(&[]).unwrap();

    // It goes on leading: heartbeats do not wait behind bulk.
    cluster.inject(everywhere(Policy { rate: Some(100 << 10), ..healthy() })).unwrap();
    let took = put("thin", 20 << 10);
    assert!(took >= Duration::from_millis(200), "20 KiB at 100 KiB/s took {took:?}");
    cluster.heal(&[]).unwrap();

    let hold = Duration::from_millis(5);
    let policies = [
        ("lost", Policy { loss: 0.2, ..healthy() }),
        ("lost", Policy { loss: 0.2, loss_burst: 5.0, ..healthy() }),
        ("duplicated", Policy { duplicate: 0.3, ..healthy() }),
        ("reordered", Policy { reorder: 0.3, reorder_hold: hold, ..healthy() }),
    ];
    for (effect, policy) in policies {
        let before = Metrics::of(&cluster).met(effect);
        cluster.inject(everywhere(policy)).unwrap();
        let mut number = 0;
        until("the fault meets messages", || {
            number += 1;
            put(&format!("{effect}/{number}"), 10);
            Metrics::of(&cluster).met(effect) >= before + 5
        });
        cluster.heal(&[]).unwrap();
        // Healed: the same traffic, and nothing is met any more.
        until("no fault is left", || Metrics::of(&cluster).faulty().is_empty());
        let healed = Metrics::of(&cluster).met(effect);
        for number in 0..20 {
            put(&format!("{effect}/{number}"), 10);
        }
        assert_eq!(Metrics::of(&cluster).met(effect), healed, "{effect}");
    }
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn a_stalled_link_keeps_what_it_holds_until_it_is_healed() {
    let cluster = Cluster::start(5).unwrap();
    let leader = cluster.leader().unwrap();
    let behind = all().into_iter().find(|id| *id != leader).unwrap();
    let stall = Policy { stall: true, ..Policy::default() };
    let before = Metrics::of(&cluster).met("delayed");
    let links = Links::These(vec![LinkWish { from: Who::All, to: Who::Node(behind), both: false }]);
    cluster.inject(Wish::Link { links, policy: stall }).unwrap();
    let mark = cluster.status().unwrap().node(behind).unwrap().report.clone().unwrap();
    (0..20).for_each(|number| cluster.put(&format!("k{number}"), "v").unwrap());
    let metrics = Metrics::of(&cluster);
    assert!(metrics.met("delayed") > before, "what is sent waits");
    let report = cluster.status().unwrap().node(behind).unwrap().report.clone().unwrap();
    assert!(report.commit_index.0 < mark.commit_index.0 + 20, "it cannot know of all twenty");
    cluster.heal(&[]).unwrap();
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn a_node_comes_up_inside_its_partition() {
    let cluster = Cluster::start(5).unwrap();
    let leader = cluster.leader().unwrap();
    let outside = all().into_iter().find(|id| *id != leader).unwrap();
    let fault = cluster.inject(Wish::Isolate { nodes: vec![Who::Node(outside)] }).unwrap().fault;
    let own: BTreeSet<_> =
        fault.links.iter().copied().filter(|(from, _)| *from == outside).collect();
    let pid = |status: &ClusterStatus| status.node(outside).and_then(|node| node.pid);
    let before = pid(&cluster.status().unwrap());
    cluster.kill(outside).unwrap();
    cluster.put("while", "away").unwrap();
    cluster
        .wait_until("it runs again", |status| {
            let report = status.node(outside).and_then(|node| node.report.as_ref());
            pid(status) != before && report.is_some_and(|report| report.faults == 1)
        })
        .unwrap();
    let there: BTreeSet<_> =
        Metrics::of(&cluster).faulty().into_iter().filter(|(from, _)| *from == outside).collect();
    assert_eq!(there, own);
    let report = cluster.status().unwrap().node(outside).unwrap().report.clone().unwrap();
    assert!(!report.ready, "it hears nobody");
    cluster.heal(&[fault.id]).unwrap();
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn a_fault_ends_in_time_without_the_supervisor_and_stays_across_it_without_an_end() {
    let cluster = Cluster::start(5).unwrap();
    let isolate = |id| Wish::Isolate { nodes: vec![Who::Node(NodeId(id))] };
    let lasting = cluster.inject(isolate(1)).unwrap().fault;
    let short = cluster.inject_for(isolate(2), Duration::from_secs(2)).unwrap().fault;
    let sockets: Vec<_> =
        cluster.status().unwrap().nodes.iter().map(|it| (it.node, it.control.clone())).collect();
    cluster.kill_supervisor().unwrap();
    // Asked themselves: asking the supervisor would start a new one.
    let count = || {
        sockets
            .iter()
            .map(|(node, control)| {
                cluster.block_on(async {
                    let client = NodeClient::connect(*node, control).await.unwrap();
                    client.status(PATIENCE).await.unwrap().faults
                })
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(count(), [2, 2, 2, 2, 2], "everybody is on some link of both");
    until("the short one is over", || count() == [1, 1, 1, 1, 1]);
    let left: Vec<_> = cluster.faults().unwrap().iter().map(|fault| fault.id).collect();
    assert_eq!(left, [lasting.id], "a new supervisor remembers it");
    let ended = format!("fault {}: isolate 2, its time was over", short.id);
    until("it is written down", || {
        cluster.events().unwrap().iter().any(|event| event.detail.starts_with(&ended))
    });
    cluster.heal(&[]).unwrap();
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn a_paused_node_hears_of_it_when_it_goes_on() {
    let cluster = Cluster::start(5).unwrap();
    let leader = cluster.leader().unwrap();
    let asleep = all().into_iter().find(|id| *id != leader).unwrap();
    cluster.pause(asleep).unwrap();
    let injected = cluster.inject(Wish::Isolate { nodes: vec![Who::Node(asleep)] }).unwrap();
    assert_eq!(injected.unheard, [asleep]);
    cluster.resume(asleep).unwrap();
    let faults = |cluster: &Cluster| {
        let status = cluster.status().unwrap();
        status.node(asleep).and_then(|node| node.report.as_ref().map(|report| report.faults))
    };
    until("it has the fault", || faults(&cluster) == Some(1));
    cluster.pause(asleep).unwrap();
    assert_eq!(cluster.heal(&[]).unwrap().unheard, [asleep]);
    cluster.resume(asleep).unwrap();
    until("it has none", || faults(&cluster) == Some(0));
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn a_flapping_fault_comes_and_goes() {
    let cluster = Cluster::start(5).unwrap();
    let flap = Some(Flap { on_millis: 150, off_millis: 150 });
    let wish = link(Who::Node(NodeId(1)), Who::Node(NodeId(2)), Policy::cut());
    cluster
        .inject_as(Injection {
            wish,
            flap,
            duration_millis: None,
            by: "a test".into(),
            blind: false,
        })
        .unwrap();
    let first = cluster.status().unwrap().node(NodeId(1)).unwrap().http;
    let is_cut = || scrape(first).contains("kvraft_link_fault_active{peer=\"2\"} 1");
    for _ in 0..2 {
        until("it is cut", is_cut);
        until("it is whole", || !is_cut());
    }
    cluster.heal(&[]).unwrap();
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn down_takes_the_faults_with_it() {
    let cluster = Cluster::start(5).unwrap();
    cluster.inject(Wish::Rings).unwrap();
    let files: Vec<_> =
        all().into_iter().map(|id| cluster.directory().node(id).faults_file()).collect();
    assert!(files.iter().all(|file| file.exists()));
    cluster.down().unwrap();
    assert!(files.iter().all(|file| !file.exists()));
}

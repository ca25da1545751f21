//! Members come and go, the leadership changes hands and snapshots are taken, all under load: and
//! no operation fails but those whose outcome is declared unknown, and no acknowledged write is
//! lost.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kvraft::client::{Client, ClientError, Options};
use kvraft::control::{NodeStatus, State, SupervisorClient};
use kvraft::replica::Consistency;
use kvraft::testing::{Cluster, PATIENCE};
use kvraft::types::NodeId;
use tokio::task::JoinHandle;

/// Writers at once.
const WRITERS: usize = 4;

/// Clients that write as fast as they are answered, each to keys of its own, until told to stop.
struct Load {
    stop: Rc<Cell<bool>>,
    /// What was acknowledged.
    kept: Rc<RefCell<BTreeMap<String, String>>>,
    unknown: Rc<Cell<u64>>,
    writers: Vec<JoinHandle<Result<(), ClientError>>>,
    client: Client,
}

impl Load {
    /// Wants the cluster's runtime.
    async fn start(cluster: &Cluster) -> Load {
        let supervisor = cluster.supervisor().await.unwrap();
        let nodes = supervisor.status().await.unwrap().nodes;
        let endpoints: Vec<_> = nodes.into_iter().map(|node| node.client).collect();
        let options = Options { timeout: PATIENCE, ..Options::default() };
        let client = Client::connect(&endpoints, options).await.unwrap();
        let mut load = Load {
            stop: Rc::default(),
            kept: Rc::default(),
            unknown: Rc::default(),
            writers: Vec::new(),
            client,
        };
        load.writers = (0..WRITERS).map(|writer| load.writer(writer)).collect();
        load
    }

    fn writer(&self, writer: usize) -> JoinHandle<Result<(), ClientError>> {
        let (client, stop) = (self.client.clone(), self.stop.clone());
        let (kept, unknown) = (self.kept.clone(), self.unknown.clone());
        tokio::task::spawn_local(async move {
            for number in 0u64.. {
                if stop.get() {
                    break;
                }
                // Some keys are written again and again.
                let (key, value) = (format!("{writer}/{}", number % 500), number.to_string());
                match client.put(key.clone(), value.clone()).await {
                    Ok(_) => drop(kept.borrow_mut().insert(key, value)),
                    Err(ClientError::Unknown(_)) => {
                        unknown.set(unknown.get() + 1);
                        kept.borrow_mut().remove(&key);
                    }
                    Err(other) => return Err(other),
                }
            }
            Ok(())
        })
    }

    /// Waits until so many more writes were acknowledged: the load is really there.
    async fn goes_on(&self, cluster: &Cluster) {
        let before = self.revision(cluster).await;
        let end = Instant::now() + PATIENCE;
        while self.revision(cluster).await < before + 20 {
            assert!(Instant::now() < end, "no write gets through any more");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn revision(&self, cluster: &Cluster) -> u64 {
        let supervisor = cluster.supervisor().await.unwrap();
        let status = supervisor.status().await.unwrap();
        let reports = status.nodes.iter().filter_map(|node| node.report.as_ref());
        reports.map(|report| report.revision.0).max().unwrap_or(0)
    }

    /// Stops, and checks that all that was acknowledged is there.
    async fn end(self) {
        self.stop.set(true);
        for writer in self.writers {
            writer.await.unwrap().expect("no write fails, unless its outcome is unknown");
        }
        let kept = self.kept.take();
        assert!(kept.len() > WRITERS * 10, "only {} writes got through", kept.len());
        for (key, value) in kept.iter() {
            let read = self.client.get(key.clone(), Consistency::Linearizable).await.unwrap();
            let found = read.item.map(|item| item.value);
            assert_eq!(found.as_deref(), Some(value.as_bytes()), "{key} was acknowledged");
        }
        eprintln!("{} keys kept, {} outcomes unknown", kept.len(), self.unknown.get());
    }
}

/// What the leader says, once there is one and no change is under way.
async fn leader(supervisor: &SupervisorClient) -> NodeStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        let status = supervisor.status().await.unwrap();
        let report = status.leader.and_then(|id| status.node(id).and_then(|it| it.report.clone()));
        match report {
            Some(report) if report.outgoing.is_empty() => return report,
            _ => assert!(Instant::now() < end, "no leader: {status:#?}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn ids(ids: &[u64]) -> Vec<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

#[test]
fn members_come_and_go_under_load_and_nothing_is_lost() {
    let cluster = Cluster::start(5).unwrap();
    cluster.block_on(async {
        let supervisor = cluster.supervisor().await.unwrap();
        let load = Load::start(&cluster).await;
        let voter = supervisor.member_add(None, false, PATIENCE).await.unwrap();
        let learner = supervisor.member_add(None, true, PATIENCE).await.unwrap();
        assert_eq!((voter, learner), (NodeId(6), NodeId(7)));
        let view = leader(&supervisor).await;
        assert_eq!((&view.voters, &view.learners), (&ids(&[1, 2, 3, 4, 5, 6]), &ids(&[7])));
        load.goes_on(&cluster).await;
        supervisor.member_promote(learner, PATIENCE).await.unwrap();
        let old = leader(&supervisor).await.node;
        supervisor.member_remove(old, false, PATIENCE).await.unwrap();
        let follower = (1..=5).map(NodeId).find(|id| *id != old).unwrap();
        supervisor.member_remove(follower, true, PATIENCE).await.unwrap();
        load.goes_on(&cluster).await;
        let view = leader(&supervisor).await;
        let left: Vec<_> = (1..=7).map(NodeId).filter(|id| *id != old && *id != follower).collect();
        assert_eq!((&view.voters, &view.learners), (&left, &ids(&[])));
        let status = supervisor.status().await.unwrap();
        assert_eq!(status.nodes.iter().map(|node| node.node).collect::<Vec<_>>(), left);
        assert_eq!(status.retired.len(), 2);
        assert!(cluster.directory().node(old).path().join("retired.toml").exists());
        assert!(!cluster.directory().node(follower).path().exists(), "it was purged");
        load.end().await;
    });
    let kinds: Vec<String> = cluster.events().unwrap().into_iter().map(|it| it.kind).collect();
    let count = |kind: &str| kinds.iter().filter(|it| *it == kind).count();
    assert_eq!(
        ["member-joining", "member-added", "member-promoted", "member-removed"].map(count),
        [2, 2, 2, 2]
    );
    cluster.down().unwrap();
}

#[test]
fn the_leadership_changes_hands_twenty_times_under_load() {
    let cluster = Cluster::start(5).unwrap();
    cluster.block_on(async {
        let supervisor = cluster.supervisor().await.unwrap();
        let load = Load::start(&cluster).await;
        for round in 0..20 {
            let before = leader(&supervisor).await;
            // Half of them to somebody in particular.
            let to = (round % 2 == 0).then(|| NodeId(before.node.0 % 5 + 1));
            let handover = supervisor.transfer(to, PATIENCE).await.unwrap();
            assert!(handover.term > before.term, "{handover:?} after {before:?}");
            assert!(to.is_none_or(|to| to == handover.to), "{handover:?}, and not to {to:?}");
            load.goes_on(&cluster).await;
        }
        load.end().await;
    });
    cluster.down().unwrap();
}

#[test]
fn who_was_away_for_long_is_brought_back_by_a_snapshot() {
    let cluster = Cluster::builder(3).configure(|it| it.storage.keep_entries = 100).start();
    let cluster = cluster.unwrap();
    let leads = cluster.leader().unwrap();
    let follower = (1..=3).map(NodeId).find(|id| *id != leads).unwrap();
    cluster.stop(follower).unwrap();
    let before = cluster.status().unwrap();
    let had = before.node(leads).unwrap().report.as_ref().unwrap().last_index;
    cluster.block_on(async {
        let load = Load::start(&cluster).await;
        let supervisor = cluster.supervisor().await.unwrap();
        // Until the entry that it needs next is gone from every log.
        let end = Instant::now() + 4 * PATIENCE;
        loop {
            load.goes_on(&cluster).await;
            let taken = supervisor.take_snapshot(None, PATIENCE).await.unwrap();
            assert!(taken.len() == 2 && taken.iter().all(|taken| taken.done), "{taken:?}");
            let status = supervisor.status().await.unwrap();
            let mut running = status.nodes.iter().filter(|node| node.state == State::Running);
            let gone = |report: &NodeStatus| report.first_index > had.next();
            if running.all(|node| node.report.as_ref().is_some_and(gone)) {
                break;
            }
            assert!(Instant::now() < end, "the log is not compacted: {status:#?}");
        }
        load.end().await;
    });
    cluster.start_node(follower).unwrap();
    cluster
        .wait_until("the follower to have it all", |status| {
            let report = |id| status.node(id).and_then(|node| node.report.as_ref());
            let (Some(leader), Some(it)) = (status.leader.and_then(report), report(follower))
            else {
                return false;
            };
            it.snapshot_index.is_some_and(|index| index > had)
                && it.applied_index == leader.applied_index
                && it.state_hash == leader.state_hash
        })
        .unwrap();
    cluster.down().unwrap();
}

#[test]
fn a_supervisor_that_dies_in_the_middle_of_adding_leaves_what_can_be_finished() {
    let cluster = Cluster::start(3).unwrap();
    cluster.put("before", "it").unwrap();
    cluster.block_on(async {
        let supervisor = cluster.supervisor().await.unwrap();
        // So little time that it cannot be done.
        let cut = supervisor.member_add(None, false, Duration::from_millis(60)).await;
        assert!(cut.is_err(), "{cut:?}");
    });
    cluster.kill_supervisor().unwrap();
    let added = cluster.add_voter().unwrap();
    assert_eq!(added, NodeId(4), "the number that was taken is used, and no other");
    let status = cluster.wait_ready().unwrap();
    assert_eq!(status.nodes.len(), 4);
    // It is one like the others now.
    cluster.restart(added).unwrap();
    cluster.transfer(Some(added)).unwrap();
    assert_eq!(cluster.get("before").unwrap().unwrap(), "it");
    cluster.power_cut().unwrap();
    cluster.wait_ready().unwrap();
    assert_eq!(cluster.get("before").unwrap().unwrap(), "it");
    for gone in [1, 2, 3].map(NodeId) {
        cluster.remove(gone).unwrap();
    }
    assert_eq!(cluster.leader().unwrap(), added, "nobody else is left");
    assert_eq!(cluster.get("before").unwrap().unwrap(), "it");
    let last = cluster.remove(added).unwrap_err().to_string();
    assert!(last.contains("is the last voter"), "{last}");
    cluster.down().unwrap();
}

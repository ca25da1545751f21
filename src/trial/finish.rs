//! After the last fault: does the cluster come back, and is everything there?

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::client::perform;
use super::load::{Load, connect};
use super::recorder::{Asked, Recording};
use super::tape::Tape;
use super::verdict::{Expectation, Unmet};
use super::watch::Watch;
use super::workload::Reads;
use crate::config::Address;
use crate::control::{ClusterStatus, NodeStatus, SupervisorClient};
use crate::scenario::Held;
use crate::supervisor::launch::{self, Until};
use crate::types::{LogIndex, NodeId};
use crate::verify::history::{Call, Outcome};

/// For a cluster without faults to become ready.
const RECOVERY: Duration = Duration::from_secs(30);
/// For a read at the end, over all its tries.
const READ: Duration = Duration::from_secs(10);
/// For replicas that are ready to have applied the same.
const CATCH_UP: Duration = Duration::from_secs(10);
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(50);

/// Whether all that was asked and answered is in the history: said only if it is not.
pub fn is_whole(recording: &Recording) -> Option<Expectation> {
    let trouble = recording.trouble.clone()?;
    Some(Expectation::new("history", Err(Unmet::Unseen(trouble))))
}

/// What must be so once the last fault has ended: the cluster recovers, the clients end, every key
/// is read through every node that runs (through those of `known`, if nobody can say which), the
/// replicas are compared, and it is looked back at who led. First, when the clients were stopped.
pub async fn conclude(
    supervisor: &Address,
    known: &[(NodeId, Address)],
    load: Load,
    clients: u32,
    tape: &Tape,
    watch: &Watch,
) -> (Duration, Vec<Expectation>) {
    let recovery = recovers(supervisor).await;
    let seen = recovery.held != Held::Unknown;
    let worked = Duration::from_nanos(tape.now());
    load.stop().await;
    let nodes = running(supervisor).await.unwrap_or_else(|| known.to_vec());
    let reads = read_everywhere(&tape.keys(), &nodes, clients.into(), tape, seen).await;
    let equal = replicas_agree(supervisor).await;
    (worked, vec![recovery, reads, equal, watch.one_leader_a_term()])
}

/// The nodes that run. Whoever was stopped on purpose takes no part.
async fn running(supervisor: &Address) -> Option<Vec<(NodeId, Address)>> {
    let status = SupervisorClient::connect(supervisor).await.ok()?.status().await.ok()?;
    let runs = status.nodes.iter().filter(|state| state.state.is_alive());
    Some(runs.map(|state| (state.node, state.client.clone())).collect())
}

/// Whether the cluster is ready again in time.
async fn recovers(supervisor: &Address) -> Expectation {
    let began = Instant::now();
    let ready = async {
        let supervisor = SupervisorClient::connect(supervisor).await?;
        launch::wait(&supervisor, Until::Ready, RECOVERY, |_| {}).await
    };
    let ready = ready.await.map(|_| {
        let millis = began.elapsed().as_millis();
        format!("every node was ready {millis} ms after the last fault had ended")
    });
    Expectation::new("recovery", ready.map_err(Unmet::from))
}

/// Reads each key once through each node, all nodes at the same time. On `tape`, they are the lanes
/// from `lane` on. A node that does not answer breaks a promise only if it was known to run: `seen`
/// says whether the supervisor could be asked.
async fn read_everywhere(
    keys: &[String],
    nodes: &[(NodeId, Address)],
    lane: u64,
    tape: &Tape,
    seen: bool,
) -> Expectation {
    let readers = (lane..).zip(nodes).map(|(lane, (node, address))| async move {
        let missing = read_at(keys, *node, address, lane, tape).await;
        (missing > 0).then(|| format!("node {node} left {missing} unanswered"))
    });
    let missing: Vec<String> = join_all(readers).await.into_iter().flatten().collect();
    let (count, all) = (keys.len(), nodes.len());
    let done = match missing.is_empty() && !nodes.is_empty() {
        true => Ok(format!("{count} keys were read through each of {all} nodes")),
        false => {
            let missing = if nodes.is_empty() { "no node runs".into() } else { missing.join(", ") };
            let why = format!("of {count} keys that were read, {missing}");
            Err(if seen { Unmet::Broken(why) } else { Unmet::Unseen(why) })
        }
    };
    Expectation::new("final reads", done)
}

/// How many keys `node` did not answer for. One that is given up once is not asked again: it had
/// its time.
async fn read_at(
    keys: &[String],
    node: NodeId,
    address: &Address,
    lane: u64,
    tape: &Tape,
) -> usize {
    let Some(client) = connect(address, READ, READ).await else { return keys.len() };
    let process = tape.process(lane);
    for (place, key) in keys.iter().enumerate() {
        let asked = Asked { process, node: node.0, key: key.clone(), call: Call::Read };
        tape.invoke(&asked);
        let ended = perform(&client, key, &asked.call, Reads::Linearizable).await;
        tape.complete(&asked, &ended);
        if !matches!(ended.outcome, Outcome::Ok { .. }) {
            return keys.len() - place;
        }
    }
    0
}

/// The name of what says whether the replicas are equal.
pub const EQUAL: &str = "equal replicas";

/// Whether all replicas that have applied the same log have the same state.
async fn replicas_agree(supervisor: &Address) -> Expectation {
    Expectation::new(EQUAL, compare(supervisor).await)
}

async fn compare(supervisor: &Address) -> Result<String, Unmet> {
    let end = Instant::now() + CATCH_UP;
    let supervisor = SupervisorClient::connect(supervisor).await?;
    let first = applied(&supervisor.status().await?);
    loop {
        let status = supervisor.status().await?;
        if let Some(verdict) = hashes(&status) {
            return verdict.map_err(Unmet::Broken);
        }
        if Instant::now() >= end {
            let last = applied(&status);
            let goes_on =
                |(node, at): (&NodeId, &LogIndex)| first.get(node).is_some_and(|it| it < at);
            if !last.is_empty() && last.iter().all(goes_on) {
                let why = "somebody else writes: the replicas never stood still to be compared";
                return Err(Unmet::Unseen(why.to_owned()));
            }
            let applied = status.nodes.iter().map(|node| match &node.report {
                Some(report) => format!("node {} at {}", node.node, report.applied_index),
                None => format!("node {} unknown", node.node),
            });
            let applied: Vec<String> = applied.collect();
            let all = applied.join(", ");
            return Err(Unmet::Broken(format!("they never had applied the same: {all}")));
        }
        sleep(GLANCE).await;
    }
}

/// How far each has applied the log.
fn applied(status: &ClusterStatus) -> BTreeMap<NodeId, LogIndex> {
    let reports = status.nodes.iter().filter_map(|node| node.report.as_ref());
    reports.map(|report| (report.node, report.applied_index)).collect()
}

/// Nothing, while they have not applied the same.
fn hashes(status: &ClusterStatus) -> Option<Result<String, String>> {
    let alive = status.nodes.iter().filter(|node| node.state.is_alive());
    let reports: Vec<_> = alive.map(|node| node.report.as_ref()).collect::<Option<_>>()?;
    let first = reports.first()?;
    let at = first.applied_index;
    if reports.iter().any(|report| report.applied_index != at) {
        return None;
    }
    let count = reports.len();
    Some(match reports.iter().all(|report| report.state_hash == first.state_hash) {
        true => Ok(format!("{count} replicas have the state {} at {at}", first.state_hash)),
        false => {
            let hash =
                |report: &&NodeStatus| format!("node {} has {}", report.node, report.state_hash);
            let hashes: Vec<String> = reports.iter().map(hash).collect();
            Err(format!("at {at}, {}", hashes.join(", ")))
        }
    })
}

//! After the last fault: does the cluster come back, and is everything there?

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::{Instant, sleep};

use super::client::perform;
use super::generator::{beneath_locks, leases};
use super::load::{Left, Load, connect};
use super::onlookers::Seen;
use super::recorder::{Asked, Recording};
use super::site::Site;
use super::tape::Tape;
use super::verdict::{Expectation, Unmet};
use super::watch::Watch;
use super::wish::Wish;
use super::workload::{Kind, Reads};
use crate::client::prefix_end;
use crate::config::Address;
use crate::control::{ClusterStatus, NodeStatus, SupervisorClient};
use crate::etcd_client::{Client, Options, pb};
use crate::scenario::Held;
use crate::supervisor::launch::{self, Until};
use crate::types::{LogIndex, NodeId, Revision};
use crate::verify::history::{Call, Outcome};

/// For a cluster without faults to become ready.
const RECOVERY: Duration = Duration::from_secs(30);
/// For a read at the end, over all its tries.
const READ: Duration = Duration::from_secs(10);
/// For replicas that are ready to have applied the same.
const CATCH_UP: Duration = Duration::from_secs(10);
/// For leases that nobody keeps alive to end: they live for four seconds, and a leader that is new
/// starts them anew.
const LEASES: Duration = Duration::from_secs(15);
/// What a member without a vote says by etcd's API.
const LEARNER: &str = "etcdserver: rpc not supported for learner";
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(50);

/// Whether all that was asked and answered is in the history: said only if it is not.
pub fn is_whole(recording: &Recording) -> Option<Expectation> {
    let trouble = recording.trouble.clone()?;
    Some(Expectation::new("history", Err(Unmet::Unseen(trouble))))
}

/// What was found out after the last fault.
pub struct Concluded {
    /// From the beginning until the clients were stopped.
    pub worked: Duration,
    pub expectations: Vec<Expectation>,
    /// By the onlookers, if there were any.
    pub seen: Option<Seen>,
}

/// What must be so once the last fault has ended: the cluster recovers, the clients end, leases end
/// by themselves, the onlookers come to the last revision, every key is read through every node
/// that runs (through those of `known`, if nobody can say which), the replicas are compared, and it
/// is looked back at who led.
pub async fn conclude(
    supervisor: &Address,
    known: &[Site],
    load: Load,
    tape: &Tape,
    watch: &Watch,
) -> Concluded {
    let recovery = recovers(supervisor).await;
    let can_see = recovery.held != Held::Unknown;
    let worked = Duration::from_nanos(tape.now());
    let Left { prefix, has_leases, lane, onlookers } = load.stop().await;
    let nodes = running(supervisor).await.unwrap_or_else(|| known.to_vec());
    let mut expectations = vec![recovery];
    if has_leases {
        expectations.push(Expectation::new("leases", leases_end(&prefix, &nodes, tape).await));
    }
    let mut seen = None;
    if let Some(onlookers) = onlookers {
        let last = match etcd(&nodes) {
            Some(client) => last_revision(&client).await,
            None => Err("no node serves etcd's API".to_owned()),
        };
        let watched = onlookers.finish(last).await;
        seen = Some(watched.0);
        expectations.push(watched.1);
    }
    expectations.push(read_everywhere(&tape.keys(), &nodes, lane, tape, can_see).await);
    expectations.push(replicas_agree(supervisor).await);
    expectations.push(watch.one_leader_a_term());
    Concluded { worked, expectations, seen }
}

/// The nodes that run. Whoever was stopped on purpose takes no part.
async fn running(supervisor: &Address) -> Option<Vec<Site>> {
    Some(Site::running(&SupervisorClient::connect(supervisor).await.ok()?.status().await.ok()?))
}

/// All nodes that serve etcd's API, one after the other.
fn etcd(nodes: &[Site]) -> Option<Client> {
    let all = nodes.iter().filter_map(|site| Some(site.grpc?.to_string()));
    Client::new(all, Options { timeout: READ, ..Options::default() }).ok()
}

/// The store's last revision, as whoever leads confirms it.
async fn last_revision(client: &Client) -> Result<Revision, String> {
    let key = Bytes::from_static(b"\0");
    let request = pb::RangeRequest { key, count_only: true, ..Default::default() };
    let answer = client.range(request).await.map_err(|error| error.to_string())?;
    let revision = answer.header.map(|header| header.revision);
    let revision = revision.and_then(|revision| u64::try_from(revision).ok());
    revision.map(Revision).ok_or_else(|| "an answer without a revision".to_owned())
}

/// Whether all leases end, now that nobody keeps them alive, and their keys with them.
async fn leases_end(prefix: &str, nodes: &[Site], tape: &Tape) -> Result<String, Unmet> {
    let began = Instant::now();
    let Some(client) = etcd(nodes) else {
        return Err(Unmet::Unseen("no node serves etcd's API".to_owned()));
    };
    let ours = leases(tape.began_unix_millis());
    loop {
        // Each member for itself, and then the store as a whole.
        let mut living = Vec::new();
        for member in client.each() {
            let all = match member.leases().await {
                Ok(all) => all,
                // It has no say in anything, and tells nobody.
                Err(error) if error.text == LEARNER => continue,
                Err(error) => return Err(Unmet::Unseen(error.to_string())),
            };
            living.extend(all.into_iter().filter(|lease| ours.contains(&lease.0)));
        }
        let mut keys = 0;
        for prefix in [prefix.to_owned(), beneath_locks(prefix)] {
            let key = Bytes::from(prefix);
            let range_end = prefix_end(&key);
            let request =
                pb::RangeRequest { key, range_end, keys_only: true, ..Default::default() };
            let answer = client.range(request).await;
            let answer = answer.map_err(|error| Unmet::Unseen(error.to_string()))?;
            keys += answer.kvs.iter().filter(|kv| kv.lease != 0).count();
        }
        if living.is_empty() && keys == 0 {
            let millis = began.elapsed().as_millis();
            return Ok(format!("none was left, and no key of one, {millis} ms after the clients"));
        }
        if began.elapsed() >= LEASES {
            living.sort_unstable();
            living.dedup();
            let count = living.len();
            let why = format!("{count} leases that nobody keeps alive live on, and {keys} keys");
            return Err(Unmet::Broken(why));
        }
        sleep(GLANCE).await;
    }
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
    nodes: &[Site],
    lane: u64,
    tape: &Tape,
    seen: bool,
) -> Expectation {
    let readers = (lane..).zip(nodes).map(|(lane, Site { node, client, .. })| async move {
        let missing = read_at(keys, *node, client, lane, tape).await;
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
        let wish = Wish::of(Kind::Register, key, Call::Read);
        let asked = Asked { process, node: node.0, wish };
        tape.invoke(&asked);
        let ended = perform(&client, &asked.wish, Reads::Linearizable).await;
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

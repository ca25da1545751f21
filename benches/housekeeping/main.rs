//! What keeping house costs: snapshots, followers that come back, followers that do not, and being
//! watched.
//!
//! **The problem.** A store that is fast on an empty disk may stand still for a second whenever it
//! writes its state down, or starve everyone while one follower catches up.
//!
//! **The rule.** Each figure is a ratio within one run: the same cluster, the same load, first
//! undisturbed and then while the house is kept. Three nodes, fsync on.
//!
//! - *snapshot*: a state of `--state-mib`; puts without and with snapshots taken on all nodes
//!   meanwhile. The silence between two acknowledgements (99.9 %, and the longest).
//! - *catch-up*: a follower is down for `--missed` entries and comes back under load: see
//!   [`catch_up`].
//! - *dead follower*: `--dead` entries with one follower down; the leader's resident memory, and
//!   its log.
//! - *watched*: puts without and with those who ask for metrics and look at pages: see [`watched`].
//!
//! **The caveats.** Load and nodes share the machine's cores. The disk's speed is that of one
//! writer of 1 MiB with a sync each, through the same file system.

mod catch_up;
mod watched;

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use clap::Parser;
use kvraft::client::Client;
use kvraft::client::load::{self, Mix, Report, Target, Workload};
use kvraft::observe::Figures;
use kvraft::replica::Consistency;
use kvraft::testing::Cluster;
use kvraft::types::{LogIndex, NodeId};

const KVCTL: &str = env!("CARGO_BIN_EXE_kvctl");

#[derive(Parser, Debug)]
#[command(name = "make bench-housekeeping ARGS=…")]
struct Options {
    /// Which parts: snapshot, catch-up, dead-follower, watched.
    #[arg(long, value_delimiter = ',',
          default_values = ["snapshot", "catch-up", "dead-follower", "watched"])]
    parts: Vec<String>,
    /// State in the store while snapshots are taken.
    #[arg(long, default_value_t = 1024)]
    state_mib: u64,
    /// Entries that a follower misses.
    #[arg(long, default_value_t = 100_000)]
    missed: u64,
    /// Entries written while a follower is dead.
    #[arg(long, default_value_t = 10_000_000)]
    dead: u64,
    /// Pages of the console that are open while the cluster is watched.
    #[arg(long, default_value_t = 3)]
    pages: usize,
    /// How many clients, each with one put under way.
    #[arg(long, default_value_t = 64)]
    clients: usize,
    /// Rounds of which the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds of a measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Cargo passes it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The native client as the load generator wants it.
struct Connection(Client);

impl Target for Connection {
    async fn put(&self, key: Bytes, value: Bytes) -> Result<(), String> {
        self.0.put(key, value).await.map(drop).map_err(|error| error.to_string())
    }

    async fn get(&self, key: Bytes, stale: bool) -> Result<(), String> {
        let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
        self.0.get(key, consistency).await.map(drop).map_err(|error| error.to_string())
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    for part in &options.parts {
        match part.as_str() {
            "snapshot" => snapshot(&options)?,
            "catch-up" => catch_up::measure(&options)?,
            "dead-follower" => dead_follower(&options)?,
            "watched" => watched::measure_pairs(&options)?,
            other => bail!("there is no part {other}"),
        }
    }
    Ok(())
}

fn workload(options: &Options, keys: u64, value_bytes: usize, seconds: u64) -> Workload {
    Workload {
        mix: Mix::Put,
        clients: options.clients,
        value_bytes,
        keys,
        warm_up: Duration::from_secs(1),
        duration: Duration::from_secs(seconds),
        seed: 7,
    }
}

fn connections(cluster: &Cluster) -> Result<Vec<Connection>> {
    (0..4).map(|_| Ok(Connection(cluster.client()?))).collect()
}

fn measure(cluster: &Cluster, workload: &Workload) -> Result<Report> {
    let targets = connections(cluster)?;
    let report = cluster.block_on(load::run(&targets, workload));
    ensure!(report.errors == 0, "{} errors: {:?}", report.errors, report.first_error);
    Ok(report)
}

/// Runs kvctl on the cluster, in the background.
fn kvctl(cluster: &Cluster, arguments: &[&str]) -> Result<std::process::Child> {
    Command::new(KVCTL)
        .args(arguments)
        .env("KVRAFT_HOME", cluster.home())
        .stdout(std::process::Stdio::null())
        .spawn()
        .with_context(|| format!("running {KVCTL}"))
}

fn snapshot(options: &Options) -> Result<()> {
    const VALUE: usize = 4096;
    let keys = (options.state_mib << 20) / VALUE as u64;
    let cluster = Cluster::start(3)?;
    let targets = connections(&cluster)?;
    let fill = Workload { mix: Mix::Get, ..workload(options, keys, VALUE, 0) };
    cluster.block_on(load::fill(&targets, &fill)).map_err(|error| anyhow!(error))?;
    println!("snapshot: {keys} keys of {VALUE} B are in");
    let load = workload(options, keys, 256, options.seconds);
    for round in 1..=options.rounds {
        let plain = measure(&cluster, &load)?;
        let mut child = kvctl(&cluster, &["snapshot", "now", "--node", "all"])?;
        let during = measure(&cluster, &load)?;
        ensure!(child.wait()?.success(), "the snapshots were not taken");
        let gap = |report: &Report, at| report.gap_at(at).as_secs_f64() * 1e3;
        println!(
            "round {round}: {:.0} puts/s, gap p99.9 {:.2} ms, longest {:.1} ms; with snapshots \
             {:.0} puts/s, gap p99.9 {:.2} ms, longest {:.1} ms; ratio of p99.9 {:.2}",
            plain.rate(),
            gap(&plain, 0.999),
            gap(&plain, 1.0),
            during.rate(),
            gap(&during, 0.999),
            gap(&during, 1.0),
            gap(&during, 0.999) / gap(&plain, 0.999),
        );
    }
    cluster.down()?;
    Ok(())
}

fn commit_index(cluster: &Cluster) -> Result<LogIndex> {
    let status = cluster.status()?;
    let reports = status.nodes.iter().filter_map(|node| node.report.as_ref());
    reports.map(|report| report.commit_index).max().context("nobody reports")
}

fn applied_index(cluster: &Cluster, node: NodeId) -> Result<LogIndex> {
    let status = cluster.status()?;
    let report = status.node(node).and_then(|node| node.report.as_ref());
    Ok(report.map(|report| report.applied_index).unwrap_or_default())
}

/// Writes until the log has grown by so many entries.
fn write_entries(cluster: &Cluster, options: &Options, entries: u64) -> Result<()> {
    let goal = commit_index(cluster)? + entries;
    while commit_index(cluster)? < goal {
        let load = Workload { warm_up: Duration::ZERO, ..workload(options, 10_000, 256, 1) };
        measure(cluster, &load)?;
    }
    Ok(())
}

fn dead_follower(options: &Options) -> Result<()> {
    let cluster = Cluster::start(3)?;
    let leader = cluster.leader()?;
    let follower = *cluster.nodes().iter().find(|id| **id != leader).context("a follower")?;
    write_entries(&cluster, options, 50_000)?;
    cluster.stop(follower)?;
    let mut written = 0;
    let step = (options.dead / 10).max(1);
    while written < options.dead {
        write_entries(&cluster, options, step)?;
        written += step;
        let status = cluster.status()?;
        let node = status.leader.and_then(|id| status.node(id)).context("a leader")?;
        let pid = node.pid.context("the leader runs")?;
        let report = node.report.as_ref().context("the leader reports")?;
        println!(
            "dead follower: {written} entries, the leader takes {:.0} MiB of memory, its log {:.0} \
             MiB in {} segments",
            Figures::of_process(pid)?.resident_bytes as f64 / f64::from(1 << 20),
            report.log_bytes as f64 / f64::from(1 << 20),
            report.segments,
        );
    }
    let goal = commit_index(&cluster)?;
    cluster.start_node(follower)?;
    let began = Instant::now();
    while applied_index(&cluster, follower)? < goal {
        ensure!(began.elapsed() < Duration::from_secs(120), "it does not catch up");
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("dead follower: back, and level after {:.2?}", began.elapsed());
    cluster.down()?;
    Ok(())
}

//! kvraft and etcd, side by side on this machine: `make bench`.
//!
//! **The problem.** A benchmark of a consensus store on a shared machine says little: the noise
//! between identical runs reaches a factor of two, and a figure from another day or disk is no
//! measure of anything.
//!
//! **The rule.** Only ratios of what was measured together count. Both clusters run at the same
//! time, on the same disk, with fsync on, with the same number of members; the same loop drives
//! both, round about (ours, etcd, ours, etcd, …), each client with one request in flight, keys and
//! values alike. Reported is the median of the rounds, and beside it how much of the machine went
//! to its host's other guests ("steal") and to other processes here ("others"): where that is more
//! than a few percent, measure again.
//!
//! **The caveats.** The load comes from the same two cores that the nodes run on, and its cost is
//! part of each figure: ours over Cap'n Proto on Unix sockets, etcd's over its own gRPC API (there
//! is no cheaper way to reach it). The cluster that waits for its turn sends heartbeats meanwhile.
//! etcd runs with its defaults; its election time-out is 1 s, ours 150–300 ms, and that is most of
//! the difference in fail-over.

mod etcd;
mod machine;
mod ours;
mod report;
mod sample;
mod system;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, ValueEnum};
use kvraft::client::load::{self, Mix, Report as Measured, Workload};
use tokio::signal::unix::{SignalKind, signal};

use crate::etcd::Etcd;
use crate::machine::{Machine, Span};
use crate::ours::Ours;
use crate::report::{Comparison, Report, Times};
use crate::system::System;

/// Measures kvraft against etcd on this machine, in interleaved rounds.
#[derive(Parser, Clone, Debug)]
#[command(name = "make bench ARGS=…", no_binary_name = false)]
pub struct Options {
    /// Sizes of the clusters.
    #[arg(long, value_delimiter = ',', default_values_t = [3, 5])]
    members: Vec<usize>,
    /// How many clients, each with one request in flight.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64])]
    clients: Vec<usize>,
    /// What they do; a stale get reads from whatever member it reaches.
    #[arg(long, value_delimiter = ',', default_values = ["put", "get"])]
    ops: Vec<Op>,
    /// Length of a round.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Rounds for each of the two; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How often to measure from nothing to the first acknowledged write; 0: not at all.
    #[arg(long, default_value_t = 10)]
    starts: usize,
    /// How often to measure from the leader's SIGKILL to the next acknowledged write; 0: not.
    #[arg(long, default_value_t = 10)]
    failovers: usize,
    /// Leave out the memory of nodes that hold just the sample data.
    #[arg(long)]
    no_memory: bool,
    /// Also write everything, round by round, to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Cargo passes it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

/// One kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Op {
    Put,
    /// Linearizable.
    Get,
    /// etcd calls it serializable.
    StaleGet,
}

impl Op {
    fn mix(self) -> Mix {
        match self {
            Op::Put => Mix::Put,
            Op::Get => Mix::Get,
            Op::StaleGet => Mix::StaleGet,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Op::Put => "put",
            Op::Get => "get",
            Op::StaleGet => "stale-get",
        }
    }
}

/// Where the sample data lies, from the package's root.
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/packages.jsonl.gz");

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("an event loop: the machine is out of descriptors or memory");
    let local = tokio::task::LocalSet::new();
    let outcome = local.block_on(&runtime, async {
        // Whichever ends first drops the other: clusters, directories and all.
        tokio::select! {
            outcome = run(&options) => outcome.map(|()| ExitCode::SUCCESS),
            signal = interrupted() => signal.map(|()| ExitCode::from(130)),
        }
    });
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

async fn interrupted() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    eprintln!("\ninterrupted: stopping the clusters");
    Ok(())
}

async fn run(options: &Options) -> Result<()> {
    ensure!(options.rounds > 0 && options.seconds > 0.0, "--rounds and --seconds must be positive");
    ensure!(options.keys > 0, "--keys must be positive");
    ensure!(!options.clients.contains(&0), "--clients: at least one");
    ensure!(!options.members.contains(&0), "--members: at least one");
    let place = tempfile::Builder::new()
        .prefix("against-etcd-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .context("a directory on the disk of the build")?;
    let mut report = Report::new(options, Machine::describe(place.path())?, etcd::version()?);
    report.print_head();
    for &members in &options.members {
        throughput(options, members, &place, &mut report).await?;
    }
    let most = options.members.iter().copied().max().unwrap_or(5);
    if options.starts > 0 {
        report.times(starts(options.starts, most, &place).await?);
    }
    if options.failovers > 0 || !options.no_memory {
        loaded(options, most, &place, &mut report).await?;
    }
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    Ok(())
}

/// All operations and numbers of clients on a pair of clusters of one size.
async fn throughput(
    options: &Options,
    members: usize,
    place: &tempfile::TempDir,
    report: &mut Report,
) -> Result<()> {
    let ours = Ours::start(members, place.path()).await?;
    let etcd = Etcd::start(members, place.path()).await?;
    let mut workload = Workload {
        mix: Mix::Put,
        clients: 64,
        value_bytes: options.value_bytes,
        keys: options.keys,
        warm_up: Duration::ZERO,
        duration: Duration::from_secs_f64(options.seconds),
        seed: 1,
    };
    fill(&ours, &workload).await?;
    fill(&etcd, &workload).await?;
    for &op in &options.ops {
        for &clients in &options.clients {
            (workload.mix, workload.clients) = (op.mix(), clients);
            let our_connections = ours.connections(clients).await?;
            let etcd_connections = etcd.connections(clients).await?;
            let mut comparison = Comparison::new(members, op, clients);
            for n in 0..options.rounds {
                workload.seed = n as u64;
                comparison.ours.push(round(&ours, &our_connections, &workload).await?);
                comparison.etcd.push(round(&etcd, &etcd_connections, &workload).await?);
            }
            report.comparison(comparison);
        }
    }
    ours.stop().await?;
    etcd.stop().await
}

/// Writes every key once.
async fn fill<S: System>(system: &S, workload: &Workload) -> Result<()> {
    let connections = system.connections(64).await?;
    let filled = load::fill(&connections, workload).await;
    filled.map_err(|error| anyhow!("filling {}: {error}", S::NAME))
}

/// One round on one cluster, with what it cost the machine.
async fn round<S: System>(
    system: &S,
    connections: &[S::Connection],
    workload: &Workload,
) -> Result<(Measured, Span)> {
    // The first half second fills caches and windows and is not counted.
    let warm_up = Workload { duration: Duration::from_millis(500), ..workload.clone() };
    load::run(connections, &warm_up).await;
    let pids = system.pids().await?;
    let before = Machine::now(&pids)?;
    let measured = load::run(connections, workload).await;
    let span = before.until(&Machine::now(&pids)?);
    ensure!(
        measured.operations > 0,
        "{} completed nothing in {:?}: {}",
        S::NAME,
        workload.duration,
        measured.first_error.as_deref().unwrap_or("no error either")
    );
    Ok((measured, span))
}

async fn starts(count: usize, members: usize, place: &tempfile::TempDir) -> Result<Times> {
    let mut times = Times::new("from start to the first acknowledged write", members);
    for _ in 0..count {
        let ours = Ours::start(members, place.path()).await?;
        times.ours.push(ours.started_in());
        ours.stop().await?;
        let etcd = Etcd::start(members, place.path()).await?;
        times.etcd.push(etcd.started_in());
        etcd.stop().await?;
    }
    Ok(times)
}

/// Fresh clusters that hold the sample data: their memory, and how they get over losing a leader.
async fn loaded(
    options: &Options,
    members: usize,
    place: &tempfile::TempDir,
    report: &mut Report,
) -> Result<()> {
    let mut ours = Ours::start(members, place.path()).await?;
    let mut etcd = Etcd::start(members, place.path()).await?;
    let data = sample::read(SAMPLE.as_ref()).await?;
    sample::load(&ours.connections(64).await?, &data).await.context("kvraft")?;
    sample::load(&etcd.connections(64).await?, &data).await.context("etcd")?;
    if !options.no_memory {
        report.memory(members, data.len(), ours.memory().await?, etcd.memory().await?);
    }
    if options.failovers > 0 {
        let what = "from kill -9 of the leader to the next acknowledged write";
        let mut times = Times::new(what, members);
        for _ in 0..options.failovers {
            times.ours.push(ours.fail_over().await.context("kvraft's fail-over")?);
            times.etcd.push(etcd.fail_over().await.context("etcd's fail-over")?);
        }
        report.times(times);
    }
    ours.stop().await?;
    etcd.stop().await
}

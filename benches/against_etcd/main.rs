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
//! **Two ways to ours.** `--over native`: by Cap'n Proto on Unix sockets, as programs reach it that
//! are written for it; etcd is reached over its own gRPC API, since there is no other way. `--over
//! grpc`: both over etcd's API, by the same code and the same kind of connections. Then there is
//! also a server that does nothing, to tell what gRPC alone allows.
//!
//! **The caveats.** The load comes from the same two cores that the nodes run on, and its cost is
//! part of each figure. The cluster that waits for its turn sends heartbeats meanwhile. etcd runs
//! with its defaults; its election time-out is 1 s, ours 150–300 ms, and that is most of the
//! difference in fail-over.

mod etcd;
mod forgetting;
mod grpc;
mod machine;
mod many_keys;
mod nothing;
mod ours;
mod over_grpc;
mod report;
mod sample;
mod system;
mod throughput;
mod watchers;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use kvraft::retention::Retention;
use tokio::signal::unix::{SignalKind, signal};

use crate::etcd::Etcd;
use crate::machine::Machine;
use crate::ours::Ours;
use crate::over_grpc::OverGrpc;
use crate::report::{Report, Times};
use crate::system::System;

/// As the nodes': what the generator spends is taken from what is measured.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Measures kvraft against etcd on this machine, in interleaved rounds.
#[derive(Parser, Clone, Debug)]
#[command(name = "make bench ARGS=…", no_binary_name = false)]
pub struct Options {
    /// How kvraft is reached.
    #[arg(long, default_value = "native")]
    over: Over,
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
    /// What both keep of the past while they are driven: `all`, or so many revisions. By default
    /// each does as it is shipped: etcd keeps all, kvraft 10,000 revisions.
    #[arg(long)]
    keep: Option<Retention>,
    #[arg(long, default_value_t = 256)]
    value_bytes: usize,
    /// How often to measure from nothing to the first acknowledged write; 0: not at all.
    #[arg(long, default_value_t = 10)]
    starts: usize,
    /// How often to measure from the leader's SIGKILL to the next acknowledged write; 0: not.
    #[arg(long, default_value_t = 10)]
    failovers: usize,
    /// Over gRPC: watchers of one prefix, and whether every event reaches each of them; 0: not.
    #[arg(long, default_value_t = 0)]
    watchers: u64,
    /// Leave out the memory of nodes that hold just the sample data.
    #[arg(long)]
    no_memory: bool,
    /// Over gRPC: writes after which to look at the memory of nodes that keep the last 1,000
    /// revisions; 0: not.
    #[arg(long, default_value_t = 0)]
    forgetting: u64,
    /// Over gRPC: keys whose memory to measure, and how soon a node that has them is back; 0: not.
    #[arg(long, default_value_t = 0)]
    many_keys: u64,
    /// Also write everything, round by round, to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Cargo passes it to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
    /// Be a server that does nothing but answer values of so many bytes.
    #[arg(long, hide = true)]
    serve_nothing: Option<usize>,
}

/// How kvraft is reached.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Over {
    /// By its own client, on Unix sockets.
    Native,
    /// As etcd is.
    Grpc,
}

impl Over {
    fn as_str(self) -> &'static str {
        match self {
            Over::Native => "native",
            Over::Grpc => "grpc",
        }
    }
}

/// One kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub enum Op {
    Put,
    /// Linearizable.
    Get,
    /// etcd calls it serializable.
    StaleGet,
    /// A transaction that puts if the key was changed last when this client did so.
    Swap,
}

impl Op {
    fn as_str(self) -> &'static str {
        match self {
            Op::Put => "put",
            Op::Get => "get",
            Op::StaleGet => "stale-get",
            Op::Swap => "swap",
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
            outcome = begin(&options) => outcome.map(|()| ExitCode::SUCCESS),
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

async fn begin(options: &Options) -> Result<()> {
    if let Some(value_bytes) = options.serve_nothing {
        return nothing::serve(value_bytes).await;
    }
    ensure!(options.rounds > 0 && options.seconds > 0.0, "--rounds and --seconds must be positive");
    ensure!(options.keys > 0, "--keys must be positive");
    ensure!(!options.clients.contains(&0), "--clients: at least one");
    ensure!(!options.members.contains(&0), "--members: at least one");
    let only_grpc = options.forgetting > 0 || options.many_keys > 0 || options.watchers > 0;
    ensure!(
        !only_grpc || options.over == Over::Grpc,
        "--forgetting, --many-keys and --watchers want --over grpc"
    );
    let place = tempfile::Builder::new()
        .prefix("against-etcd-")
        .tempdir_in(env!("CARGO_TARGET_TMPDIR"))
        .context("a directory on the disk of the build")?;
    let mut report = Report::new(options, Machine::describe(place.path())?, etcd::version()?);
    report.print_head();
    match options.over {
        Over::Native => run::<Ours>(options, &place, &mut report).await?,
        Over::Grpc => run::<OverGrpc>(options, &place, &mut report).await?,
    }
    if options.forgetting > 0 {
        forgetting::run(options, &place, &mut report).await?;
    }
    if options.watchers > 0 {
        watchers::run(options, &place, &mut report).await?;
    }
    if options.many_keys > 0 {
        many_keys::run(options, &place, &mut report).await?;
    }
    if let Some(path) = &options.json {
        report.write_json(path)?;
    }
    Ok(())
}

async fn run<O: System>(
    options: &Options,
    place: &tempfile::TempDir,
    report: &mut Report,
) -> Result<()> {
    for &members in &options.members {
        throughput::run::<O>(options, members, place, report).await?;
    }
    let most = options.members.iter().copied().max().unwrap_or(5);
    if options.starts > 0 {
        report.times(starts::<O>(options.starts, most, place).await?);
    }
    if options.failovers > 0 || !options.no_memory {
        loaded::<O>(options, most, place, report).await?;
    }
    Ok(())
}

async fn starts<O: System>(
    count: usize,
    members: usize,
    place: &tempfile::TempDir,
) -> Result<Times> {
    let mut times = Times::new("from start to the first acknowledged write", members);
    for _ in 0..count {
        let ours = O::start(members, place.path()).await?;
        times.ours.push(ours.started_in());
        ours.stop().await?;
        let etcd = Etcd::start(members, place.path()).await?;
        times.etcd.push(etcd.started_in());
        etcd.stop().await?;
    }
    Ok(times)
}

/// Fresh clusters that hold the sample data: their memory, and how they get over losing a leader.
async fn loaded<O: System>(
    options: &Options,
    members: usize,
    place: &tempfile::TempDir,
    report: &mut Report,
) -> Result<()> {
    let mut ours = O::start(members, place.path()).await?;
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

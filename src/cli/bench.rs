//! `kvctl bench`: measures the cluster.

use std::time::Duration;

use serde::Serialize;

use super::Global;
use super::failure::{Exit, Failure, Outcome};
use super::interrupt::Interrupt;
use super::output::{self, Format, Progress};
use super::reach::{self, Cluster, Reach};
use super::units::{self, short_duration};
use crate::client::load::{self, Mix, Report, Workload};
use crate::client::{Client, Options};
use crate::control::State;

/// Measure the cluster with a closed loop of clients
///
/// Each client has one operation under way and starts the next when it is answered. All clients are
/// tasks of one thread and share a few connections, because this machine also runs the nodes. The
/// keys bench/… are written and stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl bench
  kvctl bench --op put --clients 1 --duration 5s
  kvctl bench --op mixed --clients 64 --value-size 4KiB --keys 100000
  kvctl bench --op stale-get -o json

JSON fields: schema_version, op, clients, connections, value_bytes, keys, seconds, operations,
ops_per_second, errors, first_error, latency_seconds: p50 p90 p99 p999 max mean; gap_seconds
(between one answer and the next, of all clients): p99 p999 max; cluster: name, nodes, running,
durability, transport, build (null where unknown); build (of kvctl)")]
pub struct Bench {
    /// What the clients do; mixed is half puts, half gets
    #[arg(long, value_enum, default_value_t = Op::Put)]
    pub op: Op,
    /// How many clients
    #[arg(long, default_value_t = 64, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=4096))]
    pub clients: u16,
    /// Connections that the clients share
    #[arg(long, default_value_t = 4, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub connections: u16,
    /// Size of a value
    #[arg(long, default_value = "256", value_name = "SIZE", value_parser = units::parse_size)]
    pub value_size: usize,
    /// Keys to draw from, evenly
    #[arg(long, default_value_t = 10_000, value_name = "K",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub keys: u64,
    /// How long to measure
    #[arg(long, default_value = "10s", value_name = "TIME",
          value_parser = units::parse_positive_duration)]
    pub duration: Duration,
    /// How long to run before that, uncounted
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = units::parse_duration)]
    pub warm_up: Duration,
    /// Draws the keys; the same seed, the same keys
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub seed: u64,
    #[command(flatten)]
    pub reach: Reach,
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Op {
    Put,
    Get,
    StaleGet,
    Mixed,
}

impl Op {
    fn mix(self) -> Mix {
        match self {
            Op::Put => Mix::Put,
            Op::Get => Mix::Get,
            Op::StaleGet => Mix::StaleGet,
            Op::Mixed => Mix::Mixed,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Op::Put => "put",
            Op::Get => "get",
            Op::StaleGet => "stale-get",
            Op::Mixed => "mixed",
        }
    }
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    op: &'static str,
    clients: u16,
    connections: u16,
    value_bytes: usize,
    keys: u64,
    seconds: f64,
    operations: u64,
    ops_per_second: f64,
    errors: u64,
    first_error: Option<String>,
    latency_seconds: Latency,
    gap_seconds: Gaps,
    cluster: Measured,
    build: &'static str,
}

#[derive(Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p999: f64,
    max: f64,
    mean: f64,
}

/// How long nobody was answered.
#[derive(Serialize)]
struct Gaps {
    p99: f64,
    p999: f64,
    max: f64,
}

/// The cluster that was measured.
#[derive(Serialize)]
struct Measured {
    name: Option<String>,
    nodes: usize,
    running: usize,
    durability: Option<String>,
    transport: Option<String>,
    build: Option<String>,
}

pub async fn run(global: &Global, command: Bench) -> Outcome {
    let mut interrupt = Interrupt::new()?;
    tokio::select! {
        outcome = measure(global, &command) => outcome,
        () = interrupt.wait() => {
            Err(Failure::new(Exit::Interrupted, "interrupted; the keys bench/… may be written"))
        }
    }
}

async fn measure(global: &Global, command: &Bench) -> Outcome {
    let max_in_flight = usize::from(command.clients.div_ceil(command.connections)).max(1);
    let options = Options {
        timeout: command.reach.timeout,
        max_in_flight: max_in_flight.max(32),
        ..Options::default()
    };
    let cluster = reach::connect_with(global, &command.reach, None, options.clone()).await?;
    let measured = measured(&cluster).await;
    let addresses: Vec<_> = cluster.client.endpoints().into_iter().map(|e| e.address).collect();
    let mut clients = vec![cluster.client.clone()];
    for _ in 1..command.connections.min(command.clients) {
        match Client::connect(&addresses, options.clone()).await {
            Ok(client) => clients.push(client),
            Err(error) => return Err(cluster.explain(error).await),
        }
    }
    let workload = Workload {
        mix: command.op.mix(),
        clients: command.clients.into(),
        value_bytes: command.value_size,
        keys: command.keys,
        warm_up: command.warm_up,
        duration: command.duration,
        seed: command.seed,
    };
    if workload.mix != Mix::Put {
        let _progress = Progress::spinner(format!("writing {} keys first", command.keys));
        load::fill(&clients, &workload).await.map_err(Failure::failed)?;
    }
    let report = {
        let time = short_duration(command.warm_up + command.duration);
        let _progress = Progress::spinner(format!("measuring {} for {time}", command.op.as_str()));
        load::run(&clients, &workload).await
    };
    print(global, command, clients.len() as u16, &report, measured)?;
    match (report.operations, report.first_error) {
        (0, Some(error)) => {
            Err(Failure::new(Exit::NoQuorum, format!("no operation succeeded: {error}"))
                .next(format!("see how the nodes are: kvctl{} cluster status", global.flag())))
        }
        _ => Ok(0),
    }
}

async fn measured(cluster: &Cluster<'_>) -> Measured {
    let hellos = cluster.client.hellos();
    let mut measured = Measured {
        name: None,
        nodes: cluster.client.endpoints().len(),
        running: hellos.len(),
        durability: None,
        transport: None,
        build: hellos.first().map(|hello| hello.build.clone()),
    };
    if let Some(status) = cluster.status().await {
        let reports = status.nodes.iter().filter_map(|node| node.report.as_ref());
        let mut durabilities: Vec<&str> =
            reports.map(|report| report.durability.as_str()).collect();
        durabilities.sort_unstable();
        durabilities.dedup();
        if !durabilities.is_empty() {
            measured.durability = Some(durabilities.join("+"));
        }
        let running = status.nodes.iter().filter(|node| node.state == State::Running);
        measured.running = running.count();
        measured.name = Some(status.name);
        measured.transport = Some(status.transport.as_str().to_owned());
        measured.build = Some(status.build);
    }
    measured
}

fn print(
    global: &Global,
    command: &Bench,
    connections: u16,
    report: &Report,
    cluster: Measured,
) -> Result<(), Failure> {
    let at = |quantile| report.latency_at(quantile);
    if global.output == Format::Json {
        let mean = report.latency.mean();
        return output::json(&Printed {
            op: command.op.as_str(),
            clients: command.clients,
            connections,
            value_bytes: command.value_size,
            keys: command.keys,
            seconds: report.duration.as_secs_f64(),
            operations: report.operations,
            ops_per_second: report.rate(),
            errors: report.errors,
            first_error: report.first_error.clone(),
            latency_seconds: Latency {
                p50: at(0.5).as_secs_f64(),
                p90: at(0.9).as_secs_f64(),
                p99: at(0.99).as_secs_f64(),
                p999: at(0.999).as_secs_f64(),
                max: at(1.0).as_secs_f64(),
                mean: if mean.is_finite() { mean / 1e6 } else { 0.0 },
            },
            gap_seconds: Gaps {
                p99: report.gap_at(0.99).as_secs_f64(),
                p999: report.gap_at(0.999).as_secs_f64(),
                max: report.gap_at(1.0).as_secs_f64(),
            },
            cluster,
            build: env!("CARGO_PKG_VERSION"),
        });
    }
    let head =
        ["op", "clients", "ops/s", "p50", "p90", "p99", "p99.9", "max", "longest gap", "errors"];
    let mut table = output::table(&head);
    let latency = |quantile| short_duration(at(quantile));
    table.add_row([
        command.op.as_str().to_owned(),
        command.clients.to_string(),
        format!("{:.0}", report.rate()),
        latency(0.5),
        latency(0.9),
        latency(0.99),
        latency(0.999),
        latency(1.0),
        short_duration(report.gap_at(1.0)),
        report.errors.to_string(),
    ]);
    output::print_table(&mut table)?;
    let unknown = || "unknown".to_owned();
    output::line(format!(
        "{} B values, {} keys, {connections} connections, {}; {} of {} nodes, durability {}, \
         transport {}, build {}",
        command.value_size,
        command.keys,
        short_duration(report.duration),
        cluster.running,
        cluster.nodes,
        cluster.durability.unwrap_or_else(unknown),
        cluster.transport.unwrap_or_else(unknown),
        cluster.build.unwrap_or_else(unknown),
    ))?;
    if let Some(error) = &report.first_error {
        output::warn(format!("{} operations failed; the first: {error}", report.errors));
    }
    Ok(())
}

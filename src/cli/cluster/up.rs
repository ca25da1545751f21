//! `kvctl cluster up`: creates a cluster, or starts the one there is.

use std::time::Duration;

use super::{down, status};
use crate::cli::Global;
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::{self, Format, Progress};
use crate::cli::units::{parse_positive_duration, short_duration};
use crate::config::{
    ClusterConfig, ClusterDirectory, Durability, Home, LogFormat, Slow, Transport,
};
use crate::control::{ClusterStatus, State, SupervisorClient};
use crate::supervisor::launch::{self, LaunchError, Start, Until, Wanted};

/// Start a cluster on this machine, and wait until every node is ready
///
/// The first time it is created as the options say; later, it is started as it is. A cluster that
/// runs already is left alone.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster up                      five nodes
  kvctl cluster up -n 3 --name small
  kvctl cluster up -n 5 --transport tcp
  kvctl cluster up --record             and later: kvctl replay 3
  kvctl cluster up --slow 20x           slow motion: watch it with `kvctl console`
  kvctl cluster up --foreground         stop it with Ctrl-C

JSON fields: those of `kvctl cluster status`")]
pub struct Up {
    /// How many nodes (for a new cluster; without it, 5)
    #[arg(short, long, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::config::MAX_NODES)))]
    pub nodes: Option<u32>,
    /// How nodes and clients talk (for a new cluster; without it, unix)
    #[arg(long, value_name = "unix|tcp")]
    pub transport: Option<Transport>,
    /// When a write counts as durable (for a new cluster); with anything but fsync, acknowledged
    /// writes can be lost
    #[arg(long, value_name = "fsync|fsync-drop-unsynced|none")]
    pub durability: Option<Durability>,
    /// Keep a record of each node's core, for `kvctl replay` (for a new cluster)
    #[arg(long)]
    pub record: bool,
    /// Slow motion: all that nodes do together takes so many times as long (for a new cluster)
    #[arg(long, value_name = "TIMES")]
    pub slow: Option<Slow>,
    /// How nodes and supervisor write their logs (for a new cluster; without it, text)
    #[arg(long, value_name = "text|json")]
    pub log_format: Option<LogFormat>,
    /// Stay, and take the cluster down on Ctrl-C
    #[arg(long)]
    pub foreground: bool,
    /// Give up when not every node is ready after this time
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
}

pub async fn run(global: &Global, command: Up) -> Outcome {
    let home = Home::from_environment()?;
    let directory = home.cluster(&global.name);
    let mut interrupt = match command.foreground {
        true => Some(Interrupt::new()?),
        false => None,
    };
    let wanted = Wanted {
        nodes: command.nodes,
        transport: command.transport,
        durability: command.durability,
        record: command.record.then_some(true),
        slow: command.slow,
        log_format: command.log_format,
    };
    let config =
        ClusterConfig::new(global.name.clone(), command.nodes.unwrap_or(launch::DEFAULT_NODES));
    let (config, new) = launch::create(&home, &config, &wanted)?;
    warn_if_even(config.nodes);
    if config.durability == Durability::None {
        output::warn("durability is none: a power cut loses acknowledged writes");
    }
    let running = launch::connect_or_adopt(&directory, &Start::default()).await.is_ok();
    if running && command.foreground {
        return Err(Failure::failed(format!("the cluster `{}` runs already", global.name))
            .next(format!("take it down first: kvctl{} cluster down", global.flag())));
    }
    let until_exit_of = command.foreground.then(std::process::id);
    let start = Start { until_exit_of, ..Start::default() };
    let supervisor = launch::start(&directory, &start).await?;
    let status = match &mut interrupt {
        None => ready(global, &supervisor, command.timeout).await?,
        Some(interrupt) => tokio::select! {
            status = ready(global, &supervisor, command.timeout) => status?,
            () = interrupt.wait() => return take_down(global, &directory).await,
        },
    };
    if global.output == Format::Table {
        output::note(match (running, new) {
            (true, _) => format!("the cluster `{}` runs already; nothing was changed", global.name),
            (false, true) => format!("created and started the cluster `{}`", global.name),
            (false, false) => format!("started the cluster `{}`", global.name),
        });
    }
    status::print(global, &status)?;
    match interrupt {
        None => Ok(0),
        Some(mut interrupt) => {
            output::note("in the foreground: Ctrl-C takes it down");
            interrupt.wait().await;
            take_down(global, &directory).await
        }
    }
}

/// A group of `n` nodes decides by a majority, so an even one tolerates no more failures.
pub fn warn_if_even(nodes: u32) {
    if nodes.is_multiple_of(2) {
        output::warn(format!(
            "{nodes} nodes tolerate the loss of {}, no more than {} nodes do: an odd number is \
             better",
            (nodes - 1) / 2,
            nodes - 1
        ));
    }
}

/// Waits until every node is ready; says meanwhile what is missing, and on failure what the failing
/// node said last.
async fn ready(
    global: &Global,
    supervisor: &SupervisorClient,
    timeout: Duration,
) -> Result<ClusterStatus, Failure> {
    let progress = Progress::spinner("starting");
    let show = |status: &ClusterStatus| {
        let running = status.nodes.iter().filter(|node| node.state == State::Running).count();
        let leader = if status.leader.is_some() { "a leader" } else { "no leader yet" };
        progress.message(format!("{running} of {} nodes run, {leader}", status.nodes.len()));
    };
    let waited = launch::wait(supervisor, Until::Ready, timeout, show).await;
    drop(progress);
    waited.map_err(|error| {
        let logs = format!("see what they say: kvctl{} cluster logs", global.flag());
        let down = format!("it was left as it is; to stop it: kvctl{} cluster down", global.flag());
        match error {
            LaunchError::NotReady { why, .. } => {
                let time = short_duration(timeout);
                Failure::new(Exit::NoQuorum, format!("not ready after {time}: {why}"))
            }
            other => other.into(),
        }
        .next(logs)
        .next(down)
    })
}

async fn take_down(global: &Global, directory: &ClusterDirectory) -> Outcome {
    output::note("taking it down");
    let receipt = launch::down(directory, None).await?;
    down::print(global, &receipt, false)
}

//! `kvctl cluster run`: a throw-away cluster around a command.
//!
//! # What can go wrong
//!
//! - *Ctrl-C.* The command decides how to end (`child`); the cluster goes when it has.
//! - *kvctl itself is killed.* The supervisor was told to end, and to remove everything, when this
//!   process ends, however it ends.

use std::ffi::OsString;
use std::io;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::Child;

use super::up::warn_if_even;
use crate::cli::Global;
use crate::cli::child;
use crate::cli::env::variables;
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::{self, Progress};
use crate::cli::units::parse_positive_duration;
use crate::config::{ClusterConfig, ClusterDirectory, Home, Transport};
use crate::control::ClusterStatus;
use crate::supervisor::launch::{self, LaunchError, Start, Until, Wanted};

/// Run a command with a throw-away cluster around it
///
/// The command finds the cluster through KVRAFT_ENDPOINTS (or KVRAFT_HOME and KVRAFT_NAME, which
/// kvctl itself reads), and as an etcd through ETCDCTL_ENDPOINTS. When it ends, the cluster goes
/// with all its data, and the command's exit code is returned.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster run -- kvctl put a 1
  kvctl cluster run -n 5 -- sh -c 'kvctl import data.jsonl && kvctl bench'
  kvctl cluster run -- cargo test")]
pub struct Run {
    /// How many nodes
    #[arg(short, long, default_value_t = 3, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::config::MAX_NODES)))]
    pub nodes: u32,
    /// How nodes and clients talk
    #[arg(long, default_value = "unix", value_name = "unix|tcp")]
    pub transport: Transport,
    /// Give up when not every node is ready after this time
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

pub async fn run(global: &Global, command: Run) -> Outcome {
    let mut interrupt = Interrupt::new()?;
    warn_if_even(command.nodes);
    let mut config = ClusterConfig::new(global.name.clone(), command.nodes);
    config.transport = command.transport;
    let cluster = ThrowAway::new(&config)?;
    let started = tokio::select! {
        started = cluster.start(command.nodes, command.timeout) => started,
        () = interrupt.wait() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    let ended = match started {
        Ok(status) => around(global, &cluster.home, &status, &command.command).await,
        Err(failure) => Err(failure),
    };
    cluster.end(ended).await
}

/// A cluster that goes, with all its data, when this process is done with it.
pub struct ThrowAway {
    place: TempDir,
    home: Home,
    pub directory: ClusterDirectory,
}

impl ThrowAway {
    /// One that does not run yet.
    pub fn new(config: &ClusterConfig) -> Result<ThrowAway, Failure> {
        let place = TempDir::with_prefix("kvraft-run-").map_err(|error| {
            Failure::failed(format!("cannot make a temporary directory: {error}"))
                .next("set TMPDIR to a directory that you may write to")
        })?;
        let home = Home::at(place.path())?;
        let directory = home.cluster(&config.name);
        launch::create(&home, config, &Wanted::default())?;
        Ok(ThrowAway { place, home, directory })
    }

    /// How its supervisor is started: it goes with this process, and takes all with it.
    pub fn how() -> Start {
        Start { until_exit_of: Some(std::process::id()), throw_away: true }
    }

    /// Starts it, and waits until it is ready.
    pub async fn start(&self, nodes: u32, timeout: Duration) -> Result<ClusterStatus, Failure> {
        let _progress = Progress::spinner(format!("starting {nodes} nodes"));
        let supervisor = launch::start(&self.directory, &ThrowAway::how()).await?;
        Ok(launch::wait(&supervisor, Until::Ready, timeout, |_| {}).await?)
    }

    /// Takes it down and away; `ended` is what it was good for.
    pub async fn end(self, ended: Outcome) -> Outcome {
        let down = take_down(&self.directory).await;
        let gone = self.place.close();
        let code = ended?;
        down?;
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::failed(format!("cannot remove the cluster's data: {error}")))
            }
            _ => Ok(code), // a supervisor that went on its own has removed it already
        }
    }
}

/// Runs the command and returns its code.
async fn around(
    global: &Global,
    home: &Home,
    status: &ClusterStatus,
    command: &[OsString],
) -> Outcome {
    child::wait(&mut spawn(global, home, status, command)?).await
}

fn spawn(
    global: &Global,
    home: &Home,
    status: &ClusterStatus,
    command: &[OsString],
) -> Result<Child, Failure> {
    let endpoints: Vec<String> = status.nodes.iter().map(|node| node.client.to_string()).collect();
    let mut command = child::command(command)?;
    command
        .env("KVRAFT_NAME", global.name.as_str())
        .env("KVRAFT_HOME", home.path())
        .env("KVRAFT_ENDPOINTS", endpoints.join(","))
        .envs(variables(status).into_iter().map(|it| (it.name, it.value)));
    child::spawn(command)
}

async fn take_down(directory: &ClusterDirectory) -> Result<(), Failure> {
    let _progress = Progress::spinner("taking the cluster down");
    match launch::down(directory, None).await {
        Ok(receipt) if receipt.left.is_clean() => Ok(()),
        Ok(receipt) => {
            let left = &receipt.left;
            output::warn(format!("left behind: {left:?}"));
            Err(Failure::failed("the throw-away cluster did not go entirely"))
        }
        Err(LaunchError::NotRunning { .. } | LaunchError::NoSuchCluster { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

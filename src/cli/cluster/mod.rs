//! `kvctl cluster`: the cluster as a whole.

mod down;
mod events;
mod list;
mod logs;
mod restart;
mod run;
mod status;
mod up;
mod wait;

use super::failure::{Failure, Outcome};
use super::{Global, output, reach};
use crate::config::ClusterDirectory;
use crate::control::{ClusterStatus, SupervisorClient};
use crate::supervisor::launch::{self, LaunchError};

/// What can be done to a cluster.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl cluster up -n 5
  kvctl cluster status
  kvctl cluster down")]
pub enum Cluster {
    Up(up::Up),
    Run(run::Run),
    Down(down::Down),
    Status(status::Status),
    Wait(wait::Wait),
    List(list::List),
    Restart(restart::Restart),
    Logs(logs::Logs),
    Events(events::Events),
}

pub async fn run(global: &Global, command: Cluster) -> Outcome {
    match command {
        Cluster::Up(command) => up::run(global, command).await,
        Cluster::Run(command) => run::run(global, command).await,
        Cluster::Down(command) => down::run(global, command).await,
        Cluster::Status(command) => status::run(global, command).await,
        Cluster::Wait(command) => wait::run(global, command).await,
        Cluster::List(command) => list::run(global, command).await,
        Cluster::Restart(command) => restart::run(global, command).await,
        Cluster::Logs(command) => logs::run(global, command).await,
        Cluster::Events(command) => events::run(global, command).await,
    }
}

/// Talks to the cluster's supervisor; starts one if the old one died.
pub async fn supervisor(global: &Global) -> Result<SupervisorClient, Failure> {
    let directory = reach::directory(global)?;
    let (supervisor, adopted) =
        launch::connect_or_adopt(&directory).await.map_err(|e| explain(global, &directory, e))?;
    if adopted {
        output::note("the supervisor was gone; a new one has adopted the running nodes");
    }
    Ok(supervisor)
}

/// What the supervisor says of the cluster.
pub async fn status(global: &Global) -> Result<ClusterStatus, Failure> {
    Ok(supervisor(global).await?.status().await?)
}

/// Makes an error a failure of a command on this cluster.
fn explain(global: &Global, directory: &ClusterDirectory, error: LaunchError) -> Failure {
    match error {
        LaunchError::NoSuchCluster { .. } => reach::no_cluster(global, directory),
        LaunchError::NotRunning { .. } => reach::not_running(global),
        other => other.into(),
    }
}

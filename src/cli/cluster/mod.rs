//! `kvctl cluster`: the cluster as a whole.

mod down;
mod events;
mod list;
mod logs;
mod recover;
mod restart;
mod run;
mod status;
mod up;
mod wait;

pub use run::ThrowAway;
pub use status::endpoint as short_address;
pub use up::warn_if_even;

use super::failure::{Failure, Outcome};
use super::{Global, output, reach};
use crate::config::ClusterDirectory;
use crate::control::{ClusterStatus, ControlError, SupervisorClient};
use crate::supervisor::launch::{self, LaunchError, Start};

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
    Recover(recover::Recover),
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
        Cluster::Recover(command) => recover::run(global, &command),
    }
}

/// How often a supervisor that takes a connection and breaks it is tried.
const TRIES: u32 = 3;

/// Talks to the cluster's supervisor, and hears from it; starts one if the old one died. While a
/// process dies, the kernel still takes connections for it: hence more than one try.
async fn hear(global: &Global) -> Result<(SupervisorClient, ClusterStatus), Failure> {
    let directory = reach::directory(global)?;
    let mut tries = 0;
    loop {
        tries += 1;
        let (supervisor, adopted) = launch::connect_or_adopt(&directory, &Start::default())
            .await
            .map_err(|error| explain(global, &directory, error))?;
        match supervisor.status().await {
            Err(ControlError::Broken { .. }) if tries < TRIES => {}
            Err(error) => return Err(error.into()),
            Ok(status) => {
                if adopted {
                    output::note(
                        "the supervisor was gone; a new one has adopted the running nodes",
                    );
                }
                return Ok((supervisor, status));
            }
        }
    }
}

/// Talks to the cluster's supervisor; starts one if the old one died.
pub async fn supervisor(global: &Global) -> Result<SupervisorClient, Failure> {
    Ok(hear(global).await?.0)
}

/// What the supervisor says of the cluster.
pub async fn status(global: &Global) -> Result<ClusterStatus, Failure> {
    Ok(hear(global).await?.1)
}

/// Makes an error a failure of a command on this cluster.
fn explain(global: &Global, directory: &ClusterDirectory, error: LaunchError) -> Failure {
    match error {
        LaunchError::NoSuchCluster { .. } => reach::no_cluster(global, directory),
        LaunchError::NotRunning { .. } => reach::not_running(global),
        other => other.into(),
    }
}

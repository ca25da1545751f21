//! `kvctl cluster list`: the clusters of this user on this machine.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use crate::cli::Global;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::config::{ClusterConfig, ClusterDirectory, ClusterName, Home};
use crate::control::{ClusterStatus, State, SupervisorClient};

/// A supervisor that is paused or overrun must not hold up the list.
const PATIENCE: Duration = Duration::from_secs(1);

/// List the clusters on this machine
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster list
  for name in $(kvctl cluster list -o name); do kvctl --name $name cluster down; done

JSON fields: schema_version, clusters: name, state (running, down, unreadable), nodes, running,
leader, transport, directory (null where unknown)")]
pub struct List {}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    clusters: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    name: ClusterName,
    state: &'static str,
    nodes: Option<u32>,
    running: usize,
    leader: Option<crate::types::NodeId>,
    transport: Option<&'static str>,
    directory: std::path::PathBuf,
}

pub async fn run(global: &Global, _: List) -> Outcome {
    let home = Home::from_environment()?;
    let mut clusters = Vec::new();
    for (name, directory) in home.list()? {
        clusters.push(row(name, &directory).await);
    }
    match global.output {
        Format::Json => output::json(&Printed { clusters })?,
        Format::Name => clusters.iter().try_for_each(|c| output::line(c.name.as_str()))?,
        Format::Table if clusters.is_empty() => {
            output::note(format!("there is no cluster in {}", home.path().display()));
        }
        Format::Table => print_table(&clusters)?,
    }
    Ok(0)
}

async fn row(name: ClusterName, directory: &ClusterDirectory) -> Row {
    let config = ClusterConfig::read(&directory.cluster_toml());
    let status = timeout(PATIENCE, status(directory)).await.ok().flatten();
    let state = match (&status, &config) {
        (Some(_), _) => "running",
        (None, Ok(_)) => "down",
        (None, Err(_)) => "unreadable",
    };
    let running = |status: &ClusterStatus| {
        status.nodes.iter().filter(|node| node.state == State::Running).count()
    };
    Row {
        name,
        state,
        nodes: config.as_ref().ok().map(|config| config.nodes),
        running: status.as_ref().map_or(0, running),
        leader: status.as_ref().and_then(|status| status.leader),
        transport: config.as_ref().ok().map(|config| config.transport.as_str()),
        directory: directory.path().to_owned(),
    }
}

async fn status(directory: &ClusterDirectory) -> Option<ClusterStatus> {
    let client = SupervisorClient::connect(&directory.supervisor_address()).await.ok()?;
    client.status().await.ok()
}

fn print_table(clusters: &[Row]) -> Result<(), Failure> {
    let mut table = output::table(&["name", "state", "nodes", "leader", "transport", "directory"]);
    for cluster in clusters {
        let none = || "-".to_owned();
        table.add_row([
            cluster.name.to_string(),
            cluster.state.to_owned(),
            cluster.nodes.map_or_else(none, |nodes| format!("{}/{nodes}", cluster.running)),
            cluster.leader.map_or_else(none, |leader| leader.to_string()),
            cluster.transport.map_or_else(none, str::to_owned),
            cluster.directory.display().to_string(),
        ]);
    }
    output::print_table(&mut table)
}

//! `kvctl cluster restart`: every node anew, one after the other.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::cli::Global;
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::output::{self, Format, Progress};
use crate::cli::units::{parse_positive_duration, short_duration};
use crate::control::{Action, ClusterStatus, State, SupervisorClient};
use crate::types::NodeId;

/// How often the supervisor is asked.
const POLL: Duration = Duration::from_millis(50);

/// A leader gets so long to hand its leadership over.
const HANDOVER: Duration = Duration::from_secs(5);

/// Restart every node, one after the other, so that the cluster goes on serving
///
/// The followers first and the leader last, after it has handed its leadership over; the next node
/// waits until the one before is ready again. Nodes that are stopped stay so.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster restart

JSON fields: schema_version, restarted (ids, in this order), seconds")]
pub struct Restart {
    /// Give up when a node is not ready again after this time
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    restarted: Vec<NodeId>,
    seconds: f64,
}

pub async fn run(global: &Global, command: Restart) -> Outcome {
    let began = Instant::now();
    let supervisor = super::supervisor(global).await?;
    let status = supervisor.status().await?;
    let mut nodes: Vec<NodeId> =
        status.nodes.iter().filter(|n| n.state.is_alive()).map(|n| n.node).collect();
    nodes.sort_by_key(|node| (Some(*node) == status.leader, *node));
    let mut restarted = Vec::new();
    for node in nodes {
        let progress = Progress::spinner(format!("restarting node {node}"));
        restart(&supervisor, node, command.timeout).await.map_err(|failure| {
            failure.next(format!("{} nodes were restarted before it", restarted.len())).next(
                format!("see what it says: kvctl{} cluster logs --node {node}", global.flag()),
            )
        })?;
        drop(progress);
        if global.output == Format::Table {
            output::line(format!("node {node} restarted"))?;
        }
        restarted.push(node);
    }
    let seconds = began.elapsed().as_secs_f64();
    match global.output {
        Format::Json => output::json(&Printed { restarted, seconds })?,
        Format::Name => restarted.iter().try_for_each(|node| output::line(node.to_string()))?,
        Format::Table => {}
    }
    Ok(0)
}

/// Restarts one node and waits until the cluster is as well as it was.
async fn restart(
    supervisor: &SupervisorClient,
    node: NodeId,
    timeout: Duration,
) -> Result<(), Failure> {
    // A handover is abandoned after an election time-out: on a busy machine it takes a second try.
    for is_last in [false, true] {
        if supervisor.status().await?.leader != Some(node) {
            break;
        }
        match supervisor.transfer(None, timeout.min(HANDOVER)).await {
            Ok(_) => break,
            // A cluster of one has nobody to hand over to; else there is a gap, and no more.
            Err(error) if is_last => {
                output::note(format!("node {node} is restarted as the leader: {error}"));
            }
            Err(_) => {}
        }
    }
    supervisor.act(Some(node), Action::Restart, true).await?;
    let end = Instant::now() + timeout;
    loop {
        let status = supervisor.status().await?;
        if status.leader.is_some() && is_ready(&status, node) {
            return Ok(());
        }
        if Instant::now() >= end {
            let time = short_duration(timeout);
            let what = format!("node {node} was not ready again after {time}");
            return Err(Failure::new(Exit::NoQuorum, what));
        }
        sleep(POLL).await;
    }
}

fn is_ready(status: &ClusterStatus, node: NodeId) -> bool {
    status.node(node).is_some_and(|state| {
        state.state == State::Running && state.report.as_ref().is_some_and(|report| report.ready)
    })
}

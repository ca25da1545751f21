//! `kvctl leader`: who leads, and changing that without a gap that anybody notices.

use std::time::Duration;

use serde::Serialize;

use super::failure::{Failure, Outcome};
use super::output::{self, Format};
use super::units::parse_positive_duration;
use super::{Global, cluster, member, reach};
use crate::control::Handover;
use crate::types::NodeId;

/// What can be done to the leadership.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl leader transfer                 to whoever is furthest
  kvctl leader transfer 3")]
pub enum Leader {
    Transfer(Transfer),
}

/// Hand the leadership to another voter
///
/// The leader stops taking writes, lets the other one catch up, and tells it to stand for election
/// at once. Writes that arrive meanwhile wait, and none is lost. If it cannot be done within an
/// election time-out the old leader goes on, and it is tried again until --timeout.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl leader transfer
  kvctl leader transfer 3 --timeout 2s
  kvctl leader transfer -o json | jq .took_millis

JSON fields: schema_version, from, to, term (the new leader's), took_millis (from the order until
the new leader said that it leads: without a leader the cluster was for less)")]
pub struct Transfer {
    /// To whom [default: to the voter that is furthest]
    #[arg(value_name = "ID", value_parser = reach::parse_node)]
    pub to: Option<NodeId>,
    /// Give up after this time
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    #[serde(flatten)]
    handover: Handover,
}

pub async fn run(global: &Global, command: Leader) -> Outcome {
    let Leader::Transfer(Transfer { to, timeout }) = command;
    let supervisor = cluster::supervisor(global).await?;
    let call = supervisor.transfer(to, timeout);
    let handover = member::watched(&supervisor, "handing the leadership over", call)
        .await
        .map_err(|failure| advise(global, failure))?;
    let Handover { from, to, term, took_millis } = handover;
    match global.output {
        Format::Json => output::json(&Printed { handover })?,
        Format::Name => output::line(to.to_string())?,
        Format::Table => output::line(format!(
            "node {from} handed the leadership to node {to} (term {term}); it took {took_millis} ms"
        ))?,
    }
    Ok(0)
}

fn advise(global: &Global, failure: Failure) -> Failure {
    failure.next(format!("see who leads, and who could: kvctl{} member list", global.flag()))
}

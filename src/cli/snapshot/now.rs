//! `kvctl snapshot now`: nodes take a snapshot, and shorten their logs.

use std::time::Duration;

use serde::Serialize;

use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::cli::units::parse_positive_duration;
use crate::cli::{Global, cluster, member, reach};
use crate::control::Taken;
use crate::types::NodeId;

/// Take a snapshot now, on every node that runs, one after the other
///
/// Writes go on meanwhile. Once a snapshot is durable, the log before it is removed, except for a
/// tail for followers that are only a little behind (`keep_entries` in cluster.toml: 10,000, unless
/// that was changed). Nodes do this by themselves as their logs grow; nobody has to.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl snapshot now
  kvctl snapshot now --node 2

JSON fields: schema_version, taken: node, done, message")]
pub struct Now {
    /// Only on this node, or on `all`
    #[arg(long, value_name = "ID|all", default_value = "all", value_parser = parse_which)]
    pub node: Which,
    /// Give up after this time
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
}

/// One node, or all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    All,
    Node(NodeId),
}

fn parse_which(text: &str) -> Result<Which, String> {
    match text {
        "all" => Ok(Which::All),
        _ => reach::parse_node(text)
            .map(Which::Node)
            .map_err(|_| "write a node's id (a number from 1) or `all`".to_owned()),
    }
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    taken: Vec<Taken>,
}

pub async fn run(global: &Global, command: Now) -> Outcome {
    let supervisor = cluster::supervisor(global).await?;
    let node = match command.node {
        Which::All => None,
        Which::Node(node) => Some(node),
    };
    let call = supervisor.take_snapshot(node, command.timeout);
    let taken =
        member::watched(&supervisor, "taking snapshots", call).await.map_err(|failure| {
            failure.next(format!("see how the nodes are: kvctl{} cluster status", global.flag()))
        })?;
    let failed: Vec<String> = taken
        .iter()
        .filter(|taken| !taken.done)
        .map(|taken| format!("node {}: {}", taken.node, taken.message))
        .collect();
    match global.output {
        Format::Json => output::json(&Printed { taken })?,
        Format::Name => {
            let done = taken.iter().filter(|taken| taken.done);
            done.map(|taken| taken.node.to_string()).try_for_each(output::line)?;
        }
        Format::Table => {
            for taken in taken.iter().filter(|taken| taken.done) {
                output::line(format!("node {}: {}", taken.node, taken.message))?;
            }
        }
    }
    match failed.is_empty() {
        true => Ok(0),
        false => Err(Failure::failed(format!("no snapshot of {}", failed.join("; ")))
            .next(format!("see what they say: kvctl{} cluster logs", global.flag()))),
    }
}

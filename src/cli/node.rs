//! `kvctl node`: one node, by its id or as `leader`.

use serde::Serialize;

use super::failure::{Failure, Outcome};
use super::output::{self, Format, Progress};
use super::{Global, cluster, reach};
use crate::control::{Action, ControlError};
use crate::types::NodeId;

/// What can be done to a node.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl node kill leader                SIGKILL; the supervisor starts it again
  kvctl node stop 2 3                   stay down, until:
  kvctl node start 2 3
  kvctl node pause 3                    frozen, not dead; until:
  kvctl node resume 3

JSON fields: schema_version, action, nodes (the ids of those it was done to)")]
pub enum Node {
    /// Start a node that is stopped or has crashed too often
    #[command(after_help = "Examples:\n  kvctl node start 2")]
    Start(Targets),
    /// Stop a node gracefully; it stays down until `node start`
    #[command(after_help = "Examples:\n  kvctl node stop 2\n  kvctl node stop leader")]
    Stop(Targets),
    /// Kill a node (SIGKILL); the supervisor starts it again
    #[command(after_help = "Examples:\n  kvctl node kill leader\n  kvctl node kill 4")]
    Kill(Targets),
    /// Freeze a node (SIGSTOP): alive, but silent, until `node resume`
    #[command(after_help = "Examples:\n  kvctl node pause leader\n  kvctl node pause 3")]
    Pause(Targets),
    /// Let a paused node go on (SIGCONT)
    #[command(after_help = "Examples:\n  kvctl node resume 3")]
    Resume(Targets),
    /// Stop a node and start it again
    #[command(after_help = "Examples:\n  kvctl node restart 1\n  kvctl node restart leader")]
    Restart(Targets),
}

/// Which nodes.
#[derive(Clone, Debug, clap::Args)]
pub struct Targets {
    /// Their ids, or `leader`; one after the other
    #[arg(required = true, value_name = "ID|leader", value_parser = parse_target)]
    pub targets: Vec<Who>,
    /// Even if it takes away the quorum of a protected cluster
    #[arg(long)]
    pub yes: bool,
}

/// A node by its id, or whichever leads now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Leader,
    Node(NodeId),
}

pub fn parse_target(text: &str) -> Result<Who, String> {
    match text {
        "leader" => Ok(Who::Leader),
        _ => reach::parse_node(text)
            .map(Who::Node)
            .map_err(|_| "write a node's id (a number from 1) or `leader`".to_owned()),
    }
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    action: Action,
    nodes: Vec<NodeId>,
}

pub async fn run(global: &Global, command: Node) -> Outcome {
    let (action, targets, done) = match command {
        Node::Start(targets) => (Action::Start, targets, "started"),
        Node::Stop(targets) => (Action::Stop, targets, "stopped"),
        Node::Kill(targets) => (Action::Kill, targets, "killed"),
        Node::Pause(targets) => (Action::Pause, targets, "paused"),
        Node::Resume(targets) => (Action::Resume, targets, "resumed"),
        Node::Restart(targets) => (Action::Restart, targets, "restarted"),
    };
    let supervisor = cluster::supervisor(global).await?;
    let mut nodes = Vec::new();
    for who in targets.targets {
        let (node, was) = match who {
            Who::Leader => (None, " (the leader)"),
            Who::Node(node) => (Some(node), ""),
        };
        let acted = {
            let name = node.map_or_else(|| "the leader".to_owned(), |node| format!("node {node}"));
            let _progress = Progress::spinner(format!("{action}: {name}"));
            supervisor.act(node, action, targets.yes).await
        };
        let node = acted.map_err(|error| refused(global, node, error))?;
        nodes.push(node);
        match global.output {
            Format::Json => {}
            Format::Name => output::line(node.to_string())?,
            Format::Table => output::line(format!("node {node}{was} {done}"))?,
        }
    }
    if global.output == Format::Json {
        output::json(&Printed { action, nodes })?;
    }
    Ok(0)
}

/// An id that does not exist is wrong usage; all else failed.
fn refused(global: &Global, node: Option<NodeId>, error: ControlError) -> Failure {
    let next = format!("see how the nodes are: kvctl{} cluster status", global.flag());
    match (&error, node) {
        (ControlError::Refused(it), Some(_)) if it.why.contains("no node") => {
            Failure::usage(it.why.clone()).next(next)
        }
        _ => Failure::from(error).next(next),
    }
}

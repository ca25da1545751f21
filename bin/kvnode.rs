//! `kvnode`: one node of a cluster. Usually the supervisor starts it.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use kvraft::config::{ConfigError, Members, NodeConfig};
use kvraft::node::{self, EXIT_CONFIGURATION, NodeError};

/// A turn of a busy node needs and returns thousands of small pieces of memory. This does it for
/// about a tenth less of the processor than the system's own allocator, and holds less.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const EXAMPLES: &str = "\
Examples:
  kvnode init --config nodes/1/node.toml --initial members.toml
      Once in a node's life: creates its log, which begins with who the members are.
  kvnode init --config nodes/6/node.toml --join
      The same for a node that joins a cluster that runs: its log is empty, and it waits for a
      leader to send it what it lacks.
  kvnode run --config nodes/1/node.toml
      Runs the node until SIGTERM or SIGINT. It logs to node.log in its directory; KVRAFT_LOG
      chooses what (such as `debug`).

Exit codes:
  0   stopped on request
  1   failed; the reason is the last line of node.log
  2   wrong usage
  78  the configuration or the log cannot be used; starting it again will not help";

/// One node of a kvraft cluster. Usually kvsupd starts it.
#[derive(Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a new node's log; refuses if there is one.
    Init {
        /// What the node needs to know: node.toml.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Who the members of a new cluster are: members.toml.
        #[arg(long, value_name = "FILE", required_unless_present = "join")]
        initial: Option<PathBuf>,
        /// Create an empty log, for a node that is to join a cluster that runs.
        #[arg(long, conflicts_with = "initial")]
        join: bool,
    },
    /// Run the node until it is told to stop.
    Run {
        /// What the node needs to know: node.toml.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Node(#[from] NodeError),
}

fn main() -> ExitCode {
    let Err(failure) = carry_out(Arguments::parse().command) else { return ExitCode::SUCCESS };
    eprintln!("error: {failure}");
    match failure {
        Failure::Config(_) => ExitCode::from(EXIT_CONFIGURATION),
        Failure::Node(error) => ExitCode::from(error.exit_code()),
    }
}

fn carry_out(command: Command) -> Result<(), Failure> {
    match command {
        Command::Init { config, initial: Some(initial), .. } => {
            let (config, members) = (NodeConfig::read(&config)?, Members::read(&initial)?);
            Ok(node::init(&config, &members, &initial)?)
        }
        Command::Init { config, initial: None, .. } => Ok(node::join(&NodeConfig::read(&config)?)?),
        Command::Run { config } => Ok(node::run(NodeConfig::read(&config)?)?),
    }
}

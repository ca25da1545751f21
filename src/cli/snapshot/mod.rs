//! `kvctl snapshot`: the state as of an entry, as one file.

mod now;

use super::Global;
use super::failure::Outcome;

/// What can be done with snapshots.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl snapshot now                    on every node, and let the logs be compacted")]
pub enum Snapshot {
    Now(now::Now),
}

pub async fn run(global: &Global, command: Snapshot) -> Outcome {
    match command {
        Snapshot::Now(command) => now::run(global, command).await,
    }
}

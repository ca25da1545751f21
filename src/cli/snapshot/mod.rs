//! `kvctl snapshot`: the state as of an entry, as one file.

mod inspect;
mod now;
mod restore;
mod save;

use super::Global;
use super::failure::{Failure, Outcome};
use crate::supervisor::backup::{BackupError, Facts};

/// What can be done with snapshots.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl snapshot now                    on every node, and let the logs be compacted
  kvctl snapshot save backup.snap       the whole state in one checksummed file
  kvctl snapshot inspect backup.snap
  kvctl snapshot restore backup.snap --name new -n 3")]
pub enum Snapshot {
    Now(now::Now),
    Save(save::Save),
    Inspect(inspect::Inspect),
    Restore(restore::Restore),
}

pub async fn run(global: &Global, command: Snapshot) -> Outcome {
    match command {
        Snapshot::Now(command) => now::run(global, command).await,
        Snapshot::Save(command) => save::run(global, command).await,
        Snapshot::Inspect(command) => inspect::run(global, &command),
        Snapshot::Restore(command) => restore::run(global, command).await,
    }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Failure {
        Failure::failed(error.to_string())
    }
}

/// What is in a file, in one line.
fn in_words(facts: &Facts) -> String {
    format!(
        "{} of state as of entry {} (term {}): {} keys at revision {}",
        super::units::short_size(facts.bytes),
        facts.index,
        facts.term,
        facts.keys,
        facts.revision
    )
}

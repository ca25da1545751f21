//! `kvctl compact`: forgets the past.

use serde::Serialize;

use super::Global;
use super::failure::Outcome;
use super::output::{self, Format};
use super::reach::{self, Reach};
use crate::kv::Operation;
use crate::types::Revision;

/// Forget what was before a revision: it can be neither read nor watched any more
///
/// What the keys were at that revision itself stays. The cluster forgets by itself, too: `history`
/// in cluster.toml says how much is kept.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl scan --limit 1 -o json              tells the revision of the store
  kvctl compact 1000

JSON fields: schema_version, compacted (up to this revision), revision (of the store)")]
pub struct Compact {
    /// The first revision that is kept
    #[arg(value_name = "REV")]
    pub revision: u64,
    #[command(flatten)]
    pub reach: Reach,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    compacted: Revision,
    revision: Revision,
}

pub async fn run(global: &Global, command: Compact) -> Outcome {
    let compacted = Revision(command.revision);
    let cluster = reach::connect(global, &command.reach, None).await?;
    let outcome = match cluster.client.write(Operation::Compact { revision: compacted }).await {
        Ok(outcome) => outcome,
        Err(error) => return Err(cluster.explain(error).await),
    };
    let revision = outcome.revision;
    match global.output {
        Format::Json => output::json(&Printed { compacted, revision })?,
        Format::Name => output::line(compacted.to_string())?,
        Format::Table => output::line(format!("ok, forgot what was before revision {compacted}"))?,
    }
    Ok(0)
}

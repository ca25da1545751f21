//! `kvctl snapshot inspect`: what is in a file, and whether all of it is right.

use std::path::PathBuf;

use serde::Serialize;

use crate::cli::Global;
use crate::cli::failure::Outcome;
use crate::cli::output::{self, Format};
use crate::supervisor::backup::{self, Facts};
use crate::types::NodeId;

/// Check a snapshot's file as a whole, and show what is in it
///
/// Every checksum is compared, the state is built in memory, and so is its hash. Any snapshot will
/// do: one that was saved, or a `.snap` file in a node's log directory.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl snapshot inspect backup.snap
  kvctl snapshot inspect backup.snap -o json | jq .revision

JSON fields: schema_version, file, bytes, format_version, cluster, index, term, voters, learners,
revision, keys, sessions, state_hash")]
pub struct Inspect {
    /// The file
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    file: &'a std::path::Path,
    #[serde(flatten)]
    facts: &'a Facts,
}

pub fn run(global: &Global, command: &Inspect) -> Outcome {
    let facts = backup::inspect(&command.file)?;
    match global.output {
        Format::Json => output::json(&Printed { file: &command.file, facts: &facts })?,
        Format::Name => output::line(command.file.display().to_string())?,
        Format::Table => print(&facts)?,
    }
    Ok(0)
}

fn print(facts: &Facts) -> Result<(), crate::cli::failure::Failure> {
    let ids = |ids: &[NodeId]| match ids {
        [] => "none".to_owned(),
        ids => ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", "),
    };
    output::line(super::in_words(facts))?;
    output::line(format!("cluster     {}", facts.cluster))?;
    output::line(format!("voters      {}", ids(&facts.voters)))?;
    output::line(format!("learners    {}", ids(&facts.learners)))?;
    output::line(format!("sessions    {}", facts.sessions))?;
    output::line(format!("state hash  {}", facts.state_hash))?;
    output::line(format!("format      {}; every checksum is right", facts.format_version))
}

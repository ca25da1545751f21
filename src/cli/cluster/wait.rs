//! `kvctl cluster wait`: until there is a leader, or until all is well.

use std::time::Duration;

use super::status;
use crate::cli::Global;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format, Progress};
use crate::cli::units::parse_positive_duration;
use crate::supervisor::launch::{self, Until};

/// Wait until the cluster has a leader, or until every node is ready
///
/// Exits with 3, and says who is missing, if that does not come to be in time.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster wait                    until every node that should run is ready
  kvctl cluster wait --leader --timeout 2s

JSON fields: those of `kvctl cluster status`")]
pub struct Wait {
    /// Until there is a leader and every node that should run is ready (this is the default)
    #[arg(long)]
    pub ready: bool,
    /// Only until there is a leader
    #[arg(long, conflicts_with = "ready")]
    pub leader: bool,
    /// Give up after this time
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
}

pub async fn run(global: &Global, command: Wait) -> Outcome {
    let supervisor = super::supervisor(global).await?;
    let (until, what) = match command.leader {
        true => (Until::Leader, "a leader"),
        false => (Until::Ready, "every node to be ready"),
    };
    let progress = Progress::spinner(format!("waiting for {what}"));
    let waited = launch::wait(&supervisor, until, command.timeout, |_| {}).await;
    drop(progress);
    let status = waited.map_err(|error| {
        Failure::from(error)
            .next(format!("see how the nodes are: kvctl{} cluster status", global.flag()))
    })?;
    match global.output {
        Format::Table => output::line(match status.leader {
            Some(leader) => format!("node {leader} leads in term {}", status.term),
            None => "ready".to_owned(),
        })?,
        Format::Json | Format::Name => status::print(global, &status)?,
    }
    Ok(0)
}

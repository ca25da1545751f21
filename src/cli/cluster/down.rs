//! `kvctl cluster down`: ends a cluster and shows that nothing is left.

use std::time::Duration;

use serde::Serialize;

use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format, Progress};
use crate::cli::units::parse_positive_duration;
use crate::cli::{Global, reach};
use crate::supervisor::launch::{self, LaunchError, Receipt};

/// Stop every node and the supervisor, and show what is left: nothing
///
/// The data stays and `cluster up` finds it again; --purge removes it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster down
  kvctl cluster down --purge            and remove all its data

JSON fields: schema_version, stopped: node, how; processes, sockets, ports, locks (what is left:
lists that should be empty), purged")]
pub struct Down {
    /// Remove the cluster with all its data
    #[arg(long)]
    pub purge: bool,
    /// Time between SIGTERM and SIGKILL
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
    pub grace: Option<Duration>,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    receipt: &'a Receipt,
    purged: bool,
}

pub async fn run(global: &Global, command: Down) -> Outcome {
    let directory = reach::directory(global)?;
    let progress = Progress::spinner(format!("taking the cluster `{}` down", global.name));
    let receipt = match launch::down(&directory, command.grace).await {
        Ok(receipt) => receipt,
        // What is down already can still be looked at, and purged.
        Err(LaunchError::NotRunning { .. }) => {
            let left = launch::look_until_clean(&directory).await?;
            if !command.purge && left.is_clean() && global.output == Format::Table {
                output::note(format!("the cluster `{}` was not running", global.name));
            }
            Receipt { stopped: Vec::new(), left }
        }
        Err(error) => return Err(super::explain(global, &directory, error)),
    };
    drop(progress);
    let purged = command.purge && receipt.left.is_clean();
    if purged {
        launch::purge(&directory)?;
    }
    print(global, &receipt, purged)
}

/// Prints the receipt; what is left makes the command fail.
pub fn print(global: &Global, receipt: &Receipt, purged: bool) -> Outcome {
    let left = &receipt.left;
    match global.output {
        Format::Json => output::json(&Printed { receipt, purged })?,
        Format::Name => {
            receipt.stopped.iter().try_for_each(|s| output::line(s.node.to_string()))?;
        }
        Format::Table => {
            for stopped in &receipt.stopped {
                output::line(format!("node {} {}", stopped.node, stopped.how))?;
            }
            output::line(format!(
                "left: processes {}, sockets {}, ports {}, locks {}",
                left.processes.len(),
                left.sockets.len(),
                left.ports.len(),
                left.locks.len()
            ))?;
            if purged {
                output::line(format!("the cluster `{}` and its data are removed", global.name))?;
            }
        }
    }
    if left.is_clean() {
        return Ok(0);
    }
    let mut words = Vec::new();
    words.extend(left.processes.iter().map(|pid| format!("process {pid}")));
    words.extend(left.sockets.iter().map(|path| format!("socket {}", path.display())));
    words.extend(left.ports.iter().map(|port| format!("port {port}")));
    words.extend(left.locks.iter().map(|path| format!("lock on {}", path.display())));
    Err(Failure::failed(format!("the cluster is down, and this is left: {}", words.join(", ")))
        .next(format!("try again: kvctl{} cluster down", global.flag())))
}

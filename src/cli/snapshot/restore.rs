//! `kvctl snapshot restore`: a new cluster that begins with what a file holds.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format, Progress};
use crate::cli::units::parse_positive_duration;
use crate::cli::{Global, cluster};
use crate::config::{ClusterConfig, Durability, Home, Transport};
use crate::control::ClusterStatus;
use crate::supervisor::backup::{self, BackupError, Facts};
use crate::supervisor::launch::{self, Start, Until};

/// Start a new cluster from a saved snapshot
///
/// The new cluster is named by --name, must not exist yet, and has an identity of its own: its
/// nodes cannot be mixed up with those of the old one, which may go on. The file is checked as a
/// whole before anything is created.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl snapshot restore backup.snap --name new
  kvctl snapshot restore backup.snap --name new -n 3 --no-start

JSON fields: schema_version, file, name, nodes, started, snapshot (as `kvctl snapshot inspect`)")]
pub struct Restore {
    /// What `snapshot save` wrote
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// How many nodes the new cluster has
    #[arg(short, long, value_name = "N", default_value_t = launch::DEFAULT_NODES,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(crate::config::MAX_NODES)))]
    pub nodes: u32,
    /// How nodes and clients talk
    #[arg(long, value_name = "unix|tcp", default_value = "unix")]
    pub transport: Transport,
    /// When a write counts as durable; with anything but fsync, acknowledged writes can be lost
    #[arg(long, value_name = "fsync|fsync-drop-unsynced|none", default_value = "fsync")]
    pub durability: Durability,
    /// Create it only; `cluster up` starts it
    #[arg(long)]
    pub no_start: bool,
    /// Give up when not every node is ready after this time
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    file: &'a std::path::Path,
    name: &'a str,
    nodes: u32,
    started: bool,
    snapshot: &'a Facts,
}

pub async fn run(global: &Global, command: Restore) -> Outcome {
    let home = Home::from_environment()?;
    let mut config = ClusterConfig::new(global.name.clone(), command.nodes);
    (config.transport, config.durability) = (command.transport, command.durability);
    let progress = Progress::spinner("restoring");
    let mut told = |what: String| progress.message(what);
    let restored = backup::restore(&home, &config, &command.file, &mut told);
    drop(progress);
    let facts = restored.map_err(|error| explain(global, error))?;
    cluster::warn_if_even(config.nodes);
    if !command.no_start {
        start(global, &home, command.timeout).await?;
    }
    let name = config.name.as_str();
    match global.output {
        Format::Json => output::json(&Printed {
            file: &command.file,
            name,
            nodes: config.nodes,
            started: !command.no_start,
            snapshot: &facts,
        })?,
        Format::Name => output::line(name)?,
        Format::Table => {
            let how = if command.no_start { "created" } else { "started" };
            output::line(format!(
                "{how} the cluster `{name}` of {} nodes from {}",
                config.nodes,
                super::in_words(&facts)
            ))?;
        }
    }
    Ok(0)
}

fn explain(global: &Global, error: BackupError) -> Failure {
    let exists = matches!(error, BackupError::Exists { .. });
    let failure = Failure::from(error);
    match exists {
        true => failure
            .next("a snapshot is restored into a new cluster: name one with --name NEW")
            .next(format!("or remove that one first: kvctl{} cluster down --purge", global.flag())),
        false => failure.next("nothing was created"),
    }
}

async fn start(global: &Global, home: &Home, timeout: Duration) -> Result<ClusterStatus, Failure> {
    let progress = Progress::spinner("starting");
    let supervisor = launch::start(&home.cluster(&global.name), &Start::default()).await?;
    let started = launch::wait(&supervisor, Until::Ready, timeout, |_| {}).await;
    drop(progress);
    started.map_err(|error| {
        Failure::from(error).next(format!(
            "it is created, and was left as it is: kvctl{} cluster logs",
            global.flag()
        ))
    })
}

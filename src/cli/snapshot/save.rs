//! `kvctl snapshot save`: a backup in one file.
//!
//! What was acknowledged before the command began is in it: first the cluster is asked for its
//! revision, linearizably; then the node takes a snapshot once it has applied that much.
//!
//! The bytes come through the node's control socket in chunks and go into a file beside the one
//! that was named, which gets its name only when all checksums are right and all is on the disk.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tempfile::NamedTempFile;
use tokio::time::Instant;

use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::{self, Format, Progress};
use crate::cli::reach::{self, Reach};
use crate::cli::units::{parse_positive_duration, short_duration, short_size};
use crate::cli::{Global, cluster};
use crate::client::Range;
use crate::control::{NodeClient, NodeState, NodeStatus, SnapshotFacts, SupervisorClient};
use crate::replica::{Consistency, Order, OrderResult};
use crate::supervisor::backup::Check;
use crate::types::{LogIndex, NodeId, Revision, Term};

/// Between two looks at a node that has not applied enough yet.
const GLANCE: Duration = Duration::from_millis(20);

/// For a node's status.
const PATIENCE: Duration = Duration::from_secs(2);

/// Save the whole state in one checksummed file
///
/// All that was acknowledged before the command began is in it. A node takes a snapshot while the
/// cluster goes on; the file is written beside, checked, synced, and only then gets its name.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl snapshot save backup.snap
  kvctl snapshot save backup.snap --node 3 --force
  kvctl snapshot restore backup.snap --name new

JSON fields: schema_version, file, node, index, term, bytes, revision (at least that one is in it),
seconds")]
pub struct Save {
    /// Where to
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// From this node [default: the leader]
    #[arg(long, value_name = "ID", value_parser = reach::parse_node)]
    pub node: Option<NodeId>,
    /// Replace the file if there is one
    #[arg(long)]
    pub force: bool,
    /// Give up when there is no snapshot after this time; copying it may take longer
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    file: PathBuf,
    node: NodeId,
    index: LogIndex,
    term: Term,
    bytes: u64,
    revision: Revision,
    seconds: f64,
}

pub async fn run(global: &Global, command: Save) -> Outcome {
    let began = Instant::now();
    refuse_to_overwrite(&command)?;
    let mut interrupt = Interrupt::new()?;
    let printed = tokio::select! {
        saved = save(global, &command, began) => saved?,
        () = interrupt.wait() => {
            let text = format!("interrupted: {} is not written", command.file.display());
            return Err(Failure::new(Exit::Interrupted, text));
        }
    };
    match global.output {
        Format::Json => output::json(&printed)?,
        Format::Name => output::line(printed.file.display().to_string())?,
        Format::Table => output::line(format!(
            "{}: {} of state as of entry {} (term {}), from node {}, in {}",
            printed.file.display(),
            short_size(printed.bytes),
            printed.index,
            printed.term,
            printed.node,
            short_duration(began.elapsed())
        ))?,
    }
    Ok(0)
}

fn refuse_to_overwrite(command: &Save) -> Result<(), Failure> {
    if command.file.exists() && !command.force {
        return Err(Failure::usage(format!("{} exists", command.file.display()))
            .next("name another file, or replace it with --force"));
    }
    Ok(())
}

async fn save(global: &Global, command: &Save, began: Instant) -> Result<Printed, Failure> {
    let end = began + command.timeout;
    // Before anything is asked of the cluster: a place that cannot be written to.
    let mut file = beside(&command.file)?;
    let progress = Progress::spinner("asks for the newest revision");
    let revision = newest_revision(global, command.timeout).await?;
    progress.message("waits for a node that has it all");
    let supervisor = cluster::supervisor(global).await?;
    let (node, status) = informed(&supervisor, command.node, revision, end).await?;
    progress.message(format!("node {} takes a snapshot", node.node));
    let client = NodeClient::connect(node.node, &node.control).await?;
    let left = end.saturating_duration_since(Instant::now());
    match client.order(&Order::TakeSnapshot, left).await? {
        OrderResult::Done(_) => {}
        OrderResult::Refused { message, .. } => {
            return Err(Failure::failed(format!("node {}: {message}", node.node)));
        }
        OrderResult::Unknown(why) => {
            let text = format!("node {} has not taken a snapshot: {why}", node.node);
            return Err(Failure::new(Exit::NoQuorum, text));
        }
    }
    drop(progress);
    let facts = copy(&client, &status, &mut file).await?;
    keep(file, command)?;
    let SnapshotFacts { index, term, bytes } = facts;
    let seconds = began.elapsed().as_secs_f64();
    let file = command.file.clone();
    Ok(Printed { file, node: node.node, index, term, bytes, revision, seconds })
}

/// What is certainly to be in the file.
async fn newest_revision(global: &Global, timeout: Duration) -> Result<Revision, Failure> {
    let reach = Reach { endpoints: Vec::new(), timeout };
    // This cluster, wherever KVRAFT_ENDPOINTS leads.
    let global = &Global { is_named: true, ..global.clone() };
    let connected = reach::connect(global, &reach, None).await?;
    let range = Range { limit: 1, keys_only: true, ..Range::prefix("") };
    match connected.client.range(range, Consistency::Linearizable).await {
        Ok(read) => Ok(read.answer.revision),
        Err(error) => Err(connected.explain(error).await),
    }
}

/// The node that is to take the snapshot, once it has applied all up to `revision`.
async fn informed(
    supervisor: &SupervisorClient,
    wanted: Option<NodeId>,
    revision: Revision,
    end: Instant,
) -> Result<(NodeState, NodeStatus), Failure> {
    loop {
        let status = supervisor.status().await?;
        if let Some(wanted) = wanted.filter(|wanted| status.node(*wanted).is_none()) {
            return Err(Failure::usage(format!("there is no node {wanted}")));
        }
        let node = wanted.or(status.leader).and_then(|id| status.node(id));
        if let Some(node) = node
            && let Ok(client) = NodeClient::connect(node.node, &node.control).await
            && let Ok(fresh) = client.status(PATIENCE).await
            && fresh.revision >= revision
        {
            return Ok((node.clone(), fresh));
        }
        if Instant::now() >= end {
            let which =
                wanted.map_or_else(|| "no leader".to_owned(), |id| format!("node {id}: not"));
            let text = format!("{which} has applied all that was acknowledged, in time");
            return Err(Failure::new(Exit::NoQuorum, text));
        }
        tokio::time::sleep(GLANCE).await;
    }
}

/// A new file in the same directory, which goes if nothing comes of it.
fn beside(path: &Path) -> Result<NamedTempFile, Failure> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path
        .file_name()
        .ok_or_else(|| Failure::usage(format!("{} is no name for a file", path.display())))?;
    let prefix = format!("{}.", name.to_string_lossy());
    let made = tempfile::Builder::new().prefix(&prefix).suffix(".tmp").tempfile_in(directory);
    made.map_err(|error| {
        Failure::failed(format!("cannot write into {}: {error}", directory.display()))
    })
}

/// Copies the node's newest snapshot, and checks it on the way.
async fn copy(
    client: &NodeClient,
    status: &NodeStatus,
    file: &mut NamedTempFile,
) -> Result<SnapshotFacts, Failure> {
    let (snapshot, facts) = client.open_snapshot().await?;
    if facts.index < status.applied_index {
        let (has, wants) = (facts.index, status.applied_index);
        let text = format!("the snapshot covers entry {has}, and {wants} was to be in it");
        return Err(Failure::failed(text).next("try again"));
    }
    let progress = Progress::bytes("copying", Some(facts.bytes));
    let damaged = |what: String| {
        Failure::failed(format!("the snapshot of node {} is damaged: {what}", status.node))
            .next("save that of another node with --node")
    };
    let unwritable =
        |error: io::Error| Failure::failed(format!("cannot write the snapshot: {error}"));
    let mut check = Check::default();
    let mut offset = 0;
    while offset < facts.bytes {
        let chunk = snapshot.read(offset).await?;
        if chunk.is_empty() {
            return Err(damaged(format!("it ends after {offset} bytes")));
        }
        check.push(&chunk, &mut |_| Ok(())).map_err(damaged)?;
        file.write_all(&chunk).map_err(unwritable)?;
        offset += chunk.len() as u64;
        progress.position(offset);
    }
    check.finish().map_err(damaged)?;
    file.as_file().sync_all().map_err(unwritable)?;
    Ok(facts)
}

/// Gives the file its name.
fn keep(file: NamedTempFile, command: &Save) -> Result<(), Failure> {
    let path = &command.file;
    let kept = match command.force {
        true => file.persist(path),
        false => file.persist_noclobber(path),
    };
    if let Err(error) = kept {
        refuse_to_overwrite(command)?;
        return Err(Failure::failed(format!("cannot write {}: {}", path.display(), error.error)));
    }
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let synced = File::open(directory.unwrap_or(Path::new("."))).and_then(|it| it.sync_all());
    synced.map_err(|error| {
        Failure::failed(format!("cannot make {} durable: {error}", path.display()))
    })
}

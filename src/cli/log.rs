//! `kvctl log`: a look into a node's log, running or not, that changes nothing.

use std::path::PathBuf;

use serde::Serialize;

use super::failure::{Exit, Failure, Outcome};
use super::output::{self, Format};
use super::{Global, reach};
use crate::storage::inspect::{Inspection, RecordSeen, inspect};
use crate::storage::{FileView, LogError};
use crate::types::{LogIndex, NodeId, Term};

/// A node that runs opens and deletes segments under whoever looks.
const ATTEMPTS: u32 = 5;
/// Records kept at most.
const MAX_RECORDS: usize = 1_000_000;

/// What can be done with a log.
#[derive(Debug, clap::Subcommand)]
#[command(after_help = "\
Examples:
  kvctl log inspect 3                   what is in it
  kvctl log verify 3                    whether it is whole")]
pub enum Log {
    Inspect(Inspect),
    Verify(Verify),
}

/// Show what is in a node's log: segments, snapshots, damage; with --records every record
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl log inspect 3                            node 3 of the cluster, running or not
  kvctl log inspect 3 --records --from 100 --to 120
  kvctl log inspect /backup/nodes/3/log -o json

Nothing is changed, and no lock is taken. Exit code 4 if something is damaged.

JSON fields: schema_version, directory, node, cluster, first_index, last_index, snapshot_index,
snapshot_term, unfinished_bytes (at the end: a crash, or a write under way), refused (why a start
would refuse the log), segments: file, sequence, version, first_index, length, end, groups,
entries; snapshots: file, index, term, bytes, damage; damage: index, term, file, offset; records:
file, offset, kind, term, index, bytes")]
pub struct Inspect {
    /// A node's id, or a directory: a node's, or its log's
    #[arg(value_name = "NODE|DIR")]
    pub what: String,
    /// Show the records, dead ones too
    #[arg(short = 'r', long)]
    pub records: bool,
    /// Only records from this index on
    #[arg(long, value_name = "INDEX", requires = "records", default_value_t = 0)]
    pub from: u64,
    /// Only records up to this index
    #[arg(long, value_name = "INDEX", requires = "records", default_value_t = u64::MAX,
          hide_default_value = true)]
    pub to: u64,
}

/// Read all of a node's log and snapshots, and say whether they are whole
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl log verify 3
  for n in 1 2 3; do kvctl log verify $n || echo \"node $n is damaged\"; done

Exit code 4 if something is damaged. JSON fields: as `kvctl log inspect`")]
pub struct Verify {
    /// A node's id, or a directory: a node's, or its log's
    #[arg(value_name = "NODE|DIR")]
    pub what: String,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    directory: PathBuf,
    node: NodeId,
    cluster: u64,
    first_index: Option<LogIndex>,
    last_index: Option<LogIndex>,
    snapshot_index: Option<LogIndex>,
    snapshot_term: Option<Term>,
    unfinished_bytes: u64,
    refused: Option<String>,
    segments: Vec<Segment>,
    snapshots: Vec<Snapshot>,
    damage: Vec<Damage>,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<Record>>,
    #[serde(skip)]
    is_damaged: bool,
}

#[derive(Serialize)]
struct Segment {
    file: String,
    sequence: u64,
    version: u32,
    first_index: LogIndex,
    length: u64,
    end: u64,
    groups: u64,
    entries: u64,
}

#[derive(Serialize)]
struct Snapshot {
    file: String,
    index: LogIndex,
    term: Term,
    bytes: u64,
    damage: Option<String>,
}

#[derive(Serialize)]
struct Damage {
    index: LogIndex,
    term: Option<Term>,
    file: String,
    offset: u64,
}

#[derive(Serialize)]
struct Record {
    file: String,
    offset: u64,
    kind: &'static str,
    term: Term,
    index: LogIndex,
    bytes: usize,
}

pub fn run(global: &Global, command: Log) -> Outcome {
    let (what, range, verify) = match command {
        Log::Inspect(command) => {
            (command.what, command.records.then_some(command.from..=command.to), false)
        }
        Log::Verify(command) => (command.what, None, true),
    };
    let directory = directory(global, &what)?;
    let mut records = Vec::new();
    let mut attempts = 1;
    let inspection = loop {
        records.clear();
        let mut see = |record: &RecordSeen<'_>| {
            let wanted = range.as_ref().is_some_and(|range| range.contains(&record.index.0));
            if wanted && records.len() < MAX_RECORDS {
                records.push(seen(record));
            }
        };
        let view = FileView::open(&directory).map_err(|e| Failure::failed(e.to_string()))?;
        let result = inspect(view, &mut see);
        let whole = matches!(&result, Ok(found) if !found.is_damaged);
        if whole || attempts == ATTEMPTS {
            break result;
        }
        attempts += 1;
    };
    let inspection = inspection.map_err(|error| match error {
        LogError::NotInitialised => {
            Failure::new(Exit::Failed, format!("there is no log in {}", directory.display()))
        }
        error => Failure::failed(error.to_string()),
    })?;
    let printed = printed(directory, inspection, range.is_some().then_some(records));
    match global.output {
        Format::Json => output::json(&printed)?,
        Format::Name => printed.segments.iter().try_for_each(|s| output::line(&s.file))?,
        Format::Table if verify => output::line(verdict(&printed))?,
        Format::Table => print(&printed)?,
    }
    Ok(if printed.is_damaged { Exit::Violated as u8 } else { 0 })
}

/// The directory of the log that is meant.
fn directory(global: &Global, what: &str) -> Result<PathBuf, Failure> {
    if let Ok(node) = reach::parse_node(what) {
        let cluster = reach::directory(global)?;
        if !cluster.cluster_toml().exists() {
            return Err(reach::no_cluster(global, &cluster));
        }
        let directory = cluster.node(node).log_directory();
        return match directory.is_dir() {
            true => Ok(directory),
            false => Err(Failure::usage(format!("there is no node {node}"))),
        };
    }
    let path = PathBuf::from(what);
    let below = path.join("log");
    match (below.is_dir(), path.is_dir()) {
        (true, _) => Ok(below),
        (false, true) => Ok(path),
        (false, false) => Err(Failure::usage(format!("{what} is no node's id and no directory"))),
    }
}

fn seen(record: &RecordSeen<'_>) -> Record {
    let RecordSeen { file, offset, kind, term, index, bytes } = *record;
    Record { file: file.to_owned(), offset, kind, term, index, bytes }
}

fn printed(directory: PathBuf, found: Inspection, records: Option<Vec<Record>>) -> Printed {
    let recovered = found.recovered.as_ref().ok();
    let mark = recovered.map(|(recovered, _)| &recovered.snapshot);
    let tear = recovered.and_then(|(recovered, _)| recovered.tear.as_ref());
    Printed {
        directory,
        node: found.identity.node,
        cluster: found.identity.cluster.0,
        first_index: recovered.map(|(_, first)| *first),
        last_index: recovered.map(|(recovered, _)| recovered.last_index),
        snapshot_index: mark.map(|mark| mark.index),
        snapshot_term: mark.map(|mark| mark.term),
        unfinished_bytes: tear.map_or(0, |tear| tear.bytes),
        refused: found.recovered.as_ref().err().map(ToString::to_string),
        segments: found.segments.into_iter().map(segment).collect(),
        snapshots: found.snapshots.into_iter().map(snapshot).collect(),
        damage: found.damaged.into_iter().map(damage).collect(),
        records,
        is_damaged: found.is_damaged,
    }
}

fn segment(seen: crate::storage::inspect::SegmentSeen) -> Segment {
    Segment {
        file: seen.file,
        sequence: seen.sequence,
        version: seen.version,
        first_index: seen.first_index,
        length: seen.length,
        end: seen.end,
        groups: seen.groups,
        entries: seen.entries,
    }
}

fn snapshot(seen: crate::storage::inspect::SnapshotSeen) -> Snapshot {
    Snapshot {
        file: seen.file,
        index: seen.index,
        term: seen.term,
        bytes: seen.bytes,
        damage: seen.damage,
    }
}

fn damage(damaged: crate::storage::Damaged) -> Damage {
    Damage { index: damaged.index, term: damaged.term, file: damaged.file, offset: damaged.offset }
}

/// All of it in a line.
fn verdict(found: &Printed) -> String {
    let whose = format!("the log of node {} of cluster {}", found.node, found.cluster);
    if let Some(why) = &found.refused {
        return format!("{whose} is damaged: {why}");
    }
    let range = match (found.first_index, found.last_index) {
        (Some(first), Some(last)) if first <= last => format!("entries {first} to {last}"),
        _ => "no entries".to_owned(),
    };
    let state = match (found.is_damaged, found.damage.len()) {
        (false, _) => "is whole".to_owned(),
        (true, 0) => "is damaged, and lacks no entry".to_owned(),
        (true, entries) => format!("is damaged: {entries} entries cannot be read"),
    };
    format!("{whose} {state}: {range}, snapshot of {}", found.snapshot_index.unwrap_or_default())
}

fn print(found: &Printed) -> Result<(), Failure> {
    output::line(verdict(found))?;
    if found.unfinished_bytes > 0 {
        let bytes = found.unfinished_bytes;
        output::line(format!("{bytes} bytes at the end are unfinished: a crash, or a write now"))?;
    }
    let mut table =
        output::table(&["segment", "version", "first", "groups", "entries", "used", "length"]);
    for s in &found.segments {
        let numbers = [s.groups, s.entries, s.end, s.length].map(|number| number.to_string());
        let names = [s.sequence.to_string(), s.version.to_string(), s.first_index.to_string()];
        table.add_row(names.into_iter().chain(numbers));
    }
    output::line("")?;
    output::print_table(&mut table)?;
    if !found.snapshots.is_empty() {
        let mut table = output::table(&["snapshot", "term", "bytes", "state"]);
        for s in &found.snapshots {
            let state = s.damage.clone().unwrap_or_else(|| "whole".to_owned());
            table.add_row([s.index.to_string(), s.term.to_string(), s.bytes.to_string(), state]);
        }
        output::line("")?;
        output::print_table(&mut table)?;
    }
    if !found.damage.is_empty() {
        let mut table = output::table(&["damaged", "term", "offset", "file"]);
        for d in &found.damage {
            let term = d.term.map_or_else(|| "?".to_owned(), |term| term.to_string());
            table.add_row([d.index.to_string(), term, d.offset.to_string(), d.file.clone()]);
        }
        output::line("")?;
        output::print_table(&mut table)?;
    }
    if let Some(records) = found.records.as_ref().filter(|records| !records.is_empty()) {
        let mut table = output::table(&["offset", "kind", "term", "index", "bytes", "file"]);
        for r in records {
            let numbers = [r.term.0, r.index.0, r.bytes as u64].map(|number| number.to_string());
            let row = [r.offset.to_string(), r.kind.to_owned()].into_iter().chain(numbers);
            table.add_row(row.chain([r.file.clone()]));
        }
        output::line("")?;
        output::print_table(&mut table)?;
    }
    Ok(())
}

//! `kvctl replay`: a recorded life of a node's core, lived again.
//!
//! The record and its replay are [`record`](crate::record)'s; here the files are found and read,
//! the moments that a person names become moments of the record, and the verdict is printed. The
//! replay runs in a thread of its own, in which a panic of the core is a finding.

mod files;
mod moment;
mod story;
mod tell;
mod verdict;

use std::path::PathBuf;
use std::time::Duration;

use super::failure::{Failure, Outcome};
use super::units::parse_positive_duration;
use super::{Global, reach};
use files::Files;
use moment::{Moment, Window};
use story::Story;

/// Live a node's last minutes again, step by step, and see that they come to the same
///
/// A cluster that was started with `--record` keeps what each node's consensus core was told. The
/// core is deterministic: told the same again, it must want the same done, and end in the same
/// state. That is checked at every step; and around a moment that you name, what happened is told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster up --record
  kvctl replay 3                              is it all the same?
  kvctl replay 3 --at 17:03:12.5              and what happened then, give or take a second?
  kvctl replay 3 --at -10s --around 300ms     ten seconds before the record's end
  kvctl replay 3 --from 17:03:10 --to 17:03:15 --trace
  kvctl replay /backup/nodes/3 -o json

The node may be running; its record is not changed. TIME is a time of day (the last one before the
record's end) or a moment like 2026-11-23T23:31:08.123Z, both in UTC as `kvctl cluster events`
prints them, or counted back from the record's end (-10s).

Exit codes: 0 the same, 4 something differs, 1 the record cannot be read, 2 wrong usage.

JSON fields: schema_version, node, cluster, build, files, lives, steps, states (compared), state
(the last one reached), from_millis, to_millis (Unix time), open (it goes on, or its node was
killed), died (null, or the words with which the core ended its node), missing: before_millis,
steps; divergence: null, or file, step (of that life), after_millis, why; damaged: file, why;
skipped: file, why; story: at_millis, says; story_cut (there was more)")]
pub struct Replay {
    /// A node's id, or a directory: a node's, or its record's
    #[arg(value_name = "NODE|DIR")]
    pub what: String,
    /// Tell what happened around this moment
    #[arg(long, value_name = "TIME", allow_hyphen_values = true,
          conflicts_with_all = ["from", "to"])]
    pub at: Option<Moment>,
    /// How far around it
    #[arg(long, value_name = "DURATION", default_value = "1s", requires = "at",
          value_parser = parse_positive_duration)]
    pub around: Duration,
    /// Tell what happened from this moment on
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub from: Option<Moment>,
    /// Tell what happened up to this moment
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub to: Option<Moment>,
    /// Tell every step, heartbeats too; without a moment, the whole record
    #[arg(long)]
    pub trace: bool,
}

pub async fn run(global: &Global, command: Replay) -> Outcome {
    let files = Files::of(directory(global, &command.what)?)?;
    quiet_panics();
    let work = move || {
        let mut story = Story::new(command.window(&files)?, command.trace);
        let verdict = verdict::live_again(&files, &mut story)?;
        Ok::<_, Failure>((verdict, story))
    };
    let thread = std::thread::Builder::new().name(THREAD.into()).spawn(work);
    let thread = thread.map_err(|e| Failure::failed(format!("cannot start a thread: {e}")))?;
    let (verdict, story) =
        thread.join().map_err(|_| Failure::failed("the replay itself failed"))??;
    tell::verdict(global, &verdict, &story)?;
    Ok(verdict.exit())
}

/// The name of the thread in which a panic is a finding, not an accident.
const THREAD: &str = "replay";

fn quiet_panics() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some(THREAD) {
            loud(info);
        }
    }));
}

/// The directory of the record that is meant.
fn directory(global: &Global, what: &str) -> Result<PathBuf, Failure> {
    if let Ok(node) = reach::parse_node(what) {
        let cluster = reach::directory(global)?;
        if !cluster.cluster_toml().exists() {
            return Err(reach::no_cluster(global, &cluster));
        }
        let place = cluster.node(node);
        return match (place.record_directory(), place.path().is_dir()) {
            (record, true) if record.is_dir() => Ok(record),
            (_, true) => Err(Failure::failed(format!("node {node} keeps no record"))
                .next(format!("a cluster that does: kvctl{} cluster up --record", global.flag()))
                .next(format!(
                    "one that exists: `record = true` in {}, while it is down",
                    cluster.cluster_toml().display()
                ))),
            (_, false) => Err(Failure::usage(format!("there is no node {node}"))),
        };
    }
    let path = PathBuf::from(what);
    let below = path.join("record");
    match (below.is_dir(), path.is_dir()) {
        (true, _) => Ok(below),
        (false, true) => Ok(path),
        (false, false) => Err(Failure::usage(format!("{what} is no node's id and no directory"))),
    }
}

impl Replay {
    /// What is to be told.
    fn window(&self, files: &Files) -> Result<Option<Window>, Failure> {
        let is_named = self.at.is_some() || self.from.is_some() || self.to.is_some();
        if !is_named {
            return Ok(self.trace.then_some(Window::ALL));
        }
        let Some(end) = files.end()? else { return Ok(None) };
        let resolve = |moment: &Option<Moment>| moment.as_ref().map(|moment| moment.before(end));
        if let Some(at) = resolve(&self.at) {
            return Ok(Some(Window::around(at, self.around)));
        }
        let (from, to) = (resolve(&self.from).unwrap_or(0), resolve(&self.to).unwrap_or(u64::MAX));
        match from <= to {
            true => Ok(Some(Window { from, to })),
            false => Err(Failure::usage("--from lies after --to")),
        }
    }
}

//! After the loss of a quorum: a cluster goes on with what its survivors hold.
//!
//! # The problem
//!
//! When a majority of the voters is gone for good, nobody can commit anything any more, and nobody
//! can change the members either, because that is a commit as well. Raft ends here. A person may
//! decide to go on with less than was promised; but that person must see first what may be lost.
//!
//! # What the survivors know
//!
//! - An entry that was acknowledged is on a majority of the voters. If so few are missing that no
//!   majority can be among them alone, one of the survivors has it (with four voters and two of
//!   them left, for example). Otherwise it may have been on the missing ones only.
//! - The most advanced survivor, by the rule of elections (the last entry's term, then its index;
//!   paper §5.4.1), has every entry that any survivor has and that may have been acknowledged: a
//!   later term's leader had all that was committed before it. What the others hold beside was
//!   never acknowledged.
//! - What the most advanced one holds beyond what was committed becomes committed now, although
//!   nobody may have been told so. Such a write's outcome was unknown, and turns out well.
//!
//! # The rule
//!
//! The most advanced survivor gets one more entry, in a term above all that any survivor knows: a
//! configuration in which it alone votes (or all the survivors that were named do). Everybody else
//! is retired and comes back, if at all, as a new node with a new number and an empty log. This
//! order matters: *first* the others are retired, *then* the entry is appended. Were it the other
//! way round and ended in the middle, nodes that were thought lost could start as the old majority,
//! beside the new one.
//!
//! # Caveats
//!
//! Whoever was thought lost and is not must never be started again with its old data. On this
//! machine the supervisor sees to it. Elsewhere a person must.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::events::EventLog;
use super::offline::{self, Held, OfflineError};
use super::process;
use super::run::{DaemonError, lock};
use super::state::{Mode, Retirement, StateError, StateFile};
use crate::config::{ClusterConfig, ClusterDirectory, ConfigError, LayoutError};
use crate::consensus::Configuration;
use crate::control::unix_millis;
use crate::storage::Identity;
use crate::types::{LogIndex, NodeId, Term};

/// Why a cluster cannot be recovered. Nothing was changed, unless it says so.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error("the cluster's supervisor runs: take it down first")]
    Running,
    #[error("node {node} runs (pid {pid}): stop it first")]
    NodeRuns { node: NodeId, pid: u32 },
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Daemon(DaemonError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Offline(#[from] OfflineError),
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
}

fn refused<T>(why: impl Into<String>) -> Result<T, RecoverError> {
    Err(RecoverError::Refused(why.into()))
}

/// What a survivor holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Survivor {
    pub node: NodeId,
    /// The latest term that it knows.
    pub term: Option<Term>,
    pub last_index: Option<LogIndex>,
    pub last_term: Option<Term>,
    /// Committed at least up to here: what its snapshot covers.
    pub committed: Option<LogIndex>,
    /// Entries that it has and the most advanced survivor has not, first and last. They were never
    /// acknowledged.
    pub goes: Option<(LogIndex, LogIndex)>,
    /// Why its log cannot be used.
    pub problem: Option<String>,
}

/// What recovering would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Plan {
    pub survivors: Vec<Survivor>,
    /// Whose log the cluster goes on with.
    pub chosen: NodeId,
    /// The voters of the newest configuration that a survivor knows.
    pub voters_before: Vec<NodeId>,
    /// Those of them that are not among the survivors.
    pub missing: Vec<NodeId>,
    pub voters_after: Vec<NodeId>,
    /// Nodes that are given up with their numbers; their data is kept.
    pub retired: Vec<NodeId>,
    /// Of the entry that begins the new configuration.
    pub term: Term,
    /// Where it will stand: entries from here on, if the missing ones had any, are lost.
    pub index: LogIndex,
    /// A majority may be among the missing, and with it what it acknowledged.
    pub acknowledged_may_be_lost: bool,
}

/// A recovery that was planned and not carried out. Nobody starts the cluster meanwhile.
#[derive(Debug)]
pub struct Recovery {
    pub plan: Plan,
    directory: ClusterDirectory,
    config: ClusterConfig,
    state: StateFile,
    configuration: Configuration,
    _lock: File,
}

/// Looks at the survivors in `from`, and says what recovering would do. Changes nothing. `keep`:
/// all of them go on as voters, and not only the most advanced one.
pub fn plan(
    directory: &ClusterDirectory,
    from: &BTreeSet<NodeId>,
    keep: bool,
) -> Result<Recovery, RecoverError> {
    directory.check_owner()?;
    let config = ClusterConfig::read(&directory.cluster_toml())?;
    let lock = lock(directory).map_err(|error| match error {
        DaemonError::AlreadyRunning { .. } => RecoverError::Running,
        other => RecoverError::Daemon(other),
    })?;
    let state = StateFile::read_or_new(&config, directory)?;
    if let Some(stranger) = from.iter().find(|id| !state.live().any(|(live, _)| live == **id)) {
        return refused(format!("there is no node {stranger}: {}", state.roll()));
    }
    for (id, _) in state.live() {
        let running = process::running("kvnode", &directory.node(id).node_toml());
        let failed = |source| io_error("look for node", &directory.node(id).node_toml(), source);
        if let Some(process) = running.map_err(failed)?.first() {
            return Err(RecoverError::NodeRuns { node: id, pid: process.pid });
        }
    }
    let look = |id: NodeId| {
        let identity = Identity { cluster: config.id, node: id };
        let held = offline::look(&directory.node(id).log_directory(), identity);
        (id, held.map_err(|error| error.to_string()))
    };
    let looked: Vec<(NodeId, Result<Held, String>)> = from.iter().copied().map(look).collect();
    let (plan, configuration) = judge(&looked, &state, keep)?;
    let directory = directory.clone();
    Ok(Recovery { plan, directory, config, state, configuration, _lock: lock })
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> RecoverError {
    RecoverError::Io { what, path: path.to_owned(), source }
}

/// What follows from what the survivors hold.
fn judge(
    looked: &[(NodeId, Result<Held, String>)],
    state: &StateFile,
    keep: bool,
) -> Result<(Plan, Configuration), RecoverError> {
    let whole = || looked.iter().filter_map(|(id, held)| Some((*id, held.as_ref().ok()?)));
    let advanced = whole().max_by_key(|(_, held)| (held.last_term, held.last_index));
    let Some((chosen, best)) = advanced else {
        let problems = looked.iter().filter_map(|(_, held)| held.as_ref().err());
        let problems: Vec<&str> = problems.map(String::as_str).collect();
        return refused(format!("no survivor's log can be used: {}", problems.join("; ")));
    };
    let before = &best.configuration;
    if before.members().is_empty() || best.last_index == LogIndex(0) {
        return refused(format!("node {chosen} holds nothing: it never heard of a leader"));
    }
    let survive = |id: &NodeId| whole().any(|(it, _)| it == *id);
    let sets = [&before.voters, &before.outgoing].into_iter().filter(|set| !set.is_empty());
    let quorums: Vec<(usize, usize)> =
        sets.map(|set| (set.iter().filter(|id| survive(id)).count(), set.len())).collect();
    if quorums.iter().all(|(here, all)| *here > all / 2) {
        return refused(
            "a majority of the voters is among the survivors: nothing is lost; `kvctl cluster up` \
             starts them, and `kvctl member remove` the others",
        );
    }
    // What was acknowledged is on a majority of each set.
    let hidden = |(here, all): &(usize, usize)| all - here > all / 2;
    let voters: BTreeSet<NodeId> = match keep {
        true => whole().map(|(id, _)| id).collect(),
        false => [chosen].into(),
    };
    let address = |id: &NodeId| {
        let record = state.nodes.get(id)?;
        Some((*id, record.peer.to_string()))
    };
    let configuration = Configuration {
        addresses: voters.iter().filter_map(address).collect(),
        voters: voters.clone(),
        ..Configuration::default()
    };
    let newest = whole().map(|(_, held)| held.hard_state.term.max(held.last_term)).max();
    let all_before: BTreeSet<NodeId> = before.voters.union(&before.outgoing).copied().collect();
    let plan = Plan {
        survivors: looked.iter().map(|(id, held)| survivor(*id, held, best)).collect(),
        chosen,
        missing: all_before.iter().copied().filter(|id| !survive(id)).collect(),
        voters_before: all_before.into_iter().collect(),
        retired: state.live().map(|(id, _)| id).filter(|id| !voters.contains(id)).collect(),
        voters_after: voters.into_iter().collect(),
        term: newest.unwrap_or_default().next(),
        index: best.last_index.next(),
        acknowledged_may_be_lost: quorums.iter().all(hidden),
    };
    Ok((plan, configuration))
}

fn survivor(node: NodeId, held: &Result<Held, String>, best: &Held) -> Survivor {
    match held {
        Ok(held) => Survivor {
            node,
            term: Some(held.hard_state.term),
            last_index: Some(held.last_index),
            last_term: Some(held.last_term),
            committed: Some(held.snapshot),
            goes: parting(held, best).map(|first| (first, held.last_index)),
            problem: None,
        },
        Err(problem) => Survivor {
            node,
            term: None,
            last_index: None,
            last_term: None,
            committed: None,
            goes: None,
            problem: Some(problem.clone()),
        },
    }
}

/// The first entry of `held` that `best` does not have. Terms never decrease in a log and an entry
/// is named by its index and term, so they part where the terms first differ.
fn parting(held: &Held, best: &Held) -> Option<LogIndex> {
    let from = held.snapshot.max(best.snapshot).next();
    let differs = |index: &LogIndex| held.term_at(*index) != best.term_at(*index);
    // Only where a run begins, in either, or where `best` ends, can they begin to differ.
    let runs = held.term_runs.iter().chain(&best.term_runs).map(|(first, _)| *first);
    let mut places: Vec<LogIndex> = runs.chain([from, best.last_index.next()]).collect();
    places.sort();
    places.into_iter().filter(|at| *at >= from && *at <= held.last_index).find(differs)
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovered {
    /// Where all that was changed is kept as it was.
    pub backup: PathBuf,
    pub index: LogIndex,
}

impl Recovery {
    /// Does what was planned. The cluster is down after it, and can be started.
    pub fn carry_out(mut self) -> Result<Recovered, RecoverError> {
        let backup = self.back_up()?;
        let now = unix_millis();
        for id in &self.plan.retired {
            let place = self.directory.node(*id);
            let retired = place.path().join("retired.toml");
            match fs::rename(place.node_toml(), &retired) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(io_error("write", &retired, error));
                }
                _ => {}
            }
            if let Some(record) = self.state.nodes.get_mut(id) {
                record.process = None;
                record.retired = Some(Retirement { since_millis: now, purged: false });
            }
        }
        self.state.mode = Mode::Down;
        self.state.write(&self.directory.supervisor_json())?;
        // Only now: see the module.
        let identity = Identity { cluster: self.config.id, node: self.plan.chosen };
        let log = self.directory.node(self.plan.chosen).log_directory();
        let index =
            offline::append_configuration(&log, identity, self.configuration, self.plan.term)?;
        if let Ok(mut events) = EventLog::open(&self.directory) {
            let voters: Vec<String> =
                self.plan.voters_after.iter().map(NodeId::to_string).collect();
            let detail = format!("from node {}; voters: {}", self.plan.chosen, voters.join(", "));
            events.tell(now, None, "cluster-recovered", &detail, None);
        }
        Ok(Recovered { backup, index })
    }

    /// Copies all that is about to be changed.
    fn back_up(&self) -> Result<PathBuf, RecoverError> {
        let backup = self.directory.path().join(format!("recovery-{}", unix_millis()));
        let log = backup.join("nodes").join(self.plan.chosen.to_string()).join("log");
        fs::create_dir_all(&log).map_err(|error| io_error("create", &log, error))?;
        for file in [self.directory.supervisor_json(), self.directory.cluster_toml()] {
            copy_into(&file, &backup)?;
        }
        let from = self.directory.node(self.plan.chosen).log_directory();
        let failed = |error| io_error("read", &from, error);
        for entry in fs::read_dir(&from).map_err(failed)? {
            copy_into(&entry.map_err(failed)?.path(), &log)?;
        }
        for directory in [&log, &backup] {
            let synced = File::open(directory).and_then(|directory| directory.sync_all());
            synced.map_err(|error| io_error("make durable", directory, error))?;
        }
        Ok(backup)
    }
}

fn copy_into(file: &Path, directory: &Path) -> Result<(), RecoverError> {
    let to = directory.join(file.file_name().unwrap_or_default());
    let copied = fs::copy(file, &to).and_then(|_| File::open(&to)?.sync_all());
    copied.map_err(|error| io_error("copy to", &to, error))
}

#[cfg(test)]
mod tests;

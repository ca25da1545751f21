//! How others create a cluster, start its supervisor, wait for it, and end it: the part of the
//! supervisor that runs in `kvctl` and in tests.
//!
//! # What can go wrong
//!
//! - *Two people say `up` at the same moment.* `cluster.toml` is created by exactly one of them; of
//!   two supervisors one gets the lock, and the other ends. Both callers then talk to the winner.
//! - *The supervisor was killed.* Nobody listens, and the nodes run. Whoever talks to the cluster
//!   next starts a new one, which adopts them: [`connect_or_adopt`].
//! - *It dies at its start.* Then waiting for it would be in vain: its last words are the error.

use std::io;
use std::process::Command;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::process::Process;
use super::receipt::{self, Leftovers};
use super::spawn::{NoProgram, detached, last_lines, last_lines_from, program, words_file};
use super::state::{Mode, StateError, StateFile};
use crate::config::{
    ClusterConfig, ClusterDirectory, ConfigError, Durability, Home, LayoutError, LogFormat, Slow,
    Timings, Transport, create_file,
};
use crate::control::{ClusterStatus, ControlError, State, Stopped, SupervisorClient};

/// Between two looks at something that tells nobody when it changes.
const GLANCE: Duration = Duration::from_millis(5);

/// For a supervisor to answer after its start.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// For a supervisor to vanish after it said that the cluster is down.
const END_PATIENCE: Duration = Duration::from_secs(5);

/// Why a cluster could not be created, reached, or brought up or down.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// It exists, and otherwise than was asked for. Nothing was changed.
    #[error("cluster `{name}` exists with {what} {existing}, and {asked} was asked for: {advice}")]
    Differs { name: String, what: &'static str, existing: String, asked: String, advice: String },
    #[error("there is no cluster `{name}`: `kvctl cluster up --name {name}` creates one")]
    NoSuchCluster { name: String },
    #[error("cluster `{name}` is not running: `kvctl cluster up --name {name}` starts it")]
    NotRunning { name: String },
    #[error("the supervisor of `{name}` did not start: {why}")]
    NotStarted { name: String, why: String },
    /// It is up, and not all of it became ready in time.
    #[error("cluster `{name}` is not ready after {patience:?}: {why}")]
    NotReady { name: String, patience: Duration, why: String },
    /// A node cannot run: waiting longer is in vain.
    #[error("cluster `{name}`: {why}")]
    NodeFailed { name: String, why: String },
    #[error("cluster `{name}` still runs: take it down first")]
    StillRunning { name: String },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Program(#[from] NoProgram),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("cannot {what}: {source}")]
    Io { what: String, source: io::Error },
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> LaunchError {
    let what = what.into();
    move |source| LaunchError::Io { what, source }
}

/// What is asked for; `None`: whatever the cluster has, and for a new one the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub nodes: Option<u32>,
    pub transport: Option<Transport>,
    pub durability: Option<Durability>,
    pub record: Option<bool>,
    pub slow: Option<Slow>,
    pub log_format: Option<LogFormat>,
}

/// Nodes of a new cluster, unless it is said otherwise.
pub const DEFAULT_NODES: u32 = 5;

/// Creates the cluster that `config` describes, unless it exists. Returns what it is now, and
/// whether it is new.
pub fn create(
    home: &Home,
    config: &ClusterConfig,
    wanted: &Wanted,
) -> Result<(ClusterConfig, bool), LaunchError> {
    let directory = home.cluster(&config.name);
    let path = directory.cluster_toml();
    let slow = wanted.slow.unwrap_or(config.timings.slow);
    let new = ClusterConfig {
        nodes: wanted.nodes.unwrap_or(config.nodes),
        transport: wanted.transport.unwrap_or(config.transport),
        durability: wanted.durability.unwrap_or(config.durability),
        record: wanted.record.unwrap_or(config.record),
        log_format: wanted.log_format.unwrap_or(config.log_format),
        timings: Timings { slow, ..config.timings.clone() },
        ..config.clone()
    };
    directory.check_owner()?;
    if !path.exists() {
        new.validate().map_err(|message| ConfigError::wrong(&path, message))?;
        directory.create()?;
        match create_file(&path, new.to_commented_toml().as_bytes()) {
            Ok(()) => return Ok((new, true)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(format!("write {}", path.display()))(error)),
        }
    }
    let existing = ClusterConfig::read(&path)?;
    check_wanted(&existing, wanted, &directory)?;
    Ok((existing, false))
}

/// Refuses what differs from what exists.
fn check_wanted(
    existing: &ClusterConfig,
    wanted: &Wanted,
    directory: &ClusterDirectory,
) -> Result<(), LaunchError> {
    let name = existing.name.to_string();
    let differs = |what, existing: String, asked: String, how: String| {
        let name = name.clone();
        let advice = format!(
            "{how}, choose another --name, or begin anew after `kvctl cluster down --purge --name \
             {name}`"
        );
        Err(LaunchError::Differs { name, what, existing, asked, advice })
    };
    if let Some(nodes) = wanted.nodes.filter(|nodes| *nodes != existing.nodes) {
        let how = "leave -n out to use it as it is, add and remove nodes with `kvctl member add` \
                   and `kvctl member remove`"
            .to_owned();
        return differs("-n", existing.nodes.to_string(), nodes.to_string(), how);
    }
    if let Some(transport) = wanted.transport.filter(|it| *it != existing.transport) {
        let how = "leave --transport out to use it as it is".to_owned();
        return differs("--transport", existing.transport.to_string(), transport.to_string(), how);
    }
    if let Some(durability) = wanted.durability.filter(|it| *it != existing.durability) {
        let how = format!(
            "leave --durability out to use it as it is, edit {} while it is down",
            directory.cluster_toml().display()
        );
        let (existing, asked) = (existing.durability.to_string(), durability.to_string());
        return differs("--durability", existing, asked, how);
    }
    if let Some(record) = wanted.record.filter(|it| *it != existing.record) {
        let how = format!(
            "set `record = {record}` in {} while it is down",
            directory.cluster_toml().display()
        );
        return differs("record =", existing.record.to_string(), record.to_string(), how);
    }
    if let Some(slow) = wanted.slow.filter(|it| *it != existing.timings.slow) {
        let how = format!(
            "set `slow = {}` in {} while it is down",
            slow.0,
            directory.cluster_toml().display()
        );
        return differs("--slow", existing.timings.slow.to_string(), slow.to_string(), how);
    }
    if let Some(format) = wanted.log_format.filter(|it| *it != existing.log_format) {
        let how = format!(
            "set `log_format = \"{format}\"` in {} while it is down",
            directory.cluster_toml().display()
        );
        return differs("--log-format", existing.log_format.to_string(), format.to_string(), how);
    }
    Ok(())
}

/// The name of the cluster in `directory`, for people.
fn name_of(directory: &ClusterDirectory) -> String {
    let name = directory.path().file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

/// Talks to the supervisor that runs. If none does: [`LaunchError::NotRunning`], or
/// [`LaunchError::NoSuchCluster`].
pub async fn connect(directory: &ClusterDirectory) -> Result<SupervisorClient, LaunchError> {
    directory.check_owner()?;
    match SupervisorClient::connect(&directory.supervisor_address()).await {
        Ok(client) => Ok(client),
        Err(ControlError::Unreachable { .. }) => {
            let name = name_of(directory);
            Err(match directory.cluster_toml().exists() {
                true => LaunchError::NotRunning { name },
                false => LaunchError::NoSuchCluster { name },
            })
        }
        Err(error) => Err(error.into()),
    }
}

/// Talks to the supervisor; if there is none and nodes of the cluster still run, starts a new one,
/// as `how` says, which adopts them. The second value says whether it did.
pub async fn connect_or_adopt(
    directory: &ClusterDirectory,
    how: &Start,
) -> Result<(SupervisorClient, bool), LaunchError> {
    // Somebody else may just be starting it.
    let may = || Ok(has_nodes(directory)? || receipt_supervisor(directory)?.is_some());
    connect_or_start(directory, how, may).await
}

/// The same, if only the cluster was not taken down. For whoever counts on it for as long as it
/// lasts: its own faults may just have killed every node, so that none is left to be adopted.
pub async fn connect_or_resume(
    directory: &ClusterDirectory,
    how: &Start,
) -> Result<(SupervisorClient, bool), LaunchError> {
    let may = || Ok(StateFile::read(directory)?.is_some_and(|state| state.mode == Mode::Up));
    connect_or_start(directory, how, may).await
}

async fn connect_or_start(
    directory: &ClusterDirectory,
    how: &Start,
    may_start: impl FnOnce() -> Result<bool, LaunchError>,
) -> Result<(SupervisorClient, bool), LaunchError> {
    match connect(directory).await {
        Err(LaunchError::NotRunning { .. }) if may_start()? => {
            Ok((start(directory, how).await?, true))
        }
        other => Ok((other?, false)),
    }
}

fn receipt_supervisor(
    directory: &ClusterDirectory,
) -> Result<Option<super::process::Identity>, LaunchError> {
    receipt::supervisor_of(directory).map_err(failed("look for a supervisor"))
}

/// Whether nodes of the cluster run.
fn has_nodes(directory: &ClusterDirectory) -> Result<bool, LaunchError> {
    let Some(state) = StateFile::read(directory)? else { return Ok(false) };
    if state.mode == Mode::Down {
        return Ok(false);
    }
    for (id, node) in &state.nodes {
        let recorded = node.process.as_ref().map_or(Ok(false), |process| process.is_alive());
        let alive = recorded.and_then(|recorded| {
            let toml = directory.node(*id).node_toml();
            Ok(recorded || !super::process::running("kvnode", &toml)?.is_empty())
        });
        if alive.map_err(failed("look for nodes"))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How a supervisor is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Start {
    /// It takes the cluster down and ends when this process ends.
    pub until_exit_of: Option<u32>,
    /// And then removes the cluster's directory.
    pub throw_away: bool,
}

/// Talks to the supervisor of the cluster in `directory`; starts one if there is none, detached
/// from this process, its words going to `supervisor.log`. The cluster must have been created.
pub async fn start(
    directory: &ClusterDirectory,
    how: &Start,
) -> Result<SupervisorClient, LaunchError> {
    if let Ok(client) = connect(directory).await {
        return Ok(client);
    }
    let name = name_of(directory);
    let log = directory.supervisor_log();
    let logged = words_file(&log)
        .and_then(|file| Ok(file.metadata()?.len()))
        .map_err(failed(format!("write {}", log.display())))?;
    let mut command = Command::new(program("kvsupd")?);
    command.arg("--directory").arg(directory.path()).current_dir(directory.path());
    if let Some(pid) = how.until_exit_of {
        command.arg("--until-exit-of").arg(pid.to_string());
        command.args(how.throw_away.then_some("--throw-away"));
    }
    let child = detached(command, &log).map_err(failed("start kvsupd"))?;
    let process = Process::of_child(child).map_err(failed("watch kvsupd"))?;
    // Whatever becomes of it, its end is reaped while this process lives.
    let mut end = tokio::task::spawn_local(async move { process.ended().await });
    let deadline = Instant::now() + START_PATIENCE;
    let mut exit = None;
    loop {
        match connect(directory).await {
            Err(LaunchError::NotRunning { .. }) => {}
            other => return other,
        }
        let why = match exit {
            // One that lost the race for the lock ends at once, and the winner may need a moment.
            Some(exit) if receipt_supervisor(directory)?.is_none() => {
                let words = last_lines_from(&log, logged, 5);
                Some(format!("it ended ({exit}): {words} (its log: {})", log.display()))
            }
            _ if Instant::now() >= deadline => {
                Some(format!("no answer within {START_PATIENCE:?} (its log: {})", log.display()))
            }
            _ => None,
        };
        if let Some(why) = why {
            return Err(LaunchError::NotStarted { name, why });
        }
        let glance = Instant::now() + GLANCE;
        match exit {
            Some(_) => tokio::time::sleep_until(glance).await,
            None => {
                if let Ok(Ok(Ok(ended))) = timeout_at(glance, &mut end).await {
                    exit = Some(ended);
                }
            }
        }
    }
}

/// What [`wait`] waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// There is a leader.
    Leader,
    /// There is one, and every node that should run is ready.
    Ready,
}

/// Waits until the cluster is as wanted. `progress` sees each status on the way.
pub async fn wait(
    client: &SupervisorClient,
    until: Until,
    patience: Duration,
    mut progress: impl FnMut(&ClusterStatus),
) -> Result<ClusterStatus, LaunchError> {
    let end = Instant::now() + patience;
    loop {
        let status = client.status().await?;
        progress(&status);
        let done = match until {
            Until::Leader => status.leader.is_some(),
            Until::Ready => status.ready,
        };
        if done {
            return Ok(status);
        }
        let name = status.name.clone();
        let lost = status.nodes.iter().find(|node| node.state == State::CrashLooping);
        if let (Until::Ready, Some(lost)) = (until, lost) {
            let words = last_lines(&lost.log, 5);
            let problem = lost.problem.as_deref().unwrap_or("it does not run");
            let log = lost.log.display();
            let why =
                format!("node {} failed: {problem}\nlast lines of {log}:\n{words}", lost.node);
            return Err(LaunchError::NodeFailed { name, why });
        }
        if Instant::now() >= end {
            return Err(LaunchError::NotReady { name, patience, why: what_is_missing(&status) });
        }
        sleep(GLANCE * 2).await;
    }
}

/// Who keeps a cluster from being ready, and what they said last.
pub fn what_is_missing(status: &ClusterStatus) -> String {
    let mut missing = Vec::new();
    if status.leader.is_none() {
        missing.push("there is no leader".to_owned());
    }
    for node in &status.nodes {
        let ready = node.report.as_ref().is_some_and(|report| report.ready);
        if node.state == State::Running && ready {
            continue;
        }
        let state = match node.state {
            State::Running => "not caught up",
            state => state.as_str(),
        };
        let problem = node.problem.as_ref().map_or(String::new(), |why| format!(" ({why})"));
        missing.push(format!("node {} is {state}{problem}", node.node));
    }
    missing.join("; ")
}

/// What `down` did, and what it left: nothing, or it failed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Receipt {
    pub stopped: Vec<Stopped>,
    #[serde(flatten)]
    pub left: Leftovers,
}

/// Takes the cluster down and looks at what is left. If its supervisor is dead and nodes run, a new
/// one is started to end them; if nothing runs, that is told by [`LaunchError::NotRunning`].
pub async fn down(
    directory: &ClusterDirectory,
    grace: Option<Duration>,
) -> Result<Receipt, LaunchError> {
    let (client, _) = connect_or_adopt(directory, &Start::default()).await?;
    let stopped = client.down(grace).await?;
    drop(client);
    Ok(Receipt { stopped, left: look_until_clean(directory).await? })
}

/// Looks at what is left, for a while if there is something: a supervisor that has answered needs
/// a moment to end.
pub async fn look_until_clean(directory: &ClusterDirectory) -> Result<Leftovers, LaunchError> {
    let end = Instant::now() + END_PATIENCE;
    loop {
        let left = receipt::look(directory).map_err(failed("look at what is left"))?;
        if left.is_clean() || Instant::now() >= end {
            return Ok(left);
        }
        sleep(GLANCE).await;
    }
}

/// Removes a cluster that is down, with all its data.
pub fn purge(directory: &ClusterDirectory) -> Result<(), LaunchError> {
    directory.check_owner()?;
    let name = name_of(directory);
    if !directory.cluster_toml().exists() {
        return Err(LaunchError::NoSuchCluster { name });
    }
    // Held until all is gone: nobody can start it meanwhile.
    let _lock = super::run::lock(directory)
        .map_err(|_| LaunchError::StillRunning { name: name.clone() })?;
    if has_nodes(directory).unwrap_or(false) {
        return Err(LaunchError::StillRunning { name });
    }
    let path = directory.path();
    std::fs::remove_dir_all(path).map_err(failed(format!("remove {}", path.display())))
}

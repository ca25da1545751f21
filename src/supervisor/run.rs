//! The life of a supervisor, from its lock to its end.
//!
//! # Taking over
//!
//! A supervisor finds a directory in one of four conditions, and does not ask which:
//!
//! 1. *New.* There is `cluster.toml` and nothing else. It hands out ports, writes
//!    `supervisor.json`, and starts the nodes.
//! 2. *Down.* Nothing runs. It starts the nodes, all of them, also those that a person had stopped
//!    before the cluster went down.
//! 3. *Its predecessor died, the nodes run.* Each process in `supervisor.json` whose boot, number
//!    and start time still match is adopted, uninterrupted; so is one that only `/proc` knows (its
//!    predecessor died between spawning it and writing that down). Who is missing is started,
//!    unless a person had stopped it or it was given up.
//! 4. *The machine lost power.* Nothing matches: the boot is another. Sockets that were left are
//!    removed, and it goes on as in 3.
//!
//! # The end
//!
//! `down` stops the nodes first. SIGTERM and SIGINT do the same in the foreground; in the
//! background they end the supervisor alone, and the nodes go on. The lock is on the
//! directory itself, and the kernel gives it back whatever the end was.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use fs2::FileExt;
use tokio::signal::unix::{SignalKind, signal};

use super::act::remove_sockets;
use super::console::{Console, Token, TokenError};
use super::daemon::{Daemon, Phase};
use super::events::EventLog;
use super::metrics::Metrics;
use super::ops::SideCar;
use super::process::{self, Identity, Process};
use super::server::Control;
use super::spawn::{NoProgram, program};
use super::state::{Mode, StateError, StateFile};
use super::status::Seen;
use crate::config::{ClusterConfig, ClusterDirectory, ConfigError, LayoutError, create_file};
use crate::observe::{HttpError, HttpLimits, HttpServer, MetricError, Registry};
use crate::rpc::{Limits, Server, ServerOptions, TransportError, listen};
use crate::schema::control_capnp::supervisor;

/// For the last answers to leave.
const FAREWELL: Duration = Duration::from_millis(500);

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The cluster's directory; `cluster.toml` is in it.
    pub directory: ClusterDirectory,
    /// Take the nodes down on SIGINT and SIGTERM.
    pub foreground: bool,
    /// Take the nodes down, and end, when this process ends.
    pub until_exit_of: Option<u32>,
}

/// Why a supervisor cannot run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("another supervisor keeps {}", directory.display())]
    AlreadyRunning { directory: PathBuf },
    #[error("there is no cluster in {}: create one with `kvctl cluster up`", directory.display())]
    NoCluster { directory: PathBuf },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Program(#[from] NoProgram),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Metric(#[from] MetricError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error("cannot {what}: {source}")]
    Io { what: String, source: io::Error },
}

fn failed(what: impl Into<String>) -> impl FnOnce(io::Error) -> DaemonError {
    let what = what.into();
    move |source| DaemonError::Io { what, source }
}

/// How a supervisor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The cluster is down.
    Down,
    /// The nodes run on, for the next supervisor to adopt.
    NodesRunOn,
}

/// Locks the cluster's directory. The lock lasts as long as the file is open.
pub(super) fn lock(directory: &ClusterDirectory) -> Result<File, DaemonError> {
    let path = directory.path();
    let file = File::open(path).map_err(failed(format!("open {}", path.display())))?;
    // By path: the standard library has a method of the same name with another meaning of errors.
    match FileExt::try_lock_exclusive(&file) {
        Ok(()) => Ok(file),
        Err(error) if error.kind() == fs2::lock_contended_error().kind() => {
            Err(DaemonError::AlreadyRunning { directory: path.to_owned() })
        }
        Err(error) => Err(failed(format!("lock {}", path.display()))(error)),
    }
}

/// Keeps the cluster until it is taken down or a signal comes. Wants a `LocalSet` around it.
pub async fn run(options: Options) -> Result<Ended, DaemonError> {
    let directory = &options.directory;
    directory.check_owner()?;
    if !directory.cluster_toml().exists() {
        return Err(DaemonError::NoCluster { directory: directory.path().to_owned() });
    }
    let _lock = lock(directory)?;
    // From here on nobody else writes here.
    let config = ClusterConfig::read(&directory.cluster_toml())?;
    let kvnode = program("kvnode")?;
    let owner = match options.until_exit_of {
        Some(pid) => Some(watch_owner(pid)?),
        None => None,
    };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed("listen for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed("listen for SIGINT"))?;

    let registry = Rc::new(Registry::new("kvsupd")?);
    let metrics = Metrics::new(&registry)?;
    let events = EventLog::open(directory).map_err(failed("open the history"))?;
    let mut state = StateFile::read_or_new(&config, directory)?;
    let found = find_nodes(directory, &state)?;
    let told = prepare(directory, &config, &mut state, &found)?;
    let http = state.http;
    let daemon =
        Daemon::new(directory.clone(), config, state, events, kvnode, options.foreground, metrics);
    for (kind, detail) in told {
        daemon.tell(None, kind, &detail);
    }
    let token = Token::read_or_make(&directory.console_token())?;
    let listener = listen(&directory.supervisor_address())?;
    let http = HttpServer::start(
        http,
        HttpLimits::default(),
        registry,
        Rc::new(Seen(daemon.clone())),
        Some(Rc::new(Console::new(daemon.clone(), token))),
    )?;
    bring_up(&daemon, found);
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn_local(daemon.clone().keep_time());
    tasks.spawn_local(daemon.clone().keep_state());
    tasks.spawn_local(daemon.clone().keep_faults());
    tasks.spawn_local(daemon.clone().keep_targets());
    tasks.spawn_local(daemon.clone().keep_hearing_alerts());
    for which in SideCar::ALL {
        tasks.spawn_local(daemon.clone().keep_side_car(which));
    }
    let ids: Vec<_> = daemon.inner.borrow().nodes.keys().copied().collect();
    ids.into_iter().for_each(|id| daemon.begin_asking(id));
    daemon.adopted_have_answered().await;

    let limits = Limits::default();
    let options = ServerOptions { whom: "operators", max_connections: 64, limits };
    let server = Server::new(listener, options);
    let counters = server.counters();
    let control = daemon.clone();
    tasks.spawn_local(server.run(move || {
        let client: supervisor::Client = capnp_rpc::new_client(Control(control.clone()));
        client.client
    }));

    let owner_ended = async {
        match &owner {
            Some(Some(owner)) => drop(owner.ended().await),
            // It is gone already.
            Some(None) => {}
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        () = is_down(&daemon) => Ended::Down,
        () = owner_ended => {
            daemon.down(None).await;
            Ended::Down
        }
        _ = terminate.recv() => at_signal(&daemon, "SIGTERM").await,
        _ = interrupt.recv() => at_signal(&daemon, "SIGINT").await,
    };
    // Whoever asked gets the answer before the connection goes.
    let farewell = async {
        while counters.open.get() > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    if ended == Ended::Down {
        let _ = tokio::time::timeout(FAREWELL, farewell).await;
    }
    tasks.shutdown().await;
    http.stop().await;
    Ok(ended)
}

/// A signal ends the cluster in the foreground, and this process alone in the background.
async fn at_signal(daemon: &Rc<Daemon>, name: &str) -> Ended {
    if daemon.foreground || daemon.inner.borrow().phase != Phase::Up {
        tracing::info!("{name}: taking the cluster down");
        daemon.down(None).await;
        return Ended::Down;
    }
    daemon.tell(None, "supervisor-stopped", &format!("{name}; the nodes run on"));
    daemon.is_saved().await;
    Ended::NodesRunOn
}

async fn is_down(daemon: &Rc<Daemon>) {
    let mut news = daemon.news();
    while !matches!(daemon.inner.borrow().phase, Phase::Down(_)) {
        if news.changed().await.is_err() {
            return;
        }
    }
}

/// `None`: it is gone already.
fn watch_owner(pid: u32) -> Result<Option<Process>, DaemonError> {
    let watched = Identity::of(pid).and_then(|identity| match identity {
        Some(identity) => Process::of_identity(&identity),
        None => Ok(None),
    });
    watched.map_err(failed(format!("watch process {pid}")))
}

type Found = Vec<(crate::types::NodeId, Process)>;

/// The nodes that run already.
fn find_nodes(directory: &ClusterDirectory, state: &StateFile) -> Result<Found, DaemonError> {
    let look = |id, record: &super::state::NodeRecord| -> io::Result<Option<Process>> {
        if let Some(identity) = &record.process
            && let Some(process) = Process::of_identity(identity)?
        {
            return Ok(Some(process));
        }
        let toml = directory.node(id).node_toml();
        for identity in process::running("kvnode", &toml)? {
            if let Some(process) = Process::of_identity(&identity)? {
                return Ok(Some(process));
            }
        }
        Ok(None)
    };
    let mut found = Vec::new();
    for (id, record) in state.live() {
        let process = look(id, record).map_err(failed(format!("look for node {id}")))?;
        found.extend(process.map(|process| (id, process)));
    }
    Ok(found)
}

/// Writes down all that must be there before the first node starts. Returns what to tell.
fn prepare(
    directory: &ClusterDirectory,
    config: &ClusterConfig,
    state: &mut StateFile,
    found: &Found,
) -> Result<Vec<(&'static str, String)>, DaemonError> {
    let mut told = Vec::new();
    let boot = process::boot().map_err(failed("ask which boot this is"))?;
    let runs = |id| found.iter().any(|(found, _)| *found == id);
    if let Some(last) = &state.supervisor {
        if last.boot != boot {
            told.push(("stale-state", "the machine was restarted: what ran is gone".to_owned()));
        } else if state.mode == Mode::Up {
            let nodes = found.len();
            told.push(("supervisor-replaced", format!("{nodes} nodes are found running")));
        }
    }
    for port in state.replace_taken_ports(|id| !runs(id))? {
        told.push(("port-changed", port));
    }
    for (id, record) in &mut state.nodes {
        if state.mode == Mode::Down {
            (record.stay_down, record.given_up) = (false, None);
        }
        if !runs(*id) {
            record.process = None;
        }
    }
    state.mode = Mode::Up;
    state.supervisor = Some(Identity::of_self().map_err(failed("ask who this process is"))?);
    // First of all: from now on what is created here is not taken for a new cluster's.
    state.write(&directory.supervisor_json())?;
    let members = directory.members_toml();
    match create_file(&members, state.members().to_commented_toml().as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            return Err(failed(format!("write {}", members.display()))(error));
        }
        _ => {}
    }
    for id in state.live().map(|(id, _)| id) {
        let place = directory.node(id);
        place.create()?;
        if !runs(id) {
            remove_sockets(&place);
        }
        state.write_node_config(config, directory, id)?;
    }
    told.push(("supervisor-started", format!("pid {}", std::process::id())));
    Ok(told)
}

/// Adopts who runs, and starts who ought to.
fn bring_up(daemon: &Rc<Daemon>, found: Found) {
    for (id, process) in found {
        daemon.adopt(id, process);
    }
    let records = daemon.inner.borrow().state.nodes.clone();
    for (id, record) in records {
        match record {
            _ if daemon.inner.borrow().nodes.get(&id).is_some_and(|it| it.process.is_some()) => {}
            record if record.stay_down => {}
            record => match record.given_up {
                Some(why) => daemon.note(id, |node, _| {
                    node.given_up(why);
                    Vec::new()
                }),
                None => daemon.note(id, |node, _| node.up()),
            },
        }
    }
}

//! A real cluster for a test: real processes, sockets and disks, in a directory that goes with it.
//!
//! ```no_run
//! use kvraft::testing::Cluster;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let cluster = Cluster::start(3)?;
//! cluster.put("greeting", "hello")?;
//! cluster.kill_leader()?;
//! assert_eq!(cluster.get("greeting")?.unwrap(), "hello");
//! cluster.down()?;
//! # Ok(())
//! # }
//! ```
//!
//! # What can go wrong, and the rule for it
//!
//! A test panics, runs out of its time and is killed, or is stopped by its author. Whatever
//! happens, nothing of its cluster may be left:
//!
//! - Dropped, a [`Cluster`] takes itself down, and what does not end is killed.
//! - If nothing is dropped (`abort`, SIGKILL), the supervisor notices that the process that owns
//!   the cluster has ended, takes the nodes down and removes the directory.
//!
//! It is synchronous, so that a plain `#[test]` can use it; the runtime that it needs is its own.
//! [`Cluster::block_on`] runs more on that runtime, such as the native [`Client`], which cannot
//! leave its thread. Do not use it inside another runtime.
//!
//! The programs `kvnode` and `kvsupd` must have been built: they are looked for in
//! `$KVRAFT_BIN_DIR`, else beside (or above) the test's own executable, else in `PATH`.

mod faults;
mod members;

use std::future::Future;
use std::io;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::Instant;

use crate::client::{Client, ClientError, Options};
use crate::config::{
    Address, ClusterConfig, ClusterDirectory, ClusterName, Durability, Home, Transport,
};
use crate::control::{Action, ClusterStatus, ControlError, Event, SupervisorClient};
use crate::replica::Consistency;
use crate::supervisor::launch::{self, LaunchError, Receipt, Start, Until, Wanted};
use crate::supervisor::lifecycle::Signal;
use crate::supervisor::process::{Identity, Process};
use crate::supervisor::receipt;
use crate::types::NodeId;

/// For a cluster to become ready, or a condition true, unless it is said otherwise.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(5);

/// For the nodes to stop when a cluster is dropped.
const DROP_GRACE: Duration = Duration::from_secs(2);

/// Why a test's cluster does not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    #[error(transparent)]
    Launch(#[from] LaunchError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot {what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error("waited {PATIENCE:?} in vain for {what}: {status:#?}")]
    InVain { what: String, status: Box<ClusterStatus> },
    #[error("something is left of the cluster: {0:?}")]
    Left(receipt::Leftovers),
}

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct Builder {
    config: ClusterConfig,
}

impl Builder {
    /// How nodes and clients reach each other.
    pub fn transport(mut self, transport: Transport) -> Builder {
        self.config.transport = transport;
        self
    }

    /// When a write counts as durable.
    pub fn durability(mut self, durability: Durability) -> Builder {
        self.config.durability = durability;
        self
    }

    /// The cluster's name; `default` otherwise.
    pub fn name(mut self, name: ClusterName) -> Builder {
        self.config.name = name;
        self
    }

    /// Everything else in `cluster.toml`.
    pub fn configure(mut self, change: impl FnOnce(&mut ClusterConfig)) -> Builder {
        change(&mut self.config);
        self
    }

    /// Starts it and waits until it is ready.
    pub fn start(self) -> Result<Cluster, TestError> {
        let cluster = self.start_without_waiting()?;
        cluster.wait_ready()?;
        Ok(cluster)
    }

    /// Starts it. Nodes may still be on their way, and no leader known.
    pub fn start_without_waiting(self) -> Result<Cluster, TestError> {
        let io = |what| move |source| TestError::Io { what, source };
        let temporary = tempfile::Builder::new()
            .prefix("kvraft-")
            .tempdir()
            .map_err(io("make a temporary directory"))?;
        let home = Home::at(temporary.path()).map_err(LaunchError::from)?;
        launch::create(&home, &self.config, &Wanted::default())?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(io("make a runtime"))?;
        let directory = home.cluster(&self.config.name);
        // A cluster from here on: whatever fails next, it is dropped.
        let cluster = Cluster {
            local: LocalSet::new(),
            runtime,
            directory,
            config: self.config,
            home,
            is_down: false,
            _temporary: temporary,
        };
        cluster.block_on(cluster.supervisor())?;
        Ok(cluster)
    }
}

/// A cluster that lives as long as this value. See the [module](self).
#[derive(Debug)]
pub struct Cluster {
    // Before the runtime: what lives in it is dropped first.
    local: LocalSet,
    runtime: Runtime,
    directory: ClusterDirectory,
    config: ClusterConfig,
    home: Home,
    is_down: bool,
    /// Removed with all that is in it, last.
    _temporary: TempDir,
}

impl Cluster {
    /// Starts a cluster of `nodes` nodes with the defaults, and waits until it is ready.
    pub fn start(nodes: u32) -> Result<Cluster, TestError> {
        Cluster::builder(nodes).start()
    }

    /// A cluster of `nodes` nodes, to be described further.
    pub fn builder(nodes: u32) -> Builder {
        Builder { config: ClusterConfig::new(ClusterName::default(), nodes) }
    }

    /// Runs `future` on this cluster's runtime, where its clients live.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        self.local.block_on(&self.runtime, future)
    }

    /// Talks to the supervisor; starts one if there is none, which adopts what runs.
    pub async fn supervisor(&self) -> Result<SupervisorClient, LaunchError> {
        let owner = Some(std::process::id());
        launch::start(&self.directory, &Start { until_exit_of: owner, throw_away: true }).await
    }

    /// What the supervisor knows.
    pub fn status(&self) -> Result<ClusterStatus, TestError> {
        self.block_on(async { Ok(self.supervisor().await?.status().await?) })
    }

    /// What happened so far; at most the newest thousand.
    pub fn events(&self) -> Result<Vec<Event>, TestError> {
        self.block_on(async { Ok(self.supervisor().await?.events(0, 1000, Duration::ZERO).await?) })
    }

    /// Does `action` to `node`, or to the leader, and returns whom it was done to.
    pub fn act(&self, node: Option<NodeId>, action: Action) -> Result<NodeId, TestError> {
        self.block_on(async { Ok(self.supervisor().await?.act(node, action, true).await?) })
    }

    /// SIGKILL; the supervisor starts it again.
    pub fn kill(&self, node: NodeId) -> Result<(), TestError> {
        self.act(Some(node), Action::Kill).map(drop)
    }

    /// SIGKILL to whoever leads; returns who that was.
    pub fn kill_leader(&self) -> Result<NodeId, TestError> {
        self.act(None, Action::Kill)
    }

    /// SIGSTOP.
    pub fn pause(&self, node: NodeId) -> Result<(), TestError> {
        self.act(Some(node), Action::Pause).map(drop)
    }

    /// SIGCONT.
    pub fn resume(&self, node: NodeId) -> Result<(), TestError> {
        self.act(Some(node), Action::Resume).map(drop)
    }

    /// Stops it gracefully; it stays down.
    pub fn stop(&self, node: NodeId) -> Result<(), TestError> {
        self.act(Some(node), Action::Stop).map(drop)
    }

    /// Starts what was stopped; returns when it answers.
    pub fn start_node(&self, node: NodeId) -> Result<(), TestError> {
        self.act(Some(node), Action::Start).map(drop)
    }

    /// Stops it gracefully and starts it.
    pub fn restart(&self, node: NodeId) -> Result<(), TestError> {
        self.act(Some(node), Action::Restart).map(drop)
    }

    /// Who leads; waits for an election that is under way.
    pub fn leader(&self) -> Result<NodeId, TestError> {
        let status = self.wait_until("a leader", |status| status.leader.is_some())?;
        status
            .leader
            .ok_or_else(|| TestError::InVain { what: "a leader".into(), status: Box::new(status) })
    }

    /// The numbers of the nodes that it was created with.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.config.node_ids().collect()
    }

    /// Waits until there is a leader and every node that should run is ready.
    pub fn wait_ready(&self) -> Result<ClusterStatus, TestError> {
        self.block_on(async {
            let supervisor = self.supervisor().await?;
            Ok(launch::wait(&supervisor, Until::Ready, PATIENCE, |_| {}).await?)
        })
    }

    /// Waits until `test` holds of the status; `what` names it if it never does.
    pub fn wait_until(
        &self,
        what: &str,
        test: impl Fn(&ClusterStatus) -> bool,
    ) -> Result<ClusterStatus, TestError> {
        self.block_on(async {
            let supervisor = self.supervisor().await?;
            let end = Instant::now() + PATIENCE;
            loop {
                let status = supervisor.status().await?;
                if test(&status) {
                    return Ok(status);
                }
                if Instant::now() >= end {
                    return Err(TestError::InVain { what: what.into(), status: Box::new(status) });
                }
                tokio::time::sleep(GLANCE).await;
            }
        })
    }

    /// Where clients reach each node.
    pub fn endpoints(&self) -> Result<Vec<Address>, TestError> {
        Ok(self.status()?.nodes.into_iter().map(|node| node.client).collect())
    }

    /// A native client of all nodes, for use within [`block_on`](Self::block_on).
    pub fn client(&self) -> Result<Client, TestError> {
        let endpoints = self.endpoints()?;
        Ok(self.block_on(Client::connect(&endpoints, Options::default()))?)
    }

    /// Writes one key.
    pub fn put(&self, key: &str, value: impl Into<Bytes>) -> Result<(), TestError> {
        let client = self.client()?;
        self.block_on(client.put(key.to_owned(), value.into()))?;
        Ok(())
    }

    /// Reads one key, linearizably.
    pub fn get(&self, key: &str) -> Result<Option<Bytes>, TestError> {
        let client = self.client()?;
        let read = self.block_on(client.get(key.to_owned(), Consistency::Linearizable))?;
        Ok(read.item.map(|item| item.value))
    }

    /// The process of the supervisor.
    pub fn supervisor_pid(&self) -> Result<u32, TestError> {
        Ok(self.status()?.supervisor_pid)
    }

    /// SIGKILL to the supervisor; returns when it is dead. The next call that needs a supervisor
    /// starts another, which adopts the nodes.
    pub fn kill_supervisor(&self) -> Result<(), TestError> {
        let io = |source| TestError::Io { what: "kill the supervisor", source };
        let pid = self.supervisor_pid()?;
        let Some(identity) = Identity::of(pid).map_err(io)? else { return Ok(()) };
        self.block_on(async {
            let Some(process) = Process::of_identity(&identity)? else { return Ok(()) };
            process.send(Signal::Kill)?;
            process.ended().await.map(drop)
        })
        .map_err(io)
    }

    /// SIGKILL to everything at once, the supervisor first, so that nothing comes back in between;
    /// returns when all are dead. With [`Durability::FsyncDropUnsynced`] this is a power cut: what
    /// was not synced is lost. The next call that needs a supervisor starts one, and it the nodes.
    pub fn power_cut(&self) -> Result<(), TestError> {
        let io = |source| TestError::Io { what: "kill every process", source };
        let pids: Vec<u32> = self.status()?.nodes.iter().filter_map(|node| node.pid).collect();
        let identities = pids.into_iter().map(Identity::of).collect::<Result<Vec<_>, _>>();
        let identities = identities.map_err(io)?;
        self.kill_supervisor()?;
        self.block_on(async {
            let mut dying = Vec::new();
            for identity in identities.iter().flatten() {
                dying.extend(Process::of_identity(identity)?);
            }
            dying.iter().try_for_each(|process| process.send(Signal::Kill))?;
            for process in dying {
                process.ended().await?;
            }
            Ok(())
        })
        .map_err(io)
    }

    /// The cluster's directory.
    pub fn directory(&self) -> &ClusterDirectory {
        &self.directory
    }

    /// What `KVRAFT_HOME` must be for `kvctl` to find this cluster.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Takes it down, and fails if anything is left.
    pub fn down(mut self) -> Result<Receipt, TestError> {
        let receipt = self.block_on(async {
            let supervisor = self.supervisor().await?;
            let stopped = supervisor.down(None).await?;
            drop(supervisor);
            let left = launch::look_until_clean(&self.directory).await?;
            Ok::<_, TestError>(Receipt { stopped, left })
        })?;
        self.is_down = receipt.left.is_clean();
        match self.is_down {
            true => Ok(receipt),
            false => Err(TestError::Left(receipt.left.clone())),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if self.is_down {
            return;
        }
        let directory = self.directory.clone();
        // On a thread of its own: a panic may come from within the runtime, or from within another.
        let ended = std::thread::spawn(move || end(&directory)).join();
        if !std::thread::panicking() {
            assert!(matches!(ended, Ok(Ok(()))), "the cluster could not be ended: {ended:?}");
        }
    }
}

/// Takes the cluster down, by force if it must be.
fn end(directory: &ClusterDirectory) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let asked = launch::down(directory, Some(DROP_GRACE)).await;
        let left = match asked {
            Ok(receipt) => receipt.left,
            Err(_) => receipt::look(directory)?,
        };
        for pid in left.processes {
            let Some(identity) = Identity::of(pid)? else { continue };
            if let Some(process) = Process::of_identity(&identity)? {
                process.send(Signal::Kill)?;
                process.ended().await?;
            }
        }
        Ok(())
    })
}

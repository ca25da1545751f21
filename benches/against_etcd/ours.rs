//! A kvraft cluster, started and stopped as a person would: by `kvctl`; and its native client.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use kvraft::client::load::Target;
use kvraft::client::{Client, Options, Swap as Swapped};
use kvraft::config::{Address, ClusterConfig};
use kvraft::control::{ClusterStatus, SupervisorClient};
use kvraft::kv::Expected;
use kvraft::replica::Consistency;
use kvraft::retention::Retention;
use kvraft::types::Revision;
use rustix::process::{Pid, Signal, kill_process};

use crate::system::{Swap, System};

const NAME: &str = "bench";
/// Built by cargo for this benchmark, in the same profile. `KVCTL` names another one, of a build
/// that this one is to be compared with.
fn binary() -> PathBuf {
    let built = || env!("CARGO_BIN_EXE_kvctl").into();
    std::env::var_os("KVCTL").map_or_else(built, PathBuf::from)
}
/// The longest that anything here waits for a cluster that should work.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running kvraft cluster.
pub struct Ours {
    home: tempfile::TempDir,
    started_in: Duration,
    running: bool,
}

impl Drop for Ours {
    fn drop(&mut self) {
        if self.running
            && let Err(error) = kvctl(self.home.path(), &["cluster", "down", "--purge"])
        {
            eprintln!("warning: the cluster under {} may still run: {error}", self.home_text());
        }
    }
}

/// Runs kvctl on the cluster under `home`, and shows what it said if it fails.
fn kvctl(home: &Path, arguments: &[&str]) -> Result<()> {
    let output = Command::new(binary())
        .args(arguments)
        .args(["--name", NAME])
        .env("KVRAFT_HOME", home)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {}", binary().display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "kvctl {} failed:\n{said}", arguments.join(" "));
    Ok(())
}

impl System for Ours {
    const NAME: &'static str = "kvraft";
    type Connection = Connection;

    async fn start(members: usize, place: &Path) -> Result<Ours> {
        let home = tempfile::Builder::new().prefix("kvraft-").tempdir_in(place)?;
        let mut ours = Ours { home, started_in: Duration::ZERO, running: true };
        let began = Instant::now();
        kvctl(ours.home.path(), &["cluster", "up", "-n", &members.to_string()])?;
        let client = ours.client().await?;
        client.put("first", "write").await.context("the first write")?;
        ours.started_in = began.elapsed();
        Ok(ours)
    }

    async fn start_keeping(members: usize, place: &Path, kept: Retention) -> Result<Ours> {
        let ours = Ours::start(members, place).await?;
        kvctl(ours.home.path(), &["cluster", "down"])?;
        let file = ours.home.path().join(NAME).join("cluster.toml");
        let mut config = ClusterConfig::read(&file)?;
        config.storage.history = kept;
        fs::write(&file, config.to_commented_toml())?;
        kvctl(ours.home.path(), &["cluster", "up"])?;
        Ok(ours)
    }

    fn started_in(&self) -> Duration {
        self.started_in
    }

    async fn connections(&self, clients: usize) -> Result<Vec<Connection>> {
        // As many as etcd gets to one member: a client keeps one connection to each.
        let mut connections = Vec::new();
        for _ in 0..clients.min(4) {
            connections.push(Connection(self.client().await?));
        }
        Ok(connections)
    }

    async fn pids(&self) -> Result<Vec<u32>> {
        Ok(self.status().await?.nodes.iter().filter_map(|node| node.pid).collect())
    }

    async fn fail_over(&mut self) -> Result<Duration> {
        let client = self.client().await?;
        client.put("probe", "before").await.context("before the leader is killed")?;
        let status = self.ready().await?;
        let leader = status.leader.context("a cluster that is ready has a leader")?;
        let pid = status.node(leader).and_then(|node| node.pid).context("the leader's process")?;
        let pid =
            i32::try_from(pid).ok().and_then(Pid::from_raw).context("the leader's process")?;
        kill_process(pid, Signal::KILL).context("killing the leader")?;
        let killed = Instant::now();
        client.put("probe", "after").await.context("after the leader was killed")?;
        let took = killed.elapsed();
        self.ready().await?;
        Ok(took)
    }

    async fn stop(mut self) -> Result<()> {
        self.running = false;
        kvctl(self.home.path(), &["cluster", "down", "--purge"])
    }
}

impl Ours {
    fn home_text(&self) -> String {
        self.home.path().display().to_string()
    }

    pub async fn status(&self) -> Result<ClusterStatus> {
        let socket = self.home.path().join(NAME).join("supervisor.sock");
        let supervisor = SupervisorClient::connect(&Address::Unix(socket)).await?;
        Ok(supervisor.status().await?)
    }

    /// Waits until every node runs and has caught up.
    pub async fn ready(&self) -> Result<ClusterStatus> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            let status = self.status().await?;
            let all = status.nodes.iter().all(|node| {
                node.pid.is_some() && node.report.as_ref().is_some_and(|report| report.ready)
            });
            if status.ready && all {
                return Ok(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("not every node was ready within {PATIENCE:?}");
    }

    /// Kills a follower, and measures until it is ready again.
    pub async fn bring_back_one(&self) -> Result<Duration> {
        let status = self.ready().await?;
        let follower = status.nodes.iter().find(|node| Some(node.node) != status.leader);
        let follower = follower.context("a cluster of several has a follower")?;
        let (node, old) = (follower.node, follower.pid.context("the follower's process")?);
        let pid = i32::try_from(old).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, Signal::KILL).context("killing a follower")?;
        let killed = Instant::now();
        while killed.elapsed() < PATIENCE {
            let status = self.status().await?;
            let again = status.node(node).is_some_and(|it| {
                it.pid.is_some_and(|pid| pid != old) && it.report.as_ref().is_some_and(|r| r.ready)
            });
            if again {
                return Ok(killed.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the follower was not back within {PATIENCE:?}");
    }

    /// Stops all nodes, and measures from their start until all are ready.
    pub async fn bring_back_all(&self) -> Result<Duration> {
        kvctl(self.home.path(), &["cluster", "down"])?;
        let began = Instant::now();
        kvctl(self.home.path(), &["cluster", "up", "--timeout", "60s"])?;
        Ok(began.elapsed())
    }

    async fn client(&self) -> Result<Client> {
        let status = self.status().await?;
        let endpoints: Vec<Address> = status.nodes.into_iter().map(|node| node.client).collect();
        let options = Options { timeout: Duration::from_secs(10), ..Options::default() };
        Ok(Client::connect(&endpoints, options).await?)
    }
}

/// A client of the native API; many may use it at once.
pub struct Connection(Client);

impl Target for Connection {
    async fn put(&self, key: Bytes, value: Bytes) -> Result<(), String> {
        self.0.put(key, value).await.map(drop).map_err(|error| error.to_string())
    }

    async fn get(&self, key: Bytes, stale: bool) -> Result<(), String> {
        let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
        let got = self.0.get(key, consistency).await.map_err(|error| error.to_string())?;
        // A store that answers without the value must not win.
        match got.item {
            Some(item) if !item.value.is_empty() => Ok(()),
            _ => Err("a key that was written is not there".to_owned()),
        }
    }
}

impl Swap for Connection {
    async fn swap(&self, key: Bytes, since: u64, value: Bytes) -> Result<Result<u64, u64>, String> {
        let expected = match since {
            0 => Expected::Absent,
            since => Expected::ModRevision(Revision(since)),
        };
        let swapped = self.0.compare_and_swap(key, expected, value).await;
        Ok(match swapped.map_err(|error| error.to_string())? {
            Swapped::Swapped { revision } => Ok(revision.0),
            Swapped::Unchanged { found, .. } => Err(found.map_or(0, |it| it.mod_revision.0)),
        })
    }
}

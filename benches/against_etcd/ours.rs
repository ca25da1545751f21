//! A kvraft cluster, started and stopped as a person would: by `kvctl`.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use kvraft::client::load::Target;
use kvraft::client::{Client, Options};
use kvraft::config::Address;
use kvraft::control::{ClusterStatus, SupervisorClient};
use kvraft::replica::Consistency;
use rustix::process::{Pid, Signal, kill_process};

use crate::system::System;

const NAME: &str = "bench";
/// Built by cargo for this benchmark, in the same profile.
const KVCTL: &str = env!("CARGO_BIN_EXE_kvctl");
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
    let output = Command::new(KVCTL)
        .args(arguments)
        .args(["--name", NAME])
        .env("KVRAFT_HOME", home)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {KVCTL}"))?;
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

    async fn status(&self) -> Result<ClusterStatus> {
        let socket = self.home.path().join(NAME).join("supervisor.sock");
        let supervisor = SupervisorClient::connect(&Address::Unix(socket)).await?;
        Ok(supervisor.status().await?)
    }

    /// Waits until every node runs and has caught up.
    async fn ready(&self) -> Result<ClusterStatus> {
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

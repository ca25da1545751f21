//! An etcd cluster.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kvraft::retention::Retention;
use tokio::task::JoinSet;

use crate::grpc::{self, Connection};
use crate::system::System;

/// The longest that anything here waits for a cluster that should work.
const PATIENCE: Duration = Duration::from_secs(60);

/// `make bench` says where it is.
fn binary() -> PathBuf {
    std::env::var_os("ETCD").map_or_else(|| "etcd".into(), PathBuf::from)
}

/// The version, as the binary tells it.
pub fn version() -> Result<String> {
    let output = Command::new(binary()).arg("--version").output().with_context(|| {
        format!("{} does not run; `make bench` fetches it, or set ETCD", binary().display())
    })?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    Ok(line.context("etcd --version says nothing known")?.to_owned())
}

/// A running etcd cluster.
pub struct Etcd {
    members: Vec<Member>,
    started_in: Duration,
    directory: tempfile::TempDir,
}

struct Member {
    arguments: Vec<String>,
    client_port: u16,
    process: Child,
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended by itself; then both fail, and that is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl System for Etcd {
    const NAME: &'static str = "etcd";
    type Connection = Connection;

    async fn start(members: usize, place: &Path) -> Result<Etcd> {
        Etcd::start_with(members, place, &[]).await
    }

    async fn start_keeping(members: usize, place: &Path, kept: Retention) -> Result<Etcd> {
        let (mode, retention) = match kept {
            Retention::All => return Etcd::start(members, place).await,
            Retention::Revisions(revisions) => ("revision", revisions.to_string()),
            Retention::Time(time) => ("periodic", format!("{}ms", time.as_millis())),
        };
        let further =
            [("--auto-compaction-mode", mode), ("--auto-compaction-retention", &retention)];
        Etcd::start_with(members, place, &further).await
    }

    fn started_in(&self) -> Duration {
        self.started_in
    }

    async fn connections(&self, clients: usize) -> Result<Vec<Connection>> {
        grpc::connections(self.addresses(), self.leader().await?, clients).await
    }

    async fn pids(&self) -> Result<Vec<u32>> {
        Ok(self.members.iter().map(|member| member.process.id()).collect())
    }

    async fn fail_over(&mut self) -> Result<Duration> {
        let leader = self.leader().await?;
        // Connected beforehand, as a client would be.
        let mut survivors = Vec::new();
        for (n, member) in self.members.iter().enumerate() {
            if n != leader {
                survivors.push(member.connect().await?);
            }
        }
        let victim = &mut self.members[leader];
        victim.process.kill().context("killing the leader")?;
        let killed = Instant::now();
        let took = next_write(&survivors, killed).await?;
        victim.process.wait()?;
        victim.process = spawn(&victim.arguments, self.directory.path())?;
        self.all_answer().await?;
        Ok(took)
    }

    async fn stop(mut self) -> Result<()> {
        for member in &mut self.members {
            member.process.kill()?;
        }
        Ok(())
    }
}

/// Asks the system for ports that are free now.
fn free_ports(count: usize) -> Result<Vec<u16>> {
    let listeners: Vec<TcpListener> =
        (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    listeners.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}

/// Starts a member. It dies with this thread, however that ends.
fn spawn(arguments: &[String], directory: &Path) -> Result<Child> {
    let name = &arguments[1];
    let log = directory.join(format!("{name}.log"));
    let log = File::options().create(true).append(true).open(log)?;
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        // Without it, etcd of this age refuses other processors than x86.
        .env("ETCD_UNSUPPORTED_ARCH", "arm64")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    // SAFETY: prctl is a plain system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            let signal = Some(rustix::process::Signal::KILL);
            Ok(rustix::process::set_parent_process_death_signal(signal)?)
        });
    }
    command.spawn().with_context(|| format!("starting {}", binary().display()))
}

impl Member {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.client_port)
    }

    async fn connect(&self) -> Result<Connection> {
        Connection::open(&self.address()).await
    }
}

impl Etcd {
    /// The same as [`System::start`], with further options of etcd's.
    pub async fn start_with(
        members: usize,
        place: &Path,
        further: &[(&str, &str)],
    ) -> Result<Etcd> {
        let directory = tempfile::Builder::new().prefix("etcd-").tempdir_in(place)?;
        let ports = free_ports(2 * members)?;
        let (peers, clients) = ports.split_at(members);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let everyone: Vec<String> =
            (0..members).map(|n| format!("m{n}={}", url(peers[n]))).collect();
        let began = Instant::now();
        let mut running = Vec::new();
        for n in 0..members {
            let (peer, client) = (url(peers[n]), url(clients[n]));
            let data = directory.path().join(format!("m{n}")).display().to_string();
            let name = format!("m{n}");
            let arguments = [
                ("--name", name.as_str()),
                ("--data-dir", &data),
                ("--listen-peer-urls", &peer),
                ("--initial-advertise-peer-urls", &peer),
                ("--listen-client-urls", &client),
                ("--advertise-client-urls", &client),
                ("--initial-cluster", &everyone.join(",")),
                ("--initial-cluster-state", "new"),
                ("--logger", "zap"),
            ];
            let arguments = arguments.iter().chain(further);
            let arguments: Vec<String> =
                arguments.flat_map(|(a, b)| [a.to_string(), b.to_string()]).collect();
            let process = spawn(&arguments, directory.path())?;
            running.push(Member { arguments, client_port: clients[n], process });
        }
        let mut etcd = Etcd { members: running, started_in: Duration::ZERO, directory };
        etcd.first_write(began).await.with_context(|| etcd.last_words())?;
        etcd.started_in = began.elapsed();
        Ok(etcd)
    }

    /// Where the members serve clients.
    pub fn addresses(&self) -> Vec<String> {
        self.members.iter().map(Member::address).collect()
    }

    /// Tries each member in turn until one acknowledges a write.
    async fn first_write(&self, began: Instant) -> Result<()> {
        for attempt in 0.. {
            let member = &self.members[attempt % self.members.len()];
            if let Ok(connection) = member.connect().await
                && connection.put_one("first".into(), "write".into()).await.is_ok()
            {
                break;
            }
            ensure!(began.elapsed() < PATIENCE, "no write was acknowledged in {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// The end of a member's log, for an error.
    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.directory.path().join("m0.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        format!("etcd did not start; its first member's last words:\n{}", lines.join("\n"))
    }

    /// Which member leads.
    async fn leader(&self) -> Result<usize> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            for (n, member) in self.members.iter().enumerate() {
                if let Ok(connection) = member.connect().await
                    && let Ok(status) = connection.status().await
                    && status.leader != 0
                    && status.header.is_some_and(|header| header.member_id == status.leader)
                {
                    return Ok(n);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("no member leads")
    }

    /// Waits until a linearizable read succeeds at every member: each has caught up.
    async fn all_answer(&self) -> Result<()> {
        let began = Instant::now();
        for member in &self.members {
            loop {
                if let Ok(connection) = member.connect().await
                    && connection.get_one("first".into(), false).await.is_ok()
                {
                    break;
                }
                ensure!(began.elapsed() < PATIENCE, "a restarted member does not answer");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }
}

/// Sends a write every 5 ms to the survivors in turn until one of them is acknowledged. Many at
/// once, because one that was handed to the dead leader is answered only after seconds.
async fn next_write(survivors: &[Connection], killed: Instant) -> Result<Duration> {
    let mut probes = JoinSet::new();
    for n in 0.. {
        ensure!(killed.elapsed() < PATIENCE, "no write was acknowledged in {PATIENCE:?}");
        let survivor = survivors[n % survivors.len()].clone();
        probes.spawn_local(async move {
            survivor.put_one("probe".into(), "x".into()).await.map(|_| killed.elapsed())
        });
        let pause = tokio::time::sleep(Duration::from_millis(5));
        tokio::pin!(pause);
        loop {
            tokio::select! {
                () = &mut pause => break,
                Some(ended) = probes.join_next() => {
                    if let Ok(took) = ended.context("a probe panicked")? {
                        return Ok(took);
                    }
                }
            }
        }
    }
    unreachable!("the numbers do not end")
}

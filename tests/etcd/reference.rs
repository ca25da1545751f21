//! A real etcd, for as long as a test needs it.

use std::ffi::OsString;
use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Of a cluster of ours beside it: its leader keeps its place although the machine is busy with
/// other tests. What is compared is answers.
pub const CALM: [&str; 2] =
    ["election_timeout_min_millis = 1500", "election_timeout_max_millis = 3000"];

/// A cluster of etcd's, its data in memory if there is a place for that: these tests are about what
/// it answers, and its disk may be slow.
pub struct Reference {
    members: Vec<Child>,
    pub addresses: Vec<String>,
    directory: TempDir,
}

impl Drop for Reference {
    fn drop(&mut self) {
        for member in &mut self.members {
            let _ = member.kill();
            let _ = member.wait();
        }
        // It may have died of what it was asked.
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("m0.log")).unwrap_or_default();
            let last = log.lines().filter(|line| line.contains("panic")).take(3);
            last.for_each(|line| eprintln!("etcd says: {line:.500}"));
        }
    }
}

impl Reference {
    pub fn start(members: usize, more: &[&str]) -> Reference {
        let directory = in_memory("etcd-");
        let ports = free_ports(2 * members);
        let (peers, clients) = ports.split_at(members);
        let url = |port: u16| format!("http://127.0.0.1:{port}");
        let everyone: Vec<String> =
            (0..members).map(|n| format!("m{n}={}", url(peers[n]))).collect();
        let running = (0..members).map(|n| {
            let name = format!("m{n}");
            let mut command = Command::new(named("ETCD", "etcd"));
            command
                .args(["--name", &name])
                .args(["--data-dir", directory.path().join(&name).to_str().unwrap()])
                .args(["--listen-peer-urls", &url(peers[n])])
                .args(["--initial-advertise-peer-urls", &url(peers[n])])
                .args(["--listen-client-urls", &url(clients[n])])
                .args(["--advertise-client-urls", &url(clients[n])])
                .args(["--initial-cluster", &everyone.join(",")])
                .args(["--initial-cluster-state", "new", "--logger", "zap"])
                .args(more);
            start(&mut command, &directory.path().join(format!("{name}.log")))
        });
        let members = running.collect();
        let addresses = clients.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let etcd = Reference { members, addresses, directory };
        etcd.wait();
        etcd
    }

    /// Until each member has answered a linearizable read.
    fn wait(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        for address in &self.addresses {
            while !answers(address) {
                assert!(Instant::now() < end, "etcd at {address} does not answer");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn answers(address: &str) -> bool {
    let mut command = etcdctl(address);
    command.args(["get", "x"]);
    command.output().is_ok_and(|output| output.status.success())
}

/// etcd's own client, of the API's version 3.
pub fn etcdctl(endpoints: &str) -> Command {
    let mut command = Command::new(named("ETCDCTL", "etcdctl"));
    command.env("ETCDCTL_API", "3").args(["--endpoints", endpoints]).stdin(Stdio::null());
    command
}

/// `make test` says where it is.
fn named(variable: &str, otherwise: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| otherwise.into())
}

/// A directory of its own, where writing costs nothing if the system has such a place.
pub fn in_memory(prefix: &str) -> TempDir {
    let shared_memory = Path::new("/dev/shm");
    let builder = &mut tempfile::Builder::new();
    let builder = builder.prefix(prefix);
    builder.tempdir_in(shared_memory).or_else(|_| builder.tempdir()).unwrap()
}

/// Asks the system for ports that are free now.
fn free_ports(count: usize) -> Vec<u16> {
    let listeners: Vec<_> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

/// Starts a member, which dies with this thread, however that ends.
fn start(command: &mut Command, log: &Path) -> Child {
    let log = File::create(log).unwrap();
    command
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        // Without it, etcd of this age refuses other processors than x86.
        .env("ETCD_UNSUPPORTED_ARCH", "arm64")
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    // SAFETY: prctl is a plain system call, allowed between fork and exec.
    unsafe {
        command.pre_exec(|| {
            let signal = Some(rustix::process::Signal::KILL);
            Ok(rustix::process::set_parent_process_death_signal(signal)?)
        });
    }
    command.spawn().expect("an etcd (`make test` fetches one, or name it: ETCD)")
}

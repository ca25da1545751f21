//! A cluster with Prometheus beside it, whose alerts are waited for.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::kvctl_home::{Home, wait_until};
use crate::prometheus_api::Prometheus;

/// The longest window is a minute, and a machine may be slow.
const PATIENCE: Duration = Duration::from_secs(100);

pub struct Watched {
    pub home: Home,
    pub prometheus: Prometheus,
}

/// Clients that go on until this is dropped.
pub struct Load(Child);

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Watched {
    pub fn cluster(home: Home, nodes: usize) -> Watched {
        home.ok(&["ops", "up", "--no-grafana", "--windows", "short"]);
        let prometheus = Prometheus::beside(&home);
        wait_until("Prometheus does not ask everybody", || prometheus.healthy().len() > nodes);
        Watched { home, prometheus }
    }

    pub fn of(nodes: u32) -> Watched {
        Watched::cluster(Home::with(nodes), nodes as usize)
    }

    pub fn ok(&self, line: &str) -> String {
        self.home.ok(&line.split(' ').collect::<Vec<_>>())
    }

    pub fn leader(&self) -> u64 {
        self.home.leader()
    }

    pub fn follower(&self) -> u64 {
        let leader = self.leader();
        (1..).find(|id| *id != leader).unwrap()
    }

    /// So many clients, who put.
    pub fn load(&self, clients: u32) -> Load {
        self.patient_load(clients, "1s")
    }

    /// Of clients that wait so long for an answer.
    pub fn patient_load(&self, clients: u32, patience: &str) -> Load {
        let clients = clients.to_string();
        let bench = ["bench", "--clients", &clients, "--duration", "10m"];
        let arguments = [&bench[..], &["--timeout", patience]].concat();
        let mut command = self.home.command(&arguments);
        Load(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Waits until clients have begun to write.
    pub fn wait_for_writes(&self) {
        wait_until("nobody writes", || {
            let status = self.home.json(&["cluster", "status"]);
            let mut nodes = status["nodes"].as_array().unwrap().iter();
            nodes.any(|node| node["report"]["served"]["writes"].as_u64() > Some(0))
        });
    }

    /// Waits until all of these fire.
    pub fn fire(&self, names: &[&str]) {
        let full = |name: &&str| format!("Kvraft{name}");
        self.wait(|firing| {
            let missing = names.iter().filter(|name| !firing.contains(&full(name)));
            let missing: Vec<_> = missing.collect();
            (!missing.is_empty()).then(|| format!("these do not fire: {missing:?}"))
        });
    }

    /// Waits until none fires.
    pub fn clear(&self) {
        self.wait(|firing| (!firing.is_empty()).then(|| "these do not clear".to_owned()));
    }

    fn wait(&self, problem: impl Fn(&std::collections::BTreeSet<String>) -> Option<String>) {
        let end = Instant::now() + PATIENCE;
        loop {
            let firing = self.prometheus.firing();
            let Some(problem) = problem(&firing) else { return };
            assert!(Instant::now() < end, "{problem}; firing: {firing:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

//! Real node processes for tests, and a client no larger than they need.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvraft::config::{Address, Member, Members, NodeConfig};
use kvraft::control::NodeStatus;
use kvraft::kv;
use kvraft::replica::{Consistency, Request, Response};
use kvraft::rpc::client::{Hello, read_response, write_request};
use kvraft::rpc::{Connection, Limits, connect};
use kvraft::schema::{client_capnp, control_capnp};
use kvraft::types::{ClusterId, NodeId};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// Long enough for anything here on any machine; only a failure waits for it.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub const KVNODE: &str = env!("CARGO_BIN_EXE_kvnode");

/// Runs `test` where Cap'n Proto can live.
pub fn local<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(4 * PATIENCE, test).await.expect("it hangs")
    })
}

/// Node directories under a temporary one, and the processes that run in them; all gone on drop.
pub struct Cluster {
    pub root: TempDir,
    nodes: Vec<Option<Child>>,
}

impl Cluster {
    /// `count` nodes, initialised and not started.
    pub fn initialised(count: u64) -> Cluster {
        let cluster = Cluster::configured(count);
        for id in 1..=count {
            let output = cluster.init(id);
            assert!(output.status.success(), "{output:?}");
        }
        cluster
    }

    /// `count` running nodes.
    pub fn started(count: u64) -> Cluster {
        let mut cluster = Cluster::initialised(count);
        (1..=count).for_each(|id| cluster.start(id));
        cluster
    }

    /// `count` nodes whose files are written and no more.
    pub fn configured(count: u64) -> Cluster {
        let root = tempfile::tempdir().unwrap();
        let members = Members {
            member: (1..=count)
                .map(|id| Member { id: NodeId(id), address: unix(root.path(), id, "peer") })
                .collect(),
        };
        std::fs::write(root.path().join("members.toml"), members.to_commented_toml()).unwrap();
        for id in 1..=count {
            let directory = root.path().join(id.to_string());
            std::fs::create_dir(&directory).unwrap();
            let text = format!(
                "cluster_name = \"test\"\ncluster = 77\nnode = {id}\ndirectory = {directory:?}\n\
                 peer = \"{}\"\nclient = \"{}\"\ncontrol = \"{}\"\nhttp = \"{}\"\n\
                 segment_bytes = 4194304\n",
                unix(root.path(), id, "peer"),
                unix(root.path(), id, "client"),
                unix(root.path(), id, "control"),
                free_port(),
            );
            std::fs::write(directory.join("node.toml"), text).unwrap();
        }
        Cluster { root, nodes: (0..count).map(|_| None).collect() }
    }

    pub fn directory(&self, id: u64) -> PathBuf {
        self.root.path().join(id.to_string())
    }

    pub fn config(&self, id: u64) -> NodeConfig {
        NodeConfig::read(&self.directory(id).join("node.toml")).unwrap()
    }

    pub fn address(&self, id: u64, what: &str) -> Address {
        unix(self.root.path(), id, what)
    }

    pub fn init(&self, id: u64) -> Output {
        Command::new(KVNODE)
            .args(["init", "--config"])
            .arg(self.directory(id).join("node.toml"))
            .arg("--initial")
            .arg(self.root.path().join("members.toml"))
            .output()
            .unwrap()
    }

    fn run_command(&self, id: u64) -> Command {
        let mut command = Command::new(KVNODE);
        command.args(["run", "--config"]).arg(self.directory(id).join("node.toml"));
        command
    }

    /// Runs the node to its end; for starts that are refused.
    pub fn run(&self, id: u64) -> Output {
        self.run_command(id).output().unwrap()
    }

    pub fn start(&mut self, id: u64) {
        let child = self.run_command(id).stdout(Stdio::null()).spawn().unwrap();
        self.nodes[id as usize - 1] = Some(child);
    }

    pub fn signal(&self, id: u64, signal: Signal) {
        let child = self.nodes[id as usize - 1].as_ref().unwrap();
        kill(Pid::from_raw(child.id() as i32), signal).unwrap();
    }

    /// Waits for the process to end; its exit code, if it has one.
    pub fn ended(&mut self, id: u64) -> Option<i32> {
        let mut child = self.nodes[id as usize - 1].take().unwrap();
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "node {id} does not end: {}", self.log(id));
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn log(&self, id: u64) -> String {
        std::fs::read_to_string(self.directory(id).join("node.log")).unwrap_or_default()
    }

    /// A client of the node, once it answers.
    pub async fn client(&self, id: u64) -> Client {
        let address = self.address(id, "client");
        let stream = eventually("connect", async || connect(&address).await.ok()).await;
        let (client, connection) = Connection::open(stream, Limits::default());
        Client { client, _connection: connection }
    }

    pub async fn status(&self, id: u64) -> NodeStatus {
        let address = self.address(id, "control");
        let stream = eventually("connect", async || connect(&address).await.ok()).await;
        let (client, _connection) =
            Connection::open::<control_capnp::node::Client>(stream, Limits::default());
        let response = client.status_request().send().promise.await.unwrap();
        NodeStatus::read(response.get().unwrap().get_status().unwrap()).unwrap()
    }

    /// Waits until all of `ids` agree on a leader that is one of them.
    pub async fn leader(&self, ids: &[u64]) -> u64 {
        eventually("agree on a leader", async || {
            let mut leaders = Vec::new();
            for id in ids {
                leaders.push(self.status(*id).await.leader?.0);
            }
            leaders.dedup();
            (leaders.len() == 1 && ids.contains(&leaders[0])).then(|| leaders[0])
        })
        .await
    }

    /// Waits until all of `ids` have applied the same, and checks that it is the same state.
    pub async fn converged(&self, ids: &[u64]) -> NodeStatus {
        eventually("converge", async || {
            let mut all = Vec::new();
            for id in ids {
                all.push(self.status(*id).await);
            }
            let first = all[0].clone();
            let same = all.iter().all(|status| {
                status.applied_index == first.applied_index
                    && status.last_index == first.last_index
                    && status.applied_index == status.last_index
            });
            if same {
                assert!(all.iter().all(|status| status.state_hash == first.state_hash));
            }
            same.then_some(first)
        })
        .await
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for child in self.nodes.iter_mut().flatten() {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for id in 1..=self.nodes.len() as u64 {
                eprintln!("--- node {id}\n{}", self.log(id));
            }
        }
    }
}

fn unix(root: &Path, id: u64, what: &str) -> Address {
    Address::Unix(root.join(id.to_string()).join(format!("{what}.sock")))
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Tries again until there is an answer.
pub async fn eventually<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(done) = attempt().await {
            return done;
        }
        assert!(Instant::now() < deadline, "they do not {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A client of one node.
pub struct Client {
    pub client: client_capnp::client::Client,
    _connection: Connection,
}

impl Client {
    pub async fn hello(&self) -> Hello {
        let response = self.client.hello_request().send().promise.await.unwrap();
        Hello::read(response.get().unwrap().get_hello().unwrap()).unwrap()
    }

    pub async fn execute(
        &self,
        request: &Request,
        timeout: Duration,
    ) -> Result<Response, capnp::Error> {
        let mut call = self.client.execute_request();
        write_request(request, timeout, None, call.get().init_request());
        let response = call.send().promise.await?;
        let response = response.get()?.get_response()?;
        read_response(response).map_err(|error| capnp::Error::failed(error.to_string()))
    }

    pub async fn put(&self, key: &str, value: &str) -> Response {
        self.execute(&put(key, value), Duration::from_secs(5)).await.unwrap()
    }

    /// Puts until it is acknowledged.
    pub async fn put_surely(&self, key: &str, value: &str) {
        eventually("acknowledge a write", async || match self.put(key, value).await {
            Response::Written(outcome) => Some(kv::Outcome::decode(&outcome).unwrap()),
            _ => None,
        })
        .await;
    }

    /// The value, as the cluster knows it (linearizable).
    pub async fn get(&self, key: &str) -> Option<String> {
        eventually("answer a read", async || {
            let query = kv::Query::Get { key: Bytes::copy_from_slice(key.as_bytes()) }.encode();
            let request = Request::Read { query, consistency: Consistency::Linearizable };
            match self.execute(&request, Duration::from_secs(5)).await.unwrap() {
                Response::Answer(answer) => Some(kv::Answer::decode(&answer).unwrap()),
                _ => None,
            }
        })
        .await
        .items
        .first()
        .map(|item| String::from_utf8(item.value.to_vec()).unwrap())
    }
}

/// A write without a session.
pub fn put(key: &str, value: &str) -> Request {
    let operation = kv::Operation::Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
    };
    Request::Write { command: kv::Command { session: None, operation }.encode() }
}

/// The id of the cluster that all of these are.
pub const CLUSTER: ClusterId = ClusterId(77);

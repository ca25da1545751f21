//! `supervisor.json`: what runs, so that a new supervisor can take over.
//!
//! It is replaced atomically at every change worth knowing. What is in it is a claim about the
//! past: ports that were handed out hold for ever, but a process is believed only if boot, number
//! and start time still match (see [`process`](super::process)).

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::process::Identity;
use crate::config::{
    Address, ClusterConfig, ClusterDirectory, Member, Members, NodeConfig, Transport, replace_file,
};
use crate::types::{ClusterId, NodeId};

/// The form of the file that this program writes.
const VERSION: u32 = 1;

/// Whether the cluster is meant to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    Up,
    /// It was taken down, or is about to be: nothing of it ought to run.
    Down,
}

/// The contents of `supervisor.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateFile {
    pub version: u32,
    pub cluster: ClusterId,
    pub transport: Transport,
    pub mode: Mode,
    /// The last supervisor.
    pub supervisor: Option<Identity>,
    /// Of the supervisor's metrics.
    pub http: SocketAddr,
    pub nodes: BTreeMap<NodeId, NodeRecord>,
}

/// What is known of one node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    pub peer: Address,
    pub client: Address,
    pub http: SocketAddr,
    /// Its log was created: it is never created again.
    pub initialised: bool,
    /// A person stopped it: it stays down until a person starts it.
    pub stay_down: bool,
    /// Why it was given up, if it was.
    pub given_up: Option<String>,
    pub process: Option<Identity>,
    pub restarts: u32,
    pub last_exit: Option<String>,
}

/// Why `supervisor.json` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "{} is damaged ({why}): restore it, or take the cluster away with its directory",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error(
        "{} is missing although {} is there: without it nobody knows which nodes were initialised; \
         restore it, or take the cluster away with its directory",
        missing.display(), there.display()
    )]
    Missing { missing: PathBuf, there: PathBuf },
    #[error("{}: {why}", path.display())]
    Contradiction { path: PathBuf, why: String },
    #[error("cannot get a free port on 127.0.0.1: {0}")]
    NoPort(io::Error),
}

/// Ports that the system hands out: all of them are held until the last one is there, so that no
/// two are the same.
#[derive(Default)]
struct Ports(Vec<TcpListener>);

impl Ports {
    fn next(&mut self) -> Result<SocketAddr, StateError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(StateError::NoPort)?;
        let address = listener.local_addr().map_err(StateError::NoPort)?;
        self.0.push(listener);
        Ok(address)
    }
}

/// Whether somebody else took this port while we did not use it. Connections of its last life that
/// linger do not count: the standard library binds with SO_REUSEADDR, as the nodes do.
fn is_taken(address: SocketAddr) -> bool {
    TcpListener::bind(address).is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

impl StateFile {
    /// Of a cluster that never ran: hands out its ports.
    pub fn new(
        config: &ClusterConfig,
        directory: &ClusterDirectory,
    ) -> Result<StateFile, StateError> {
        let mut ports = Ports::default();
        let mut nodes = BTreeMap::new();
        for id in config.node_ids() {
            let mut address = |what: &str| -> Result<Address, StateError> {
                Ok(match config.transport {
                    Transport::Unix => Address::Unix(directory.node(id).socket(what)),
                    Transport::Tcp => Address::Tcp(ports.next()?),
                })
            };
            let (peer, client) = (address("peer")?, address("client")?);
            let record = NodeRecord {
                peer,
                client,
                http: ports.next()?,
                initialised: false,
                stay_down: false,
                given_up: None,
                process: None,
                restarts: 0,
                last_exit: None,
            };
            nodes.insert(id, record);
        }
        Ok(StateFile {
            version: VERSION,
            cluster: config.id,
            transport: config.transport,
            mode: Mode::Up,
            supervisor: None,
            http: ports.next()?,
            nodes,
        })
    }

    /// What the file says; `None` if there is none.
    pub fn read(directory: &ClusterDirectory) -> Result<Option<StateFile>, StateError> {
        let path = directory.supervisor_json();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Io { what: "read", path, source }),
        };
        let damaged = |why: String| StateError::Damaged { path: path.clone(), why };
        let state: StateFile =
            serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
        match state.version {
            VERSION => Ok(Some(state)),
            other => {
                Err(damaged(format!("it is of version {other}, and this program's {VERSION}")))
            }
        }
    }

    /// What the file says, or a new one for a cluster that never ran; checked against what was
    /// asked for.
    pub fn read_or_new(
        config: &ClusterConfig,
        directory: &ClusterDirectory,
    ) -> Result<StateFile, StateError> {
        match StateFile::read(directory)? {
            Some(state) => {
                state.check(config, directory).map_err(|why| StateError::Contradiction {
                    path: directory.cluster_toml(),
                    why,
                })?;
                Ok(state)
            }
            None if directory.nodes().exists() => Err(StateError::Missing {
                missing: directory.supervisor_json(),
                there: directory.nodes(),
            }),
            None => StateFile::new(config, directory),
        }
    }

    /// Whether it is about the cluster that `config` describes; else why not.
    fn check(&self, config: &ClusterConfig, directory: &ClusterDirectory) -> Result<(), String> {
        if self.cluster != config.id {
            return Err(format!(
                "`id` is {}, and this directory holds the data of cluster {}",
                config.id, self.cluster
            ));
        }
        if self.nodes.len() != config.nodes as usize {
            return Err(format!(
                "`nodes` is {}, and the cluster was created with {}: its size is in its log, and \
                 editing this file does not change it",
                config.nodes,
                self.nodes.len()
            ));
        }
        if self.transport != config.transport {
            return Err(format!(
                "`transport` is {}, and the cluster was created with {}: the addresses of its \
                 members are in its log",
                config.transport, self.transport
            ));
        }
        for (id, node) in &self.nodes {
            if let Address::Unix(path) = &node.peer
                && *path != directory.node(*id).socket("peer")
            {
                return Err(format!(
                    "the cluster was created elsewhere: its log says that node {id} is reached at \
                     {}; move the directory back",
                    path.display()
                ));
            }
        }
        Ok(())
    }

    /// Replaces the file.
    pub fn write(&self, path: &Path) -> Result<(), StateError> {
        let failed = |source| StateError::Io { what: "write", path: path.to_owned(), source };
        let mut bytes =
            serde_json::to_vec_pretty(self).map_err(|error| failed(io::Error::other(error)))?;
        bytes.push(b'\n');
        replace_file(path, &bytes).map_err(failed)
    }

    /// Gives a new port to each metrics address, and each client address, that somebody took while
    /// it was not in use; says which. Only for what does not run. A member's peer address is in
    /// the log and stays.
    pub fn replace_taken_ports(
        &mut self,
        is_down: impl Fn(NodeId) -> bool,
    ) -> Result<Vec<String>, StateError> {
        let mut ports = Ports::default();
        let mut told = Vec::new();
        let mut replace = |address: &mut SocketAddr, what: String| -> Result<(), StateError> {
            if is_taken(*address) {
                let new = ports.next()?;
                told.push(format!("{what}: {address} is taken by somebody else, now {new}"));
                *address = new;
            }
            Ok(())
        };
        replace(&mut self.http, "metrics of the supervisor".to_owned())?;
        for (id, node) in &mut self.nodes {
            if is_down(*id) {
                replace(&mut node.http, format!("metrics of node {id}"))?;
                if let Address::Tcp(client) = &mut node.client {
                    replace(client, format!("clients of node {id}"))?;
                }
            }
        }
        Ok(told)
    }

    /// The members that the cluster begins with.
    pub fn members(&self) -> Members {
        let member =
            |(id, node): (&NodeId, &NodeRecord)| Member { id: *id, address: node.peer.clone() };
        Members { member: self.nodes.iter().map(member).collect() }
    }

    /// `node.toml` of `node`.
    pub fn node_config(
        &self,
        config: &ClusterConfig,
        directory: &ClusterDirectory,
        node: NodeId,
    ) -> Option<NodeConfig> {
        let record = self.nodes.get(&node)?;
        let place = directory.node(node);
        let tuned = config.tuned(node);
        Some(NodeConfig {
            cluster_name: config.name.to_string(),
            cluster: config.id,
            node,
            directory: place.path().to_owned(),
            peer: record.peer.clone(),
            client: record.client.clone(),
            control: Address::Unix(place.socket("control")),
            http: record.http,
            durability: tuned.durability,
            election_timeout_min_millis: tuned.election_timeout_min_millis,
            election_timeout_max_millis: tuned.election_timeout_max_millis,
            heartbeat_millis: tuned.heartbeat_millis,
            segment_bytes: tuned.segment_bytes,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(transport: Transport) -> (tempfile::TempDir, ClusterDirectory, ClusterConfig) {
        let temporary = tempfile::tempdir().unwrap();
        let directory = ClusterDirectory::at(temporary.path()).unwrap();
        let mut config = ClusterConfig::new("a".parse().unwrap(), 3);
        config.transport = transport;
        (temporary, directory, config)
    }

    #[test]
    fn ports_are_handed_out_once_and_are_all_different() {
        let (_temporary, directory, config) = cluster(Transport::Tcp);
        let state = StateFile::read_or_new(&config, &directory).unwrap();
        let mut ports = std::collections::BTreeSet::from([state.http.port()]);
        for node in state.nodes.values() {
            for address in [&node.peer, &node.client, &Address::Tcp(node.http)] {
                let Address::Tcp(address) = address else { panic!("{address}") };
                assert!(address.ip().is_loopback() && ports.insert(address.port()));
            }
        }
        assert_eq!(ports.len(), 10);
        state.write(&directory.supervisor_json()).unwrap();
        assert_eq!(StateFile::read_or_new(&config, &directory).unwrap(), state);
    }

    #[test]
    fn a_port_that_somebody_took_is_replaced_only_where_nothing_runs() {
        let (_temporary, directory, config) = cluster(Transport::Tcp);
        let before = StateFile::new(&config, &directory).unwrap();
        let thieves = [1, 2].map(|id| TcpListener::bind(before.nodes[&NodeId(id)].http).unwrap());
        let mut after = before.clone();
        let told = after.replace_taken_ports(|id| id != NodeId(2)).unwrap();
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].starts_with("metrics of node 1: "), "{told:?}");
        assert_ne!(after.nodes[&NodeId(1)].http, before.nodes[&NodeId(1)].http);
        assert_eq!(after.nodes[&NodeId(2)], before.nodes[&NodeId(2)]);
        drop(thieves);
    }

    #[test]
    fn edits_that_contradict_the_log_are_refused() {
        let (_temporary, directory, config) = cluster(Transport::Unix);
        StateFile::new(&config, &directory).unwrap().write(&directory.supervisor_json()).unwrap();
        let refusal = |config: &ClusterConfig, directory: &ClusterDirectory| {
            StateFile::read_or_new(config, directory).unwrap_err().to_string()
        };
        let more = ClusterConfig { nodes: 5, ..config.clone() };
        assert!(refusal(&more, &directory).contains("created with 3"));
        let other = ClusterConfig { id: ClusterId(config.id.0 ^ 1), ..config.clone() };
        assert!(refusal(&other, &directory).contains("data of cluster"));
        let tcp = ClusterConfig { transport: Transport::Tcp, ..config.clone() };
        assert!(refusal(&tcp, &directory).contains("`transport` is tcp"));
        let moved = tempfile::tempdir().unwrap();
        let elsewhere = ClusterDirectory::at(moved.path()).unwrap();
        fs::copy(directory.supervisor_json(), elsewhere.supervisor_json()).unwrap();
        assert!(refusal(&config, &elsewhere).contains("move the directory back"));
    }

    #[test]
    fn a_lost_or_damaged_file_is_not_taken_for_a_new_cluster() {
        let (_temporary, directory, config) = cluster(Transport::Unix);
        directory.node(NodeId(1)).create().unwrap();
        let error = StateFile::read_or_new(&config, &directory).unwrap_err();
        assert!(matches!(error, StateError::Missing { .. }), "{error}");
        fs::write(directory.supervisor_json(), "{\"version\": 1").unwrap();
        let error = StateFile::read_or_new(&config, &directory).unwrap_err();
        assert!(matches!(error, StateError::Damaged { .. }), "{error}");
    }
}

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

use super::chaos::Chaos;
use super::ops::Ops;
use super::process::Identity;
use crate::config::{
    Address, ClusterConfig, ClusterDirectory, Member, Members, NodeConfig, NodeDirectory,
    Transport, replace_file,
};
use crate::control::Standing;
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Faults on purpose.
    #[serde(default)]
    pub(super) chaos: Chaos,
    /// What stands beside the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ops: Option<Ops>,
}

/// What is known of one node. A record is kept for ever: its number is never given to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The cluster was created with it; the others were added later.
    #[serde(default = "yes")]
    pub founder: bool,
    /// What people want it to be.
    #[serde(default = "member")]
    pub standing: Standing,
    /// It was removed.
    #[serde(default)]
    pub retired: Option<Retirement>,
    pub peer: Address,
    pub client: Address,
    pub http: SocketAddr,
    /// Of etcd's API. A cluster that was created before there was one gets it at its next start.
    #[serde(default)]
    pub grpc: Option<SocketAddr>,
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

fn yes() -> bool {
    true
}

fn member() -> Standing {
    Standing::Member
}

/// That a node was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// Unix time.
    pub since_millis: u64,
    /// Its data, too, is gone.
    pub purged: bool,
}

impl NodeRecord {
    /// Of a node that never ran: hands out its ports.
    fn new(
        transport: Transport,
        place: &NodeDirectory,
        founder: bool,
        ports: &mut Ports,
    ) -> Result<NodeRecord, StateError> {
        let mut address = |what: &str| -> Result<Address, StateError> {
            Ok(match transport {
                Transport::Unix => Address::Unix(place.socket(what)),
                Transport::Tcp => Address::Tcp(ports.next()?),
            })
        };
        let (peer, client) = (address("peer")?, address("client")?);
        Ok(NodeRecord {
            founder,
            standing: if founder { Standing::Member } else { Standing::Joining },
            retired: None,
            peer,
            client,
            http: ports.next()?,
            grpc: Some(ports.next()?),
            initialised: false,
            stay_down: false,
            given_up: None,
            process: None,
            restarts: 0,
            last_exit: None,
        })
    }
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

/// A port that nobody has.
pub(super) fn free_port() -> Result<SocketAddr, StateError> {
    Ports::default().next()
}

/// Whether somebody else took this port while we did not use it. Connections of its last life that
/// linger do not count: the standard library binds with SO_REUSEADDR, as the nodes do.
pub(super) fn is_taken(address: SocketAddr) -> bool {
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
            let place = directory.node(id);
            nodes.insert(id, NodeRecord::new(config.transport, &place, true, &mut ports)?);
        }
        Ok(StateFile {
            version: VERSION,
            cluster: config.id,
            transport: config.transport,
            mode: Mode::Up,
            supervisor: None,
            http: ports.next()?,
            nodes,
            chaos: Chaos::default(),
            ops: None,
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
        let founders = self.nodes.values().filter(|node| node.founder).count();
        if founders != config.nodes as usize {
            return Err(format!(
                "`nodes` is {}, and the cluster was created with {founders}: its size is in its \
                 log, and editing this file does not change it (`kvctl member add` and `kvctl \
                 member remove` do)",
                config.nodes,
            ));
        }
        if self.transport != config.transport {
            return Err(format!(
                "`transport` is {}, and the cluster was created with {}: the addresses of its \
                 members are in its log",
                config.transport, self.transport
            ));
        }
        for (id, node) in self.live() {
            if let Address::Unix(path) = &node.peer
                && *path != directory.node(id).socket("peer")
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
        let mut new = Vec::new();
        replace(&mut self.http, "metrics of the supervisor".to_owned())?;
        for (id, node) in &mut self.nodes {
            if node.retired.is_none() && is_down(*id) {
                replace(&mut node.http, format!("metrics of node {id}"))?;
                match &mut node.grpc {
                    Some(grpc) => replace(grpc, format!("etcd's API of node {id}"))?,
                    none => new.push(none),
                }
                if let Address::Tcp(client) = &mut node.client {
                    replace(client, format!("clients of node {id}"))?;
                }
            }
        }
        for none in new {
            *none = Some(ports.next()?);
        }
        Ok(told)
    }

    /// The nodes that were not removed.
    pub fn live(&self) -> impl Iterator<Item = (NodeId, &NodeRecord)> {
        let live = |(id, node): (&NodeId, _)| (*id, node);
        self.nodes.iter().filter(|(_, node)| node.retired.is_none()).map(live)
    }

    /// Gives the next number, which nobody ever had, to a node that is to join; hands out its
    /// ports.
    pub fn reserve(
        &mut self,
        directory: &ClusterDirectory,
        above: NodeId,
    ) -> Result<NodeId, StateError> {
        let last = self.nodes.keys().next_back().map_or(0, |id| id.0).max(above.0);
        let id = NodeId(last.saturating_add(1));
        let place = directory.node(id);
        let record = NodeRecord::new(self.transport, &place, false, &mut Ports::default())?;
        self.nodes.insert(id, record);
        Ok(id)
    }

    /// The nodes in words: `the nodes are 1 to 5`.
    pub fn roll(&self) -> String {
        let ids: Vec<u64> = self.live().map(|(id, _)| id.0).collect();
        match (ids.first(), ids.last()) {
            (Some(first), Some(last)) if last - first + 1 == ids.len() as u64 => {
                format!("the nodes are {first} to {last}")
            }
            _ => {
                let ids: Vec<String> = ids.iter().map(u64::to_string).collect();
                format!("the nodes are {}", ids.join(", "))
            }
        }
    }

    /// The members that the cluster begins with.
    pub fn members(&self) -> Members {
        let founders = self.nodes.iter().filter(|(_, node)| node.founder);
        let member =
            |(id, node): (&NodeId, &NodeRecord)| Member { id: *id, address: node.peer.clone() };
        Members { member: founders.map(member).collect() }
    }

    /// Where the others are, for a node whose log may not know: nothing while the members are those
    /// that the cluster was created with.
    fn strangers_to(&self, node: NodeId) -> BTreeMap<String, Address> {
        if self.nodes.values().all(|record| record.founder && record.retired.is_none()) {
            return BTreeMap::new();
        }
        let others = self.live().filter(|(id, _)| *id != node);
        others.map(|(id, record)| (id.to_string(), record.peer.clone())).collect()
    }

    /// Writes `node.toml` of `node` anew, if it is not as it ought to be.
    pub fn write_node_config(
        &self,
        config: &ClusterConfig,
        directory: &ClusterDirectory,
        node: NodeId,
    ) -> Result<(), StateError> {
        let Some(node_config) = self.node_config(config, directory, node) else { return Ok(()) };
        let path = directory.node(node).node_toml();
        let failed = |source| StateError::Io { what: "write", path: path.clone(), source };
        let text = node_config
            .to_commented_toml()
            .map_err(|error| failed(io::Error::other(error.to_string())))?;
        match fs::read(&path) {
            Ok(bytes) if bytes == text.as_bytes() => Ok(()),
            _ => replace_file(&path, text.as_bytes()).map_err(failed),
        }
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
            grpc: record.grpc,
            durability: tuned.durability,
            election_timeout_min_millis: tuned.election_timeout_min_millis,
            election_timeout_max_millis: tuned.election_timeout_max_millis,
            heartbeat_millis: tuned.heartbeat_millis,
            link_delay_millis: tuned.link_delay_millis,
            lease_clock_error_millis: tuned.lease_clock_error_millis,
            segment_bytes: tuned.segment_bytes,
            snapshot_log_bytes: tuned.snapshot_log_bytes,
            keep_entries: tuned.keep_entries,
            history: tuned.history,
            quota: tuned.quota,
            record: config.record,
            log_format: config.log_format,
            join: self.strangers_to(node),
        })
    }
}

#[cfg(test)]
mod tests;

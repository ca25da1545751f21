//! `node.toml`: what one node needs to know to start.
//!
//! Membership is *not* in here: it lives in the log from its first entry. What is here belongs to
//! this machine: where its files and sockets are, and how it is tuned.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::file::{ConfigError, read_toml};
use super::{Address, LogFormat, Tuned};
use crate::quota::Quota;
use crate::retention::Retention;
use crate::types::{ClusterId, NodeId};

/// The contents of `node.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// The cluster's name, for people.
    pub cluster_name: String,
    pub cluster: ClusterId,
    pub node: NodeId,
    /// The node's own directory; `log/`, `record/` and `node.log` lie in it.
    pub directory: PathBuf,
    /// Where other nodes reach it.
    pub peer: Address,
    /// Where clients reach it.
    pub client: Address,
    /// Where operators reach it; never TCP.
    pub control: Address,
    /// Where `/metrics`, `/health` and `/ready` are served; loopback only.
    pub http: SocketAddr,
    /// Where etcd's API is served, over gRPC; loopback only. Nowhere, if it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc: Option<SocketAddr>,
    #[serde(default)]
    pub durability: Durability,
    /// An election starts after a random time from here…
    #[serde(default = "default_election_min")]
    pub election_timeout_min_millis: u64,
    /// …to here without a leader (paper §5.2).
    #[serde(default = "default_election_max")]
    pub election_timeout_max_millis: u64,
    #[serde(default = "default_heartbeat")]
    pub heartbeat_millis: u64,
    /// In slow motion, how long each message to another node is on its way, on top of what it
    /// takes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub link_delay_millis: u64,
    /// Reads by a lease, and how far clocks may differ; without it, there are no leases.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_clock_error_millis: Option<u64>,
    /// Size of a log segment.
    #[serde(default = "default_segment")]
    pub segment_bytes: u64,
    /// A snapshot is taken about every so many bytes of log.
    #[serde(default = "default_snapshot")]
    pub snapshot_log_bytes: u64,
    /// So many entries before a snapshot are kept, for followers that are only a little behind.
    #[serde(default = "default_keep")]
    pub keep_entries: u64,
    /// How much of the keys' past is kept: revisions, a time, or all.
    #[serde(default)]
    pub history: Retention,
    /// How much is stored at most: a size, or `off`.
    #[serde(default)]
    pub quota: Quota,
    /// Whether it keeps a record of its core's life, for `kvctl replay`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub record: bool,
    /// How `node.log` looks.
    #[serde(default, skip_serializing_if = "LogFormat::is_text")]
    pub log_format: LogFormat,
    /// Where other nodes are of which this node's log may not know yet, by number: one that joins
    /// must answer a leader of which it has never heard. Where the log knows, it counts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub join: BTreeMap<String, Address>,
}

impl NodeConfig {
    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<NodeConfig, ConfigError> {
        let config: NodeConfig = read_toml(path)?;
        config.validate().map_err(|message| ConfigError::wrong(path, message))?;
        Ok(config)
    }

    fn validate(&self) -> Result<(), String> {
        if self.node.0 == 0 {
            return Err("`node = 0` is nobody: nodes are numbered from 1".into());
        }
        if !self.directory.is_absolute() {
            return Err("`directory` must be an absolute path".into());
        }
        if !matches!(self.control, Address::Unix(_)) {
            return Err("`control` must be a Unix socket: whoever reaches it may do all".into());
        }
        if !self.http.ip().is_loopback() {
            return Err("`http` must be on the loopback interface, such as 127.0.0.1".into());
        }
        if self.grpc.is_some_and(|grpc| !grpc.ip().is_loopback()) {
            return Err("`grpc` must be on the loopback interface, such as 127.0.0.1".into());
        }
        if let Some(key) = self.join.keys().find(|key| !key.parse().is_ok_and(|id: u64| id > 0)) {
            return Err(format!("[join]: `{key}` is no node: they are numbered from 1"));
        }
        self.tuned().validate()
    }

    /// Where nodes are of which the log may not know.
    pub fn join_addresses(&self) -> BTreeMap<NodeId, Address> {
        let known =
            |(id, address): (&String, &Address)| Some((NodeId(id.parse().ok()?), address.clone()));
        self.join.iter().filter_map(known).collect()
    }

    fn tuned(&self) -> Tuned {
        Tuned {
            durability: self.durability,
            election_timeout_min_millis: self.election_timeout_min_millis,
            election_timeout_max_millis: self.election_timeout_max_millis,
            heartbeat_millis: self.heartbeat_millis,
            link_delay_millis: self.link_delay_millis,
            lease_clock_error_millis: self.lease_clock_error_millis,
            segment_bytes: self.segment_bytes,
            snapshot_log_bytes: self.snapshot_log_bytes,
            keep_entries: self.keep_entries,
            history: self.history,
            quota: self.quota,
        }
    }

    /// The file, with a comment for the person who opens it.
    pub fn to_commented_toml(&self) -> Result<String, toml::ser::Error> {
        let rest = toml::to_string(self)?;
        Ok(format!(
            "# What this node needs to know to start. Written by the supervisor from\n\
             # cluster.toml: edit that one (what is different on this node goes under\n\
             # [node.{}]). Membership is in the log.\n{rest}",
            self.node
        ))
    }
}

/// When a write counts as durable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Durability {
    /// Once fdatasync returned. The only mode in which kvraft's promises hold.
    #[default]
    Fsync,
    /// Like `fsync`, and bytes not yet synced are held back from the kernel, so that killing the
    /// process loses them as a power cut would: for tests of durability.
    FsyncDropUnsynced,
    /// Never synced: a machine that loses power loses acknowledged writes. For comparison only.
    None,
}

impl Durability {
    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Durability::Fsync => "fsync",
            Durability::FsyncDropUnsynced => "fsync-drop-unsynced",
            Durability::None => "none",
        }
    }
}

impl FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Durability, String> {
        [Durability::Fsync, Durability::FsyncDropUnsynced, Durability::None]
            .into_iter()
            .find(|durability| durability.as_str() == text)
            .ok_or_else(|| format!("`{text}` is none of fsync, fsync-drop-unsynced, none"))
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

fn default_election_min() -> u64 {
    150
}

fn default_election_max() -> u64 {
    300
}

fn default_heartbeat() -> u64 {
    50
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn default_segment() -> u64 {
    64 << 20
}

fn default_snapshot() -> u64 {
    64 << 20
}

fn default_keep() -> u64 {
    10_000
}

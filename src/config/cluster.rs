//! `cluster.toml`: what was asked for.
//!
//! It is written once, when the cluster is created, and is the user's from then on: timings,
//! durability and the supervisor's patience may be edited while the cluster is down, for all nodes
//! or for one (`[node.3]`). What may *not* be edited is what the cluster's own log says already:
//! its identity and how many members it began with. The supervisor compares and refuses.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::file::{ConfigError, read_toml};
use super::{ClusterName, Durability, LogFormat, Slow, Tuned};
use crate::quota::Quota;
use crate::retention::Retention;
use crate::types::{ClusterId, NodeId};

/// More nodes than this on one machine are a mistake.
pub const MAX_NODES: u32 = 31;

/// How nodes and clients of one machine reach each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Over Unix sockets in the cluster's directory.
    #[default]
    Unix,
    /// Over TCP on 127.0.0.1, with ports that the system hands out once.
    Tcp,
}

impl Transport {
    /// The word of the configuration file.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Unix => "unix",
            Transport::Tcp => "tcp",
        }
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Transport, String> {
        match text {
            "unix" => Ok(Transport::Unix),
            "tcp" => Ok(Transport::Tcp),
            _ => Err(format!("`{text}` is none of unix, tcp")),
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The contents of `cluster.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    pub name: ClusterName,
    /// Drawn at random when the cluster was created.
    pub id: ClusterId,
    /// How many nodes it was created with; they are numbered from 1.
    pub nodes: u32,
    #[serde(default)]
    pub transport: Transport,
    #[serde(default)]
    pub durability: Durability,
    /// A fault that would take away its quorum wants to be confirmed.
    #[serde(default)]
    pub protected: bool,
    /// Each node keeps a record of its core's life, for `kvctl replay`.
    #[serde(default)]
    pub record: bool,
    /// How nodes and supervisor write their logs.
    #[serde(default)]
    pub log_format: LogFormat,
    #[serde(default)]
    pub timings: Timings,
    #[serde(default)]
    pub storage: Storage,
    #[serde(default)]
    pub supervisor: Supervision,
    /// What is different on single nodes, by number.
    #[serde(default)]
    pub node: BTreeMap<String, Override>,
}

/// Raft's timings, of every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timings {
    /// So many times as long as they say.
    pub slow: Slow,
    pub election_timeout_min_millis: u64,
    pub election_timeout_max_millis: u64,
    pub heartbeat_millis: u64,
    /// If it is there, a leader that a majority has answered serves reads without asking again, for
    /// the shortest election time-out less this: by how much two nodes' clocks differ at most in
    /// measuring it. If they differ by more, reads may be stale.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_clock_error_millis: Option<u64>,
}

impl Default for Timings {
    fn default() -> Timings {
        Timings {
            slow: Slow::default(),
            election_timeout_min_millis: 150,
            election_timeout_max_millis: 300,
            heartbeat_millis: 50,
            lease_clock_error_millis: None,
        }
    }
}

/// The log on disk, of every node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Storage {
    pub segment_bytes: u64,
    /// A snapshot is taken about every so many bytes of log.
    pub snapshot_log_bytes: u64,
    /// So many entries before a snapshot are kept, for followers that are only a little behind.
    pub keep_entries: u64,
    /// How much of the keys' past is kept: revisions, a time, or all.
    pub history: Retention,
    /// How much is stored at most: a size, or `off`.
    pub quota: Quota,
}

impl Default for Storage {
    fn default() -> Storage {
        Storage {
            segment_bytes: 64 << 20,
            snapshot_log_bytes: 64 << 20,
            keep_entries: 10_000,
            history: Retention::default(),
            quota: Quota::default(),
        }
    }
}

/// How patient the supervisor is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supervision {
    /// The first restart after a death is immediate, the second waits this long, each further one
    /// twice as long…
    pub backoff_min_millis: u64,
    /// …up to this.
    pub backoff_max_millis: u64,
    /// A node that dies this often…
    pub crash_loop_deaths: u32,
    /// …within this time is not started again until a person says so.
    pub crash_loop_within_millis: u64,
    /// A node that does not answer for so long is reported as unresponsive.
    pub unresponsive_after_millis: u64,
    /// From SIGTERM to SIGKILL.
    pub stop_grace_millis: u64,
}

impl Default for Supervision {
    fn default() -> Supervision {
        Supervision {
            backoff_min_millis: 100,
            backoff_max_millis: 5_000,
            crash_loop_deaths: 5,
            crash_loop_within_millis: 30_000,
            unresponsive_after_millis: 2_000,
            stop_grace_millis: 5_000,
        }
    }
}

impl Supervision {
    /// From SIGTERM to SIGKILL.
    pub fn stop_grace(&self) -> Duration {
        Duration::from_millis(self.stop_grace_millis)
    }
}

/// What is different on one node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Override {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub election_timeout_min_millis: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub election_timeout_max_millis: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub heartbeat_millis: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_log_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_entries: Option<u64>,
}

impl ClusterConfig {
    /// A new cluster with defaults for all that is not named, and an identity of its own.
    pub fn new(name: ClusterName, nodes: u32) -> ClusterConfig {
        // 53 bits: the number survives TOML (63 bits) and every JSON reader (53).
        let id = ClusterId((rand::random::<u64>() >> 11).max(1));
        ClusterConfig {
            name,
            id,
            nodes,
            transport: Transport::default(),
            durability: Durability::default(),
            protected: false,
            record: false,
            log_format: LogFormat::default(),
            timings: Timings::default(),
            storage: Storage::default(),
            supervisor: Supervision::default(),
            node: BTreeMap::new(),
        }
    }

    /// Reads and checks the file at `path`.
    pub fn read(path: &Path) -> Result<ClusterConfig, ConfigError> {
        let config: ClusterConfig = read_toml(path)?;
        config.validate().map_err(|message| ConfigError::wrong(path, message))?;
        Ok(config)
    }

    /// The numbers of its nodes.
    pub fn node_ids(&self) -> impl Iterator<Item = NodeId> + use<> {
        (1..=u64::from(self.nodes)).map(NodeId)
    }

    /// Says what makes no sense, if anything.
    pub fn validate(&self) -> Result<(), String> {
        if self.nodes == 0 || self.nodes > MAX_NODES {
            return Err(format!("`nodes` is {}: from 1 to {MAX_NODES} are possible", self.nodes));
        }
        if self.id.0 == 0 {
            return Err("`id` is 0: it is drawn at random when a cluster is created".into());
        }
        for key in self.node.keys() {
            let known = key.parse().is_ok_and(|id: u64| (1..=u64::from(self.nodes)).contains(&id));
            if !known {
                return Err(format!("[node.{key}]: nodes are numbered 1 to {}", self.nodes));
            }
        }
        self.timings.slow.validate()?;
        let supervisor = &self.supervisor;
        if supervisor.crash_loop_deaths == 0 {
            return Err("`crash_loop_deaths` is 0: no node could ever be restarted".into());
        }
        if supervisor.backoff_min_millis > supervisor.backoff_max_millis {
            return Err("`backoff_min_millis` is above `backoff_max_millis`".into());
        }
        // Without what is different on single nodes, so that nobody is blamed for what all have.
        self.tuned(NodeId(0)).validate()?;
        for node in self.node_ids() {
            let tuned = self.tuned(node);
            tuned.validate().map_err(|why| format!("node {node}: {why}"))?;
            let (own, all) = (self.node.get(&node.to_string()), &self.timings);
            let other = own.and_then(|own| own.election_timeout_min_millis);
            let other = other.filter(|own| *own != all.election_timeout_min_millis);
            if let (Some(own), Some(_)) = (other, all.lease_clock_error_millis) {
                return Err(format!(
                    "node {node}: its `election_timeout_min_millis` is {own}; with \
                     `lease_clock_error_millis` every node must have the same, for leases last as \
                     long as nobody else stands for election"
                ));
            }
        }
        Ok(())
    }

    /// What holds for `node`: the cluster's settings, with its own in their place.
    pub fn tuned(&self, node: NodeId) -> Tuned {
        let own = self.node.get(&node.to_string()).cloned().unwrap_or_default();
        let all = &self.timings;
        let stretched = |own: Option<u64>, all| self.timings.slow.stretch(own.unwrap_or(all));
        let heartbeat_millis = stretched(own.heartbeat_millis, all.heartbeat_millis);
        Tuned {
            durability: own.durability.unwrap_or(self.durability),
            election_timeout_min_millis: stretched(
                own.election_timeout_min_millis,
                all.election_timeout_min_millis,
            ),
            election_timeout_max_millis: stretched(
                own.election_timeout_max_millis,
                all.election_timeout_max_millis,
            ),
            heartbeat_millis,
            link_delay_millis: all.slow.link_delay_millis(heartbeat_millis),
            lease_clock_error_millis: all.lease_clock_error_millis,
            segment_bytes: own.segment_bytes.unwrap_or(self.storage.segment_bytes),
            snapshot_log_bytes: own.snapshot_log_bytes.unwrap_or(self.storage.snapshot_log_bytes),
            keep_entries: own.keep_entries.unwrap_or(self.storage.keep_entries),
            history: self.storage.history,
            quota: self.storage.quota,
        }
    }

    /// The file, with comments for the person who opens it.
    pub fn to_commented_toml(&self) -> String {
        let Timings {
            slow: Slow(slow),
            election_timeout_min_millis,
            election_timeout_max_millis,
            heartbeat_millis,
            lease_clock_error_millis,
        } = &self.timings;
        let lease = match lease_clock_error_millis {
            Some(error) => format!("lease_clock_error_millis = {error}"),
            None => "# lease_clock_error_millis = 10".to_owned(),
        };
        let it = &self.supervisor;
        let mut text = format!(
            "# A kvraft cluster: what was asked for. Edit it while the cluster is down.\n\
             name = \"{}\"\n\
             # Written in every segment of every node's log: it can never change.\n\
             id = {}\n\
             # As many as the cluster was created with. Membership itself lives in the log.\n\
             nodes = {}\n\
             # unix: sockets in this directory; tcp: ports on 127.0.0.1.\n\
             transport = \"{}\"\n\
             # fsync: a write is acknowledged once it is on a majority's disks.\n\
             # fsync-drop-unsynced: the same, and killing a node loses what was not synced, as a\n\
             # power cut would. none: never synced, for comparison only.\n\
             durability = \"{}\"\n\
             # true: a fault that would take away the quorum wants to be confirmed.\n\
             protected = {}\n\
             # true: each node keeps the last of its core's life, for `kvctl replay`.\n\
             record = {}\n\
             # How nodes and supervisor write their logs: text, or json (an object a line).\n\
             log_format = \"{}\"\n\
             \n\
             [timings]\n\
             # So many times as long as the rest says: slow motion, for people who watch.\n\
             slow = {slow}\n\
             # An election starts after a random time from min to max without a leader.\n\
             election_timeout_min_millis = {election_timeout_min_millis}\n\
             election_timeout_max_millis = {election_timeout_max_millis}\n\
             heartbeat_millis = {heartbeat_millis}\n\
             # With this, leaders serve reads by a lease, without a round of messages, and a node\n\
             # that starts waits for one election time-out before it votes. Say by how much two\n\
             # nodes' clocks can drift apart within a time-out, at the most: if it is more, reads\n\
             # may be stale. Leases last for the shortest time-out less this.\n\
             {lease}\n\
             \n\
             [storage]\n\
             segment_bytes = {}\n\
             # A snapshot is taken about every so many bytes of log; so many entries before it\n\
             # are kept for followers that are only a little behind.\n\
             snapshot_log_bytes = {}\n\
             keep_entries = {}\n\
             # What is kept of the keys' past, for reads and watches that look back: so many\n\
             # revisions, a time such as 5m (1s at least), or all. Of a number of revisions,\n\
             # fewer are kept if they are more than 256 MiB.\n\
             history = \"{}\"\n\
             # So much may be stored, past and overhead included, before writes are refused:\n\
             # a size, or off.\n\
             quota = \"{}\"\n\
             \n\
             [supervisor]\n\
             # After a death: started again at once, then after min, then twice as long each.\n\
             backoff_min_millis = {}\n\
             backoff_max_millis = {}\n\
             # So many deaths within so long: not started again until a person says so.\n\
             crash_loop_deaths = {}\n\
             crash_loop_within_millis = {}\n\
             # Alive, without an answer for so long: reported, not killed.\n\
             unresponsive_after_millis = {}\n\
             # From SIGTERM to SIGKILL.\n\
             stop_grace_millis = {}\n\
             \n\
             # What is different on one node, for example:\n\
             # [node.1]\n\
             # election_timeout_max_millis = 200\n",
            self.name,
            self.id,
            self.nodes,
            self.transport,
            self.durability,
            self.protected,
            self.record,
            self.log_format,
            self.storage.segment_bytes,
            self.storage.snapshot_log_bytes,
            self.storage.keep_entries,
            self.storage.history,
            self.storage.quota,
            it.backoff_min_millis,
            it.backoff_max_millis,
            it.crash_loop_deaths,
            it.crash_loop_within_millis,
            it.unresponsive_after_millis,
            it.stop_grace_millis,
        );
        for (node, own) in &self.node {
            let own = toml::to_string(own).unwrap_or_default();
            text.push_str(&format!("[node.{node}]\n{own}"));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file::parse_toml;

    fn config() -> ClusterConfig {
        ClusterConfig::new("default".parse().unwrap(), 5)
    }

    #[test]
    fn what_is_written_reads_back_the_same() {
        let mut config = config();
        config.transport = Transport::Tcp;
        config.durability = Durability::FsyncDropUnsynced;
        config.timings.lease_clock_error_millis = Some(7);
        config.log_format = LogFormat::Json;
        config.storage.quota = Quota::Off;
        let own = Override { heartbeat_millis: Some(20), ..Override::default() };
        config.node.insert("3".into(), own);
        let text = config.to_commented_toml();
        let read: ClusterConfig = parse_toml(Path::new("cluster.toml"), &text).unwrap();
        assert_eq!(read, config);
        assert_eq!(read.validate(), Ok(()));
        assert_eq!(read.tuned(NodeId(3)).heartbeat_millis, 20);
        assert_eq!(read.tuned(NodeId(2)).heartbeat_millis, 50);
    }

    #[test]
    fn a_short_file_gets_the_defaults() {
        let read: ClusterConfig =
            parse_toml(Path::new("c"), "name = \"x\"\nid = 9\nnodes = 1\n").unwrap();
        assert_eq!(read.timings, Timings::default());
        assert_eq!(read.validate(), Ok(()));
    }

    #[test]
    fn in_slow_motion_all_that_nodes_do_together_takes_longer() {
        let mut config = config();
        config.timings.slow = Slow(20);
        let own = Override { election_timeout_max_millis: Some(400), ..Override::default() };
        config.node.insert("3".into(), own);
        assert_eq!(config.validate(), Ok(()));
        let tuned = config.tuned(NodeId(3));
        assert_eq!(tuned.election_timeout_min_millis, 3_000);
        assert_eq!(tuned.election_timeout_max_millis, 8_000);
        assert_eq!((tuned.heartbeat_millis, tuned.link_delay_millis), (1_000, 200));
        config.timings.slow = Slow(1);
        assert_eq!(config.tuned(NodeId(1)).link_delay_millis, 0);
    }

    #[test]
    fn nonsense_is_refused_with_the_reason() {
        type Change = fn(&mut ClusterConfig);
        let cases: [(Change, &str); 10] = [
            (|it| it.nodes = 0, "from 1 to 31"),
            (|it| it.timings.slow = Slow(0), "from 1 to 50 times"),
            (|it| it.timings.heartbeat_millis = 150, "heartbeat_millis"),
            (|it| it.timings.election_timeout_max_millis = 150, "tie"),
            (|it| it.timings.lease_clock_error_millis = Some(150), "no lease lasts"),
            (
                |it| {
                    it.timings.lease_clock_error_millis = Some(10);
                    let own =
                        Override { election_timeout_min_millis: Some(200), ..Override::default() };
                    it.node.insert("2".into(), own);
                },
                "node 2: its `election_timeout_min_millis` is 200",
            ),
            (|it| it.supervisor.crash_loop_deaths = 0, "crash_loop_deaths"),
            (|it| it.storage.segment_bytes = 5, "4194304"),
            (|it| it.storage.snapshot_log_bytes = 5, "65536"),
            (|it| _ = it.node.insert("6".into(), Override::default()), "numbered 1 to 5"),
        ];
        for (change, expected) in cases {
            let mut config = config();
            change(&mut config);
            let why = config.validate().unwrap_err();
            assert!(why.contains(expected), "{why}");
        }
    }
}

//! The twins of the schema's structs. Their field names are the documented names of `-o json`.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::traffic::{LinkTraffic, Served};
use crate::chaos::Fault;
use crate::config::{Address, Durability, Slow, Transport};
use crate::types::{ClusterId, LogIndex, NodeId, Revision, Term};

/// Declares an enum whose variants have one stable word each, the same in the schema, in JSON, in
/// events and on the command line.
macro_rules! words {
    (
        $(#[$doc:meta])*
        $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// All of them, in the schema's order.
            pub const ALL: &'static [$name] = &[$($name::$variant,)*];

            /// Its word.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<$name, String> {
                $name::ALL.iter().copied().find(|it| it.as_str() == text).ok_or_else(|| {
                    let known: Vec<_> = $name::ALL.iter().map(|it| it.as_str()).collect();
                    format!("`{text}` is none of {}", known.join(", "))
                })
            }
        }
    };
}

words! {
    /// What a node is doing, as it says itself.
    Role {
        Follower = "follower",
        PreCandidate = "pre-candidate",
        Candidate = "candidate",
        Leader = "leader",
        Learner = "learner",
    }
}

impl From<crate::consensus::Role> for Role {
    fn from(role: crate::consensus::Role) -> Role {
        use crate::consensus::Role as Core;
        match role {
            Core::Follower => Role::Follower,
            Core::PreCandidate => Role::PreCandidate,
            Core::Candidate => Role::Candidate,
            Core::Leader => Role::Leader,
            Core::Learner => Role::Learner,
        }
    }
}

words! {
    /// What the supervisor knows of a node's process.
    State {
        /// Spawned, does not answer yet.
        Starting = "starting",
        /// It answers.
        Running = "running",
        /// Alive, but does not answer.
        Unresponsive = "unresponsive",
        /// Stopped in its tracks by SIGSTOP.
        Paused = "paused",
        /// It was told to stop and has not ended yet.
        Stopping = "stopping",
        /// Down on purpose: it stays down until somebody says `start`.
        Stopped = "stopped",
        /// It died and waits for its next start.
        BackingOff = "backing-off",
        /// It died too often, or cannot be started at all: it waits for a person.
        CrashLooping = "crash-looping",
    }
}

impl State {
    /// Whether there is a process.
    pub fn is_alive(self) -> bool {
        match self {
            State::Starting
            | State::Running
            | State::Unresponsive
            | State::Paused
            | State::Stopping => true,
            State::Stopped | State::BackingOff | State::CrashLooping => false,
        }
    }
}

words! {
    /// What people want a node to be, as far as the supervisor was told. What it *is*, the log
    /// says.
    Standing {
        Member = "member",
        /// It is to become a member.
        Joining = "joining",
        /// It is to be removed.
        Leaving = "leaving",
    }
}

words! {
    /// What can be asked of the supervisor for one node.
    Action {
        /// Start it, if it is stopped or crash-looping.
        Start = "start",
        /// SIGTERM, then SIGKILL after a grace; it stays down, across a restart of the supervisor
        /// too.
        Stop = "stop",
        /// SIGKILL; the supervisor starts it again.
        Kill = "kill",
        /// SIGSTOP.
        Pause = "pause",
        /// SIGCONT.
        Resume = "resume",
        /// Stop, then start.
        Restart = "restart",
    }
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub pid: u32,
    pub role: Role,
    pub term: Term,
    /// Whom it voted for in `term`.
    pub voted_for: Option<NodeId>,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    pub first_index: LogIndex,
    pub last_index: LogIndex,
    pub durable_index: LogIndex,
    pub commit_index: LogIndex,
    pub applied_index: LogIndex,
    pub revision: Revision,
    pub keys: u64,
    /// Hexadecimal, of the state at `applied_index`.
    pub state_hash: String,
    pub uptime_millis: u64,
    /// On disk.
    pub log_bytes: u64,
    pub segments: u32,
    pub disk_full: bool,
    /// It has a leader and is caught up.
    pub ready: bool,
    /// On a leader: the other members, as it sees them.
    pub peers: Vec<PeerStatus>,
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
    /// During a change of membership: the voters of before, whose majority is needed too.
    pub outgoing: Vec<NodeId>,
    /// The last entry that its newest snapshot covers.
    pub snapshot_index: Option<LogIndex>,
    /// That snapshot's size.
    pub snapshot_bytes: u64,
    /// To whom it is handing its leadership.
    pub transfer_target: Option<NodeId>,
    pub durability: Durability,
    /// Version of the program.
    pub build: String,
    /// Faults in force that were injected on links that it sends on.
    pub faults: u32,
    /// Which list of faults it has; grows with every change.
    pub faults_version: u64,
    /// The highest number that a member ever had, as far as the state knows; zero: it does not.
    pub last_member: NodeId,
    /// Received from a leader, since the process began.
    #[serde(default)]
    pub snapshots_installed: u64,
    /// To each peer, since the process began.
    #[serde(default)]
    pub links: Vec<LinkTraffic>,
    /// To clients, since the process began.
    #[serde(default)]
    pub served: Served,
}

impl NodeStatus {
    /// Whether `node` is a member, as this node's newest configuration has it.
    pub fn is_member(&self, node: NodeId) -> bool {
        [&self.voters, &self.learners, &self.outgoing].iter().any(|list| list.contains(&node))
    }
}

/// A leader's view of another member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    pub node: NodeId,
    pub match_index: LogIndex,
    pub next_index: LogIndex,
    /// `probe`, `replicate` or `snapshot`.
    pub state: String,
    /// Since it last answered; `None`: never.
    pub silent_millis: Option<u64>,
}

/// What the supervisor says of its cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterStatus {
    pub name: String,
    pub cluster: ClusterId,
    pub directory: PathBuf,
    pub transport: Transport,
    pub durability: Durability,
    pub supervisor_pid: u32,
    /// Of the supervisor's own metrics.
    pub http_address: SocketAddr,
    /// Of those nodes that say they lead, the one of the newest term.
    pub leader: Option<NodeId>,
    pub term: Term,
    /// There is a leader, and every node that should run is ready.
    pub ready: bool,
    /// The supervisor takes the nodes with it when it ends.
    pub foreground: bool,
    /// Unix time of the supervisor's own start.
    pub since_millis: u64,
    pub nodes: Vec<NodeState>,
    /// Who was a member and is not any more.
    pub retired: Vec<Retired>,
    /// Injected faults in force.
    pub faults: u32,
    /// How many times slower it is than it could be, for people who watch.
    pub slow: Slow,
    /// Version of the supervisor's program.
    pub build: String,
}

/// A node that was removed from its cluster; its number is never given to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retired {
    pub node: NodeId,
    /// Unix time of its removal.
    pub since_millis: u64,
    /// Its data, too, is gone.
    pub purged: bool,
}

/// How a leadership was handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Handover {
    pub from: NodeId,
    pub to: NodeId,
    /// The new leader's.
    pub term: Term,
    /// From the order until the new leader said that it leads.
    pub took_millis: u64,
}

/// What became of the order to one node to take a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    pub node: NodeId,
    pub done: bool,
    pub message: String,
}

impl ClusterStatus {
    /// The state of `node`, if there is one of that number.
    pub fn node(&self, node: NodeId) -> Option<&NodeState> {
        self.nodes.iter().find(|state| state.node == node)
    }
}

/// What the supervisor knows of a node, whether it runs or not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeState {
    pub node: NodeId,
    pub state: State,
    pub pid: Option<u32>,
    /// Unix time of the last change of `state`.
    pub since_millis: u64,
    /// By the supervisor, not deliberate.
    pub restarts: u32,
    /// `exit code 1`, `signal 9 (SIGKILL)`, `unknown`; `None`: it never ended.
    pub last_exit: Option<String>,
    pub client: Address,
    pub peer: Address,
    pub control: Address,
    pub http: SocketAddr,
    /// Of etcd's API; `None`: a node from before there was one.
    pub grpc: Option<SocketAddr>,
    /// Its log file.
    pub log: PathBuf,
    /// The supervisor found it running.
    pub adopted: bool,
    /// Unix time of the next try, while backing off.
    pub next_start_millis: Option<u64>,
    /// Why it does not run as asked, with its last words.
    pub problem: Option<String>,
    /// What the node itself said last, since its start.
    pub report: Option<NodeStatus>,
    /// Unix time of `report`.
    pub report_millis: Option<u64>,
    pub standing: Standing,
    /// Of a change of its membership under way.
    pub progress: Option<String>,
}

impl NodeState {
    /// Its role, if it runs and said so.
    pub fn role(&self) -> Option<Role> {
        match self.state {
            State::Running => self.report.as_ref().map(|report| report.role),
            _ => None,
        }
    }
}

/// How a node ended in `down`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    pub node: NodeId,
    /// `stopped`, `killed after 5s`, `was not running`.
    pub how: String,
}

/// Something that happened to the cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Consecutive, from 1, through all the life of the cluster's directory.
    pub sequence: u64,
    /// Unix time.
    pub time_millis: u64,
    /// `None`: the cluster as a whole.
    pub node: Option<NodeId>,
    /// A stable word: `node-started`, `node-exited`, `leader-changed` …
    pub kind: String,
    pub detail: String,
    /// The fault that began, as far as it is shown, or that ended: one that was hidden is known
    /// from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fault: Option<Box<Fault>>,
}

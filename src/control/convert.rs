//! Between the twins and Cap'n Proto, both ways.

use std::path::PathBuf;
use std::str::FromStr;

use capnp::text;

use super::faults::json;
use super::traffic;
use super::types::*;
use crate::config::Slow;
use crate::schema::control_capnp as schema;
use crate::types::{ClusterId, LogIndex, NodeId, Revision, Term};

/// Why a conversation with a node or a supervisor failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody listens there.
    #[error("cannot reach {who}: {why}")]
    Unreachable { who: String, why: String },
    /// It was reached, and did not answer in time.
    #[error("{who} did not answer within {millis} ms")]
    Timeout { who: String, millis: u128 },
    /// It understood, and will not: nothing was done.
    #[error("{0}")]
    Refused(Refusal),
    /// It was begun, and is not finished within the time that was given; says what is missing.
    #[error("{0}")]
    Unfinished(String),
    /// The connection broke, or the other side failed: whether it was done is unknown.
    #[error("the conversation with {who} broke off: {why}")]
    Broken { who: String, why: String },
    /// It answered what this program does not understand.
    #[error("an answer is not understood: {field}: {why}")]
    Malformed { field: &'static str, why: String },
}

/// Why nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub why: String,
    /// It could be done, and a guard stands before it: whoever says `yes` is let past.
    pub guarded: bool,
}

impl From<String> for Refusal {
    fn from(why: String) -> Refusal {
        Refusal { why, guarded: false }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.why)
    }
}

impl ControlError {
    pub(super) fn malformed(field: &'static str) -> impl Fn(capnp::Error) -> ControlError {
        move |error| ControlError::Malformed { field, why: error.to_string() }
    }
}

pub(super) type Text<'a> = capnp::Result<text::Reader<'a>>;

pub(super) fn text(field: &'static str, reader: Text<'_>) -> Result<String, ControlError> {
    let wrong = ControlError::malformed(field);
    reader.map_err(&wrong)?.to_string().map_err(|error| wrong(error.into()))
}

/// Empty means absent.
fn optional(field: &'static str, reader: Text<'_>) -> Result<Option<String>, ControlError> {
    Ok(Some(text(field, reader)?).filter(|text| !text.is_empty()))
}

fn parse<T: FromStr>(field: &'static str, reader: Text<'_>) -> Result<T, ControlError>
where
    T::Err: std::fmt::Display,
{
    text(field, reader)?
        .parse()
        .map_err(|error: T::Err| ControlError::Malformed { field, why: error.to_string() })
}

/// A variant of a newer schema.
pub(super) fn not_in_schema(field: &'static str) -> impl Fn(capnp::NotInSchema) -> ControlError {
    move |error| ControlError::Malformed { field, why: capnp::Error::from(error).to_string() }
}

/// Zero means nobody.
pub(super) fn somebody(id: u64) -> Option<NodeId> {
    Some(NodeId(id)).filter(|id| id.0 != 0)
}

fn nonzero<T: Default + PartialEq>(value: T) -> Option<T> {
    Some(value).filter(|value| *value != T::default())
}

impl NodeStatus {
    /// Writes it where Cap'n Proto wants it.
    pub fn write(&self, mut to: schema::node_status::Builder<'_>) {
        to.set_node(self.node.0);
        to.set_cluster(self.cluster.0);
        to.set_pid(self.pid);
        to.set_role(self.role.as_str());
        to.set_term(self.term.0);
        to.set_voted_for(self.voted_for.map_or(0, |id| id.0));
        to.set_leader(self.leader.map_or(0, |id| id.0));
        to.set_first_index(self.first_index.0);
        to.set_last_index(self.last_index.0);
        to.set_durable_index(self.durable_index.0);
        to.set_commit_index(self.commit_index.0);
        to.set_applied_index(self.applied_index.0);
        to.set_revision(self.revision.0);
        to.set_keys(self.keys);
        to.set_state_hash(self.state_hash.as_str());
        to.set_uptime_millis(self.uptime_millis);
        to.set_log_bytes(self.log_bytes);
        to.set_segments(self.segments);
        to.set_disk_full(self.disk_full);
        to.set_ready(self.ready);
        to.set_durability(self.durability.as_str());
        to.set_build(self.build.as_str());
        let mut peers = to.reborrow().init_peers(self.peers.len() as u32);
        for (at, peer) in (0..).zip(&self.peers) {
            peer.write(peers.reborrow().get(at));
        }
        let mut voters = to.reborrow().init_voters(self.voters.len() as u32);
        for (at, voter) in (0..).zip(&self.voters) {
            voters.set(at, voter.0);
        }
        let mut learners = to.reborrow().init_learners(self.learners.len() as u32);
        for (at, learner) in (0..).zip(&self.learners) {
            learners.set(at, learner.0);
        }
        let mut outgoing = to.reborrow().init_outgoing(self.outgoing.len() as u32);
        for (at, voter) in (0..).zip(&self.outgoing) {
            outgoing.set(at, voter.0);
        }
        to.set_snapshot_index(self.snapshot_index.map_or(0, |index| index.0));
        to.set_snapshot_bytes(self.snapshot_bytes);
        to.set_transfer_target(self.transfer_target.map_or(0, |id| id.0));
        to.set_faults(self.faults);
        to.set_faults_version(self.faults_version);
        to.set_last_member(self.last_member.0);
        to.set_snapshots_installed(self.snapshots_installed);
        let mut links = to.reborrow().init_links(self.links.len() as u32);
        for (at, link) in (0..).zip(&self.links) {
            link.write(links.reborrow().get(at));
        }
        self.served.write(to.init_served());
    }

    /// Reads what arrived.
    pub fn read(from: schema::node_status::Reader<'_>) -> Result<NodeStatus, ControlError> {
        let (links, served) = traffic::read(from)?;
        let peers = from.get_peers().map_err(ControlError::malformed("peers"))?;
        let voters = from.get_voters().map_err(ControlError::malformed("voters"))?;
        let learners = from.get_learners().map_err(ControlError::malformed("learners"))?;
        let outgoing = from.get_outgoing().map_err(ControlError::malformed("outgoing"))?;
        Ok(NodeStatus {
            node: NodeId(from.get_node()),
            cluster: ClusterId(from.get_cluster()),
            pid: from.get_pid(),
            role: parse("role", from.get_role())?,
            term: Term(from.get_term()),
            voted_for: somebody(from.get_voted_for()),
            leader: somebody(from.get_leader()),
            first_index: LogIndex(from.get_first_index()),
            last_index: LogIndex(from.get_last_index()),
            durable_index: LogIndex(from.get_durable_index()),
            commit_index: LogIndex(from.get_commit_index()),
            applied_index: LogIndex(from.get_applied_index()),
            revision: Revision(from.get_revision()),
            keys: from.get_keys(),
            state_hash: text("stateHash", from.get_state_hash())?,
            uptime_millis: from.get_uptime_millis(),
            log_bytes: from.get_log_bytes(),
            segments: from.get_segments(),
            disk_full: from.get_disk_full(),
            ready: from.get_ready(),
            peers: peers.iter().map(PeerStatus::read).collect::<Result<_, _>>()?,
            voters: voters.iter().map(NodeId).collect(),
            learners: learners.iter().map(NodeId).collect(),
            outgoing: outgoing.iter().map(NodeId).collect(),
            snapshot_index: nonzero(LogIndex(from.get_snapshot_index())),
            snapshot_bytes: from.get_snapshot_bytes(),
            transfer_target: somebody(from.get_transfer_target()),
            durability: parse("durability", from.get_durability())?,
            build: text("build", from.get_build())?,
            faults: from.get_faults(),
            faults_version: from.get_faults_version(),
            last_member: NodeId(from.get_last_member()),
            snapshots_installed: from.get_snapshots_installed(),
            links,
            served,
        })
    }
}

impl PeerStatus {
    fn write(&self, mut to: schema::peer_status::Builder<'_>) {
        to.set_node(self.node.0);
        to.set_match_index(self.match_index.0);
        to.set_next_index(self.next_index.0);
        to.set_state(self.state.as_str());
        to.set_silent_millis(self.silent_millis.unwrap_or(u64::MAX));
    }

    fn read(from: schema::peer_status::Reader<'_>) -> Result<PeerStatus, ControlError> {
        Ok(PeerStatus {
            node: NodeId(from.get_node()),
            match_index: LogIndex(from.get_match_index()),
            next_index: LogIndex(from.get_next_index()),
            state: text("state", from.get_state())?,
            silent_millis: Some(from.get_silent_millis()).filter(|millis| *millis != u64::MAX),
        })
    }
}

impl ClusterStatus {
    /// Writes it where Cap'n Proto wants it.
    pub fn write(&self, mut to: schema::cluster_status::Builder<'_>) {
        to.set_name(self.name.as_str());
        to.set_cluster(self.cluster.0);
        to.set_directory(self.directory.to_string_lossy().as_ref());
        to.set_transport(self.transport.as_str());
        to.set_durability(self.durability.as_str());
        to.set_supervisor_pid(self.supervisor_pid);
        to.set_http_address(self.http_address.to_string().as_str());
        to.set_leader(self.leader.map_or(0, |id| id.0));
        to.set_term(self.term.0);
        to.set_ready(self.ready);
        to.set_foreground(self.foreground);
        to.set_since_millis(self.since_millis);
        to.set_build(self.build.as_str());
        let mut nodes = to.reborrow().init_nodes(self.nodes.len() as u32);
        for (at, node) in (0..).zip(&self.nodes) {
            node.write(nodes.reborrow().get(at));
        }
        to.set_faults(self.faults);
        to.set_slow(self.slow.0);
        let mut retired = to.init_retired(self.retired.len() as u32);
        for (at, node) in (0..).zip(&self.retired) {
            let mut to = retired.reborrow().get(at);
            to.set_node(node.node.0);
            to.set_since_millis(node.since_millis);
            to.set_purged(node.purged);
        }
    }

    /// Reads what arrived.
    pub fn read(from: schema::cluster_status::Reader<'_>) -> Result<ClusterStatus, ControlError> {
        let nodes = from.get_nodes().map_err(ControlError::malformed("nodes"))?;
        let retired = from.get_retired().map_err(ControlError::malformed("retired"))?;
        let retired = retired.iter().map(|node| Retired {
            node: NodeId(node.get_node()),
            since_millis: node.get_since_millis(),
            purged: node.get_purged(),
        });
        Ok(ClusterStatus {
            name: text("name", from.get_name())?,
            cluster: ClusterId(from.get_cluster()),
            directory: text("directory", from.get_directory())?.into(),
            transport: parse("transport", from.get_transport())?,
            durability: parse("durability", from.get_durability())?,
            supervisor_pid: from.get_supervisor_pid(),
            http_address: parse("httpAddress", from.get_http_address())?,
            leader: somebody(from.get_leader()),
            term: Term(from.get_term()),
            ready: from.get_ready(),
            foreground: from.get_foreground(),
            since_millis: from.get_since_millis(),
            nodes: nodes.iter().map(NodeState::read).collect::<Result<_, _>>()?,
            retired: retired.collect(),
            faults: from.get_faults(),
            slow: Slow(from.get_slow()),
            build: text("build", from.get_build())?,
        })
    }
}

impl NodeState {
    /// Writes it where Cap'n Proto wants it.
    pub fn write(&self, mut to: schema::node_state::Builder<'_>) {
        to.set_node(self.node.0);
        to.set_state(self.state.into());
        to.set_pid(self.pid.unwrap_or(0));
        to.set_since_millis(self.since_millis);
        to.set_restarts(self.restarts);
        to.set_last_exit(self.last_exit.as_deref().unwrap_or(""));
        to.set_client(self.client.to_string().as_str());
        to.set_peer(self.peer.to_string().as_str());
        to.set_control(self.control.to_string().as_str());
        to.set_http(self.http.to_string().as_str());
        to.set_grpc(self.grpc.map(|it| it.to_string()).unwrap_or_default().as_str());
        to.set_log(self.log.to_string_lossy().as_ref());
        to.set_adopted(self.adopted);
        to.set_next_start_millis(self.next_start_millis.unwrap_or(0));
        to.set_problem(self.problem.as_deref().unwrap_or(""));
        to.set_report_millis(self.report_millis.unwrap_or(0));
        to.set_standing(self.standing.into());
        to.set_progress(self.progress.as_deref().unwrap_or(""));
        if let Some(report) = &self.report {
            report.write(to.init_report());
        }
    }

    /// Reads what arrived.
    pub fn read(from: schema::node_state::Reader<'_>) -> Result<NodeState, ControlError> {
        let state = from.get_state().map_err(not_in_schema("state"))?;
        let standing = from.get_standing().map_err(not_in_schema("standing"))?;
        let report = match from.has_report() {
            false => None,
            true => Some(NodeStatus::read(
                from.get_report().map_err(ControlError::malformed("report"))?,
            )?),
        };
        Ok(NodeState {
            node: NodeId(from.get_node()),
            state: state.into(),
            pid: nonzero(from.get_pid()),
            since_millis: from.get_since_millis(),
            restarts: from.get_restarts(),
            last_exit: optional("lastExit", from.get_last_exit())?,
            client: parse("client", from.get_client())?,
            peer: parse("peer", from.get_peer())?,
            control: parse("control", from.get_control())?,
            http: parse("http", from.get_http())?,
            grpc: optional("grpc", from.get_grpc())?.map(|text| text.parse()).transpose().map_err(
                |error: std::net::AddrParseError| ControlError::Malformed {
                    field: "grpc",
                    why: error.to_string(),
                },
            )?,
            log: PathBuf::from(text("log", from.get_log())?),
            adopted: from.get_adopted(),
            next_start_millis: nonzero(from.get_next_start_millis()),
            problem: optional("problem", from.get_problem())?,
            report,
            report_millis: nonzero(from.get_report_millis()),
            standing: standing.into(),
            progress: optional("progress", from.get_progress())?,
        })
    }
}

impl Stopped {
    /// Writes it where Cap'n Proto wants it.
    pub fn write(&self, mut to: schema::stopped::Builder<'_>) {
        to.set_node(self.node.0);
        to.set_how(self.how.as_str());
    }

    /// Reads what arrived.
    pub fn read(from: schema::stopped::Reader<'_>) -> Result<Stopped, ControlError> {
        Ok(Stopped { node: NodeId(from.get_node()), how: text("how", from.get_how())? })
    }
}

impl Taken {
    /// Writes it where Cap'n Proto wants it.
    pub fn write(&self, mut to: schema::taken::Builder<'_>) {
        to.set_node(self.node.0);
        to.set_done(self.done);
        to.set_message(self.message.as_str());
    }

    /// Reads what arrived.
    pub fn read(from: schema::taken::Reader<'_>) -> Result<Taken, ControlError> {
        let message = text("message", from.get_message())?;
        Ok(Taken { node: NodeId(from.get_node()), done: from.get_done(), message })
    }
}

impl Event {
    /// Writes it where Cap'n Proto wants it.
    pub fn write(&self, mut to: schema::event::Builder<'_>) {
        to.set_sequence(self.sequence);
        to.set_time_millis(self.time_millis);
        to.set_node(self.node.map_or(0, |id| id.0));
        to.set_kind(self.kind.as_str());
        to.set_detail(self.detail.as_str());
        if let Some(fault) = &self.fault
            && let Ok(fault) = serde_json::to_string(fault)
        {
            to.set_fault(fault.as_str());
        }
    }

    /// Reads what arrived.
    pub fn read(from: schema::event::Reader<'_>) -> Result<Event, ControlError> {
        Ok(Event {
            sequence: from.get_sequence(),
            time_millis: from.get_time_millis(),
            node: somebody(from.get_node()),
            kind: text("kind", from.get_kind())?,
            detail: text("detail", from.get_detail())?,
            fault: from.has_fault().then(|| json("fault", from.get_fault())).transpose()?,
        })
    }
}

/// An enum of the schema and its twin, variant by variant.
macro_rules! same_variants {
    ($twin:ident, $schema:path, { $($variant:ident),* $(,)? }) => {
        impl From<$twin> for $schema {
            fn from(value: $twin) -> Self {
                match value { $($twin::$variant => Self::$variant,)* }
            }
        }

        impl From<$schema> for $twin {
            fn from(value: $schema) -> Self {
                match value { $(<$schema>::$variant => $twin::$variant,)* }
            }
        }
    };
}

same_variants!(Action, schema::supervisor::Action, { Start, Stop, Kill, Pause, Resume, Restart });
same_variants!(Standing, schema::node_state::Standing, { Member, Joining, Leaving });
same_variants!(State, schema::node_state::State, {
    Starting, Running, Unresponsive, Paused, Stopping, Stopped, BackingOff, CrashLooping,
});

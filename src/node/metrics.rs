//! What a node shows at `/metrics`.
//!
//! Two kinds of figures. What happens often and lasts (requests, commits, fsyncs) is recorded as it
//! happens, into counters and histograms whose handles are kept: no look-up by label on the way of
//! a request. What the replica counts or knows anyway is copied when somebody looks.
//!
//! Every series exists from the start, with a zero in it, so that a rate over it is right from the
//! first event on; those of a peer exist from when it is a member.

use std::rc::Rc;
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::etcd_metrics::EtcdMetrics;
use super::peers::Peers;
use crate::consensus::Role;
use crate::consensus::raft::Message;
use crate::grpc::Meter;
use crate::kv::Answer;
use crate::observe::{LATENCY_BUCKETS, MetricError, Registry};
use crate::replica::{PeerMessage, Refused, ReplicaStatus, Response};
use crate::rpc::ServerCounters;
use crate::types::NodeId;

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Write,
    Read,
    StaleRead,
    Lease,
    /// It could not be read.
    Invalid,
}

const KINDS: [&str; 5] = ["write", "read", "stale_read", "lease", "invalid"];

const OUTCOMES: [&str; 10] = [
    "ok",
    "unknown",
    "no_leader",
    "busy",
    "invalid",
    "no_space",
    "timed_out",
    "stopping",
    "disagreement",
    "repairing",
];

/// Where `ok` stands among them.
const OK: usize = 0;

fn outcome(response: &Response) -> usize {
    match response {
        Response::Written(_) | Response::Answer(_) | Response::Member(_) => OK,
        Response::Unknown(_) => 1,
        Response::Refused { why, .. } => match why {
            Refused::NoLeader { .. } => 2,
            Refused::Busy { .. } => 3,
            Refused::Invalid => 4,
            Refused::NoSpace => 5,
            Refused::TimedOut => 6,
            Refused::Stopping => 7,
            Refused::Disagreement => 8,
            Refused::Repairing => 9,
        },
    }
}

/// Clients' requests.
#[derive(Debug)]
pub struct ClientMetrics {
    requests: Vec<Vec<IntCounter>>,
    durations: Vec<Histogram>,
}

impl ClientMetrics {
    pub fn new(registry: &Registry) -> Result<ClientMetrics, MetricError> {
        let requests = registry.counters(
            "kvraft_client_requests_total",
            "Requests of clients that were answered, by kind and outcome.",
            &["kind", "outcome"],
        )?;
        let durations = registry.histograms(
            "kvraft_client_request_duration_seconds",
            "From a client's request to its answer.",
            &["kind"],
            &LATENCY_BUCKETS,
        )?;
        Ok(ClientMetrics {
            requests: KINDS
                .iter()
                .map(|kind| OUTCOMES.map(|it| requests.with_label_values(&[kind, it])).into())
                .collect(),
            durations: KINDS.map(|kind| durations.with_label_values(&[kind])).into(),
        })
    }

    /// A request was answered.
    pub fn answered(&self, kind: Kind, response: &Response, took: Duration) {
        self.ended(kind, outcome(response), took);
    }

    /// A query was answered, or not.
    pub fn looked(&self, kind: Kind, looked: &Result<Option<Answer>, Response>, took: Duration) {
        self.ended(kind, looked.as_ref().map_or_else(outcome, |_| OK), took);
    }

    fn ended(&self, kind: Kind, outcome: usize, took: Duration) {
        self.requests[kind as usize][outcome].inc();
        self.durations[kind as usize].observe(took.as_secs_f64());
    }
}

/// Declares a struct of metrics, each registered under its name with its help.
macro_rules! metrics {
    ($(#[$doc:meta])* $struct:ident {
        $($field:ident: $type:ty = $make:ident($name:literal, $help:literal $(, $extra:expr)*);)*
    }) => {
        $(#[$doc])*
        #[derive(Debug)]
        struct $struct { $($field: $type,)* }

        impl $struct {
            fn new(registry: &Registry) -> Result<$struct, MetricError> {
                Ok($struct { $($field: registry.$make($name, $help $(, $extra)*)?,)* })
            }
        }
    };
}
pub(super) use metrics;

metrics! {
    /// Of the replica and its event loop.
    NodeFigures {
        role: IntGaugeVec = gauges("kvraft_role", "1 for the role this node is in.", &["role"]);
        term: IntGauge = gauge("kvraft_term", "The current term.");
        leader: IntGauge = gauge("kvraft_leader", "Who leads, as far as known; 0: unknown.");
        ready: IntGauge = gauge("kvraft_ready",
            "1 if there is a leader and this node is caught up.");
        first_index: IntGauge = gauge("kvraft_log_first_index", "First entry in the log.");
        last_index: IntGauge = gauge("kvraft_log_last_index", "Last entry in the log.");
        durable_index: IntGauge = gauge("kvraft_log_durable_index",
            "Last entry that is durable here.");
        commit_index: IntGauge = gauge("kvraft_commit_index", "Last entry known to be committed.");
        applied_index: IntGauge = gauge("kvraft_applied_index",
            "Last entry applied to the state machine.");
        voters: IntGauge = gauge("kvraft_voters", "Voters in the newest configuration here.");
        learners: IntGauge = gauge("kvraft_learners",
            "Learners in the newest configuration here.");
        changing: IntGauge = gauge("kvraft_membership_change_under_way",
            "1 while two majorities are needed, because the voters change.");
        transferring: IntGauge = gauge("kvraft_leader_transfer_under_way",
            "1 while this leader hands its leadership over.");
        elections_started: IntCounter = counter("kvraft_elections_started_total",
            "Elections that this node started.");
        elections_won: IntCounter = counter("kvraft_elections_won_total",
            "Elections that this node won.");
        proposals: IntCounterVec = counters("kvraft_proposals_total",
            "Writes offered to consensus here, by outcome.", &["outcome"]);
        relayed: IntCounter = counter("kvraft_requests_relayed_total",
            "Requests handed on to a leader.");
        pending: IntGauge = gauge("kvraft_requests_pending", "Requests under way.");
        applied: IntCounter = counter("kvraft_entries_applied_total",
            "Entries applied since the start.");
        commit: Histogram = histogram("kvraft_commit_duration_seconds",
            "From a write's proposal to its being applied, on the leader.", &LATENCY_BUCKETS);
        fsync: Histogram = histogram("kvraft_log_fsync_duration_seconds",
            "Time the disk took to make a group of writes durable.", &LATENCY_BUCKETS);
        log_bytes: IntGauge = gauge("kvraft_log_bytes", "Bytes that the log takes on the disk.");
        segments: IntGauge = gauge("kvraft_log_segments", "Segments of the log.");
        disk_full: IntGauge = gauge("kvraft_disk_full",
            "1 while the disk is full and writes are refused.");
        dropped_for_space: IntCounter = counter("kvraft_messages_dropped_for_space_total",
            "Messages dropped because the disk has no room for what they carry.");
        keys: IntGauge = gauge("kvraft_keys", "Keys in the state machine.");
        state_bytes: IntGauge = gauge("kvraft_key_value_bytes",
            "Bytes of keys and values in the state machine.");
        revision: IntGauge = gauge("kvraft_revision", "Revision of the key space.");
        compacted_revision: IntGauge = gauge("kvraft_compacted_revision",
            "The revision before which nothing can be read or watched any more.");
        past_bytes: IntGauge = gauge("kvraft_past_bytes",
            "Bytes of keys and values of the past, in the state machine.");
        sessions: IntGauge = gauge("kvraft_sessions",
            "Client sessions that the state machine remembers.");
        turns: IntCounter = counter("kvraft_turns_total", "Turns of the event loop.");
        events: IntCounter = counter("kvraft_events_total",
            "Events that the turns took in; divided by turns, how much is batched.");
    }
}

metrics! {
    /// Of snapshots, and of what makes all replicas one.
    SnapshotFigures {
        index: IntGauge = gauge("kvraft_snapshot_index",
            "Last entry that the newest snapshot here covers; 0 without one.");
        bytes: IntGauge = gauge("kvraft_snapshot_bytes", "Bytes of the snapshots' files.");
        taken: IntCounter = counter("kvraft_snapshots_taken_total",
            "Snapshots taken here that are durable.");
        failed: IntCounter = counter("kvraft_snapshots_failed_total",
            "Snapshots that could not be taken.");
        installed: IntCounter = counter("kvraft_snapshots_installed_total",
            "Snapshots received and installed.");
        sent: IntCounter = counter("kvraft_snapshots_sent_total",
            "Snapshots sent to their end, to peers that may or may not have taken them.");
        sent_bytes: IntCounter = counter("kvraft_snapshot_sent_bytes_total",
            "Bytes of snapshots sent to peers.");
        received: IntCounter = counter("kvraft_snapshots_received_total",
            "Snapshots of which the end has come.");
        received_bytes: IntCounter = counter("kvraft_snapshot_received_bytes_total",
            "Bytes of snapshots received.");
        compacted_bytes: IntCounter = counter("kvraft_log_compacted_bytes_total",
            "Bytes of the log removed because a snapshot covers them.");
        disagreed: IntGauge = gauge("kvraft_state_disagreed",
            "1: the replicas' states differ, no majority agrees, and writes are refused.");
        version: IntGauge = gauge("kvraft_machine_version",
            "Version of the state machine in force.");
    }
}

metrics! {
    /// Of leases: those of etcd have its names.
    LeaseFigures {
        leases: IntGauge = gauge("kvraft_leases", "Leases in the state machine.");
        granted: IntCounter = counter("etcd_debugging_lease_granted_total",
            "Grants of leases that were applied here.");
        revoked: IntCounter = counter("etcd_debugging_lease_revoked_total",
            "Revocations of leases that were applied here.");
        renewed: IntCounter = counter("etcd_debugging_lease_renewed_total",
            "Keep-alives that this node acknowledged as leader.");
        expired: IntCounter = counter("etcd_debugging_server_lease_expired_total",
            "Leases that this node ended as leader, because their time was over.");
    }
}

metrics! {
    /// Of the links to and from the other members, and of the sockets.
    LinkFigures {
        match_index: IntGaugeVec = gauges("kvraft_peer_match_index",
            "On a leader: last entry durable on the peer; else 0.", &["peer"]);
        lag: IntGaugeVec = gauges("kvraft_peer_lag_entries",
            "On a leader: entries that the peer is behind; else 0.", &["peer"]);
        connected: IntGaugeVec = gauges("kvraft_peer_connected",
            "1 while messages to the peer are taken.", &["peer"]);
        sent: IntCounterVec = counters("kvraft_peer_sent_messages_total",
            "Messages sent to the peer.", &["peer"]);
        sent_bytes: IntCounterVec = counters("kvraft_peer_sent_bytes_total",
            "Bytes sent to the peer, about.", &["peer"]);
        received: IntCounterVec = counters("kvraft_peer_received_messages_total",
            "Messages received from the peer.", &["peer"]);
        dropped: IntCounterVec = counters("kvraft_peer_dropped_messages_total",
            "Messages to the peer dropped: the queue was full, or nobody listened.", &["peer"]);
        failures: IntCounterVec = counters("kvraft_peer_connection_failures_total",
            "Connections to the peer that failed or ended.", &["peer"]);
        queued: IntGaugeVec = gauges("kvraft_peer_queued_bytes",
            "Bytes waiting to be sent to the peer.", &["peer"]);
        faulted: IntCounterVec = counters("kvraft_link_fault_messages_total",
            "Messages to the peer that a fault met, by what it did.", &["peer", "effect"]);
        faults: IntGaugeVec = gauges("kvraft_link_fault_active",
            "1 while an injected fault is in force on the link to the peer.", &["peer"]);
        refused_batches: IntCounter = counter("kvraft_peer_batches_refused_total",
            "Batches refused: malformed, or not for this node.");
        unroutable: IntCounter = counter("kvraft_peer_messages_unroutable_total",
            "Messages to somebody who is no member or has no address.");
        rejected: IntCounter = counter("kvraft_peer_messages_rejected_total",
            "Messages that no correct member sends.");
        open: IntGaugeVec = gauges("kvraft_connections",
            "Open connections, by socket.", &["socket"]);
        accepted: IntCounterVec = counters("kvraft_connections_accepted_total",
            "Connections accepted, by socket.", &["socket"]);
        refused: IntCounterVec = counters("kvraft_connections_refused_total",
            "Connections closed because too many were open, by socket.", &["socket"]);
        malformed: IntCounterVec = counters("kvraft_connections_malformed_total",
            "Connections ended because of what they sent, by socket.", &["socket"]);
    }
}

const ROLES: [Role; 5] =
    [Role::Follower, Role::PreCandidate, Role::Candidate, Role::Leader, Role::Learner];

/// Brings a counter up to what somebody else has counted.
pub(super) fn catch_up(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// Everything but the clients' requests.
#[derive(Debug)]
pub struct NodeMetrics {
    node: NodeFigures,
    snapshot: SnapshotFigures,
    lease: LeaseFigures,
    link: LinkFigures,
    etcd: EtcdMetrics,
}

/// What is looked at when somebody asks.
pub struct Seen<'a> {
    pub status: &'a ReplicaStatus,
    pub ready: bool,
    /// Bytes, if there is one.
    pub quota: Option<u64>,
    pub peers: &'a Peers,
    pub received: &'a std::collections::BTreeMap<NodeId, u64>,
    pub refused_batches: u64,
    pub sockets: &'a [(&'static str, Rc<ServerCounters>)],
}

impl NodeMetrics {
    /// Of the node `id`, whose calls over gRPC `meter` counts.
    pub fn new(
        registry: &Registry,
        id: NodeId,
        meter: Rc<Meter>,
    ) -> Result<NodeMetrics, MetricError> {
        let metrics = NodeMetrics {
            etcd: EtcdMetrics::new(registry, id, meter)?,
            node: NodeFigures::new(registry)?,
            snapshot: SnapshotFigures::new(registry)?,
            lease: LeaseFigures::new(registry)?,
            link: LinkFigures::new(registry)?,
        };
        for outcome in ["accepted", "refused"] {
            metrics.node.proposals.with_label_values(&[outcome]);
        }
        Ok(metrics)
    }

    /// A turn of the event loop ended.
    pub fn turn(
        &self,
        events: u64,
        commits: &[Duration],
        syncs: &[Duration],
        leader: Option<NodeId>,
    ) {
        self.etcd.synced(syncs);
        self.etcd.led_by(leader);
        self.node.turns.inc();
        self.node.events.inc_by(events);
        commits.iter().for_each(|took| self.node.commit.observe(took.as_secs_f64()));
        syncs.iter().for_each(|took| self.node.fsync.observe(took.as_secs_f64()));
    }

    /// A message goes to a peer.
    pub fn sends(&self, message: &PeerMessage<Message>) {
        if let PeerMessage::Consensus(Message::InstallSnapshot { data, done, .. }) = message {
            self.snapshot.sent_bytes.inc_by(data.len() as u64);
            self.snapshot.sent.inc_by(u64::from(*done));
        }
    }

    /// A message has come from a peer.
    pub fn receives(&self, message: &PeerMessage<Message>) {
        if let PeerMessage::Consensus(Message::InstallSnapshot { data, done, .. }) = message {
            self.snapshot.received_bytes.inc_by(data.len() as u64);
            self.snapshot.received.inc_by(u64::from(*done));
        }
    }

    /// Copies what others know.
    pub fn refresh(&self, seen: &Seen<'_>) {
        self.refresh_node(seen);
        self.refresh_snapshots(seen.status);
        self.refresh_leases(seen.status);
        self.refresh_peers(seen);
        self.etcd.refresh(seen.status, seen.quota, seen.peers);
        catch_up(&self.link.refused_batches, seen.refused_batches);
        catch_up(&self.link.unroutable, seen.peers.unroutable());
        for (socket, counters) in seen.sockets {
            self.link.open.with_label_values(&[socket]).set(counters.open.get() as i64);
            let totals = [
                (&self.link.accepted, &counters.accepted),
                (&self.link.refused, &counters.refused),
                (&self.link.malformed, &counters.malformed),
            ];
            for (metric, total) in totals {
                catch_up(&metric.with_label_values(&[socket]), total.get());
            }
        }
    }

    fn refresh_node(&self, Seen { status, ready, .. }: &Seen<'_>) {
        let (node, core, log) = (&self.node, &status.consensus, &status.log);
        for role in ROLES {
            let is_in = i64::from(core.role == role);
            node.role.with_label_values(&[&role.to_string()]).set(is_in);
        }
        let gauges = [
            (&node.term, core.term.0),
            (&node.leader, core.leader.map_or(0, |leader| leader.0)),
            (&node.ready, u64::from(*ready)),
            (&node.first_index, core.first_index.0),
            (&node.last_index, core.last_index.0),
            (&node.durable_index, core.durable_index.0),
            (&node.commit_index, core.commit_index.0),
            (&node.applied_index, core.applied_index.0),
            (&node.voters, core.configuration.voters.len() as u64),
            (&node.learners, core.configuration.learners.len() as u64),
            (&node.changing, u64::from(!core.configuration.outgoing.is_empty())),
            (&node.transferring, u64::from(core.transfer_to.is_some())),
            (&node.pending, status.pending_requests as u64),
            (&node.log_bytes, log.disk_bytes),
            (&node.segments, log.segments),
            (&node.disk_full, u64::from(log.full)),
            (&node.keys, status.keys),
            (&node.state_bytes, status.bytes),
            (&node.revision, status.revision.0),
            (&node.compacted_revision, status.compacted_revision.0),
            (&node.past_bytes, status.past_bytes),
            (&node.sessions, status.sessions),
        ];
        gauges.into_iter().for_each(|(gauge, value)| gauge.set(value as i64));
        let counted = &status.counters;
        let proposals = |outcome| node.proposals.with_label_values(&[outcome]);
        catch_up(&proposals("accepted"), counted.proposals_accepted);
        catch_up(&proposals("refused"), counted.proposals_refused);
        catch_up(&node.elections_started, core.elections_started);
        catch_up(&node.elections_won, core.elections_won);
        catch_up(&node.relayed, counted.relayed);
        catch_up(&node.applied, counted.entries_applied);
        catch_up(&node.dropped_for_space, counted.dropped_for_space);
        catch_up(&self.link.rejected, counted.peers_rejected);
    }

    fn refresh_snapshots(&self, status: &ReplicaStatus) {
        let (figures, counted) = (&self.snapshot, &status.counters);
        figures.index.set(status.snapshot_index.0 as i64);
        figures.bytes.set(status.log.snapshot_bytes as i64);
        figures.disagreed.set(i64::from(status.disagreed_at.is_some()));
        figures.version.set(i64::from(status.machine_version));
        catch_up(&figures.taken, counted.snapshots_taken);
        catch_up(&figures.failed, counted.snapshots_failed);
        catch_up(&figures.installed, counted.snapshots_installed);
        catch_up(&figures.compacted_bytes, status.log.compacted_bytes);
    }

    fn refresh_leases(&self, status: &ReplicaStatus) {
        let (figures, counted) = (&self.lease, &status.counters);
        figures.leases.set(status.leases as i64);
        catch_up(&figures.granted, counted.leases_granted);
        catch_up(&figures.revoked, counted.leases_revoked);
        catch_up(&figures.renewed, counted.leases_renewed);
        catch_up(&figures.expired, counted.leases_expired);
    }

    fn refresh_peers(&self, seen: &Seen<'_>) {
        let core = &seen.status.consensus;
        for (id, link) in seen.peers.links() {
            let label: &[&str] = &[&id.to_string()];
            let progress = core.peers.get(&id);
            let matched = progress.map_or(0, |progress| progress.match_index.0);
            let lag = progress.map_or(0, |_| core.last_index.0.saturating_sub(matched));
            let figures = &self.link;
            figures.match_index.with_label_values(label).set(matched as i64);
            figures.lag.with_label_values(label).set(lag as i64);
            figures.connected.with_label_values(label).set(link.connected.get().into());
            figures.queued.with_label_values(label).set(link.queued_bytes() as i64);
            let received = seen.received.get(&id).copied().unwrap_or(0);
            let totals = [
                (&figures.sent, link.sent_messages.get()),
                (&figures.sent_bytes, link.sent_bytes.get()),
                (&figures.received, received),
                (&figures.dropped, link.dropped()),
                (&figures.failures, link.failures.get()),
            ];
            for (metric, total) in totals {
                catch_up(&metric.with_label_values(label), total);
            }
        }
        for (id, policy, counters) in seen.peers.faults() {
            let peer = id.to_string();
            self.link.faults.with_label_values(&[&peer]).set((!policy.is_empty()).into());
            for (effect, total) in counters.by_effect() {
                catch_up(&self.link.faulted.with_label_values(&[peer.as_str(), effect]), total);
            }
        }
    }
}

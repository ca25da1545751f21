//! What a node shows at `/metrics`.
//!
//! Two kinds of figures. What happens often and lasts (requests, commits, fsyncs) is recorded as it
//! happens, into counters and histograms whose handles are kept: no look-up by label on the way of
//! a request. What the replica counts or knows anyway is copied when somebody looks.
//!
//! Every series exists from the start, with a zero in it, so that a rate over it is right from the
//! first event on; those of a peer exist from when it is a member.

use std::rc::Rc;

use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::etcd_metrics::EtcdMetrics;
use super::link_metrics::LinkMetrics;
use super::peer_server::Received;
use super::peers::Peers;
use crate::consensus::Role;
use crate::consensus::raft::Message;
use crate::grpc::Meter;
use crate::observe::{LATENCY_BUCKETS, MetricError, Registry};
use crate::replica::{PeerMessage, ReplicaStatus, Samples};
use crate::rpc::ServerCounters;
use crate::storage::Times;
use crate::types::{Instant, NodeId};

/// Declares a struct of metrics, each registered under its name with its help.
macro_rules! metrics {
    ($(#[$doc:meta])* $struct:ident {
        $($field:ident: $type:ty = $make:ident($name:literal, $help:literal $(, $extra:expr)*);)*
    }) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub struct $struct { $($field: $type,)* }

        impl $struct {
            pub fn new(registry: &Registry) -> Result<$struct, MetricError> {
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
        elections: IntCounterVec = counters("kvraft_elections_total",
            "Elections that this node started and that have ended, by outcome.", &["outcome"]);
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
        append: Histogram = histogram("kvraft_log_append_duration_seconds",
            "Time the system took to accept a group of writes, before its fsync.",
            &LATENCY_BUCKETS);
        appended: IntCounter = counter("kvraft_log_appended_bytes_total",
            "Bytes of groups of writes made durable.");
        groups: IntCounter = counter("kvraft_log_groups_total",
            "Groups of writes made durable: each one fsync.");
        persists: IntCounter = counter("kvraft_log_persists_total",
            "Writes of consensus made durable; divided by groups, how much an fsync carries.");
        corrupt: IntCounter = counter("kvraft_log_corrupt_records_total",
            "Entries that could not be read at the start of this process, and had to be repaired.");
        missing: IntGauge = gauge("kvraft_log_repair_missing_entries",
            "Damaged entries that nobody has supplied yet; the node takes no part before.");
        log_bytes: IntGauge = gauge("kvraft_log_bytes", "Bytes that the log takes on the disk.");
        apply: Histogram = histogram("kvraft_apply_duration_seconds",
            "Time the state machine took to apply what was committed together.", &LATENCY_BUCKETS);
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

/// How elections end.
const ELECTIONS: [&str; 2] = ["won", "lost"];

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
    link: LinkMetrics,
    etcd: EtcdMetrics,
}

/// What is looked at when somebody asks.
pub struct Seen<'a> {
    /// The node's time.
    pub now: Instant,
    pub status: &'a ReplicaStatus,
    pub ready: bool,
    /// Bytes, if there is one.
    pub quota: Option<u64>,
    pub peers: &'a Peers,
    pub received: &'a std::collections::BTreeMap<NodeId, Received>,
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
            link: LinkMetrics::new(registry)?,
        };
        for outcome in ["accepted", "refused"] {
            metrics.node.proposals.with_label_values(&[outcome]);
        }
        for outcome in ELECTIONS {
            metrics.node.elections.with_label_values(&[outcome]);
        }
        Ok(metrics)
    }

    /// A turn of the event loop ended.
    pub fn turn(&self, events: u64, samples: &Samples, leader: Option<NodeId>) {
        let node = &self.node;
        node.turns.inc();
        node.events.inc_by(events);
        self.etcd.led_by(leader);
        samples.commits.iter().for_each(|took| node.commit.observe(took.as_secs_f64()));
        samples.applies.iter().for_each(|took| node.apply.observe(took.as_secs_f64()));
        for Times { write, sync } in &samples.writes {
            write.iter().for_each(|took| node.append.observe(took.as_secs_f64()));
            if let Some(took) = sync {
                node.fsync.observe(took.as_secs_f64());
                self.etcd.synced(*took);
            }
        }
    }

    /// Writes proposed here and applied, and the microseconds that they took together.
    pub fn commits(&self) -> (u64, u64) {
        let commit = &self.node.commit;
        (commit.get_sample_count(), (commit.get_sample_sum() * 1e6) as u64)
    }

    /// Measures by peer how long messages take.
    pub fn delivery(&self) -> &HistogramVec {
        self.link.delivery()
    }

    /// The log was opened, and so many of its entries could not be read.
    pub fn found_corrupt(&self, entries: usize) {
        self.node.corrupt.inc_by(entries as u64);
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
        self.link.refresh(seen);
        self.etcd.refresh(seen.status, seen.quota, seen.peers);
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
        let running = u64::from(core.role == Role::Candidate);
        let lost = core.elections_started.saturating_sub(core.elections_won + running);
        for (outcome, total) in ELECTIONS.iter().zip([core.elections_won, lost]) {
            catch_up(&node.elections.with_label_values(&[outcome]), total);
        }
        catch_up(&node.appended, log.group_bytes);
        catch_up(&node.groups, log.groups);
        catch_up(&node.persists, log.persists);
        node.missing.set(status.repair.as_ref().map_or(0, |repair| repair.missing as i64));
        catch_up(&node.relayed, counted.relayed);
        catch_up(&node.applied, counted.entries_applied);
        catch_up(&node.dropped_for_space, counted.dropped_for_space);
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
}

//! The figures that etcd has, under its names, so that dashboards and alerts made for it work.
//!
//! Only what has an equivalent here: a figure that is always zero says less than one that is not
//! there. Those of watches are in [`watch_metrics`](super::watch_metrics), those of leases with the
//! node's own.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use prometheus::{Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::metrics::{catch_up, metrics};
use super::peers::Peers;
use crate::grpc::{CODES, ETCD_VERSION, Meter, Method};
use crate::observe::{MetricError, Registry, Table};
use crate::replica::ReplicaStatus;
use crate::types::NodeId;

/// Upper bounds in seconds, etcd's: its dashboards name some of them.
const FSYNC_BUCKETS: [f64; 14] = [
    0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096,
    8.192,
];

metrics! {
    /// Under etcd's names.
    Figures {
        has_leader: IntGauge = gauge("etcd_server_has_leader", "1 if a leader is known.");
        is_leader: IntGauge = gauge("etcd_server_is_leader", "1 if this member leads.");
        is_learner: IntGauge = gauge("etcd_server_is_learner", "1 if this member has no vote.");
        leader_changes: IntCounter = counter("etcd_server_leader_changes_seen_total",
            "How often somebody else was seen to lead.");
        committed: IntCounter = counter("etcd_server_proposals_committed_total",
            "The last entry known to be committed.");
        applied: IntCounter = counter("etcd_server_proposals_applied_total",
            "The last entry applied.");
        pending: IntGauge = gauge("etcd_server_proposals_pending", "Requests under way.");
        failed: IntCounter = counter("etcd_server_proposals_failed_total",
            "Writes that consensus did not take.");
        quota: IntGauge = gauge("etcd_server_quota_backend_bytes",
            "What the state may take; 0: there is no limit.");
        id: IntGaugeVec = gauges("etcd_server_id", "Always 1; the label says who.", &["server_id"]);
        version: IntGaugeVec = gauges("etcd_server_version",
            "Always 1; the label says as which etcd this answers.", &["server_version"]);
        cluster_version: IntGaugeVec = gauges("etcd_cluster_version",
            "Always 1; the label says as which etcd the cluster answers.", &["cluster_version"]);
        fsync: Histogram = histogram("etcd_disk_wal_fsync_duration_seconds",
            "Time the disk took to make a group of writes durable.", &FSYNC_BUCKETS);
        size: IntGauge = gauge("etcd_mvcc_db_total_size_in_bytes", "Bytes on the disk.");
        size_in_use: IntGauge = gauge("etcd_mvcc_db_total_size_in_use_in_bytes",
            "Bytes of the state: what the quota counts.");
        keys: IntGauge = gauge("etcd_debugging_mvcc_keys_total", "Keys.");
        revision: IntGauge = gauge("etcd_debugging_mvcc_current_revision", "The revision.");
        compacted: IntGauge = gauge("etcd_debugging_mvcc_compact_revision",
            "The revision of the last compaction.");
        received: IntCounter = counter("etcd_network_client_grpc_received_bytes_total",
            "Bytes that clients of gRPC sent.");
        sent: IntCounter = counter("etcd_network_client_grpc_sent_bytes_total",
            "Bytes sent to clients of gRPC.");
        peers_sent: IntCounterVec = counters("etcd_network_peer_sent_bytes_total",
            "Bytes sent to a member, about.", &["To"]);
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct EtcdMetrics {
    figures: Figures,
    /// A row for each method of the meter.
    started: Arc<Table>,
    /// A row for each code of each method.
    handled: Arc<Table>,
    meter: Rc<Meter>,
    /// Who led when somebody looked last.
    led: std::cell::Cell<Option<NodeId>>,
}

impl EtcdMetrics {
    /// Of the node that `node` names, whose calls `meter` counts.
    pub fn new(
        registry: &Registry,
        node: NodeId,
        meter: Rc<Meter>,
    ) -> Result<EtcdMetrics, MetricError> {
        let figures = Figures::new(registry)?;
        let cluster: Vec<&str> = ETCD_VERSION.split('.').take(2).collect();
        figures.id.with_label_values(&[format!("{:x}", node.0)]).set(1);
        figures.version.with_label_values(&[ETCD_VERSION]).set(1);
        figures.cluster_version.with_label_values(&[cluster.join(".")]).set(1);
        let methods = || {
            let label = |it: &Method| [it.kind.to_owned(), it.service.clone(), it.name.clone()];
            meter.methods().map(label)
        };
        let with_codes = methods().flat_map(|[kind, service, name]| {
            CODES.map(|code| [kind.clone(), service.clone(), name.clone(), code.to_owned()])
        });
        let [kind, service, name] = ["grpc_type", "grpc_service", "grpc_method"];
        let started = registry.table(
            "grpc_server_started_total",
            "Calls that began.",
            [kind, service, name],
            methods(),
        )?;
        let handled = registry.table(
            "grpc_server_handled_total",
            "Calls that ended, by their code.",
            [kind, service, name, "grpc_code"],
            with_codes,
        )?;
        Ok(EtcdMetrics { figures, started, handled, meter, led: std::cell::Cell::new(None) })
    }

    /// A sync of the disk took so long.
    pub fn synced(&self, took: Duration) {
        self.figures.fsync.observe(took.as_secs_f64());
    }

    /// Somebody leads, or nobody does.
    pub fn led_by(&self, leader: Option<NodeId>) {
        if leader.is_some() && leader != self.led.get() {
            self.led.set(leader);
            self.figures.leader_changes.inc();
        }
    }

    /// Copies what others know.
    pub fn refresh(&self, status: &ReplicaStatus, quota: Option<u64>, peers: &Peers) {
        let (figures, core) = (&self.figures, &status.consensus);
        let learns = core.configuration.learners.contains(&core.id);
        let gauges = [
            (&figures.has_leader, u64::from(core.leader.is_some())),
            (&figures.is_leader, u64::from(core.leader == Some(core.id))),
            (&figures.is_learner, u64::from(learns)),
            (&figures.pending, status.pending_requests as u64),
            (&figures.quota, quota.unwrap_or(0)),
            (&figures.size, status.log.disk_bytes),
            (&figures.size_in_use, status.size),
            (&figures.keys, status.keys),
            (&figures.revision, status.revision.0),
            (&figures.compacted, status.compacted_revision.0),
        ];
        gauges.into_iter().for_each(|(gauge, value)| gauge.set(value as i64));
        let totals = [
            (&figures.committed, core.commit_index.0),
            (&figures.applied, core.applied_index.0),
            (&figures.failed, status.counters.proposals_refused),
            (&figures.received, self.meter.received_bytes.get()),
            (&figures.sent, self.meter.sent_bytes.get()),
        ];
        totals.into_iter().for_each(|(counter, total)| catch_up(counter, total));
        for (id, link) in peers.links() {
            let peer = figures.peers_sent.with_label_values(&[format!("{:x}", id.0)]);
            catch_up(&peer, link.sent_bytes.get());
        }
        self.count_calls();
    }

    /// Rows are in the order in which [`EtcdMetrics::new`] made them.
    fn count_calls(&self) {
        for (row, method) in self.meter.methods().enumerate() {
            self.started.set(row, method.started.get());
        }
        for (row, count) in self.meter.methods().flat_map(|it| &it.handled).enumerate() {
            self.handled.set(row, count.get());
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn a_call_is_counted_under_its_own_method_and_code() {
        let registry = Registry::new("kvtest").unwrap();
        let meter = Rc::new(Meter::new());
        let metrics = EtcdMetrics::new(&registry, NodeId(1), meter.clone()).unwrap();
        meter.begins("/etcdserverpb.Lease/LeaseRevoke").ends(Code::NotFound);
        metrics.count_calls();
        let text = registry.render().unwrap();
        let counted = |line: &&str| line.starts_with("grpc_server_") && !line.ends_with(" 0");
        let counted: Vec<_> = text.lines().filter(counted).collect();
        let of = "grpc_method=\"LeaseRevoke\",grpc_service=\"etcdserverpb.Lease\",\
                  grpc_type=\"unary\"} 1";
        let started = format!("grpc_server_started_total{{{of}");
        let handled = format!("grpc_server_handled_total{{grpc_code=\"NotFound\",{of}");
        assert_eq!(counted, [started, handled]);
    }
}

//! What the supervisor counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::lifecycle::Reason;
use crate::control::{ClusterStatus, State};
use crate::observe::{MetricError, Registry};
use crate::types::NodeId;

/// The supervisor's metrics.
pub struct Metrics {
    restarts: IntCounterVec,
    events: IntCounterVec,
    leader_changes: IntCounter,
    node_state: IntGaugeVec,
    nodes: IntGauge,
    ready: IntGauge,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<Metrics, MetricError> {
        Ok(Metrics {
            restarts: registry.counters(
                "kvraft_supervisor_restarts_total",
                "Starts of a node after its first: asked for, killed through the supervisor, died.",
                &["node", "reason"],
            )?,
            events: registry.counters(
                "kvraft_supervisor_events_total",
                "Events written into the cluster's history.",
                &["kind"],
            )?,
            leader_changes: registry.counter(
                "kvraft_supervisor_leader_changes_total",
                "How often the supervisor saw a node become leader.",
            )?,
            node_state: registry.gauges(
                "kvraft_supervisor_node_state",
                "1 for the state that the node is in, 0 for the others.",
                &["node", "state"],
            )?,
            nodes: registry.gauge("kvraft_supervisor_nodes", "Nodes of the cluster.")?,
            ready: registry.gauge(
                "kvraft_supervisor_cluster_ready",
                "1: there is a leader, and every node that should run is ready.",
            )?,
        })
    }

    /// A node was started.
    pub fn started(&self, node: NodeId, reason: Reason) {
        if reason != Reason::Up {
            self.restarts.with_label_values(&[node.to_string().as_str(), reason.as_str()]).inc();
        }
    }

    /// Something was written into the history.
    pub fn event(&self, kind: &str) {
        self.events.with_label_values(&[kind]).inc();
    }

    /// Somebody became leader.
    pub fn leader_changed(&self) {
        self.leader_changes.inc();
    }

    /// Copies what is kept elsewhere.
    pub fn refresh(&self, status: &ClusterStatus) {
        self.nodes.set(status.nodes.len() as i64);
        self.ready.set(i64::from(status.ready));
        for node in &status.nodes {
            let id = node.node.to_string();
            for state in State::ALL {
                let gauge = self.node_state.with_label_values(&[id.as_str(), state.as_str()]);
                gauge.set(i64::from(node.state == *state));
            }
        }
    }
}

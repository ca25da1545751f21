//! What the supervisor counts.
//!
//! Every series exists from the start, those of a node from when the supervisor knows the node.

use std::collections::BTreeSet;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::events::KINDS;
use super::lifecycle::Reason;
use crate::chaos::{Fault, HIDDEN, LINK_KINDS, NODE_KINDS};
use crate::control::{ClusterStatus, Judged, State};
use crate::observe::{MetricError, Registry};
use crate::types::NodeId;
use crate::verify::judge::Property;

/// How a trial ends.
pub(super) const VERDICTS: [&str; 3] = ["valid", "violation", "unknown"];

/// A violation of something that is no property of a history: replicas that differ, say.
const EXPECTATION: &str = "expectation";

/// The supervisor's metrics.
pub struct Metrics {
    restarts: IntCounterVec,
    events: IntCounterVec,
    leader_changes: IntCounter,
    node_state: IntGaugeVec,
    nodes: IntGauge,
    ready: IntGauge,
    injections: IntCounterVec,
    faults: IntGaugeVec,
    fault_active: IntGaugeVec,
    trials: IntCounterVec,
    violations: IntCounterVec,
}

impl Metrics {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<Metrics, MetricError> {
        let metrics = Metrics {
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
            injections: registry.counters(
                "kvraft_chaos_injections_total",
                "Faults injected on purpose, by kind; one that is of two kinds counts as both.",
                &["kind"],
            )?,
            faults: registry.gauges(
                "kvraft_chaos_faults",
                "Faults injected on purpose that are in force, by kind.",
                &["kind"],
            )?,
            fault_active: registry.gauges(
                "kvraft_chaos_fault_active",
                "1 while a fault of the kind is in force on the target: a node, or a link FROM:TO.",
                &["kind", "target"],
            )?,
            trials: registry.counters(
                "kvraft_verify_trials_total",
                "Trials of this cluster by `kvctl verify`, by verdict.",
                &["verdict"],
            )?,
            violations: registry.counters(
                "kvraft_verify_violations_total",
                "What trials found violated, by property: so many keys, locks, expectations.",
                &["property"],
            )?,
        };
        metrics.begin_with_zeros();
        Ok(metrics)
    }

    fn begin_with_zeros(&self) {
        KINDS.iter().for_each(|kind| drop(self.events.with_label_values(&[kind])));
        VERDICTS.iter().for_each(|verdict| drop(self.trials.with_label_values(&[verdict])));
        let properties = Property::ALL.iter().map(|property| property.name());
        for property in properties.chain([EXPECTATION]) {
            self.violations.with_label_values(&[property]);
        }
        for kind in LINK_KINDS.iter().chain(&NODE_KINDS).chain(&[HIDDEN]) {
            self.injections.with_label_values(&[kind]);
        }
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

    /// A fault, as others may see it, has begun.
    pub fn injected(&self, fault: &Fault) {
        fault.kinds().iter().for_each(|kind| self.injections.with_label_values(&[kind]).inc());
    }

    /// A trial has ended. What it calls by a name that is not known is some expectation.
    pub fn judged(&self, judged: &Judged) {
        self.trials.with_label_values(&[judged.verdict.as_str()]).inc();
        for (name, count) in &judged.violations {
            let known = Property::ALL.iter().map(|property| property.name());
            let name = known.into_iter().find(|it| it == name).unwrap_or(EXPECTATION);
            self.violations.with_label_values(&[name]).inc_by(*count);
        }
    }

    /// Copies what is kept elsewhere; `faults` are those in force, as others may see them.
    pub fn refresh(&self, status: &ClusterStatus, faults: &[Fault]) {
        // Whoever was removed is not shown for ever.
        self.node_state.reset();
        self.nodes.set(status.nodes.len() as i64);
        self.ready.set(i64::from(status.ready));
        for node in &status.nodes {
            let id = node.node.to_string();
            for state in State::ALL {
                let gauge = self.node_state.with_label_values(&[id.as_str(), state.as_str()]);
                gauge.set(i64::from(node.state == *state));
            }
            for reason in [Reason::Asked, Reason::Killed, Reason::Died] {
                self.restarts.with_label_values(&[id.as_str(), reason.as_str()]);
            }
        }
        self.refresh_faults(status, faults);
    }

    fn refresh_faults(&self, status: &ClusterStatus, faults: &[Fault]) {
        self.fault_active.reset();
        let ids: Vec<String> = status.nodes.iter().map(|node| node.node.to_string()).collect();
        let links: BTreeSet<String> = ids
            .iter()
            .flat_map(|from| ids.iter().map(move |to| (from, to)))
            .filter(|(from, to)| from != to)
            .map(|(from, to)| format!("{from}:{to}"))
            .collect();
        let (ids, links): (Vec<&str>, Vec<&str>) =
            (ids.iter().map(String::as_str).collect(), links.iter().map(String::as_str).collect());
        for (kinds, targets) in [(&NODE_KINDS[..], ids), (&LINK_KINDS[..], links)] {
            for (kind, target) in
                kinds.iter().flat_map(|kind| targets.iter().map(move |target| (kind, target)))
            {
                self.fault_active.with_label_values(&[kind, target]).set(0);
            }
        }
        for kind in LINK_KINDS.iter().chain(&NODE_KINDS).chain(&[HIDDEN]) {
            let of_kind = faults.iter().filter(|fault| fault.kinds().contains(kind)).count();
            self.faults.with_label_values(&[kind]).set(of_kind as i64);
        }
        for fault in faults {
            let (kinds, targets) = (fault.kinds(), fault.targets());
            for (kind, target) in
                kinds.iter().flat_map(|kind| targets.iter().map(move |target| (kind, target)))
            {
                self.fault_active.with_label_values(&[*kind, target.as_str()]).set(1);
            }
        }
    }
}

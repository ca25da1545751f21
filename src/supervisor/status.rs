//! What the supervisor says of its cluster.

use std::rc::Rc;

use super::daemon::{Daemon, Inner, Node};
use crate::chaos::Fault;
use crate::config::Address;
use crate::control::{ClusterStatus, Judged, NodeState, Retired, Standing, State};
use crate::observe::{Observed, VERSION};
use crate::types::NodeId;

/// Of what a trial found violated, so many are named in the history.
const MAX_VIOLATIONS: usize = 8;

impl Daemon {
    /// There is a leader, and every node that should run is ready.
    pub(super) fn is_ready(&self) -> bool {
        self.why_not_ready().is_none()
    }

    /// What is missing, in words.
    fn why_not_ready(&self) -> Option<String> {
        let inner = self.inner.borrow();
        if inner.leader.is_none() {
            return Some("no leader is known".into());
        }
        let joins = |id| {
            let record = inner.state.nodes.get(id);
            record.is_some_and(|record| record.standing == Standing::Joining)
        };
        let lacking = inner.nodes.iter().filter(|(id, _)| !joins(id)).find(|(_, node)| {
            let ready = node.report.as_ref().is_some_and(|(report, _)| report.ready);
            let runs = node.lifecycle.state() == State::Running;
            !(node.lifecycle.stays_down() || (runs && ready))
        });
        lacking.map(|(id, node)| match node.lifecycle.state() {
            State::Running => format!("node {id} is not caught up"),
            state => format!("node {id} is {state}"),
        })
    }

    /// All that is known.
    pub(super) fn status(&self) -> ClusterStatus {
        let (ready, faults) = (self.is_ready(), self.faults().len());
        let inner = self.inner.borrow();
        ClusterStatus {
            name: self.config.name.to_string(),
            cluster: self.config.id,
            directory: self.directory.path().to_owned(),
            transport: self.config.transport,
            durability: self.config.durability,
            supervisor_pid: std::process::id(),
            http_address: inner.state.http,
            leader: inner.leader,
            term: inner.term,
            ready,
            foreground: self.foreground,
            since_millis: self.since_millis,
            nodes: inner
                .nodes
                .iter()
                .filter_map(|(id, node)| self.node_state(&inner, *id, node))
                .collect(),
            retired: retired(&inner),
            faults: faults.try_into().unwrap_or(u32::MAX),
            slow: self.config.timings.slow,
            build: VERSION.to_owned(),
        }
    }

    /// A trial of this cluster has ended. The error says why what it says makes no sense.
    pub(super) fn judged(&self, judged: &Judged) -> Result<(), String> {
        let Judged { verdict, seed, operations, violations } = judged;
        let kind = match verdict.as_str() {
            "valid" => "trial-valid",
            "violation" => "trial-violation",
            "unknown" => "trial-unknown",
            other => return Err(format!("no trial ends with `{other}`")),
        };
        let mut detail = format!("seed {seed}, {operations} operations");
        for (what, count) in violations.iter().take(MAX_VIOLATIONS) {
            detail.push_str(&format!(", {what} violated ({count})"));
        }
        self.metrics.judged(judged);
        self.tell(None, kind, &detail);
        Ok(())
    }

    fn node_state(&self, inner: &Inner, id: NodeId, node: &Node) -> Option<NodeState> {
        let record = inner.state.nodes.get(&id)?;
        let place = self.directory.node(id);
        let lifecycle = &node.lifecycle;
        Some(NodeState {
            node: id,
            state: lifecycle.state(),
            pid: node.process.as_ref().map(|process| process.pid()),
            since_millis: node.since_millis,
            restarts: lifecycle.restarts(),
            last_exit: lifecycle.last_exit().map(str::to_owned),
            client: record.client.clone(),
            peer: record.peer.clone(),
            control: Address::Unix(place.socket("control")),
            http: record.http,
            grpc: record.grpc,
            log: place.log_file(),
            adopted: node.adopted,
            next_start_millis: lifecycle.next_start().map(|start| self.unix_millis_of(start)),
            problem: lifecycle.problem().map(str::to_owned),
            report: node.report.as_ref().map(|(report, _)| report.clone()),
            report_millis: node.report.as_ref().map(|(_, at)| *at),
            standing: record.standing,
            progress: node.progress.clone(),
        })
    }
}

/// Who was removed.
fn retired(inner: &Inner) -> Vec<Retired> {
    let retired = |(id, record): (&NodeId, &super::state::NodeRecord)| {
        let retirement = record.retired.as_ref()?;
        let (since_millis, purged) = (retirement.since_millis, retirement.purged);
        Some(Retired { node: *id, since_millis, purged })
    };
    inner.state.nodes.iter().filter_map(retired).collect()
}

/// The daemon as the HTTP server sees it.
pub(super) struct Seen(pub Rc<Daemon>);

impl Observed for Seen {
    fn refresh(&self) {
        let faults: Vec<_> = self.0.faults().iter().map(Fault::shown).collect();
        self.0.metrics.refresh(&self.0.status(), &faults);
    }

    fn ready(&self) -> Result<(), String> {
        self.0.why_not_ready().map_or(Ok(()), Err)
    }
}

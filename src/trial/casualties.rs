//! What befell the nodes of a trial: leaders that changed, processes that began, snapshots that
//! were installed.
//!
//! Faults are what was done to a cluster, and this is what it came to. That all promises held says
//! little if nobody lost anything; in particular, a follower that installs a snapshot loses its
//! whole state, and gets another, while somebody watches it.
//!
//! # How it is known
//!
//! The supervisor writes down each process and each leader, and that is counted. Of the snapshots
//! that a process has installed, only itself knows, and that dies with it. The supervisor asks each
//! for it a few times a second at least; what was installed after it was asked last is never
//! known. So that number is a lower bound, and is told as one.

use std::collections::BTreeMap;

use serde::Serialize;

use super::onlookers::Stand;
use crate::control::{Event, NodeStatus};
use crate::types::NodeId;

/// Some snapshots that a node has installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installed {
    pub node: NodeId,
    pub count: u64,
    /// After this moment, in nanoseconds on the tape.
    pub after: u64,
    /// And before this one.
    pub before: u64,
}

/// All that was seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Casualties {
    pub leader_changes: u64,
    pub node_starts: u64,
    pub installed: Vec<Installed>,
    processes: BTreeMap<NodeId, Process>,
}

/// What a node's process was heard to say last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    pid: u32,
    installed: u64,
    at: u64,
}

/// Figures of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Toll {
    pub leader_changes: u64,
    pub node_starts: u64,
    /// At least.
    pub snapshots_installed: u64,
    /// Of these, by nodes at which a watch stood meanwhile.
    pub snapshots_installed_under_watches: u64,
}

impl Casualties {
    /// The supervisor has written this down meanwhile.
    pub fn happened(&mut self, event: &Event) {
        match event.kind.as_str() {
            "leader-changed" => self.leader_changes += 1,
            "node-started" => self.node_starts += 1,
            _ => {}
        }
    }

    /// A node has said this of itself.
    pub fn heard(&mut self, report: &NodeStatus, at: u64) {
        let (node, pid, installed) = (report.node, report.pid, report.snapshots_installed);
        let last = self.processes.insert(node, Process { pid, installed, at });
        // What it did before anybody looked belongs to no trial.
        let Some(last) = last else { return };
        let known = if last.pid == pid { last.installed } else { 0 };
        if installed > known {
            let (count, after, before) = (installed - known, last.at, at);
            self.installed.push(Installed { node, count, after, before });
        }
    }

    /// In figures; watches stood as `stands` says.
    pub fn toll(&self, stands: &[Stand]) -> Toll {
        let is_watched = |it: &&Installed| {
            let covers = |stand: &Stand| stand.since <= it.after && it.before <= stand.until;
            stands.iter().any(|stand| stand.node == it.node && covers(stand))
        };
        let watched = self.installed.iter().filter(is_watched);
        Toll {
            leader_changes: self.leader_changes,
            node_starts: self.node_starts,
            snapshots_installed: self.installed.iter().map(|it| it.count).sum(),
            snapshots_installed_under_watches: watched.map(|it| it.count).sum(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(node: u64, pid: u32, installed: u64) -> NodeStatus {
        let json = serde_json::json!({
            "node": node, "cluster": 1, "pid": pid, "role": "follower", "term": 1,
            "voted_for": null, "leader": 1, "first_index": 1, "last_index": 1,
            "durable_index": 1, "commit_index": 1, "applied_index": 1, "revision": 1, "keys": 0,
            "state_hash": "", "uptime_millis": 0, "log_bytes": 0, "segments": 1,
            "disk_full": false, "ready": true, "peers": [], "voters": [1, 2, 3], "learners": [],
            "outgoing": [], "snapshot_index": null, "snapshot_bytes": 0, "transfer_target": null,
            "durability": "fsync", "build": "", "faults": 0, "faults_version": 0,
            "last_member": 0, "snapshots_installed": installed
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn what_was_installed_is_counted_over_the_lives_of_a_node() {
        let mut casualties = Casualties::default();
        // Three of before the trial; then two, and one by the process after it.
        let said = [(7, 3, 10), (7, 3, 20), (7, 5, 30), (8, 0, 40), (8, 1, 50), (8, 1, 60)];
        for (pid, installed, at) in said {
            casualties.heard(&report(2, pid, installed), at);
        }
        let stand = |node, since, until| Stand { node: NodeId(node), since, until };
        let toll = |stands: &[Stand]| {
            let toll = casualties.toll(stands);
            (toll.snapshots_installed, toll.snapshots_installed_under_watches)
        };
        assert_eq!(toll(&[]), (3, 0));
        assert_eq!(toll(&[stand(2, 20, 30)]), (3, 2));
        assert_eq!(toll(&[stand(2, 0, u64::MAX)]), (3, 3));
        // It broke meanwhile, or is another node's.
        assert_eq!(toll(&[stand(2, 0, 25), stand(2, 26, 45), stand(1, 0, 99)]), (3, 0));
    }

    #[test]
    fn leaders_and_processes_are_counted_as_the_supervisor_has_them() {
        let mut casualties = Casualties::default();
        for kind in ["node-started", "leader-changed", "leader-lost", "node-started"] {
            let (node, detail) = (Some(NodeId(1)), String::new());
            let event =
                Event { sequence: 1, time_millis: 0, node, kind: kind.into(), detail, fault: None };
            casualties.happened(&event);
        }
        assert_eq!((casualties.leader_changes, casualties.node_starts), (1, 2));
    }
}

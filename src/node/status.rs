//! What a node says of itself, to whoever asks.

use std::cell::RefCell;
use std::rc::Rc;

use super::clock::Clock;
use super::faults::Faults;
use crate::config::NodeConfig;
use crate::consensus::raft::Raft;
use crate::control::{LinkTraffic, NodeStatus, PeerStatus, Served};
use crate::kv::{Answer, Query};
use crate::observe::VERSION;
use crate::replica::{Replica, ReplicaStatus};
use crate::rpc::client::Hello;
use crate::storage::Disk;

/// A node that is further behind what it knows to be committed is not ready.
const MAX_BEHIND: u64 = 1000;

/// Looks at the replica between its turns.
pub struct Window<D: Disk> {
    pub replica: Rc<RefCell<Replica<Raft, D>>>,
    pub clock: Clock,
    pub config: NodeConfig,
    pub faults: Rc<Faults>,
}

/// Why a node cannot do its work now.
pub fn readiness(status: &ReplicaStatus) -> Result<(), String> {
    if let Some(repair) = &status.repair {
        return Err(repair.waits_for.clone());
    }
    if let Some(index) = status.disagreed_at {
        return Err(format!("the replicas' states differed at index {index}: no writes"));
    }
    let core = &status.consensus;
    if core.leader.is_none() {
        return Err("no leader is known".to_owned());
    }
    let behind = core.applied_index.distance_to(core.commit_index);
    if behind > MAX_BEHIND {
        return Err(format!("{behind} committed entries are still to be applied"));
    }
    Ok(())
}

impl<D: Disk> Window<D> {
    /// The replica's own words.
    pub fn status(&self) -> ReplicaStatus {
        self.replica.borrow().status()
    }

    /// Answers a valid query from the state as it is here, if there is one; within it nothing, if
    /// the answer is [more work](crate::kv::Machine::query_small) than this thread has time for.
    pub fn look(&self, query: &Query) -> Option<Option<Answer>> {
        self.replica.borrow().look(|machine| machine.query_small(query))
    }

    /// For clients.
    pub fn hello(&self) -> Hello {
        let status = self.status();
        Hello {
            cluster: self.config.cluster,
            node: self.config.node,
            leader: status.consensus.leader,
            term: status.consensus.term,
            applied_index: status.consensus.applied_index,
            revision: status.revision,
            build: VERSION.to_owned(),
        }
    }

    /// For operators; with what was sent to peers, and to clients.
    pub fn node_status(&self, links: Vec<LinkTraffic>, served: Served) -> NodeStatus {
        let status = self.status();
        let now = self.clock.now();
        let core = &status.consensus;
        let peers = core.peers.iter().map(|(node, peer)| PeerStatus {
            node: *node,
            match_index: peer.match_index,
            next_index: peer.next_index,
            state: peer.state.to_owned(),
            silent_millis: peer.last_heard.map(|heard| now.since(heard).as_millis() as u64),
        });
        NodeStatus {
            node: self.config.node,
            cluster: self.config.cluster,
            pid: std::process::id(),
            role: core.role.into(),
            term: core.term,
            voted_for: core.voted_for,
            leader: core.leader,
            first_index: core.first_index,
            last_index: core.last_index,
            durable_index: core.durable_index,
            commit_index: core.commit_index,
            applied_index: core.applied_index,
            revision: status.revision,
            keys: status.keys,
            state_hash: format!("{:032x}", status.state_hash),
            uptime_millis: self.clock.uptime().as_millis() as u64,
            log_bytes: status.log.disk_bytes,
            segments: status.log.segments.try_into().unwrap_or(u32::MAX),
            disk_full: status.log.full,
            ready: readiness(&status).is_ok(),
            peers: peers.collect(),
            voters: core.configuration.voters.iter().copied().collect(),
            learners: core.configuration.learners.iter().copied().collect(),
            outgoing: core.configuration.outgoing.iter().copied().collect(),
            snapshot_index: Some(status.snapshot_index).filter(|index| index.0 > 0),
            snapshot_bytes: status.log.snapshot_bytes,
            transfer_target: core.transfer_to,
            durability: self.config.durability,
            build: VERSION.to_owned(),
            faults: self.faults.in_force().try_into().unwrap_or(u32::MAX),
            faults_version: self.faults.version(),
            last_member: status.last_member,
            snapshots_installed: status.counters.snapshots_installed,
            links,
            served,
        }
    }
}

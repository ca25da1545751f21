//! Changing who is in a test's cluster, and who leads it.

use super::{Cluster, PATIENCE, TestError};
use crate::control::{Handover, Taken};
use crate::types::NodeId;

impl Cluster {
    /// Adds a node, and waits until it votes; returns its number.
    pub fn add_voter(&self) -> Result<NodeId, TestError> {
        self.block_on(async {
            Ok(self.supervisor().await?.member_add(None, false, PATIENCE).await?)
        })
    }

    /// Adds a node that only receives the log, and waits until it has caught up; its number.
    pub fn add_learner(&self) -> Result<NodeId, TestError> {
        self.block_on(async {
            Ok(self.supervisor().await?.member_add(None, true, PATIENCE).await?)
        })
    }

    /// Gives a learner a vote.
    pub fn promote(&self, node: NodeId) -> Result<(), TestError> {
        self.block_on(async { Ok(self.supervisor().await?.member_promote(node, PATIENCE).await?) })
    }

    /// Removes a node, the leader too, and ends its process.
    pub fn remove(&self, node: NodeId) -> Result<(), TestError> {
        self.block_on(async {
            Ok(self.supervisor().await?.member_remove(node, false, PATIENCE).await?)
        })
    }

    /// Hands the leadership to `to`, or to whoever is furthest.
    pub fn transfer(&self, to: Option<NodeId>) -> Result<Handover, TestError> {
        self.block_on(async { Ok(self.supervisor().await?.transfer(to, PATIENCE).await?) })
    }

    /// Has a snapshot taken by `node`, or by every node that runs.
    pub fn take_snapshot(&self, node: Option<NodeId>) -> Result<Vec<Taken>, TestError> {
        self.block_on(async { Ok(self.supervisor().await?.take_snapshot(node, PATIENCE).await?) })
    }
}

//! Where the nodes of a trial are reached.

use std::net::SocketAddr;

use crate::config::Address;
use crate::control::ClusterStatus;
use crate::types::NodeId;

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub node: NodeId,
    /// By the native client.
    pub client: Address,
    /// By etcd's API, if it serves that.
    pub grpc: Option<SocketAddr>,
}

impl Site {
    /// The nodes that run. Whoever was stopped on purpose takes no part.
    pub fn running(status: &ClusterStatus) -> Vec<Site> {
        let runs = status.nodes.iter().filter(|state| state.state.is_alive());
        let site = |state: &crate::control::NodeState| Site {
            node: state.node,
            client: state.client.clone(),
            grpc: state.grpc,
        };
        runs.map(site).collect()
    }
}

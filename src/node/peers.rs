//! All peers, as the event loop sees them.
//!
//! Who the peers are, and where, comes out of the log: the replica says it at its start and at every
//! change. For each there is a [`Sender`](super::sender::Sender) task.

use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::task::AbortHandle;

use super::sender::{PeerLink, Sender};
use crate::config::Address;
use crate::consensus::Configuration;
use crate::consensus::raft::Message;
use crate::replica::PeerMessage;
use crate::types::{ClusterId, NodeId};

/// One peer.
#[derive(Debug)]
struct Peer {
    address: Address,
    link: Rc<PeerLink>,
    task: AbortHandle,
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Peers {
    cluster: ClusterId,
    own: NodeId,
    peers: BTreeMap<NodeId, Peer>,
    /// Messages to somebody who is no member, or has no address.
    unroutable: u64,
}

impl Peers {
    /// Nobody yet.
    pub fn new(cluster: ClusterId, own: NodeId) -> Peers {
        Peers { cluster, own, peers: BTreeMap::new(), unroutable: 0 }
    }

    /// The members are now these. Wants a `LocalSet`.
    pub fn reconcile(&mut self, configuration: &Configuration) {
        let members = configuration.members();
        self.peers.retain(|id, _| members.contains(id));
        for id in members.into_iter().filter(|id| *id != self.own) {
            let address = configuration.addresses.get(&id).map(|text| text.parse::<Address>());
            match address {
                Some(Ok(address)) => {
                    if self.peers.get(&id).is_none_or(|peer| peer.address != address) {
                        let peer = self.start(id, address);
                        self.peers.insert(id, peer);
                    }
                }
                Some(Err(error)) => tracing::error!(peer = %id, "in the configuration: {error}"),
                None => tracing::error!(peer = %id, "the configuration holds no address"),
            }
        }
    }

    fn start(&self, to: NodeId, address: Address) -> Peer {
        let link = Rc::new(PeerLink::default());
        let sender = Sender {
            link: link.clone(),
            cluster: self.cluster,
            from: self.own,
            to,
            address: address.clone(),
        };
        let task = tokio::task::spawn_local(sender.run()).abort_handle();
        Peer { address, link, task }
    }

    /// Hands a message to the link to `to`.
    pub fn send(&mut self, to: NodeId, message: PeerMessage<Message>) {
        match self.peers.get(&to) {
            Some(peer) => peer.link.push(message),
            None => self.unroutable += 1,
        }
    }

    /// `peer` spoke to us: it is there.
    pub fn heard_of(&self, peer: NodeId) {
        if let Some(peer) = self.peers.get(&peer) {
            peer.link.is_there();
        }
    }

    /// Every peer's link.
    pub fn links(&self) -> impl Iterator<Item = (NodeId, &PeerLink)> {
        self.peers.iter().map(|(id, peer)| (*id, &*peer.link))
    }

    /// Messages to somebody who is no member.
    pub fn unroutable(&self) -> u64 {
        self.unroutable
    }
}

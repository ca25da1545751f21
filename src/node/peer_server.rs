//! The side of `peer.capnp` that listens.
//!
//! A batch says for whom it is: which cluster, from whom, to whom. One that is not for this node is
//! refused as a whole with the reason, counted, and logged once for each peer that sends such: it
//! is a mistake in somebody's configuration, and will be repeated many times a second.
//!
//! Sockets are reachable by their owner alone (Unix) or by this machine (TCP on loopback); whoever
//! can connect is believed to be who it says. Certificates will change that.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::inbox::Inbox;
use super::peers::Peers;
use crate::rpc::peer::{self, Batch};
use crate::schema::peer_capnp::peer as schema;
use crate::types::{ClusterId, NodeId};

/// Peers of which is remembered that they were logged.
const MAX_REMEMBERED: usize = 64;

/// Who sent a batch that cannot be read.
const UNNAMED: NodeId = NodeId(0);

/// What came from a peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    pub messages: u64,
    /// About.
    pub bytes: u64,
}

/// One for the node; connections share it.
#[derive(Debug)]
pub struct PeerServer {
    cluster: ClusterId,
    own: NodeId,
    inbox: Rc<Inbox>,
    peers: Rc<RefCell<Peers>>,
    refused: Cell<u64>,
    logged: RefCell<BTreeSet<NodeId>>,
    received: RefCell<BTreeMap<NodeId, Received>>,
}

impl PeerServer {
    pub fn new(
        cluster: ClusterId,
        own: NodeId,
        inbox: Rc<Inbox>,
        peers: Rc<RefCell<Peers>>,
    ) -> PeerServer {
        PeerServer {
            cluster,
            own,
            inbox,
            peers,
            refused: Cell::new(0),
            logged: RefCell::default(),
            received: RefCell::default(),
        }
    }

    /// The capability for one connection.
    pub fn capability(self: &Rc<PeerServer>) -> capnp::capability::Client {
        let client: schema::Client = capnp_rpc::new_client_from_rc(self.clone());
        client.client
    }

    /// Batches refused because they were not for this node.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// What came from each peer.
    pub fn received(&self) -> BTreeMap<NodeId, Received> {
        self.received.borrow().clone()
    }

    fn check(&self, batch: &Batch) -> Result<(), String> {
        let Batch { cluster, from, to, .. } = batch;
        if *cluster != self.cluster {
            return Err(format!(
                "node {from} is of cluster {cluster}, this is node {} of cluster {}",
                self.own, self.cluster
            ));
        }
        if *to != self.own {
            return Err(format!("this is node {}, not node {to}: an address is wrong", self.own));
        }
        if *from == self.own {
            return Err(format!("somebody else says that it is node {}", self.own));
        }
        Ok(())
    }

    /// What came from `peer`; none for yet another stranger.
    fn count_of(&self, peer: NodeId) -> Option<Received> {
        let received = self.received.borrow();
        let known = received.get(&peer).copied();
        known.or((received.len() < MAX_REMEMBERED).then(Received::default))
    }

    fn refuse(&self, from: NodeId, why: String) -> capnp::Error {
        self.refused.set(self.refused.get() + 1);
        let mut logged = self.logged.borrow_mut();
        if logged.len() < MAX_REMEMBERED && logged.insert(from) {
            tracing::warn!(peer = %from, "refused messages: {why}");
        }
        capnp::Error::failed(why)
    }
}

impl schema::Server for PeerServer {
    async fn deliver(
        self: Rc<Self>,
        params: schema::DeliverParams,
        _: schema::DeliverResults,
    ) -> Result<(), capnp::Error> {
        let batch = peer::read_batch(params.get()?.get_batch()?)
            .map_err(|error| self.refuse(UNNAMED, format!("a malformed batch: {error}")))?;
        drop(params);
        self.check(&batch).map_err(|why| self.refuse(batch.from, why))?;
        self.peers.borrow().heard_of(batch.from);
        self.inbox.room().await;
        let (from, messages) = (batch.from, batch.messages.len() as u64);
        let bytes = self.inbox.deliver(from, batch.messages) as u64;
        if let Some(Received { messages: before, bytes: of }) = self.count_of(from) {
            let received = Received { messages: before + messages, bytes: of + bytes };
            self.received.borrow_mut().insert(from, received);
        }
        Ok(())
    }
}

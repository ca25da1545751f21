//! All peers, as the event loop sees them.
//!
//! Who the peers are, and where, comes out of the log: the replica says it at its start and at
//! every change. A node whose log is behind may be spoken to by a member that it has never heard
//! of, and must be able to answer: one that joins knows nobody at all, and one that was down while
//! every other member was replaced knows only those who are gone. For them there are addresses in
//! `node.toml`, used only where the configuration has none.
//!
//! For each peer there is a [`Sender`] task, and before it the
//! directed link's fault policy ([`link`](crate::link)): whatever goes to a peer passes it, and
//! nothing can sneak past a partition. The empty policy costs one branch.

use std::collections::BTreeMap;
use std::rc::Rc;

use prometheus::HistogramVec;
use tokio::task::AbortHandle;

use super::outgoing::{Measured, is_urgent};
use super::sender::{PeerLink, Sender};
use crate::config::Address;
use crate::consensus::Configuration;
use crate::consensus::raft::Message;
use crate::control::LinkTraffic;
use crate::link::{Class, Counters, Link, Policy};
use crate::replica::PeerMessage;
use crate::types::{ClusterId, Instant, NodeId, Random};

/// One peer.
#[derive(Debug)]
struct Peer {
    address: Address,
    faults: Link<Measured>,
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
    /// For the links' faults.
    random: Random,
    peers: BTreeMap<NodeId, Peer>,
    /// Where those are whom the configuration does not know.
    strangers: BTreeMap<NodeId, Address>,
    /// What is wrong with the link to each, on purpose; also with those that are no peers yet.
    policies: BTreeMap<NodeId, Policy>,
    /// Messages to somebody who is no member, or has no address.
    unroutable: u64,
    delivery: HistogramVec,
}

impl Peers {
    /// Nobody yet. `random` is what the links' faults are drawn from, `strangers` where those are
    /// whom the configuration does not know, `delivery` measures by peer how long messages take.
    pub fn new(
        cluster: ClusterId,
        own: NodeId,
        random: Random,
        strangers: BTreeMap<NodeId, Address>,
        delivery: HistogramVec,
    ) -> Peers {
        let (peers, policies) = (BTreeMap::new(), BTreeMap::new());
        Peers { cluster, own, random, peers, strangers, policies, unroutable: 0, delivery }
    }

    /// The members are now these. Wants a `LocalSet`.
    pub fn reconcile(&mut self, configuration: &Configuration) {
        let mut others = configuration.members();
        others.remove(&self.own);
        self.peers.retain(|id, _| others.contains(id));
        for id in others {
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

    fn start(&mut self, to: NodeId, address: Address) -> Peer {
        let delivery = self.delivery.with_label_values(&[to.to_string()]);
        let link = Rc::new(PeerLink::measured_by(delivery));
        let sender = Sender {
            link: link.clone(),
            cluster: self.cluster,
            from: self.own,
            to,
            address: address.clone(),
        };
        let task = tokio::task::spawn_local(sender.run()).abort_handle();
        let mut faults = Link::new(Random::from_seed(self.random.bits()));
        if let Some(policy) = self.policies.get(&to)
            && let Err(error) = faults.set_policy(policy.clone(), Instant::default())
        {
            tracing::error!(peer = %to, "a fault that makes no sense: {error}");
        }
        Peer { address, faults, link, task }
    }

    /// Hands a message to the link to `to`.
    pub fn send(&mut self, now: Instant, to: NodeId, message: PeerMessage<Message>) {
        if !self.peers.contains_key(&to)
            && to != self.own
            && let Some(address) = self.strangers.get(&to).cloned()
        {
            tracing::info!(peer = %to, "not in the configuration here; node.toml says where it is");
            let peer = self.start(to, address);
            self.peers.insert(to, peer);
        }
        let Some(peer) = self.peers.get_mut(&to) else {
            self.unroutable += 1;
            return;
        };
        let message = Measured::from(message);
        let class = if is_urgent(&message) { Class::Control } else { Class::Bulk };
        let size = message.size;
        if let Some(message) = peer.faults.admit(message, class, size, now) {
            peer.link.push(message);
        }
    }

    /// Lets go what links have held back until now.
    pub fn release(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            if peer.faults.next_deadline().is_some_and(|deadline| deadline <= now) {
                peer.faults.due(now).for_each(|message| peer.link.push(message));
            }
        }
    }

    /// When [`Peers::release`] is wanted.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.peers.values().filter_map(|peer| peer.faults.next_deadline()).min()
    }

    /// From now on, this and nothing else is wrong with the links.
    pub fn set_policies(&mut self, now: Instant, policies: BTreeMap<NodeId, Policy>) {
        self.policies = policies;
        for (to, peer) in &mut self.peers {
            let policy = self.policies.get(to).cloned().unwrap_or_default();
            if let Err(error) = peer.faults.set_policy(policy, now) {
                // Policies are looked at where they come in.
                tracing::error!(peer = %to, "a fault that makes no sense: {error}");
            }
        }
    }

    /// What the faults of each link did, and what is in force there.
    pub fn faults(&self) -> impl Iterator<Item = (NodeId, &Policy, Counters)> {
        self.peers.iter().map(|(id, peer)| (*id, peer.faults.policy(), peer.faults.counters()))
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

    /// What was sent to each.
    pub fn traffic(&self) -> Vec<LinkTraffic> {
        let traffic = |(id, peer): (&NodeId, &Peer)| {
            let (link, delivery) = (&peer.link, self.delivery.with_label_values(&[id.to_string()]));
            LinkTraffic {
                peer: *id,
                connected: link.connected.get(),
                sent_messages: link.sent_messages.get(),
                sent_bytes: link.sent_bytes.get(),
                deliveries: delivery.get_sample_count(),
                delivery_micros: (delivery.get_sample_sum() * 1e6) as u64,
                dropped: link.dropped(),
                faulted: peer.faults.counters().by_effect().iter().map(|(_, count)| count).sum(),
            }
        };
        self.peers.iter().map(traffic).collect()
    }

    /// Messages to somebody who is no member.
    pub fn unroutable(&self) -> u64 {
        self.unroutable
    }
}

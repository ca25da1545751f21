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
//!
//! In slow motion, behind that policy lies a way that every message takes so and so long to go. It
//! is no fault: nobody is told of it, and no fault takes it away.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use prometheus::HistogramVec;
use tokio::task::AbortHandle;

use super::outgoing::Measured;
use super::sender::{PeerLink, Sender};
use crate::config::Address;
use crate::consensus::Configuration;
use crate::consensus::raft::Message;
use crate::control::LinkTraffic;
use crate::link::{Counters, Link, Policy};
use crate::replica::PeerMessage;
use crate::types::{ClusterId, Instant, NodeId, Random};

/// One peer.
#[derive(Debug)]
struct Peer {
    address: Address,
    faults: Link<Measured>,
    /// In slow motion.
    way: Option<Link<Measured>>,
    link: Rc<PeerLink>,
    task: AbortHandle,
}

impl Peer {
    /// What comes out of the faults goes its way.
    fn goes(&mut self, message: Measured, now: Instant) {
        let (class, size) = (message.class(), message.size);
        let arrived = match &mut self.way {
            Some(way) => way.admit(message, class, size, now),
            None => Some(message),
        };
        if let Some(message) = arrived {
            self.link.push(message);
        }
    }

    /// Messages that are held back now.
    fn under_way(&self) -> u64 {
        let held = |link: &Link<Measured>| link.waiting().messages as u64;
        held(&self.faults) + self.way.as_ref().map_or(0, held)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let way = self.way.as_ref().and_then(Link::next_deadline);
        [self.faults.next_deadline(), way].into_iter().flatten().min()
    }
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
    /// How long a message is on its way, on top of what it takes.
    way: Duration,
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
        let (peers, policies, way) = (BTreeMap::new(), BTreeMap::new(), Duration::ZERO);
        Peers { cluster, own, random, peers, strangers, policies, unroutable: 0, delivery, way }
    }

    /// The same in slow motion: every message is on its way for `way`, on top of what it takes.
    pub fn with_way(self, way: Duration) -> Peers {
        Peers { way, ..self }
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
        let way = (!self.way.is_zero()).then(|| self.slow_way(to));
        Peer { address, faults, way, link, task }
    }

    fn slow_way(&mut self, to: NodeId) -> Link<Measured> {
        let mut way = Link::new(Random::from_seed(self.random.bits()));
        let policy = Policy { delay: self.way, ..Policy::default() };
        if let Err(error) = way.set_policy(policy, Instant::default()) {
            tracing::error!(peer = %to, "no slow motion: {error}");
        }
        way
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
        let (class, size) = (message.class(), message.size);
        if let Some(message) = peer.faults.admit(message, class, size, now) {
            peer.goes(message, now);
        }
    }

    /// Lets go what links have held back until now.
    pub fn release(&mut self, now: Instant) {
        for peer in self.peers.values_mut() {
            if peer.next_deadline().is_none_or(|deadline| deadline > now) {
                continue;
            }
            let through: Vec<Measured> = peer.faults.due(now).collect();
            through.into_iter().for_each(|message| peer.goes(message, now));
            if let Some(way) = &mut peer.way {
                way.due(now).for_each(|message| peer.link.push(message));
            }
        }
    }

    /// When [`Peers::release`] is wanted.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.peers.values().filter_map(Peer::next_deadline).min()
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
                under_way: peer.under_way(),
            }
        };
        self.peers.iter().map(traffic).collect()
    }

    /// Messages to somebody who is no member.
    pub fn unroutable(&self) -> u64 {
        self.unroutable
    }
}

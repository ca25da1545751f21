//! Senders against peers that misbehave, over real sockets.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::link_metrics::LinkMetrics;
use super::outgoing::{Measured, Outgoing, OutgoingLimits};
use super::peers::Peers;
use super::sender::{PeerLink, Sender};
use crate::config::Address;
use crate::consensus::raft::Message;
use crate::consensus::{Configuration, Entry, Payload};
use crate::link::Policy;
use crate::observe::Registry;
use crate::replica::PeerMessage;
use crate::rpc::{Listener, Stream, listen, peer};
use crate::schema::peer_capnp;
use crate::types::{ClusterId, Instant, LogIndex, NodeId, Random, Term};

const PATIENCE: Duration = Duration::from_secs(20);
const CLUSTER: ClusterId = ClusterId(7);
const US: NodeId = NodeId(1);
const THEM: NodeId = NodeId(2);

fn local<F: Future>(test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new()
        .block_on(&runtime, async { tokio::time::timeout(PATIENCE, test).await.expect("it hangs") })
}

fn entries(bytes: usize) -> PeerMessage<Message> {
    let payload = Payload::Command(Bytes::from(vec![0; bytes]));
    PeerMessage::Consensus(Message::AppendEntries {
        term: Term(1),
        prev_log_index: LogIndex(0),
        prev_log_term: Term(0),
        entries: vec![Entry { term: Term(1), index: LogIndex(1), payload }],
        leader_commit: LogIndex(0),
        round: 0,
    })
}

fn vote(term: u64) -> PeerMessage<Message> {
    PeerMessage::Consensus(Message::RequestVoteReply { term: Term(term), granted: true })
}

struct Fixture {
    _directory: tempfile::TempDir,
    listener: Listener,
    address: Address,
}

fn fixture() -> Fixture {
    let directory = tempfile::tempdir().unwrap();
    let address = Address::Unix(directory.path().join("peer.sock"));
    Fixture { listener: listen(&address).unwrap(), address, _directory: directory }
}

/// Answers `deliver`, and keeps what came.
#[derive(Default)]
struct Peer {
    batches: std::cell::Cell<u64>,
    messages: std::cell::RefCell<Vec<PeerMessage<Message>>>,
}

impl peer_capnp::peer::Server for Peer {
    async fn deliver(
        self: Rc<Self>,
        params: peer_capnp::peer::DeliverParams,
        _: peer_capnp::peer::DeliverResults,
    ) -> Result<(), capnp::Error> {
        let batch = peer::read_batch(params.get()?.get_batch()?).unwrap();
        assert_eq!((batch.cluster, batch.from, batch.to), (CLUSTER, US, THEM));
        self.batches.set(self.batches.get() + 1);
        self.messages.borrow_mut().extend(batch.messages);
        Ok(())
    }
}

fn answer(stream: Stream, peer: &Rc<Peer>) {
    let client: peer_capnp::peer::Client = capnp_rpc::new_client_from_rc(peer.clone());
    let limits = super::sender::PEER_LIMITS;
    tokio::task::spawn_local(crate::rpc::serve(stream, client.client, limits));
}

async fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[test]
fn a_peer_that_never_reads_costs_no_more_than_the_bound() {
    local(async {
        let fixture = fixture();
        let limits = OutgoingLimits { messages: 1000, bytes: 1 << 20 };
        let link = Rc::new(PeerLink::with_queue(Outgoing::with_limits(limits)));
        let sender = Sender {
            link: link.clone(),
            cluster: CLUSTER,
            from: US,
            to: THEM,
            address: fixture.address.clone(),
        };
        tokio::task::spawn_local(sender.run());
        let deaf = fixture.listener.accept().await.unwrap();
        for _ in 0..2000 {
            link.push(Measured::from(entries(100_000)));
            tokio::task::yield_now().await;
            assert!(link.queued_bytes() <= 1 << 20);
        }
        // One batch on its way, the queue, and all else dropped: 200 MB were offered.
        assert!(
            link.sent_bytes.get() < 3 << 20,
            "{} bytes are on their way",
            link.sent_bytes.get()
        );
        assert!(link.dropped() > 1900, "{}", link.dropped());
        assert!(!link.connected.get());
        drop(deaf);
        // It comes back: the link serves again, with what is newest.
        let peer = Rc::new(Peer::default());
        answer(fixture.listener.accept().await.unwrap(), &peer);
        link.push(Measured::from(vote(9)));
        until(|| peer.messages.borrow().contains(&vote(9))).await;
        until(|| link.connected.get()).await;
    });
}

#[test]
fn what_waits_together_leaves_together_and_in_order() {
    local(async {
        let fixture = fixture();
        let link = Rc::new(PeerLink::default());
        (1..=500).for_each(|term| link.push(Measured::from(vote(term))));
        let sender = Sender {
            link: link.clone(),
            cluster: CLUSTER,
            from: US,
            to: THEM,
            address: fixture.address.clone(),
        };
        tokio::task::spawn_local(sender.run());
        let peer = Rc::new(Peer::default());
        answer(fixture.listener.accept().await.unwrap(), &peer);
        until(|| peer.messages.borrow().len() == 500).await;
        assert!(peer.messages.borrow().iter().eq((1..=500).map(vote).collect::<Vec<_>>().iter()));
    });
}

#[test]
fn a_connection_begins_with_saying_who_is_there() {
    local(async {
        let fixture = fixture();
        let link = Rc::new(PeerLink::default());
        let address = fixture.address.clone();
        let sender = Sender { link: link.clone(), cluster: CLUSTER, from: US, to: THEM, address };
        tokio::task::spawn_local(sender.run());
        let peer = Rc::new(Peer::default());
        answer(fixture.listener.accept().await.unwrap(), &peer);
        until(|| peer.batches.get() == 1 && link.connected.get()).await;
        assert_eq!(*peer.messages.borrow(), [], "and there is nothing else to say");
    });
}

fn peers(strangers: BTreeMap<NodeId, Address>) -> Peers {
    let registry = Registry::new("kvtest").unwrap();
    let delivery = LinkMetrics::new(&registry).unwrap().delivery().clone();
    Peers::new(CLUSTER, US, Random::from_seed(1), strangers, delivery)
}

#[test]
fn nothing_passes_a_link_that_is_cut() {
    local(async {
        let fixture = fixture();
        let mut peers = peers(BTreeMap::new());
        peers.reconcile(&Configuration {
            voters: [US, THEM].into(),
            addresses: [(THEM, fixture.address.to_string())].into(),
            ..Configuration::default()
        });
        let peer = Rc::new(Peer::default());
        answer(fixture.listener.accept().await.unwrap(), &peer);
        let now = Instant::from_millis(1000);
        peers.set_policies(now, [(THEM, Policy::cut())].into());
        peers.send(now, THEM, vote(1));
        peers.set_policies(now, BTreeMap::new());
        peers.send(now, THEM, vote(2));
        until(|| !peer.messages.borrow().is_empty()).await;
        assert_eq!(*peer.messages.borrow(), [vote(2)]);

        let delay = Policy { delay: Duration::from_millis(50), ..Policy::default() };
        peers.set_policies(now, [(THEM, delay)].into());
        peers.send(now, THEM, vote(3));
        let due = peers.next_deadline().expect("something waits");
        assert_eq!(due, now + Duration::from_millis(50));
        peers.release(due);
        until(|| peer.messages.borrow().len() == 2).await;
    });
}

#[test]
fn whoever_is_no_member_any_more_is_not_spoken_to() {
    local(async {
        let fixture = fixture();
        let mut peers = peers(BTreeMap::new());
        let both = Configuration {
            voters: [US, THEM].into(),
            addresses: [(THEM, fixture.address.to_string())].into(),
            ..Configuration::default()
        };
        peers.reconcile(&both);
        let mut stream = fixture.listener.accept().await.unwrap();
        peers.reconcile(&Configuration { voters: [US].into(), ..both });
        // The connection ends with the membership.
        let mut bytes = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut bytes).await.unwrap();
        peers.send(Instant::default(), THEM, vote(1));
        assert_eq!(peers.unroutable(), 1);
    });
}

#[test]
fn a_stranger_whose_place_is_written_down_is_answered_until_the_log_knows_better() {
    local(async {
        let (before, after) = (fixture(), fixture());
        let strangers = BTreeMap::from([(THEM, before.address.clone())]);
        let mut peers = peers(strangers);
        // As of a node that joins: its log is empty.
        peers.reconcile(&Configuration::default());
        assert_eq!(peers.links().count(), 0, "nobody is called before there is something to say");
        let peer = Rc::new(Peer::default());
        peers.send(Instant::default(), THEM, vote(1));
        answer(before.listener.accept().await.unwrap(), &peer);
        until(|| *peer.messages.borrow() == [vote(1)]).await;
        peers.reconcile(&Configuration {
            voters: [THEM].into(),
            addresses: [(THEM, after.address.to_string())].into(),
            ..Configuration::default()
        });
        peers.send(Instant::default(), THEM, vote(2));
        answer(after.listener.accept().await.unwrap(), &peer);
        until(|| peer.messages.borrow().len() == 2).await;
        peers.send(Instant::default(), NodeId(9), vote(3));
        assert_eq!(peers.unroutable(), 1);
    });
}

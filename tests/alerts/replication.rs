//! Followers that do not follow, and messages that nobody should send.

use kvraft::config::Address;
use kvraft::rpc::{Connection, Limits, connect, peer};
use kvraft::schema::peer_capnp;
use kvraft::types::{ClusterId, NodeId};

use crate::watched::Watched;

#[test]
fn a_follower_that_is_cut_off() {
    let it = Watched::of(3);
    let victim = it.follower();
    let load = it.load(64);
    it.ok(&format!("chaos isolate {victim}"));
    it.fire(&["MemberWithoutLeader", "LaggingFollower", "FollowerFarBehind", "FaultLeftInForce"]);
    drop(load);
    it.ok("chaos heal");
    it.clear();
}

#[test]
fn a_peer_whose_socket_somebody_removed() {
    let it = Watched::of(3);
    let victim = it.follower();
    let node = it.home.path().join(format!("default/nodes/{victim}"));
    std::fs::remove_file(node.join("peer.sock")).unwrap();
    let other = (1..=3).find(|id| *id != victim).unwrap();
    it.ok(&format!("node restart {other}"));
    it.fire(&["PeerDisconnected"]);
    it.ok(&format!("node restart {victim}"));
    it.clear();
}

#[test]
fn somebody_else_speaks_to_a_node() {
    let it = Watched::of(1);
    let address = Address::Unix(it.home.path().join("default/nodes/1/peer.sock"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let stream = connect(&address).await.unwrap();
        let (client, _connection) =
            Connection::open::<peer_capnp::peer::Client>(stream, Limits::default());
        let mut call = client.deliver_request();
        let route = (ClusterId(1), NodeId(2), NodeId(1));
        peer::write_batch(route, [].iter(), call.get().init_batch());
        assert!(call.send().promise.await.is_err());
    });
    it.fire(&["MalformedPeer"]);
    it.clear();
}

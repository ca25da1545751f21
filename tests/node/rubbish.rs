//! Whatever is thrown at a node's sockets, it lives and serves.

use kvraft::rpc::{Connection, connect, peer};
use kvraft::schema::peer_capnp;
use kvraft::types::{ClusterId, NodeId, Random};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::{CLUSTER, Cluster, local};

#[test]
fn random_bytes_on_every_socket() {
    let cluster = Cluster::started(1);
    local(async {
        cluster.leader(&[1]).await;
        let client = cluster.client(1).await;
        client.put_surely("k", "v").await;
        let mut random = Random::from_seed(3);
        for socket in ["peer", "client", "control"] {
            let address = cluster.address(1, socket);
            for round in 0..100 {
                let mut stream = connect(&address).await.unwrap();
                let length = random.below(600) as usize;
                let mut bytes: Vec<u8> = (0..length).map(|_| random.bits() as u8).collect();
                if round % 2 == 0 {
                    let words = (length / 8) as u32;
                    bytes = [&[0; 4], &words.to_le_bytes()[..], &bytes].concat();
                }
                // It may close while we still write.
                let _ = stream.write_all(&bytes).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        }
        client.put_surely("k", "w").await;
        assert_eq!(client.get("k").await.as_deref(), Some("w"));
        let complaints = cluster.log(1).matches("ended a connection").count();
        assert!((1..10).contains(&complaints), "{complaints} lines in the log");
    });
}

#[test]
fn batches_that_are_not_for_this_node_are_refused_and_say_why() {
    let cluster = Cluster::started(1);
    local(async {
        cluster.leader(&[1]).await;
        let stream = connect(&cluster.address(1, "peer")).await.unwrap();
        let (client, _connection) =
            Connection::open::<peer_capnp::peer::Client>(stream, kvraft::rpc::Limits::default());
        let cases = [
            ((ClusterId(78), NodeId(2), NodeId(1)), "of cluster 78"),
            ((CLUSTER, NodeId(2), NodeId(3)), "this is node 1, not node 3"),
            ((CLUSTER, NodeId(1), NodeId(1)), "somebody else says that it is node 1"),
            ((CLUSTER, NodeId(0), NodeId(1)), "node 0 is nobody"),
        ];
        for (route, words) in cases {
            let mut call = client.deliver_request();
            peer::write_batch(route, [].iter(), call.get().init_batch());
            let error = call.send().promise.await.err().expect("refused").to_string();
            assert!(error.contains(words), "{error}");
        }
        let mut call = client.deliver_request();
        peer::write_batch((CLUSTER, NodeId(2), NodeId(1)), [].iter(), call.get().init_batch());
        call.send().promise.await.unwrap();
    });
}

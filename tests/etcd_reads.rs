//! Reads by etcd's API on a living cluster: none of them is older than it may be, and none of them
//! needs more than it must.

mod etcd_client;
mod kvctl_home;

use std::time::Duration;

use etcd_client::{Client, cluster, connect, get, runtime};
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::{request_op, response_op};
use tonic::Status;

impl Client {
    async fn read(&self, serializable: bool) -> Result<pb::RangeResponse, Status> {
        self.range(pb::RangeRequest { serializable, ..get("k") }).await
    }

    async fn read_together(&self, serializable: bool) -> Result<pb::TxnResponse, Status> {
        let range = pb::RangeRequest { serializable, ..get("k") };
        let range = request_op::Request::RequestRange(range);
        let success = vec![pb::RequestOp { request: Some(range) }; 2];
        self.txn(pb::TxnRequest { success, ..Default::default() }).await
    }
}

fn value(range: &pb::RangeResponse) -> &[u8] {
    range.kvs.first().map_or(b"", |kv| &kv.value)
}

/// What each operation of a transaction found, and at which revision.
fn found(response: &pb::TxnResponse) -> Vec<(Vec<u8>, i64)> {
    let range = |it: &pb::ResponseOp| match it.response.as_ref() {
        Some(response_op::Response::ResponseRange(range)) => {
            (value(range).to_vec(), range.header.unwrap().revision)
        }
        other => panic!("a range answers {other:?}"),
    };
    response.responses.iter().map(range).collect()
}

#[test]
fn every_node_reads_what_another_one_has_acknowledged() {
    let (_home, addresses) = cluster(3);
    runtime().block_on(async {
        let clients = connect(&addresses).await;
        for number in 0..60 {
            let new = number.to_string();
            let written = clients[number % 3].set("k", &new).await;
            let read = clients[(number + 1) % 3].read(false).await.unwrap();
            assert_eq!((value(&read), read.header.unwrap().revision), (new.as_bytes(), written));
            let read = clients[(number + 2) % 3].read_together(false).await.unwrap();
            let header = read.header.unwrap();
            assert!(read.succeeded && header.cluster_id != 0 && header.revision == written);
            assert_eq!(found(&read), vec![(new.into_bytes(), written); 2]);
        }
    });
}

/// Had a transaction that only reads a place in the log, it would wait for a majority.
#[test]
fn without_a_majority_only_what_may_be_old_is_read() {
    let (home, addresses) = cluster(3);
    runtime().block_on(async {
        let client = Client::connect(&addresses[0]).await.with_timeout(Duration::from_secs(2));
        client.set("k", "v").await;
        // It is here, as all acknowledged is after a linearizable read.
        assert_eq!(value(&client.read(false).await.unwrap()), b"v");
        home.ok(&["node", "pause", "2"]);
        home.ok(&["node", "pause", "3"]);
        assert_eq!(value(&client.read(true).await.unwrap()), b"v");
        let read = client.read_together(true).await.unwrap();
        assert_eq!(found(&read)[0].0, b"v");
        client.read(false).await.unwrap_err();
        client.read_together(false).await.unwrap_err();
        home.ok(&["node", "resume", "2"]);
        home.ok(&["node", "resume", "3"]);
        home.ok(&["cluster", "wait", "--ready"]);
        assert_eq!(value(&client.read(false).await.unwrap()), b"v");
        assert_eq!(found(&client.read_together(false).await.unwrap())[1].0, b"v");
    });
}

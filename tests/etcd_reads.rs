//! Reads by etcd's API on a living cluster: none of them is older than it may be, and none of them
//! needs more than it must.

mod kvctl_home;

use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use kvctl_home::Home;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::{request_op, response_op};
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};
use tonic_prost::ProstCodec;

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TRANSACTION: &str = "/etcdserverpb.KV/Txn";

struct Client(Grpc<Channel>);

impl Client {
    async fn connect(address: &str) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        Client(Grpc::new(endpoint.connect().await.unwrap()))
    }

    async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.0.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let mut request = Request::new(request);
        request.set_timeout(Duration::from_secs(2));
        let codec = ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(path);
        self.0.unary(request, path, codec).await.map(|it| it.into_inner())
    }

    async fn put(&mut self, value: &str) -> Result<pb::PutResponse, Status> {
        let (key, value) = (Bytes::from("k"), Bytes::from(value.to_owned()));
        self.call(PUT, pb::PutRequest { key, value, ..Default::default() }).await
    }

    async fn get(&mut self, serializable: bool) -> Result<pb::RangeResponse, Status> {
        self.call(RANGE, get(serializable)).await
    }

    async fn read_together(&mut self, serializable: bool) -> Result<pb::TxnResponse, Status> {
        let range = || request_op::Request::RequestRange(get(serializable));
        let success = (0..2).map(|_| pb::RequestOp { request: Some(range()) }).collect();
        self.call(TRANSACTION, pb::TxnRequest { success, ..Default::default() }).await
    }
}

fn get(serializable: bool) -> pb::RangeRequest {
    pb::RangeRequest { key: Bytes::from("k"), serializable, ..Default::default() }
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

fn cluster() -> (Home, Vec<String>) {
    let home = Home::with(3);
    let addresses = home.ok(&["env", "-o", "name"]).lines().map(str::to_owned).collect();
    (home, addresses)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn every_node_reads_what_another_one_has_acknowledged() {
    let (_home, addresses) = cluster();
    runtime().block_on(async {
        let mut clients = Vec::new();
        for address in &addresses {
            clients.push(Client::connect(address).await);
        }
        for number in 0..60 {
            let new = number.to_string();
            let written = clients[number % 3].put(&new).await.unwrap().header.unwrap().revision;
            let read = clients[(number + 1) % 3].get(false).await.unwrap();
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
    let (home, addresses) = cluster();
    runtime().block_on(async {
        let mut client = Client::connect(&addresses[0]).await;
        client.put("v").await.unwrap();
        // It is here, as all acknowledged is after a linearizable read.
        assert_eq!(value(&client.get(false).await.unwrap()), b"v");
        home.ok(&["node", "pause", "2"]);
        home.ok(&["node", "pause", "3"]);
        assert_eq!(value(&client.get(true).await.unwrap()), b"v");
        let read = client.read_together(true).await.unwrap();
        assert_eq!(found(&read)[0].0, b"v");
        client.get(false).await.unwrap_err();
        client.read_together(false).await.unwrap_err();
        home.ok(&["node", "resume", "2"]);
        home.ok(&["node", "resume", "3"]);
        home.ok(&["cluster", "wait", "--ready"]);
        assert_eq!(value(&client.get(false).await.unwrap()), b"v");
        assert_eq!(found(&client.read_together(false).await.unwrap())[1].0, b"v");
    });
}

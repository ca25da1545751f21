//! A client of etcd's API that hides nothing, and clusters for it.

// Each test uses a part of it.
#![allow(dead_code)]

pub mod watching;

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use http::uri::PathAndQuery;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::alarm_request::AlarmAction;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::kvctl_home::{Home, wait_until};

/// What a test waits for comes within this, or never.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to one node. Its clones share it.
#[derive(Clone)]
pub struct Client {
    grpc: Grpc<Channel>,
    /// How long the server may take for a call, if not as long as it likes.
    timeout: Option<Duration>,
}

impl Client {
    pub async fn connect(address: &str) -> Client {
        Client::try_connect(address).await.unwrap()
    }

    pub async fn try_connect(address: &str) -> Result<Client, tonic::transport::Error> {
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect().await?;
        let grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
        Ok(Client { grpc, timeout: None })
    }

    pub fn with_timeout(self, timeout: Duration) -> Client {
        Client { timeout: Some(timeout), ..self }
    }

    pub async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let (mut grpc, codec) = (self.ready().await?, ProstCodec::<Q, A>::default());
        let mut request = Request::new(request);
        if let Some(timeout) = self.timeout {
            request.set_timeout(timeout);
        }
        let path = PathAndQuery::from_static(path);
        grpc.unary(request, path, codec).await.map(|it| it.into_inner())
    }

    pub async fn stream<Q, A>(
        &self,
        path: &'static str,
        requests: Request<impl Stream<Item = Q> + Send + 'static>,
    ) -> Result<Streaming<A>, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        let (mut grpc, codec) = (self.ready().await?, ProstCodec::<Q, A>::default());
        let path = PathAndQuery::from_static(path);
        grpc.streaming(requests, path, codec).await.map(|it| it.into_inner())
    }

    /// Says one thing on a stream, and no more.
    pub async fn ask<Q, A>(&self, path: &'static str, request: Q) -> Result<Streaming<A>, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.stream(path, Request::new(futures::stream::iter([request]))).await
    }

    async fn ready(&self) -> Result<Grpc<Channel>, Status> {
        let mut grpc = self.grpc.clone();
        grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        Ok(grpc)
    }

    pub async fn put(&self, request: pb::PutRequest) -> Result<pb::PutResponse, Status> {
        self.call("/etcdserverpb.KV/Put", request).await
    }

    /// Puts, which must succeed; the revision that it made.
    pub async fn set(&self, key: &str, value: &str) -> i64 {
        self.put(put(key, value)).await.unwrap().header.unwrap().revision
    }

    /// Deletes, which must succeed; the revision that it made.
    pub async fn delete(&self, key: &str) -> i64 {
        let key = Bytes::from(key.to_owned());
        let request = pb::DeleteRangeRequest { key, ..Default::default() };
        let deleted: pb::DeleteRangeResponse =
            self.call("/etcdserverpb.KV/DeleteRange", request).await.unwrap();
        deleted.header.unwrap().revision
    }

    pub async fn range(&self, request: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
        self.call("/etcdserverpb.KV/Range", request).await
    }

    pub async fn txn(&self, request: pb::TxnRequest) -> Result<pb::TxnResponse, Status> {
        self.call("/etcdserverpb.KV/Txn", request).await
    }

    pub async fn compact(&self, revision: i64) -> Result<pb::CompactionResponse, Status> {
        let request = pb::CompactionRequest { revision, physical: false };
        self.call("/etcdserverpb.KV/Compact", request).await
    }

    pub async fn members(&self, linearizable: bool) -> Result<Vec<pb::Member>, Status> {
        let request = pb::MemberListRequest { linearizable };
        let path = "/etcdserverpb.Cluster/MemberList";
        let list: pb::MemberListResponse = self.call(path, request).await?;
        assert_eq!(list.header.unwrap().revision, 0);
        Ok(list.members)
    }

    pub async fn alarm(
        &self,
        action: AlarmAction,
        member_id: u64,
        alarm: pb::AlarmType,
    ) -> Result<pb::AlarmResponse, Status> {
        let (action, alarm) = (action.into(), alarm.into());
        let request = pb::AlarmRequest { action, member_id, alarm };
        self.call("/etcdserverpb.Maintenance/Alarm", request).await
    }
}

pub fn put(key: &str, value: &str) -> pb::PutRequest {
    let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
    pb::PutRequest { key, value, ..Default::default() }
}

pub fn get(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { key: Bytes::from(key.to_owned()), ..Default::default() }
}

/// All that begin with it.
pub fn prefix(key: &str) -> pb::RangeRequest {
    pb::RangeRequest { range_end: end_of_prefix(key), ..get(key) }
}

/// The first key behind all that begin with it.
pub fn end_of_prefix(key: &str) -> Bytes {
    let mut end = key.to_owned().into_bytes();
    *end.last_mut().unwrap() += 1;
    end.into()
}

pub fn text(bytes: &Bytes) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What is expected of an error.
#[track_caller]
pub fn says<A: std::fmt::Debug>(refused: Result<A, Status>, code: Code, text: &str) {
    let status = refused.unwrap_err();
    assert_eq!((status.code(), status.message()), (code, text));
}

/// Asks again and again until what is told is as expected.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < end, "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A new cluster, and where its nodes serve.
pub fn cluster(nodes: u32) -> (Home, Vec<String>) {
    let home = Home::with(nodes);
    let addresses = addresses(&home);
    assert_eq!(addresses.len(), nodes as usize);
    (home, addresses)
}

/// Where the nodes of a cluster serve that knows all that this version does, its members by name
/// too.
pub fn addresses(home: &Home) -> Vec<String> {
    let addresses: Vec<String> =
        home.ok(&["env", "-o", "name"]).lines().map(str::to_owned).collect();
    let runtime = runtime();
    wait_until("each knows all", || {
        runtime.block_on(async {
            for address in &addresses {
                if !knows_all(&Client::connect(address).await, addresses.len()).await {
                    return false;
                }
            }
            true
        })
    });
    addresses
}

/// Alarms came with the names: this one is nobody's, and nothing changes.
async fn knows_all(client: &Client, count: usize) -> bool {
    let alarms = client.alarm(AlarmAction::Deactivate, 77, pb::AlarmType::Nospace).await.is_ok();
    let members = client.members(true).await.unwrap_or_default();
    alarms && members.len() == count && members.iter().all(|it| !it.client_ur_ls.is_empty())
}

pub async fn connect(addresses: &[String]) -> Vec<Client> {
    futures::future::join_all(addresses.iter().map(|address| Client::connect(address))).await
}

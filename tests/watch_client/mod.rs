//! A client of a living cluster that puts and watches.

// Each test uses a part of it.
#![allow(dead_code)]

use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use futures::stream::{FuturesUnordered, StreamExt};
use http::uri::PathAndQuery;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::watch_request::RequestUnion;
use kvraft::grpc::pb::mvccpb;
use tonic::client::Grpc;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::kvctl_home::{Home, wait_until};

/// How long a message may take.
pub const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Clone)]
pub struct Client {
    grpc: Grpc<Channel>,
}

/// A stream, and all that came of it is taken in its order.
pub struct Watching {
    /// Without it, the client's half is closed.
    pub requests: Option<UnboundedSender<pb::WatchRequest>>,
    answers: Streaming<pb::WatchResponse>,
}

impl Client {
    pub async fn connect(address: &str) -> Client {
        let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
        let grpc = Grpc::new(endpoint.connect().await.unwrap());
        Client { grpc: grpc.max_decoding_message_size(usize::MAX) }
    }

    pub async fn call<Q, A>(&mut self, path: &'static str, request: Q) -> Result<A, Status>
    where
        Q: prost::Message + Send + Sync + 'static,
        A: prost::Message + Default + Send + Sync + 'static,
    {
        self.grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let codec = ProstCodec::<Q, A>::default();
        let path = PathAndQuery::from_static(path);
        self.grpc.unary(Request::new(request), path, codec).await.map(|it| it.into_inner())
    }

    /// The revision that it made.
    pub async fn put(&mut self, key: &str, value: &str) -> i64 {
        let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
        let put = pb::PutRequest { key, value, ..Default::default() };
        let done: pb::PutResponse = self.call("/etcdserverpb.KV/Put", put).await.unwrap();
        done.header.unwrap().revision
    }

    /// Puts `key/0` to `key/(count - 1)`, many at once; the last revision.
    pub async fn put_many(&self, key: &str, count: usize) -> i64 {
        const AT_ONCE: usize = 64;
        let (mut last, mut under_way) = (0, FuturesUnordered::new());
        for number in 0..count {
            let (mut client, key) = (self.clone(), format!("{key}/{number}"));
            under_way.push(async move { client.put(&key, "").await });
            if under_way.len() == AT_ONCE {
                last = under_way.next().await.unwrap().max(last);
            }
        }
        while let Some(revision) = under_way.next().await {
            last = revision.max(last);
        }
        last
    }

    pub async fn delete(&mut self, key: &str) -> i64 {
        let key = Bytes::from(key.to_owned());
        let delete = pb::DeleteRangeRequest { key, ..Default::default() };
        let path = "/etcdserverpb.KV/DeleteRange";
        let done: pb::DeleteRangeResponse = self.call(path, delete).await.unwrap();
        done.header.unwrap().revision
    }

    pub async fn watch(&mut self, hasleader: bool) -> Result<Watching, Status> {
        self.grpc.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
        let (requests, outgoing) = unbounded();
        let mut request = Request::new(outgoing);
        if hasleader {
            request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        }
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let codec = ProstCodec::<pb::WatchRequest, pb::WatchResponse>::default();
        let answers = self.grpc.streaming(request, path, codec).await?.into_inner();
        Ok(Watching { requests: Some(requests), answers })
    }
}

impl Watching {
    pub fn ask(&self, request: RequestUnion) {
        let request = pb::WatchRequest { request_union: Some(request) };
        self.requests.as_ref().unwrap().unbounded_send(request).unwrap();
    }

    pub fn create(&self, request: pb::WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(request));
    }

    /// Creates a watch, and waits until it is there; the revision in its header.
    pub async fn created(&mut self, request: pb::WatchCreateRequest) -> i64 {
        self.create(request);
        let created = self.next().await.unwrap();
        assert!(created.created && !created.canceled, "{created:?}");
        created.header.unwrap().revision
    }

    /// The next message, or how the stream ended.
    pub async fn next(&mut self) -> Result<pb::WatchResponse, Status> {
        let next = tokio::time::timeout(PATIENCE, self.answers.message());
        let next = next.await.expect("a message in time")?;
        next.ok_or_else(|| Status::ok("the end"))
    }

    /// So many events, and which watch each is for.
    pub async fn events(&mut self, count: usize) -> Vec<(i64, mvccpb::Event)> {
        let mut events = Vec::new();
        while events.len() < count {
            let message = self.next().await.unwrap();
            assert!(!message.canceled && !message.created, "{message:?}");
            let id = message.watch_id;
            events.extend(message.events.into_iter().map(|event| (id, event)));
        }
        assert_eq!(events.len(), count);
        events
    }

    /// The revisions of so many events, which must be of one watch.
    pub async fn revisions(&mut self, count: usize) -> Vec<i64> {
        let revision = |(_, event): (i64, mvccpb::Event)| event.kv.unwrap().mod_revision;
        self.events(count).await.into_iter().map(revision).collect()
    }
}

pub fn key(key: &str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: Bytes::from(key.to_owned()), ..Default::default() }
}

/// All that begin with it.
pub fn prefix(start: &str) -> pb::WatchCreateRequest {
    let mut end = start.to_owned().into_bytes();
    *end.last_mut().unwrap() += 1;
    pb::WatchCreateRequest { range_end: end.into(), ..key(start) }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A cluster whose nodes are of the version that has a past, and where they serve.
pub fn cluster(nodes: u32) -> (Home, Vec<String>) {
    let home = Home::with(nodes);
    let addresses: Vec<String> =
        home.ok(&["env", "-o", "name"]).lines().map(str::to_owned).collect();
    let runtime = runtime();
    for address in &addresses {
        wait_until("a node can be watched", || {
            let created = runtime.block_on(async {
                let mut watching = Client::connect(address).await.watch(false).await.ok()?;
                watching.create(key("ready"));
                watching.next().await.ok()
            });
            created.is_some_and(|message| message.created)
        });
    }
    (home, addresses)
}

//! Watches, and all that comes of them in its order.

use bytes::Bytes;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::watch_request::RequestUnion;
use kvraft::grpc::pb::mvccpb;
use tonic::metadata::MetadataValue;
use tonic::{Request, Status, Streaming};

use super::{Client, PATIENCE, end_of_prefix};

/// A stream, and all that came of it is taken in its order.
pub struct Watching {
    /// Without it, the client's half is closed.
    pub requests: Option<UnboundedSender<pb::WatchRequest>>,
    answers: Streaming<pb::WatchResponse>,
}

impl Client {
    pub async fn watch(&self, hasleader: bool) -> Result<Watching, Status> {
        let (requests, outgoing) = unbounded();
        let mut request = Request::new(outgoing);
        if hasleader {
            request.metadata_mut().insert("hasleader", MetadataValue::from_static("true"));
        }
        let answers = self.stream("/etcdserverpb.Watch/Watch", request).await?;
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
    pb::WatchCreateRequest { range_end: end_of_prefix(start), ..key(start) }
}

//! etcd's API over gRPC, as a load generator speaks it: the same code and the same kind of
//! connections to etcd and to kvraft.
//!
//! It stands right on the HTTP/2 library, without layers for balancing, retrying or a task for each
//! request: what the generator spends is taken from the machine that is measured, and makes every
//! ratio smaller.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::header::{CONTENT_TYPE, TE};
use http::uri::{self, Authority, PathAndQuery, Scheme, Uri};
use http::{HeaderMap, HeaderValue, Request, Response};
use kvraft::client::load::Target;
use kvraft::grpc::Gather;
use kvraft::grpc::pb::etcdserverpb as pb;
use kvraft::grpc::pb::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use kvraft::grpc::pb::etcdserverpb::{request_op, response_op};
use tokio::net::TcpStream;

use crate::system::Swap;

const PUT: &str = "/etcdserverpb.KV/Put";
const RANGE: &str = "/etcdserverpb.KV/Range";
const TRANSACTION: &str = "/etcdserverpb.KV/Txn";
const COMPACT: &str = "/etcdserverpb.KV/Compact";
const STATUS: &str = "/etcdserverpb.Maintenance/Status";

/// A call that is not answered by then has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// One byte of "not compressed", four of length.
const PREFIX: usize = 5;

/// Bytes that a server may send ahead: as much as hyper's clients allow.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const CONNECTION_WINDOW: u32 = 5 * 1024 * 1024;

/// Connections to each member that all clients share: gRPC interleaves their requests.
const TO_EACH: usize = 4;

/// An HTTP/2 connection; many requests may be under way in it.
#[derive(Clone)]
pub struct Connection {
    requests: SendRequest<Bytes>,
    authority: Authority,
}

/// Connections for so many clients, to each of `addresses` in turn. The leader's comes first: what
/// a single client asks then takes the same way in both systems, whoever was elected.
pub async fn connections(
    mut addresses: Vec<String>,
    leader: usize,
    clients: usize,
) -> Result<Vec<Connection>> {
    addresses.rotate_left(leader);
    let mut connections = Vec::new();
    for address in addresses.iter().cycle().take(clients.min(TO_EACH * addresses.len())) {
        connections.push(Connection::open(address).await?);
    }
    Ok(connections)
}

impl Connection {
    /// To `address`, as `127.0.0.1:…`.
    pub async fn open(address: &str) -> Result<Connection> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let (requests, connection) = h2::client::Builder::new()
                .initial_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .handshake(Gather(stream))
                .await?;
            // When it breaks, whoever waits for an answer is told.
            tokio::spawn(connection);
            anyhow::Ok(Connection { requests, authority: address.parse()? })
        };
        let connected = tokio::time::timeout(PATIENCE, connect).await;
        connected.with_context(|| format!("{address} does not answer"))?
    }

    pub async fn put_one(&self, key: Bytes, value: Bytes) -> Result<i64, String> {
        let request = pb::PutRequest { key, value, ..Default::default() };
        let response: pb::PutResponse = self.call(PUT, request).await?;
        revision(response.header).ok_or_else(|| "a write was acknowledged as of nothing".to_owned())
    }

    pub async fn get_one(&self, key: Bytes, serializable: bool) -> Result<Option<Bytes>, String> {
        let request = pb::RangeRequest { key, serializable, ..Default::default() };
        let mut response: pb::RangeResponse = self.call(RANGE, request).await?;
        Ok(response.kvs.pop().map(|found| found.value))
    }

    /// What was before `revision` may go.
    pub async fn compact(&self, revision: i64) -> Result<(), String> {
        let request = pb::CompactionRequest { revision, physical: false };
        self.call::<_, pb::CompactionResponse>(COMPACT, request).await.map(drop)
    }

    pub async fn status(&self) -> Result<pb::StatusResponse, String> {
        self.call(STATUS, pb::StatusRequest {}).await
    }

    async fn call<Q, A>(&self, path: &'static str, request: Q) -> Result<A, String>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        let answer = tokio::time::timeout(PATIENCE, self.exchange(path, request));
        answer.await.map_err(|_| format!("{path} was not answered within {PATIENCE:?}"))?
    }

    async fn exchange<Q, A>(&self, path: &'static str, request: Q) -> Result<A, String>
    where
        Q: prost::Message,
        A: prost::Message + Default,
    {
        let message = framed(&request)?;
        let answer = self.send(path, message).await.map_err(|error| format!("{path}: {error}"))?;
        let message = received(answer).await.map_err(|error| format!("{path}: {error}"))?;
        A::decode(&message[..]).map_err(|error| format!("{path}: {error}"))
    }

    /// Sends a message to a method; what is answered.
    async fn send(&self, path: &'static str, message: Bytes) -> Result<Response<RecvStream>> {
        let mut parts = uri::Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(PathAndQuery::from_static(path));
        let request = Request::post(Uri::from_parts(parts)?)
            .header(CONTENT_TYPE, HeaderValue::from_static("application/grpc"))
            .header(TE, HeaderValue::from_static("trailers"))
            .body(())?;
        let mut requests = self.requests.clone().ready().await?;
        let (response, mut body) = requests.send_request(request, false)?;
        body.send_data(message, true)?;
        Ok(response.await?)
    }
}

/// The message that an answer carries.
async fn received(answer: Response<RecvStream>) -> Result<Bytes> {
    let (head, mut body) = answer.into_parts();
    let mut whole = Bytes::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        // Nearly all come in one.
        whole = if whole.is_empty() { piece } else { [whole, piece].concat().into() };
    }
    let trailers = body.trailers().await?;
    if let Some(refused) = refusal(trailers.as_ref().unwrap_or(&head.headers)) {
        bail!(refused);
    }
    ensure!(whole.len() >= PREFIX, "an answer without a message");
    Ok(whole.split_off(PREFIX))
}

/// A message as gRPC puts it into a body.
fn framed(message: &impl prost::Message) -> Result<Bytes, String> {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(PREFIX + length);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(length).map_err(|_| "a message is too large".to_owned())?);
    message.encode(&mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes.freeze())
}

/// Why a call failed, if it did.
fn refusal(trailers: &HeaderMap) -> Option<String> {
    let text = |name| trailers.get(name).and_then(|it| it.to_str().ok()).unwrap_or("missing");
    match text("grpc-status") {
        "0" => None,
        code => Some(format!("status {code}: {}", text("grpc-message"))),
    }
}

fn revision(header: Option<pb::ResponseHeader>) -> Option<i64> {
    header.map(|it| it.revision).filter(|revision| *revision > 0)
}

impl Target for Connection {
    async fn put(&self, key: Bytes, value: Bytes) -> Result<(), String> {
        self.put_one(key, value).await.map(drop)
    }

    async fn get(&self, key: Bytes, stale: bool) -> Result<(), String> {
        // A store that answers without the value must not win.
        match self.get_one(key, stale).await? {
            Some(value) if !value.is_empty() => Ok(()),
            _ => Err("a key that was written is not there".to_owned()),
        }
    }
}

impl Swap for Connection {
    async fn swap(&self, key: Bytes, since: u64, value: Bytes) -> Result<Result<u64, u64>, String> {
        let compare = pb::Compare {
            result: CompareResult::Equal.into(),
            target: CompareTarget::Mod.into(),
            key: key.clone(),
            target_union: Some(TargetUnion::ModRevision(since.cast_signed())),
            ..Default::default()
        };
        let put = pb::PutRequest { key: key.clone(), value, ..Default::default() };
        let get = pb::RangeRequest { key, ..Default::default() };
        let operation = |it| vec![pb::RequestOp { request: Some(it) }];
        let request = pb::TxnRequest {
            compare: vec![compare],
            success: operation(request_op::Request::RequestPut(put)),
            failure: operation(request_op::Request::RequestRange(get)),
        };
        let response: pb::TxnResponse = self.call(TRANSACTION, request).await?;
        let new = revision(response.header).ok_or("a transaction was done at no revision")?;
        if response.succeeded {
            return Ok(Ok(new.cast_unsigned()));
        }
        match response.responses.into_iter().next().and_then(|it| it.response) {
            Some(response_op::Response::ResponseRange(mut found)) => {
                let found = found.kvs.pop().map_or(0, |it| it.mod_revision);
                Ok(Err(found.cast_unsigned()))
            }
            _ => Err("a transaction that did not hold does not say what is there".to_owned()),
        }
    }
}

//! `etcdserverpb.Lease`: grants, revocations, keep-alives.
//!
//! What a lease has left, only the leader knows: the node relays such questions like a write.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use tonic::body::Body;
use tonic::{Code, Status, Streaming};

use super::call::{Call, Replies, TIMEOUT, reply};
use super::convert::{signed, unsigned};
use super::header::header;
use super::kv::{Kv, another_kind, decoded};
use super::pb::etcdserverpb as pb;
use super::status;
use crate::kv::limits::MAX_LEASE_TTL;
use crate::kv::{Answer, Operation, Outcome, Query, Refusal};
use crate::replica::{Consistency, LeaseAsk, Refused, Request, Response};
use crate::types::LeaseId;

/// Seconds that a lease lasts at least: etcd's, with its default election time-out.
const MIN_TTL: u64 = 2;

/// An id that was drawn and is taken is drawn again so often.
const DRAWS: u32 = 3;

/// Keep-alives of one stream under way at once; the next is not read until one is answered.
const PIPELINE: usize = 64;

/// Serves one connection.
pub struct Leases {
    pub kv: Rc<Kv>,
}

impl Leases {
    pub async fn route(self: Rc<Self>, method: &str, call: Call) -> Option<http::Response<Body>> {
        let it = self;
        Some(match method {
            "LeaseGrant" => {
                call.unary(async move |message, time| it.grant(message, time).await).await
            }
            "LeaseRevoke" => {
                call.unary(async move |message, time| it.revoke(message, time).await).await
            }
            "LeaseKeepAlive" => {
                call.stream(async move |messages, replies| it.keep_alive(messages, replies).await)
                    .await
            }
            "LeaseTimeToLive" => {
                call.unary(async move |message, time| it.time_to_live(message, time).await).await
            }
            "LeaseLeases" => call.unary(async move |message, _| it.leases(message)).await,
            _ => return None,
        })
    }

    async fn grant(
        &self,
        request: pb::LeaseGrantRequest,
        timeout: Duration,
    ) -> Result<pb::LeaseGrantResponse, Status> {
        if unsigned(request.ttl) > MAX_LEASE_TTL {
            return Err(status::too_large_ttl());
        }
        let ttl = unsigned(request.ttl).max(MIN_TTL);
        let (id, outcome) = self.begin(request.id, ttl, timeout).await?;
        Ok(pb::LeaseGrantResponse {
            header: Some(header(&*self.kv.backend, outcome.revision)),
            id,
            ttl: signed(ttl),
            error: String::new(),
        })
    }

    /// Grants a lease, of that id or, if it is 0, of a positive one that nobody has.
    pub async fn begin(
        &self,
        id: i64,
        ttl: u64,
        timeout: Duration,
    ) -> Result<(i64, Outcome), Status> {
        let mut draws = 0;
        loop {
            let drawn = if id == 0 { rand::random_range(1..=i64::MAX) } else { id };
            let operation = Operation::LeaseGrant { id: name(drawn), ttl };
            draws += 1;
            match self.kv.write(operation, timeout).await {
                Err(error)
                    if id == 0 && draws < DRAWS && error.code() == Code::FailedPrecondition => {}
                granted => return granted.map(|outcome| (drawn, outcome)),
            }
        }
    }

    async fn revoke(
        &self,
        request: pb::LeaseRevokeRequest,
        timeout: Duration,
    ) -> Result<pb::LeaseRevokeResponse, Status> {
        let operation = Operation::LeaseRevoke { id: name(request.id) };
        let outcome = self.kv.write(operation, timeout).await?;
        Ok(pb::LeaseRevokeResponse { header: Some(header(&*self.kv.backend, outcome.revision)) })
    }

    /// Answers in the order of the requests, until the last has its answer.
    async fn keep_alive(
        &self,
        mut requests: Streaming<pb::LeaseKeepAliveRequest>,
        replies: Replies<pb::LeaseKeepAliveResponse>,
    ) -> Result<(), Status> {
        let mut under_way = FuturesOrdered::new();
        let mut is_open = true;
        loop {
            tokio::select! {
                request = requests.message(), if is_open && under_way.len() < PIPELINE => {
                    match request? {
                        Some(request) => under_way.push_back(self.renew(request.id)),
                        None => is_open = false,
                    }
                }
                Some(renewed) = under_way.next() => {
                    if reply(&replies, renewed?).await.is_err() {
                        return Ok(());
                    }
                }
                else => return Ok(()),
            }
        }
    }

    async fn renew(&self, id: i64) -> Result<pb::LeaseKeepAliveResponse, Status> {
        let answer = self.ask(id, LeaseAsk::KeepAlive, TIMEOUT).await?;
        Ok(pb::LeaseKeepAliveResponse {
            header: Some(header(&*self.kv.backend, answer.revision)),
            id,
            ttl: answer.leases.first().map_or(0, |lease| signed(lease.granted)),
        })
    }

    async fn time_to_live(
        &self,
        request: pb::LeaseTimeToLiveRequest,
        timeout: Duration,
    ) -> Result<pb::LeaseTimeToLiveResponse, Status> {
        let id = request.id;
        let mut answer = self.ask(id, LeaseAsk::TimeToLive, timeout).await?;
        let mut keys = Vec::new();
        if request.keys && !answer.leases.is_empty() {
            match self.keys(name(id), timeout).await {
                Ok(found) => keys = found,
                // It has ended since.
                Err(error) if error.code() == Code::NotFound => answer.leases.clear(),
                Err(error) => return Err(error),
            }
        }
        let lease = answer.leases.first();
        Ok(pb::LeaseTimeToLiveResponse {
            header: Some(header(&*self.kv.backend, answer.revision)),
            id,
            ttl: lease.map_or(-1, |lease| signed(lease.remaining)),
            granted_ttl: lease.map_or(0, |lease| signed(lease.granted)),
            keys,
        })
    }

    /// All keys of a lease, answer by answer of the replica.
    async fn keys(&self, id: LeaseId, timeout: Duration) -> Result<Vec<Bytes>, Status> {
        let mut keys: Vec<Bytes> = Vec::new();
        loop {
            let after = keys.last().cloned().unwrap_or_default();
            let query = Query::Lease { id, keys: true, after };
            let answer = self.kv.query(query, Consistency::Linearizable, timeout).await?;
            let found = answer.leases.into_iter().flat_map(|lease| lease.keys);
            let before = keys.len();
            keys.extend(found);
            if !answer.more || keys.len() == before {
                return Ok(keys);
            }
        }
    }

    fn leases(&self, _: pb::LeaseLeasesRequest) -> Result<pb::LeaseLeasesResponse, Status> {
        let (revision, leases) = self.kv.backend.leases();
        Ok(pb::LeaseLeasesResponse {
            header: Some(header(&*self.kv.backend, revision)),
            leases: leases.into_iter().map(|id| pb::LeaseStatus { id: id.0 as i64 }).collect(),
        })
    }

    /// Asks the leader. Nothing about a lease that is not there.
    async fn ask(&self, id: i64, ask: LeaseAsk, timeout: Duration) -> Result<Answer, Status> {
        let request = Request::Lease { id: name(id), ask };
        let answer = match self.kv.backend.ask(request, timeout).await {
            Response::Answer(bytes) => decoded(Answer::decode(&bytes))?,
            // A leader of an older program does not know the question.
            Response::Refused { why: Refused::Invalid, .. } => return Err(status::not_capable()),
            Response::Written(_) => return Err(another_kind()),
            other => return Err(status::of_response(&other)),
        };
        match answer.refused {
            None | Some(Refusal::LeaseNotFound) => Ok(answer),
            Some(refusal) => Err(status::of_refusal(refusal)),
        }
    }
}

/// Any 64 bits are a lease's name.
pub fn name(id: i64) -> LeaseId {
    LeaseId(id as u64)
}

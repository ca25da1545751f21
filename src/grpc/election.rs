//! `v3electionpb.Election`: leaders that are held by leases, and what they announce.

use std::rc::Rc;

use bytes::Bytes;
use tonic::Status;
use tonic::body::Body;

use super::call::{Call, Replies, TIMEOUT, reply};
use super::convert::{key_value, signed};
use super::header::header;
use super::kv::Kv;
use super::lease::{Leases, name};
use super::lock::lease;
use super::observing::{Observed, Watched};
use super::pb::v3electionpb as pb;
use super::turns::{Turns, delete_created_at, inside, is_created_at};
use crate::kv::{KeyValue, PutRequest, RequestOp, Transaction};
use crate::types::Revision;

/// Serves one connection.
pub struct Election {
    pub kv: Rc<Kv>,
    pub leases: Rc<Leases>,
}

impl Election {
    pub async fn route(self: Rc<Self>, method: &str, call: Call) -> Option<http::Response<Body>> {
        let it = self;
        Some(match method {
            "Campaign" => {
                call.patient(async move |message, _| it.campaign(message).await.map_err(inside))
                    .await
            }
            "Proclaim" => {
                call.unary(async move |message, _| it.proclaim(message).await.map_err(inside)).await
            }
            "Leader" => {
                call.unary(async move |message, _| it.leader(message).await.map_err(inside)).await
            }
            "Observe" => {
                call.answers(async move |message, replies| {
                    it.observe(message, replies).await.map_err(inside)
                })
                .await
            }
            "Resign" => {
                call.unary(async move |message, _| it.resign(message).await.map_err(inside)).await
            }
            _ => return None,
        })
    }

    async fn campaign(&self, request: pb::CampaignRequest) -> Result<pb::CampaignResponse, Status> {
        let lease = lease(&self.leases, request.lease).await?;
        let turns = Turns::new(&self.kv, &request.name);
        let mut joined = turns.join(lease, request.value).await?;
        let leader = pb::LeaderKey {
            name: request.name,
            key: joined.place.key.clone(),
            rev: signed(joined.place.created.0),
            lease,
        };
        if !joined.is_first {
            turns.wait(&joined.place).await?;
            // etcd does not look, and tells a candidate whose lease has ended that it leads.
            if !joined.place.is_there().await?.1 {
                return Err(not_leader());
            }
        }
        joined.place.keep();
        let header = Some(header(&*self.kv.backend, joined.revision));
        Ok(pb::CampaignResponse { header, leader: Some(leader) })
    }

    async fn proclaim(&self, request: pb::ProclaimRequest) -> Result<pb::ProclaimResponse, Status> {
        let leader = request.leader.ok_or_else(no_leader_field)?;
        let lease = lease(&self.leases, leader.lease).await?;
        let revision = self.announce(&leader, lease, request.value).await?;
        Ok(pb::ProclaimResponse { header: Some(header(&*self.kv.backend, revision)) })
    }

    /// Gives the leader's key a new value, if it is still the one of that creation.
    async fn announce(
        &self,
        leader: &pb::LeaderKey,
        lease: i64,
        value: Bytes,
    ) -> Result<Revision, Status> {
        let (key, created) = key_of(leader)?;
        let Some(created) = created else { return Err(not_leader()) };
        let compare = vec![is_created_at(&key, created)];
        let put = PutRequest { key, value, lease: name(lease), ..PutRequest::default() };
        let success = vec![RequestOp::Put(put)];
        let transaction = Transaction { compare, success, failure: Vec::new() };
        let (revision, result) = self.kv.transact(transaction, TIMEOUT).await?;
        if result.succeeded { Ok(revision) } else { Err(not_leader()) }
    }

    async fn leader(&self, request: pb::LeaderRequest) -> Result<pb::LeaderResponse, Status> {
        match Turns::new(&self.kv, &request.name).first().await? {
            (revision, Some(leader)) => Ok(self.leads(revision, leader)),
            (_, None) => Err(Status::unknown("election: no leader")),
        }
    }

    fn leads(&self, revision: Revision, leader: KeyValue) -> pb::LeaderResponse {
        let header = Some(header(&*self.kv.backend, revision));
        pb::LeaderResponse { header, kv: Some(key_value(leader)) }
    }

    /// The leader, whatever its key is given, and the next leader, until the client has enough.
    async fn observe(
        &self,
        request: pb::LeaderRequest,
        replies: Replies<pb::LeaderResponse>,
    ) -> Result<(), Status> {
        let turns = Turns::new(&self.kv, &request.name);
        // The key that was told last, and as of when.
        let mut told = (Bytes::new(), Revision(0));
        loop {
            let (revision, leader) = turns.first_in_time().await?;
            let (leader, revision) = match leader {
                Some(leader) => (leader, revision),
                None => {
                    let mut all = Watched::all(&*self.kv.backend, &turns, revision)?;
                    let Some(first) = all.next_put().await else { continue };
                    let revision = first.mod_revision;
                    (first, revision)
                }
            };
            let mut watched = Watched::key(&*self.kv.backend, &leader.key, revision)?;
            // After a gap it may be what was told before it.
            let leads = (leader.key.clone(), leader.mod_revision);
            if leads != told {
                told = leads;
                if reply(&replies, self.leads(revision, leader)).await.is_err() {
                    return Ok(());
                }
            }
            while let Observed::Put(item) = watched.next().await {
                told.1 = item.mod_revision;
                if reply(&replies, self.leads(told.1, item)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    async fn resign(&self, request: pb::ResignRequest) -> Result<pb::ResignResponse, Status> {
        let leader = request.leader.ok_or_else(no_leader_field)?;
        let (key, created) = key_of(&leader)?;
        // No key was created so late.
        let transaction = delete_created_at(&key, created.unwrap_or(Revision(u64::MAX)));
        let (revision, _) = self.kv.transact(transaction, TIMEOUT).await?;
        Ok(pb::ResignResponse { header: Some(header(&*self.kv.backend, revision)) })
    }
}

/// A leader's key, and when it was created; at no time, if that is below zero.
fn key_of(leader: &pb::LeaderKey) -> Result<(Bytes, Option<Revision>), Status> {
    if leader.key.is_empty() {
        return Err(super::status::empty_key());
    }
    Ok((leader.key.clone(), u64::try_from(leader.rev).ok().map(Revision)))
}

fn not_leader() -> Status {
    Status::unknown("election: not leader")
}

fn no_leader_field() -> Status {
    Status::unknown("\"leader\" field must be provided")
}

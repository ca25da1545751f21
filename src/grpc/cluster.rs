//! `etcdserverpb.Cluster`: who the members are, and how that changes.
//!
//! Any member takes a change and hands it to the leader, who judges it as etcd would
//! ([`replica::members`](crate::replica::members)).

use std::rc::Rc;
use std::time::Duration;

use tonic::Status;
use tonic::body::Body;

use super::backend::Backend;
use super::call::Call;
use super::header::header;
use super::kv::{Kv, another_kind};
use super::pb::etcdserverpb as pb;
use super::{member, status};
use crate::kv::version::MEMBERS_ARE_KNOWN;
use crate::replica::{MemberOrder, MemberResult, Request, Response};
use crate::types::{NodeId, Revision};

/// Serves one connection.
pub struct Cluster {
    pub backend: Rc<dyn Backend>,
    pub kv: Rc<Kv>,
}

impl Cluster {
    pub async fn route(self: Rc<Self>, method: &str, call: Call) -> Option<http::Response<Body>> {
        let it = self;
        Some(match method {
            "MemberList" => call.unary(async move |m, time| it.list(m, time).await).await,
            "MemberAdd" => call.unary(async move |m, time| it.add(m, time).await).await,
            "MemberPromote" => call.unary(async move |m, time| it.promote(m, time).await).await,
            "MemberRemove" => call.unary(async move |m, time| it.remove(m, time).await).await,
            "MemberUpdate" => call.unary(async move |m, time| it.update(m, time).await).await,
            _ => return None,
        })
    }

    async fn list(
        &self,
        request: pb::MemberListRequest,
        timeout: Duration,
    ) -> Result<pb::MemberListResponse, Status> {
        if request.linearizable {
            self.kv.catch_up(timeout).await?;
        }
        Ok(pb::MemberListResponse { header: self.header(), members: self.members() })
    }

    async fn add(
        &self,
        request: pb::MemberAddRequest,
        timeout: Duration,
    ) -> Result<pb::MemberAddResponse, Status> {
        let address = member::address_of(&request.peer_ur_ls)?;
        let order = MemberOrder::Add { address, learner: request.is_learner };
        let (node, members) = self.change(order, timeout).await?;
        let member = members.iter().find(|member| member.id == node.0).cloned();
        Ok(pb::MemberAddResponse { header: self.header(), member, members })
    }

    async fn promote(
        &self,
        request: pb::MemberPromoteRequest,
        timeout: Duration,
    ) -> Result<pb::MemberPromoteResponse, Status> {
        let order = MemberOrder::Promote { node: somebody(request.id)? };
        let (_, members) = self.change(order, timeout).await?;
        Ok(pb::MemberPromoteResponse { header: self.header(), members })
    }

    async fn remove(
        &self,
        request: pb::MemberRemoveRequest,
        timeout: Duration,
    ) -> Result<pb::MemberRemoveResponse, Status> {
        let order = MemberOrder::Remove { node: somebody(request.id)? };
        let (_, members) = self.change(order, timeout).await?;
        Ok(pb::MemberRemoveResponse { header: self.header(), members })
    }

    async fn update(
        &self,
        request: pb::MemberUpdateRequest,
        timeout: Duration,
    ) -> Result<pb::MemberUpdateResponse, Status> {
        let node = somebody(request.id)?;
        // As in etcd, the member is looked for before the URLs are looked at.
        if !self.members().iter().any(|member| member.id == node.0) {
            self.kv.catch_up(timeout).await?;
            if !self.members().iter().any(|member| member.id == node.0) {
                return Err(no_such_member());
            }
        }
        let address = member::address_of(&request.peer_ur_ls)?;
        let (_, members) = self.change(MemberOrder::Update { node, address }, timeout).await?;
        Ok(pb::MemberUpdateResponse { header: self.header(), members })
    }

    /// Has the leader do it; whom it was done to, and the members then.
    async fn change(
        &self,
        order: MemberOrder,
        timeout: Duration,
    ) -> Result<(NodeId, Vec<pb::Member>), Status> {
        let state = self.backend.state().ok_or_else(status::no_leader)?;
        if state.version() < MEMBERS_ARE_KNOWN {
            return Err(status::not_capable());
        }
        let removes_own = order == MemberOrder::Remove { node: self.backend.identity().node };
        match self.backend.ask(Request::Member(order), timeout).await {
            Response::Member(MemberResult::Done { node }) => {
                // The leader has applied it, and this member may be behind. One that is removed
                // itself hears nothing any more.
                if !removes_own {
                    self.kv.catch_up(timeout).await?;
                }
                Ok((node, self.members()))
            }
            Response::Member(MemberResult::Refused(why)) => Err(status::of_member_refusal(why)),
            Response::Written(_) | Response::Answer(_) => Err(another_kind()),
            other => Err(status::of_response(&other)),
        }
    }

    fn members(&self) -> Vec<pb::Member> {
        let (status, state) = (self.backend.status(), self.backend.state());
        member::list(&status.consensus.configuration, state.as_ref(), self.backend.identity())
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        Some(header(&*self.backend, Revision(0)))
    }
}

/// Zero is nobody.
fn somebody(id: u64) -> Result<NodeId, Status> {
    if id == 0 { Err(no_such_member()) } else { Ok(NodeId(id)) }
}

fn no_such_member() -> Status {
    status::of_member_refusal(crate::replica::MemberRefusal::NotFound)
}

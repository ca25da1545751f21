//! `etcdserverpb.Cluster`, as far as it is there: who the members are.

use std::rc::Rc;

use tonic::Status;
use tonic::body::Body;

use super::backend::Backend;
use super::call::Call;
use super::header::header;
use super::pb::etcdserverpb as pb;
use crate::types::{NodeId, Revision};

/// Serves one connection.
pub struct Cluster {
    pub backend: Rc<dyn Backend>,
}

impl Cluster {
    pub async fn route(self: Rc<Self>, method: &str, call: Call) -> Option<http::Response<Body>> {
        Some(match method {
            "MemberList" => call.unary(async move |message, _| self.member_list(message)).await,
            _ => return None,
        })
    }

    /// Every member; of the others, this one does not know where they serve clients.
    pub fn member_list(&self, _: pb::MemberListRequest) -> Result<pb::MemberListResponse, Status> {
        let (status, identity) = (self.backend.status(), self.backend.identity());
        let configuration = &status.consensus.configuration;
        let member = |id: NodeId| pb::Member {
            id: id.0,
            name: format!("node-{id}"),
            peer_ur_ls: Vec::new(),
            client_ur_ls: match id == identity.node {
                true => vec![identity.url.clone()],
                false => Vec::new(),
            },
            is_learner: configuration.learners.contains(&id),
        };
        Ok(pb::MemberListResponse {
            header: Some(header(&*self.backend, Revision(0))),
            members: configuration.members().into_iter().map(member).collect(),
        })
    }
}

//! `etcdserverpb.Maintenance` and `Cluster`, as far as they are there: how the member is.

use std::rc::Rc;

use tonic::Status;

use super::backend::Backend;
use super::convert::signed;
use super::header::header;
use super::pb::etcdserverpb as pb;
use crate::types::{NodeId, Revision};

/// The version of etcd whose answers these are. Clients parse it.
const ETCD_VERSION: &str = "3.5.21";

/// Serves one connection.
pub struct Maintenance {
    pub backend: Rc<dyn Backend>,
}

impl Maintenance {
    pub fn status(&self, _: pb::StatusRequest) -> Result<pb::StatusResponse, Status> {
        let status = self.backend.status();
        let core = &status.consensus;
        let mut errors = Vec::new();
        if core.leader.is_none() {
            errors.push("etcdserver: no leader".to_owned());
        }
        Ok(pb::StatusResponse {
            header: Some(header(&*self.backend, status.revision)),
            version: ETCD_VERSION.to_owned(),
            db_size: signed(status.log.disk_bytes),
            leader: core.leader.map_or(0, |leader| leader.0),
            raft_index: core.commit_index.0,
            raft_term: core.term.0,
            raft_applied_index: status.machine_applied.0,
            errors,
            db_size_in_use: signed(status.bytes + status.past_bytes),
            is_learner: core.configuration.learners.contains(&core.id),
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

//! `etcdserverpb.Maintenance`, as far as it is there: how the member is.

use std::rc::Rc;

use tonic::Status;
use tonic::body::Body;

use super::backend::Backend;
use super::call::Call;
use super::convert::signed;
use super::header::header;
use super::pb::etcdserverpb as pb;

/// The version of etcd whose answers these are. Clients parse it.
pub const ETCD_VERSION: &str = "3.5.21";

/// Serves one connection.
pub struct Maintenance {
    pub backend: Rc<dyn Backend>,
}

impl Maintenance {
    pub async fn route(self: Rc<Self>, method: &str, call: Call) -> Option<http::Response<Body>> {
        Some(match method {
            "Status" => call.unary(async move |message, _| self.status(message)).await,
            _ => return None,
        })
    }

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
}

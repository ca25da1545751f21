//! Who is in the cluster.

use super::call::Method;
use super::{Client, Error, pb};
use crate::types::NodeId;

const LIST: Method = Method::read("/etcdserverpb.Cluster/MemberList");
const ADD: Method = Method::write("/etcdserverpb.Cluster/MemberAdd");
const REMOVE: Method = Method::write("/etcdserverpb.Cluster/MemberRemove");
const UPDATE: Method = Method::write("/etcdserverpb.Cluster/MemberUpdate");
const PROMOTE: Method = Method::write("/etcdserverpb.Cluster/MemberPromote");

impl Client {
    /// All members, by id; if not `linearizable`, as the one that is asked knows them.
    pub async fn member_list(&self, linearizable: bool) -> Result<Vec<pb::Member>, Error> {
        let method = LIST.with_leader(linearizable);
        let answer: pb::MemberListResponse =
            self.call(method, pb::MemberListRequest { linearizable }).await?;
        Ok(answer.members)
    }

    pub async fn member_add(
        &self,
        request: pb::MemberAddRequest,
    ) -> Result<pb::MemberAddResponse, Error> {
        self.call(ADD, request).await
    }

    /// Removes a member; returns those that are left.
    pub async fn member_remove(&self, id: NodeId) -> Result<Vec<pb::Member>, Error> {
        let request = pb::MemberRemoveRequest { id: id.0 };
        let answer: pb::MemberRemoveResponse = self.call(REMOVE, request).await?;
        Ok(answer.members)
    }

    pub async fn member_update(
        &self,
        request: pb::MemberUpdateRequest,
    ) -> Result<pb::MemberUpdateResponse, Error> {
        self.call(UPDATE, request).await
    }

    /// Gives a learner a vote; returns all members.
    pub async fn member_promote(&self, id: NodeId) -> Result<Vec<pb::Member>, Error> {
        let request = pb::MemberPromoteRequest { id: id.0 };
        let answer: pb::MemberPromoteResponse = self.call(PROMOTE, request).await?;
        Ok(answer.members)
    }
}

//! One member's state and upkeep. Whoever means a certain member asks through [`Client::each`].

use tonic::Streaming;

use super::call::{Method, Tries};
use super::error::{self, Fate, Kind};
use super::{Client, Error, pb};
use crate::types::{NodeId, Revision};
use pb::alarm_request::AlarmAction;

const STATUS: Method = Method::read("/etcdserverpb.Maintenance/Status");
const ALARM_GET: Method = Method::read("/etcdserverpb.Maintenance/Alarm");
const ALARM: Method = Method::write("/etcdserverpb.Maintenance/Alarm");
const DEFRAGMENT: Method = Method::write("/etcdserverpb.Maintenance/Defragment").with_leader(false);
const HASH_KV: Method = Method::read("/etcdserverpb.Maintenance/HashKV");
const MOVE_LEADER: Method = Method::write("/etcdserverpb.Maintenance/MoveLeader");
const SNAPSHOT: Method = Method::read("/etcdserverpb.Maintenance/Snapshot");

impl Client {
    /// How the member is; also without a leader.
    pub async fn status(&self) -> Result<pb::StatusResponse, Error> {
        self.call(STATUS, pb::StatusRequest {}).await
    }

    /// Looks at alarms, or sets one, or takes one off.
    pub async fn alarm(&self, request: pb::AlarmRequest) -> Result<Vec<pb::AlarmMember>, Error> {
        let method = if request.action == AlarmAction::Get as i32 { ALARM_GET } else { ALARM };
        let answer: pb::AlarmResponse = self.call(method, request).await?;
        Ok(answer.alarms)
    }

    /// The alarms that are on, of all members.
    pub async fn alarms(&self) -> Result<Vec<pb::AlarmMember>, Error> {
        self.alarm(pb::AlarmRequest::default()).await
    }

    /// Takes an alarm off; returns what was taken off.
    pub async fn disarm(&self, alarm: &pb::AlarmMember) -> Result<Vec<pb::AlarmMember>, Error> {
        let pb::AlarmMember { member_id, alarm } = *alarm;
        let action = AlarmAction::Deactivate as i32;
        self.alarm(pb::AlarmRequest { action, member_id, alarm }).await
    }

    /// Gives the space back to the disk that compaction has freed; that may take a while.
    pub async fn defragment(&self) -> Result<(), Error> {
        let request = pb::DefragmentRequest {};
        self.call::<_, pb::DefragmentResponse>(DEFRAGMENT, request).await.map(drop)
    }

    /// A sum over the keys up to `revision`; zero: up to now. Members that agree answer the same.
    pub async fn hash_kv(&self, revision: Revision) -> Result<pb::HashKvResponse, Error> {
        self.call(HASH_KV, pb::HashKvRequest { revision: super::signed(revision) }).await
    }

    /// Hands the leadership over. Only the leader itself can: ask it through [`Client::each`].
    pub async fn move_leader(&self, to: NodeId) -> Result<(), Error> {
        let request = pb::MoveLeaderRequest { target_id: to.0 };
        self.call::<_, pb::MoveLeaderResponse>(MOVE_LEADER, request).await.map(drop)
    }

    /// Everything that the member has, in blobs; the last message has their sum.
    pub async fn snapshot(&self) -> Result<Streaming<pb::SnapshotResponse>, Error> {
        let mut tries = Tries::new(self.options.timeout);
        loop {
            let place = self.pool.pick().clone();
            let one = futures::stream::iter([pb::SnapshotRequest {}]);
            let status = match self.stream(&place, SNAPSHOT, one).await {
                Ok(stream) => return Ok(stream),
                Err(status) => status,
            };
            if error::fate(&status) == Fate::Refused {
                return Err(tries.error(Kind::Refused, &place, &status));
            }
            self.pool.failed(&place);
            if !tries.pause().await {
                return Err(tries.error(Kind::Unavailable, &place, &status));
            }
        }
    }
}

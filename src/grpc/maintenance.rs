//! `etcdserverpb.Maintenance`: how the member is, alarms, hashes, and who leads.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tonic::Status;
use tonic::body::Body;

use super::backend::Backend;
use super::call::Call;
use super::convert::{signed, unsigned};
use super::header::header;
use super::kv::{Kv, another_kind};
use super::pb::etcdserverpb as pb;
use super::pb::etcdserverpb::alarm_request::AlarmAction;
use super::pb::etcdserverpb::downgrade_request::DowngradeAction;
use super::{snapshot, status};
use crate::kv::{Alarm, AlarmKind, AlarmOrder, Effect, Machine, Operation};
use crate::replica::{Order, OrderResult};
use crate::types::{NodeId, Revision};

/// The version of etcd whose answers these are. Clients parse it.
pub const ETCD_VERSION: &str = "3.5.21";

/// That of the cluster: without the last number.
const CLUSTER_VERSION: &str = "3.5.0";

/// A snapshot of a large state takes long, but no call is answered after the server's limit.
const SNAPSHOT_PATIENCE: Duration = Duration::from_secs(25);

/// Keys that are hashed before others get their turn: a few milliseconds.
const HASHED_AT_ONCE: usize = 4096;

/// Serves one connection.
pub struct Maintenance {
    pub backend: Rc<dyn Backend>,
    pub kv: Rc<Kv>,
}

impl Maintenance {
    pub async fn route(self: Rc<Self>, method: &str, call: Call) -> Option<http::Response<Body>> {
        let it = self;
        Some(match method {
            "Status" => call.unary(async move |message, _| it.status(message)).await,
            "Alarm" => call.unary(async move |message, time| it.alarm(message, time).await).await,
            "Defragment" => call.unary(async move |message, _| it.defragment(message).await).await,
            "Hash" => call.unary(async move |message, _| it.hash(message)).await,
            "HashKV" => call.unary(async move |message, _| it.hash_kv(message).await).await,
            "MoveLeader" => {
                call.unary(async move |message, time| it.move_leader(message, time).await).await
            }
            "Downgrade" => call.unary(async move |message, _| it.downgrade(&message)).await,
            "Snapshot" => {
                let backend = Rc::clone(&it.backend);
                call.answers(async move |_: pb::SnapshotRequest, replies| {
                    it.take_snapshot().await?;
                    snapshot::send(&*backend, &replies).await
                })
                .await
            }
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
        let state = self.backend.state();
        let alarms = state.iter().flat_map(|state| state.roster().alarms());
        errors.extend(alarms.map(|Alarm { member, kind }| {
            let name = alarm_type(kind).as_str_name();
            format!("memberID:{member} alarm:{name} ")
        }));
        Ok(pb::StatusResponse {
            header: Some(header(&*self.backend, status.revision)),
            version: ETCD_VERSION.to_owned(),
            db_size: signed(status.log.disk_bytes),
            leader: core.leader.map_or(0, |leader| leader.0),
            raft_index: core.commit_index.0,
            raft_term: core.term.0,
            raft_applied_index: status.machine_applied.0,
            errors,
            db_size_in_use: signed(status.size),
            is_learner: self.backend.is_learner(),
        })
    }

    pub async fn alarm(
        &self,
        request: pb::AlarmRequest,
        timeout: Duration,
    ) -> Result<pb::AlarmResponse, Status> {
        let kv = &self.kv;
        let kind = match pb::AlarmType::try_from(request.alarm) {
            Ok(pb::AlarmType::Nospace) => Some(AlarmKind::NoSpace),
            Ok(pb::AlarmType::Corrupt) => Some(AlarmKind::Corrupt),
            Ok(pb::AlarmType::None) | Err(_) => None,
        };
        let is_on = match AlarmAction::try_from(request.action) {
            Ok(AlarmAction::Activate) => Some(true),
            Ok(AlarmAction::Deactivate) => Some(false),
            Ok(AlarmAction::Get) | Err(_) => None,
        };
        let alarms = match (is_on, kind) {
            (Some(is_on), Some(kind)) => {
                let alarm = Alarm { member: NodeId(request.member_id), kind };
                let operation = Operation::Alarm(AlarmOrder { alarm, is_on });
                let outcome = kv.write(operation, timeout).await?;
                let Effect::Alarm { alarm } = outcome.effect else { return Err(another_kind()) };
                alarm.into_iter().collect()
            }
            // An alarm of no kind is none, whether it goes on or off.
            (Some(_), None) => Vec::new(),
            (None, _) => {
                kv.catch_up(timeout).await?;
                let of_kind = |alarm: &Alarm| match request.alarm {
                    0 => true,
                    _ => Some(alarm.kind) == kind,
                };
                self.state()?.roster().alarms().filter(of_kind).collect()
            }
        };
        let shown = |Alarm { member, kind }| pb::AlarmMember {
            member_id: member.0,
            alarm: alarm_type(kind).into(),
        };
        Ok(pb::AlarmResponse {
            header: self.header(),
            alarms: alarms.into_iter().map(shown).collect(),
        })
    }

    /// A snapshot is taken, and what the log holds before it may go: that is what is to be gained.
    async fn defragment(&self, _: pb::DefragmentRequest) -> Result<pb::DefragmentResponse, Status> {
        self.take_snapshot().await?;
        Ok(pb::DefragmentResponse { header: None })
    }

    async fn take_snapshot(&self) -> Result<(), Status> {
        match self.backend.order(Order::TakeSnapshot, SNAPSHOT_PATIENCE).await {
            OrderResult::Done(_) => Ok(()),
            OrderResult::Refused { message, .. } => {
                Err(Status::unavailable(format!("etcdserver: {message}")))
            }
            OrderResult::Unknown(_) => Err(status::timed_out()),
        }
    }

    fn hash(&self, _: pb::HashRequest) -> Result<pb::HashResponse, Status> {
        let state = self.state()?;
        let header = Some(header(&*self.backend, state.revision()));
        Ok(pb::HashResponse { header, hash: folded(state.state_hash()) })
    }

    /// Of the keys as they were. The state is a copy, so that writes go on meanwhile.
    async fn hash_kv(&self, request: pb::HashKvRequest) -> Result<pb::HashKvResponse, Status> {
        let state = self.state()?;
        let revision = Revision(unsigned(request.revision));
        let hash = match revision.0 == 0 || revision == state.revision() {
            true => state.keys_hash(),
            false => hash_at(&state, revision).await?,
        };
        Ok(pb::HashKvResponse {
            header: Some(header(&*self.backend, state.revision())),
            hash: folded(hash),
            compact_revision: state.last_compaction().map_or(-1, |revision| signed(revision.0)),
        })
    }

    async fn move_leader(
        &self,
        request: pb::MoveLeaderRequest,
        timeout: Duration,
    ) -> Result<pb::MoveLeaderResponse, Status> {
        let (own, to) = (self.backend.identity().node, NodeId(request.target_id));
        if self.backend.leader() != Some(own) {
            return Err(status::not_leader());
        }
        if !self.backend.status().consensus.configuration.voters.contains(&to) {
            return Err(status::bad_transferee());
        }
        let moved = pb::MoveLeaderResponse { header: None };
        if to == own {
            return Ok(moved);
        }
        match self.backend.order(Order::Transfer { to: Some(to) }, timeout).await {
            OrderResult::Done(_) => Ok(moved),
            OrderResult::Refused { leader, .. } if leader != Some(own) => Err(status::not_leader()),
            OrderResult::Refused { .. } | OrderResult::Unknown(_) => Err(status::timed_out()),
        }
    }

    fn downgrade(&self, request: &pb::DowngradeRequest) -> Result<pb::DowngradeResponse, Status> {
        match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Validate | DowngradeAction::Enable) => {
                let is_version = request.version.split_once('.').is_some_and(|(major, minor)| {
                    [major, minor].iter().all(|it| it.parse::<u32>().is_ok())
                });
                Err(Status::invalid_argument(match is_version {
                    true => "etcdserver: invalid downgrade target version",
                    false => "etcdserver: wrong downgrade target version format",
                }))
            }
            Ok(DowngradeAction::Cancel) => {
                Err(Status::failed_precondition("etcdserver: no inflight downgrade job"))
            }
            Err(_) => Ok(pb::DowngradeResponse {
                header: self.header(),
                version: CLUSTER_VERSION.to_owned(),
            }),
        }
    }

    fn state(&self) -> Result<Machine, Status> {
        self.backend.state().ok_or_else(status::no_leader)
    }

    fn header(&self) -> Option<pb::ResponseHeader> {
        let revision = self.backend.state().map_or(Revision(0), |state| state.revision());
        Some(header(&*self.backend, revision))
    }
}

fn alarm_type(kind: AlarmKind) -> pb::AlarmType {
    match kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    }
}

/// The hash of the keys at `revision`, in pieces.
async fn hash_at(state: &Machine, revision: Revision) -> Result<u128, Status> {
    let (mut sum, mut start) = (0u128, Bytes::new());
    loop {
        let piece = state.hash_of_keys_at(revision, &start, HASHED_AT_ONCE);
        let (hash, next) = piece.map_err(status::of_refusal)?;
        sum = sum.wrapping_add(hash);
        match next {
            Some(next) => start = next,
            None => return Ok(sum),
        }
        tokio::task::yield_now().await;
    }
}

/// etcd's hashes have 32 bits.
fn folded(hash: u128) -> u32 {
    let half = (hash >> 64) as u64 ^ hash as u64;
    (half >> 32) as u32 ^ half as u32
}

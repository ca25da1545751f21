//! `v3lockpb.Lock`: locks that are held by leases.

use std::rc::Rc;

use tonic::Status;
use tonic::body::Body;

use super::call::{Call, TIMEOUT};
use super::header::header;
use super::kv::Kv;
use super::lease::Leases;
use super::pb::{etcdserverpb, v3lockpb as pb};
use super::turns::{Turns, inside};

/// Seconds that the lease of a client without one lasts.
const TTL: u64 = 60;

/// Serves one connection.
pub struct Lock {
    pub kv: Rc<Kv>,
    pub leases: Rc<Leases>,
}

impl Lock {
    pub async fn route(self: Rc<Self>, method: &str, call: Call) -> Option<http::Response<Body>> {
        let it = self;
        Some(match method {
            "Lock" => {
                call.patient(async move |message, _| it.lock(message).await.map_err(inside)).await
            }
            "Unlock" => {
                call.unary(async move |message, _| it.unlock(message).await.map_err(inside)).await
            }
            _ => return None,
        })
    }

    async fn lock(&self, request: pb::LockRequest) -> Result<pb::LockResponse, Status> {
        let lease = lease(&self.leases, request.lease).await?;
        let turns = Turns::new(&self.kv, &request.name);
        let mut joined = turns.join(lease, Default::default()).await?;
        let mut revision = joined.revision;
        if !joined.is_first {
            turns.wait(&joined.place).await?;
            let (read, is_there) = joined.place.is_there().await?;
            if !is_there {
                return Err(Status::unknown("mutex: session is expired"));
            }
            revision = read;
        }
        joined.place.keep();
        let header = Some(header(&*self.kv.backend, revision));
        Ok(pb::LockResponse { header, key: joined.place.key.clone() })
    }

    async fn unlock(&self, request: pb::UnlockRequest) -> Result<pb::UnlockResponse, Status> {
        let key = request.key;
        let delete = etcdserverpb::DeleteRangeRequest { key, ..Default::default() };
        let deleted = self.kv.delete_range(delete, TIMEOUT).await?;
        Ok(pb::UnlockResponse { header: deleted.header })
    }
}

/// The lease that a client names, or one of its own.
pub async fn lease(leases: &Leases, named: i64) -> Result<i64, Status> {
    match named {
        0 => leases.begin(0, TTL, TIMEOUT).await.map(|(id, _)| id),
        named => Ok(named),
    }
}

//! Leases: granting, ending, asking.

use std::time::Duration;

use bytes::Bytes;

use super::call::Method;
use super::keep_alive::KeepAlive;
use super::{Client, Error, pb};
use crate::types::LeaseId;

const GRANT: Method = Method::write("/etcdserverpb.Lease/LeaseGrant");
const REVOKE: Method = Method::write("/etcdserverpb.Lease/LeaseRevoke");
const TIME_TO_LIVE: Method = Method::read("/etcdserverpb.Lease/LeaseTimeToLive").with_leader(true);
const LEASES: Method = Method::read("/etcdserverpb.Lease/LeaseLeases");

/// A lease that was granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    pub id: LeaseId,
    /// Whole seconds; the server may give more than was asked for.
    pub ttl: Duration,
    /// When it was asked for: it lasts for `ttl` from then at least.
    pub asked_at: tokio::time::Instant,
}

/// What a lease has left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Whole seconds, rounded down.
    pub ttl: Duration,
    pub granted: Duration,
    /// Those that it holds, if they were asked for.
    pub keys: Vec<Bytes>,
}

impl Client {
    /// Begins a lease of so many whole seconds. An `id` of zero leaves its choice to the server.
    pub async fn lease_grant(&self, ttl: Duration, id: LeaseId) -> Result<Granted, Error> {
        let seconds = i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX);
        let asked_at = tokio::time::Instant::now();
        let request = pb::LeaseGrantRequest { ttl: seconds, id: id.0 as i64 };
        let answer: pb::LeaseGrantResponse = self.call(GRANT, request).await?;
        Ok(Granted { id: LeaseId(answer.id as u64), ttl: seconds_of(answer.ttl), asked_at })
    }

    /// Ends a lease; its keys go with it.
    pub async fn lease_revoke(&self, id: LeaseId) -> Result<(), Error> {
        let request = pb::LeaseRevokeRequest { id: id.0 as i64 };
        self.call::<_, pb::LeaseRevokeResponse>(REVOKE, request).await.map(drop)
    }

    /// What a lease has left; `None`: there is no such lease.
    pub async fn lease_ttl(&self, id: LeaseId, keys: bool) -> Result<Option<Left>, Error> {
        let request = pb::LeaseTimeToLiveRequest { id: id.0 as i64, keys };
        let answer: pb::LeaseTimeToLiveResponse = self.call(TIME_TO_LIVE, request).await?;
        let left = || Left {
            ttl: seconds_of(answer.ttl),
            granted: seconds_of(answer.granted_ttl),
            keys: answer.keys,
        };
        Ok((answer.ttl >= 0).then(left))
    }

    /// All leases that the server which is asked knows of, the first to end first.
    pub async fn leases(&self) -> Result<Vec<LeaseId>, Error> {
        let answer: pb::LeaseLeasesResponse = self.call(LEASES, pb::LeaseLeasesRequest {}).await?;
        Ok(answer.leases.into_iter().map(|lease| LeaseId(lease.id as u64)).collect())
    }

    /// Renews a lease again and again, in a task of its own, until that is dropped. Must be called
    /// inside a tokio `LocalSet`.
    pub fn lease_keep_alive(&self, lease: &Granted) -> KeepAlive {
        KeepAlive::start(self.clone(), *lease)
    }
}

pub(super) fn seconds_of(number: i64) -> Duration {
    Duration::from_secs(u64::try_from(number).unwrap_or(0))
}

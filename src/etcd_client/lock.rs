//! Locks, as the service has them.

use bytes::Bytes;

use super::call::Method;
use super::{Client, Error};
use crate::grpc::pb::v3lockpb;
use crate::types::LeaseId;

const LOCK: Method = Method::wait("/v3lockpb.Lock/Lock");
const UNLOCK: Method = Method::write("/v3lockpb.Lock/Unlock");

impl Client {
    /// Waits, without limit, until `lease` holds the lock; returns the key that stands for that.
    /// Drop the future to give up.
    ///
    /// It does not renew the lease. After an error that leaves the outcome open, do not ask again
    /// with the same lease: the server that heard the first call may still take it back, and with
    /// it the key that the second one got. Revoke the lease and take another.
    pub async fn lock(&self, name: Bytes, lease: LeaseId) -> Result<Bytes, Error> {
        let request = v3lockpb::LockRequest { name, lease: lease.0 as i64 };
        let answer: v3lockpb::LockResponse = self.call(LOCK, request).await?;
        Ok(answer.key)
    }

    /// Gives the lock up that `key` stands for.
    pub async fn unlock(&self, key: Bytes) -> Result<(), Error> {
        let request = v3lockpb::UnlockRequest { key };
        self.call::<_, v3lockpb::UnlockResponse>(UNLOCK, request).await.map(drop)
    }
}

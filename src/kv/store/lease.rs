//! Leases: keys that go together, when somebody says so.
//!
//! A lease is a name, the time it was granted for, and the keys that are attached to it. When it
//! ends is not decided here: time is no part of the log. It ends by an entry
//! ([`LeaseRevoke`](crate::kv::Operation::LeaseRevoke)), and how much of its time has gone is noted
//! by another ([`LeaseCheckpoint`](crate::kv::Operation::LeaseCheckpoint)), so that a new leader
//! need not count anew. Who counts, and proposes them, is the leader:
//! [`replica::leases`](crate::replica::leases) has the rule.
//!
//! Which keys are attached follows from the keys themselves, each of which names its lease. It is
//! kept here besides, so that revoking need not look at every key.

use bytes::Bytes;
use imbl::{OrdMap, OrdSet};

use std::ops::Bound;

use crate::kv::hash::{self, Digest};
use crate::kv::{LeaseCheckpoint, LeaseStatus, Refusal};
use crate::types::LeaseId;

/// All leases. A clone costs O(1).
#[derive(Clone, Debug, Default)]
pub struct Leases {
    by_id: OrdMap<LeaseId, Lease>,
    /// The sum of the hashes of all, their keys aside.
    digest: Digest,
}

#[derive(Clone, Debug, Default)]
pub struct Lease {
    /// In seconds.
    pub granted: u64,
    /// In seconds, as of the last checkpoint; zero: as granted.
    pub remaining: u64,
    pub keys: OrdSet<Bytes>,
}

impl Lease {
    /// Without its keys.
    pub fn status(&self, id: LeaseId) -> LeaseStatus {
        let (granted, remaining) = (self.granted, self.remaining);
        LeaseStatus { id, granted, remaining, keys: Vec::new() }
    }

    fn hash(&self, id: LeaseId) -> u128 {
        hash::of_lease(id, self.granted, self.remaining)
    }
}

impl Leases {
    pub fn count(&self) -> u64 {
        self.by_id.len() as u64
    }

    pub fn get(&self, id: LeaseId) -> Option<&Lease> {
        self.by_id.get(&id)
    }

    /// Those above `id`, in order.
    pub fn after(&self, id: LeaseId) -> impl Iterator<Item = (&LeaseId, &Lease)> {
        self.by_id.range((Bound::Excluded(id), Bound::Unbounded))
    }

    pub fn grant(&mut self, id: LeaseId, ttl: u64) -> Result<(), Refusal> {
        if self.by_id.contains_key(&id) {
            return Err(Refusal::LeaseExists);
        }
        self.insert(id, Lease { granted: ttl, ..Lease::default() });
        Ok(())
    }

    fn insert(&mut self, id: LeaseId, lease: Lease) {
        self.digest.add(lease.hash(id));
        self.by_id.insert(id, lease);
    }

    /// Takes the lease away; its keys are the caller's to delete.
    pub fn remove(&mut self, id: LeaseId) -> Result<Lease, Refusal> {
        let lease = self.by_id.remove(&id).ok_or(Refusal::LeaseNotFound)?;
        self.digest.remove(lease.hash(id));
        Ok(lease)
    }

    /// Notes how long a lease lasts, if it is still there.
    pub fn checkpoint(&mut self, LeaseCheckpoint { id, remaining }: LeaseCheckpoint) {
        let Some(lease) = self.by_id.get_mut(&id) else { return };
        self.digest.remove(lease.hash(id));
        lease.remaining = remaining;
        self.digest.add(lease.hash(id));
    }

    /// `key` was attached to `from` and is to `to`; zero is none.
    pub fn move_key(&mut self, key: &Bytes, from: LeaseId, to: LeaseId) {
        if from == to {
            return;
        }
        if let Some(lease) = self.by_id.get_mut(&from) {
            lease.keys.remove(key);
        }
        if let Some(lease) = self.by_id.get_mut(&to) {
            lease.keys.insert(key.clone());
        }
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest computed afresh.
    pub fn recompute_digest(&self) -> Digest {
        let mut digest = Digest::default();
        self.by_id.iter().for_each(|(id, lease)| digest.add(lease.hash(*id)));
        digest
    }

    /// Puts back a lease, behind all that are there and without its keys.
    pub fn restore(
        &mut self,
        id: LeaseId,
        granted: u64,
        remaining: u64,
    ) -> Result<(), &'static str> {
        if id.0 == 0 || self.by_id.get_max().is_some_and(|(last, _)| *last >= id) {
            return Err("the leases are out of order");
        }
        self.insert(id, Lease { granted, remaining, ..Lease::default() });
        Ok(())
    }
}

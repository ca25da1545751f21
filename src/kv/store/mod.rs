//! The keys: an ordered map with a global revision, and from version 3 on with a past, and leases.
//!
//! The revision counts changes to keys and nothing else, as etcd's does: it is 1 for the empty
//! store, every put takes the next one, a delete only if there was something to delete, a
//! compare-and-swap only if it swapped, a transaction one for all that it changed. So a revision
//! names one state of the key space, and a client that sees the same revision twice knows that
//! nothing changed in between.
//!
//! ```text
//!   keys     key ──► version ◄─────────┐
//!                └─► past versions ◄───┴── (revision, position)   log, history
//!   leases   id ──► time, keys
//! ```

mod history;
mod inline_key;
mod item;
mod keys;
mod lease;
mod past;
mod query;
mod range;
mod restore;
mod transaction;

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

#[cfg(test)]
pub use history::SWEEP_WITH_EACH_ENTRY;
pub use history::{History, Position};
pub use item::Item;
use keys::{Keys, Set};
pub use lease::{Lease, Leases};
pub use restore::KeptChange;

use super::hash::{self, Digest};
use super::{Effect, Expected, KeyValue, Operation, Outcome, Refusal};
use crate::types::{LeaseId, Revision};

/// All keys as they stand, and as they were. A clone costs O(1) and shares everything until one
/// side changes.
#[derive(Clone, Debug)]
pub struct Store {
    keys: Keys,
    /// The last one that was consumed; 1 before any.
    revision: Revision,
    /// Bytes of all keys and values as they stand.
    bytes: u64,
    /// The sum of every key's hash.
    digest: Digest,
    /// From version 3 on.
    history: Option<History>,
    leases: Leases,
}

/// The changes of one command: the first consumes a revision, and all bear it.
#[derive(Default)]
struct Changes {
    made: u32,
}

impl Default for Store {
    /// The empty one, at revision 1.
    fn default() -> Store {
        Store {
            keys: Keys::default(),
            revision: Revision(1),
            bytes: 0,
            digest: Digest::default(),
            history: None,
            leases: Leases::default(),
        }
    }
}

impl Store {
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// How many keys there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn history(&self) -> Option<&History> {
        self.history.as_ref()
    }

    pub fn leases(&self) -> &Leases {
        &self.leases
    }

    /// Of the keys as they stand, without their past.
    pub fn keys_digest(&self) -> Digest {
        self.digest
    }

    pub fn digest(&self) -> Digest {
        let mut digest = self.digest;
        digest.add(self.leases.digest().value());
        digest.add(self.history.as_ref().map_or(0, |history| history.digest().value()));
        digest
    }

    /// The digest computed afresh, in time proportional to all that is stored.
    pub fn recompute_digest(&self) -> Digest {
        let mut digest = self.leases.recompute_digest();
        self.after(None).for_each(|item| digest.add(hash::of_item(item)));
        let history = self.history.as_ref().map(|history| history.recompute_digest(&self.keys));
        digest.add(history.map_or(0, Digest::value));
        digest
    }

    /// For a bug of the museum alone: a revision goes by, and nothing changed.
    pub fn consume_revision(&mut self) {
        self.revision.0 += 1;
    }

    /// From now on the keys have a past. What came before is as if it had been compacted away.
    pub fn keep_history(&mut self) {
        let nothing_yet = self.revision == Revision(1);
        let since = (!nothing_yet).then_some(self.revision);
        self.history.get_or_insert_with(|| History::since(since));
    }

    /// From now on compaction drops what was replaced at its mark, too.
    pub fn clear_marks(&mut self) {
        if let Some(history) = &mut self.history {
            history.clear_marks();
        }
    }

    /// Does a bounded part of what compaction left to be done.
    pub fn sweep(&mut self) {
        if let Some(history) = &mut self.history {
            history.sweep(&mut self.keys);
        }
    }

    /// The keys after `key`, or all, in order.
    pub fn after(&self, key: Option<&[u8]>) -> impl Iterator<Item = &KeyValue> + '_ {
        let lower = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.keys.range((lower, Bound::Unbounded)).map(|item| &item.kv)
    }

    /// Does what a valid operation says.
    pub fn operate(&mut self, operation: Operation) -> Outcome {
        let effect = self.perform(operation).unwrap_or_else(Effect::Refused);
        Outcome { revision: self.revision, effect }
    }

    fn perform(&mut self, operation: Operation) -> Result<Effect, Refusal> {
        let mut changes = Changes::default();
        let none = LeaseId(0);
        Ok(match operation {
            Operation::Put { key, value } => {
                Effect::Put { existed: self.set(&mut changes, key, value, none) }
            }
            Operation::Delete { key } => {
                Effect::Deleted { existed: self.unset(&mut changes, &key) }
            }
            Operation::CompareAndSwap { key, expected, value } => {
                let found = self.keys.get(&key).map(|item| &item.kv);
                if found.map_or(expected == Expected::Absent, |kv| kv.matches(&expected)) {
                    self.set(&mut changes, key, value, none);
                    Effect::Swapped
                } else {
                    Effect::Unchanged { found: found.cloned() }
                }
            }
            // The machine's own affairs, and dealt with there.
            Operation::RaiseVersion { to } => Effect::Raised { version: to },
            Operation::Alarm(_) | Operation::Announce(_) | Operation::Enlist { .. } => {
                return Err(Refusal::UnknownVersion);
            }
            Operation::Transaction(transaction) => {
                Effect::Transaction(Arc::new(self.transact(transaction, &|| true)?))
            }
            Operation::Compact { revision } => {
                let history = self.history.as_mut().ok_or(Refusal::UnknownVersion)?;
                history.compact(revision, self.revision)?;
                Effect::Compacted
            }
            Operation::LeaseGrant { id, ttl } => {
                self.leases.grant(id, ttl)?;
                Effect::LeaseGranted
            }
            Operation::LeaseRevoke { id } => Effect::LeaseRevoked { deleted: self.revoke(id)? },
            Operation::LeaseCheckpoint(checkpoints) => {
                checkpoints.into_iter().for_each(|it| self.leases.checkpoint(it));
                Effect::LeasesCheckpointed
            }
        })
    }

    /// Ends a lease; how many keys went with it, in their order and at one revision.
    fn revoke(&mut self, id: LeaseId) -> Result<u64, Refusal> {
        let lease = self.leases.remove(id)?;
        let mut changes = Changes::default();
        lease.keys.iter().for_each(|key| {
            self.unset(&mut changes, key);
        });
        Ok(u64::from(changes.made))
    }

    /// The revision and the number of the next change.
    fn next_change(&mut self, changes: &mut Changes) -> Position {
        self.revision.0 += u64::from(changes.made == 0);
        let at = (self.revision, changes.made);
        changes.made += 1;
        at
    }

    /// Sets a key; whether it existed.
    fn set(&mut self, changes: &mut Changes, key: Bytes, value: Bytes, lease: LeaseId) -> bool {
        let (mod_revision, sub) = self.next_change(changes);
        let set = self.keys.set(key, self.history.is_some(), |key, before| {
            let before = before.map(|before| &before.kv);
            let create_revision = before.map_or(mod_revision, |before| before.create_revision);
            let version = before.map_or(0, |before| before.version) + 1;
            Item::new(KeyValue { key, value, create_revision, mod_revision, version, lease })
        });
        let Set { before, now, .. } = &set;
        self.digest.add(now.hash);
        self.bytes += now.bytes();
        self.leaves(before.as_deref(), lease, &now.kv.key);
        let existed = before.is_some();
        if let Some(history) = &mut self.history {
            history.note_set(set, sub);
        }
        existed
    }

    /// Removes a key; whether it existed.
    fn unset(&mut self, changes: &mut Changes, key: &Bytes) -> bool {
        let Some(standing) = self.keys.take(key) else { return false };
        let (revision, sub) = self.next_change(changes);
        self.leaves(Some(&standing.item), LeaseId(0), key);
        if let Some(history) = &mut self.history {
            let deletion = Item::tombstone(standing.item.kv.key.clone(), revision);
            history.note_deletion(&standing.item, deletion.clone(), sub);
            self.keys.bury(standing, deletion);
        }
        true
    }

    /// Keeps the books about a version that stands no more, and what its key is attached to now.
    fn leaves(&mut self, before: Option<&Item>, lease: LeaseId, key: &Bytes) {
        if let Some(before) = before {
            self.digest.remove(before.hash);
            self.bytes -= before.bytes();
        }
        let attached = before.map_or(LeaseId(0), |before| before.kv.lease);
        self.leases.move_key(key, attached, lease);
    }
}

impl KeyValue {
    fn matches(&self, expected: &Expected) -> bool {
        match expected {
            Expected::Absent => false,
            Expected::Value(value) => self.value == value,
            Expected::ModRevision(revision) => self.mod_revision == *revision,
        }
    }
}

//! A store from the parts of a snapshot.
//!
//! What comes back must be possible: in order, its numbers not contradicting each other or what
//! came before. That it is what was written, the hash of the whole says.

use std::sync::Arc;

use bytes::Bytes;

use super::Store;
use super::history::{History, Position};
use super::item::Item;
use crate::kv::KeyValue;
use crate::types::{LeaseId, Revision};

/// A change as a snapshot holds it.
pub enum KeptChange {
    /// The key was deleted.
    Deleted(Bytes),
    /// The key was set, to what it still is or what the past holds.
    Known(Bytes),
    /// The key was set, and deleted again in the same transaction.
    Passing(KeyValue),
}

impl Store {
    /// An empty store that was changed so often, to be filled from a snapshot.
    pub fn restoring(revision: Revision) -> Store {
        Store { revision, ..Store::default() }
    }

    /// The store has a history that was compacted at `compacted`, if ever.
    pub fn restore_history(&mut self, compacted: Option<Revision>) -> Result<(), &'static str> {
        if compacted > Some(self.revision) {
            return Err("it was compacted at a revision that is still to come");
        }
        self.history = Some(History::since(compacted));
        Ok(())
    }

    pub fn restore_lease(
        &mut self,
        id: LeaseId,
        granted: u64,
        remaining: u64,
    ) -> Result<(), &'static str> {
        self.leases.restore(id, granted, remaining)
    }

    /// Puts back a key that was stored before. It must come after all that are there, in order.
    pub fn restore(&mut self, kept: KeyValue) -> Result<(), &'static str> {
        if self.keys.last().is_some_and(|last| *last >= kept.key) {
            return Err("the keys are out of order");
        }
        self.check_numbers(&kept)?;
        if kept.lease.0 != 0 && self.leases.get(kept.lease).is_none() {
            return Err("a key is attached to a lease that is not there");
        }
        let item = Item::new(kept);
        self.digest.add(item.hash);
        self.bytes += item.bytes();
        self.leases.move_key(&item.kv.key, LeaseId(0), item.kv.lease);
        self.keys.restore(item);
        Ok(())
    }

    fn check_numbers(&self, kept: &KeyValue) -> Result<(), &'static str> {
        let KeyValue { key, create_revision, mod_revision, version, .. } = kept;
        let possible = create_revision <= mod_revision && *mod_revision <= self.revision;
        if key.is_empty() || *version == 0 || create_revision.0 < 2 || !possible {
            return Err("a key's numbers contradict each other");
        }
        Ok(())
    }

    /// Puts back a version of the past, a deletion if its number is zero. All keys must be there.
    pub fn restore_past(&mut self, kept: KeyValue) -> Result<(), &'static str> {
        let item = match kept.version {
            0 => {
                let KeyValue { key, value, create_revision, mod_revision, lease, .. } = kept;
                let empty = value.is_empty() && create_revision.0 == 0 && lease.0 == 0;
                if !empty || mod_revision.0 < 2 || mod_revision > self.revision {
                    return Err("a deletion's numbers contradict each other");
                }
                Item::tombstone(key, mod_revision)
            }
            _ => {
                self.check_numbers(&kept)?;
                Item::new(kept)
            }
        };
        let history = self.history.as_mut().ok_or("there is no history")?;
        self.keys.restore_past(item.clone())?;
        history.keep(&item);
        Ok(())
    }

    /// Puts back a change, behind all that are there. All keys and the whole past must be there.
    pub fn restore_change(&mut self, at: Position, kept: KeptChange) -> Result<(), &'static str> {
        let item = match kept {
            KeptChange::Deleted(key) => Item::tombstone(key, at.0),
            KeptChange::Known(key) => self
                .known(&key, at.0)
                .cloned()
                .ok_or("a change is of a version that is not there")?,
            KeptChange::Passing(kv) => {
                self.check_numbers(&kv)?;
                if kv.mod_revision != at.0 {
                    return Err("a change is of another revision than its version");
                }
                Item::new(kv)
            }
        };
        if at.0.0 < 2 || at.0 > self.revision || item.kv.key.is_empty() {
            return Err("a change's numbers contradict each other");
        }
        self.history.as_mut().ok_or("there is no history")?.restore_change(at, item)
    }

    /// Whether what a change of `item` led to is still there to be read: its key as it stands, or
    /// in the past.
    pub fn is_known(&self, item: &Item) -> bool {
        self.known(&item.kv.key, item.kv.mod_revision).is_some()
    }

    /// What a key was set to at `revision`, if that is still there.
    fn known(&self, key: &Bytes, revision: Revision) -> Option<&Arc<Item>> {
        let item = self.keys.versions(key)?.at(revision)?;
        Some(item).filter(|item| item.kv.mod_revision == revision)
    }

    /// Every version of the past behind this one, or all, each with its key; and behind those of a
    /// key, be there none, nothing.
    pub fn past_after(
        &self,
        at: Option<(Bytes, Revision)>,
    ) -> impl Iterator<Item = (&[u8], Option<&Arc<Item>>)> + '_ {
        self.keys.past_after(at)
    }
}

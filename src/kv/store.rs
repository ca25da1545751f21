//! The keys: an ordered map with a global revision.
//!
//! The revision counts changes to keys and nothing else, as etcd's does: it is 1 for the empty
//! store, every put takes the next one, a delete only if there was something to delete, a
//! compare-and-swap only if it swapped. So a revision names one state of the key space, and a
//! client that sees the same revision twice knows that nothing changed in between.

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;
use imbl::OrdMap;

use super::hash::{self, Digest};
use super::limits::{ITEM_OVERHEAD_BYTES, MAX_ANSWER_PAYLOAD_BYTES};
use super::{Answer, Effect, Expected, KeyValue, Operation, Outcome, Query};
use crate::types::Revision;

/// All keys as they stand. A clone costs O(1) and shares everything until one side changes.
#[derive(Clone, Debug)]
pub struct Store {
    /// Behind a pointer each, so that copying a node of the tree copies no value's handle.
    keys: OrdMap<Bytes, Arc<Item>>,
    /// The last one that was consumed; 1 before any.
    revision: Revision,
    /// Bytes of all keys and values.
    bytes: u64,
    /// The sum of every key's hash.
    digest: Digest,
}

/// What is stored under a key.
#[derive(Debug)]
struct Item {
    value: Bytes,
    create_revision: Revision,
    mod_revision: Revision,
    version: u64,
}

impl Item {
    fn hash(&self, key: &[u8]) -> u128 {
        hash::of_key(key, &self.value, self.create_revision, self.mod_revision, self.version)
    }

    fn matches(&self, expected: &Expected) -> bool {
        match expected {
            Expected::Absent => false,
            Expected::Value(value) => self.value == value,
            Expected::ModRevision(revision) => self.mod_revision == *revision,
        }
    }

    /// As an answer shows it. The handles share the stored bytes.
    fn show(&self, key: &Bytes, with_value: bool) -> KeyValue {
        KeyValue {
            key: key.clone(),
            value: if with_value { self.value.clone() } else { Bytes::new() },
            create_revision: self.create_revision,
            mod_revision: self.mod_revision,
            version: self.version,
        }
    }
}

impl Default for Store {
    /// The empty one, at revision 1.
    fn default() -> Store {
        let (keys, digest) = (OrdMap::new(), Digest::default());
        Store { keys, revision: Revision(1), bytes: 0, digest }
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

    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest computed afresh, in time proportional to all that is stored.
    pub fn recompute_digest(&self) -> Digest {
        let mut digest = Digest::default();
        self.keys.iter().for_each(|(key, item)| digest.add(item.hash(key)));
        digest
    }

    /// For a bug of the museum alone: a revision goes by, and nothing changed.
    pub fn consume_revision(&mut self) {
        self.revision.0 += 1;
    }

    /// The keys after `key`, or all, in order.
    pub fn after(&self, key: Option<&[u8]>) -> impl Iterator<Item = KeyValue> + '_ {
        let lower = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.keys
            .range::<_, [u8]>((lower, Bound::Unbounded))
            .map(|(key, item)| item.show(key, true))
    }

    /// An empty store that was changed so often, to be filled from a snapshot.
    pub fn restoring(revision: Revision) -> Store {
        Store { revision, ..Store::default() }
    }

    /// Puts back a key that was stored before. It must come after all that are there, in order.
    pub fn restore(&mut self, kept: KeyValue) -> Result<(), &'static str> {
        let KeyValue { key, value, create_revision, mod_revision, version } = kept;
        if self.keys.get_max().is_some_and(|(last, _)| *last >= key) {
            return Err("the keys are out of order");
        }
        let possible = create_revision <= mod_revision && mod_revision <= self.revision;
        if key.is_empty() || version == 0 || create_revision.0 < 2 || !possible {
            return Err("a key's numbers contradict each other");
        }
        let item = Item { value, create_revision, mod_revision, version };
        self.digest.add(item.hash(&key));
        self.bytes += (key.len() + item.value.len()) as u64;
        self.keys.insert(key, Arc::new(item));
        Ok(())
    }

    /// Does what a valid operation says.
    pub fn operate(&mut self, operation: Operation) -> Outcome {
        let effect = match operation {
            Operation::Put { key, value } => Effect::Put { existed: self.put(key, value) },
            Operation::Delete { key } => Effect::Deleted { existed: self.delete(&key) },
            // The machine's own affair, and dealt with there.
            Operation::RaiseVersion { to } => Effect::Raised { version: to },
            Operation::CompareAndSwap { key, expected, value } => {
                let found = self.keys.get(&key);
                if found.map_or(expected == Expected::Absent, |item| item.matches(&expected)) {
                    self.put(key, value);
                    Effect::Swapped
                } else {
                    Effect::Unchanged { found: found.map(|item| item.show(&key, true)) }
                }
            }
        };
        Outcome { revision: self.revision, effect }
    }

    /// Sets a key; whether it existed.
    fn put(&mut self, key: Bytes, value: Bytes) -> bool {
        self.revision.0 += 1;
        let now = self.revision;
        if let Some(slot) = self.keys.get_mut(&key) {
            self.digest.remove(slot.hash(&key));
            self.bytes = self.bytes - slot.value.len() as u64 + value.len() as u64;
            *slot = Arc::new(Item {
                value,
                create_revision: slot.create_revision,
                mod_revision: now,
                version: slot.version + 1,
            });
            self.digest.add(slot.hash(&key));
            return true;
        }
        let item = Item { value, create_revision: now, mod_revision: now, version: 1 };
        self.digest.add(item.hash(&key));
        self.bytes += (key.len() + item.value.len()) as u64;
        self.keys.insert(key, Arc::new(item));
        false
    }

    /// Removes a key; whether it existed.
    fn delete(&mut self, key: &Bytes) -> bool {
        let Some(item) = self.keys.remove(key) else { return false };
        self.revision.0 += 1;
        self.digest.remove(item.hash(key));
        self.bytes -= (key.len() + item.value.len()) as u64;
        true
    }

    /// Answers a valid query.
    pub fn query(&self, query: &Query) -> Answer {
        match query {
            Query::Get { key } => {
                let items: Vec<_> =
                    self.keys.get(key).map(|item| item.show(key, true)).into_iter().collect();
                Answer { revision: self.revision, count: items.len() as u64, items, more: false }
            }
            Query::Range { start, end, limit, keys_only, count_only } => {
                let most = match (count_only, limit) {
                    (true, _) => 0,
                    (false, 0) => u64::MAX,
                    (false, limit) => *limit,
                };
                self.range(start, end, most, !keys_only)
            }
        }
    }

    /// At most `most` items of the range, and no more than fit one answer. To count, it walks the
    /// rest of the range, as etcd does: the tree does not know how many keys a part of it holds.
    fn range(&self, start: &[u8], end: &[u8], most: u64, with_values: bool) -> Answer {
        let mut answer =
            Answer { revision: self.revision, items: Vec::new(), more: false, count: 0 };
        if !end.is_empty() && start >= end {
            return answer;
        }
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(end) };
        let mut rest = self.keys.range::<_, [u8]>((Bound::Included(start), upper));
        let mut payload = 0;
        for (key, item) in rest.by_ref() {
            answer.count += 1;
            let value = if with_values { item.value.len() } else { 0 };
            payload += key.len() + value + ITEM_OVERHEAD_BYTES;
            let fits = payload <= MAX_ANSWER_PAYLOAD_BYTES || answer.items.is_empty();
            if answer.items.len() as u64 >= most || !fits {
                answer.more = most > 0;
                break;
            }
            answer.items.push(item.show(key, with_values));
        }
        let whole = start.is_empty() && end.is_empty();
        answer.count = if whole { self.count() as u64 } else { answer.count + rest.count() as u64 };
        answer
    }

    /// Every key in order.
    #[cfg(test)]
    pub fn items(&self) -> impl Iterator<Item = KeyValue> + '_ {
        self.keys.iter().map(|(key, item)| item.show(key, true))
    }
}

//! One version of one key: what was stored there, or that nothing was any more.

use std::sync::Arc;

use bytes::Bytes;

use crate::kv::{KeyValue, hash};
use crate::types::{LeaseId, Revision};

/// A version of a key. Never changed once it is there, so the map of the latest, the past and the
/// log of changes hold the same one.
#[derive(Debug)]
pub struct Item {
    /// The deletion of a key is a version, too: number zero, without a value, as in etcd's events.
    pub kv: KeyValue,
    /// Of all the rest. Replacing a version takes its hash out of several sums, and a long value
    /// should not be read again for each.
    pub hash: u128,
}

impl Item {
    pub fn new(kv: KeyValue) -> Arc<Item> {
        let hash = hash::of_item(&kv);
        Arc::new(Item { kv, hash })
    }

    /// `key` was deleted at `revision`.
    pub fn tombstone(key: Bytes, revision: Revision) -> Arc<Item> {
        Item::new(KeyValue {
            key,
            value: Bytes::new(),
            create_revision: Revision(0),
            mod_revision: revision,
            version: 0,
            lease: LeaseId(0),
        })
    }

    pub fn is_tombstone(&self) -> bool {
        self.kv.version == 0
    }

    /// As an answer shows it. The handles share the stored bytes.
    pub fn show(&self, with_value: bool) -> KeyValue {
        if with_value {
            return self.kv.clone();
        }
        KeyValue { key: self.kv.key.clone(), value: Bytes::new(), ..self.kv }
    }

    /// Of key and value.
    pub fn bytes(&self) -> u64 {
        (self.kv.key.len() + self.kv.value.len()) as u64
    }
}

//! Answering queries, and telling what changed.

use super::item::Item;
use super::{Position, Store};
use crate::kv::limits::{ITEM_OVERHEAD_BYTES, MAX_ANSWER_PAYLOAD_BYTES};
use crate::kv::{Answer, Change, KeyValue, LeaseStatus, Query, Refusal};
use crate::types::{LeaseId, Revision};

use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

impl Store {
    /// Answers a valid query.
    pub fn query(&self, query: &Query) -> Answer {
        let answered = match query {
            Query::Get { key } => Ok(self.get(key)),
            Query::Range(request) => {
                self.range(request, MAX_ANSWER_PAYLOAD_BYTES).map(|found| Answer {
                    items: found.items,
                    more: found.more,
                    count: found.count,
                    ..Answer::default()
                })
            }
            Query::Lease { id, keys, after } => self.lease(*id, *keys, after),
            Query::Leases { after } => Ok(self.leases_after(*after)),
            Query::Revision => Ok(Answer::default()),
            Query::Transaction(transaction) => self
                .look(transaction)
                .map(|result| Answer { transaction: Some(result), ..Answer::default() }),
        };
        let answer = answered
            .unwrap_or_else(|refusal| Answer { refused: Some(refusal), ..Answer::default() });
        Answer { revision: self.revision, ..answer }
    }

    fn get(&self, key: &Bytes) -> Answer {
        let items: Vec<_> = self.keys.get(key).map(|item| item.show(true)).into_iter().collect();
        Answer { count: items.len() as u64, items, ..Answer::default() }
    }

    /// A lease, and as many of its keys behind `after` as fit one answer.
    fn lease(&self, id: LeaseId, with_keys: bool, after: &Bytes) -> Result<Answer, Refusal> {
        let lease = self.leases.get(id).ok_or(Refusal::LeaseNotFound)?;
        let (granted, remaining) = (lease.granted, lease.remaining);
        let mut status = LeaseStatus { id, granted, remaining, keys: Vec::new() };
        let (mut more, mut payload) = (false, 0);
        let rest = (Bound::Excluded(after.clone()), Bound::Unbounded);
        for key in lease.keys.range(rest).take_while(|_| with_keys) {
            payload += key.len() + ITEM_OVERHEAD_BYTES;
            more = payload > MAX_ANSWER_PAYLOAD_BYTES && !status.keys.is_empty();
            if more {
                break;
            }
            status.keys.push(key.clone());
        }
        let (count, leases) = (lease.keys.len() as u64, vec![status]);
        Ok(Answer { count, more, leases, ..Answer::default() })
    }

    /// The leases behind `after`, as many as fit one answer.
    fn leases_after(&self, after: LeaseId) -> Answer {
        const MOST: usize = MAX_ANSWER_PAYLOAD_BYTES / ITEM_OVERHEAD_BYTES;
        let mut rest = self.leases.after(after);
        let leases = rest.by_ref().take(MOST).map(|(id, lease)| LeaseStatus {
            id: *id,
            granted: lease.granted,
            remaining: lease.remaining,
            keys: Vec::new(),
        });
        let leases = leases.collect();
        Answer {
            leases,
            more: rest.next().is_some(),
            count: self.leases.count(),
            ..Answer::default()
        }
    }

    /// Every change from this one on that was made so far, in order.
    pub fn changes(&self, from: Position) -> Result<impl Iterator<Item = Change> + '_, Refusal> {
        let history = self.history.as_ref().ok_or(Refusal::UnknownVersion)?;
        if from.0 < history.compacted() {
            return Err(Refusal::Compacted);
        }
        let show = |((_, sub), item): (&Position, &Arc<Item>)| Change {
            sub: *sub,
            is_delete: item.is_tombstone(),
            item: item.show(true),
        };
        Ok(history.log_from(from).map(show))
    }

    /// What the changed key was before its transaction, if it was there and that is still known.
    pub fn previous(&self, change: &Change) -> Option<KeyValue> {
        let before = Revision(change.item.mod_revision.0.checked_sub(1)?);
        self.key_at(&change.item.key, before).map(|item| item.show(true))
    }

    /// Every key in order.
    #[cfg(test)]
    pub fn items_now(&self) -> impl Iterator<Item = KeyValue> + '_ {
        self.after(None).cloned()
    }
}

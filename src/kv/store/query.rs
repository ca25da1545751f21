//! Answering queries, and telling what changed.

use super::{History, Position, Store};
use crate::kv::limits::{ITEM_OVERHEAD_BYTES, MAX_ANSWER_PAYLOAD_BYTES};
use crate::kv::{Answer, Change, KeyValue, Patience, Query, Refusal};
use crate::types::{LeaseId, Revision};

use std::ops::Bound;

use bytes::Bytes;

impl Store {
    /// Answers a valid query; a range with no more than `room` bytes of what is asked for.
    pub fn query(&self, query: &Query, room: usize, patience: Patience) -> Answer {
        let answered = match query {
            Query::Get { key } => Ok(self.get(key)),
            Query::Range(request) => self.range(request, room, patience).map(|found| Answer {
                items: found.items,
                more: found.more,
                count: found.count,
                ..Answer::default()
            }),
            Query::Lease { id, keys, after } => self.lease(*id, *keys, after),
            Query::Leases { after } => Ok(self.leases_after(*after)),
            Query::Revision => Ok(Answer::default()),
            Query::Transaction(transaction) => self
                .look(transaction, patience)
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
        let mut status = lease.status(id);
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
        let leases = rest.by_ref().take(MOST).map(|(id, lease)| lease.status(*id)).collect();
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
        match from.0 < history.compacted() {
            true => Err(Refusal::Compacted),
            false => Ok(shown(history, from)),
        }
    }

    /// The same, refused only if the broom has been there: what is compacted stays for a while.
    pub fn changes_left(
        &self,
        from: Position,
    ) -> Result<impl Iterator<Item = Change> + '_, Refusal> {
        let history = self.history.as_ref().ok_or(Refusal::UnknownVersion)?;
        let is_left = history.first_change().is_some_and(|first| first <= from);
        match from.0 < history.compacted() && !is_left {
            true => Err(Refusal::Compacted),
            false => Ok(shown(history, from)),
        }
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

fn shown(history: &History, from: Position) -> impl Iterator<Item = Change> + '_ {
    history.log_from(from).map(|((_, sub), item)| Change {
        sub: *sub,
        is_delete: item.is_tombstone(),
        item: item.show(true),
    })
}

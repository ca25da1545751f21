//! Reading: the keys of a range, as they are or as they were.
//!
//! Filters, order and limit are etcd's: the count is of the whole range, whatever is left out;
//! filters come first, then the order, then the limit. A range in the order of its keys is answered
//! while it is walked. Any other order needs all of it at once; only handles are collected.
//!
//! To count, the rest of the range is walked, as etcd does: the tree does not know how many keys a
//! part of it holds.

use std::cmp::Ordering;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::Store;
use super::item::Item;
use super::keys::Versions;
use crate::kv::limits::ITEM_OVERHEAD_BYTES;
use crate::kv::{KeyValue, Patience, RangeRequest, Refusal, SortOrder, SortTarget};
use crate::types::Revision;

/// What a range found.
pub struct Found {
    pub items: Vec<KeyValue>,
    /// There is more, because of the limit or because no more fits.
    pub more: bool,
    /// There is more because no more fits.
    pub cut: bool,
    /// Keys in the whole range.
    pub count: u64,
    /// Of keys and values, and what goes with them.
    pub payload: usize,
    /// Keys that were looked at.
    pub visited: u64,
}

impl Store {
    /// What is asked for, but no more than `room` bytes of it; the first item always fits.
    pub fn range(
        &self,
        request: &RangeRequest,
        room: usize,
        patience: Patience,
    ) -> Result<Found, Refusal> {
        let moment = self.moment(request.revision)?;
        let mut rest = self.items(&request.start, &request.end, moment, patience);
        let mut page = Page::new(request, room);
        let mut count = 0;
        if request.is_in_order_of_keys() || request.count_only {
            for item in rest.by_ref() {
                count += 1;
                if request.wants(item) && !page.take(item) {
                    break;
                }
            }
        } else {
            let mut wanted = Vec::new();
            for item in rest.by_ref() {
                count += 1;
                wanted.extend(request.wants(item).then_some(item));
            }
            wanted.sort_by(|one, two| request.compare(one, two));
            wanted.into_iter().all(|item| page.take(item));
        }
        // No key is empty, so none comes before a zero byte.
        let whole = request.start[..] <= b"\0"[..] && request.end.is_empty() && moment.is_none();
        let count = match whole {
            true => self.keys.len() as u64,
            false => count + rest.by_ref().count() as u64,
        };
        Ok(Found { count, visited: rest.visited, ..page.found })
    }

    /// The revision to look back to; `None`: now is meant.
    fn moment(&self, revision: Revision) -> Result<Option<Revision>, Refusal> {
        if revision.0 == 0 || revision == self.revision {
            return Ok(None);
        }
        if revision > self.revision {
            return Err(Refusal::FutureRevision);
        }
        let kept = self.history.as_ref().is_some_and(|history| revision >= history.compacted());
        if kept { Ok(Some(revision)) } else { Err(Refusal::Compacted) }
    }

    /// Whether `revision` can be read.
    pub fn check_revision(&self, revision: Revision) -> Result<(), Refusal> {
        self.moment(revision).map(|_| ())
    }

    /// The keys from `start` on as they were at `revision`.
    pub fn items_at(&self, revision: Revision, start: &Bytes) -> Result<Items<'_>, Refusal> {
        Ok(self.items(start, &Bytes::new(), self.moment(revision)?, &|| true))
    }

    /// What is in a range now, or was at `moment`, in the order of the keys.
    pub fn items<'a>(
        &'a self,
        start: &Bytes,
        end: &Bytes,
        moment: Option<Revision>,
        patience: Patience<'a>,
    ) -> Items<'a> {
        let upper = if end.is_empty() { Bound::Unbounded } else { Bound::Excluded(&end[..]) };
        let range = (Bound::Included(&start[..]), upper);
        let walk = match moment {
            _ if !end.is_empty() && start >= end => Walk::Now(Box::new(std::iter::empty())),
            None => Walk::Now(Box::new(self.keys.range(range))),
            Some(revision) => Walk::Then(revision, Box::new(self.keys.all(range))),
        };
        Items { walk, patience, visited: 0 }
    }

    /// What `key` was at `revision`, if that is still known.
    pub fn key_at(&self, key: &Bytes, revision: Revision) -> Option<&Arc<Item>> {
        self.history.as_ref().filter(|history| revision >= history.compacted())?;
        self.keys.versions(key)?.at(revision)
    }
}

/// The keys of a range as they are, or as they were.
pub struct Items<'a> {
    walk: Walk<'a>,
    patience: Patience<'a>,
    /// Keys that were looked at, whether or not they were there then.
    pub visited: u64,
}

enum Walk<'a> {
    Now(Box<dyn Iterator<Item = &'a Arc<Item>> + 'a>),
    /// For every key that has a past, a look into it costs O(log n), however often the key was
    /// changed; for the others it costs nothing.
    Then(Revision, Box<dyn Iterator<Item = Versions<'a>> + 'a>),
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a Arc<Item>;

    fn next(&mut self) -> Option<&'a Arc<Item>> {
        loop {
            let item = match &mut self.walk {
                Walk::Now(items) => Some(items.next()?),
                Walk::Then(revision, keys) => keys.next()?.at(*revision),
            };
            if !(self.patience)() {
                return None;
            }
            self.visited += 1;
            if item.is_some() {
                return item;
            }
        }
    }
}

/// An answer that is being filled.
struct Page {
    skip: u64,
    limit: u64,
    room: usize,
    with_values: bool,
    found: Found,
}

impl Page {
    fn new(request: &RangeRequest, room: usize) -> Page {
        let limit = match (request.count_only, request.limit) {
            (true, _) => 0,
            (false, 0) => u64::MAX,
            (false, limit) => limit,
        };
        let found =
            Found { items: Vec::new(), more: false, cut: false, count: 0, payload: 0, visited: 0 };
        Page { skip: request.skip, limit, room, with_values: !request.keys_only, found }
    }

    /// Takes the next item; false: it does not belong to the answer any more, and nothing does.
    fn take(&mut self, item: &Item) -> bool {
        if self.limit == 0 {
            return false;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return true;
        }
        let value = if self.with_values { item.kv.value.len() } else { 0 };
        let found = &mut self.found;
        let payload = found.payload + item.kv.key.len() + value + ITEM_OVERHEAD_BYTES;
        let limited = found.items.len() as u64 >= self.limit;
        found.cut = payload > self.room && !found.items.is_empty() && !limited;
        found.more = found.cut || limited;
        if !found.more {
            found.payload = payload;
            found.items.push(item.show(self.with_values));
        }
        !found.more
    }
}

impl RangeRequest {
    fn is_in_order_of_keys(&self) -> bool {
        self.sort_target == SortTarget::Key && self.sort_order != SortOrder::Descend
    }

    fn wants(&self, item: &Item) -> bool {
        let within =
            |it: Revision, min: Revision, max: Revision| it >= min && (max.0 == 0 || it <= max);
        within(item.kv.mod_revision, self.min_mod_revision, self.max_mod_revision)
            && within(item.kv.create_revision, self.min_create_revision, self.max_create_revision)
    }

    fn compare(&self, one: &Item, two: &Item) -> Ordering {
        let (one, two) = (&one.kv, &two.kv);
        let order = match self.sort_target {
            SortTarget::Key => one.key.cmp(&two.key),
            SortTarget::Version => one.version.cmp(&two.version),
            SortTarget::Create => one.create_revision.cmp(&two.create_revision),
            SortTarget::Mod => one.mod_revision.cmp(&two.mod_revision),
            SortTarget::Value => one.value.cmp(&two.value),
        };
        if self.sort_order == SortOrder::Descend { order.reverse() } else { order }
    }
}

//! What one key was: its versions that are not the latest any more.

use std::sync::Arc;

use imbl::Vector;

use super::item::Item;
use crate::types::Revision;

/// Versions of one key in the order of their revisions, deletions among them. A clone costs O(1).
///
/// Most keys have none or one, which take no memory of their own.
#[derive(Clone, Debug, Default)]
pub enum Past {
    #[default]
    None,
    One(Arc<Item>),
    Many(Box<Vector<Arc<Item>>>),
}

impl Past {
    pub fn is_empty(&self) -> bool {
        matches!(self, Past::None)
    }

    /// From the oldest on.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Item>> {
        let (one, many) = match self {
            Past::None => (None, None),
            Past::One(item) => (Some(item), None),
            Past::Many(items) => (None, Some(items.iter())),
        };
        one.into_iter().chain(many.into_iter().flatten())
    }

    pub fn last(&self) -> Option<&Arc<Item>> {
        match self {
            Past::None => None,
            Past::One(item) => Some(item),
            Past::Many(items) => items.last(),
        }
    }

    /// The version that was the latest at `revision`; it may be a deletion.
    pub fn at(&self, revision: Revision) -> Option<&Arc<Item>> {
        match self {
            Past::None => None,
            Past::One(item) => Some(item).filter(|item| item.kv.mod_revision <= revision),
            Past::Many(items) => {
                let place = items.binary_search_by(|item| item.kv.mod_revision.cmp(&revision));
                let behind = place.map_or_else(|behind| behind, |place| place + 1);
                items.get(behind.checked_sub(1)?)
            }
        }
    }

    /// The version right there; it may be a deletion.
    pub fn exactly(&self, revision: Revision) -> Option<&Arc<Item>> {
        self.at(revision).filter(|item| item.kv.mod_revision == revision)
    }

    /// Adds a version that is newer than all.
    pub fn push(&mut self, item: Arc<Item>) {
        match self {
            Past::None => *self = Past::One(item),
            Past::One(first) => {
                *self = Past::Many(Box::new([first.clone(), item].into_iter().collect()));
            }
            Past::Many(items) => items.push_back(item),
        }
    }

    /// Takes out the last version before `revision`, which another took the place of there.
    pub fn forget_before(&mut self, revision: Revision) -> Option<Arc<Item>> {
        // Nearly always it is the oldest.
        if let Past::Many(items) = self
            && let (Some(first), Some(second)) = (items.get(0), items.get(1))
            && first.kv.mod_revision < revision
            && second.kv.mod_revision >= revision
        {
            return self.remove_first();
        }
        let before = Revision(revision.0.checked_sub(1)?);
        let last = self.at(before)?.kv.mod_revision;
        self.remove(last)
    }

    /// Takes out the deletion right there, if there is one.
    pub fn forget_deletion(&mut self, revision: Revision) -> Option<Arc<Item>> {
        self.exactly(revision).filter(|item| item.is_tombstone())?;
        self.remove(revision)
    }

    fn remove(&mut self, revision: Revision) -> Option<Arc<Item>> {
        match self {
            Past::Many(items) => {
                let place = items.binary_search_by(|item| item.kv.mod_revision.cmp(&revision));
                let removed = items.remove(place.ok()?);
                self.shrink();
                Some(removed)
            }
            Past::One(item) if item.kv.mod_revision == revision => self.remove_first(),
            Past::One(_) | Past::None => None,
        }
    }

    fn remove_first(&mut self) -> Option<Arc<Item>> {
        match self {
            Past::Many(items) => {
                let first = items.pop_front();
                self.shrink();
                first
            }
            Past::One(_) | Past::None => match std::mem::take(self) {
                Past::One(item) => Some(item),
                Past::None | Past::Many(_) => None,
            },
        }
    }

    /// Of more than one, one has gone.
    fn shrink(&mut self) {
        if let Past::Many(items) = self
            && items.len() == 1
        {
            *self = items.pop_front().map_or(Past::None, Past::One);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However many there are: what a plain list would do.
        #[test]
        fn it_is_a_list(steps in prop::collection::vec((0..4_u8, 1..40_u64), 0..60)) {
            let (mut past, mut list, mut newest) = (Past::default(), Vec::<(u64, bool)>::new(), 0);
            for (kind, number) in steps {
                match kind {
                    0 | 1 => {
                        newest += number % 3 + 1;
                        let tombstone = Item::tombstone("k".into(), Revision(newest));
                        let is_tombstone = kind == 0;
                        past.push(match is_tombstone {
                            true => tombstone,
                            false => Item::new(crate::kv::KeyValue {
                                version: 1,
                                ..tombstone.kv.clone()
                            }),
                        });
                        list.push((newest, is_tombstone));
                    }
                    2 => {
                        let place = list.iter().rposition(|(revision, _)| *revision < number);
                        let wanted = place.map(|place| list.remove(place).0);
                        let found = past.forget_before(Revision(number));
                        prop_assert_eq!(found.map(|item| item.kv.mod_revision.0), wanted);
                    }
                    _ => {
                        let place = list.iter().position(|it| *it == (number, true));
                        let wanted = place.map(|place| list.remove(place).0);
                        let found = past.forget_deletion(Revision(number));
                        prop_assert_eq!(found.map(|item| item.kv.mod_revision.0), wanted);
                    }
                }
                let kept: Vec<_> = past.iter().map(|item| item.kv.mod_revision.0).collect();
                let wanted: Vec<_> = list.iter().map(|(revision, _)| *revision).collect();
                prop_assert_eq!(&kept, &wanted);
                prop_assert_eq!(past.is_empty(), list.is_empty());
                prop_assert_eq!(past.last().map(|it| it.kv.mod_revision.0), wanted.last().copied());
                for revision in 0..=newest + 1 {
                    let at = past.at(Revision(revision)).map(|item| item.kv.mod_revision.0);
                    let wanted = wanted.iter().rev().find(|it| **it <= revision).copied();
                    prop_assert_eq!(at, wanted);
                    let exactly = past.exactly(Revision(revision)).is_some();
                    prop_assert_eq!(exactly, wanted == Some(revision));
                }
            }
        }
    }
}

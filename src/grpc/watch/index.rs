//! Whom a change concerns, among all who watch.
//!
//! Watches of one range that want the same kinds of changes are a group: a change is looked up once
//! for all of them, and what they are told is made once. Ten thousand watches of one key cost a
//! look-up no more than one does; so do ten thousand of different keys, or of ranges that do not
//! overlap. Only distinct ranges that all hold the key are found one by one.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::rc::Rc;

use bytes::Bytes;

use super::intervals::Intervals;
use super::range::{KeyRange, Wants};

/// The watches of one range that want the same.
pub struct Group<W> {
    /// Never used again.
    pub id: u64,
    pub wants: Wants,
    members: RefCell<BTreeMap<u64, Rc<W>>>,
}

impl<W> Group<W> {
    /// Up to `most` of them, behind the one of this number, ascending.
    pub fn members(&self, behind: Option<u64>, most: usize) -> Vec<(u64, Rc<W>)> {
        let lower = behind.map_or(Bound::Unbounded, Bound::Excluded);
        let members = self.members.borrow();
        let some = members.range((lower, Bound::Unbounded)).take(most);
        some.map(|(number, watch)| (*number, Rc::clone(watch))).collect()
    }
}

/// Of one range: as many as there are ways to filter, four at most.
type Groups<W> = Vec<Rc<Group<W>>>;

/// See the [module](self).
pub struct Index<W> {
    /// A single key is by far the most frequent range.
    keys: BTreeMap<Bytes, Groups<W>>,
    ranges: Intervals<Groups<W>>,
    last_group: u64,
    watches: usize,
}

impl<W> Default for Index<W> {
    fn default() -> Index<W> {
        let (keys, ranges) = (BTreeMap::new(), Intervals::default());
        Index { keys, ranges, last_group: 0, watches: 0 }
    }
}

impl<W> Index<W> {
    pub fn is_empty(&self) -> bool {
        self.watches == 0
    }

    /// Takes a watch in, under a number that no other has.
    pub fn insert(&mut self, range: &KeyRange, wants: Wants, number: u64, watch: Rc<W>) {
        let groups = match range.only_key() {
            Some(key) => self.keys.entry(key.clone()).or_default(),
            None => {
                if self.ranges.get_mut(range).is_none() {
                    self.ranges.insert(range, Vec::new());
                }
                let Some(groups) = self.ranges.get_mut(range) else { return };
                groups
            }
        };
        if !groups.iter().any(|group| group.wants == wants) {
            self.last_group += 1;
            let members = RefCell::default();
            groups.push(Rc::new(Group { id: self.last_group, wants, members }));
        }
        let group = groups.iter().find(|group| group.wants == wants);
        if let Some(group) = group
            && group.members.borrow_mut().insert(number, watch).is_none()
        {
            self.watches += 1;
        }
    }

    /// Takes a watch out, if it is there.
    pub fn remove(&mut self, range: &KeyRange, wants: Wants, number: u64) {
        let groups = match range.only_key() {
            Some(key) => self.keys.get_mut(key),
            None => self.ranges.get_mut(range),
        };
        let Some(groups) = groups else { return };
        for group in groups.iter().filter(|group| group.wants == wants) {
            let removed = group.members.borrow_mut().remove(&number);
            self.watches -= usize::from(removed.is_some());
        }
        groups.retain(|group| !group.members.borrow().is_empty());
        if groups.is_empty() {
            match range.only_key() {
                Some(key) => drop(self.keys.remove(key)),
                None => drop(self.ranges.remove(range)),
            }
        }
    }

    /// Every group whose range holds the key.
    pub fn find(&self, key: &Bytes, mut found: impl FnMut(&Rc<Group<W>>)) {
        self.keys.get(key).into_iter().flatten().for_each(&mut found);
        self.ranges.find(key, |groups| groups.iter().for_each(&mut found));
    }

    /// All of them, and none is left.
    pub fn take(&mut self) -> Vec<Rc<W>> {
        let taken = std::mem::take(self);
        self.last_group = taken.last_group;
        let mut all = Vec::new();
        let mut empty = |groups: &Groups<W>| {
            let members = groups.iter().flat_map(|group| group.members.take());
            all.extend(members.map(|(_, watch)| watch));
        };
        taken.keys.values().for_each(&mut empty);
        taken.ranges.for_each(&mut empty);
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const EACH: [Wants; 3] =
        [Wants::ALL, Wants { puts: true, deletes: false }, Wants { puts: false, deletes: true }];

    /// Short keys of few letters, so that ranges meet.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(0_u8..3, 1..4)
    }

    fn range() -> impl Strategy<Value = KeyRange> {
        let end = prop_oneof![Just(Vec::new()), Just(vec![0]), key()];
        (key(), end).prop_filter_map("empty", |(key, end)| KeyRange::of(&key, &end))
    }

    proptest! {
        #[test]
        fn it_finds_whom_a_look_at_all_of_them_finds(
            watches in proptest::collection::vec((range(), 0_usize..3, any::<bool>()), 0..60),
            asked in proptest::collection::vec(key(), 1..20),
        ) {
            let mut index = Index::default();
            for (number, (range, wants, _)) in watches.iter().enumerate() {
                index.insert(range, EACH[*wants], number as u64, Rc::new(number));
            }
            for (number, (range, wants, stays)) in watches.iter().enumerate() {
                if !stays {
                    index.remove(range, EACH[*wants], number as u64);
                    // Once more, and as another: neither is there.
                    index.remove(range, EACH[*wants], number as u64);
                    index.remove(range, EACH[*wants], 1_000_000);
                }
            }
            for key in asked {
                let mut found = Vec::new();
                index.find(&Bytes::from(key.clone()), |group| {
                    for (_, watch) in group.members(None, usize::MAX) {
                        found.push((*watch, group.wants));
                    }
                });
                found.sort_by_key(|(number, _)| *number);
                let all = watches.iter().enumerate();
                let expected: Vec<_> = all
                    .filter(|(_, (range, _, stays))| *stays && range.contains(&key))
                    .map(|(number, (_, wants, _))| (number, EACH[*wants]))
                    .collect();
                prop_assert_eq!(found, expected);
            }
            let stay = watches.iter().filter(|(_, _, stays)| *stays).count();
            prop_assert_eq!(index.is_empty(), stay == 0);
            prop_assert_eq!(index.take().len(), stay);
            prop_assert!(index.is_empty());
        }
    }
}

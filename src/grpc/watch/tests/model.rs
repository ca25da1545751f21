//! Hub and feeds against one who filters a list of all changes.

use std::collections::BTreeMap;
use std::rc::Rc;

use proptest::prelude::*;

use super::super::feed::{Feed, Next};
use super::super::hub::{Hub, HubOptions};
use super::super::range::{KeyRange, Wants};
use super::{KEYS, World, name};
use crate::kv::{Change, Operation, PutRequest, RequestOp};
use crate::types::Revision;

/// What a watch must be told, and what it was.
pub struct Expectation {
    range: KeyRange,
    wants: Wants,
    from: Revision,
    pub told: Vec<Change>,
}

impl Expectation {
    fn all(&self, world: &World) -> Vec<Change> {
        let changes = world.changes.borrow();
        let is_its = |change: &&Change| {
            change.item.mod_revision >= self.from
                && self.range.contains(&change.item.key)
                && self.wants.takes(change)
        };
        changes.iter().filter(is_its).cloned().collect()
    }

    fn hears(&mut self, world: &World, changes: &[Rc<Change>]) {
        self.told.extend(changes.iter().map(|change| (**change).clone()));
        let all = self.all(world);
        assert!(
            !changes.is_empty() && all.starts_with(&self.told),
            "skipped, twice, or in disorder"
        );
        let last = self.told.last().map(|change| change.item.mod_revision);
        let next = all.get(self.told.len()).map(|change| change.item.mod_revision);
        assert!(last != next, "half of revision {last:?}");
    }
}

/// A feed, and what its watches must be told.
pub struct Reader {
    feed: Feed,
    pub watches: BTreeMap<u64, Expectation>,
}

impl Reader {
    pub fn new(hub: &Rc<Hub>) -> Reader {
        Reader { feed: Feed::new(hub), watches: BTreeMap::new() }
    }

    pub fn watch(&mut self, world: &World, range: KeyRange, wants: Wants, from: Option<Revision>) {
        let (number, now) = self.feed.watch(range.clone(), wants, from).unwrap();
        assert_eq!(now, world.revision());
        let from = from.unwrap_or(Revision(now.0 + 1));
        self.watches.insert(number, Expectation { range, wants, from, told: Vec::new() });
    }

    /// Asks once; whether it must be asked again to hear all.
    pub fn read(&mut self, world: &World) -> bool {
        match self.feed.next() {
            Next::Events { watch, changes } => {
                let watch = self.watches.get_mut(&watch).expect("a watch that is not over");
                watch.hears(world, &changes);
            }
            Next::Compacted { watch, at } => {
                let watch = self.watches.remove(&watch).expect("a watch that is not over");
                assert_eq!(at, world.machine.borrow().compacted_revision());
                let last = watch.told.last().map_or(watch.from, |it| it.item.mod_revision);
                assert!(last < at, "it had heard of {last}, and {at} is there still");
            }
            Next::Later => {}
            Next::Nothing => return false,
        }
        if let Some(revision) = self.feed.caught_up() {
            for watch in self.watches.values() {
                let all = watch.all(world);
                let missing = all.get(watch.told.len()).map(|it| it.item.mod_revision);
                assert!(missing.is_none_or(|missing| missing > revision), "promised {revision}");
            }
        }
        true
    }
}

#[derive(Clone, Debug)]
enum Deed {
    Puts { from: usize, count: usize, bytes: usize },
    Transaction { from: usize, count: usize },
    DeleteFrom(usize),
    Compact { back: u64 },
    Watch { reader: usize, range: KeyRange, wants: Wants, from: Option<i64> },
    Cancel { reader: usize, which: usize },
    Step(usize),
    Read { reader: usize, times: usize },
    Leave { reader: usize },
}

const READERS: usize = 3;

fn range() -> impl Strategy<Value = KeyRange> {
    let number = 0..KEYS;
    prop_oneof![
        number.clone().prop_map(|number| KeyRange::of(&name(number), b"").unwrap()),
        (number.clone(), 1..KEYS).prop_filter_map("empty", |(number, more)| {
            KeyRange::of(&name(number), &name(number + more))
        }),
        number.prop_map(|number| KeyRange::of(&name(number), b"\0").unwrap()),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    let (reader, number) = (0..READERS, 0..KEYS);
    let wants = prop_oneof![
        4 => Just(Wants::ALL),
        1 => (any::<bool>(), any::<bool>()).prop_map(|(puts, deletes)| Wants { puts, deletes }),
    ];
    let bytes = prop_oneof![6 => Just(1_usize), 1 => Just(100 << 10)];
    prop_oneof![
        4 => (number.clone(), prop_oneof![1_usize..20, 100_usize..400], bytes).prop_map(
            |(from, count, bytes)| {
                let count = if bytes > 1 { count.min(40) } else { count };
                Deed::Puts { from, count, bytes }
            }
        ),
        2 => (number.clone(), 1_usize..128)
            .prop_map(|(from, count)| Deed::Transaction { from, count }),
        1 => number.prop_map(Deed::DeleteFrom),
        1 => (0_u64..50).prop_map(|back| Deed::Compact { back }),
        4 => (reader.clone(), range(), wants, proptest::option::of(-300_i64..20))
            .prop_map(|(reader, range, wants, from)| Deed::Watch { reader, range, wants, from }),
        1 => (reader.clone(), 0_usize..5)
            .prop_map(|(reader, which)| Deed::Cancel { reader, which }),
        3 => (1_usize..4).prop_map(Deed::Step),
        4 => (reader.clone(), prop_oneof![1_usize..5, Just(10_000_usize)])
            .prop_map(|(reader, times)| Deed::Read { reader, times }),
        1 => reader.prop_map(|reader| Deed::Leave { reader }),
    ]
}

fn live(deeds: Vec<Deed>) {
    let world = World::new();
    let hub = Rc::new(Hub::new(world.clone(), HubOptions::default()));
    let mut readers: Vec<Reader> = (0..READERS).map(|_| Reader::new(&hub)).collect();
    for deed in deeds {
        match deed {
            Deed::Puts { from, count, bytes } => {
                (from..from + count).for_each(|number| world.put(number, bytes));
            }
            Deed::Transaction { from, count } => {
                let put = |number| PutRequest { key: name(number), ..PutRequest::default() };
                let puts = (from..from + count).map(|number| RequestOp::Put(put(number)));
                world.transaction(puts.collect());
            }
            Deed::DeleteFrom(number) => world.delete_from(number),
            Deed::Compact { back } => {
                let revision = Revision(world.revision().0.saturating_sub(back));
                world.apply(Operation::Compact { revision });
            }
            Deed::Watch { reader, range, wants, from } => {
                let at = |from| world.revision().0.saturating_add_signed(from).max(1);
                let from = from.map(|from| Revision(at(from)));
                readers[reader].watch(&world, range, wants, from);
            }
            Deed::Cancel { reader, which } => {
                let reader = &mut readers[reader];
                if let Some(number) = reader.watches.keys().nth(which).copied() {
                    reader.watches.remove(&number);
                    assert!(reader.feed.cancel(number) && !reader.feed.cancel(number));
                }
            }
            Deed::Step(times) => (0..times).for_each(|_| _ = hub.step()),
            Deed::Read { reader, times } => {
                (0..times).all(|_| readers[reader].read(&world));
            }
            Deed::Leave { reader } => readers[reader] = Reader::new(&hub),
        }
        hub.moved(world.revision());
    }
    while hub.step() {}
    for reader in &mut readers {
        while reader.read(&world) {}
        for watch in reader.watches.values() {
            assert_eq!(watch.told, watch.all(&world), "something was never told");
        }
        let is_here = |watch: &Expectation| watch.from.0 <= world.revision().0 + 1;
        if reader.watches.values().all(is_here) {
            assert_eq!(reader.feed.caught_up(), Some(world.revision()));
        }
    }
    let figures = hub.figures();
    let watches: usize = readers.iter().map(|reader| reader.watches.len()).sum();
    assert_eq!((figures.watches, figures.behind), (watches as u64, 0));
    drop(readers);
    let figures = hub.figures();
    assert_eq!((figures.watches, figures.feeds, figures.behind), (0, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn each_watch_is_told_what_it_asked_for_and_nothing_else(
        deeds in proptest::collection::vec(deed(), 1..80),
    ) {
        live(deeds);
    }
}

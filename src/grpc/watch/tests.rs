//! Hub and feeds against one who filters a list of all changes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use proptest::prelude::*;

use super::feed::{Feed, Next};
use super::hub::{Hub, HubOptions, NoWatch, Source};
use super::range::{KeyRange, Wants};
use crate::kv::{
    Change, Command, DeleteRangeRequest, Effect, Machine, Operation, PutRequest, RequestOp,
    Transaction,
};
use crate::types::{LogIndex, Revision};

/// A state machine, and everything that it ever did.
struct World {
    machine: RefCell<Machine>,
    changes: RefCell<Vec<Change>>,
}

impl Source for World {
    fn look(&self, look: &mut dyn FnMut(&Machine)) {
        look(&self.machine.borrow());
    }
}

impl World {
    fn new() -> Rc<World> {
        let world = World { machine: RefCell::default(), changes: RefCell::default() };
        world.apply(Operation::RaiseVersion { to: 2 });
        world.apply(Operation::RaiseVersion { to: 3 });
        Rc::new(world)
    }

    fn apply(&self, operation: Operation) -> Effect {
        let mut machine = self.machine.borrow_mut();
        let coming = Revision(machine.revision().0 + 1);
        let index = LogIndex(machine.applied_index().0 + 1);
        let command = Command { session: None, operation };
        let effect = machine.apply(index, &command.encode()).effect;
        if let Ok(made) = machine.changes(coming) {
            self.changes.borrow_mut().extend(made);
        }
        effect
    }

    fn revision(&self) -> Revision {
        self.machine.borrow().revision()
    }

    fn put(&self, number: usize, bytes: usize) {
        let (key, value) = (name(number), Bytes::from(vec![7; bytes]));
        assert!(matches!(self.apply(Operation::Put { key, value }), Effect::Put { .. }));
    }

    fn transaction(&self, success: Vec<RequestOp>) {
        let transaction = Transaction { success, ..Transaction::default() };
        let effect = self.apply(Operation::Transaction(transaction));
        assert!(matches!(effect, Effect::Transaction(_)), "{effect:?}");
    }

    fn delete_from(&self, number: usize) {
        let all = DeleteRangeRequest { start: name(number), end: Bytes::new(), prev_kv: false };
        self.transaction(vec![RequestOp::DeleteRange(all)]);
    }
}

const KEYS: usize = 600;

fn name(number: usize) -> Bytes {
    format!("{:03}", number % KEYS).into()
}

/// What a watch must be told, and what it was.
struct Expectation {
    range: KeyRange,
    wants: Wants,
    from: Revision,
    told: Vec<Change>,
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
struct Reader {
    feed: Feed,
    watches: BTreeMap<u64, Expectation>,
}

impl Reader {
    fn new(hub: &Rc<Hub>) -> Reader {
        Reader { feed: Feed::new(hub), watches: BTreeMap::new() }
    }

    fn watch(&mut self, world: &World, range: KeyRange, wants: Wants, from: Option<Revision>) {
        let (number, now) = self.feed.watch(range.clone(), wants, from).unwrap();
        assert_eq!(now, world.revision());
        let from = from.unwrap_or(Revision(now.0 + 1));
        self.watches.insert(number, Expectation { range, wants, from, told: Vec::new() });
    }

    /// Asks once; whether it must be asked again to hear all.
    fn read(&mut self, world: &World) -> bool {
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

/// A hub over a world, and a reader.
fn fresh() -> (Rc<World>, Rc<Hub>, Reader) {
    let world = World::new();
    let hub = Rc::new(Hub::new(world.clone(), HubOptions::default()));
    let reader = Reader::new(&hub);
    (world, hub, reader)
}

fn everything() -> KeyRange {
    KeyRange::of(b"", b"\0").unwrap()
}

#[test]
fn who_does_not_read_falls_behind_and_comes_back() {
    let (world, hub, mut reader) = fresh();
    reader.watch(&world, everything(), Wants::ALL, None);
    (0..5000).for_each(|number| world.put(number, 1));
    while hub.step() {}
    assert_eq!(hub.figures().behind, 1);
    while reader.read(&world) {}
    assert_eq!(hub.figures().behind, 0);
    let told = &reader.watches.values().next().unwrap().told;
    assert_eq!(told.len(), 5000);
    world.put(1, 1);
    while hub.step() {}
    assert_eq!(hub.figures().behind, 0);
    while reader.read(&world) {}
    assert_eq!(reader.watches.values().next().unwrap().told.len(), 5001);
}

#[test]
fn a_stream_holds_only_so_many_bytes_for_whoever_does_not_read() {
    let (world, hub, mut reader) = fresh();
    for _ in 0..100 {
        reader.watch(&world, everything(), Wants::ALL, None);
    }
    // One value for all of them counts once: two mebibytes have room for it.
    world.put(0, 1 << 20);
    while hub.step() {}
    assert_eq!(hub.figures().behind, 0);
    world.put(1, 1 << 20);
    while hub.step() {}
    assert_eq!(hub.figures().behind, 100);
    while reader.read(&world) {}
    assert!(reader.watches.values().all(|watch| watch.told.len() == 2));
    assert_eq!(hub.figures().behind, 0);
}

#[test]
fn a_synced_watch_outlives_a_compaction_that_comes_right_after_the_write() {
    let (world, hub, mut reader) = fresh();
    reader.watch(&world, everything(), Wants::ALL, None);
    (0..20).for_each(|number| world.put(number, 1));
    assert_eq!(world.apply(Operation::Compact { revision: world.revision() }), Effect::Compacted);
    while hub.step() {}
    while reader.read(&world) {}
    assert_eq!(reader.watches.values().next().unwrap().told.len(), 20);
}

#[test]
fn a_hub_that_is_overtaken_cancels_what_it_cannot_tell() {
    let (world, hub, mut reader) = fresh();
    reader.watch(&world, everything(), Wants::ALL, None);
    // One that begins later is not concerned.
    reader.watch(&world, everything(), Wants::ALL, Some(Revision(100_000)));
    (0..2000).for_each(|number| world.put(number, 1));
    world.apply(Operation::Compact { revision: world.revision() });
    // The broom goes by.
    (0..100).for_each(|number| world.put(number, 1));
    while hub.step() {}
    while reader.read(&world) {}
    assert_eq!(reader.watches.len(), 1);
    assert_eq!(hub.figures().watches, 1);
}

#[test]
fn a_node_has_only_so_many_watches() {
    let world = World::new();
    let options = HubOptions { watches: 10, range_bytes: 100, ..HubOptions::default() };
    let hub = Rc::new(Hub::new(world, options));
    let mut feed = Feed::new(&hub);
    let key = KeyRange::of(b"k", b"").unwrap();
    let numbers: Vec<u64> =
        (0..10).map(|_| feed.watch(key.clone(), Wants::ALL, None).unwrap().0).collect();
    let refused = feed.watch(key.clone(), Wants::ALL, None);
    assert_eq!(refused, Err(NoWatch::TooMany));
    assert!(feed.cancel(numbers[3]));
    let long = KeyRange::of(&[b'k'; 100], b"").unwrap();
    assert_eq!(feed.watch(long, Wants::ALL, None), Err(NoWatch::TooMany));
    assert!(feed.watch(key, Wants::ALL, None).is_ok());
    drop(feed);
    assert_eq!(hub.figures().watches, 0);
}

#[test]
fn a_watch_inside_the_node_hears_of_what_comes() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (world, hub, reader) = fresh();
    drop(reader);
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let running = tokio::task::spawn_local(hub.clone().run());
        let mut subscription = hub.watch(KeyRange::prefix(b"00"), None).unwrap();
        let writer = tokio::task::spawn_local({
            let (world, hub) = (world.clone(), hub.clone());
            async move {
                for number in [500, 3, 501, 4] {
                    world.put(number, 1);
                    hub.moved(world.revision());
                    tokio::task::yield_now().await;
                }
            }
        });
        let mut keys = Vec::new();
        while keys.len() < 2 {
            let patience = std::time::Duration::from_secs(20);
            let next = tokio::time::timeout(patience, subscription.next()).await;
            keys.extend(next.unwrap().unwrap().iter().map(|it| it.item.key.clone()));
        }
        assert_eq!(keys, [name(3), name(4)]);
        writer.await.unwrap();
        drop(subscription);
        assert_eq!(hub.figures().feeds, 0);
        running.abort();
    });
}

//! A hub at its bounds.

use std::rc::Rc;

use bytes::Bytes;

use super::super::feed::Feed;
use super::super::hub::{Hub, HubOptions, NoWatch};
use super::super::range::{KeyRange, Wants};
use super::model::Reader;
use super::{World, name};
use crate::kv::{Effect, Operation, PutRequest, RequestOp};
use crate::types::Revision;

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
fn a_message_is_not_cut_within_a_revision_however_large() {
    let (world, _hub, mut reader) = fresh();
    world.put(0, 500 << 10);
    let put = |number| {
        let (key, value) = (name(number), Bytes::from(vec![7; 700 << 10]));
        RequestOp::Put(PutRequest { key, value, ..PutRequest::default() })
    };
    world.transaction(vec![put(1), put(2)]);
    world.put(3, 1);
    reader.watch(&world, everything(), Wants::ALL, Some(Revision(1)));
    // What it is told is looked at there.
    while reader.read(&world) {}
    assert_eq!(reader.watches.values().next().unwrap().told.len(), 4);
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

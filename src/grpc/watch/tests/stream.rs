//! What one client's stream answers, line by line of `schema/etcd/README.md`.

use std::rc::Rc;

use bytes::Bytes;

use super::super::hub::{Hub, HubOptions};
use super::super::stream::WatchStream;
use super::{World, name};
use crate::grpc::idle;
use crate::grpc::pb::etcdserverpb as pb;
use crate::grpc::pb::etcdserverpb::watch_create_request::FilterType;
use crate::grpc::pb::etcdserverpb::watch_request::RequestUnion;
use crate::kv::{Effect, Operation, PutRequest, RequestOp};
use crate::types::Revision;

/// A client of one stream.
struct Talk {
    world: Rc<World>,
    hub: Rc<Hub>,
    stream: WatchStream,
}

impl Talk {
    fn new() -> Talk {
        Talk::with(HubOptions::default())
    }

    fn with(options: HubOptions) -> Talk {
        let world = World::new();
        let hub = Rc::new(Hub::new(world.clone(), options));
        let stream = WatchStream::new(idle::node(Some(&hub)));
        Talk { world, hub, stream }
    }

    fn ask(&mut self, request: RequestUnion) {
        self.stream.take(pb::WatchRequest { request_union: Some(request) }).unwrap();
    }

    fn create(&mut self, request: pb::WatchCreateRequest) {
        self.ask(RequestUnion::CreateRequest(request));
    }

    fn cancel(&mut self, watch_id: i64) {
        self.ask(RequestUnion::CancelRequest(pb::WatchCancelRequest { watch_id }));
    }

    fn ask_for_progress(&mut self) {
        self.ask(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}));
    }

    /// All that comes, until there is no more.
    fn hears(&mut self) -> Vec<pb::WatchResponse> {
        while self.hub.step() {}
        let mut heard = Vec::new();
        while self.stream.has_more() {
            heard.extend(self.stream.next());
        }
        heard
    }

    /// The one message that comes.
    fn hears_one(&mut self) -> pb::WatchResponse {
        let mut heard = self.hears();
        assert_eq!(heard.len(), 1, "{heard:?}");
        heard.remove(0)
    }

    fn revision(&self) -> i64 {
        self.world.revision().0 as i64
    }

    fn compact(&self, revision: i64) {
        let effect = self.world.apply(Operation::Compact { revision: Revision(revision as u64) });
        assert_eq!(effect, Effect::Compacted);
    }
}

pub fn key(number: usize) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: name(number), ..Default::default() }
}

fn all() -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { range_end: Bytes::from_static(&[0]), ..Default::default() }
}

fn revision(message: &pb::WatchResponse) -> i64 {
    message.header.unwrap().revision
}

/// Key and revision of each event.
fn events(message: &pb::WatchResponse) -> Vec<(Bytes, i64)> {
    let kvs = message.events.iter().map(|event| event.kv.clone().unwrap());
    kvs.map(|kv| (kv.key, kv.mod_revision)).collect()
}

#[test]
fn ids_are_given_from_zero_up_or_chosen() {
    let mut talk = Talk::new();
    talk.create(key(0));
    let created = talk.hears_one();
    assert_eq!((created.watch_id, created.created, created.canceled), (0, true, false));
    let header = created.header.unwrap();
    assert_eq!((header.cluster_id, header.member_id, header.raft_term), (1, 2, 5));
    assert_eq!(header.revision, talk.revision());
    for (asked, given) in [(1, 1), (-3, -3), (0, 2), (4, 4), (0, 3), (0, 5)] {
        talk.create(pb::WatchCreateRequest { watch_id: asked, ..key(0) });
        assert_eq!(talk.hears_one().watch_id, given, "asked for {asked}");
    }
    talk.cancel(3);
    talk.cancel(-3);
    talk.hears();
    talk.create(key(0));
    assert_eq!(talk.hears_one().watch_id, 6, "3 was used before");
    talk.create(pb::WatchCreateRequest { watch_id: -3, ..key(0) });
    assert_eq!(talk.hears_one().watch_id, -3);
}

#[test]
fn what_cannot_be_watched_is_refused_and_the_stream_goes_on() {
    let mut talk = Talk::with(HubOptions { watches: 2, ..HubOptions::default() });
    let taken = "mvcc: duplicate watch ID provided on the WatchStream";
    let empty = "mvcc: watcher range is empty";
    let full = "kvraft: this node has as many watches as it can";
    let before = |end| pb::WatchCreateRequest { range_end: Bytes::from_static(end), ..key(5) };
    talk.create(pb::WatchCreateRequest { watch_id: 7, ..key(0) });
    talk.create(pb::WatchCreateRequest { watch_id: 7, ..key(0) });
    talk.create(before(b"004"));
    talk.create(before(b"005"));
    talk.create(key(1));
    talk.create(key(2));
    let heard = talk.hears();
    let reasons: Vec<&str> = heard.iter().map(|it| it.cancel_reason.as_str()).collect();
    assert_eq!(reasons, ["", taken, empty, empty, "", full]);
    for refused in heard.iter().filter(|it| !it.cancel_reason.is_empty()) {
        assert!(refused.created && refused.canceled && refused.watch_id == -1);
        assert_eq!((revision(refused), refused.compact_revision), (talk.revision(), 0));
    }
    assert_eq!(heard[4].watch_id, 0, "what was refused used no id");
    talk.stream.take(pb::WatchRequest::default()).unwrap();
    assert!(talk.hears().is_empty());
    talk.world.put(0, 1);
    assert_eq!(talk.hears_one().watch_id, 7);
}

#[test]
fn a_watch_begins_now_in_the_past_or_later() {
    let mut talk = Talk::new();
    (0..10).for_each(|number| talk.world.put(number, 1));
    let now = talk.revision();
    talk.create(all());
    assert!(talk.hears_one().created);
    talk.create(pb::WatchCreateRequest { start_revision: now - 2, ..all() });
    let heard = talk.hears();
    assert!(heard[0].created && heard[0].events.is_empty());
    let expected = [(name(7), now - 2), (name(8), now - 1), (name(9), now)];
    assert_eq!(heard.len(), 2);
    assert_eq!((heard[1].watch_id, events(&heard[1])), (1, expected.to_vec()));
    assert_eq!(revision(&heard[1]), now);
    talk.create(pb::WatchCreateRequest { start_revision: now + 3, ..all() });
    assert!(talk.hears_one().created);
    (0..4).for_each(|number| talk.world.put(number, 1));
    let heard = talk.hears();
    let told = |id| {
        let its = heard.iter().filter(|message| message.watch_id == id);
        its.map(|message| events(message)[0].1 - now).collect::<Vec<_>>()
    };
    assert_eq!((told(0), told(1), told(2)), (vec![1, 2, 3, 4], vec![1, 2, 3, 4], vec![3, 4]));
    assert!(heard.iter().all(|message| message.events.len() == 1), "a message for each revision");
}

#[test]
fn what_is_compacted_cannot_be_watched() {
    let mut talk = Talk::new();
    let from = |start_revision| pb::WatchCreateRequest { start_revision, ..all() };
    let over = |talk: &mut Talk, compacted: i64| {
        let heard = talk.hears();
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(heard[0].created && !heard[0].canceled && revision(&heard[0]) == talk.revision());
        let last = &heard[1];
        assert!(last.canceled && !last.created && last.cancel_reason.is_empty());
        assert!(last.events.is_empty() && last.watch_id == heard[0].watch_id);
        assert_eq!((last.compact_revision, revision(last)), (compacted, 0));
        assert_ne!(last.header.unwrap().member_id, 0);
    };
    (0..9).for_each(|number| talk.world.put(number, 1));
    // Never compacted: as if it had been at -1.
    talk.create(from(-2));
    over(&mut talk, -1);
    talk.create(from(-1));
    assert_eq!(events(&talk.hears()[1]).len(), 9);
    talk.compact(5);
    for start in [4, 1, -1, -100] {
        talk.create(from(start));
        over(&mut talk, 5);
    }
    talk.create(from(5));
    assert_eq!(events(&talk.hears()[1])[0].1, 5);
    assert_eq!(talk.hub.figures().watches, 2, "only those that live");
}

#[test]
fn a_watch_that_catches_up_can_be_overtaken() {
    let mut talk = Talk::new();
    (0..5000).for_each(|number| talk.world.put(number, 1));
    talk.create(pb::WatchCreateRequest { start_revision: 2, ..all() });
    assert!(talk.stream.next().unwrap().created);
    let first = std::iter::repeat_with(|| talk.stream.next()).flatten().next().unwrap();
    assert_eq!(first.events.len(), 1000, "so many revisions at once");
    talk.compact(talk.revision() - 10);
    let last = talk.hears_one();
    assert!(last.canceled);
    assert_eq!((last.compact_revision, revision(&last)), (talk.revision() - 10, 0));
    assert!(talk.hears().is_empty());
    assert_eq!(talk.hub.figures().watches, 0);
}

#[test]
fn events_look_as_etcds_do() {
    let mut talk = Talk::new();
    talk.create(pb::WatchCreateRequest { prev_kv: true, ..all() });
    talk.hears();
    talk.world.put(1, 3);
    let first = talk.hears_one().events.remove(0);
    let kv = first.kv.clone().unwrap();
    assert_eq!((first.r#type, first.prev_kv), (0, None));
    assert_eq!((kv.create_revision, kv.mod_revision, kv.version), (2, 2, 1));
    assert_eq!((kv.value.len(), kv.lease), (3, 0));
    talk.world.put(1, 4);
    assert_eq!(talk.hears_one().events[0].prev_kv, Some(kv));
    talk.world.delete_from(0);
    let gone = talk.hears_one().events.remove(0);
    let bare = pb_key_value(name(1), 4);
    assert_eq!((gone.r#type, gone.kv), (1, Some(bare)));
    assert_eq!(gone.prev_kv.unwrap().version, 2);
    talk.world.put(1, 1);
    assert_eq!(talk.hears_one().events[0].prev_kv, None, "it was not there");
    talk.world.put(1, 2);
    // The old version is compacted before the message is made.
    talk.compact(talk.revision());
    let event = talk.hears_one().events.remove(0);
    assert_eq!((event.kv.unwrap().version, event.prev_kv), (2, None));
}

fn pb_key_value(key: Bytes, mod_revision: i64) -> crate::grpc::pb::mvccpb::KeyValue {
    crate::grpc::pb::mvccpb::KeyValue { key, mod_revision, ..Default::default() }
}

#[test]
fn a_transaction_is_one_message_in_the_order_of_its_operations() {
    let mut talk = Talk::new();
    (0..3).for_each(|number| talk.world.put(number, 1));
    talk.create(all());
    talk.hears();
    let put = |number| RequestOp::Put(PutRequest { key: name(number), ..Default::default() });
    talk.world.transaction(vec![put(9), put(4), put(7)]);
    let now = talk.revision();
    let message = talk.hears_one();
    assert_eq!(events(&message), [(name(9), now), (name(4), now), (name(7), now)]);
    talk.world.delete_from(0);
    let keys: Vec<Bytes> = events(&talk.hears_one()).into_iter().map(|it| it.0).collect();
    assert_eq!(keys, [0, 1, 2, 4, 7, 9].map(name));
}

#[test]
fn filters_leave_out_what_they_name() {
    let mut talk = Talk::new();
    let (no_put, no_delete) = (FilterType::Noput as i32, FilterType::Nodelete as i32);
    for filters in [vec![no_put], vec![no_delete], vec![no_put, no_delete], vec![77]] {
        talk.create(pb::WatchCreateRequest { filters, ..all() });
    }
    talk.hears();
    talk.world.put(1, 1);
    talk.world.delete_from(0);
    let told: Vec<(i64, i32)> =
        talk.hears().iter().map(|it| (it.watch_id, it.events[0].r#type)).collect();
    let of = |id| told.iter().filter(|it| it.0 == id).map(|it| it.1).collect::<Vec<_>>();
    assert_eq!((of(0), of(1), of(2), of(3)), (vec![1], vec![0], vec![], vec![0, 1]));
}

#[test]
fn a_large_message_comes_in_fragments_for_who_can_put_them_together() {
    let mut talk = Talk::new();
    let value = Bytes::from(vec![7; 700 << 10]);
    let put = |number| {
        let (key, value) = (name(number), value.clone());
        RequestOp::Put(PutRequest { key, value, ..Default::default() })
    };
    for fragment in [false, true] {
        talk.create(pb::WatchCreateRequest { fragment, prev_kv: true, ..all() });
    }
    talk.hears();
    talk.world.transaction(vec![put(1), put(2)]);
    assert!(talk.hears().iter().all(|it| !it.fragment && it.events.len() == 2));
    talk.world.transaction(vec![put(1), put(2)]);
    let heard = talk.hears();
    let shape: Vec<(i64, bool, usize)> =
        heard.iter().map(|it| (it.watch_id, it.fragment, it.events.len())).collect();
    assert_eq!(shape, [(0, false, 2), (1, true, 1), (1, false, 1)]);
}

#[test]
fn a_canceled_watch_is_told_nothing_more() {
    let mut talk = Talk::new();
    (0..3000).for_each(|number| talk.world.put(number, 1));
    talk.create(all());
    talk.create(pb::WatchCreateRequest { start_revision: 1, ..all() });
    talk.create(key(1));
    talk.cancel(77);
    assert_eq!(std::iter::repeat_with(|| talk.stream.next()).flatten().take(4).count(), 4);
    talk.world.put(1, 1);
    while talk.hub.step() {}
    // One has something in its queue, one is catching up.
    talk.cancel(0);
    talk.cancel(1);
    let heard = talk.hears();
    assert_eq!(heard.len(), 3);
    for (id, canceled) in heard[..2].iter().enumerate() {
        let header = canceled.header;
        let expected = pb::WatchResponse { header, canceled: true, ..Default::default() };
        assert_eq!(*canceled, pb::WatchResponse { watch_id: id as i64, ..expected });
        assert_eq!(revision(canceled), talk.revision());
    }
    assert_eq!((heard[2].watch_id, events(&heard[2]).len()), (2, 1));
    talk.cancel(0);
    assert!(talk.hears().is_empty());
}

#[test]
fn progress_is_told_when_all_have_caught_up() {
    let mut talk = Talk::new();
    talk.ask_for_progress();
    assert!(talk.hears().is_empty(), "without a watch");
    (0..2500).for_each(|number| talk.world.put(number, 1));
    talk.create(all());
    talk.create(pb::WatchCreateRequest { start_revision: 1, ..all() });
    talk.ask_for_progress();
    let heard = talk.hears();
    let told: usize = heard.iter().map(|message| message.events.len()).sum();
    assert_eq!(told, 2500);
    let last = heard.last().unwrap();
    assert_eq!((last.watch_id, last.events.len(), revision(last)), (-1, 0, talk.revision()));
    assert!(heard.iter().rev().skip(1).all(|message| message.watch_id != -1));
    // What is written before it is asked is told before it is answered.
    talk.world.put(1, 1);
    talk.hub.moved(talk.world.revision());
    talk.ask_for_progress();
    assert!(!talk.stream.has_more(), "the hub has not looked yet");
    let heard = talk.hears();
    let ids: Vec<i64> = heard.iter().map(|message| message.watch_id).collect();
    assert_eq!((ids.len(), ids[2], revision(&heard[2])), (3, -1, talk.revision()));
    // Its client would go on from there, and hear of what it did not ask for.
    talk.create(pb::WatchCreateRequest { start_revision: talk.revision() + 2, ..key(1) });
    talk.ask_for_progress();
    assert!(talk.hears_one().created);
    talk.world.put(2, 1);
    talk.world.put(2, 1);
    assert_eq!(talk.hears().last().unwrap().watch_id, -1);
    talk.ask_for_progress();
    (0..3).for_each(|id| talk.cancel(id));
    assert_eq!(talk.hears().len(), 3, "nobody is left to be told");
}

#[test]
fn who_wants_to_hear_that_there_was_nothing_does() {
    let mut talk = Talk::new();
    talk.create(pb::WatchCreateRequest { progress_notify: true, ..key(1) });
    talk.create(key(1));
    talk.create(pb::WatchCreateRequest { progress_notify: true, ..key(2) });
    talk.hears();
    talk.world.put(2, 1);
    talk.world.put(3, 1);
    assert_eq!(talk.hears_one().watch_id, 2);
    let ids = |heard: Vec<pb::WatchResponse>| -> Vec<i64> {
        assert!(heard.iter().all(|message| message.events.is_empty() && revision(message) == 3));
        heard.iter().map(|message| message.watch_id).collect()
    };
    talk.stream.tick();
    assert_eq!(ids(talk.hears()), [0], "the other has just heard of something");
    talk.stream.tick();
    assert_eq!(ids(talk.hears()), [0, 2]);
    talk.stream.tick();
    talk.cancel(2);
    let heard = talk.hears();
    assert_eq!((heard.len(), heard[1].watch_id), (2, 0), "a watch that is over is told nothing");
}

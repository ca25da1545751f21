//! A node with many keys: what is asked of all of them is answered rightly, and holds up nobody.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{LocalBoxFuture, ready};
use http_body_util::BodyExt;
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::{JoinHandle, spawn_local, yield_now};
use tonic::Code;

use super::*;
use crate::grpc::backend::Identity;
use crate::grpc::kv::Kv;
use crate::grpc::message;
use crate::grpc::pb::etcdserverpb as pb;
use crate::grpc::pb::etcdserverpb::range_request::{SortOrder, SortTarget};
use crate::grpc::pb::etcdserverpb::{request_op, response_op};
use crate::grpc::snapshot::SnapshotBytes;
use crate::grpc::watch::Hub;
use crate::kv::limits::SMALL_QUERY_VISITS;
use crate::kv::version::LATEST_VERSION;
use crate::kv::{Command, Machine, Operation};
use crate::replica::{Consistency, Order, OrderResult, ReplicaStatus, Request, Response};
use crate::types::{ClusterId, LeaseId, NodeId, Revision, Term};

const KEYS: usize = 50_000;
const PATIENCE: Duration = Duration::from_secs(120);

/// A node of one replica, whose state is there at once.
struct Node {
    machine: RefCell<Machine>,
    identity: Identity,
    /// Copies of the state that were taken.
    copies: Cell<u32>,
}

impl Node {
    fn apply(&self, operation: Operation) {
        let mut machine = self.machine.borrow_mut();
        let index = machine.applied_index().next();
        machine.apply(index, &Command { session: None, operation }.encode());
    }

    fn put(&self, key: &str, value: &str) {
        let (key, value) = (Bytes::from(key.to_owned()), Bytes::from(value.to_owned()));
        self.apply(Operation::Put { key, value });
    }

    fn revision(&self) -> i64 {
        self.machine.borrow().revision().0 as i64
    }
}

impl Backend for Node {
    fn look(
        &self,
        query: Query,
        _: Consistency,
        _: Duration,
    ) -> LocalBoxFuture<'static, Result<Option<Answer>, Response>> {
        ready(Ok(self.machine.borrow().query_small(&query))).boxed_local()
    }
    fn state(&self) -> Option<Machine> {
        self.copies.set(self.copies.get() + 1);
        Some(self.machine.borrow().clone())
    }
    fn ask(&self, _: Request, _: Duration) -> LocalBoxFuture<'static, Response> {
        panic!("no test writes so")
    }
    fn status(&self) -> ReplicaStatus {
        panic!("no test asks for it")
    }
    fn leader(&self) -> Option<NodeId> {
        None
    }
    fn term(&self) -> Term {
        Term(1)
    }
    fn order(&self, _: Order, _: Duration) -> LocalBoxFuture<'static, OrderResult> {
        panic!("no test orders")
    }
    fn is_learner(&self) -> bool {
        false
    }
    fn open_snapshot(&self) -> Result<SnapshotBytes, String> {
        panic!("no test asks for it")
    }
    fn leases(&self) -> (Revision, Vec<LeaseId>) {
        panic!("no test asks for it")
    }
    fn hub(&self) -> &Rc<Hub> {
        panic!("no test watches")
    }
    fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Many keys, whose values have another order, and are not all different.
struct World {
    node: Rc<Node>,
    kv: Rc<Kv>,
}

impl World {
    fn new(keys: usize) -> World {
        let (machine, copies) = (RefCell::new(Machine::new()), Cell::new(0));
        let identity = Identity { cluster: ClusterId(1), node: NodeId(1), url: String::new() };
        let node = Rc::new(Node { machine, identity, copies });
        (2..=LATEST_VERSION).for_each(|to| node.apply(Operation::RaiseVersion { to }));
        (0..keys).for_each(|number| node.put(&key(number), &value(number)));
        let (backend, large) = (Rc::clone(&node) as Rc<dyn Backend>, Rc::default());
        World { node, kv: Rc::new(Kv { backend, large }) }
    }

    /// Begins to ask, and waits until there is a copy of the state to be asked.
    async fn ask(
        &self,
        request: pb::RangeRequest,
    ) -> JoinHandle<Result<pb::RangeResponse, Status>> {
        let kv = Rc::clone(&self.kv);
        self.copied(spawn_local(async move { range(&kv, request).await })).await
    }

    async fn copied<T>(&self, asking: JoinHandle<T>) -> JoinHandle<T> {
        let before = self.node.copies.get();
        while self.node.copies.get() == before && !asking.is_finished() {
            yield_now().await;
        }
        asking
    }

    /// Waits until nobody is at work any more.
    async fn all_places(&self) -> OwnedSemaphorePermit {
        let places = Arc::clone(&self.kv.large.places);
        places.acquire_many_owned(AT_ONCE as u32).await.unwrap()
    }
}

async fn range(kv: &Kv, request: pb::RangeRequest) -> Result<pb::RangeResponse, Status> {
    let answer = message::send(kv.range(request, PATIENCE).await?);
    let bytes = answer.into_body().collect().await?.to_bytes();
    Ok(pb::RangeResponse::decode(&bytes[5..]).unwrap())
}

fn key(number: usize) -> String {
    format!("k{number:06}")
}

fn value(number: usize) -> String {
    format!("v{:05}", number * 7919 % 40_000)
}

/// All of the keys, but not of all keys: so many must be counted.
fn everything() -> pb::RangeRequest {
    pb::RangeRequest { key: "k".into(), range_end: "l".into(), ..Default::default() }
}

fn by(target: SortTarget, order: SortOrder) -> pb::RangeRequest {
    let (sort_target, sort_order) = (target.into(), order.into());
    pb::RangeRequest { sort_target, sort_order, ..everything() }
}

/// Who works beside the node's thread has to wait until this is dropped.
struct Closed {
    _gate: mpsc::Sender<()>,
}

impl Closed {
    fn new() -> Closed {
        let (gate, opened) = mpsc::channel();
        tokio::task::spawn_blocking(move || opened.recv());
        Closed { _gate: gate }
    }
}

/// With one thread beside this one.
fn locally(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().max_blocking_threads(1).build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        tokio::time::timeout(PATIENCE, test).await.expect("it hangs");
    });
}

fn numbers(response: &pb::RangeResponse) -> Vec<usize> {
    let number = |kv: &crate::grpc::pb::mvccpb::KeyValue| {
        let number = std::str::from_utf8(&kv.key[1..]).unwrap().parse().unwrap();
        assert!(kv.value.is_empty() || kv.value == value(number));
        number
    };
    response.kvs.iter().map(number).collect()
}

/// While it is made, nobody can tell; and nothing of what happens then is in it.
#[test]
fn a_large_range_is_of_its_moment_and_holds_up_nobody() {
    locally(async {
        let world = World::new(KEYS);
        let now = world.node.revision();
        let upwards: Vec<usize> = (0..KEYS).collect();
        let downwards: Vec<usize> = upwards.iter().copied().rev().collect();
        let mut by_value = upwards.clone();
        by_value.sort_by_key(|number| value(*number));
        let mut from_the_top = upwards.clone();
        from_the_top.sort_by_key(|number| std::cmp::Reverse(value(*number)));
        let (few, all) = (pb::RangeRequest { limit: 10, ..everything() }, KEYS as i64);
        // The third key was put right behind the second.
        let (third, then) = (now - all + 3, now - all + 5);
        for (place, (request, kvs, more, count)) in [
            (everything(), &upwards[..], false, all),
            (by(SortTarget::Key, SortOrder::Descend), &downwards[..], false, all),
            (by(SortTarget::Value, SortOrder::Ascend), &by_value[..], false, all),
            (by(SortTarget::Value, SortOrder::Descend), &from_the_top[..], false, all),
            (by(SortTarget::Mod, SortOrder::Descend), &downwards[..], false, all),
            (by(SortTarget::Create, SortOrder::None), &upwards[..], false, all),
            (by(SortTarget::Version, SortOrder::Ascend), &upwards[..], false, all),
            (few.clone(), &upwards[..10], true, all),
            (
                pb::RangeRequest { limit: 10, ..by(SortTarget::Value, SortOrder::Ascend) },
                &by_value[..10],
                true,
                all,
            ),
            (
                pb::RangeRequest { min_mod_revision: third, ..everything() },
                &upwards[2..],
                false,
                all,
            ),
            (
                pb::RangeRequest { max_create_revision: third, keys_only: true, ..everything() },
                &upwards[..3],
                false,
                all,
            ),
            (pb::RangeRequest { count_only: true, ..everything() }, &[], false, all),
            // Of the past, which is compacted before the answer is made.
            (pb::RangeRequest { revision: then, ..few.clone() }, &upwards[..5], false, 5),
            (pb::RangeRequest { revision: now, ..everything() }, &upwards[..], false, all),
        ]
        .into_iter()
        .enumerate()
        {
            let before = world.node.revision();
            let closed = Closed::new();
            let asked = world.ask(request.clone()).await;
            // Others are served, and write.
            for number in 0..100 {
                let late = format!("k9{place}{number}");
                world.node.put(&late, "late");
                let one = pb::RangeRequest { key: late.into(), ..Default::default() };
                assert_eq!(range(&world.kv, one).await.unwrap().count, 1);
                yield_now().await;
            }
            if request.revision > 0 {
                let revision = Revision(request.revision as u64 + 1);
                world.node.apply(Operation::Compact { revision });
            }
            assert!(!asked.is_finished(), "{request:?} is answered on the node's thread");
            drop(closed);
            let answer = asked.await.unwrap().unwrap();
            assert_eq!((answer.more, answer.count), (more, count), "{request:?}");
            assert!(numbers(&answer) == kvs, "{request:?}");
            assert_eq!(answer.header.unwrap().revision, before);
            // As it was.
            let (start, end) = ("k90".into(), "l".into());
            let delete = crate::kv::DeleteRangeRequest { start, end, prev_kv: false };
            let success = vec![crate::kv::RequestOp::DeleteRange(delete)];
            let operation = crate::kv::Transaction { success, ..Default::default() };
            world.node.apply(Operation::Transaction(operation));
        }
    });
}

#[test]
fn a_small_range_needs_no_copy_and_no_thread() {
    locally(async {
        let world = World::new(SMALL_QUERY_VISITS as usize + 1);
        let _closed = Closed::new();
        let most =
            pb::RangeRequest { range_end: key(SMALL_QUERY_VISITS as usize).into(), ..everything() };
        let answer = range(&world.kv, most.clone()).await.unwrap();
        assert_eq!(answer.count, SMALL_QUERY_VISITS as i64);
        let sorted = SortTarget::Value.into();
        let answer = range(&world.kv, pb::RangeRequest { sort_target: sorted, ..most }).await;
        assert_eq!(answer.unwrap().kvs.len(), SMALL_QUERY_VISITS as usize);
        // How many keys there are in all is known.
        let first = pb::RangeRequest {
            key: "\0".into(),
            range_end: "\0".into(),
            limit: 1,
            ..Default::default()
        };
        let answer = range(&world.kv, first).await.unwrap();
        assert_eq!((answer.kvs.len(), answer.count), (1, SMALL_QUERY_VISITS as i64 + 1));
        assert_eq!(world.node.copies.get(), 0);
        assert!(!world.ask(everything()).await.is_finished(), "one key more is large");
    });
}

/// Few keys, and more bytes than go into one answer of the replica.
#[test]
fn long_values_make_a_large_range() {
    locally(async {
        let world = World::new(0);
        (0..5).for_each(|number| world.node.put(&key(number), &"x".repeat(1 << 20)));
        let (kv, closed) = (Rc::clone(&world.kv), Closed::new());
        let asked =
            world.copied(spawn_local(async move { kv.range(everything(), PATIENCE).await })).await;
        assert!(!asked.is_finished());
        drop(closed);
        let answer = message::send(asked.await.unwrap().unwrap());
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        let answer = pb::RangeResponse::decode(&bytes[5..]).unwrap();
        assert_eq!((answer.kvs.len(), answer.more, answer.count), (5, false, 5));
        assert!(answer.kvs.iter().all(|kv| kv.value.len() == 1 << 20));
    });
}

#[test]
fn a_large_transaction_that_only_reads_holds_up_nobody() {
    locally(async {
        let world = World::new(KEYS);
        let few = pb::RangeRequest { limit: 3, ..by(SortTarget::Value, SortOrder::Descend) };
        let count = pb::RangeRequest { count_only: true, ..everything() };
        let success = [few, count].map(|range| {
            let request = Some(request_op::Request::RequestRange(range));
            pb::RequestOp { request }
        });
        let request = pb::TxnRequest { success: success.into(), ..Default::default() };
        let (kv, closed) = (Rc::clone(&world.kv), Closed::new());
        let asked = world.copied(spawn_local(async move { kv.txn(request, PATIENCE).await })).await;
        assert!(!asked.is_finished());
        world.node.put("k9", "v9");
        drop(closed);
        let answer = asked.await.unwrap().unwrap();
        let ranges: Vec<_> = answer
            .responses
            .into_iter()
            .map(|it| match it.response {
                Some(response_op::Response::ResponseRange(range)) => range,
                other => panic!("a range answers {other:?}"),
            })
            .collect();
        let mut wanted: Vec<usize> = (0..KEYS).collect();
        wanted.sort_by_key(|number| std::cmp::Reverse(value(*number)));
        assert_eq!((numbers(&ranges[0]), ranges[0].more), (wanted[..3].to_vec(), true));
        assert_eq!((ranges[1].kvs.len(), ranges[1].count), (0, KEYS as i64));
    });
}

/// Who waits has no copy, which would keep what is replaced meanwhile.
#[tokio::test(start_paused = true)]
async fn places_are_waited_for_but_not_for_ever() {
    tokio::task::LocalSet::new()
        .run_until(async {
            let world = World::new(SMALL_QUERY_VISITS as usize + 1);
            let all_places = world.all_places().await;
            let error = range(&world.kv, everything()).await.unwrap_err();
            assert_eq!(
                (error.code(), error.message()),
                (Code::Unavailable, "etcdserver: request timed out")
            );
            assert_eq!(world.node.copies.get(), 0);
            let revision = world.node.revision();
            let then = pb::RangeRequest { revision, ..everything() };
            let kv = Rc::clone(&world.kv);
            let (now, then) = (range(&kv, everything()), range(&kv, then));
            let later = async {
                yield_now().await;
                world.node.put("k9", "v9");
                world.node.apply(Operation::Compact { revision: Revision(revision as u64 + 1) });
                drop(all_places);
            };
            let (now, then, ()) = tokio::join!(now, then, later);
            // Of the moment when there was a place.
            let now = now.unwrap();
            assert_eq!(now.count, SMALL_QUERY_VISITS as i64 + 2);
            assert_eq!(now.header.unwrap().revision, revision + 1);
            assert_eq!(
                then.unwrap_err().message(),
                "etcdserver: mvcc: required revision has been compacted"
            );
        })
        .await;
}

#[test]
fn nobody_works_for_a_client_that_went_away() {
    locally(async {
        let world = World::new(SMALL_QUERY_VISITS as usize + 1);
        let was_made = Arc::new(AtomicBool::new(false));
        for stays in [false, true] {
            let (kv, made, closed) = (Rc::clone(&world.kv), Arc::clone(&was_made), Closed::new());
            let query = Query::Range(crate::kv::RangeRequest::default());
            let asking = spawn_local(async move {
                let make = move |_| {
                    made.store(true, Ordering::SeqCst);
                    Ok(())
                };
                kv.large.answer(&*kv.backend, query, PATIENCE, make).await
            });
            let asking = world.copied(asking).await;
            if !stays {
                asking.abort();
                assert!(asking.await.unwrap_err().is_cancelled());
            }
            // It has its place as long as there is anything at work.
            assert_eq!(world.kv.large.places.available_permits(), AT_ONCE - 1);
            drop(closed);
            drop(world.all_places().await);
            assert_eq!(was_made.load(Ordering::SeqCst), stays);
        }
    });
}

//! One client's stream: what it asks, and the order in which it is answered.
//!
//! A message is made when the client is ready to take it. Until then the stream holds a few
//! messages that were made before, the answers to a few requests ([`REQUESTS`]; more are not read)
//! and its [`Feed`].

use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::mpsc::Permit;
use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tonic::{Code, Status, Streaming};

use super::feed::{Feed, Next};
use super::hub::{Hub, NoWatch};
use super::message::{self, FRAGMENT_BYTES, NO_ID};
use super::range::{KeyRange, Wants};
use super::watcher::Changes;
use crate::grpc::backend::Backend;
use crate::grpc::call::{Gone, Replies};
use crate::grpc::convert::signed;
use crate::grpc::pb::etcdserverpb as pb;
use crate::grpc::pb::etcdserverpb::watch_create_request::FilterType;
use crate::grpc::pb::etcdserverpb::watch_request::RequestUnion;
use crate::grpc::status;
use crate::kv::{Machine, Refusal};
use crate::types::Revision;

/// Answers that wait when the next request is read.
const REQUESTS: usize = 16;

/// Serves a stream until the client has gone.
pub async fn serve(
    backend: Rc<dyn Backend>,
    mut incoming: Streaming<pb::WatchRequest>,
    replies: Replies<pb::WatchResponse>,
) -> Result<(), Status> {
    let progress = backend.hub().options().progress;
    let period = progress.mul_f64(rand::random_range(1.0..1.1));
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stream = WatchStream::new(backend);
    let mut is_open = true;
    loop {
        let has_more = stream.has_more();
        let waits_for_hub = stream.wanted.is_some();
        tokio::select! {
            (permit, leave) = ready(&replies, &stream), if has_more => {
                let Ok(permit) = permit else { return Ok(()) };
                let message = stream.next();
                let rests = message.is_none() || leave.is_some();
                if let Some(message) = message {
                    permit.send(Ok(message));
                }
                if rests {
                    tokio::task::yield_now().await;
                }
            }
            request = incoming.message(), if is_open && stream.has_room() => {
                match request.map_err(worded)? {
                    Some(request) => stream.take(request)?,
                    None => is_open = false,
                }
            }
            () = stream.feed.rings(), if !has_more => {}
            () = stream.hub.rests(), if !has_more && waits_for_hub => {}
            _ = ticks.tick() => stream.tick(),
        }
    }
}

/// Waits for room for a message, and for leave to make it.
async fn ready<'a>(
    replies: &'a Replies<pb::WatchResponse>,
    stream: &WatchStream,
) -> (Result<Room<'a>, Gone>, Option<OwnedSemaphorePermit>) {
    let Ok(room) = replies.reserve().await else { return (Err(Gone), None) };
    (Ok(room), stream.leave().await)
}

type Room<'a> = Permit<'a, Result<pb::WatchResponse, Status>>;

/// A client that cancels the stream hears that in etcd's words, if it still listens.
fn worded(status: Status) -> Status {
    match status.code() {
        Code::Cancelled => Status::cancelled("etcdserver: watch canceled"),
        _ => status,
    }
}

pub struct WatchStream {
    backend: Rc<dyn Backend>,
    hub: Rc<Hub>,
    feed: Feed,
    /// By the number that the feed knows.
    watches: BTreeMap<u64, Watch>,
    /// By the id that the client knows.
    numbers: BTreeMap<i64, u64>,
    /// Every smaller one, from 0 up, was used.
    next_id: i64,
    /// Messages that are made: answers, and the rest of what was cut.
    outbox: VecDeque<pb::WatchResponse>,
    /// The client wants to know when all have caught up with this.
    wanted: Option<Revision>,
    /// Who is told how far it has got.
    due: VecDeque<u64>,
}

/// What the client said of a watch.
struct Watch {
    id: i64,
    prev_kv: bool,
    fragment: bool,
    /// Of a watch that wants to hear how far it has got: whether nothing was told since the last
    /// time that it would have.
    is_silent: Option<bool>,
}

impl WatchStream {
    pub fn new(backend: Rc<dyn Backend>) -> WatchStream {
        let hub = Rc::clone(backend.hub());
        WatchStream {
            feed: Feed::new(&hub),
            hub,
            backend,
            watches: BTreeMap::new(),
            numbers: BTreeMap::new(),
            next_id: 0,
            outbox: VecDeque::new(),
            wanted: None,
            due: VecDeque::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.outbox.len() < REQUESTS
    }

    pub fn has_more(&self) -> bool {
        !self.outbox.is_empty()
            || self.feed.has_more()
            || !self.due.is_empty()
            || self.progress().is_some()
    }

    pub fn take(&mut self, request: pb::WatchRequest) -> Result<(), Status> {
        match request.request_union {
            Some(RequestUnion::CreateRequest(request)) => self.create(request)?,
            Some(RequestUnion::CancelRequest(request)) => self.cancel(request.watch_id),
            Some(RequestUnion::ProgressRequest(_)) if !self.feed.is_empty() => {
                self.wanted = self.hub.peek(Machine::revision);
            }
            // Without a watch nobody is told how far it has got; etcd is silent, too.
            Some(RequestUnion::ProgressRequest(_)) | None => {}
        }
        Ok(())
    }

    fn create(&mut self, request: pb::WatchCreateRequest) -> Result<(), Status> {
        let Some(range) = KeyRange::of(&request.key, &request.range_end) else {
            return self.refuse("mvcc: watcher range is empty");
        };
        if request.watch_id != 0 && self.numbers.contains_key(&request.watch_id) {
            return self.refuse("mvcc: duplicate watch ID provided on the WatchStream");
        }
        // Of a store that was never compacted, etcd says -1.
        let compacted = self.hub.peek(Machine::last_compaction).flatten();
        let compacted = compacted.map_or(-1, |revision| signed(revision.0));
        if request.start_revision < 0 && request.start_revision < compacted {
            let id = self.id(request.watch_id);
            let created = message::empty(&*self.backend, id);
            self.outbox.push_back(pb::WatchResponse { created: true, ..created });
            self.outbox.push_back(self.compacted(id, compacted));
            return Ok(());
        }
        let from = match request.start_revision {
            0 => None,
            from => Some(Revision(u64::try_from(from).unwrap_or(0))),
        };
        let leaves_out = |kind: FilterType| request.filters.contains(&(kind as i32));
        let wants = Wants {
            puts: !leaves_out(FilterType::Noput),
            deletes: !leaves_out(FilterType::Nodelete),
        };
        let (number, now) = match self.feed.watch(range, wants, from) {
            Ok(watching) => watching,
            Err(NoWatch::TooMany) => return self.refuse(&format!("kvraft: {}", NoWatch::TooMany)),
            Err(NoWatch::Repairing) => return Err(status::no_leader()),
            Err(NoWatch::NoHistory) => return Err(status::of_refusal(Refusal::UnknownVersion)),
        };
        let id = self.id(request.watch_id);
        let created = message::of_revision(&*self.backend, id, now);
        self.outbox.push_back(pb::WatchResponse { created: true, ..created });
        self.numbers.insert(id, number);
        let pb::WatchCreateRequest { prev_kv, fragment, .. } = request;
        let is_silent = request.progress_notify.then_some(true);
        self.watches.insert(number, Watch { id, prev_kv, fragment, is_silent });
        Ok(())
    }

    fn refuse(&mut self, why: &str) -> Result<(), Status> {
        self.outbox.push_back(message::refused(&*self.backend, why));
        Ok(())
    }

    /// The id of a new watch: what the client asked for, or the next one that is free.
    fn id(&mut self, asked: i64) -> i64 {
        if asked != 0 {
            return asked;
        }
        while self.numbers.contains_key(&self.next_id) {
            self.next_id += 1;
        }
        self.next_id += 1;
        self.next_id - 1
    }

    fn cancel(&mut self, id: i64) {
        let Some(number) = self.numbers.remove(&id) else { return };
        self.watches.remove(&number);
        self.feed.cancel(number);
        self.forget_progress_of_nobody();
        let canceled = message::empty(&*self.backend, id);
        self.outbox.push_back(pb::WatchResponse { canceled: true, ..canceled });
    }

    fn forget_progress_of_nobody(&mut self) {
        if self.feed.is_empty() {
            self.wanted = None;
        }
    }

    fn compacted(&self, id: i64, at: i64) -> pb::WatchResponse {
        let message = message::of_revision(&*self.backend, id, Revision(0));
        pb::WatchResponse { canceled: true, compact_revision: at, ..message }
    }

    /// See [`Feed::leave`].
    async fn leave(&self) -> Option<OwnedSemaphorePermit> {
        let is_feeds_turn =
            self.outbox.is_empty() && self.due.is_empty() && self.progress().is_none();
        if is_feeds_turn { self.feed.leave().await } else { None }
    }

    /// The next message, if it can be made without more ado.
    pub fn next(&mut self) -> Option<pb::WatchResponse> {
        if let Some(message) = self.outbox.pop_front() {
            return Some(message);
        }
        if let Some(number) = self.due.pop_front() {
            return self.how_far(number);
        }
        if let Some(revision) = self.progress() {
            self.wanted = None;
            return Some(message::of_revision(&*self.backend, NO_ID, revision));
        }
        match self.feed.next() {
            Next::Events { watch, changes } => self.events(watch, &changes),
            Next::Compacted { watch, at } => {
                let Watch { id, .. } = self.watches.remove(&watch)?;
                self.numbers.remove(&id);
                self.forget_progress_of_nobody();
                Some(self.compacted(id, signed(at.0)))
            }
            Next::Later | Next::Nothing => None,
        }
    }

    fn events(&mut self, number: u64, changes: &Changes) -> Option<pb::WatchResponse> {
        let watch = self.watches.get_mut(&number)?;
        watch.is_silent = watch.is_silent.map(|_| false);
        let events = message::events(&self.hub, changes, watch.prev_kv);
        self.hub.told(events.len());
        let message = message::empty(&*self.backend, watch.id);
        let message = pb::WatchResponse { events, ..message };
        if !watch.fragment {
            return Some(message);
        }
        self.outbox.extend(message::fragments(message, FRAGMENT_BYTES));
        self.outbox.pop_front()
    }

    /// The revision that a client is told which asked how far the stream has got: one that was
    /// there when it asked, or a later one.
    fn progress(&self) -> Option<Revision> {
        let wanted = self.wanted?;
        self.feed.caught_up().filter(|revision| *revision >= wanted)
    }

    /// It is time to tell the watches that want it how far they have got, unless they have heard of
    /// something since the last time.
    pub fn tick(&mut self) {
        self.due.clear();
        for (number, watch) in &mut self.watches {
            if watch.is_silent == Some(true) {
                self.due.push_back(*number);
            }
            watch.is_silent = watch.is_silent.map(|_| true);
        }
    }

    fn how_far(&self, number: u64) -> Option<pb::WatchResponse> {
        let watch = self.watches.get(&number)?;
        // One that is behind will hear of something anyway.
        let revision = self.feed.has_caught_up(number)?;
        Some(message::of_revision(&*self.backend, watch.id, revision))
    }
}

//! Watching: what becomes of keys, in order, nothing skipped and nothing twice.
//!
//! # The problem
//! A watch may last for days, the connection under it does not. What happened between two
//! connections must be told, and what was told must not be told again.
//!
//! # The rule
//! A watcher knows the next revision that it has not told ([`Cursor`]). When its stream breaks, it
//! asks the next endpoint for everything from there on. Events are told in whole revisions: of one
//! that comes in several messages nothing is told before it is there entirely, so a break in the
//! middle of it costs nothing.
//!
//! # What can go wrong
//! - *What happened meanwhile is compacted.* The watch ends with [`WatchError::Compacted`]; only a
//!   new read can tell what there is now.
//! - *The endpoint is cut off from its leader.* It is asked to end the stream then.
//! - *The endpoint is stopped in its tracks.* The connection is asked whether it lives (`pool`).

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::channel::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::{Status, Streaming};

use super::call::{Method, Tries};
use super::error::{self, Fate, Kind};
use super::{Client, Error, header_revision, pb, revision, signed};
use crate::types::Revision;

const WATCH: Method = Method::read("/etcdserverpb.Watch/Watch").with_leader(true);

/// Between two tries to find an endpoint again, at most.
const PAUSE_MAX: Duration = Duration::from_millis(500);
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// What is watched, and how it is told.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// With [`range_end`](WatchOptions::range_end), in etcd's notation.
    pub key: Bytes,
    pub range_end: Bytes,
    /// The first revision that is wanted; `None`: whatever comes next.
    pub start: Option<Revision>,
    /// With what was there before.
    pub prev_kv: bool,
    /// Tell now and then how far the watch has come when there is nothing else to tell.
    pub progress: bool,
    /// What is left out.
    pub filters: Vec<pb::watch_create_request::FilterType>,
}

/// What became of a key; [`is_delete`] says which.
pub type Event = crate::grpc::pb::mvccpb::Event;

/// What a watcher tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// The watch stands: everything from this revision on will be told.
    Standing { from: Revision, endpoint: String },
    /// All that a watch sees of one or more whole revisions.
    Events { revision: Revision, events: Vec<Event> },
    /// Everything up to this revision has been told.
    Progress(Revision),
    /// The connection broke, and the watch looks for another endpoint.
    Interrupted { endpoint: String, why: String },
}

/// Why a watch is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchError {
    /// What was to be told next is forgotten; what is left begins at `compacted`.
    Compacted {
        wanted: Revision,
        compacted: Revision,
    },
    /// The server ended it.
    Canceled {
        endpoint: String,
        reason: String,
    },
    Failed(Error),
}

impl std::error::Error for WatchError {}

impl fmt::Display for WatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WatchError::Compacted { wanted, compacted } => write!(
                f,
                "revision {wanted} is compacted: what happened before revision {compacted} is \
                 forgotten"
            ),
            WatchError::Canceled { endpoint, reason } => {
                write!(f, "{endpoint} canceled the watch: {reason}")
            }
            WatchError::Failed(error) => error.fmt(f),
        }
    }
}

/// Whether an event tells that a key is gone.
pub fn is_delete(event: &Event) -> bool {
    event.r#type == crate::grpc::pb::mvccpb::event::EventType::Delete as i32
}

/// A watch that survives its connections.
#[derive(Debug)]
pub struct Watcher {
    client: Client,
    options: WatchOptions,
    cursor: Cursor,
    stream: Option<Open>,
    waiting: VecDeque<Told>,
    reopening: Reopening,
}

/// A standing stream. Its requests end when this goes.
#[derive(Debug)]
struct Open {
    endpoint: String,
    answers: Streaming<pb::WatchResponse>,
    requests: mpsc::Sender<pb::WatchRequest>,
}

impl Client {
    /// Watches; nothing is sent before the first [`Watcher::next`].
    pub fn watch(&self, options: WatchOptions) -> Watcher {
        Watcher {
            client: self.clone(),
            cursor: Cursor { next: options.start, held: Vec::new() },
            options,
            stream: None,
            waiting: VecDeque::new(),
            reopening: Reopening::new(self.options.timeout),
        }
    }
}

impl Watcher {
    /// The next that there is to tell. It may be dropped at any time and called again: nothing is
    /// lost by it. At first it fails if no endpoint serves the watch within the client's time;
    /// later it looks for one for as long as it takes.
    pub async fn next(&mut self) -> Result<Told, WatchError> {
        loop {
            if let Some(told) = self.waiting.pop_front() {
                return Ok(told);
            }
            let Some(open) = &mut self.stream else {
                self.open().await?;
                continue;
            };
            let (endpoint, message) = (open.endpoint.clone(), open.answers.message().await);
            match message {
                Ok(Some(answer)) => self.take(answer, endpoint)?,
                Ok(None) => self.broken(&Status::unavailable("the server ended the stream"))?,
                Err(status) => self.broken(&status)?,
            }
        }
    }

    /// Asks how far the watch has come: [`Told::Progress`] says so once everything up to there has
    /// been told. Without a stream that stands there is nobody to ask, and nothing happens.
    ///
    /// etcd before 3.5.8 answers at once, and may tell of something before that afterwards.
    pub fn ask_progress(&mut self) {
        let progress = pb::watch_request::RequestUnion::ProgressRequest(Default::default());
        let request = pb::WatchRequest { request_union: Some(progress) };
        if let Some(open) = &mut self.stream {
            // Full: what was asked before is still unanswered, and will do.
            let _ = open.requests.try_send(request);
        }
    }

    /// The first revision that has not been told, once that is known.
    pub fn position(&self) -> Option<Revision> {
        self.cursor.next
    }

    async fn open(&mut self) -> Result<(), WatchError> {
        self.reopening.wait().await;
        let place = self.client.pool.pick().clone();
        let create = pb::WatchCreateRequest {
            key: self.options.key.clone(),
            range_end: self.options.range_end.clone(),
            start_revision: self.cursor.next.map_or(0, signed),
            progress_notify: self.options.progress,
            filters: self.options.filters.iter().map(|filter| *filter as i32).collect(),
            prev_kv: self.options.prev_kv,
            watch_id: 0,
            fragment: true,
        };
        let create = pb::watch_request::RequestUnion::CreateRequest(create);
        let (mut requests, outgoing) = mpsc::channel(1);
        let sent = requests.try_send(pb::WatchRequest { request_union: Some(create) });
        let opened = match sent {
            Ok(()) => self.client.stream(&place, WATCH, outgoing).await,
            Err(error) => Err(Status::internal(error.to_string())),
        };
        match opened {
            Ok(answers) => {
                let endpoint = place.name.clone();
                self.stream = Some(Open { endpoint, answers, requests });
            }
            Err(status) => {
                self.client.pool.failed(&place.name);
                if let Some(error) = self.reopening.failed(&place.name, &status) {
                    return Err(WatchError::Failed(error));
                }
            }
        }
        Ok(())
    }

    /// The stream broke: it is told, and another is opened by the next call.
    fn broken(&mut self, status: &Status) -> Result<(), WatchError> {
        self.cursor.held.clear();
        let Some(open) = self.stream.take() else { return Ok(()) };
        self.client.pool.failed(&open.endpoint);
        if let Some(error) = self.reopening.failed(&open.endpoint, status) {
            return Err(WatchError::Failed(error));
        }
        if self.reopening.stood {
            let why = error::words(status);
            self.waiting.push_back(Told::Interrupted { endpoint: open.endpoint, why });
        }
        Ok(())
    }

    fn take(&mut self, answer: pb::WatchResponse, endpoint: String) -> Result<(), WatchError> {
        let at = header_revision(answer.header.as_ref());
        if answer.canceled {
            self.stream = None;
            return Err(match answer.compact_revision {
                0 => WatchError::Canceled { endpoint, reason: answer.cancel_reason },
                compacted => WatchError::Compacted {
                    wanted: self.cursor.next.unwrap_or(at),
                    compacted: revision(compacted),
                },
            });
        }
        if answer.created {
            self.reopening.stands();
            let from = *self.cursor.next.get_or_insert(Revision(at.0 + 1));
            self.waiting.push_back(Told::Standing { from, endpoint });
            return Ok(());
        }
        if answer.events.is_empty() && !answer.fragment {
            self.cursor.told_up_to(at);
            self.waiting.push_back(Told::Progress(at));
            return Ok(());
        }
        let events = self.cursor.take(answer.events, answer.fragment);
        if !events.is_empty() {
            self.waiting.push_back(Told::Events { revision: at, events });
        }
        Ok(())
    }
}

/// How far a watch has told.
#[derive(Debug, Default)]
struct Cursor {
    /// The first revision that is not told.
    next: Option<Revision>,
    /// Events of a revision of which more may come.
    held: Vec<Event>,
}

/// The revision of an event.
pub fn event_revision(event: &Event) -> Revision {
    revision(event.kv.as_ref().map_or(0, |kv| kv.mod_revision))
}

impl Cursor {
    /// What can be told now that these came; `more`: the last revision may go on.
    fn take(&mut self, events: Vec<Event>, more: bool) -> Vec<Event> {
        let next = self.next.unwrap_or_default();
        self.held.extend(events.into_iter().filter(|event| event_revision(event) >= next));
        let Some(last) = self.held.last().map(event_revision) else { return Vec::new() };
        let whole = match more {
            true => self.held.partition_point(|event| event_revision(event) < last),
            false => self.held.len(),
        };
        let rest = self.held.split_off(whole);
        let told = std::mem::replace(&mut self.held, rest);
        if let Some(last) = told.last() {
            self.told_up_to(event_revision(last));
        }
        told
    }

    fn told_up_to(&mut self, revision: Revision) {
        let after = Revision(revision.0 + 1);
        self.next = Some(self.next.map_or(after, |next| next.max(after)));
    }
}

/// When a stream that has to go on is opened again, and when that is given up.
#[derive(Debug)]
pub(super) struct Reopening {
    tries: Tries,
    timeout: Duration,
    /// It has stood once: from then on it is never given up but for good reasons.
    pub(super) stood: bool,
    not_before: Instant,
    pause: Duration,
}

impl Reopening {
    pub(super) fn new(timeout: Duration) -> Reopening {
        let (tries, not_before) = (Tries::new(timeout), Instant::now());
        Reopening { tries, timeout, stood: false, not_before, pause: PAUSE_MIN }
    }

    pub(super) async fn wait(&self) {
        sleep_until(self.not_before).await;
    }

    pub(super) fn stands(&mut self) {
        self.stood = true;
        self.pause = PAUSE_MIN;
        self.tries = Tries::new(self.timeout);
    }

    /// A try failed or the stream broke; the error, if that is the end of it.
    pub(super) fn failed(&mut self, endpoint: &str, status: &Status) -> Option<Error> {
        if error::fate(status) == Fate::Refused {
            return Some(self.tries.error(Kind::Refused, endpoint, status));
        }
        if !self.stood && self.tries.is_over() {
            return Some(self.tries.error(Kind::Unavailable, endpoint, status));
        }
        self.not_before = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::pb::mvccpb;

    fn events(revisions: &[i64]) -> Vec<Event> {
        let kv = |mod_revision| mvccpb::KeyValue { mod_revision, ..Default::default() };
        revisions.iter().map(|it| Event { kv: Some(kv(*it)), ..Default::default() }).collect()
    }

    fn told(cursor: &mut Cursor, revisions: &[i64], more: bool) -> Vec<u64> {
        cursor.take(events(revisions), more).iter().map(|it| event_revision(it).0).collect()
    }

    #[test]
    fn a_revision_in_pieces_is_told_once_it_is_whole() {
        let mut cursor = Cursor::default();
        assert_eq!(told(&mut cursor, &[5, 5, 6], true), [5, 5]);
        assert_eq!(cursor.next, Some(Revision(6)));
        assert_eq!(told(&mut cursor, &[6], true), [0; 0]);
        assert_eq!(told(&mut cursor, &[6], false), [6, 6, 6]);
        assert_eq!(cursor.next, Some(Revision(7)));
    }

    #[test]
    fn a_break_within_a_revision_neither_skips_nor_repeats_anything() {
        let mut cursor = Cursor::default();
        assert_eq!(told(&mut cursor, &[5, 6], true), [5]);
        cursor.held.clear();
        // The next endpoint is asked from 6 on; one that tells more is not believed.
        assert_eq!(told(&mut cursor, &[5, 6, 6, 7], false), [6, 6, 7]);
        assert_eq!(cursor.next, Some(Revision(8)));
        cursor.told_up_to(Revision(3));
        assert_eq!(cursor.next, Some(Revision(8)), "never backwards");
    }
}

//! What the page shows, sent as it changes: server-sent events.
//!
//! ```text
//!   event: history   the newest events; then each new one
//!   event: state     status and faults, at most four times a second; ten times in slow motion
//! ```
//!
//! A state is made once, for all pages. Every page has a task, and a few frames of room between it
//! and the socket. A page that does not read gets no more until there is room; the server ends a
//! conversation that does not move.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::{mpsc, watch};

use super::deeds::Told;
use super::{dressed, json, say};
use crate::chaos::Fault;
use crate::control::{ClusterStatus, Event, unix_millis};
use crate::observe::GuestBody;
use crate::supervisor::chaos::Ended;
use crate::supervisor::daemon::Daemon;

/// Between two states.
const PACE: Duration = Duration::from_millis(250);

/// The same in slow motion: from 20x on, shorter than a message's way, so that each step is told.
const SLOW_PACE: Duration = Duration::from_millis(100);

/// Without news, the state is sent again after so long: a page is to know that somebody is there.
const SILENCE: Duration = Duration::from_secs(2);

/// Events at once.
const MAX_EVENTS: usize = 200;

/// Frames between a page's task and its socket.
const ROOM: usize = 4;

#[derive(Serialize)]
struct State {
    /// Unix time, in milliseconds.
    now: u64,
    cluster: ClusterStatus,
    /// In force.
    faults: Vec<Told<Fault>>,
    /// Over, lately.
    ended: Vec<Told<Ended>>,
}

/// The state as all pages are sent it: made once, while there is anybody to read it.
pub struct States {
    daemon: Rc<Daemon>,
    latest: watch::Sender<Bytes>,
    /// A task keeps making them.
    made: Cell<bool>,
}

impl States {
    pub fn new(daemon: Rc<Daemon>) -> Rc<States> {
        let latest = watch::Sender::new(Bytes::new());
        Rc::new(States { daemon, latest, made: Cell::new(false) })
    }

    /// The newest one, and those that come.
    fn follow(self: &Rc<Self>) -> watch::Receiver<Bytes> {
        let states = self.latest.subscribe();
        // What others were sent last may be seconds old.
        self.make();
        if !self.made.replace(true) {
            let news = self.daemon.news();
            tokio::task::spawn_local(self.clone().keep_making(news));
        }
        states
    }

    fn make(&self) {
        self.latest.send_replace(frame("state", &state(&self.daemon)));
    }

    async fn keep_making(self: Rc<Self>, mut news: watch::Receiver<u64>) {
        let real_time = self.daemon.config.timings.slow.is_real_time();
        let pace = if real_time { PACE } else { SLOW_PACE };
        loop {
            tokio::time::sleep(pace).await;
            // News or not: a page that is gone is noticed when it is sent something.
            let _ = tokio::time::timeout(SILENCE, news.changed()).await;
            if self.latest.receiver_count() == 0 {
                self.made.set(false);
                return;
            }
            news.borrow_and_update();
            self.make();
        }
    }
}

/// Begins to send.
pub fn begin(states: Rc<States>) -> Response<GuestBody> {
    let (frames, taken) = mpsc::channel(ROOM);
    tokio::task::spawn_local(send(states, frames));
    let frames = futures::stream::unfold(taken, |mut taken| async move {
        let bytes: Bytes = taken.recv().await?;
        Some((Ok(Frame::data(bytes)), taken))
    });
    dressed(StatusCode::OK, "text/event-stream", StreamBody::new(frames).boxed_unsync())
}

/// Older events than the one that `query` names: `before=SEQUENCE`.
pub fn history(daemon: &Daemon, query: Option<&str>) -> Response<GuestBody> {
    let before = query.and_then(|query| query.strip_prefix("before=")?.parse::<u64>().ok());
    match before {
        Some(before) => {
            json(StatusCode::OK, &daemon.inner.borrow().events.before(before, MAX_EVENTS))
        }
        None => say(StatusCode::BAD_REQUEST, "say before=SEQUENCE"),
    }
}

/// Sends until the page is gone. A page that is slow to read misses states, and no events.
async fn send(states: Rc<States>, frames: mpsc::Sender<Bytes>) {
    let mut followed = states.follow();
    let mut last = 0;
    loop {
        let state = followed.borrow_and_update().clone();
        let events: Vec<Event> = states.daemon.inner.borrow().events.after(last, MAX_EVENTS);
        last = events.last().map_or(last, |event| event.sequence);
        if !events.is_empty() && frames.send(frame("history", &events)).await.is_err() {
            return;
        }
        if frames.send(state).await.is_err() || followed.changed().await.is_err() {
            return;
        }
    }
}

fn state(daemon: &Daemon) -> State {
    let faults = daemon.faults().iter().map(Fault::shown).map(Told::from).collect();
    let ended = daemon.inner.borrow().ended.iter().cloned().map(Told::from).collect();
    State { now: unix_millis(), cluster: daemon.status(), faults, ended }
}

fn frame(name: &str, data: &impl Serialize) -> Bytes {
    // Our own types have no maps with odd keys: they always have their JSON, on one line.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("event: {name}\ndata: {data}\n\n").into()
}

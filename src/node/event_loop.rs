//! The event loop: everything that happened goes into the replica, and what must be done comes out.
//!
//! ```text
//!     peers ──┐                    ┌──────────── a turn ────────────┐
//!   clients ──┼──► inbox ──bell──► │ all that waits → handle(…)     │──► sends, to the peers
//!      disk ──┘          timer ──► │ once at the end: finish_turn() │──► replies, to the desk
//!                                  └────────────────────────────────┘
//! ```
//!
//! # Why turns
//!
//! A write costs a message to each follower and an fsync on each disk, wherever it is alone. So the
//! loop takes in *all* that waits before it lets anything out: a hundred clients' writes become one
//! proposal, one group in the log, one message to each follower. Under load turns grow by
//! themselves, because more arrives while the last one's work is done; when idle, a single request
//! waits for nobody.
//!
//! Whoever rings first would have a turn nearly alone: the others' requests still lie in their
//! sockets. So the loop, once it is woken, lets all others have their chance before it takes its
//! turn. It costs one more look at the sockets, and makes turns fewer and larger under load; and a
//! timer that fires late on a busy machine comes after the heartbeat that arrived in time.
//!
//! A turn takes in at most `MAX_EVENTS`, so that the sockets are served in between.
//!
//! # The timer
//!
//! Deadlines move with nearly every turn, mostly further away. The timer is only moved when a
//! deadline comes nearer; otherwise it fires early, finds nothing due, and is set anew.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant as TokioInstant, Sleep};

use super::chronicle::Chronicle;
use super::clock::Clock;
use super::desk::Desk;
use super::inbox::Inbox;
use super::metrics::NodeMetrics;
use super::operator_desk::OperatorDesk;
use super::peers::Peers;
use super::stop::Stop;
use crate::consensus::raft::{Message, Raft};
use crate::grpc::watch::Hub;
use crate::replica::{Event, Fatal, Output, Replica};
use crate::rpc::Seldom;
use crate::storage::Disk;
use crate::types::NodeId;

/// Events taken in by one turn.
const MAX_EVENTS: usize = 1024;

/// When nothing is due.
const FAR: Duration = Duration::from_secs(3600);

/// Requests under way when the node is told to stop get this long to be answered.
const STOP_GRACE: Duration = Duration::from_secs(3);

/// At the very end, for the last answers to reach their sockets, and for requests that are on their
/// way to hear that the node stops.
const LINGER: Duration = Duration::from_millis(20);

/// Between two log lines about what a peer sent.
const SELDOM: Duration = Duration::from_secs(5);

/// Rung by the disk's thread: completions are waiting.
#[derive(Clone, Debug)]
pub struct DiskBell {
    rang: Arc<AtomicBool>,
    bell: Arc<Notify>,
}

impl DiskBell {
    /// A bell that wakes the event loop behind `bell`.
    pub fn new(bell: Arc<Notify>) -> DiskBell {
        DiskBell { rang: Arc::default(), bell }
    }

    /// Completions are waiting.
    pub fn ring(&self) {
        self.rang.store(true, Ordering::Release);
        self.bell.notify_one();
    }

    fn answer(&self) -> bool {
        self.rang.swap(false, Ordering::AcqRel)
    }
}

/// See the [module](self).
pub struct EventLoop<D: Disk> {
    pub replica: Rc<RefCell<Replica<Raft, D>>>,
    pub clock: Clock,
    pub inbox: Rc<Inbox>,
    pub desk: Rc<Desk>,
    pub operators: Rc<OperatorDesk>,
    pub peers: Rc<RefCell<Peers>>,
    pub disk: DiskBell,
    pub stop: Rc<Stop>,
    pub metrics: Rc<NodeMetrics>,
    /// Hears of what has changed, for those who watch.
    pub hub: Rc<Hub>,
    pub complaint: Seldom,
    /// Tells in the log what happened.
    pub chronicle: RefCell<Chronicle>,
    /// Tells a collector of requests that somebody follows.
    #[cfg(feature = "otel")]
    pub paths: RefCell<super::paths::Paths>,
    /// When `stop` was noticed.
    pub stopping_since: Cell<Option<TokioInstant>>,
}

/// How often to complain about what a peer sent.
pub fn complaints() -> Seldom {
    Seldom::new(SELDOM)
}

impl<D: Disk> EventLoop<D> {
    /// Runs until the node is told to stop, or must.
    pub async fn run(self) -> Result<(), Fatal> {
        let ended = self.turns().await;
        self.replica.borrow_mut().end_record(self.clock.now());
        ended
    }

    async fn turns(&self) -> Result<(), Fatal> {
        let mut timer = Box::pin(tokio::time::sleep(Duration::ZERO));
        loop {
            let timer_fired = self.wait(&mut timer).await;
            self.turn()?;
            self.set_timer(timer.as_mut(), timer_fired);
            if self.is_done() {
                tokio::time::sleep(LINGER).await;
                return Ok(());
            }
        }
    }

    /// Waits for something to do; whether the timer has fired.
    async fn wait(&self, timer: &mut Pin<Box<Sleep>>) -> bool {
        // Else the last turn left something over.
        if self.inbox.is_empty() {
            tokio::select! {
                () = self.inbox.bell().notified() => {}
                () = timer.as_mut() => {}
            }
        }
        tokio::task::yield_now().await;
        timer.is_elapsed()
    }

    fn turn(&self) -> Result<(), Fatal> {
        self.notice_stop();
        let mut replica = self.replica.borrow_mut();
        let now = self.clock.now();
        #[cfg(feature = "otel")]
        let began = std::time::SystemTime::now();
        let mut events = 0;
        if self.disk.answer() {
            replica.handle(now, Event::Disk);
            events += 1;
        }
        while events < MAX_EVENTS
            && let Some(event) = self.inbox.pop()
        {
            if let Event::Peer { message, .. } = &event {
                self.metrics.receives(message);
            }
            replica.handle(now, event);
            events += 1;
        }
        if replica.next_deadline().is_some_and(|deadline| deadline <= now) {
            replica.handle(now, Event::Elapsed);
        }
        let outputs = replica.finish_turn(now)?;
        let samples = replica.take_samples();
        if let Some(machine) = replica.state() {
            self.hub.moved(machine.revision());
        }
        let (leader, place) = (replica.leader(), replica.place());
        #[cfg(feature = "otel")]
        self.paths.borrow_mut().turn(began, &replica);
        drop(replica);
        self.chronicle.borrow_mut().turn(place);
        self.metrics.turn(events as u64, &samples, leader);
        self.hand_out(outputs);
        Ok(())
    }

    fn hand_out(&self, outputs: Vec<Output<Message>>) {
        let now = self.clock.true_now();
        let mut peers = self.peers.borrow_mut();
        peers.release(now);
        for output in outputs {
            match output {
                Output::Send { to, message } => {
                    self.metrics.sends(&message);
                    peers.send(now, to, message);
                }
                Output::Reply { ticket, response } => self.desk.answer(ticket, response),
                Output::OrderDone { ticket, result } => self.operators.answer(ticket, result),
                Output::Configuration(configuration) => {
                    let members: Vec<_> =
                        configuration.members().iter().map(NodeId::to_string).collect();
                    tracing::info!("the members are {}", members.join(", "));
                    peers.reconcile(&configuration);
                }
                Output::PeerRejected { from, why } => {
                    if let Some(held_back) = self.complaint.speak() {
                        tracing::warn!(peer = %from, held_back, "rejected a message: {why}");
                    }
                }
            }
        }
    }

    fn set_timer(&self, timer: Pin<&mut Sleep>, fired: bool) {
        let own = self.replica.borrow().next_deadline().map(|deadline| self.clock.at(deadline));
        let links = self.peers.borrow().next_deadline();
        let links = links.map(|deadline| self.clock.truly_at(deadline));
        let next = [own, links].into_iter().flatten().min();
        let mut at = next.unwrap_or_else(|| TokioInstant::now() + FAR);
        if let Some(since) = self.stopping_since.get() {
            at = at.min(since + STOP_GRACE);
        }
        if fired || at < timer.deadline() {
            timer.reset(at);
        }
    }

    /// From here on no new request is taken, and those under way are answered.
    fn notice_stop(&self) {
        if self.stop.is_asked() && self.stopping_since.get().is_none() {
            self.stopping_since.set(Some(TokioInstant::now()));
            self.desk.close();
            self.operators.close();
            self.inbox.push(Event::Stop);
            self.stop.take();
        }
    }

    /// Whether all that a stop waits for has happened, or has had its time.
    fn is_done(&self) -> bool {
        let Some(since) = self.stopping_since.get() else { return false };
        if since.elapsed() >= STOP_GRACE {
            tracing::warn!(
                unanswered = self.desk.waiting(),
                "stopping although not everything was finished within {STOP_GRACE:?}"
            );
            return true;
        }
        let replica = self.replica.borrow();
        let status = replica.status().consensus;
        self.desk.waiting() == 0
            && !replica.is_handing_over()
            && self.inbox.is_empty()
            && status.durable_index == status.last_index
    }
}

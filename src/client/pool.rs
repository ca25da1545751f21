//! The connections to the endpoints, and the choice among them.
//!
//! Each endpoint has a task that dials, asks who it is (`hello`), keeps the connection and dials
//! again, with back-off, when it is lost. Calls pick among the endpoints that are ready: the
//! leader, as far as it is known, for all that only a leader can do, since every other node would
//! have to relay it.
//!
//! # What can go wrong
//!
//! - *A node is alive and silent* (stopped by a signal, its machine frozen). The connection stands,
//!   and what is written to it piles up in memory. So an endpoint that lets a call run into its
//!   time limit is *suspect*: it is asked `hello`, gets no further calls until it answers, and
//!   loses its connection, and what is queued on it, if it does not.
//! - *The leadership moves without any connection breaking.* While calls are made, `hello` is
//!   repeated twice a second.
//! - *An endpoint belongs to another cluster.* It is refused by name, never used.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout};

use super::error::{EndpointState, EndpointStatus};
use super::wire::{self, Connection};
use crate::config::Address;
use crate::rpc::client::Hello;
use crate::types::{ClusterId, LogIndex, NodeId, Term};

/// How long dialling and the first `hello` may take.
const DIAL_LIMIT: Duration = Duration::from_millis(1_500);
/// How long a node may take to answer `hello` on a standing connection.
const HELLO_LIMIT: Duration = Duration::from_millis(1_000);
/// How often `hello` is repeated while calls are made.
const REFRESH: Duration = Duration::from_millis(500);
/// Pauses between two tries to connect.
const BACKOFF: std::ops::Range<Duration> = Duration::from_millis(20)..Duration::from_millis(500);

/// One endpoint, its connection and what is known of it.
pub(super) struct Endpoint {
    pub(super) address: Address,
    state: RefCell<State>,
    /// The last `hello`, kept when the connection is lost.
    hello: RefCell<Option<Hello>>,
    /// A call ran into its time limit here, and nothing was heard since.
    suspect: Cell<bool>,
    /// A call was made since the last `hello`.
    used: Cell<bool>,
    /// Ask `hello` now.
    probe: Notify,
}

enum State {
    Down { why: String, tried: bool },
    Ready(Connection),
}

impl Endpoint {
    fn new(address: Address) -> Endpoint {
        Endpoint {
            address,
            state: RefCell::new(State::Down { why: String::new(), tried: false }),
            hello: RefCell::new(None),
            suspect: Cell::new(false),
            used: Cell::new(false),
            probe: Notify::new(),
        }
    }

    /// The connection, if there is one; the caller is about to use it.
    pub(super) fn connection(&self) -> Option<Connection> {
        self.used.set(true);
        match &*self.state.borrow() {
            State::Ready(connection) => Some(connection.clone()),
            State::Down { .. } => None,
        }
    }

    pub(super) fn node(&self) -> Option<NodeId> {
        self.hello.borrow().as_ref().map(|hello| hello.node)
    }

    pub(super) fn hello(&self) -> Option<Hello> {
        self.hello.borrow().clone()
    }

    /// A call ran into its time limit here.
    pub(super) fn suspect(&self) {
        self.suspect.set(true);
        self.probe.notify_one();
    }

    fn is_ready(&self) -> bool {
        matches!(*self.state.borrow(), State::Ready(_))
    }

    fn is_healthy(&self) -> bool {
        self.is_ready() && !self.suspect.get()
    }

    fn is_settled(&self) -> bool {
        !matches!(*self.state.borrow(), State::Down { tried: false, .. })
    }

    pub(super) fn status(&self) -> EndpointStatus {
        let state = match &*self.state.borrow() {
            State::Ready(_) if self.suspect.get() => EndpointState::Silent,
            State::Ready(_) => EndpointState::Answering,
            State::Down { why, .. } => EndpointState::Down(why.clone()),
        };
        EndpointStatus { address: self.address.clone(), node: self.node(), state }
    }
}

/// Which endpoint a call wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// The leader, or one that can relay to it.
    Leader,
    /// Whichever; calls are spread.
    Any,
}

/// All endpoints of a client.
pub(super) struct Pool {
    pub(super) endpoints: Vec<Rc<Endpoint>>,
    cluster: Cell<Option<ClusterId>>,
    leader: Cell<Option<NodeId>>,
    term: Cell<Term>,
    turn: Cell<usize>,
    /// Counts changes that may let a waiting call go on.
    changes: watch::Sender<u64>,
}

impl Pool {
    pub(super) fn new(addresses: &[Address]) -> Pool {
        let mut addresses = addresses.to_vec();
        addresses.dedup();
        Pool {
            endpoints: addresses.into_iter().map(|a| Rc::new(Endpoint::new(a))).collect(),
            cluster: Cell::new(None),
            leader: Cell::new(None),
            term: Cell::new(Term(0)),
            turn: Cell::new(0),
            changes: watch::channel(0).0,
        }
    }

    /// Wakes whoever waits for an endpoint to become ready or a leader to be known.
    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    pub(super) fn watch(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    pub(super) fn leader(&self) -> Option<NodeId> {
        self.leader.get()
    }

    pub(super) fn statuses(&self) -> Vec<EndpointStatus> {
        self.endpoints.iter().map(|endpoint| endpoint.status()).collect()
    }

    /// The endpoint for the next call: the leader if that is wanted and known, else the ready ones
    /// by turns; not `avoid` if there is another, and a suspect one never.
    pub(super) fn pick(&self, want: Want, avoid: Option<&Rc<Endpoint>>) -> Option<Rc<Endpoint>> {
        let avoided = |e: &Rc<Endpoint>| avoid.is_some_and(|avoid| Rc::ptr_eq(avoid, e));
        if want == Want::Leader && self.leader.get().is_some() {
            let leads = |e: &&Rc<Endpoint>| e.node() == self.leader.get() && e.is_healthy();
            if let Some(leader) = self.endpoints.iter().find(leads)
                && !avoided(leader)
            {
                return Some(leader.clone());
            }
        }
        let turn = self.turn.get().wrapping_add(1);
        self.turn.set(turn);
        let count = self.endpoints.len();
        let by_turns = || (0..count).map(|i| &self.endpoints[turn.wrapping_add(i) % count]);
        by_turns()
            .find(|e| e.is_healthy() && !avoided(e))
            .or_else(|| by_turns().find(|e| e.is_healthy()))
            .cloned()
    }

    /// An endpoint refused because it does not lead; it names who does, if it knows.
    pub(super) fn not_leading(&self, endpoint: &Endpoint, leader: Option<NodeId>) {
        if leader.is_some() {
            self.leader.set(leader);
        } else if self.leader.get() == endpoint.node() {
            self.leader.set(None);
        }
    }

    /// Whether every endpoint has been tried, or the leader is connected.
    pub(super) fn is_settled(&self) -> bool {
        let leads = |e: &Rc<Endpoint>| e.is_ready() && e.node() == self.leader.get();
        self.endpoints.iter().all(|e| e.is_settled())
            || (self.leader.get().is_some() && self.endpoints.iter().any(leads))
    }

    /// Waits until an endpoint has said `hello` again.
    pub(super) async fn refresh(&self) {
        let mut changes = self.watch();
        for endpoint in &self.endpoints {
            endpoint.probe.notify_one();
        }
        // The sender lives as long as `self`: this cannot fail.
        let _ = changes.changed().await;
    }

    pub(super) fn any_ready(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.is_ready())
    }

    /// The highest applied index that was told by any endpoint.
    pub(super) fn applied_index(&self) -> LogIndex {
        let applied = |e: &Rc<Endpoint>| e.hello.borrow().as_ref().map(|h| h.applied_index);
        self.endpoints.iter().filter_map(applied).max().unwrap_or_default()
    }

    /// Takes in what a node said of itself.
    pub(super) fn learn(&self, endpoint: &Endpoint, hello: Hello) -> Result<(), String> {
        match self.cluster.get() {
            Some(cluster) if cluster != hello.cluster => {
                return Err(format!("node {} belongs to another cluster", hello.node));
            }
            _ => self.cluster.set(Some(hello.cluster)),
        }
        if hello.term >= self.term.get() {
            self.term.set(hello.term);
            if hello.leader.is_some() {
                self.leader.set(hello.leader);
            }
        }
        *endpoint.hello.borrow_mut() = Some(hello);
        Ok(())
    }

    /// Keeps one endpoint connected, for ever: the body of its task.
    pub(super) async fn maintain(self: Rc<Pool>, endpoint: Rc<Endpoint>) {
        let mut backoff = BACKOFF.start;
        loop {
            let began = Instant::now();
            let why = self.connect_once(&endpoint).await;
            if began.elapsed() > DIAL_LIMIT {
                backoff = BACKOFF.start; // it was connected for a while
            }
            *endpoint.state.borrow_mut() = State::Down { why, tried: true };
            endpoint.suspect.set(false);
            if self.leader.get() == endpoint.node() {
                self.leader.set(None);
            }
            self.changed();
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF.end);
        }
    }

    /// One connection from dialling to its end; says why it ended.
    async fn connect_once(&self, endpoint: &Endpoint) -> String {
        let (connection, mut driver) =
            match timeout(DIAL_LIMIT, wire::dial(&endpoint.address)).await {
                Ok(Ok(dialled)) => dialled,
                Ok(Err(error)) => return error,
                Err(_) => return "dialling it timed out".to_owned(),
            };
        tokio::select! {
            why = driver.closed() => why,
            why = self.attend(endpoint, connection) => why,
        }
    }

    /// Says `hello` at the beginning, then as often as needed, until an answer fails to come.
    async fn attend(&self, endpoint: &Endpoint, connection: Connection) -> String {
        let mut first = true;
        loop {
            let hello = match timeout(HELLO_LIMIT, wire::hello(&connection)).await {
                Ok(Ok(hello)) => hello,
                Ok(Err(error)) => return error.0,
                Err(_) => return "accepts connections but does not answer (paused?)".to_owned(),
            };
            if let Err(why) = self.learn(endpoint, hello) {
                return why;
            }
            if std::mem::take(&mut first) {
                *endpoint.state.borrow_mut() = State::Ready(connection.clone());
            }
            endpoint.suspect.set(false);
            endpoint.used.set(false);
            self.changed();
            loop {
                let probed = timeout(REFRESH, endpoint.probe.notified()).await.is_ok();
                if probed || endpoint.used.get() {
                    break;
                }
            }
        }
    }
}

//! The supervisor at work: what the judgements of each [`Lifecycle`] are carried out with.
//!
//! Everything runs on one thread as local tasks around one [`Daemon`]:
//!
//! ```text
//!   control.capnp ──► act, down, status, events
//!   pidfd of each node ──► exited ─┐
//!   status of each node ─► answered, silent ─┤► Lifecycle ──► spawn, signal, history
//!   the nearest deadline ► elapsed ─┘              │
//!                                                  └► supervisor.json (written by one task, off
//!                                                     this thread, the newest state only)
//! ```
//!
//! Nobody here holds the state across an `await`: each task takes it, changes it, and wakes the
//! others through two watches, `changed` (a node's state) and `news` (anything one can see).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::rc::Rc;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant as Moment;

use super::chaos::Ended;
use super::events::{EventLog, KINDS};
use super::lifecycle::{Do, Lifecycle};
use super::metrics::Metrics;
use super::ops::{Beside, SideCar};
use super::process::Process;
use super::state::{NodeRecord, StateFile};
use crate::chaos::{Fault, FaultId};
use crate::config::{ClusterConfig, ClusterDirectory};
use crate::control::{NodeStatus, Role, State, Stopped, unix_millis};
use crate::types::{Instant, NodeId, Term};

/// One cluster's keeper.
pub struct Daemon {
    pub(super) directory: ClusterDirectory,
    pub(super) config: ClusterConfig,
    pub(super) foreground: bool,
    pub(super) since_millis: u64,
    pub(super) inner: RefCell<Inner>,
    pub(super) metrics: Metrics,
    pub(super) kvnode: PathBuf,
    /// Changes of membership are made one after the other.
    pub(super) membership: Mutex<()>,
    origin: Moment,
    /// A node's state changed.
    changed: watch::Sender<u64>,
    /// Something changed that others can see.
    news: watch::Sender<u64>,
    /// The newest version of the state that is on disk.
    saved: watch::Sender<u64>,
    version: Cell<u64>,
}

/// What changes.
pub(super) struct Inner {
    pub state: StateFile,
    pub nodes: BTreeMap<NodeId, Node>,
    /// Faults of which not everything is done yet that they do to processes; and for each, the
    /// nodes that another fault did not let go meanwhile only because this one wants them.
    pub beginning: BTreeMap<FaultId, BTreeSet<NodeId>>,
    /// The faults that ended last, the oldest first, for whoever watches.
    pub ended: VecDeque<Ended>,
    /// What stands beside the cluster, or is on its way out.
    pub side_cars: BTreeMap<SideCar, Beside>,
    pub leader: Option<NodeId>,
    pub term: Term,
    pub events: EventLog,
    pub phase: Phase,
    /// When a node's state changed last: for a while after, one looks more often.
    pub unsettled: Instant,
}

/// Whether the cluster is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Up,
    GoingDown,
    Down(Vec<Stopped>),
}

/// One node.
pub(super) struct Node {
    pub lifecycle: Lifecycle,
    pub process: Option<Rc<Process>>,
    /// What it said last, and when (Unix time), since its start.
    pub report: Option<(NodeStatus, u64)>,
    /// When it answered last, or was started.
    pub answered: Instant,
    /// Unix time of the last change of state.
    pub since_millis: u64,
    pub adopted: bool,
    /// Held while it is being started: one at a time.
    pub starting: Rc<Mutex<()>>,
    /// Numbers the starts: a start that was overtaken by another wish does nothing.
    pub start: u64,
    /// Of a change of its membership under way.
    pub progress: Option<String>,
}

impl Node {
    /// One that is not known to run.
    pub(super) fn of(record: &NodeRecord, config: &ClusterConfig, since_millis: u64) -> Node {
        let (restarts, last_exit) = (record.restarts, record.last_exit.clone());
        Node {
            lifecycle: Lifecycle::new(config.supervisor.clone(), restarts, last_exit),
            process: None,
            report: None,
            answered: Instant::default(),
            since_millis,
            adopted: false,
            starting: Rc::default(),
            start: 0,
            progress: None,
        }
    }
}

impl Daemon {
    /// A keeper of a cluster none of whose nodes is known to run.
    pub(super) fn new(
        directory: ClusterDirectory,
        config: ClusterConfig,
        state: StateFile,
        events: EventLog,
        kvnode: PathBuf,
        foreground: bool,
        metrics: Metrics,
    ) -> Rc<Daemon> {
        let since_millis = unix_millis();
        let node = |(id, record)| (id, Node::of(record, &config, since_millis));
        let nodes = state.live().map(node);
        let inner = Inner {
            nodes: nodes.collect(),
            state,
            beginning: BTreeMap::new(),
            ended: VecDeque::new(),
            side_cars: BTreeMap::new(),
            leader: None,
            term: Term(0),
            events,
            phase: Phase::Up,
            unsettled: Instant::default(),
        };
        Rc::new(Daemon {
            directory,
            config,
            foreground,
            since_millis,
            inner: RefCell::new(inner),
            metrics,
            kvnode,
            membership: Mutex::new(()),
            origin: Moment::now(),
            changed: watch::Sender::new(0),
            news: watch::Sender::new(0),
            saved: watch::Sender::new(0),
            version: Cell::new(0),
        })
    }

    /// The time, as lifecycles are told it.
    pub(super) fn now(&self) -> Instant {
        Instant(self.origin.elapsed())
    }

    /// The other way round.
    pub(super) fn moment(&self, instant: Instant) -> Moment {
        self.origin + instant.0
    }

    /// Unix time of `instant`.
    pub(super) fn unix_millis_of(&self, instant: Instant) -> u64 {
        let ahead = instant.since(self.now()).as_millis();
        unix_millis().saturating_add(u64::try_from(ahead).unwrap_or(u64::MAX))
    }

    /// Wakes when a node's state changes.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Wakes when anything changes that others can see.
    pub(super) fn news(&self) -> watch::Receiver<u64> {
        self.news.subscribe()
    }

    /// Writes into the history.
    pub(super) fn tell(&self, node: Option<NodeId>, kind: &str, detail: &str) {
        self.write_down(node, kind, detail, None);
    }

    /// Writes into the history that a fault began or ended.
    pub(super) fn tell_fault(&self, fault: &Fault, kind: &str, detail: &str) {
        self.write_down(None, kind, detail, Some(fault));
    }

    fn write_down(&self, node: Option<NodeId>, kind: &str, detail: &str, fault: Option<&Fault>) {
        debug_assert!(KINDS.contains(&kind), "{kind} is missing among the kinds of events");
        tracing::info!(node = node.map(|node| node.0), kind, "{detail}");
        self.inner.borrow_mut().events.tell(unix_millis(), node, kind, detail, fault);
        self.metrics.event(kind);
        self.touch();
    }

    /// Something changed: the file is written anew, and whoever waits looks again.
    pub(super) fn touch(&self) {
        self.version.set(self.version.get() + 1);
        self.look();
    }

    /// Something changed that others can see and that no file holds.
    pub(super) fn look(&self) {
        self.news.send_modify(|news| *news += 1);
    }

    /// Asks `judge` about `node` and does what it says. Panics if there is no such node: ids are
    /// checked where they come in.
    pub(super) fn judge<T>(
        self: &Rc<Self>,
        id: NodeId,
        judge: impl FnOnce(&mut Lifecycle, Instant) -> Result<Vec<Do>, T>,
    ) -> Result<(), T> {
        let now = self.now();
        let (todo, process, moved) = {
            let mut inner = self.inner.borrow_mut();
            let Some(node) = inner.nodes.get_mut(&id) else { return Ok(()) };
            let before = node.lifecycle.state();
            let todo = judge(&mut node.lifecycle, now)?;
            let moved = node.lifecycle.state() != before;
            if moved {
                node.since_millis = unix_millis();
            }
            let process = node.process.clone();
            inner.unsettled = if moved { now } else { inner.unsettled };
            (todo, process, moved)
        };
        self.record(id);
        let spoke = !todo.is_empty();
        for deed in todo {
            match deed {
                Do::Tell { kind, detail } => self.tell(Some(id), kind, &detail),
                Do::Send(signal) => {
                    let sent = process.as_ref().map_or(Ok(()), |process| process.send(signal));
                    if let Err(error) = sent {
                        tracing::error!(node = %id, ?signal, %error, "cannot send a signal");
                    }
                }
                Do::Spawn(reason) => self.spawn(id, reason),
            }
        }
        if moved || spoke {
            self.touch();
            self.changed.send_modify(|changed| *changed += 1);
        }
        Ok(())
    }

    /// Like [`judge`](Self::judge), for what cannot be refused.
    pub(super) fn note(
        self: &Rc<Self>,
        id: NodeId,
        note: impl FnOnce(&mut Lifecycle, Instant) -> Vec<Do>,
    ) {
        let done: Result<(), std::convert::Infallible> =
            self.judge(id, |lifecycle, now| Ok(note(lifecycle, now)));
        match done {
            Ok(()) => {}
        }
    }

    /// Copies what must outlive this process into the state that is written.
    fn record(&self, id: NodeId) {
        let mut inner = self.inner.borrow_mut();
        let Inner { state, nodes, phase, .. } = &mut *inner;
        let (Some(node), Some(record)) = (nodes.get(&id), state.nodes.get_mut(&id)) else { return };
        record.process = node.process.as_ref().map(|process| process.identity.clone());
        record.restarts = node.lifecycle.restarts();
        record.last_exit = node.lifecycle.last_exit().map(str::to_owned);
        // Going down stops every node, and that is nobody's wish for the next time.
        if *phase == Phase::Up {
            record.stay_down = node.lifecycle.stays_down();
            record.given_up = match node.lifecycle.state() {
                State::CrashLooping => node.lifecycle.problem().map(str::to_owned),
                _ => None,
            };
        }
    }

    /// Who leads: of those that answer and say so themselves, the one of the newest term. What
    /// others say of it does not count: they name a leader that was killed until they elect the
    /// next, and meanwhile it may have been started again as a follower.
    pub(super) fn judge_leader(&self) {
        let (before, after, term) = {
            let mut inner = self.inner.borrow_mut();
            let answers =
                |node: &&Node| matches!(node.lifecycle.state(), State::Running | State::Stopping);
            let reports = || {
                let live = inner.nodes.values().filter(answers);
                live.filter_map(|node| node.report.as_ref()).map(|(report, _)| report)
            };
            let leads = reports().filter(|report| report.role == Role::Leader);
            let leader = leads.max_by_key(|report| report.term);
            let newest = || reports().map(|report| report.term).max();
            let term = leader.map(|leader| leader.term).or_else(newest).unwrap_or(inner.term);
            let after = leader.map(|leader| leader.node);
            let before = (inner.leader, inner.term);
            (inner.leader, inner.term) = (after, term);
            (before, after, term)
        };
        if before == (after, term) {
            return;
        }
        match after {
            Some(leader) => {
                self.metrics.leader_changed();
                self.tell(Some(leader), "leader-changed", &format!("leads in term {term}"));
            }
            None if before.0.is_some() => self.tell(before.0, "leader-lost", "leads no more"),
            None => {}
        }
        self.touch();
    }

    /// Keeps telling lifecycles that time has passed.
    pub(super) async fn keep_time(self: Rc<Self>) {
        let mut changes = self.changes();
        loop {
            changes.borrow_and_update();
            let deadlines: Vec<(NodeId, Option<Instant>)> = {
                let inner = self.inner.borrow();
                inner.nodes.iter().map(|(id, it)| (*id, it.lifecycle.next_deadline())).collect()
            };
            let next = deadlines.iter().filter_map(|(_, deadline)| *deadline).min();
            let wait = async {
                match next {
                    Some(next) => tokio::time::sleep_until(self.moment(next)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {}
                _ = changes.changed() => continue,
            }
            for (id, _) in deadlines {
                self.note(id, |node, now| node.elapsed(now));
            }
        }
    }

    /// Keeps `supervisor.json` as new as the disk allows.
    pub(super) async fn keep_state(self: Rc<Self>) {
        let mut news = self.news();
        loop {
            news.borrow_and_update();
            let version = self.version.get();
            if version != *self.saved.borrow() {
                let (state, events) = {
                    let inner = self.inner.borrow();
                    (inner.state.clone(), inner.events.to_sync())
                };
                let path = self.directory.supervisor_json();
                let written = tokio::task::spawn_blocking(move || {
                    if let Some(Err(error)) = events.map(|events| events.sync_data()) {
                        tracing::warn!(%error, "cannot make the history durable");
                    }
                    state.write(&path)
                });
                match written.await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!("{error}"),
                    Err(error) => tracing::error!(%error, "cannot write the state"),
                }
                self.saved.send_replace(version);
                continue;
            }
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    /// Waits until the state as it is now was written (or the disk refused, which is in the log).
    pub(super) async fn is_saved(&self) {
        let version = self.version.get();
        // The sender is ours: it cannot be gone.
        let _ = self.saved.subscribe().wait_for(|saved| *saved >= version).await;
    }
}

//! Faults on purpose: begun, told to the nodes, remembered, ended.
//!
//! # Order
//!
//! 1. The fault stands in the state file: whoever comes after this process knows of it.
//! 2. What it does to processes is done. It may be impossible: then the fault is taken back.
//! 3. Each node's own part is written beside its data, where the node finds it at its next start.
//! 4. Each node that runs is told, all at the same time, and whoever asked is answered.
//!
//! Healing goes the other way round: what the file still holds can be healed again.
//!
//! # What can go wrong
//!
//! - *A node is paused*, and is told when it goes on: the order lies in its socket until then.
//!   Whoever asked is not kept waiting, but told who has not heard.
//! - *A pause outlives us.* A timed one has a [guard](mod@super::guard). One that somebody else
//!   ended, or that its process did not survive, is over.
//! - *One fault ends while another begins* that wants the same of a node. The first leaves the node
//!   as it is, to the second, which takes it over so; if that is taken back after all, it lets the
//!   node go, too.
//! - *This process dies after 1.* The next one finds a fault that was perhaps never done: what was
//!   to be stopped and runs is over, and everything else is done now.
//! - *A node hears nothing*, because this process died after 3, or the order was lost: its status
//!   says which list it has, and it is told again.
//! - *Nobody heals.* A fault with an end ends in the nodes themselves. Without one it stays, across
//!   restarts of nodes and of this process, until `heal` or the end of the cluster; every status
//!   says so.

use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use serde::{Deserialize, Serialize};

use super::daemon::{Daemon, Inner, Phase};
use super::process::Identity;
use super::refused::Refused;
use crate::chaos::{
    Directed, Fault, FaultId, Healed, Injection, NodeFault, Standing, Table, View, Wish,
};
use crate::config::{Address, replace_file};
use crate::control::{Action, NodeClient, State, unix_millis};
use crate::types::NodeId;

/// Faults in force at once.
const MAX_FAULTS: usize = 256;

/// Faults that are over, and of which whoever watches is still told.
const MAX_ENDED: usize = 64;

/// For a node to answer that it has a list of faults.
const PATIENCE: Duration = Duration::from_secs(1);

/// For what a fault does to processes to be done, before it can be healed.
const BEGINNING_PATIENCE: Duration = Duration::from_secs(30);

/// So long an order waits in the socket of a node that is paused; its status brings it after that.
const LONG_PATIENCE: Duration = Duration::from_secs(600);

/// What of faults is in the state file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Chaos {
    /// The last number that was given to a fault.
    pub last: FaultId,
    /// Of the list that the nodes are told; grows with every change.
    pub version: u64,
    pub faults: Vec<Fault>,
    pub guards: Vec<Guard>,
    /// Starts of nodes so far, to tell how many there were meanwhile.
    pub starts: u64,
}

/// Who lets a node go on that a fault stops.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Guard {
    pub fault: FaultId,
    pub node: NodeId,
    pub process: Identity,
}

/// A fault that has ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Ended {
    #[serde(flatten)]
    pub healed: Healed,
    /// Why, if nobody healed it.
    pub why: Option<&'static str>,
}

/// A fault that has begun.
pub(super) struct Begun {
    pub fault: Fault,
    /// What whoever asked should know.
    pub warning: String,
    /// Who has not heard yet.
    pub unheard: Vec<NodeId>,
}

/// What the cluster did meanwhile.
impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.healed.fmt(f)
    }
}

impl Inner {
    fn remember(&mut self, ended: Ended) {
        self.ended.push_back(ended);
        if self.ended.len() > MAX_ENDED {
            self.ended.pop_front();
        }
    }
}

impl Daemon {
    /// Begins a fault. The error says why it cannot be.
    pub(super) async fn inject(
        self: &Rc<Self>,
        injection: Injection,
        yes: bool,
    ) -> Result<Begun, Refused> {
        let (fault, warning) = self.prepare(injection, yes)?;
        self.touch();
        self.is_saved().await;
        let harmed = self.harm(&fault).await;
        self.inner.borrow_mut().beginning.remove(&fault.id);
        if let Err(why) = harmed {
            self.touch();
            self.is_saved().await;
            return Err(why.into());
        }
        self.keep_harming(std::slice::from_ref(&fault));
        let shown = fault.shown();
        self.metrics.injected(&shown);
        self.tell_fault(&shown, "fault-began", &words(&shown));
        self.is_saved().await;
        let unheard = self.tell_faults().await;
        Ok(Begun { fault, warning, unheard })
    }

    /// The fault that is wanted, as one that begins, and what whoever asked should know.
    fn prepare(&self, injection: Injection, yes: bool) -> Result<(Fault, String), Refused> {
        let (view, runs) = self.view();
        let mut inner = self.inner.borrow_mut();
        if inner.phase != Phase::Up {
            return Err("the cluster is going down".to_owned().into());
        }
        let chaos = &mut inner.state.chaos;
        if chaos.faults.len() >= MAX_FAULTS {
            let why = format!("{MAX_FAULTS} faults are in force already: heal some of them");
            return Err(why.into());
        }
        let id = FaultId(chaos.last.0 + 1);
        let fault = injection.begin(id, &view, unix_millis())?;
        let before = cut(&chaos.faults);
        let after: BTreeSet<Directed> = before.iter().copied().chain(cut([&fault])).collect();
        let go_on: BTreeSet<NodeId> = runs.difference(&fault.taken_away()).copied().collect();
        let loses = view.has_quorum(&runs, &before) && !view.has_quorum(&go_on, &after);
        if loses && self.config.protected && !yes {
            return Err(protected());
        }
        let warning = if loses { NO_QUORUM.to_owned() } else { String::new() };
        chaos.last = id;
        chaos.version += 1;
        chaos.faults.push(fault.clone());
        inner.beginning.insert(id, BTreeSet::new());
        Ok((fault, warning))
    }

    /// Whether a person may do `action` to a node, or to the leader: on a protected cluster nothing
    /// that takes away its quorum, unless `yes` was said.
    pub(super) async fn may_act(
        &self,
        node: Option<NodeId>,
        action: Action,
        yes: bool,
    ) -> Result<(), Refused> {
        let takes_away =
            matches!(action, Action::Stop | Action::Kill | Action::Pause | Action::Restart);
        if yes || !takes_away || !self.config.protected {
            return Ok(());
        }
        let node = match node {
            Some(node) => node,
            None => self.leader().await?,
        };
        let (view, runs) = self.view();
        let cut = cut(&self.inner.borrow().state.chaos.faults);
        let go_on = runs.iter().copied().filter(|id| *id != node).collect();
        match view.has_quorum(&runs, &cut) && !view.has_quorum(&go_on, &cut) {
            true => Err(protected()),
            false => Ok(()),
        }
    }

    /// A person stops `id`: it stays down, even if a fault that keeps it down as well ends.
    pub(super) fn stopped_by_hand(&self, id: NodeId) {
        for fault in &mut self.inner.borrow_mut().state.chaos.faults {
            if fault.on(id).is_some_and(NodeFault::keeps_down) {
                fault.spent.insert(id);
            }
        }
        self.touch();
    }

    /// Takes out the faults that are over: their time is, or what they paused goes on.
    fn take_over(&self) -> Vec<(Fault, &'static str)> {
        let now = unix_millis();
        let mut inner = self.inner.borrow_mut();
        let Inner { state, nodes, beginning, .. } = &mut *inner;
        let is = |id: &NodeId| nodes.get(id).map(|node| node.lifecycle.state());
        let goes_on = |id: &NodeId| match is(id) {
            Some(state) => !matches!(state, State::Paused | State::Starting | State::Unresponsive),
            None => true,
        };
        let runs = |id: &NodeId| match is(id) {
            Some(state) => state.is_alive() && state != State::Stopping,
            None => true,
        };
        let why = |fault: &Fault| match &fault.wish {
            _ if fault.is_over(now) => Some("its time was over"),
            Wish::Node { fault: NodeFault::Pause, .. } => {
                fault.nodes.iter().all(goes_on).then_some("what it paused goes on")
            }
            Wish::Node { fault: kind, .. } if kind.keeps_down() => {
                fault.nodes.iter().all(runs).then_some("what it stopped runs")
            }
            _ => None,
        };
        let is_over =
            |fault: &mut Fault| !beginning.contains_key(&fault.id) && why(fault).is_some();
        let over: Vec<Fault> = state.chaos.faults.extract_if(.., is_over).collect();
        over.into_iter().filter_map(|fault| why(&fault).map(|why| (fault, why))).collect()
    }

    /// Ends the faults of these numbers, or all. The error says which of them there is not.
    pub(super) async fn heal(
        self: &Rc<Self>,
        ids: &[FaultId],
    ) -> Result<(Vec<Healed>, Vec<NodeId>), String> {
        let is_meant = |id: &FaultId| ids.is_empty() || ids.contains(id);
        let begins = || self.inner.borrow().beginning.keys().any(is_meant);
        self.wait_until(BEGINNING_PATIENCE, || !begins()).await;
        if begins() {
            return Err("a fault is still beginning: ask again when it has begun".to_owned());
        }
        let now = unix_millis();
        let ended: Vec<Fault> = {
            let chaos = &mut self.inner.borrow_mut().state.chaos;
            let there = |id: &FaultId| chaos.faults.iter().any(|fault| fault.id == *id);
            if let Some(missing) = ids.iter().find(|id| !there(id)) {
                return Err(match *missing <= chaos.last && missing.0 > 0 {
                    true => format!("fault {missing} is over"),
                    false => format!("there is no fault {missing}"),
                });
            }
            chaos.version += 1;
            chaos.faults.extract_if(.., |fault| is_meant(&fault.id)).collect()
        };
        let standing = self.standing();
        let healed: Vec<Healed> = ended.iter().map(|fault| fault.healed(now, standing)).collect();
        for (it, fault) in healed.iter().zip(&ended) {
            self.inner.borrow_mut().remember(Ended { healed: it.clone(), why: None });
            let lasted = Duration::from_millis(it.lasted_millis);
            let words = format!("fault {}: {}, healed after {lasted:?}: {it}", it.id, it.what);
            self.tell_fault(fault, "fault-ended", &words);
        }
        self.undo(&ended).await;
        let unheard = self.tell_faults().await;
        self.touch();
        self.is_saved().await;
        Ok((healed, unheard))
    }

    /// The faults in force.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let now = unix_millis();
        let inner = self.inner.borrow();
        inner.state.chaos.faults.iter().filter(|fault| !fault.is_over(now)).cloned().collect()
    }

    /// Forgets faults that are over, for ever. The nodes have ended them themselves; only the files
    /// must go.
    pub(super) async fn keep_faults(self: Rc<Self>) {
        let mut news = self.news();
        self.watch_guards();
        self.finish_beginning();
        self.keep_harming(&self.faults());
        loop {
            news.borrow_and_update();
            let now = unix_millis();
            let over = self.take_over();
            for (fault, why) in &over {
                let did = fault.healed(now, self.standing());
                let words = format!("fault {}: {fault}, {why}: {did}", fault.id);
                self.inner.borrow_mut().remember(Ended { healed: did, why: Some(why) });
                self.tell_fault(fault, "fault-ended", &words);
            }
            if !over.is_empty() {
                let over: Vec<Fault> = over.into_iter().map(|(fault, _)| fault).collect();
                self.undo(&over).await;
                self.inner.borrow_mut().state.chaos.version += 1;
                self.tell_faults().await;
            }
            let next = {
                let inner = self.inner.borrow();
                inner.state.chaos.faults.iter().filter_map(|fault| fault.until_millis).min()
            };
            let nap = async {
                match next {
                    Some(next) => {
                        let left = Duration::from_millis(next.saturating_sub(now).max(1));
                        tokio::time::sleep(left.min(PATIENCE)).await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = nap => {}
                _ = news.changed() => {}
            }
        }
    }

    /// Ends everything, because the cluster ends.
    pub(super) fn forget_faults(&self) {
        let ended = {
            let chaos = &mut self.inner.borrow_mut().state.chaos;
            chaos.version += u64::from(!chaos.faults.is_empty());
            // They end with the nodes that they guard.
            chaos.guards.clear();
            std::mem::take(&mut chaos.faults)
        };
        for fault in &ended {
            let words = format!("fault {}: {fault}, ended with the cluster", fault.id);
            self.tell_fault(fault, "fault-ended", &words);
        }
        let ids: Vec<NodeId> = self.inner.borrow().nodes.keys().copied().collect();
        ids.into_iter().for_each(|id| self.write_faults(id));
    }

    /// Tells every node its part of the faults; who has not heard.
    async fn tell_faults(self: &Rc<Self>) -> Vec<NodeId> {
        let ids: Vec<NodeId> = self.inner.borrow().nodes.keys().copied().collect();
        ids.iter().for_each(|id| self.write_faults(*id));
        let told = join_all(ids.into_iter().map(|id| async move { (id, self.tell_one(id).await) }));
        told.await.into_iter().filter_map(|(id, heard)| (!heard).then_some(id)).collect()
    }

    /// Tells `id` its part of the faults. False: it lives and has not heard.
    async fn tell_one(self: &Rc<Self>, id: NodeId) -> bool {
        let state = self.inner.borrow().nodes.get(&id).map(|node| node.lifecycle.state());
        let Some(state) = state.filter(|state| state.is_alive()) else { return true };
        let (this, table) = (self.clone(), self.table_of(id).to_json());
        let told = tokio::task::spawn_local(async move {
            let address = Address::Unix(this.directory.node(id).socket("control"));
            let client = NodeClient::connect(id, &address).await?;
            client.set_faults(&table, LONG_PATIENCE).await
        });
        match state {
            // It reads the file before it opens its sockets.
            State::Starting => true,
            // The order lies in its socket.
            State::Paused => false,
            _ => matches!(tokio::time::timeout(PATIENCE, told).await, Ok(Ok(Ok(())))),
        }
    }

    /// Tells `id` again, if its status says that it has an older list.
    pub(super) fn remind_of_faults(self: &Rc<Self>, id: NodeId) {
        let behind = {
            let inner = self.inner.borrow();
            let report = inner.nodes.get(&id).and_then(|node| node.report.as_ref());
            report.is_some_and(|(report, _)| report.faults_version < inner.state.chaos.version)
        };
        if behind {
            let this = self.clone();
            tokio::task::spawn_local(async move { this.tell_one(id).await });
        }
    }

    fn table_of(&self, id: NodeId) -> Table {
        let inner = self.inner.borrow();
        let chaos = &inner.state.chaos;
        Fault::table(chaos.version, &chaos.faults, id)
    }

    /// Writes what `id` finds at its start.
    pub(super) fn write_faults(&self, id: NodeId) {
        let path = self.directory.node(id).faults_file();
        let table = self.table_of(id);
        let written = match table.faults.is_empty() {
            true if !path.exists() => Ok(()),
            true => std::fs::remove_file(&path),
            false => replace_file(&path, table.to_json().as_bytes()),
        };
        if let Err(error) = written {
            tracing::error!(node = %id, %error, "cannot write {}", path.display());
        }
    }

    /// Who is there and who leads; and who runs.
    fn view(&self) -> (View, BTreeSet<NodeId>) {
        let inner = self.inner.borrow();
        let all: BTreeSet<NodeId> = inner.nodes.keys().copied().collect();
        let reports = inner.nodes.values().filter_map(|node| node.report.as_ref());
        let newest = reports.max_by_key(|(report, _)| (report.term, report.commit_index));
        let voters = newest
            .map_or_else(|| all.clone(), |(report, _)| report.voters.iter().copied().collect());
        let runs = inner.nodes.iter().filter(|(_, it)| it.lifecycle.state() == State::Running);
        let runs = runs.map(|(id, _)| *id).collect();
        let leader = inner.leader;
        drop(inner);
        (View { all, voters, leader, standing: self.standing() }, runs)
    }

    /// How far the cluster is, as far as is known.
    fn standing(&self) -> Standing {
        let inner = self.inner.borrow();
        let reports = inner.nodes.values().filter_map(|node| node.report.as_ref());
        let commit_index = reports.map(|(report, _)| report.commit_index).max();
        Standing {
            term: inner.term,
            leader: inner.leader,
            commit_index: commit_index.unwrap_or_default(),
            starts: inner.state.chaos.starts,
        }
    }
}

const NO_QUORUM: &str = "this leaves no majority that can reach each other: no write will be \
                         acknowledged until it is healed";

fn protected() -> Refused {
    let why = format!("{NO_QUORUM}, and this cluster is protected: say --yes to do it");
    Refused::Guarded(why)
}

/// The links that nothing gets through while `faults` are in force.
fn cut<'f>(faults: impl IntoIterator<Item = &'f Fault>) -> BTreeSet<Directed> {
    let cuts = |fault: &&Fault| fault.policy.cut || fault.policy.stall || fault.policy.loss >= 1.0;
    faults.into_iter().filter(cuts).flat_map(|fault| fault.links.iter().copied()).collect()
}

/// A fault in words, for the history.
fn words(fault: &Fault) -> String {
    let span = fault.until_millis.map(|until| until.saturating_sub(fault.since_millis));
    let span = span.map_or_else(
        || "until healed".to_owned(),
        |millis| format!("for {:?}", Duration::from_millis(millis)),
    );
    format!("fault {}: {fault}, {span}, by {}", fault.id, fault.by)
}

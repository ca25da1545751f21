//! What people ask for: an action on one node, and the end of all.

use std::rc::Rc;
use std::time::Duration;

use super::daemon::{Daemon, Phase};
use super::process;
use super::refused::Refused;
use crate::control::{Action, State, Stopped};
use crate::types::NodeId;

/// How long "the leader" may be looked for: an election may be under way.
const LEADER_PATIENCE: Duration = Duration::from_secs(3);

/// How long a node may take until it answers after a start, before the one who asked is told that
/// it does not yet.
pub(super) const START_PATIENCE: Duration = Duration::from_secs(15);

/// How long a new supervisor listens to those it adopts before it answers for them.
const FIRST_ANSWERS: Duration = Duration::from_millis(500);

/// How long a process may take to vanish after SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

impl Daemon {
    /// A person wants `action` done to `node`, or to the leader: `yes`, even if that takes away the
    /// quorum of a protected cluster.
    pub(super) async fn act_by_hand(
        self: &Rc<Self>,
        node: Option<NodeId>,
        action: Action,
        yes: bool,
    ) -> Result<NodeId, Refused> {
        self.may_act(node, action, yes).await?;
        let node = self.act(node, action).await?;
        if action == Action::Stop {
            self.stopped_by_hand(node);
        }
        Ok(node)
    }

    /// Does `action` to `node`, or to the leader, and returns when it is done.
    pub(super) async fn act(
        self: &Rc<Self>,
        node: Option<NodeId>,
        action: Action,
    ) -> Result<NodeId, String> {
        let id = match node {
            Some(id) if self.inner.borrow().nodes.contains_key(&id) => id,
            Some(id) => return Err(self.no_such_node(id)),
            None => self.leader().await?,
        };
        if self.inner.borrow().phase != Phase::Up {
            return Err("the cluster is going down".into());
        }
        let state = || self.inner.borrow().nodes.get(&id).map(|node| node.lifecycle.state());
        let process = || self.inner.borrow().nodes.get(&id).and_then(|node| node.process.clone());
        let before = process();
        let grace = self.config.supervisor.stop_grace();
        self.judge(id, |node, now| node.act(now, action, grace))
            .map_err(|why| format!("node {id}: {why}"))?;
        if action == Action::Resume {
            self.forgive(id);
        }
        let (patience, done): (Duration, Box<dyn Fn() -> bool + '_>) = match action {
            Action::Start => (grace + START_PATIENCE, Box::new(|| is_settled(state()))),
            Action::Restart => (
                grace + START_PATIENCE,
                Box::new(|| is_settled(state()) && !same(&process(), &before)),
            ),
            Action::Stop => (
                grace + KILL_PATIENCE,
                // Or it was started again by somebody else meanwhile.
                Box::new(|| state() != Some(State::Stopping)),
            ),
            Action::Kill => (KILL_PATIENCE, Box::new(|| !same(&process(), &before))),
            Action::Pause => {
                (KILL_PATIENCE, Box::new(|| process().is_none_or(|process| process.is_paused())))
            }
            Action::Resume => (Duration::ZERO, Box::new(|| true)),
        };
        self.wait_until(patience, done).await;
        self.is_saved().await;
        self.verdict(id, action, state())
    }

    /// Why nothing can be done to node `id`.
    pub(super) fn no_such_node(&self, id: NodeId) -> String {
        let inner = self.inner.borrow();
        let roll = inner.state.roll();
        match inner.state.nodes.contains_key(&id) {
            true => format!("node {id} was removed, there is no node {id} any more: {roll}"),
            false => format!("there is no node {id}: {roll}"),
        }
    }

    /// It could not answer while it was paused: its silence counts from now.
    fn forgive(&self, id: NodeId) {
        let now = self.now();
        if let Some(node) = self.inner.borrow_mut().nodes.get_mut(&id) {
            node.answered = now;
        }
    }

    /// What to say of `node` now that `action` was done to it.
    fn verdict(&self, id: NodeId, action: Action, state: Option<State>) -> Result<NodeId, String> {
        let inner = self.inner.borrow();
        let problem = inner.nodes.get(&id).and_then(|node| node.lifecycle.problem());
        let problem = problem.map_or(String::new(), |problem| format!(": {problem}"));
        let state = state.map_or("unknown", State::as_str);
        match action {
            Action::Start | Action::Restart if state != State::Running.as_str() => Err(format!(
                "node {id} was started, and is {state}{problem} (its log: {})",
                self.directory.node(id).log_file().display()
            )),
            Action::Stop if state == State::Stopping.as_str() => {
                Err(format!("node {id} was sent SIGKILL and is still there"))
            }
            _ => Ok(id),
        }
    }

    pub(super) async fn leader(&self) -> Result<NodeId, String> {
        let patience = LEADER_PATIENCE * self.config.timings.slow.0;
        self.wait_until(patience, || self.inner.borrow().leader.is_some()).await;
        let leader = self.inner.borrow().leader;
        leader.ok_or_else(|| {
            format!("no leader is known, not even after {patience:?}: name a node by number")
        })
    }

    /// Waits until each node that was found running has said how it is, but not for long. The first
    /// who asks a new supervisor wants to know who leads, not that nobody knows yet.
    pub(super) async fn adopted_have_answered(&self) {
        let heard = || {
            self.inner.borrow().nodes.values().all(|node| {
                !node.adopted || node.report.is_some() || node.lifecycle.state() != State::Running
            })
        };
        self.wait_until(FIRST_ANSWERS, heard).await;
    }

    /// Waits until `done`, for so long at most.
    pub(super) async fn wait_until(&self, patience: Duration, done: impl Fn() -> bool) {
        let mut news = self.news();
        let end = tokio::time::Instant::now() + patience;
        loop {
            news.borrow_and_update();
            if done() {
                return;
            }
            // Whether a process is stopped is told by nobody: it is looked at now and then.
            let glance = (tokio::time::Instant::now() + Duration::from_millis(5)).min(end);
            tokio::select! {
                _ = news.changed() => {}
                () = tokio::time::sleep_until(glance) => {}
            }
            if tokio::time::Instant::now() >= end {
                return;
            }
        }
    }

    /// Stops every node, followers first: so the leader, who knows most, is there to the last and
    /// nobody stands for election in between. Answers when nothing of them is left.
    pub(super) async fn down(self: &Rc<Self>, grace: Option<Duration>) -> Vec<Stopped> {
        let phase = self.inner.borrow().phase.clone();
        match phase {
            Phase::Down(stopped) => return stopped,
            Phase::GoingDown => return self.others_down().await,
            Phase::Up => {}
        }
        let grace = grace.unwrap_or(self.config.supervisor.stop_grace());
        let leader = {
            let mut inner = self.inner.borrow_mut();
            inner.phase = Phase::GoingDown;
            inner.state.mode = super::state::Mode::Down;
            for record in inner.state.nodes.values_mut() {
                (record.stay_down, record.given_up) = (false, None);
            }
            inner.leader
        };
        self.tell(None, "cluster-going-down", &format!("grace {grace:?}"));
        // A start that is under way either has its process by now or gives up.
        let ids: Vec<NodeId> = self.inner.borrow().nodes.keys().copied().collect();
        let (last, first): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| Some(*id) == leader);
        let mut stopped = Vec::new();
        for group in [first, last] {
            stopped.extend(self.stop_all(&group, grace).await);
        }
        self.no_start_under_way().await;
        self.end_ops().await;
        stopped.sort_by_key(|stopped| stopped.node);
        self.clean_up();
        self.forget_faults();
        self.tell(None, "cluster-down", "every node has ended");
        self.is_saved().await;
        self.inner.borrow_mut().phase = Phase::Down(stopped.clone());
        self.look();
        stopped
    }

    async fn others_down(&self) -> Vec<Stopped> {
        let mut news = self.news();
        loop {
            if let Phase::Down(stopped) = &self.inner.borrow().phase {
                return stopped.clone();
            }
            if news.changed().await.is_err() {
                return Vec::new();
            }
        }
    }

    pub(super) async fn stop_all(self: &Rc<Self>, ids: &[NodeId], grace: Duration) -> Vec<Stopped> {
        let mut ran = Vec::new();
        for id in ids {
            let had = self.inner.borrow().nodes.get(id).is_some_and(|it| it.process.is_some());
            ran.push((*id, had));
            let stop =
                |node: &mut super::lifecycle::Lifecycle, now| node.act(now, Action::Stop, grace);
            if let Err(why) = self.judge(*id, stop) {
                tracing::error!(node = %id, why, "cannot be stopped");
            }
        }
        let gone = || {
            let inner = self.inner.borrow();
            ids.iter().all(|id| inner.nodes.get(id).is_none_or(|node| node.process.is_none()))
        };
        self.wait_until(grace + KILL_PATIENCE, gone).await;
        let inner = self.inner.borrow();
        let how = |(id, had): (NodeId, bool)| {
            let node = inner.nodes.get(&id)?;
            let how = match (had, &node.process, node.lifecycle.out_of_patience()) {
                (false, ..) => "was not running".to_owned(),
                (true, Some(process), _) => format!("still there: pid {}", process.pid()),
                (true, None, Some(grace)) => format!("killed after {grace:?}"),
                (true, None, None) => "stopped".to_owned(),
            };
            Some(Stopped { node: id, how })
        };
        ran.into_iter().filter_map(how).collect()
    }

    /// Removes the sockets of nodes that are gone: who was killed could not. And kills what runs
    /// as one of our nodes although we do not know it.
    fn clean_up(&self) {
        let inner = self.inner.borrow();
        for (id, node) in &inner.nodes {
            if node.process.is_some() {
                continue;
            }
            let place = self.directory.node(*id);
            match process::running("kvnode", &place.node_toml()) {
                Ok(strays) => strays.iter().for_each(|stray| kill(*id, stray)),
                Err(error) => tracing::warn!(node = %id, %error, "cannot look for strays"),
            }
            remove_sockets(&place);
        }
    }
}

/// Removes the socket files that a node left.
pub(super) fn remove_sockets(place: &crate::config::NodeDirectory) {
    for socket in place.sockets() {
        match std::fs::remove_file(&socket) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(%error, path = %socket.display(), "cannot remove a socket");
            }
            _ => {}
        }
    }
}

fn kill(id: NodeId, stray: &process::Identity) {
    let killed = process::Process::of_identity(stray).and_then(|process| {
        process.map_or(Ok(()), |process| process.send(super::lifecycle::Signal::Kill))
    });
    tracing::warn!(node = %id, pid = stray.pid, ?killed, "killed a process that nobody knew of");
}

/// A start has come to an end, good or bad.
fn is_settled(state: Option<State>) -> bool {
    !matches!(state, Some(State::Starting | State::Stopping | State::BackingOff))
}

type Maybe = Option<Rc<process::Process>>;

fn same(a: &Maybe, b: &Maybe) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.identity == b.identity,
        (None, None) => true,
        _ => false,
    }
}

//! Adding nodes to a cluster that runs, and removing them.
//!
//! # The problem
//!
//! To add a member is several steps in two places: a number, a directory, ports and a process here,
//! then two changes of the configuration in the log. Anything may end in the middle: this process,
//! the leader, the patience of whoever asked. What is left must never be a riddle, nor be done
//! twice.
//!
//! # The rule
//!
//! - What people want is written down first ([`Standing`]), then carried out; what *is*, the log
//!   says. Both are shown. Asked for again, each step that is done is found done.
//! - A number is given once. A node that failed to join keeps it, and whoever was removed too.
//! - A node joins with an empty log, as a learner: it counts for nothing until it has caught up.
//!   Then it gets a vote. The core refuses to promote it sooner.
//! - Whoever is removed goes on running until the change is committed: until then it may be needed
//!   for just that.
//! - A removal that would leave more voters down than a majority can spare is refused: it could
//!   never be committed, and the cluster would be stuck in the middle of it.

use std::rc::Rc;
use std::time::Duration;
use std::{fs, io};

use tokio::time::Instant as Moment;

use super::act::{START_PATIENCE, remove_sockets};
use super::daemon::{Daemon, Node};
use super::leader::{Goal, Unmet};
use super::state::Retirement;
use crate::config::MAX_NODES;
use crate::control::{NodeStatus, Standing, State, unix_millis};
use crate::types::NodeId;

/// Before anything is created for a node that is to join, there must be a leader.
const LEADER_PATIENCE: Duration = Duration::from_secs(3);

/// A leader that is to be removed gets so long to hand its leadership over.
const HANDOVER: Duration = Duration::from_secs(2);

/// Between two looks at how far a node has caught up.
const GLANCE: Duration = Duration::from_millis(50);

/// Says of a node what is being done to it, until dropped.
struct Progress<'a> {
    daemon: &'a Daemon,
    node: NodeId,
}

impl Progress<'_> {
    fn say(&self, what: impl Into<String>) {
        self.put(Some(what.into()));
    }

    fn put(&self, what: Option<String>) {
        if let Some(node) = self.daemon.inner.borrow_mut().nodes.get_mut(&self.node) {
            node.progress = what;
        }
        self.daemon.look();
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        self.put(None);
    }
}

impl Daemon {
    /// For somebody to lead: in slow motion, elections take longer.
    fn leader_patience(&self) -> Duration {
        LEADER_PATIENCE * self.config.timings.slow.0
    }

    /// Waits for its turn to change the membership.
    async fn turn(&self, end: Moment) -> Result<tokio::sync::MutexGuard<'_, ()>, Unmet> {
        let turn = tokio::time::timeout_at(end, self.membership.lock()).await;
        turn.map_err(|_| Unmet::Refused("another change of membership is under way".into()))
    }

    /// Adds a node, or finishes to add `node`; returns its number.
    pub(super) async fn member_add(
        self: &Rc<Self>,
        node: Option<NodeId>,
        learner: bool,
        timeout: Duration,
    ) -> Result<NodeId, Unmet> {
        let end = Moment::now() + timeout;
        let _turn = self.turn(end).await?;
        self.check_up()?;
        let id = match node {
            Some(id) => self.joining(id)?,
            None => self.newcomer(end).await?,
        };
        let progress = Progress { daemon: self, node: id };
        self.run_newcomer(id, end, &progress).await?;
        let address = self.inner.borrow().state.nodes.get(&id).map(|record| record.peer.clone());
        let address = address.ok_or_else(|| Unmet::Refused(self.no_such_node(id)))?;
        progress.say("asks the leader to send it the log");
        let goal = Goal::Member { node: id, address };
        let view = self.reach(&goal, end, |_, missing| progress.say(missing)).await?;
        if !view.voters.contains(&id) {
            self.tell(Some(id), "member-added", "as a learner");
            self.caught_up(&view, id, end, &progress).await?;
            if !learner {
                self.promote(id, end, &progress).await?;
            }
        }
        self.stand(id, Standing::Member).await;
        Ok(id)
    }

    /// Gives a learner a vote.
    pub(super) async fn member_promote(
        self: &Rc<Self>,
        id: NodeId,
        timeout: Duration,
    ) -> Result<(), Unmet> {
        let end = Moment::now() + timeout;
        let _turn = self.turn(end).await?;
        self.check_up()?;
        if !self.inner.borrow().nodes.contains_key(&id) {
            return Err(Unmet::Refused(self.no_such_node(id)));
        }
        let view = self.some_leader(end).await?;
        if view.voters.contains(&id) && view.outgoing.is_empty() {
            return Err(Unmet::Refused(format!("node {id} has a vote already")));
        }
        if !view.is_member(id) {
            return Err(Unmet::Refused(format!("node {id} is no member yet: finish to add it")));
        }
        let progress = Progress { daemon: self, node: id };
        self.caught_up(&view, id, end, &progress).await?;
        self.promote(id, end, &progress).await?;
        self.stand(id, Standing::Member).await;
        Ok(())
    }

    async fn promote(
        self: &Rc<Self>,
        id: NodeId,
        end: Moment,
        progress: &Progress<'_>,
    ) -> Result<(), Unmet> {
        progress.say("asks the leader to give it a vote");
        self.reach(&Goal::Voter { node: id }, end, |_, missing| progress.say(missing)).await?;
        self.tell(Some(id), "member-promoted", "it votes");
        Ok(())
    }

    /// Removes a node and ends its process; with `purge`, its data goes too.
    pub(super) async fn member_remove(
        self: &Rc<Self>,
        id: NodeId,
        purge: bool,
        timeout: Duration,
    ) -> Result<(), Unmet> {
        let end = Moment::now() + timeout;
        let _turn = self.turn(end).await?;
        self.check_up()?;
        if !self.inner.borrow().nodes.contains_key(&id) {
            return self.purge_retired(id, purge).await;
        }
        let view = self.some_leader(end).await?;
        self.can_spare(id, &view)?;
        self.stand(id, Standing::Leaving).await;
        let progress = Progress { daemon: self, node: id };
        if view.node == id {
            progress.say("hands over its leadership");
            // Without it there is no leader for an election time-out, and no more harm than that.
            let patience = HANDOVER.min(end.saturating_duration_since(Moment::now()));
            let _ = self.transfer(None, patience).await;
        }
        progress.say("asks the leader to remove it");
        self.reach(&Goal::Gone { node: id }, end, |_, missing| progress.say(missing)).await?;
        progress.say("is stopped");
        self.retire(id).await?;
        if purge {
            self.purge_data(id)?;
        }
        self.tell(Some(id), "member-removed", if purge { "with its data" } else { "" });
        self.is_saved().await;
        Ok(())
    }

    /// Whether `id` is a node whose joining is not finished.
    fn joining(&self, id: NodeId) -> Result<NodeId, Unmet> {
        let inner = self.inner.borrow();
        let record = inner.state.nodes.get(&id).filter(|record| record.retired.is_none());
        let standing = record.map(|record| record.standing);
        drop(inner);
        Err(Unmet::Refused(match standing {
            Some(Standing::Joining) => return Ok(id),
            Some(Standing::Leaving) => format!("node {id} is being removed"),
            Some(Standing::Member) => format!("node {id} was added already"),
            None => self.no_such_node(id),
        }))
    }

    /// A node whose joining is not finished; if there is none, a new one.
    async fn newcomer(self: &Rc<Self>, end: Moment) -> Result<NodeId, Unmet> {
        let unfinished = {
            let inner = self.inner.borrow();
            let joins = |record: &super::state::NodeRecord| record.standing == Standing::Joining;
            let found = inner.state.live().find(|(_, record)| joins(record));
            found.map(|(id, _)| id)
        };
        if let Some(id) = unfinished {
            return Ok(id);
        }
        if self.inner.borrow().nodes.len() >= MAX_NODES as usize {
            let why = format!("there are {MAX_NODES} nodes already, and no more are possible");
            return Err(Unmet::Refused(why));
        }
        // Nothing is created that nobody could take in.
        let view = self.some_leader(end.min(Moment::now() + self.leader_patience())).await?;
        // Clients of etcd's API add members as well, of which nothing is written down here.
        let members = [&view.voters, &view.learners, &view.outgoing].into_iter().flatten();
        let above = members.copied().max().unwrap_or_default().max(view.last_member);
        let refused = |error: &dyn std::fmt::Display| Unmet::Refused(error.to_string());
        let id = {
            let mut inner = self.inner.borrow_mut();
            let id =
                inner.state.reserve(&self.directory, above).map_err(|error| refused(&error))?;
            let record = inner.state.nodes.get(&id);
            let node = record.map(|record| Node::of(record, &self.config, unix_millis()));
            inner.nodes.extend(node.map(|node| (id, node)));
            id
        };
        self.tell(Some(id), "member-joining", "a new node");
        // The number is taken from here on, whatever comes.
        self.is_saved().await;
        self.directory.node(id).create().map_err(|error| refused(&error))?;
        self.begin_asking(id);
        Ok(id)
    }

    /// Starts a node that is to join, and waits until it answers.
    async fn run_newcomer(
        self: &Rc<Self>,
        id: NodeId,
        end: Moment,
        progress: &Progress<'_>,
    ) -> Result<(), Unmet> {
        progress.say("starts");
        let refused = |error: &dyn std::fmt::Display| Unmet::Refused(error.to_string());
        self.directory.node(id).create().map_err(|error| refused(&error))?;
        let state = || self.inner.borrow().nodes.get(&id).map(|node| node.lifecycle.state());
        if !state().is_some_and(State::is_alive) {
            self.note(id, |node, _| node.up());
        }
        let settled = || matches!(state(), Some(State::Running | State::CrashLooping) | None);
        let patience = START_PATIENCE.min(end.saturating_duration_since(Moment::now()));
        self.wait_until(patience, settled).await;
        match state() {
            Some(State::Running) => Ok(()),
            state => {
                let inner = self.inner.borrow();
                let problem = inner.nodes.get(&id).and_then(|node| node.lifecycle.problem());
                let problem = problem.map_or(String::new(), |problem| format!(": {problem}"));
                let state = state.map_or("gone", State::as_str);
                Err(Unmet::Unfinished(format!("node {id} is {state}{problem}")))
            }
        }
    }

    /// Waits until `id` has all that the leader had in `view`.
    async fn caught_up(
        &self,
        view: &NodeStatus,
        id: NodeId,
        end: Moment,
        progress: &Progress<'_>,
    ) -> Result<(), Unmet> {
        let target = view.last_index;
        let mut missing = format!("node {id} has not caught up");
        loop {
            if let Some(now) = self.leader_view().await
                && let Some(peer) = now.peers.iter().find(|peer| peer.node == id)
            {
                if peer.match_index >= target {
                    self.seen_leading(&now);
                    return Ok(());
                }
                let (has, of) = (peer.match_index, now.last_index);
                progress.say(format!("catches up: {has} of {of} entries ({})", peer.state));
                missing = format!("node {id} has caught up with {has} of {of} entries");
            }
            if Moment::now() >= end {
                return Err(Unmet::Unfinished(missing));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Whether the cluster goes on without `id`.
    fn can_spare(&self, id: NodeId, view: &NodeStatus) -> Result<(), Unmet> {
        let rest: Vec<NodeId> = view.voters.iter().copied().filter(|it| *it != id).collect();
        if rest.is_empty() {
            let why = format!("node {id} is the last voter: `kvctl cluster down` ends the cluster");
            return Err(Unmet::Refused(why));
        }
        let inner = self.inner.borrow();
        let down: Vec<String> = rest
            .iter()
            .filter(|id| {
                let state = inner.nodes.get(id).map(|node| node.lifecycle.state());
                state != Some(State::Running)
            })
            .map(NodeId::to_string)
            .collect();
        if (rest.len() - down.len()) * 2 > rest.len() {
            return Ok(());
        }
        Err(Unmet::Refused(format!(
            "without node {id} there would be {} voters of which {} run, and no majority: start or \
             remove node {} first",
            rest.len(),
            rest.len() - down.len(),
            down.join(", ")
        )))
    }

    /// Writes down what people want of a node.
    async fn stand(&self, id: NodeId, standing: Standing) {
        if let Some(record) = self.inner.borrow_mut().state.nodes.get_mut(&id) {
            record.standing = standing;
        }
        self.touch();
        self.is_saved().await;
    }

    /// Looks whether nodes run that are members no more: a client of etcd's API may have removed
    /// them, and nobody else would stop them.
    pub(super) fn look_for_the_removed(self: &Rc<Self>, leader: &NodeStatus) {
        if !leader.outgoing.is_empty() {
            return;
        }
        let inner = self.inner.borrow();
        let removed = inner
            .state
            .live()
            .find(|(id, record)| record.standing == Standing::Member && !leader.is_member(*id));
        if let Some((id, _)) = removed {
            tokio::task::spawn_local(self.clone().retire_removed(id));
        }
    }

    /// Ends a node that the members have removed, if they certainly have: a majority of the voters
    /// follows the leader that says so, and the change is committed.
    async fn retire_removed(self: Rc<Self>, id: NodeId) {
        // Whoever changes the membership right now looks after it.
        let Ok(_turn) = self.membership.try_lock() else { return };
        let Some(view) = self.leader_view().await else { return };
        let is_followed = {
            let inner = self.inner.borrow();
            let follows = |id: &&NodeId| {
                let report = inner.nodes.get(id).and_then(|node| node.report.as_ref());
                report.is_some_and(|(report, _)| {
                    report.term == view.term && report.leader == Some(view.node)
                })
            };
            view.voters.iter().filter(follows).count() * 2 > view.voters.len()
        };
        let end = Moment::now() + self.leader_patience();
        let stands = |inner: &super::daemon::Inner| {
            inner.state.nodes.get(&id).is_some_and(|it| it.standing == Standing::Member)
        };
        if !is_followed
            || !view.outgoing.is_empty()
            || view.is_member(id)
            || !stands(&self.inner.borrow())
            || self.has_committed(&view, end).await.is_none()
        {
            return;
        }
        self.stand(id, Standing::Leaving).await;
        self.tell(Some(id), "member-removed", "by a client of etcd's API");
        if let Err(unmet) = self.retire(id).await {
            tracing::warn!(node = %id, ?unmet, "a node that was removed does not stop");
        }
    }

    /// Ends the process of a node that is no member any more, and forgets the node.
    async fn retire(self: &Rc<Self>, id: NodeId) -> Result<(), Unmet> {
        let grace = self.config.supervisor.stop_grace();
        for stopped in self.stop_all(&[id], grace).await {
            if self.inner.borrow().nodes.get(&id).is_some_and(|node| node.process.is_some()) {
                return Err(Unmet::Unfinished(format!("node {id} is {}", stopped.how)));
            }
        }
        let place = self.directory.node(id);
        remove_sockets(&place);
        // Whoever looks for the cluster's nodes in the directory does not find it any more.
        let retired = place.path().join("retired.toml");
        match fs::rename(place.node_toml(), &retired) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "cannot write {}", retired.display());
            }
            _ => {}
        }
        {
            let mut inner = self.inner.borrow_mut();
            inner.nodes.remove(&id);
            if let Some(record) = inner.state.nodes.get_mut(&id) {
                record.process = None;
                record.retired = Some(Retirement { since_millis: unix_millis(), purged: false });
            }
        }
        self.judge_leader();
        self.touch();
        self.is_saved().await;
        Ok(())
    }

    /// A node that was removed before: only its data may be left.
    async fn purge_retired(&self, id: NodeId, purge: bool) -> Result<(), Unmet> {
        let retired = {
            let inner = self.inner.borrow();
            inner.state.nodes.get(&id).and_then(|record| record.retired.clone())
        };
        match retired {
            Some(retired) if purge && !retired.purged => {
                self.purge_data(id)?;
                self.is_saved().await;
                Ok(())
            }
            Some(_) => Ok(()),
            None => Err(Unmet::Refused(self.no_such_node(id))),
        }
    }

    fn purge_data(&self, id: NodeId) -> Result<(), Unmet> {
        let path = self.directory.node(id).path().to_owned();
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let path = path.display();
                let why = format!("node {id} is removed, but not its data in {path}: {error}");
                return Err(Unmet::Unfinished(why));
            }
            _ => {}
        }
        let mut inner = self.inner.borrow_mut();
        let record = inner.state.nodes.get_mut(&id);
        if let Some(retired) = record.and_then(|record| record.retired.as_mut()) {
            retired.purged = true;
        }
        drop(inner);
        self.touch();
        Ok(())
    }
}

//! What faults do to nodes as processes: begun, kept up, undone.
//!
//! Two things can get in the way of undoing. *Another fault* may want the same: a node that two
//! faults keep down is started when the second ends. And *a person* may have been there first: a
//! node that somebody has paused or stopped by hand is refused, for the end of the fault would
//! undo what that person wanted.
//!
//! A process that is started while a fault starves it is starved from its start on.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;

use super::chaos::Guard;
use super::daemon::Daemon;
use super::guard::end_guard;
use super::lifecycle::Signal;
use super::process::Process;
use super::rot::flip_bit;
use crate::chaos::{Fault, FaultId, NodeFault};
use crate::control::{Action, State, unix_millis};
use crate::types::NodeId;

/// For a process to vanish after SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

impl Daemon {
    /// Does to the nodes of `fault`, which is in the list already, what it says: to all of them, or
    /// to none, and then it is taken out again. At the same moment: if one were killed after the
    /// other had vanished, the last would have synced what the first lost, and a power cut would be
    /// none.
    pub(super) async fn harm(self: &Rc<Self>, fault: &Fault) -> Result<(), String> {
        let harm = fault.nodes.iter().map(|id| async { (*id, self.harm_one(fault, *id).await) });
        let mut harmed = BTreeSet::new();
        let mut refused = None;
        for (id, done) in join_all(harm).await {
            match done {
                Ok(()) => drop(harmed.insert(id)),
                Err(why) => refused = refused.or(Some(why)),
            }
        }
        match refused {
            None => Ok(()),
            Some(why) => {
                {
                    let inner = &mut *self.inner.borrow_mut();
                    inner.state.chaos.version += 1;
                    inner.state.chaos.faults.retain(|other| other.id != fault.id);
                    harmed.extend(inner.beginning.remove(&fault.id).unwrap_or_default());
                }
                self.undo(&[Fault { nodes: harmed, ..fault.clone() }]).await;
                Err(why)
            }
        }
    }

    async fn harm_one(self: &Rc<Self>, fault: &Fault, id: NodeId) -> Result<(), String> {
        let Some(kind) = fault.on(id) else { return Ok(()) };
        let mut others = self.faults_on(id);
        others.retain(|(other, _)| other.id != fault.id);
        let is = |test: fn(&NodeFault) -> bool| others.iter().any(|(_, other)| test(other));
        let was_left = self.was_left_to(fault.id, id);
        let paused = is(|other| *other == NodeFault::Pause) || was_left;
        let down = is(NodeFault::keeps_down) || was_left;
        let state = self.inner.borrow().nodes.get(&id).map(|node| node.lifecycle.state());
        match kind {
            NodeFault::Pause if state == Some(State::Paused) && !paused => {
                Err(format!("node {id} is paused already, by hand: its end would be yours"))
            }
            NodeFault::Pause if is(|other| matches!(other, NodeFault::SlowCpu { .. })) => {
                Err(format!("node {id} is slowed down: heal that first"))
            }
            NodeFault::SlowCpu { .. } if state == Some(State::Paused) => {
                Err(format!("node {id} stands still: it cannot be slower"))
            }
            NodeFault::Pause => {
                self.act(Some(id), Action::Pause).await?;
                let guarded = self.guard(fault, id, None);
                // Without one it might stand still for ever; another fault's pause has its own.
                if guarded.is_err() && !paused {
                    self.act(Some(id), Action::Resume).await?;
                }
                guarded
            }
            NodeFault::SlowCpu { share } => self.guard(fault, id, Some(*share)),
            kind if kind.keeps_down() && down => Ok(()),
            NodeFault::Kill => self.kill_and_keep(id).await,
            NodeFault::Terminate => match self.process(id) {
                None => Err(self.has_no_process(id)),
                Some(_) => self.act(Some(id), Action::Stop).await.map(drop),
            },
            NodeFault::Corrupt { segment } => {
                // Nobody dies for a segment that there is not.
                let count = self.inner.borrow().nodes.get(&id).and_then(|node| {
                    node.report.as_ref().map(|(report, _)| u64::from(report.segments))
                });
                if let (Some(number), Some(count)) = (segment, count)
                    && *number >= count
                {
                    return Err(format!(
                        "node {id} has no segment {number}; it has {count}, from 0 on"
                    ));
                }
                self.kill_and_keep(id).await?;
                let (log, segment) = (self.directory.node(id).log_directory(), *segment);
                // All of the log is read for it: not on the thread that keeps the others.
                let flip = move || flip_bit(&log, segment, rand::random());
                let flipped = tokio::task::spawn_blocking(flip).await;
                match flipped.unwrap_or_else(|error| Err(error.to_string())) {
                    Ok(where_) => {
                        self.tell(Some(id), "log-corrupted", &where_);
                        Ok(())
                    }
                    Err(why) => {
                        self.act(Some(id), Action::Start).await?;
                        Err(format!("node {id}: {why}"))
                    }
                }
            }
            NodeFault::Memory { .. } => match self.process(id) {
                None => Err(self.has_no_process(id)),
                Some(process) => self.starve(id, &process),
            },
            NodeFault::CrashLoop { .. } | NodeFault::Clock(_) | NodeFault::Disk(_) => Ok(()),
        }
    }

    /// Undoes what `ended` did, unless another fault in force wants the same.
    pub(super) async fn undo(self: &Rc<Self>, ended: &[Fault]) {
        let guards: Vec<Guard> = {
            let chaos = &mut self.inner.borrow_mut().state.chaos;
            let over = |guard: &mut Guard| {
                ended
                    .iter()
                    .any(|fault| fault.id == guard.fault && fault.nodes.contains(&guard.node))
            };
            chaos.guards.extract_if(.., over).collect()
        };
        join_all(guards.iter().map(|guard| end_guard(&guard.process))).await;
        let undone = ended.iter().flat_map(|fault| {
            let nodes = fault.nodes.difference(&fault.spent);
            nodes.filter_map(|id| fault.on(*id).map(|kind| self.undo_one(*id, kind)))
        });
        join_all(undone).await;
    }

    async fn undo_one(self: &Rc<Self>, id: NodeId, ended: &NodeFault) {
        let others = self.faults_on(id);
        let still = |test: fn(&NodeFault) -> bool| {
            let wants = others.iter().filter(|(_, other)| test(other));
            let wants: Vec<FaultId> = wants.map(|(fault, _)| fault.id).collect();
            self.leave_to(&wants, id);
            !wants.is_empty()
        };
        let state = self.inner.borrow().nodes.get(&id).map(|node| node.lifecycle.state());
        let done = match ended {
            NodeFault::Pause if !still(|other| *other == NodeFault::Pause) => {
                self.act(Some(id), Action::Resume).await.map(drop)
            }
            NodeFault::SlowCpu { .. } if state != Some(State::Paused) => {
                let process = self.process(id);
                let sent = process.map_or(Ok(()), |process| process.send(Signal::Continue));
                sent.map_err(|error| error.to_string())
            }
            kind if kind.keeps_down() && !still(NodeFault::keeps_down) => match state {
                // One that is still dying is started when it is dead.
                Some(State::Stopped | State::Stopping) => {
                    self.act(Some(id), Action::Start).await.map(drop)
                }
                _ => Ok(()),
            },
            NodeFault::Memory { .. } => {
                let process = self.process(id);
                process.map_or(Ok(()), |process| self.starve(id, &process))
            }
            _ => Ok(()),
        };
        // It may go on already, or be gone.
        if let Err(why) = done {
            tracing::info!(node = %id, why, "needs nothing undone");
        }
        // What it could not live with is over.
        let gave_up = state == Some(State::CrashLooping);
        if gave_up
            && others.is_empty()
            && let Err(why) = self.act(Some(id), Action::Start).await
        {
            tracing::warn!(node = %id, why, "does not start again");
        }
    }

    /// A node is not let go, because these want the same of it: those of them that begin must know
    /// that it is theirs now.
    fn leave_to(&self, faults: &[FaultId], id: NodeId) {
        let inner = &mut *self.inner.borrow_mut();
        for fault in faults {
            if let Some(left) = inner.beginning.get_mut(fault) {
                left.insert(id);
            }
        }
    }

    fn was_left_to(&self, fault: FaultId, id: NodeId) -> bool {
        self.inner.borrow().beginning.get(&fault).is_some_and(|left| left.contains(&id))
    }

    /// A process of `id` was started: what starves its like starves it, too.
    pub(super) fn harm_again(self: &Rc<Self>, id: NodeId, process: &Rc<Process>) {
        for (fault, kind) in self.faults_on(id) {
            let done = match kind {
                NodeFault::SlowCpu { share } => self.guard(&fault, id, Some(share)),
                NodeFault::Memory { .. } => self.starve(id, process),
                _ => Ok(()),
            };
            if let Err(why) = done {
                tracing::error!(node = %id, why, "fault {} is not in force", fault.id);
            }
        }
    }

    /// Does what an earlier supervisor wrote down and perhaps died before it did, and what has been
    /// lost with it. What was to be stopped or paused, and runs, needs nothing: its fault is over.
    pub(super) fn finish_beginning(self: &Rc<Self>) {
        let nodes: Vec<NodeId> = self.inner.borrow().nodes.keys().copied().collect();
        for id in nodes {
            let Some(process) = self.process(id) else { continue };
            let state = self.inner.borrow().nodes.get(&id).map(|node| node.lifecycle.state());
            for (fault, kind) in self.faults_on(id) {
                let is_guarded = {
                    let inner = self.inner.borrow();
                    let guards = inner.state.chaos.guards.iter();
                    let mut own = guards.filter(|it| it.fault == fault.id && it.node == id);
                    own.any(|guard| guard.process.is_alive().unwrap_or(true))
                };
                let done = match kind {
                    NodeFault::SlowCpu { share } if !is_guarded => {
                        self.guard(&fault, id, Some(share))
                    }
                    NodeFault::Pause if !is_guarded && state == Some(State::Paused) => {
                        self.guard(&fault, id, None)
                    }
                    NodeFault::Memory { .. } => self.starve(id, &process),
                    _ => Ok(()),
                };
                if let Err(why) = done {
                    tracing::error!(node = %id, why, "fault {} is not in force", fault.id);
                }
            }
        }
    }

    /// Goes on with what a supervisor has to do again and again for `faults`.
    pub(super) fn keep_harming(self: &Rc<Self>, faults: &[Fault]) {
        for fault in faults {
            for id in &fault.nodes {
                if let Some(NodeFault::CrashLoop { every_millis }) = fault.on(*id) {
                    let every = Duration::from_millis(*every_millis);
                    tokio::task::spawn_local(self.clone().crash_loop(fault.id, *id, every));
                }
            }
        }
    }

    async fn crash_loop(self: Rc<Self>, fault: FaultId, id: NodeId, every: Duration) {
        loop {
            if !self.faults_on(id).iter().any(|(other, _)| other.id == fault) {
                return;
            }
            // A node that does not run yet is killed the next time.
            if let Err(why) = self.act(Some(id), Action::Kill).await {
                tracing::info!(node = %id, why, "is not there to be killed");
            }
            tokio::time::sleep(every).await;
        }
    }

    /// The node's disk was to fail one sync, and the node has ended: it did.
    pub(super) fn spend_faults(&self, id: NodeId) {
        let chaos = &mut self.inner.borrow_mut().state.chaos;
        for fault in &mut chaos.faults {
            if matches!(fault.on(id), Some(NodeFault::Disk(trouble)) if trouble.sync_error) {
                fault.spent.insert(id);
                chaos.version += 1;
            }
        }
    }

    /// Whether `id` is stopped and let go on again and again, and is not paused when it is seen so.
    pub(super) fn is_slowed(&self, id: NodeId) -> bool {
        let slows = |kind: &NodeFault| matches!(kind, NodeFault::SlowCpu { .. });
        self.faults_on(id).iter().any(|(_, kind)| slows(kind))
    }

    /// The faults in force of which `id` itself is the object.
    fn faults_on(&self, id: NodeId) -> Vec<(Fault, NodeFault)> {
        let now = unix_millis();
        let inner = self.inner.borrow();
        let there = inner.state.chaos.faults.iter().filter(|fault| !fault.is_over(now));
        there.filter_map(|fault| Some((fault.clone(), fault.on(id)?.clone()))).collect()
    }

    fn process(&self, id: NodeId) -> Option<Rc<Process>> {
        self.inner.borrow().nodes.get(&id).and_then(|node| node.process.clone())
    }

    fn has_no_process(&self, id: NodeId) -> String {
        let state = self.inner.borrow().nodes.get(&id).map(|node| node.lifecycle.state());
        format!("node {id} has no process: it is {}", state.map_or("unknown", State::as_str))
    }

    async fn kill_and_keep(self: &Rc<Self>, id: NodeId) -> Result<(), String> {
        self.judge(id, |node, _| node.kill_and_keep())
            .map_err(|why| format!("node {id}: {why}"))?;
        self.wait_until(KILL_PATIENCE, || self.process(id).is_none()).await;
        if let Some(process) = self.process(id) {
            // It cannot come back from that: the fault is in force, though it may still be seen.
            tracing::warn!(node = %id, pid = process.pid(), "was sent SIGKILL and is still there");
        }
        Ok(())
    }

    /// Limits the memory of a process to the least that the faults in force leave it.
    fn starve(&self, id: NodeId, process: &Process) -> Result<(), String> {
        let faults = self.faults_on(id);
        let limits = faults.iter().filter_map(|(_, kind)| match kind {
            NodeFault::Memory { bytes } => Some(*bytes),
            _ => None,
        });
        process
            .limit_memory(limits.min())
            .map_err(|error| format!("the memory of node {id} cannot be limited: {error}"))
    }

    /// Starts a guard over the process of `id`: it ends a pause in time, or slows the process down.
    fn guard(self: &Rc<Self>, fault: &Fault, id: NodeId, share: Option<f64>) -> Result<(), String> {
        if share.is_none() && fault.until_millis.is_none() {
            return Ok(());
        }
        let process = self.process(id).ok_or_else(|| self.has_no_process(id))?;
        let process = self
            .start_guard(id, &process.identity, fault.until_millis, share)
            .map_err(|error| format!("node {id} gets no guard: {error}"))?;
        {
            let guards = &mut self.inner.borrow_mut().state.chaos.guards;
            guards.retain(|guard| guard.process.is_alive().unwrap_or(true));
            guards.push(Guard { fault: fault.id, node: id, process });
        }
        self.touch();
        Ok(())
    }
}

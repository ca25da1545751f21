//! Giving orders to whoever leads, and knowing what became of them.
//!
//! # The problem
//!
//! An order may reach a node that does not lead any more, or one that stops leading while it is
//! being carried out. Then the answer is "refused", which is harmless, or "unknown", which is not:
//! the change may take effect, now or in a moment, or never.
//!
//! # The rule
//!
//! Nobody counts orders; what counts is what is to be *reached* ([`Goal`]). Look at the leader's
//! configuration: if the goal is reached there and committed, it is done, whoever did it. If it is
//! not, and no other change is under way, order it; and whatever the answer, look again. An order
//! that is given twice does no harm, because the second is refused, or changes nothing: numbers are
//! never reused, so that nobody who was removed is meant when somebody is added.
//!
//! *Committed*: a configuration takes effect when it is appended, and goes again if its leader is
//! deposed. It counts once that same leader, in that same term, has committed all that it held when
//! the configuration was seen.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant as Moment;

use super::daemon::{Daemon, Phase};
use crate::config::Address;
use crate::consensus::Change;
use crate::control::{
    ControlError, Handover, NodeClient, NodeStatus, Role, State, Taken, unix_millis,
};
use crate::replica::{Order, OrderResult};
use crate::types::NodeId;

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(20);

/// Between two looks for a new leader: how long there was none is measured by it.
const BRIEF: Duration = Duration::from_millis(2);

/// For a status.
const PATIENCE: Duration = Duration::from_secs(1);

/// For one order; the whole may be given several times.
const ORDER: Duration = Duration::from_secs(5);

/// After a refusal.
const PAUSE: Duration = Duration::from_millis(100);

/// Why something was not reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unmet {
    /// It is not possible as things stand.
    Refused(String),
    /// Not within the time; what is missing.
    Unfinished(String),
}

/// What the membership is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Goal {
    /// `node` receives the log, with or without a vote.
    Member { node: NodeId, address: Address },
    /// It votes.
    Voter { node: NodeId },
    /// It is no member any more.
    Gone { node: NodeId },
}

impl Goal {
    /// Whether it is reached in the newest configuration of `leader`.
    fn holds(&self, leader: &NodeStatus) -> bool {
        leader.outgoing.is_empty()
            && match self {
                Goal::Member { node, .. } => leader.is_member(*node),
                Goal::Voter { node } => leader.voters.contains(node),
                Goal::Gone { node } => !leader.is_member(*node),
            }
    }

    fn order(&self) -> Order {
        let change = match self {
            Goal::Member { node, address } => {
                Change::AddLearner { node: *node, address: address.to_string() }
            }
            Goal::Voter { node } => Change::Promote { node: *node },
            Goal::Gone { node } => Change::Remove { node: *node },
        };
        Order::ChangeMembership { changes: vec![change] }
    }
}

/// So much of an order's time is left until `end`.
fn left(end: Moment) -> Duration {
    end.saturating_duration_since(Moment::now())
}

impl Daemon {
    /// Asks a node how it is, now.
    async fn fresh(&self, id: NodeId, patience: Duration) -> Result<NodeStatus, ControlError> {
        let address = Address::Unix(self.directory.node(id).socket("control"));
        NodeClient::connect(id, &address).await?.status(patience).await
    }

    /// What the leader says of itself now; nothing while nobody leads.
    pub(super) async fn leader_view(&self) -> Option<NodeStatus> {
        let id = self.inner.borrow().leader?;
        let status = self.fresh(id, PATIENCE).await.ok()?;
        (status.role == Role::Leader).then_some(status)
    }

    /// Waits for a leader.
    pub(super) async fn some_leader(&self, end: Moment) -> Result<NodeStatus, Unmet> {
        loop {
            if let Some(view) = self.leader_view().await {
                return Ok(view);
            }
            if Moment::now() >= end {
                return Err(Unmet::Unfinished("there is no leader".into()));
            }
            tokio::time::sleep(GLANCE).await;
        }
    }

    /// Gives an order to `node`.
    async fn order(
        &self,
        node: NodeId,
        order: &Order,
        patience: Duration,
    ) -> Result<OrderResult, ControlError> {
        let address = Address::Unix(self.directory.node(node).socket("control"));
        match NodeClient::connect(node, &address).await?.order(order, patience).await {
            Err(error @ (ControlError::Broken { .. } | ControlError::Timeout { .. })) => {
                Ok(OrderResult::Unknown(error.to_string()))
            }
            other => other,
        }
    }

    /// Waits until `view`'s node has committed all that it held then, as the leader of that term;
    /// what it says then.
    pub(super) async fn has_committed(&self, view: &NodeStatus, end: Moment) -> Option<NodeStatus> {
        loop {
            match self.fresh(view.node, PATIENCE).await {
                Ok(now) if now.term != view.term || now.role != Role::Leader => return None,
                Ok(now) if now.commit_index >= view.last_index => return Some(now),
                _ if Moment::now() >= end => return None,
                _ => tokio::time::sleep(GLANCE).await,
            }
        }
    }

    /// Gives orders until `goal` is reached. `told` hears what is waited for.
    pub(super) async fn reach(
        self: &Rc<Self>,
        goal: &Goal,
        end: Moment,
        told: impl Fn(&NodeStatus, &str),
    ) -> Result<NodeStatus, Unmet> {
        let mut missing = "there is no leader".to_owned();
        loop {
            if Moment::now() >= end {
                return Err(Unmet::Unfinished(missing));
            }
            self.check_up()?;
            let Some(view) = self.leader_view().await else {
                tokio::time::sleep(GLANCE).await;
                continue;
            };
            if goal.holds(&view) {
                if let Some(now) = self.has_committed(&view, end).await {
                    // Whoever asks next for the members hears of the change.
                    self.seen_leading(&now);
                    return Ok(view);
                }
                missing = format!("the change is not committed by node {}, the leader", view.node);
                continue;
            }
            if !view.outgoing.is_empty() {
                missing = "another change of membership is under way".into();
                told(&view, &missing);
                tokio::time::sleep(GLANCE).await;
                continue;
            }
            match self.order(view.node, &goal.order(), left(end).min(ORDER)).await {
                Ok(OrderResult::Done(_)) => {}
                Ok(OrderResult::Refused { message, .. }) => {
                    missing = message;
                    told(&view, &missing);
                    tokio::time::sleep(PAUSE.min(left(end))).await;
                }
                Ok(OrderResult::Unknown(why)) => {
                    missing = format!("node {}, the leader, has not finished it: {why}", view.node);
                }
                Err(error) => missing = error.to_string(),
            }
        }
    }

    /// Hands the leadership to `to`, or to whoever is furthest.
    pub(super) async fn transfer(
        self: &Rc<Self>,
        to: Option<NodeId>,
        timeout: Duration,
    ) -> Result<Handover, Unmet> {
        let end = Moment::now() + timeout;
        let first = self.some_leader(end).await?;
        self.may_lead(to, &first)?;
        let began = Moment::now();
        let mut view = first.clone();
        let mut missing = String::new();
        loop {
            let asked = self.order(view.node, &Order::Transfer { to }, left(end).min(ORDER)).await;
            let refused = match asked {
                Ok(OrderResult::Done(_)) => false,
                Ok(OrderResult::Unknown(why)) => {
                    missing = why;
                    false
                }
                Ok(OrderResult::Refused { message, .. }) => {
                    missing = message;
                    true
                }
                Err(error) => {
                    missing = error.to_string();
                    true
                }
            };
            // After a refusal the leadership may have changed all the same; else it is about to.
            let patience = if refused { PAUSE } else { PATIENCE };
            let next = self.next_leader(&view, end.min(Moment::now() + patience)).await;
            if let Some(next) = next {
                if to.is_none_or(|to| to == next.node) {
                    return Ok(self.handed_over(first.node, &next, began.elapsed()));
                }
                view = next;
            }
            if Moment::now() >= end {
                let whom = to.map_or_else(|| "another node".to_owned(), |to| format!("node {to}"));
                let why = format!("node {} still leads, and not {whom}: {missing}", view.node);
                return Err(Unmet::Unfinished(why));
            }
            view = self.some_leader(end).await?;
            if to == Some(view.node) {
                return Ok(self.handed_over(first.node, &view, began.elapsed()));
            }
        }
    }

    /// Whether `to` could take over from `leader`.
    fn may_lead(&self, to: Option<NodeId>, leader: &NodeStatus) -> Result<(), Unmet> {
        let inner = self.inner.borrow();
        let refuse = |why| Err(Unmet::Refused(why));
        let Some(to) = to else {
            return match leader.voters.iter().any(|voter| *voter != leader.node) {
                true => Ok(()),
                false => refuse(format!("node {} is the only voter", leader.node)),
            };
        };
        let Some(node) = inner.nodes.get(&to) else {
            drop(inner);
            return refuse(self.no_such_node(to));
        };
        match node.lifecycle.state() {
            _ if to == leader.node => refuse(format!("node {to} leads already")),
            _ if !leader.voters.contains(&to) => {
                refuse(format!("node {to} has no vote: only a voter can lead"))
            }
            State::Running => Ok(()),
            state => refuse(format!("node {to} is {state}: it cannot lead now")),
        }
    }

    /// Waits for somebody who leads in a later term than `before`.
    async fn next_leader(&self, before: &NodeStatus, end: Moment) -> Option<NodeStatus> {
        loop {
            for voter in &before.voters {
                match self.fresh(*voter, PATIENCE).await {
                    Ok(now) if now.role == Role::Leader && now.term > before.term => {
                        return Some(now);
                    }
                    _ => {}
                }
            }
            if Moment::now() >= end {
                return None;
            }
            tokio::time::sleep(BRIEF).await;
        }
    }

    fn handed_over(&self, from: NodeId, to: &NodeStatus, took: Duration) -> Handover {
        let took_millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        self.seen_leading(to);
        let detail = format!("from node {from}, in {took_millis} ms, term {}", to.term);
        self.tell(Some(to.node), "leadership-transferred", &detail);
        Handover { from, to: to.node, term: to.term, took_millis }
    }

    /// Somebody else than the last poll knows leads: the next who asks for the leader means it.
    pub(super) fn seen_leading(&self, status: &NodeStatus) {
        if let Some(node) = self.inner.borrow_mut().nodes.get_mut(&status.node) {
            node.report = Some((status.clone(), unix_millis()));
        }
        self.judge_leader();
    }

    /// Has snapshots taken, one node after the other, so that never all are busy with it.
    pub(super) async fn take_snapshots(
        &self,
        node: Option<NodeId>,
        timeout: Duration,
    ) -> Result<Vec<Taken>, Unmet> {
        let end = Moment::now() + timeout;
        let running = |id: &NodeId| {
            let inner = self.inner.borrow();
            inner.nodes.get(id).map(|node| node.lifecycle.state())
        };
        let ids: Vec<NodeId> = match node {
            Some(id) => match running(&id) {
                Some(State::Running) => vec![id],
                Some(state) => return Err(Unmet::Refused(format!("node {id} is {state}"))),
                None => return Err(Unmet::Refused(self.no_such_node(id))),
            },
            None => {
                let all: Vec<NodeId> = self.inner.borrow().nodes.keys().copied().collect();
                all.into_iter().filter(|id| running(id) == Some(State::Running)).collect()
            }
        };
        if ids.is_empty() {
            return Err(Unmet::Refused("no node runs".into()));
        }
        let mut taken = Vec::new();
        for id in ids {
            let (done, message) = match self.order(id, &Order::TakeSnapshot, left(end)).await {
                Ok(OrderResult::Done(message)) => (true, message),
                Ok(OrderResult::Refused { message, .. } | OrderResult::Unknown(message)) => {
                    (false, message)
                }
                Err(error) => (false, error.to_string()),
            };
            if done {
                self.tell(Some(id), "snapshot-taken", &message);
            }
            taken.push(Taken { node: id, done, message });
        }
        Ok(taken)
    }

    pub(super) fn check_up(&self) -> Result<(), Unmet> {
        match self.inner.borrow().phase {
            Phase::Up => Ok(()),
            _ => Err(Unmet::Refused("the cluster is going down".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leader(voters: &[u64], learners: &[u64], outgoing: &[u64]) -> NodeStatus {
        let ids = |ids: &[u64]| ids.iter().map(|id| NodeId(*id)).collect::<Vec<_>>();
        let json = serde_json::json!({
            "node": 1, "cluster": 1, "pid": 1, "role": "leader", "term": 1, "voted_for": null,
            "leader": 1, "first_index": 1, "last_index": 1, "durable_index": 1,
            "commit_index": 1, "applied_index": 1, "revision": 1, "keys": 0, "state_hash": "",
            "uptime_millis": 0, "log_bytes": 0, "segments": 1, "disk_full": false, "ready": true,
            "peers": [], "voters": ids(voters), "learners": ids(learners),
            "outgoing": ids(outgoing), "snapshot_index": null, "snapshot_bytes": 0,
            "transfer_target": null, "durability": "fsync", "build": "",
            "faults": 0, "faults_version": 0, "last_member": 0
        });
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_goal_holds_only_once_the_change_is_over() {
        let node = NodeId(4);
        let member = Goal::Member { node, address: "unix:/4".parse().unwrap() };
        let (voter, gone) = (Goal::Voter { node }, Goal::Gone { node });
        let learns = leader(&[1, 2, 3], &[4], &[]);
        assert_eq!([&member, &voter, &gone].map(|it| it.holds(&learns)), [true, false, false]);
        let joint = leader(&[1, 2, 3, 4], &[], &[1, 2, 3]);
        assert_eq!([&member, &voter, &gone].map(|it| it.holds(&joint)), [false; 3]);
        let votes = leader(&[1, 2, 3, 4], &[], &[]);
        assert_eq!([&member, &voter, &gone].map(|it| it.holds(&votes)), [true, true, false]);
        let leaving = leader(&[1, 2, 3], &[], &[1, 2, 3, 4]);
        assert!(!gone.holds(&leaving));
        assert!(gone.holds(&leader(&[1, 2, 3], &[], &[])));
    }
}

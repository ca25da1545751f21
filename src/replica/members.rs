//! Changes of membership as etcd's clients order them, at any member.
//!
//! # The problem
//! An operator's [order](super::orders) goes to the leader, who does it if the core can. A client
//! of etcd asks *any* member, does not name the new one, and expects to be refused what would put
//! the cluster at risk: to add a member while another is down, or to remove one of two that are up.
//!
//! # The rule
//! It is a [`Request`](super::Request), so that it goes to the leader as a write does, and is
//! answered once and truly. The leader judges it by what it sees of the others: whom it
//! has heard now and for how long, who was ever started (it has [announced](super::announcing)
//! itself), who is behind. Then it orders the change like an operator.
//!
//! - The number of a new member is one above all that ever were ([`roster`](crate::kv::roster)).
//! - Whoever is added to vote begins as a learner all the same, because one that lacks the log may
//!   cost the cluster its majority. That it is to vote is written down
//!   ([`Enlist`](Operation::Enlist)), and the leader gives it its vote once it has caught up. What
//!   clients see is a member that is no learner.
//!
//! # Caveats
//! A leader hears the others only while it leads. In its first five seconds it has not seen them
//! long enough to add a member, and says so: etcd does that only in the cluster's first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::{OrderResult, Refused, Response, Running};
use crate::consensus::{Change, Configuration, Consensus, Input, Proposal, Refusal};
use crate::kv::roster::{Member, Roster};
use crate::kv::{Command, Operation};
use crate::storage::Disk;
use crate::types::{Instant, NodeId, Ticket};

/// What a client of etcd wants of the membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum MemberOrder {
    /// A new member, which its peers reach at `address`, as the transport writes addresses.
    Add {
        address: String,
        learner: bool,
    },
    /// A learner gets a vote.
    Promote {
        node: NodeId,
    },
    Remove {
        node: NodeId,
    },
    /// It is reached there from now on.
    Update {
        node: NodeId,
        address: String,
    },
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberResult {
    /// It is done, to this member.
    Done { node: NodeId },
    /// Certainly no effect.
    Refused(MemberRefusal),
}

/// Why a change of membership is refused, as etcd's clients know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemberRefusal {
    /// Of those who would vote, too few were ever started.
    NotEnoughStarted,
    /// Of those who vote, too few are in reach, or not for long.
    Unhealthy,
    /// Another member has the address.
    AddressExists,
    NotFound,
    NotLearner,
    NotCaughtUp,
    TooManyLearners,
    TooManyMembers,
}

/// A member that was heard so lately is in reach; or within so many heartbeats, if that is longer.
const IN_REACH: Duration = Duration::from_secs(1);
const IN_REACH_HEARTBEATS: u32 = 3;

/// For so long a member must have been in reach before another is added. etcd's.
const HEALTHY_FOR: Duration = Duration::from_secs(5);

/// Between two looks at who could get a vote, or at an order that another change holds up.
const GLANCE: Duration = Duration::from_millis(100);

/// Learners that are to remain learners, at once: etcd's.
const MAX_LEARNERS: usize = 1;

/// Members at once.
const MAX_MEMBERS: usize = 31;

/// Since when, and until when, another member was in reach.
#[derive(Clone, Copy, Debug)]
pub struct Reach {
    since: Instant,
    last: Instant,
}

/// What a replica knows of the others, and the orders that wait.
#[derive(Clone, Debug)]
pub struct Membership {
    reach: BTreeMap<NodeId, Reach>,
    /// Held up by another change: to be tried again.
    held_up: BTreeSet<Ticket>,
    /// Whom the entry is about that a request waits for.
    pub(super) enlisting: BTreeMap<Ticket, NodeId>,
    in_reach: Duration,
    next: Instant,
}

impl Membership {
    /// Of a replica that starts at `now`, in a group with heartbeats so far apart.
    pub fn starting_at(now: Instant, heartbeat: Duration) -> Membership {
        let (reach, held_up, enlisting) = Default::default();
        let in_reach = IN_REACH.max(heartbeat * IN_REACH_HEARTBEATS);
        Membership { reach, held_up, enlisting, in_reach, next: now }
    }

    /// Something came from `node`.
    pub fn heard(&mut self, now: Instant, node: NodeId) {
        let reach = self.reach.entry(node).or_insert(Reach { since: now, last: now });
        if now.since(reach.last) > self.in_reach {
            reach.since = now;
        }
        reach.last = now;
    }
}

/// Whether `node` receives the log.
pub(super) fn is_member(configuration: &Configuration, node: NodeId) -> bool {
    let Configuration { voters, outgoing, learners, .. } = configuration;
    [voters, outgoing, learners].iter().any(|set| set.contains(&node))
}

/// What a leader sees of the members.
struct View<'a> {
    now: Instant,
    own: NodeId,
    configuration: &'a Configuration,
    roster: &'a Roster,
    reach: &'a BTreeMap<NodeId, Reach>,
    in_reach: Duration,
}

/// What is to be done for an order.
#[derive(Debug, PartialEq, Eq)]
struct Plan {
    node: NodeId,
    /// Nothing: it is so already.
    change: Option<Change>,
    /// It is to get a vote later.
    enlist: bool,
}

impl View<'_> {
    fn is_member(&self, id: NodeId) -> bool {
        let Configuration { voters, learners, .. } = self.configuration;
        voters.contains(&id) || learners.contains(&id)
    }

    fn is_enlisted(&self, id: NodeId) -> bool {
        self.roster.member(id).is_some_and(|member| member.is_enlisted)
    }

    /// Those who vote, or are to.
    fn voters(&self) -> BTreeSet<NodeId> {
        let Configuration { voters, learners, .. } = self.configuration;
        let enlisted = learners.iter().filter(|id| self.is_enlisted(**id));
        voters.iter().chain(enlisted).copied().collect()
    }

    fn is_started(&self, id: NodeId) -> bool {
        self.roster.member(id).is_some_and(|Member { name, .. }| !name.is_empty())
    }

    fn is_in_reach(&self, id: NodeId) -> bool {
        let lately = |reach: &Reach| self.now.since(reach.last) <= self.in_reach;
        id == self.own || self.reach.get(&id).is_some_and(lately)
    }

    fn is_healthy(&self, id: NodeId) -> bool {
        let long = |reach: &Reach| self.now.since(reach.since) >= HEALTHY_FOR;
        id == self.own || (self.is_in_reach(id) && self.reach.get(&id).is_some_and(long))
    }

    /// Whether those of `voters` that were started, and `more` besides, are a majority of `all`.
    fn has_started(&self, voters: &BTreeSet<NodeId>, more: usize, all: usize) -> bool {
        let started = voters.iter().filter(|id| self.is_started(**id)).count();
        started + more > all / 2
    }

    fn address_of(&self, id: NodeId) -> Option<&String> {
        self.configuration.addresses.get(&id)
    }

    fn who_has(&self, address: &str) -> Option<NodeId> {
        let members = self.configuration.members();
        members.into_iter().find(|id| self.address_of(*id).is_some_and(|it| it == address))
    }

    fn judge(&self, order: &MemberOrder) -> Result<Plan, MemberRefusal> {
        match order {
            MemberOrder::Add { address, learner } => self.judge_addition(address, *learner),
            MemberOrder::Promote { node } => self.judge_promotion(*node),
            MemberOrder::Remove { node } => self.judge_removal(*node),
            MemberOrder::Update { node, address } => {
                if !self.is_member(*node) {
                    return Err(MemberRefusal::NotFound);
                }
                match self.who_has(address) {
                    Some(who) if who == *node => Ok(Plan::of(*node, None)),
                    Some(_) => Err(MemberRefusal::AddressExists),
                    None => {
                        let (node, address) = (*node, address.clone());
                        Ok(Plan::of(node, Some(Change::Relocate { node, address })))
                    }
                }
            }
        }
    }

    fn judge_addition(&self, address: &str, learner: bool) -> Result<Plan, MemberRefusal> {
        let voters = self.voters();
        let started = voters.iter().filter(|id| self.is_started(**id)).count();
        // The only member may add a second: nobody else could.
        let alone = voters.len() == 1 && started == 1;
        if !learner && !alone && !self.has_started(&voters, 0, voters.len() + 1) {
            return Err(MemberRefusal::NotEnoughStarted);
        }
        if !voters.iter().all(|id| self.is_healthy(*id)) {
            return Err(MemberRefusal::Unhealthy);
        }
        if self.who_has(address).is_some() {
            return Err(MemberRefusal::AddressExists);
        }
        let members = self.configuration.members();
        if learner && members.len() - voters.len() >= MAX_LEARNERS {
            return Err(MemberRefusal::TooManyLearners);
        }
        if members.len() >= MAX_MEMBERS {
            return Err(MemberRefusal::TooManyMembers);
        }
        let last = members.last().copied().unwrap_or_default().max(self.roster.last_member());
        let node = NodeId(last.0.checked_add(1).ok_or(MemberRefusal::TooManyMembers)?);
        let change = Change::AddLearner { node, address: address.to_owned() };
        Ok(Plan { node, change: Some(change), enlist: !learner })
    }

    fn judge_promotion(&self, node: NodeId) -> Result<Plan, MemberRefusal> {
        if !self.is_member(node) {
            return Err(MemberRefusal::NotFound);
        }
        let voters = self.voters();
        if voters.contains(&node) {
            return Err(MemberRefusal::NotLearner);
        }
        if !self.is_in_reach(node) {
            return Err(MemberRefusal::NotCaughtUp);
        }
        if !self.has_started(&voters, 1, voters.len() + 1) {
            return Err(MemberRefusal::NotEnoughStarted);
        }
        Ok(Plan::of(node, Some(Change::Promote { node })))
    }

    fn judge_removal(&self, node: NodeId) -> Result<Plan, MemberRefusal> {
        let plan = Plan::of(node, Some(Change::Remove { node }));
        if !self.is_member(node) {
            return Err(MemberRefusal::NotFound);
        }
        let mut voters = self.voters();
        let all = voters.len();
        if !voters.remove(&node) {
            return Ok(plan);
        }
        if voters.is_empty() || !self.has_started(&voters, 0, voters.len()) {
            return Err(MemberRefusal::NotEnoughStarted);
        }
        // Who is down is no part of the majority that works.
        if !self.is_in_reach(node) {
            return Ok(plan);
        }
        let healthy = voters.iter().filter(|id| self.is_healthy(**id)).count()
            + usize::from(self.is_healthy(node));
        if healthy.saturating_sub(1) < 1 + (all - 1) / 2 {
            return Err(MemberRefusal::Unhealthy);
        }
        Ok(plan)
    }
}

impl Plan {
    fn of(node: NodeId, change: Option<Change>) -> Plan {
        Plan { node, change, enlist: false }
    }
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// This replica leads, and a client wants the membership changed.
    pub(super) fn order_of_client(&mut self, now: Instant, ticket: Ticket, order: &MemberOrder) {
        let Some(pending) = self.pending.get(ticket) else { return };
        let deadline = pending.deadline;
        let view = View {
            now,
            own: self.id,
            configuration: &self.announced,
            roster: self.machine.roster(),
            reach: &self.membership.reach,
            in_reach: self.membership.in_reach,
        };
        // What is not committed may yet be undone: nothing is said, or done, on its account.
        if self.announced != self.applied_configuration || !self.announced.outgoing.is_empty() {
            self.hold_up(now, ticket);
            return;
        }
        match view.judge(order) {
            Err(refusal) => {
                self.finish(ticket, Response::Member(MemberResult::Refused(refusal)));
            }
            // Another may lead by now, and have changed it: a quorum is asked.
            Ok(Plan { change: None, .. }) => {
                self.pending.advance(ticket, super::pending::Stage::Confirming);
                self.step(now, Input::Read { ticket });
            }
            Ok(Plan { node, change: Some(change), enlist }) => {
                self.pending.advance(ticket, super::pending::Stage::Proposing);
                let own = self.pending.draw();
                self.change_for_client(own, ticket, (node, enlist), deadline);
                let changes = vec![change];
                self.step(now, Input::ChangeMembership { ticket: own, changes });
            }
        }
    }

    /// Another change comes first.
    fn hold_up(&mut self, now: Instant, ticket: Ticket) {
        self.pending.advance(ticket, super::pending::Stage::Waiting);
        self.membership.held_up.insert(ticket);
        self.membership.next = self.membership.next.max(now + GLANCE);
    }

    /// The core does not do what a client ordered.
    pub(super) fn order_of_client_refused(&mut self, now: Instant, ticket: Ticket, why: Refusal) {
        match why {
            Refusal::ChangeUnderWay => self.hold_up(now, ticket),
            Refusal::NotCaughtUp { .. } => {
                let refused = MemberResult::Refused(MemberRefusal::NotCaughtUp);
                self.finish(ticket, Response::Member(refused));
            }
            Refusal::Invalid(message) => {
                self.finish(ticket, Response::Refused { why: Refused::Invalid, message });
            }
            other => self.core_refused(now, ticket, other),
        }
    }

    /// What a client ordered has come to this.
    pub(super) fn order_of_client_ended(
        &mut self,
        ticket: Ticket,
        (node, enlist): (NodeId, bool),
        result: OrderResult,
    ) {
        let response = match result {
            OrderResult::Done(_) if enlist => {
                let command = Command { session: None, operation: Operation::Enlist { node } };
                self.membership.enlisting.insert(ticket, node);
                self.proposals.push(Proposal { ticket, command: command.encode() });
                return;
            }
            OrderResult::Done(_) => Response::Member(MemberResult::Done { node }),
            OrderResult::Refused { leader, message } => {
                Response::Refused { why: Refused::NoLeader { leader }, message }
            }
            OrderResult::Unknown(why) => Response::Unknown(why),
        };
        self.finish(ticket, response);
    }

    /// When this replica wants to look after orders that wait, or members that are to vote.
    pub(super) fn membership_deadline(&self) -> Option<Instant> {
        let leads = self.core.leader() == Some(self.id);
        let waits = !self.membership.held_up.is_empty() || self.enlisted().next().is_some();
        (leads && waits).then_some(self.membership.next)
    }

    /// Learners that are to get a vote.
    fn enlisted(&self) -> impl Iterator<Item = NodeId> {
        let roster = self.machine.roster();
        let enlisted = |id: &&NodeId| roster.member(**id).is_some_and(|member| member.is_enlisted);
        self.announced.learners.iter().filter(enlisted).copied()
    }

    /// Tries again what was held up; gives a vote to who has caught up.
    pub(super) fn look_after_the_membership(&mut self, now: Instant) {
        let pending = &self.pending;
        self.membership.enlisting.retain(|ticket, _| pending.get(*ticket).is_some());
        if self.core.leader() != Some(self.id) {
            self.membership.held_up.clear();
            return;
        }
        if self.membership_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        self.membership.next = now + GLANCE;
        for ticket in std::mem::take(&mut self.membership.held_up) {
            self.dispatch(now, ticket);
        }
        let Some(node) = self.enlisted().find(|id| self.has_caught_up(now, *id)) else { return };
        let ticket = self.pending.draw();
        self.step(now, Input::ChangeMembership { ticket, changes: vec![Change::Promote { node }] });
    }

    /// Whether it is worth asking the core, which has the last word.
    fn has_caught_up(&self, now: Instant, node: NodeId) -> bool {
        let (status, in_reach) = (self.core.status(), self.membership.in_reach);
        status.peers.get(&node).is_some_and(|peer| {
            let heard = peer.last_heard.is_some_and(|heard| now.since(heard) <= in_reach);
            heard && peer.match_index >= status.commit_index
        })
    }
}

#[cfg(test)]
mod tests;

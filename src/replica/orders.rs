//! Orders: what operators want of one replica, and what became of it.
//!
//! # The rule
//! Like a client, an operator gets one answer, and one that is *true*. It is not derived from what
//! was asked but from what is seen to have happened: a transfer is done when this replica sees
//! another lead a newer term; a change of membership, when a configuration is applied that stands
//! at or after the entry that began it and has no outgoing voters; a snapshot, when one is durable
//! that covers what was applied when it was asked for. What is begun and not seen to end in time is
//! *unknown*.
//!
//! An order is never handed on: only the leader can hand over or change members, and who is asked
//! instead says who that is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Order, OrderResult, Output, Running};
use crate::consensus::{Configuration, Consensus, Input, Refusal};
use crate::storage::Disk;
use crate::types::{Instant, LogIndex, NodeId, Term, Ticket};

/// Orders under way at once.
const MAX_ORDERS: usize = 64;

/// An order that waits for its end.
#[derive(Clone, Debug)]
struct UnderWay {
    theirs: Ticket,
    deadline: Instant,
    what: What,
    whose: Whose,
}

/// Who ordered it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    Operator,
    /// A client, by a [request](super::members): about this member, who is to get a vote or not.
    Client {
        node: NodeId,
        enlist: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    /// Begun in this term.
    Transfer { to: Option<NodeId>, term: Term },
    /// The entry that begins the change, once it is in the log.
    Change { begun: Option<(LogIndex, Term)> },
    /// Of the state as of this index, or later.
    Snapshot { from: LogIndex },
}

/// All orders under way, by this replica's own ticket.
#[derive(Clone, Debug, Default)]
pub struct Orders {
    under_way: BTreeMap<Ticket, UnderWay>,
    /// The hand-over before a stop, while it is under way.
    farewell: Option<Ticket>,
}

impl Orders {
    /// Whether `ticket` is one of an order, or of the hand-over before a stop.
    pub fn knows(&self, ticket: Ticket) -> bool {
        self.under_way.contains_key(&ticket) || self.farewell == Some(ticket)
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        self.under_way.values().map(|order| order.deadline).min()
    }

    /// The change that `ticket` asked for begins with this entry.
    pub fn begun(&mut self, ticket: Ticket, index: LogIndex, term: Term) {
        if let Some(UnderWay { what: What::Change { begun }, .. }) = self.under_way.get_mut(&ticket)
        {
            *begun = Some((index, term));
        }
    }

    /// The orders of which `end` knows what became.
    fn ended(&self, end: impl Fn(&What) -> Option<OrderResult>) -> Vec<(Ticket, OrderResult)> {
        let ended = |(ticket, order): (&Ticket, &UnderWay)| Some((*ticket, end(&order.what)?));
        self.under_way.iter().filter_map(ended).collect()
    }
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// An operator asks.
    pub(super) fn order(&mut self, now: Instant, theirs: Ticket, order: Order, timeout: Duration) {
        if self.stopping || self.orders.under_way.len() >= MAX_ORDERS {
            let message = match self.stopping {
                true => "this node is stopping: ask another".to_owned(),
                false => format!("{MAX_ORDERS} orders are under way here: wait for one to end"),
            };
            let result = OrderResult::Refused { leader: None, message };
            self.outputs.push(Output::OrderDone { ticket: theirs, result });
            return;
        }
        let what = match &order {
            Order::Transfer { to } => What::Transfer { to: *to, term: self.core.checkpoint().term },
            Order::ChangeMembership { .. } => What::Change { begun: None },
            Order::TakeSnapshot => What::Snapshot { from: self.machine.applied_index() },
        };
        let (ticket, deadline) = (self.pending.draw(), now + timeout);
        let whose = Whose::Operator;
        self.orders.under_way.insert(ticket, UnderWay { theirs, deadline, what, whose });
        match order {
            Order::Transfer { to } => self.step(now, Input::Transfer { ticket, to }),
            Order::ChangeMembership { changes } => {
                self.step(now, Input::ChangeMembership { ticket, changes });
            }
            Order::TakeSnapshot => self.snapshot_wanted(),
        }
    }

    /// The change that `ticket` is about to be asked of the core for, to answer `request`.
    pub(super) fn change_for_client(
        &mut self,
        ticket: Ticket,
        request: Ticket,
        (node, enlist): (NodeId, bool),
        deadline: Instant,
    ) {
        let (what, whose) = (What::Change { begun: None }, Whose::Client { node, enlist });
        let order = UnderWay { theirs: request, deadline, what, whose };
        self.orders.under_way.insert(ticket, order);
    }

    /// This replica is about to stop: if it leads, another is to take over first, so that the
    /// others need no election.
    pub(super) fn say_farewell(&mut self, now: Instant) {
        if self.core.leader() == Some(self.id) && self.orders.farewell.is_none() {
            let ticket = self.pending.draw();
            self.orders.farewell = Some(ticket);
            self.step(now, Input::Transfer { ticket, to: None });
        }
    }

    /// Whether this replica still hands its leadership over before it stops.
    pub fn is_handing_over(&self) -> bool {
        self.orders.farewell.is_some() && self.core.leader() == Some(self.id)
    }

    /// The core would not do what `ticket` asked.
    pub(super) fn order_refused(&mut self, now: Instant, ticket: Ticket, why: Refusal) {
        if self.orders.farewell == Some(ticket) {
            self.orders.farewell = None;
            return;
        }
        if let Some(UnderWay { theirs, whose: Whose::Client { .. }, .. }) =
            self.orders.under_way.get(&ticket)
        {
            let request = *theirs;
            self.orders.under_way.remove(&ticket);
            self.order_of_client_refused(now, request, why);
            return;
        }
        let result = match why {
            Refusal::NotLeader { leader } => {
                let message = match leader {
                    Some(id) => format!("node {} does not lead, node {id} does: ask it", self.id),
                    None => format!(
                        "node {} does not lead and knows of no leader: is a majority up?",
                        self.id
                    ),
                };
                OrderResult::Refused { leader, message }
            }
            // The successor may have been told already, and still take over.
            Refusal::TransferFailed { to } => OrderResult::Unknown(format!(
                "node {to} did not take over within an election time-out, so node {} leads on; a \
                 message that is still under way may yet depose it: is node {to} up, and close \
                 behind?",
                self.id
            )),
            why => OrderResult::Refused { leader: Some(self.id), message: words(&why) },
        };
        self.end_order(ticket, result);
    }

    fn end_order(&mut self, ticket: Ticket, result: OrderResult) {
        match self.orders.under_way.remove(&ticket) {
            Some(UnderWay { theirs, whose: Whose::Operator, .. }) => {
                self.outputs.push(Output::OrderDone { ticket: theirs, result });
            }
            Some(UnderWay { theirs, whose: Whose::Client { node, enlist }, .. }) => {
                self.order_of_client_ended(theirs, (node, enlist), result);
            }
            None => {}
        }
    }

    fn end_orders(&mut self, end: impl Fn(&What) -> Option<OrderResult>) {
        for (ticket, result) in self.orders.ended(end) {
            self.end_order(ticket, result);
        }
    }

    /// Looks whether the leadership has gone where it was wanted.
    pub(super) fn look_after_transfers(&mut self) {
        if self.orders.under_way.is_empty() {
            return;
        }
        let (id, now) = (self.id, self.core.checkpoint().term);
        let Some(leader) = self.core.leader().filter(|leader| *leader != id) else { return };
        self.end_orders(|what| match what {
            What::Transfer { to, term } if now > *term => Some(match to {
                Some(to) if *to != leader => OrderResult::Unknown(format!(
                    "node {id} has handed over, but node {leader} leads term {now}, not {to}"
                )),
                _ => OrderResult::Done(format!("node {leader} leads term {now}")),
            }),
            _ => None,
        });
    }

    /// The entry at `index` is applied: perhaps it ends a change of membership.
    pub(super) fn order_applied(
        &mut self,
        index: LogIndex,
        term: Term,
        configuration: Option<&Configuration>,
    ) {
        if self.orders.under_way.is_empty() {
            return;
        }
        self.end_orders(|what| {
            let What::Change { begun: Some((at, in_term)) } = what else { return None };
            if *at == index && *in_term != term {
                let message = "another leader took over first, and its entry stands where the \
                               change would: nothing was changed";
                return Some(OrderResult::Refused { leader: None, message: message.into() });
            }
            let configuration = configuration.filter(|c| *at <= index && c.outgoing.is_empty())?;
            Some(OrderResult::Done(members(configuration)))
        });
    }

    /// A snapshot of another replica has replaced the state up to `index`: what began there cannot
    /// be followed any more.
    pub(super) fn orders_swallowed(&mut self, index: LogIndex) {
        self.end_orders(|what| match what {
            What::Change { begun: Some((at, _)) } if *at <= index => {
                let why = "this node was sent a snapshot in which the change may be contained: \
                           look at the members";
                Some(OrderResult::Unknown(why.into()))
            }
            What::Snapshot { from } if *from <= index => {
                Some(OrderResult::Done(format!("a snapshot covers the log up to entry {index}")))
            }
            _ => None,
        });
    }

    /// A snapshot of `index` is durable, or could not be taken.
    pub(super) fn snapshot_ended(&mut self, index: LogIndex, failed: Option<&str>) {
        self.end_orders(|what| match (what, failed) {
            (What::Snapshot { from }, None) if *from <= index => {
                Some(OrderResult::Done(format!("a snapshot covers the log up to entry {index}")))
            }
            (What::Snapshot { .. }, Some(why)) => Some(OrderResult::Refused {
                leader: None,
                message: format!("no snapshot could be taken: {why}"),
            }),
            _ => None,
        });
    }

    /// Whether somebody waits for a snapshot of more than `index`.
    pub(super) fn is_snapshot_wanted(&self, index: LogIndex) -> bool {
        let wants =
            |order: &UnderWay| matches!(order.what, What::Snapshot { from } if from > index);
        self.orders.under_way.values().any(wants)
    }

    /// Answers the orders whose time is over.
    pub(super) fn orders_expired(&mut self, now: Instant) {
        let expired = self.orders.under_way.iter().filter(|(_, order)| order.deadline <= now);
        let expired: Vec<_> = expired.map(|(ticket, o)| (*ticket, late(&o.what))).collect();
        for (ticket, result) in expired {
            self.end_order(ticket, result);
        }
    }
}

/// What is said of an order at its deadline.
fn late(what: &What) -> OrderResult {
    OrderResult::Unknown(match what {
        What::Transfer { .. } => {
            "no other node was seen to lead in time; the hand-over may still come".into()
        }
        What::Change { begun: Some((index, term)) } => format!(
            "the change stands in the log at index {index} of term {term}, and was not complete in \
             time: look at the members"
        ),
        What::Change { begun: None } => "the leader did not take the change up in time".into(),
        What::Snapshot { .. } => "the snapshot was not durable in time; it is taken on".into(),
    })
}

/// A refusal of the core: what, why, and what next.
fn words(why: &Refusal) -> String {
    match why {
        Refusal::Busy => "the leader has too much under way: try again".into(),
        Refusal::ChangeUnderWay => {
            "another change of membership or another transfer is under way, or this leader's term \
             has just begun: wait a moment and try again"
                .into()
        }
        Refusal::NotCaughtUp { node } => format!(
            "node {node} lacks too much of the log to do this now: wait until it has caught up"
        ),
        Refusal::Invalid(why) => why.clone(),
        Refusal::NotLeader { .. } | Refusal::TransferFailed { .. } => format!("{why:?}"),
    }
}

fn members(configuration: &Configuration) -> String {
    let list = |ids: &std::collections::BTreeSet<NodeId>| {
        ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(", ")
    };
    let voters = list(&configuration.voters);
    match configuration.learners.is_empty() {
        true => format!("the voters are {voters}"),
        false => format!("the voters are {voters}; learners: {}", list(&configuration.learners)),
    }
}

//! Transfer: handing the leadership over (dissertation §3.10).
//!
//! # The problem
//! A leader that is about to be stopped or removed could simply fall silent; then everyone waits
//! for a time-out, and clients with them. And an operator may want another server to lead.
//!
//! # What can go wrong
//! - The target lacks entries that the leader has committed or will: then nobody votes for it, and
//!   the group has had an election for nothing. So the leader first brings it up to date.
//! - Under load the target never gets there, since new entries come all the time. So the leader
//!   takes no proposals meanwhile; it *holds* them. If it stays the leader it takes them then; if
//!   not, it refuses them, which means that they had no effect and may be brought to the new one.
//! - The target is dead. Then the leader would hold proposals for ever: so it gives up after an
//!   election time-out, and goes on leading.
//! - The others hear the leader well, and are loyal to it ([`election`](super::election)). So the
//!   target's request for votes says that the leader itself wants it.
//!
//! # The rule
//! 1. Take no proposals. Replicate to the target until its log equals the leader's, durably.
//! 2. Tell it [`TimeoutNow`](Message::TimeoutNow): it stands for election at once, without waiting
//!    for its time-out and without a pre-vote.
//! 3. Its request for votes deposes the old leader like any newer term.
//!
//! ```text
//!  S1 leads 4 ─ AppendEntries ─► ◄─ matched all ─ TimeoutNow ─►             follows
//!  S2                                                     RequestVote 5, transfer ─► leads 5
//! ```
//!
//! # Caveats
//! The message may be lost: it is repeated with each heartbeat. It may also come *late*, when the
//! leader has given up already, and still depose it; so from the first `TimeoutNow` on this leader
//! serves no more reads by its lease, until it is elected again ([`reads`](super::reads)).
//!
//! A target that has lost a message is found out only after an election time-out
//! ([`progress`](super::progress)), and by then the leader has given up: try again.
//!
//! # When the rule is removed
//! `a_transfer_waits_for_the_target_to_catch_up`. `museum_transfer_to_lagging` tells the target at
//! once and takes proposals meanwhile: nobody leads until a time-out passes, which is what a
//! transfer is to spare. `a_transfer_to_the_dead_is_abandoned`.

use serde::{Deserialize, Serialize};

use super::message::Message;
use super::state::Raft;
use crate::consensus::{Proposal, Refusal};
use crate::museum::Bug;
use crate::types::{Instant, NodeId, Term, Ticket};

/// A transfer under way.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Transfer {
    pub to: NodeId,
    ticket: Option<Ticket>,
    /// When the leader gives up.
    pub(super) deadline: Instant,
    /// Proposals that came meanwhile.
    held: Vec<Proposal>,
    held_bytes: usize,
}

impl Transfer {
    /// Keeps a proposal until it is known who takes it.
    pub fn hold(&mut self, proposal: Proposal, limit: usize) -> Result<(), Refusal> {
        let total = self.held_bytes + proposal.command.len() + std::mem::size_of::<Proposal>();
        if total > limit {
            return Err(Refusal::Busy);
        }
        self.held_bytes = total;
        self.held.push(proposal);
        Ok(())
    }
}

impl Raft {
    /// Somebody wants the leadership to go to `to`, or to whoever is furthest.
    pub(super) fn transfer(&mut self, now: Instant, ticket: Ticket, to: Option<NodeId>) {
        match self.transfer_target(now, to) {
            Ok(to) => self.begin_transfer(now, Some(ticket), to),
            Err(why) => self.refuse(ticket, why),
        }
    }

    fn transfer_target(&self, now: Instant, to: Option<NodeId>) -> Result<NodeId, Refusal> {
        let Some(leader) = self.leading() else {
            use crate::consensus::Consensus;
            return Err(Refusal::NotLeader { leader: self.leader() });
        };
        if leader.transfer.is_some() {
            return Err(Refusal::ChangeUnderWay);
        }
        let invalid = |why: String| Err(Refusal::Invalid(why));
        match to {
            Some(to) if to == self.id() => invalid(format!("node {to} leads already")),
            Some(to) if !self.log.configuration().voters.contains(&to) => {
                invalid(format!("node {to} is no voter, and only a voter can lead"))
            }
            Some(to) => Ok(to),
            None => self
                .best_successor(now)
                .map_or_else(|| invalid("no other voter has answered lately".into()), Ok),
        }
    }

    /// The other voter that is furthest, of those that answered lately.
    pub(super) fn best_successor(&self, now: Instant) -> Option<NodeId> {
        let patience = self.config.election_timeout.end;
        let leader = self.leading()?;
        let voters = self.log.configuration().voters.iter().filter(|id| **id != self.id());
        let alive = voters.filter_map(|id| {
            let progress = leader.progress.get(id)?;
            let heard = progress.last_heard?;
            (now.since(heard) < patience).then_some((progress.match_index, *id))
        });
        alive.max_by_key(|(match_index, _)| *match_index).map(|(_, id)| id)
    }

    /// Begins to hand over. Without a ticket, the leader itself wants it.
    pub(super) fn begin_transfer(&mut self, now: Instant, ticket: Option<Ticket>, to: NodeId) {
        let deadline = now + self.config.election_timeout.end;
        let Some(leader) = self.leading_mut() else { return };
        let (held, held_bytes) = (Vec::new(), 0);
        leader.transfer = Some(Transfer { to, ticket, deadline, held, held_bytes });
        self.tell_successor(to);
        self.replicate_to(now, to);
    }

    /// Tells `id` to stand for election, if it is the successor and has everything.
    pub(super) fn tell_successor(&mut self, id: NodeId) {
        let (term, last) = (self.term(), self.log.last_index());
        let regardless = self.has(Bug::TransferToLagging);
        let Some(leader) = self.leading_mut() else { return };
        let is_successor = leader.transfer.as_ref().is_some_and(|transfer| transfer.to == id);
        let has_all = leader.progress.get(&id).is_some_and(|p| p.match_index == last);
        if is_successor && (has_all || regardless) {
            leader.reads.forfeit_lease();
            self.send(id, Message::TimeoutNow { term });
        }
    }

    /// With each heartbeat: repeats what may have been lost, or gives up.
    pub(super) fn look_after_transfer(&mut self, now: Instant) {
        let Some(leader) = self.leading_mut() else { return };
        let Some(transfer) = leader.transfer.take_if(|transfer| now >= transfer.deadline) else {
            if let Some(to) = leader.transfer.as_ref().map(|transfer| transfer.to) {
                self.tell_successor(to);
            }
            return;
        };
        if let Some(ticket) = transfer.ticket {
            self.refuse(ticket, Refusal::TransferFailed { to: transfer.to });
        }
        self.propose(now, transfer.held);
    }

    /// The leadership has ended: what was held goes elsewhere. (Whether it went where it was
    /// wanted, others see from who leads next.)
    pub(super) fn abandon_transfer(&mut self, transfer: Option<Transfer>) {
        let held = transfer.map(|transfer| transfer.held).unwrap_or_default();
        for Proposal { ticket, .. } in held {
            self.refuse(ticket, Refusal::NotLeader { leader: None });
        }
    }

    /// The leader wants this server to take over.
    pub(super) fn timeout_now(&mut self, now: Instant, from: NodeId, term: Term) {
        use crate::consensus::Consensus;
        if term == self.term() && self.leader() == Some(from) {
            self.campaign(now, true);
        }
    }
}

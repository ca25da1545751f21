//! Membership: who has a vote, since when, and how that changes (§6; dissertation chapter 4).
//!
//! # The problem
//! Everything above rests on majorities, and so on everyone agreeing whose majority is meant. And
//! yet servers come and go while the group works.
//!
//! # What can go wrong
//! - If each server read its members from a file of its own, two servers with different files could
//!   both find a majority: S1 and S2 of {S1, S2, S3}, and S3, S4, S5 of {S1 … S5}. Two leaders in
//!   one term, both rightly elected by their own lights.
//! - Servers cannot change their minds all at once. Figure 10: while some still count the old
//!   members and others the new, each may find a majority of its own.
//! - A new member has an empty log. With a vote, it would count for nothing until it caught up: a
//!   group of three that adds a fourth and loses one could commit nothing. So it first follows
//!   without a vote, as a **learner**.
//! - The leader itself may be the one to go.
//! - A removed server hears no heartbeats any more, and wants an election. Pre-vote and loyalty
//!   ([`election`](super::election)) see to it that it disturbs nobody.
//! - A change that is in force and not committed is taken back by the next leader.
//!
//! # The rule
//! The members stand *in the log*, from its first entry, which every server of a new cluster is
//! born with. A configuration is in force from the moment it is appended, committed or not, since
//! a leader counts majorities to commit the very entry that changes them. If the entry is removed
//! again, the one before it is back in force. So a server's members are a function of its log, and
//! nothing else ([`Log::configuration`](super::log::Log::configuration)).
//!
//! A change of voters takes two entries (**joint consensus**):
//!
//! ```text
//!        C_old       C_old,new: a majority of each              C_new
//!   ─────────────┬──────────────────────────────────┬───────────────────┬─────────────
//!                │                                  │                   │
//!            C_old,new                          committed:          committed: who is
//!            appended                         C_new appended       not in it steps down
//! ```
//!
//! Until the first is committed, the old majority could still decide alone; after the second is
//! appended, the new one can. In between both must agree, so never can two decide apart. Any number
//! of servers may change in one step. A change of learners alone takes one entry, for nobody counts
//! them; and so does a change of where a member listens.
//!
//! A change begins only when the one before it is committed *and* an entry of the leader's own term
//! is. (Without the second condition the change of one server at a time, which we do not use, loses
//! committed entries: the bug in the dissertation that was found in 2015.)
//!
//! A leader that is not in C_new manages a group that it is no member of until C_new is committed:
//! it counts itself nowhere, then tells the best of the others to stand for election, and steps
//! down.
//!
//! # Caveats
//! Followers answer whoever speaks, member or not: their own configuration may be the old one. A
//! server that does not know yet that it has a vote gives it all the same.
//!
//! A server that its newest configuration does not name still stands for election as long as that
//! configuration is not known to be committed: it may be the only one that can win
//! ([`election`](super::election)).
//!
//! C_new is appended only when C_old,new is committed, and a change begins only when the one before
//! it has ended. So a log never ends in *two* configurations that are not committed, and one
//! truncation never takes back two. (The log would bear it: its configurations go with their
//! entries.)
//!
//! A removed server is told nothing any more, often not even of its removal. It asks for pre-votes
//! for ever and gets none; whoever runs the servers stops it.
//!
//! Who gets a vote must have caught up, *now* ([`progress`](super::progress)), whatever else the
//! same request asks for.
//!
//! # When the rule is removed
//! - Both majorities: `a_change_of_members_needs_both_majorities` (figures 10 and 11);
//!   `museum_joint_ignores_old` commits with the new majority alone.
//! - The term's first commit: `a_change_waits_for_the_term_to_open`; `museum_single_server_change`
//!   is the story of the erratum.
//! - The log says who the members are: `a_change_rolls_back_with_its_entry`;
//!   `museum_truncation_keeps_configuration`.
//! - A vote that its giver does not know of: `a_promoted_learner_that_does_not_know_votes`;
//!   `museum_learner_refuses_vote` leaves the group without a leader for ever.
//! - Caught up: `a_learner_is_promoted_when_it_has_caught_up`,
//!   `a_learner_that_died_after_catching_up_gets_no_vote`,
//!   `who_is_added_and_promoted_at_once_gets_no_vote`.
//! - Leaving: `the_leader_is_removed`, `a_removed_leader_may_still_be_needed`,
//!   `a_removed_server_disturbs_nobody`.

use super::message::Message;
use super::progress::Progress;
use super::state::Raft;
use crate::consensus::{Change, Configuration, Consensus, Entry, Payload, Refusal};
use crate::museum::Bug;
use crate::types::{Instant, NodeId, Ticket};

impl Raft {
    /// Somebody wants to change who the members are.
    pub(super) fn change_membership(&mut self, now: Instant, ticket: Ticket, changes: &[Change]) {
        match self.changed_configuration(now, changes) {
            Ok(next) => {
                self.append_next(ticket, Payload::Configuration(next));
                self.members_changed(now);
            }
            Err(why) => self.refuse(ticket, why),
        }
    }

    /// The configuration that begins the change.
    fn changed_configuration(
        &self,
        now: Instant,
        changes: &[Change],
    ) -> Result<Configuration, Refusal> {
        let Some(leader) = self.leading() else {
            return Err(Refusal::NotLeader { leader: self.leader() });
        };
        let current = self.log.configuration();
        let settled = self.log.configuration_index() <= self.commit_index
            && current.outgoing.is_empty()
            && leader.first_of_term <= self.commit_index;
        let hasty = self.has(Bug::SingleServerChange);
        if (!settled || leader.transfer.is_some()) && !hasty {
            return Err(Refusal::ChangeUnderWay);
        }
        let mut next = changed(current, changes).map_err(Refusal::Invalid)?;
        let limit = self.config.election_timeout.end;
        let behind = |node: &&NodeId| {
            !leader.progress.get(node).is_some_and(|progress| progress.has_caught_up(now, limit))
        };
        // Whoever gets a vote, by whatever changes: also one that is added and promoted at once.
        let mut promoted = next.voters.difference(&current.voters);
        if let Some(node) = promoted.find(behind) {
            return Err(Refusal::NotCaughtUp { node: *node });
        }
        let joint = !hasty && !self.has(Bug::JointIgnoresOld);
        if next.voters != current.voters && joint {
            next.outgoing = current.voters.clone();
            // Who leaves must be reached until it has left.
            for (id, address) in &current.addresses {
                if next.outgoing.contains(id) {
                    next.addresses.entry(*id).or_insert_with(|| address.clone());
                }
            }
        }
        Ok(next)
    }

    /// The configuration in force is another than before: followers come and go.
    pub(super) fn members_changed(&mut self, now: Instant) {
        let (others, last) = (self.others(), self.log.last_index());
        let Some(leader) = self.leading_mut() else { return };
        leader.progress.retain(|id, _| others.contains(id));
        for id in others {
            leader.progress.entry(id).or_insert_with(|| Progress::new(now, last));
        }
        self.replicate(now);
        self.advance_commit(now);
    }

    /// A configuration is committed: the leader takes the next step, if there is one.
    pub(super) fn go_on_changing(&mut self, now: Instant) {
        let Some(leader) = self.leading() else { return };
        if self.log.configuration_index() > self.commit_index
            || leader.first_of_term > self.commit_index
        {
            return;
        }
        let current = self.log.configuration();
        if !current.outgoing.is_empty() {
            let mut next = current.clone();
            next.outgoing.clear();
            let members = next.members();
            next.addresses.retain(|id, _| members.contains(id));
            let (term, index) = (self.term(), self.log.last_index().next());
            self.append(Entry { term, index, payload: Payload::Configuration(next) });
            self.members_changed(now);
        } else if !current.voters.contains(&self.id()) {
            self.leave(now);
        }
    }

    /// This leader is no voter any more, and everyone has agreed to that: another must lead.
    fn leave(&mut self, now: Instant) {
        let term = self.term();
        // They learn that the change is committed, and need not find out.
        self.send_heartbeats();
        if let Some(to) = self.best_successor(now) {
            self.send(to, Message::TimeoutNow { term });
        }
        self.follow(now, term, None);
    }
}

/// What `changes` make of `current`, all at once, without the step in between.
fn changed(current: &Configuration, changes: &[Change]) -> Result<Configuration, String> {
    let mut next = current.clone();
    if changes.is_empty() {
        return Err("no change".into());
    }
    let is_member = |next: &Configuration, node: &NodeId| {
        next.voters.contains(node) || next.learners.contains(node)
    };
    for change in changes {
        match change {
            Change::AddLearner { node, .. } if node.0 == 0 => {
                return Err("node 0 is nobody".into());
            }
            Change::AddLearner { node, .. } if is_member(&next, node) => {
                return Err(format!("node {node} is a member already"));
            }
            Change::AddLearner { node, address } => {
                next.learners.insert(*node);
                next.addresses.insert(*node, address.clone());
            }
            Change::Promote { node } if next.learners.remove(node) => {
                next.voters.insert(*node);
            }
            Change::Promote { node } => return Err(format!("node {node} is no learner")),
            Change::Demote { node } if next.voters.remove(node) => {
                next.learners.insert(*node);
            }
            Change::Demote { node } => return Err(format!("node {node} is no voter")),
            Change::Remove { node } if is_member(&next, node) => {
                next.voters.remove(node);
                next.learners.remove(node);
                next.addresses.remove(node);
            }
            Change::Relocate { node, address } if is_member(&next, node) => {
                next.addresses.insert(*node, address.clone());
            }
            Change::Remove { node } | Change::Relocate { node, .. } => {
                return Err(format!("node {node} is no member"));
            }
        }
    }
    if next.voters.is_empty() {
        return Err("somebody must have a vote".into());
    }
    if next == *current {
        return Err("that changes nothing".into());
    }
    Ok(next)
}

#[cfg(test)]
mod tests;

//! What clients are told of the members, and the alarms: from the machine's version 4 on.
//!
//! # The problem
//! Any member may be asked who the others are called and where they serve clients, and must answer
//! without asking them. And when there is no room any more, *all* replicas must refuse the same
//! commands, although each has a disk and a memory of its own.
//!
//! # The rule
//! Both are replicated state, a few entries of the log each.
//!
//! - A member [announces](crate::kv::Operation::Announce) its name and its clients' addresses. Who
//!   the members *are* says the log's configuration, of which the machine
//!   [is told](super::Machine::know_members): whoever is not in it any more is forgotten, and the
//!   highest number that ever was in it is kept, because no number is given twice.
//! - Whoever is added to vote follows as a learner until it has caught up. That it is
//!   [to vote](crate::kv::Operation::Enlist) is noted here, so that whoever leads then gives it its
//!   vote.
//! - An alarm that is on makes the machine refuse what [`Roster::refuses`] says. It goes off only
//!   when somebody says so.
//!
//! # Caveats
//! An announcement that a removed member had on its way may come after it was removed. It stays
//! until the next change of members, and shows nowhere: who lists members begins with the
//! configuration. Numbers that were given and taken back before version 4 are not known here.

use std::collections::BTreeSet;

use imbl::{OrdMap, OrdSet};

use super::hash::{self, Digest};
use super::limits::{MAX_ALARMS, MAX_ANNOUNCED};
use super::{Alarm, AlarmKind, AlarmOrder, Announcement, Effect, Operation, Refusal};
use crate::types::NodeId;

/// All of it. A clone costs O(1).
#[derive(Clone, Debug, Default)]
pub struct Roster {
    members: OrdMap<NodeId, Member>,
    alarms: OrdSet<Alarm>,
    /// The highest number that any member ever had.
    last_member: NodeId,
    /// The sum of the hashes of all.
    digest: Digest,
}

/// What a member has said of itself, or is to become.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Empty: it was never heard of.
    pub name: String,
    pub client_urls: Vec<String>,
    /// It is to get a vote as soon as it has caught up.
    pub is_enlisted: bool,
}

impl Roster {
    pub fn member(&self, id: NodeId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Those of whom there is something to say, by number.
    pub fn members(&self) -> impl Iterator<Item = (NodeId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// The alarms that are on, by member and kind.
    pub fn alarms(&self) -> impl Iterator<Item = Alarm> {
        self.alarms.iter().copied()
    }

    /// Whether any member has raised it.
    pub fn is_raised(&self, kind: AlarmKind) -> bool {
        self.alarms.iter().any(|alarm| alarm.kind == kind)
    }

    pub fn last_member(&self) -> NodeId {
        self.last_member
    }

    /// How many alarms, and members, there are.
    pub fn counts(&self) -> (u64, u64) {
        (self.alarms.len() as u64, self.members.len() as u64)
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The digest computed afresh.
    pub fn recompute_digest(&self) -> Digest {
        let mut digest = Digest::default();
        digest.add(hash::of_last_member(self.last_member));
        self.alarms.iter().for_each(|alarm| digest.add(hash::of_alarm(*alarm)));
        self.members.iter().for_each(|(id, member)| digest.add(hash::of_member(*id, member)));
        digest
    }

    /// Why the alarms that are on forbid an operation, if they do. As in etcd, what frees room goes
    /// on without room, and a transaction with a put in either branch does not.
    pub fn refuses(&self, operation: &Operation) -> Option<Refusal> {
        if self.alarms.is_empty() {
            return None;
        }
        let changes = matches!(
            operation,
            Operation::Put { .. }
                | Operation::Delete { .. }
                | Operation::CompareAndSwap { .. }
                | Operation::Transaction(_)
                | Operation::Compact { .. }
                | Operation::LeaseGrant { .. }
                | Operation::LeaseRevoke { .. }
        );
        if changes && self.is_raised(AlarmKind::Corrupt) {
            return Some(Refusal::Corrupt);
        }
        let needs_room = operation.cost() > 0;
        (needs_room && self.is_raised(AlarmKind::NoSpace)).then_some(Refusal::NoSpace)
    }

    /// Turns an alarm on or off. Answered with the alarm that is on, or was.
    pub fn order(&mut self, order: AlarmOrder) -> Result<Effect, Refusal> {
        let AlarmOrder { alarm, is_on } = order;
        let was_on = self.alarms.contains(&alarm);
        if is_on && !was_on {
            if self.alarms.len() >= MAX_ALARMS {
                return Err(Refusal::TooMany);
            }
            self.raise(alarm);
        } else if was_on && !is_on {
            self.alarms.remove(&alarm);
            self.digest.remove(hash::of_alarm(alarm));
        }
        Ok(Effect::Alarm { alarm: (is_on || was_on).then_some(alarm) })
    }

    fn raise(&mut self, alarm: Alarm) {
        self.alarms.insert(alarm);
        self.digest.add(hash::of_alarm(alarm));
    }

    pub fn announce(&mut self, announcement: Announcement) -> Result<Effect, Refusal> {
        let Announcement { node, name, client_urls } = announcement;
        let is_enlisted = self.member(node).is_some_and(|member| member.is_enlisted);
        self.put(node, Member { name, client_urls, is_enlisted })?;
        Ok(Effect::Announced)
    }

    pub fn enlist(&mut self, node: NodeId) -> Result<Effect, Refusal> {
        let member = self.member(node).cloned().unwrap_or_default();
        self.put(node, Member { is_enlisted: true, ..member })?;
        Ok(Effect::Enlisted)
    }

    fn put(&mut self, id: NodeId, member: Member) -> Result<(), Refusal> {
        if self.members.len() >= MAX_ANNOUNCED && !self.members.contains_key(&id) {
            return Err(Refusal::TooMany);
        }
        self.digest.add(hash::of_member(id, &member));
        if let Some(before) = self.members.insert(id, member) {
            self.digest.remove(hash::of_member(id, &before));
        }
        Ok(())
    }

    /// These are the members from here on, and `voters` of them have their votes.
    pub fn know(&mut self, members: &BTreeSet<NodeId>, voters: &BTreeSet<NodeId>) {
        let last = members.last().copied().unwrap_or_default().max(self.last_member);
        self.remember(last);
        let of_interest: Vec<_> = self
            .members()
            .filter(|(id, member)| {
                !members.contains(id) || (member.is_enlisted && voters.contains(id))
            })
            .map(|(id, member)| (id, member.clone()))
            .collect();
        for (id, before) in of_interest {
            self.digest.remove(hash::of_member(id, &before));
            self.members.remove(&id);
            let member = Member { is_enlisted: false, ..before };
            if members.contains(&id) && !member.name.is_empty() {
                self.digest.add(hash::of_member(id, &member));
                self.members.insert(id, member);
            }
        }
    }

    fn remember(&mut self, last: NodeId) {
        self.digest.remove(hash::of_last_member(self.last_member));
        self.digest.add(hash::of_last_member(last));
        self.last_member = last;
    }

    /// Nothing but the highest number, to be filled from a snapshot.
    pub fn restoring(last_member: NodeId) -> Roster {
        let mut roster = Roster::default();
        roster.remember(last_member);
        roster
    }

    /// Puts back an alarm, behind all that are there.
    pub fn restore_alarm(&mut self, alarm: Alarm) -> Result<(), &'static str> {
        if self.alarms.get_max().is_some_and(|last| *last >= alarm) {
            return Err("the alarms are out of order");
        }
        self.raise(alarm);
        Ok(())
    }

    /// Puts back a member, behind all that are there.
    pub fn restore_member(&mut self, id: NodeId, member: Member) -> Result<(), &'static str> {
        if id.0 == 0 || self.members.get_max().is_some_and(|(last, _)| *last >= id) {
            return Err("the members are out of order");
        }
        self.put(id, member).map_err(|_| "there are more members than may be")
    }
}

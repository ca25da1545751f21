//! Announcing: a member tells what it is called and where it serves clients.
//!
//! # The problem
//! Whoever asks any member for the members wants to know where clients find *all* of them, and only
//! each of them knows that of itself, from its start on.
//!
//! # The rule
//! A member compares what the state says of it with what is so. If they differ, it proposes to say
//! what is so: through the leader, like a client's write, but nobody waits for the answer, because
//! the state shows it. Until it does, the member says it again now and then.
//!
//! A leader takes it only from the member itself, and only from a member.

use std::time::Duration;

use super::members::is_member;
use super::pending::{Origin, Pending, Stage};
use super::{Request, Running};
use crate::consensus::Consensus;
use crate::kv::version::MEMBERS_ARE_KNOWN;
use crate::kv::{Announcement, Command, Operation};
use crate::storage::Disk;
use crate::types::Instant;

/// Heartbeats between two times that the same is said; and so long each may take.
const EVERY_HEARTBEATS: u32 = 10;

/// What a replica has to say of itself.
#[derive(Clone, Debug)]
pub struct Announcing {
    own: Option<Announcement>,
    every: Duration,
    /// When to say it next.
    next: Instant,
}

impl Announcing {
    /// Of a replica that starts at `now`, in a cluster with a `heartbeat` this often.
    pub fn starting_at(now: Instant, heartbeat: Duration, own: Option<Announcement>) -> Announcing {
        Announcing { own, every: heartbeat * EVERY_HEARTBEATS, next: now }
    }
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// When this replica wants to announce itself, if it is to and there is somebody to tell.
    pub(super) fn announcing_deadline(&self) -> Option<Instant> {
        let is_time = self.machine.version() >= MEMBERS_ARE_KNOWN
            && self.core.leader().is_some()
            && is_member(&self.announced, self.id);
        let own = self.announcing.own.as_ref().filter(|_| is_time && !self.stopping)?;
        let is_known =
            self.machine.roster().member(own.node).is_some_and(|known| {
                known.name == own.name && known.client_urls == own.client_urls
            });
        (!is_known).then_some(self.announcing.next)
    }

    /// Says what the state does not know yet.
    pub(super) fn look_after_the_announcement(&mut self, now: Instant) {
        if self.announcing_deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        let Some(own) = self.announcing.own.clone() else { return };
        let deadline = now + self.announcing.every;
        self.announcing.next = deadline;
        let command = Command { session: None, operation: Operation::Announce(own) }.encode();
        let has_room = command.len() as u64 + self.log_reserve <= self.log.room();
        if self.agreement.disagreed_at().is_some() || !has_room {
            return;
        }
        let request = Request::Write { command };
        let (origin, stage, revokes) = (Origin::Itself, Stage::Waiting, None);
        let own = Pending { origin, request, arrived: now, deadline, stage, revokes, trace: None };
        let ticket = self.pending.insert(own);
        self.dispatch(now, ticket);
    }
}

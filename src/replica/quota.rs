//! The quota: writes that are refused because too much is stored already.
//!
//! # The problem
//! A store that grows without end takes the whole machine with it. But no replica may refuse by
//! itself what the others apply: their memories differ, and their states must not.
//!
//! # The rule
//! As in etcd, in two steps. The leader, before it proposes a client's command, adds what it
//! [costs](Operation::cost) to what is [stored](crate::kv::Machine::size). If that is more than the
//! quota, the command is refused here and now, and an alarm is proposed. From the entry on with
//! which the alarm is raised every replica refuses alike, at that entry and not sooner, what takes
//! room ([`Roster::refuses`](crate::kv::roster::Roster::refuses)); deletions, compactions and the
//! ends of leases go on. It stays so until a client takes the alarm off.
//!
//! A leader that sees more stored than the quota raises the alarm by itself, too: it may have been
//! started with a smaller quota than it had before.
//!
//! # Caveats
//! Commands that are under way are not counted, so a little more may be stored than the quota
//! says: at most what the core takes before it says that it is busy. A refused write is a write
//! that was not proposed, so one that an earlier try has brought into the log is refused here as
//! well; its client knows of that try that it may have had an effect.

use std::time::Duration;

use super::{Refused, Response, Running};
use crate::consensus::Consensus;
use crate::kv::version::MEMBERS_ARE_KNOWN;
use crate::kv::{Alarm, AlarmKind, AlarmOrder, Operation};
use crate::quota::Quota;
use crate::storage::Disk;
use crate::types::Instant;

/// An alarm that was proposed and not heard of for so long is lost.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a replica knows of its quota.
#[derive(Clone, Debug)]
pub struct Limit {
    bytes: Option<u64>,
    /// A write was refused since the last turn.
    is_reached: bool,
    /// When the alarm was proposed last.
    proposed: Option<Instant>,
}

impl Limit {
    pub fn of(quota: Quota) -> Limit {
        Limit { bytes: quota.bytes(), is_reached: false, proposed: None }
    }
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// Whether there is room for what a client wants to store. Only who would propose it knows.
    pub(super) fn has_room_for(&mut self, operation: &Operation) -> Result<(), Response> {
        let (cost, size) = (operation.cost(), self.machine.size());
        let Some(quota) = self.limit.bytes.filter(|_| cost > 0 && self.minds_the_quota()) else {
            return Ok(());
        };
        if size + cost <= quota {
            return Ok(());
        }
        self.limit.is_reached = true;
        let message = format!(
            "{size} bytes are stored, and the quota is {quota}: delete and compact, then take the \
             alarm off (`etcdctl alarm disarm`)"
        );
        Err(Response::Refused { why: Refused::NoSpace, message })
    }

    fn minds_the_quota(&self) -> bool {
        self.machine.version() >= MEMBERS_ARE_KNOWN && self.core.leader() == Some(self.id)
    }

    /// Raises the alarm, if it is time and nobody has.
    pub(super) fn look_after_the_quota(&mut self, now: Instant) {
        let is_reached = std::mem::take(&mut self.limit.is_reached);
        let Some(quota) = self.limit.bytes.filter(|_| self.minds_the_quota()) else { return };
        if !is_reached && self.machine.size() <= quota {
            return;
        }
        let is_proposed = self.limit.proposed.is_some_and(|when| now.since(when) < PATIENCE);
        if self.machine.roster().is_raised(AlarmKind::NoSpace) {
            self.limit.proposed = None;
        } else if !is_proposed {
            let alarm = Alarm { member: self.id, kind: AlarmKind::NoSpace };
            let order = AlarmOrder { alarm, is_on: true };
            if self.propose_of_itself(Operation::Alarm(order)) {
                self.limit.proposed = Some(now);
            }
        }
    }
}

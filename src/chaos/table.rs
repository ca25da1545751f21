//! What one node must know: the faults of the links that it sends on, of its clock and its disk.
//!
//! # How faults add up
//!
//! A link that several of them concern is cut if any cuts it, stalled if any stalls it; delays and
//! jitters add up; what one loses (or doubles, or holds back) is lost, and of what it leaves the
//! other loses its share; of two rates the lower holds. A clock that two make slow is as slow as
//! both make it, one that any stops stands still, and each jumps it. Of a disk see
//! [`Trouble::and`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{ClockFault, FaultId, Flap, NodeFault};
use crate::link::Policy;
use crate::storage::Trouble;
use crate::types::NodeId;

/// The faults that one node has to carry out. Its text is `faults.json` in the node's
/// directory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Grows with every change of any fault.
    pub version: u64,
    pub faults: Vec<TableFault>,
}

/// A node's part of a fault.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableFault {
    pub id: FaultId,
    /// The links to these nodes are concerned.
    pub to: BTreeSet<NodeId>,
    pub policy: Policy,
    /// What is wrong with the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<NodeFault>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flap: Option<Flap>,
    /// Unix time.
    pub since_millis: u64,
    /// Unix time.
    pub until_millis: Option<u64>,
}

impl Flap {
    /// Whether it is on, so long after its beginning; and when that changes next, as long after it.
    fn at(self, after_millis: u64) -> (bool, u64) {
        let Flap { on_millis, off_millis } = self;
        let period = (on_millis + off_millis).max(1);
        let (round, within) = (after_millis / period * period, after_millis % period);
        match within < on_millis {
            true => (true, round + on_millis),
            false => (false, round + period),
        }
    }
}

impl TableFault {
    fn is_in_force(&self, now_millis: u64) -> bool {
        let after = now_millis.saturating_sub(self.since_millis);
        !self.is_over(now_millis) && self.flap.is_none_or(|flap| flap.at(after).0)
    }

    fn is_over(&self, now_millis: u64) -> bool {
        self.until_millis.is_some_and(|until| until <= now_millis)
    }

    /// When something changes by itself, after `now_millis`.
    fn next_change(&self, now_millis: u64) -> Option<u64> {
        if self.is_over(now_millis) {
            return None;
        }
        let after = now_millis.saturating_sub(self.since_millis);
        let flips = self.flap.map(|flap| self.since_millis + flap.at(after).1);
        let jumps = self.clock().and_then(|clock| clock.next_jump(after));
        let jumps = jumps.map(|jump| self.since_millis + jump);
        [flips, jumps, self.until_millis].into_iter().flatten().min()
    }

    fn clock(&self) -> Option<ClockFault> {
        match &self.own {
            Some(NodeFault::Clock(clock)) => Some(*clock),
            _ => None,
        }
    }
}

impl Table {
    /// What is wrong with the link to `to` now.
    pub fn policy(&self, to: NodeId, now_millis: u64) -> Policy {
        let here =
            self.faults.iter().filter(|it| it.to.contains(&to) && it.is_in_force(now_millis));
        here.fold(Policy::default(), |sum, fault| sum.and(&fault.policy))
    }

    /// What is wrong with the disk now.
    pub fn trouble(&self, now_millis: u64) -> Trouble {
        let here = self.faults.iter().filter(|fault| fault.is_in_force(now_millis));
        here.fold(Trouble::default(), |sum, fault| match &fault.own {
            Some(NodeFault::Disk(trouble)) => sum.and(trouble),
            _ => sum,
        })
    }

    /// How fast the clock runs now.
    pub fn clock_rate(&self, now_millis: u64) -> f64 {
        let here = self.faults.iter().filter(|fault| fault.is_in_force(now_millis));
        here.filter_map(TableFault::clock).map(ClockFault::rate).product()
    }

    /// The jumps of the clock that are due and were not made, in milliseconds, ahead or back.
    /// `made`: how many of each fault were; it is brought up to date.
    pub fn clock_jumps(&self, now_millis: u64, made: &mut BTreeMap<FaultId, u64>) -> Vec<i64> {
        let mut due = Vec::new();
        made.retain(|id, _| self.faults.iter().any(|fault| fault.id == *id));
        for fault in self.faults.iter().filter(|fault| fault.is_in_force(now_millis)) {
            let Some(clock) = fault.clock() else { continue };
            let made = made.entry(fault.id).or_default();
            let jumps = clock.jumps(now_millis.saturating_sub(fault.since_millis));
            // After a long sleep most of a strobe's jumps cancel out: the last, or the last two.
            let missed = jumps.saturating_sub(*made);
            let worth = if missed.is_multiple_of(2) { missed.min(2) } else { 1 };
            due.extend((jumps - worth..jumps).map(|number| clock.jump(number)));
            *made = jumps.max(*made);
        }
        due
    }

    /// Whether a fault may be keeping the clock where it is, to let it come true.
    pub fn sets_clock_back(&self, now_millis: u64) -> bool {
        let here = self.faults.iter().filter(|fault| fault.is_in_force(now_millis));
        let sets = |clock| matches!(clock, ClockFault::Jump { .. } | ClockFault::Strobe { .. });
        here.filter_map(TableFault::clock).any(sets)
    }

    /// Whom any fault concerns.
    pub fn concerned(&self) -> BTreeSet<NodeId> {
        self.faults.iter().flat_map(|fault| fault.to.iter().copied()).collect()
    }

    /// When a policy changes by itself, after `now_millis`: Unix time.
    pub fn next_change(&self, now_millis: u64) -> Option<u64> {
        self.faults.iter().filter_map(|fault| fault.next_change(now_millis)).min()
    }

    /// Faults in force now.
    pub fn in_force(&self, now_millis: u64) -> usize {
        self.faults.iter().filter(|fault| !fault.is_over(now_millis)).count()
    }

    /// The text for people and programs to read: JSON.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }

    /// Reads what [`to_json`](Table::to_json) wrote, and believes no policy that makes no sense.
    pub fn from_json(text: &str) -> Result<Table, String> {
        let table: Table = serde_json::from_str(text).map_err(|error| error.to_string())?;
        for fault in &table.faults {
            let own = fault.own.as_ref().map_or(Ok(()), NodeFault::validate);
            let policy = fault.policy.validate().map_err(|error| error.to_string());
            policy.and(own).map_err(|error| format!("fault {}: {error}", fault.id))?;
        }
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn fault(policy: Policy, since_millis: u64, until_millis: Option<u64>) -> TableFault {
        let (id, to) = (FaultId(1), [NodeId(2)].into());
        TableFault { id, to, policy, own: None, flap: None, since_millis, until_millis }
    }

    #[test]
    fn a_fault_ends_when_its_time_is_over() {
        let table = Table { version: 1, faults: vec![fault(Policy::cut(), 1000, Some(3000))] };
        assert_eq!(table.policy(NodeId(2), 2999), Policy::cut());
        assert!(table.policy(NodeId(3), 2999).is_empty());
        assert_eq!(table.next_change(2999), Some(3000));
        assert!(table.policy(NodeId(2), 3000).is_empty());
        assert_eq!((table.next_change(3000), table.in_force(3000)), (None, 0));
    }

    #[test]
    fn a_flapping_fault_comes_and_goes_until_its_end() {
        let flap = Some(Flap { on_millis: 100, off_millis: 50 });
        let table = Table {
            version: 1,
            faults: vec![TableFault { flap, ..fault(Policy::cut(), 1000, Some(1260)) }],
        };
        let cut = |now| table.policy(NodeId(2), now).cut;
        assert!(cut(1000) && cut(1099) && !cut(1100) && !cut(1149) && cut(1150) && cut(1249));
        assert!(!cut(1250) && !cut(1260) && !cut(1310));
        let changes: Vec<_> =
            std::iter::successors(Some(1000), |now| table.next_change(*now)).collect();
        assert_eq!(changes, [1000, 1100, 1150, 1250, 1260]);
    }

    #[test]
    fn faults_add_up() {
        let slow = Policy { delay: Duration::from_millis(20), loss: 0.5, ..Policy::default() };
        let thin = Policy { rate: Some(1000), loss: 0.5, ..Policy::default() };
        let slower =
            Policy { delay: Duration::from_millis(5), rate: Some(500), ..Policy::default() };
        let faults = [slow, thin, slower].map(|policy| fault(policy, 0, None)).into();
        let sum = Table { version: 1, faults }.policy(NodeId(2), 7);
        assert_eq!((sum.delay, sum.loss, sum.rate), (Duration::from_millis(25), 0.75, Some(500)));
        assert_eq!(sum.validate(), Ok(()));
    }

    #[test]
    fn a_table_survives_its_text_and_a_wrong_one_is_refused() {
        let table = Table { version: 1, faults: vec![fault(Policy::cut(), 1, None)] };
        assert_eq!(Table::from_json(&table.to_json()), Ok(table.clone()));
        let wrong = table.to_json().replace("\"loss\": 0.0", "\"loss\": 7.0");
        assert!(
            Table::from_json(&wrong).unwrap_err().starts_with("fault 1: loss is a probability")
        );
        assert!(Table::from_json("{").is_err());
    }

    fn of_clock(id: u64, clock: ClockFault, since_millis: u64) -> TableFault {
        TableFault {
            id: FaultId(id),
            own: Some(NodeFault::Clock(clock)),
            ..fault(Policy::default(), since_millis, Some(since_millis + 1000))
        }
    }

    #[test]
    fn a_clock_jumps_once_and_a_strobe_again_and_again() {
        let jump = of_clock(1, ClockFault::Jump { millis: -70 }, 1000);
        let strobe = of_clock(2, ClockFault::Strobe { millis: 30, every_millis: 100 }, 1000);
        let table = Table { version: 1, faults: vec![jump, strobe] };
        let (mut made, none): (_, [i64; 0]) = (BTreeMap::new(), []);
        assert_eq!(table.clock_jumps(1000, &mut made), [-70, 30]);
        assert_eq!(table.clock_jumps(1099, &mut made), none);
        assert_eq!(table.clock_jumps(1100, &mut made), [-30]);
        assert_eq!(table.clock_jumps(1700, &mut made), [30, -30]);
        assert_eq!(table.clock_jumps(1850, &mut made), [30]);
        assert_eq!(table.next_change(1850), Some(1900));
        assert!(table.sets_clock_back(1999) && !table.sets_clock_back(2000));
        assert_eq!(table.clock_jumps(2100, &mut made), none);
        assert_eq!(Table::default().clock_jumps(2100, &mut made), none);
        assert!(made.is_empty());
    }

    #[test]
    fn slow_clocks_are_slow_together_and_a_stopped_one_stands_still() {
        let (half, stop) = (ClockFault::Drift { rate: 0.5 }, ClockFault::Stop);
        let mut table = Table {
            version: 1,
            faults: vec![of_clock(1, half, 0), of_clock(2, half, 100), of_clock(3, stop, 100)],
        };
        assert_eq!((table.clock_rate(500), table.clock_rate(1050)), (0.0, 0.0));
        table.faults.pop();
        assert_eq!((table.clock_rate(500), table.clock_rate(1050)), (0.25, 0.5));
        assert_eq!(table.clock_rate(1100), 1.0);
    }
}

//! Faults in force: how each begins, what it does, and how it ends without a trace.

use std::ops::Range;
use std::time::Duration;

use super::coverage::Seen;
use super::properties::Checked;
use super::schedule::{Loss, Target, What, When};
use super::words;
use super::world::{Happening, World};
use crate::kv::version::LATEST_VERSION;
use crate::link::Policy;
use crate::replica::Event;
use crate::storage::Trouble;

/// A fault that has begun: what it is, and whom it met.
#[derive(Clone, Debug)]
pub struct InForce {
    pub what: What,
    /// Places of the nodes concerned.
    pub nodes: Vec<usize>,
}

/// Beginnings and ends.
impl World {
    /// Lets the faults come that have a moment of their own.
    pub fn arrange_faults(&mut self) {
        for fault in 0..self.schedule.faults.len() {
            if let When::At(at) = self.schedule.faults[fault].when {
                self.arrange(self.now + at, Happening::FaultBegins { fault });
            }
        }
    }

    /// Lets the faults come that wait for this election.
    pub fn arrange_faults_after_election(&mut self) {
        for fault in 0..self.schedule.faults.len() {
            match self.schedule.faults[fault].when {
                When::AfterElection { nth, wait } if nth == self.elected.len() as u64 => {
                    self.arrange(self.now + wait, Happening::FaultBegins { fault });
                }
                _ => {}
            }
        }
    }

    /// A fault begins.
    pub fn fault_begins(&mut self, fault: usize) -> Checked {
        if self.peace || self.in_force.contains_key(&fault) {
            return Ok(());
        }
        let (what, lasts) = {
            let fault = &self.schedule.faults[fault];
            (fault.what.clone(), fault.lasts)
        };
        let nodes = self.concerned(&what);
        self.count_fault(&what);
        self.story.tell(self.now, || match what.lasts() {
            true => format!("— {what} (for {})", words::span(lasts)),
            false => format!("— {what}"),
        });
        self.mix(fault as u64);
        self.in_force.insert(fault, InForce { what: what.clone(), nodes: nodes.clone() });
        self.arrange(self.now + lasts, Happening::FaultEnds { fault });
        self.begin(&what, &nodes)
    }

    fn begin(&mut self, what: &What, nodes: &[usize]) -> Checked {
        match what {
            What::Crash { loss, .. } | What::PowerCut { loss } => {
                for place in nodes {
                    self.nodes[*place].held_down += 1;
                    self.crash(*place, *loss);
                }
            }
            What::Pause { .. } => {
                nodes.iter().for_each(|place| self.nodes[*place].paused += 1);
            }
            What::SlowDisk { .. } | What::FullDisk { .. } | What::FailedSync { .. } => {
                self.apply_disks();
            }
            What::Drift { rate, .. } => self.set_clocks(nodes, *rate),
            What::Jump { by, .. } => {
                for place in nodes {
                    self.nodes[*place].clock.jump(self.now, *by);
                    self.clock_changed(*place);
                }
            }
            What::Campaign { .. } => {
                for place in nodes {
                    if self.nodes[*place].paused == 0 {
                        self.turn(*place, Event::Campaign)?;
                    }
                }
            }
            What::Upgrade { .. } => {
                for place in nodes {
                    self.nodes[*place].held_down += 1;
                    self.crash(*place, Loss::Nothing);
                    self.nodes[*place].supports = LATEST_VERSION;
                }
            }
            What::Rot { place: share, .. } => {
                for place in nodes {
                    self.nodes[*place].held_down += 1;
                    self.damage(*place, Some(*share));
                }
            }
            What::Wipe { .. } => {
                for place in nodes {
                    self.nodes[*place].held_down += 1;
                    self.damage(*place, None);
                }
            }
            What::Operator(errand) => self.run_errand(*errand)?,
            _ => self.apply_policies(),
        }
        Ok(())
    }

    /// A fault ends, unless it has been ended.
    pub fn fault_ends(&mut self, fault: usize) -> Checked {
        let Some(InForce { what, nodes }) = self.in_force.remove(&fault) else { return Ok(()) };
        if what.lasts() {
            self.story.tell(self.now, || format!("— no longer: {what}"));
        }
        match what {
            What::Crash { .. }
            | What::PowerCut { .. }
            | What::Upgrade { .. }
            | What::Rot { .. }
            | What::Wipe { .. } => {
                for place in nodes {
                    self.nodes[place].held_down -= 1;
                    self.start(place)?;
                }
            }
            What::Pause { .. } => {
                for place in nodes {
                    self.nodes[place].paused -= 1;
                    self.nodes[place].superseded = None;
                    self.go_on(place)?;
                }
            }
            What::SlowDisk { .. } | What::FullDisk { .. } | What::FailedSync { .. } => {
                self.apply_disks();
            }
            What::Drift { .. } => self.set_clocks(&nodes, 1.0),
            What::Jump { .. } | What::Campaign { .. } | What::Operator(_) => {}
            _ => self.apply_policies(),
        }
        Ok(())
    }

    /// A node that stood still goes on, with all that came meanwhile.
    pub fn go_on(&mut self, place: usize) -> Checked {
        while self.nodes[place].paused == 0 {
            let Some(event) = self.nodes[place].inbox.pop_front() else { break };
            self.turn(place, event)?;
        }
        self.clock_changed(place);
        Ok(())
    }

    /// Ends everything that is in force, and lets nothing begin any more.
    pub fn make_peace(&mut self) -> Checked {
        self.peace = true;
        while let Some(fault) = self.in_force.keys().next().copied() {
            self.fault_ends(fault)?;
        }
        self.end_the_scenario()?;
        Ok(())
    }

    fn count_fault(&mut self, what: &What) {
        let kind = match what {
            What::Crash { .. } => return,
            What::PowerCut { .. } => Seen::PowerCut,
            What::Pause { .. } => Seen::Pause,
            What::Split { .. } | What::Isolate { .. } | What::Ring => Seen::Partition,
            What::Cut { both: true, .. } => Seen::Partition,
            What::Deafen { .. } | What::Mute { .. } | What::Cut { .. } => Seen::OneWay,
            What::Noise { .. } | What::NoiseAround { .. } => return,
            What::SlowDisk { .. } => Seen::SlowDisk,
            What::FullDisk { .. } => Seen::FullDisk,
            What::FailedSync { .. } => return,
            What::Drift { .. } | What::Jump { .. } => Seen::ClockFault,
            What::Campaign { .. } => Seen::Campaign,
            What::Upgrade { .. } => Seen::Upgraded,
            What::Rot { .. } | What::Wipe { .. } => return,
            What::Operator(_) => return,
        };
        self.coverage.count(kind);
    }
}

/// Whom, and what is in force on whole.
impl World {
    fn concerned(&self, what: &What) -> Vec<usize> {
        let one = |target: &Target| vec![self.find(*target)];
        match what {
            What::PowerCut { .. } => (0..self.nodes.len()).collect(),
            What::Split { group } => group
                .iter()
                .map(|id| (id.0 - 1) as usize)
                .filter(|p| *p < self.nodes.len())
                .collect(),
            What::Cut { from, to, .. } => vec![self.find(*from), self.find(*to)],
            What::Ring | What::Noise { .. } | What::Operator(_) => Vec::new(),
            What::Crash { target, .. }
            | What::Pause { target }
            | What::Isolate { target }
            | What::Deafen { target }
            | What::Mute { target }
            | What::NoiseAround { target, .. }
            | What::SlowDisk { target, .. }
            | What::FullDisk { target }
            | What::FailedSync { target }
            | What::Drift { target, .. }
            | What::Jump { target, .. }
            | What::Upgrade { target }
            | What::Rot { target, .. }
            | What::Wipe { target }
            | What::Campaign { target } => one(target),
        }
    }

    /// The leader of the newest term, among those who believe to lead; the first node if none does.
    pub fn leader(&self) -> usize {
        let leading = self.nodes.iter().enumerate().filter(|(_, node)| node.leads);
        let term = |place: usize| {
            let mirror = self.properties.mirror(self.nodes[place].id);
            mirror.and_then(|mirror| mirror.leads)
        };
        leading.map(|(place, _)| place).max_by_key(|place| term(*place)).unwrap_or(0)
    }

    /// Whom a target means now.
    pub fn find(&self, target: Target) -> usize {
        let size = self.nodes.len();
        match target {
            Target::Node(id) => (id.0.saturating_sub(1) as usize).min(size - 1),
            Target::Leader => self.leader(),
            Target::Follower(nth) => {
                let others = size.saturating_sub(1).max(1) as u64;
                (self.leader() + 1 + (nth % others) as usize) % size
            }
        }
    }

    /// Gives every link what all faults in force together make of it.
    pub fn apply_policies(&mut self) {
        let size = self.nodes.len();
        for from in 0..size {
            for to in (0..size).filter(|to| *to != from) {
                let mut policy = self.schedule.setting.network.clone();
                for fault in self.in_force.values() {
                    overlay(&mut policy, fault, (from, to), size);
                }
                let policy = self.with_injected(policy, from, to);
                self.set_policy(from, to, policy);
            }
        }
    }

    pub fn apply_disks(&mut self) {
        for place in 0..self.nodes.len() {
            let mut latency: Range<Duration> = self.schedule.setting.disk.clone();
            let (mut full, mut failing) = (false, false);
            for fault in self.in_force.values().filter(|fault| fault.nodes.contains(&place)) {
                match &fault.what {
                    What::SlowDisk { latency: slow, .. } => latency = slow.clone(),
                    What::FullDisk { .. } => full = true,
                    What::FailedSync { .. } => failing = true,
                    _ => {}
                }
            }
            let trouble = self.trouble(place);
            let slow = Duration::from_millis(trouble.delay_millis);
            let vary = Duration::from_millis(trouble.jitter_millis);
            let node = &mut self.nodes[place];
            node.latency = latency.start + slow.saturating_sub(vary)..latency.end + slow + vary;
            node.disk.set_writes_full(trouble.full);
            node.disk.set_capacity(full.then(|| node.disk.used()));
            node.disk.set_fail_syncs(failing);
        }
    }

    /// Whether the disk of a node is made to fail.
    pub fn disk_is_at_fault(&self, place: usize) -> bool {
        let Trouble { full, sync_error, .. } = self.trouble(place);
        let by_chance = self.in_force.values().any(|fault| {
            fault.nodes.contains(&place)
                && matches!(fault.what, What::FullDisk { .. } | What::FailedSync { .. })
        });
        full || sync_error || by_chance
    }

    fn set_clocks(&mut self, nodes: &[usize], rate: f64) {
        for place in nodes {
            self.nodes[*place].clock.set_rate(self.now, rate);
            self.clock_changed(*place);
        }
    }
}

/// Adds to a link's policy what one fault makes of it.
fn overlay(policy: &mut Policy, fault: &InForce, (from, to): (usize, usize), size: usize) {
    let first = fault.nodes.first().copied();
    let is = |place: usize| first == Some(place);
    match &fault.what {
        What::Split { .. } => {
            policy.cut |= fault.nodes.contains(&from) != fault.nodes.contains(&to);
        }
        What::Isolate { .. } => policy.cut |= is(from) || is(to),
        What::Deafen { .. } => policy.cut |= is(to),
        What::Mute { .. } => policy.cut |= is(from),
        What::Cut { both, .. } => {
            let second = fault.nodes.get(1).copied();
            policy.cut |= is(from) && second == Some(to);
            policy.cut |= *both && is(to) && second == Some(from);
        }
        What::Ring => {
            let apart = (from + size - to) % size;
            policy.cut |= apart != 1 && apart != size - 1;
        }
        What::Noise { policy: noise } => add_noise(policy, noise),
        What::NoiseAround { policy: noise, .. } if is(from) || is(to) => add_noise(policy, noise),
        _ => {}
    }
}

fn add_noise(policy: &mut Policy, noise: &Policy) {
    policy.loss = policy.loss.max(noise.loss);
    policy.duplicate = policy.duplicate.max(noise.duplicate);
    policy.reorder = policy.reorder.max(noise.reorder);
    policy.reorder_hold = policy.reorder_hold.max(noise.reorder_hold);
    if noise.delay > policy.delay {
        policy.delay = noise.delay;
        policy.jitter = noise.jitter;
        policy.distribution = noise.distribution;
    }
}

/// What an end that nobody arranged would mean.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_leaves_two_neighbours_and_a_split_nothing_between() {
        let cut = |what: What, nodes: Vec<usize>, ends| {
            let mut policy = Policy::default();
            overlay(&mut policy, &InForce { what, nodes }, ends, 5);
            policy.cut
        };
        let ring = |to| cut(What::Ring, vec![], (0, to));
        assert_eq!([1, 2, 3, 4].map(ring), [false, true, true, false]);
        let split = |ends| cut(What::Split { group: vec![] }, vec![0, 1], ends);
        assert!(split((0, 2)) && split((3, 1)) && !split((0, 1)) && !split((2, 3)));
    }

    #[test]
    fn noise_adds_up_to_the_worst_of_each() {
        let mut policy = Policy { loss: 0.1, ..Policy::default() };
        add_noise(&mut policy, &Policy { loss: 0.05, duplicate: 0.2, ..Policy::default() });
        assert_eq!((policy.loss, policy.duplicate), (0.1, 0.2));
    }

    /// A crash with nothing lost still ends the life.
    #[test]
    fn loss_is_told() {
        let crash = What::Crash { target: Target::Leader, loss: Loss::Nothing };
        assert_eq!(crash.to_string(), "the leader crashes, its disk keeps everything");
    }
}

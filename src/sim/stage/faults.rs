//! What goes wrong in a scenario: links, clocks and disks by the tables that real nodes are told,
//! processes by hand.
//!
//! # Caveats
//! A simulated process has no memory that could be limited, and a simulated disk fails its syncs
//! but not its reads or single writes: [`refusals`] says so, by line. A node that starts again has
//! a clock that is right until its faults are carried out again, at once.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{RESTART, Stage, millis};
use crate::chaos::{Fault, FaultId, Injection, NodeFault, Table, Wish};
use crate::link::Policy;
use crate::scenario::deed::Deed;
use crate::scenario::{Mistake, Scenario, Step};
use crate::sim::properties::{Broken, Checked};
use crate::sim::schedule::Loss;
use crate::sim::world::{Happening, World};
use crate::storage::Trouble;
use crate::types::NodeId;

/// A node that gets a share of a processor stands still for the rest of each period.
const PERIOD: u64 = 100;

/// The steps of a scenario that the simulator cannot do, and why.
pub fn refusals(scenario: &Scenario) -> Vec<Mistake> {
    let why = |step: &Step| match &step.deed {
        Deed::Fault(Wish::Node { fault, .. }) => cannot(fault),
        _ => None,
    };
    let refusal = |step: &Step| {
        let mistake =
            Mistake::new(step.at.clone(), format!("not in the simulator: {}", why(step)?));
        Some(mistake.help("run it on a living cluster: kvctl chaos run FILE"))
    };
    scenario.steps.iter().filter_map(refusal).collect()
}

fn cannot(fault: &NodeFault) -> Option<&'static str> {
    match fault {
        NodeFault::Memory { .. } => Some("its nodes have no memory that could be limited"),
        NodeFault::Corrupt { segment: Some(_) } => Some("the seed says where the bit flips"),
        NodeFault::Disk(trouble) if trouble.read_errors > 0.0 || trouble.write_errors > 0.0 => {
            Some("its disks fail to sync, but not to read or to write")
        }
        _ => None,
    }
}

/// Which faults of a node.
type Hinders = fn(&NodeFault) -> bool;

fn place(id: NodeId) -> usize {
    (id.0 - 1) as usize
}

impl World {
    fn table(&self, of: usize) -> Table {
        Fault::table(0, self.injected.iter().map(|(_, fault)| fault), self.nodes[of].id)
    }

    /// What the scenario's faults make of a link besides.
    pub fn with_injected(&self, policy: Policy, from: usize, to: usize) -> Policy {
        if self.injected.is_empty() {
            return policy;
        }
        let faults = self.injected.iter().map(|(_, fault)| fault);
        let table = Fault::table(0, faults, self.nodes[from].id);
        policy.and(&table.policy(self.nodes[to].id, millis(self.now)))
    }

    /// What they make of a disk.
    pub fn trouble(&self, place: usize) -> Trouble {
        match self.injected.is_empty() {
            true => Trouble::default(),
            false => self.table(place).trouble(millis(self.now)),
        }
    }

    /// What the disk of a node forgets if it dies now.
    pub(super) fn loss(&self, place: usize) -> Loss {
        match self.trouble(place) {
            Trouble { torn: true, .. } => Loss::Some,
            Trouble { lose_unsynced: true, .. } => Loss::Unsynced,
            _ => Loss::Nothing,
        }
    }

    pub(super) fn inject(
        &mut self,
        stage: &mut Stage,
        place: usize,
        step: &Step,
        wish: &Wish,
    ) -> Result<Option<String>, Broken> {
        let injection = Injection {
            wish: wish.clone(),
            flap: step.flap,
            duration_millis: step.lasts.map(|lasts| lasts.as_millis() as u64),
            by: stage.scenario.name.clone(),
            blind: false,
        };
        let fault = match injection.begin(FaultId(stage.faults), &self.view(), millis(self.now)) {
            Ok(fault) => fault,
            Err(why) => return Ok(Some(why)),
        };
        stage.faults += 1;
        self.story.tell(self.now, || format!("— {fault}"));
        self.mix(stage.faults);
        self.injected.push((place, fault.clone()));
        self.begin_on_nodes(&fault);
        self.carry_out(stage);
        Ok(None)
    }

    fn begin_on_nodes(&mut self, fault: &Fault) {
        for place in fault.nodes.iter().map(|id| place(*id)) {
            let loss = self.loss(place);
            match fault.on(self.nodes[place].id) {
                Some(NodeFault::Pause) => self.nodes[place].paused += 1,
                Some(NodeFault::Kill | NodeFault::Terminate) => {
                    self.nodes[place].held_down += 1;
                    self.crash(place, loss);
                }
                Some(NodeFault::Corrupt { .. }) => {
                    self.nodes[place].held_down += 1;
                    // Where the bit flips is drawn from the seed.
                    let share = (self.digest % 1000) as f64 / 1000.0;
                    self.damage(place, Some(share));
                    self.crash(place, loss);
                }
                Some(NodeFault::Disk(Trouble { sync_error: true, .. })) => {
                    self.nodes[place].disk.fail_one_sync_after(0);
                }
                _ => {}
            }
        }
    }

    /// Tells links, clocks and disks what is wrong with them now.
    pub(super) fn carry_out(&mut self, stage: &mut Stage) {
        let now = millis(self.now);
        let tables: Vec<Table> = (0..self.nodes.len()).map(|place| self.table(place)).collect();
        stage.changes_at = tables.iter().filter_map(|table| table.next_change(now)).min();
        stage.lives = self.nodes.iter().map(|node| node.life).collect();
        self.apply_policies();
        self.apply_disks();
        for (place, table) in tables.iter().enumerate() {
            let rate = table.clock_rate(now);
            let was_wrong = stage.jumps.contains_key(&place);
            let mut made = stage.jumps.remove(&place).unwrap_or_default();
            let jumps = table.clock_jumps(now, &mut made);
            let is_wrong = rate != 1.0 || !made.is_empty();
            if is_wrong || was_wrong {
                self.disturb_clock(place, rate, &jumps, table.sets_clock_back(now));
            }
            if is_wrong {
                stage.jumps.insert(place, made);
            }
        }
    }

    fn disturb_clock(&mut self, place: usize, rate: f64, jumps: &[i64], set_back: bool) {
        let (now, clock) = (self.now, &mut self.nodes[place].clock);
        if !set_back {
            clock.go_on(now);
        }
        clock.set_rate(now, rate);
        for jump in jumps {
            let by = Duration::from_millis(jump.unsigned_abs());
            match *jump > 0 {
                true => clock.jump(now, by),
                false => clock.set_back(now, by),
            }
        }
        self.clock_changed(place);
    }

    /// Ends the faults whose time is over, and lets those come and go that flap. Whether any ended.
    pub(super) fn end_faults(&mut self, stage: &mut Stage, at: Duration) -> Result<bool, Broken> {
        let now = millis(self.now);
        let before = self.injected.len();
        while let Some(over) = self.injected.iter().position(|(_, fault)| fault.is_over(now)) {
            let (step, fault) = self.injected.remove(over);
            stage.timeline.ended(step, at);
            self.end_on_nodes(stage, &fault)?;
            self.carry_out(stage);
        }
        let is_new = |(place, node): (usize, &crate::sim::node::Node)| {
            stage.lives.get(place).is_some_and(|life| *life != node.life)
        };
        let restarted = !stage.jumps.is_empty() && self.nodes.iter().enumerate().any(is_new);
        if restarted || stage.changes_at.is_some_and(|change| change <= now) {
            self.carry_out(stage);
        }
        Ok(self.injected.len() < before)
    }

    /// Somebody starts, kills or stops this node by hand: faults that pause it, or keep it down,
    /// are over as far as it is concerned, and need not be undone. How many there were.
    pub(super) fn takes_over(&mut self, stage: &mut Stage, place: usize, is: Hinders) -> u32 {
        let (id, now) = (self.nodes[place].id, self.now);
        let hinders = |fault: &mut Fault| fault.on(id).is_some_and(is) && fault.nodes.remove(&id);
        let count = self.injected.iter_mut().map(|(_, it)| u32::from(hinders(it))).sum();
        for (step, _) in self
            .injected
            .extract_if(.., |(_, it)| matches!(it.wish, Wish::Node { .. }) && it.nodes.is_empty())
        {
            let at = stage.began.map_or(Duration::ZERO, |began| now.since(began));
            stage.timeline.ended(step, at);
        }
        count
    }

    fn end_on_nodes(&mut self, stage: &mut Stage, fault: &Fault) -> Checked {
        self.story.tell(self.now, || format!("— no longer: {fault}"));
        stage.kills.remove(&fault.id);
        for place in stage.starved.remove(&fault.id).unwrap_or_default() {
            self.let_go_on(place)?;
        }
        for place in fault.nodes.iter().map(|id| place(*id)) {
            match fault.on(self.nodes[place].id) {
                Some(NodeFault::Pause) => self.let_go_on(place)?,
                Some(fault) if fault.keeps_down() => {
                    self.nodes[place].held_down -= 1;
                    self.start(place)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn let_go_on(&mut self, place: usize) -> Checked {
        self.nodes[place].paused -= 1;
        self.nodes[place].superseded = None;
        self.go_on(place)
    }

    /// Kills again, stops and lets go on again.
    pub(super) fn go_on_with_faults(&mut self, stage: &mut Stage) -> Checked {
        let now = millis(self.now);
        for (_, fault) in self.injected.clone() {
            let after = now.saturating_sub(fault.since_millis);
            let first = fault.nodes.iter().next().and_then(|id| fault.on(*id));
            match first {
                Some(NodeFault::CrashLoop { every_millis }) => {
                    let due = after / every_millis + 1;
                    let killed = stage.kills.insert(fault.id, due).unwrap_or(0);
                    if killed < due {
                        self.kill_again(&fault);
                    }
                }
                Some(NodeFault::SlowCpu { share }) => {
                    let still = (after % PERIOD) as f64 >= share * PERIOD as f64;
                    self.starve(stage, &fault, still)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn kill_again(&mut self, fault: &Fault) {
        for place in fault.nodes.iter().map(|id| place(*id)) {
            let loss = self.loss(place);
            self.crash(place, loss);
            self.arrange(self.now + RESTART, Happening::Start { node: place });
        }
    }

    fn starve(&mut self, stage: &mut Stage, fault: &Fault, still: bool) -> Checked {
        let starved = stage.starved.entry(fault.id).or_default();
        if still == starved.is_empty() {
            let places: BTreeSet<usize> = fault.nodes.iter().map(|id| place(*id)).collect();
            *starved = if still { places.clone() } else { BTreeSet::new() };
            for place in places {
                match still {
                    true => self.nodes[place].paused += 1,
                    false => self.let_go_on(place)?,
                }
            }
        }
        Ok(())
    }

    pub(super) fn heal_injected(&mut self, stage: &mut Stage) -> Checked {
        for (step, fault) in std::mem::take(&mut self.injected) {
            if let Some(began) = stage.began {
                stage.timeline.ended(step, self.now.since(began));
            }
            self.end_on_nodes(stage, &fault)?;
        }
        self.carry_out(stage);
        Ok(())
    }
}

//! The stage: a scenario, performed in a simulated world.
//!
//! Its faults are those of [`chaos`](crate::chaos), told to the links by the same tables as in real
//! nodes; its orders are an operator's, who asks again until it is done. It begins when the cluster
//! is ready. What it expects is judged once the faults have ended and all histories are.
//!
//! [`faults`] begin and end what goes wrong, `orders` are carried out, `verdict` says what came
//! of it.

pub mod faults;
mod orders;
mod verdict;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use self::orders::Chore;
use super::properties::{Broken, Checked};
use super::world::{Happening, World};
use crate::chaos::{FaultId, View};
use crate::consensus::Consensus;
use crate::scenario::deed::Deed;
use crate::scenario::{Director, Finding, Scenario, Sight, Step, Timeline};
use crate::types::{Instant, LogIndex, NodeId};

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(5);
/// How long the supervisor takes to start a node again.
const RESTART: Duration = Duration::from_millis(100);
/// Who follows closely has applied what was committed this long ago.
const CLOSELY: Duration = Duration::from_millis(200);

/// A scenario under way.
#[derive(Debug)]
pub struct Stage {
    scenario: Arc<Scenario>,
    director: Director,
    timeline: Timeline,
    /// When the cluster was ready, and all began.
    began: Option<Instant>,
    /// When something was last done: whoever was ready until then may not be any more.
    touched: Instant,
    /// Faults begun so far.
    faults: u64,
    /// Places of the nodes that were stopped.
    stopped: BTreeSet<usize>,
    /// What operators still want, and when they ask next.
    chores: Vec<(Chore, Instant)>,
    /// What was committed when this was looked up last, and the time before.
    marks: (Instant, LogIndex, LogIndex),
    /// When a fault comes or goes by itself, in milliseconds of the world.
    changes_at: Option<u64>,
    /// By place: how many jumps of its clock were made, of each fault; empty: its clock is right.
    jumps: BTreeMap<usize, BTreeMap<FaultId, u64>>,
    /// How often each crash loop has killed.
    kills: BTreeMap<FaultId, u64>,
    /// Places of the nodes that stand still for want of processor time, by fault.
    starved: BTreeMap<FaultId, BTreeSet<usize>>,
    /// The nodes' lives when their faults were carried out.
    lives: Vec<u64>,
    findings: Vec<Finding>,
}

impl Stage {
    /// The stage for a scenario.
    pub fn new(scenario: Arc<Scenario>) -> Stage {
        Stage {
            director: Director::default(),
            timeline: Timeline::new(&scenario),
            scenario,
            began: None,
            touched: Instant::default(),
            faults: 0,
            stopped: BTreeSet::new(),
            chores: Vec::new(),
            marks: (Instant::default(), LogIndex(0), LogIndex(0)),
            changes_at: None,
            jumps: BTreeMap::new(),
            kills: BTreeMap::new(),
            starved: BTreeMap::new(),
            lives: Vec::new(),
            findings: Vec::new(),
        }
    }

    /// Something was done, or ended, that may keep the cluster from being ready.
    fn touch(&mut self, now: Instant, since_the_beginning: Duration) {
        self.touched = now;
        self.timeline.is_ready(since_the_beginning, false);
    }

    /// What became of the expectations.
    pub fn into_findings(self) -> Vec<Finding> {
        self.findings
    }
}

fn millis(now: Instant) -> u64 {
    now.0.as_millis() as u64
}

/// The performance.
impl World {
    /// Performs the scenario, from its beginning to its end.
    pub fn perform(&mut self) -> Checked {
        self.arrange(self.now, Happening::Scene);
        self.run_until("everybody follows a leader, so that the scenario can begin", |world| {
            world.stage.as_ref().is_some_and(|stage| stage.began.is_some())
        })?;
        let lasts = self.schedule.duration;
        self.run(self.now + lasts, |_| false)?;
        Ok(())
    }

    /// Looks at the cluster, and does what is due.
    pub fn scene(&mut self) -> Checked {
        // Out of the world while it acts on it.
        if self.peace {
            return Ok(());
        }
        let Some(mut stage) = self.stage.take() else { return Ok(()) };
        let done = self.look(&mut stage);
        self.stage = Some(stage);
        self.arrange(self.now + GLANCE, Happening::Scene);
        done
    }

    fn look(&mut self, stage: &mut Stage) -> Checked {
        let ready = self.is_ready(stage);
        let mut sight = Sight {
            now: Duration::ZERO,
            ready,
            elections: self.elected.len() as u64,
            writes: self.clients.acknowledged,
            faults: self.injected.len(),
        };
        let Some(began) = stage.began else {
            if ready {
                stage.began = Some(self.now);
                stage.director = Director::new(&sight);
                stage.timeline.leads(Duration::ZERO, self.leading());
                self.story
                    .tell(self.now, || format!("— the scenario begins: {}", stage.scenario.name));
            }
            return Ok(());
        };
        sight.now = self.now.since(began);
        stage.timeline.is_ready(sight.now, ready);
        stage.timeline.leads(sight.now, self.leading());
        if self.members.1.outgoing.is_empty() {
            stage.timeline.has_voters(sight.now, self.members.1.voters.len() as u64);
        }
        if self.end_faults(stage, sight.now)? {
            stage.touch(self.now, sight.now);
        }
        self.go_on_with_faults(stage)?;
        self.do_chores(stage)?;
        let scenario = Arc::clone(&stage.scenario);
        if let Some(place) = stage.director.due(&scenario, &sight) {
            match self.begin_step(stage, place, &scenario.steps[place])? {
                None => {
                    stage.touch(self.now, sight.now);
                    stage.timeline.begun(place, sight.now);
                    stage.director.begun(&sight);
                }
                Some(why) => stage.director.refused(why),
            }
        }
        Ok(())
    }

    /// Who leads in the newest term.
    fn leading(&self) -> Option<NodeId> {
        let node = &self.nodes[self.leader()];
        node.leads.then_some(node.id)
    }

    /// Whether somebody leads, and every member follows closely.
    fn is_ready(&self, stage: &mut Stage) -> bool {
        if self.now >= stage.marks.0 + CLOSELY {
            stage.marks = (self.now, self.properties.committed(), stage.marks.1);
        }
        if stage.began.is_some() && self.now < stage.touched + CLOSELY {
            return false;
        }
        let Some(leader) = self.leading() else { return false };
        let follows = |id: &NodeId| {
            let node = &self.nodes[(id.0 - 1) as usize];
            let applied = node.replica.as_ref().map(|replica| replica.machine().applied_index());
            node.paused == 0
                && node.core().is_some_and(|core| core.leader() == Some(leader))
                && applied >= Some(stage.marks.2)
        };
        self.members.0 > LogIndex(0) && self.members.1.members().iter().all(follows)
    }

    fn view(&self) -> View {
        let is_there = |node: &&super::node::Node| node.born && !node.retired && !node.removed;
        View {
            all: self.nodes.iter().filter(is_there).map(|node| node.id).collect(),
            voters: self.members.1.voters.clone(),
            leader: self.leading(),
            ..View::default()
        }
    }

    /// Begins a step. It returns why it cannot begin yet.
    fn begin_step(
        &mut self,
        stage: &mut Stage,
        place: usize,
        step: &Step,
    ) -> Result<Option<String>, Broken> {
        match &step.deed {
            Deed::Nothing => {}
            Deed::Heal => {
                self.story.tell(self.now, || "— all is healed".to_owned());
                self.heal_injected(stage)?;
            }
            Deed::Fault(wish) => return self.inject(stage, place, step, wish),
            Deed::Order(order) => {
                let done = self.order(stage, order);
                self.story.tell(self.now, || format!("— {}", step.text));
                return done;
            }
        }
        Ok(None)
    }

    /// Nothing of it is left: for the peace.
    pub fn end_the_scenario(&mut self) -> Checked {
        let Some(mut stage) = self.stage.take() else { return Ok(()) };
        stage.timeline.lasted = self.schedule.duration;
        stage.chores.clear();
        let healed = self.heal_injected(&mut stage);
        for place in std::mem::take(&mut stage.stopped) {
            self.nodes[place].held_down -= 1;
        }
        self.stage = Some(stage);
        healed
    }
}

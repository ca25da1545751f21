//! The stage: a scenario, performed in a simulated world.
//!
//! Its faults are those of [`chaos`](crate::chaos), told to the links by the same tables as in real
//! nodes; its orders are an operator's, who asks again until it is done. It begins when the cluster
//! is ready. What it expects is judged once the faults have ended and all histories are.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::properties::{Broken, Checked, expectation};
use super::schedule::{Errand, Loss, Target};
use super::world::{Happening, World};
use crate::chaos::{Fault, FaultId, Injection, View, Who, Wish};
use crate::consensus::Consensus;
use crate::link::Policy;
use crate::scenario::deed::{Deed, Order};
use crate::scenario::expectation::Calls;
use crate::scenario::{Answered, Director, Finding, Held, Scenario, Sight, Step, Timeline, judge};
use crate::types::{Instant, LogIndex, NodeId};

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(5);
/// How long the supervisor takes to start a node again.
const RESTART: Duration = Duration::from_millis(100);
/// Who follows closely has applied what was committed this long ago.
const CLOSELY: Duration = Duration::from_millis(200);
/// Before an operator asks again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// A scenario under way.
#[derive(Debug)]
pub struct Stage {
    scenario: Arc<Scenario>,
    director: Director,
    timeline: Timeline,
    /// When the cluster was ready, and all began.
    began: Option<Instant>,
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
    findings: Vec<Finding>,
}

/// What takes more than one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Chore {
    Transfer { from: Option<NodeId>, to: Option<NodeId> },
    Join { node: NodeId, learner: bool },
    Promote { node: NodeId },
    Remove { node: NodeId },
}

impl Stage {
    /// The stage for a scenario.
    pub fn new(scenario: Arc<Scenario>) -> Stage {
        Stage {
            director: Director::default(),
            timeline: Timeline::new(&scenario),
            scenario,
            began: None,
            faults: 0,
            stopped: BTreeSet::new(),
            chores: Vec::new(),
            marks: (Instant::default(), LogIndex(0), LogIndex(0)),
            changes_at: None,
            findings: Vec::new(),
        }
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
        let Some(mut stage) = self.stage.take() else { return Ok(()) };
        let done = self.look(&mut stage);
        self.stage = Some(stage);
        if !self.peace {
            self.arrange(self.now + GLANCE, Happening::Scene);
        }
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
                stage.timeline.first_leader = self.leading();
                self.story
                    .tell(self.now, || format!("— the scenario begins: {}", stage.scenario.name));
            }
            return Ok(());
        };
        sight.now = self.now.since(began);
        stage.timeline.is_ready(sight.now, ready);
        if self.members.1.outgoing.is_empty() {
            stage.timeline.has_voters(sight.now, self.members.1.voters.len() as u64);
        }
        self.end_faults(stage, sight.now)?;
        self.do_chores(stage)?;
        let scenario = Arc::clone(&stage.scenario);
        if let Some(place) = stage.director.due(&scenario, &sight) {
            match self.begin_step(stage, place, &scenario.steps[place])? {
                None => {
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
        }
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

    fn inject(
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
        };
        let fault = match injection.begin(FaultId(stage.faults), &self.view(), millis(self.now)) {
            Ok(fault) => fault,
            Err(why) => return Ok(Some(why)),
        };
        stage.faults += 1;
        self.story.tell(self.now, || format!("— {fault}"));
        self.mix(stage.faults);
        for id in &fault.paused {
            self.nodes[(id.0 - 1) as usize].paused += 1;
        }
        self.injected.push((place, fault));
        self.change_links(stage);
        Ok(None)
    }

    fn change_links(&mut self, stage: &mut Stage) {
        let now = millis(self.now);
        let faults = || self.injected.iter().map(|(_, fault)| fault);
        let tables = self.nodes.iter().map(|node| Fault::table(0, faults(), node.id));
        stage.changes_at = tables.filter_map(|table| table.next_change(now)).min();
        self.apply_policies();
    }

    /// Ends the faults whose time is over, and lets those come and go that flap.
    fn end_faults(&mut self, stage: &mut Stage, at: Duration) -> Checked {
        let now = millis(self.now);
        let over = self.injected.iter().position(|(_, fault)| fault.is_over(now));
        if let Some(place) = over {
            let (step, fault) = self.injected.remove(place);
            stage.timeline.ended(step, at);
            self.end_injected(&fault)?;
            self.change_links(stage);
            return self.end_faults(stage, at);
        }
        if stage.changes_at.is_some_and(|change| change <= now) {
            self.change_links(stage);
        }
        Ok(())
    }

    fn end_injected(&mut self, fault: &Fault) -> Checked {
        self.story.tell(self.now, || format!("— no longer: {fault}"));
        for id in &fault.paused {
            let place = (id.0 - 1) as usize;
            self.nodes[place].paused -= 1;
            self.nodes[place].superseded = None;
            self.go_on(place)?;
        }
        Ok(())
    }

    fn heal_injected(&mut self, stage: &mut Stage) -> Checked {
        for (step, fault) in std::mem::take(&mut self.injected) {
            if let Some(began) = stage.began {
                stage.timeline.ended(step, self.now.since(began));
            }
            self.end_injected(&fault)?;
        }
        self.change_links(stage);
        Ok(())
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

/// Orders.
impl World {
    fn order(&mut self, stage: &mut Stage, order: &Order) -> Result<Option<String>, Broken> {
        let view = self.view();
        let places = |whos: &[Who]| -> Result<Vec<usize>, String> {
            let nodes = view.resolve_all(whos)?;
            Ok(nodes.into_iter().map(|id| (id.0 - 1) as usize).collect())
        };
        let one = |who: Who| -> Result<NodeId, String> {
            let nodes = view.resolve_all(&[who])?;
            nodes.into_iter().next().ok_or_else(|| format!("nobody is {who}"))
        };
        let planned: Result<(), String> = match order {
            Order::Kill { nodes } | Order::Restart { nodes } => places(nodes).map(|places| {
                for place in places {
                    self.crash(place, Loss::Nothing);
                    self.arrange(self.now + RESTART, Happening::Start { node: place });
                }
            }),
            Order::Stop { nodes } => places(nodes).map(|places| {
                for place in places {
                    if stage.stopped.insert(place) {
                        self.nodes[place].held_down += 1;
                        self.crash(place, Loss::Nothing);
                    }
                }
            }),
            Order::Start { nodes } => match places(nodes) {
                Ok(places) => {
                    for place in places {
                        if stage.stopped.remove(&place) {
                            self.nodes[place].held_down -= 1;
                            self.start(place)?;
                        }
                    }
                    Ok(())
                }
                Err(why) => Err(why),
            },
            Order::Transfer { to } => to.map(one).transpose().map(|to| {
                let chore = Chore::Transfer { from: view.leader, to };
                stage.chores.push((chore, self.now));
            }),
            Order::Add { learner } => {
                let joined = stage.chores_of_joining();
                let node = NodeId(stage.scenario.nodes + joined + 1);
                stage.chores.push((Chore::Join { node, learner: *learner }, self.now));
                Ok(())
            }
            Order::Promote { node } => {
                one(*node).map(|node| stage.chores.push((Chore::Promote { node }, self.now)))
            }
            Order::Remove { node } => {
                one(*node).map(|node| stage.chores.push((Chore::Remove { node }, self.now)))
            }
            Order::Snapshot => {
                for id in view.all {
                    self.run_errand(Errand::Snapshot { target: Target::Node(id) })?;
                }
                Ok(())
            }
        };
        Ok(planned.err())
    }

    /// Operators ask again for what is not done.
    fn do_chores(&mut self, stage: &mut Stage) -> Checked {
        let now = self.now;
        for (chore, ask) in std::mem::take(&mut stage.chores) {
            let wanted = self.wanted(chore);
            let ask = match wanted {
                Some(errand) if ask <= now => {
                    self.run_errand(errand)?;
                    now + ASK_AGAIN
                }
                Some(_) => ask,
                None => continue,
            };
            stage.chores.push((chore, ask));
        }
        Ok(())
    }

    /// The next errand of a chore; nothing, if it is done.
    fn wanted(&self, chore: Chore) -> Option<Errand> {
        let members = &self.members.1;
        let promote = |node: NodeId| {
            let nth = members.learners.iter().position(|learner| *learner == node);
            nth.map(|nth| Errand::Promote { nth: nth as u64 })
        };
        match chore {
            Chore::Transfer { from, to } => {
                let leader = self.leading();
                let is_done = if to.is_some() { leader == to } else { leader != from };
                (!is_done).then_some(Errand::Transfer { to: to.map(Target::Node) })
            }
            Chore::Join { node, .. } if !members.members().contains(&node) => {
                Some(Errand::AddLearner)
            }
            Chore::Join { node, learner: false } | Chore::Promote { node } => promote(node),
            Chore::Join { .. } => None,
            Chore::Remove { node } => members
                .members()
                .contains(&node)
                .then_some(Errand::Remove { target: Target::Node(node) }),
        }
    }
}

impl Stage {
    /// How many joins have been begun.
    fn chores_of_joining(&self) -> u64 {
        let adds = self.scenario.steps.iter().zip(&self.timeline.steps);
        let begun = adds.filter(|(step, (begun, _))| {
            begun.is_some() && matches!(step.deed, Deed::Order(Order::Add { .. }))
        });
        begun.count() as u64
    }
}

/// What came of it.
impl World {
    /// Judges what the scenario expects, once everything else has been judged.
    pub fn judge_scenario(&mut self) -> Checked {
        let Some(mut stage) = self.stage.take() else { return Ok(()) };
        let began = stage.began.unwrap_or_default();
        let since = |at: &Instant| at.0.checked_sub(began.0);
        let answered = self.clients.answered.iter().filter_map(|(called, answered, write)| {
            let calls = if *write { Calls::Writes } else { Calls::Reads };
            Some(Answered { calls, called: since(called)?, answered: since(answered)? })
        });
        let timeline = &mut stage.timeline;
        timeline.answered = answered.collect();
        let elections = self.elected.iter().filter_map(|(at, id)| Some((since(at)?, *id)));
        timeline.elections = elections.filter(|(at, _)| *at <= timeline.lasted).collect();
        // Peace has shown the one; the other was judged just now.
        timeline.replicas_equal = Some(true);
        timeline.verdict = (self.clients.undecided == 0).then_some(true);
        stage.findings = judge(&stage.scenario, timeline);
        let checked = verdict(&stage);
        self.stage = Some(stage);
        checked
    }
}

/// The first thing that is not as expected.
fn verdict(stage: &Stage) -> Checked {
    let Stage { scenario, director, findings, .. } = stage;
    if let Some((step, why)) = director.waits_for(scenario) {
        let step = &scenario.steps[step];
        let (file, line) = (&scenario.file, step.line);
        return expectation::disappointed(format!("{file}:{line}: this step never began: {why}"));
    }
    match findings.iter().find(|finding| finding.held != Held::Yes) {
        Some(Finding { text, line, held, measured }) => {
            let file = &scenario.file;
            let not = if *held == Held::No { "" } else { "cannot be judged: " };
            expectation::disappointed(format!("{file}:{line}: `{text}`: {not}{measured}"))
        }
        None => Ok(()),
    }
}

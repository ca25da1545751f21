//! A scenario on a living cluster: its steps, and what is seen meanwhile.
//!
//! # What can go wrong
//! - *Whoever drives it is killed.* Each fault is given to the cluster with its end, the end of the
//!   scenario at the latest; so it ends all the same. Only what was *stopped* stays stopped.
//! - *The supervisor does not answer.* The next look asks again; no step is taken on a guess.
//! - *An order takes long* (a member that catches up). It is carried out beside all else, and what
//!   came of it is told when it is known.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::errand::{Errand, carry_out};
use super::nemesis::Injury;
use super::tape::Tape;
use crate::chaos::{Fault, FaultId, Injection, Standing, View, Who, Wish};
use crate::config::Address;
use crate::control::{Action, ClusterStatus, ControlError, NodeStatus, State, SupervisorClient};
use crate::scenario::deed::{Deed, Order};
use crate::scenario::expectation::Calls;
use crate::scenario::{Answered, Director, Scenario, Sight, Step, Timeline};
use crate::types::{NodeId, Term};
use crate::verify::history::{Call, History, Operation, Outcome};

/// Between two looks.
pub const GLANCE: Duration = Duration::from_millis(50);

/// What nodes said of themselves may be so old.
const STALE: Duration = Duration::from_millis(300);

/// Something to be told: since the beginning.
pub type Told = (Duration, String);

/// A fault of the scenario that is in force.
struct InForce {
    step: usize,
    id: FaultId,
    ends: Duration,
    what: String,
}

/// A scenario under way. Lives on a `LocalSet`.
pub struct Performance {
    scenario: Arc<Scenario>,
    supervisor: Address,
    client: Option<SupervisorClient>,
    /// The supervisor did not answer when it was asked last.
    is_silent: bool,
    /// Whether the fault that was asked for last has begun is not known.
    is_unsure: bool,
    /// Even to a protected cluster.
    yes: bool,
    tape: Tape,
    began: Instant,
    /// On the tape, in nanoseconds.
    began_on_tape: u64,
    director: Director,
    timeline: Timeline,
    /// Elections won so far, and the newest term that anybody led.
    elections: u64,
    term: Term,
    /// When something was last done: whoever was ready until then may not be any more.
    touched: Duration,
    faults: Vec<InForce>,
    /// Those that were, too, for the report.
    injuries: Vec<Injury>,
    stopped: BTreeSet<NodeId>,
    errands: Vec<JoinHandle<()>>,
    told: (mpsc::UnboundedSender<String>, mpsc::UnboundedReceiver<String>),
}

impl Performance {
    /// Begins: with the first look.
    pub async fn start(
        scenario: &Arc<Scenario>,
        supervisor: &Address,
        yes: bool,
        tape: &Tape,
    ) -> Result<Performance, ControlError> {
        let client = SupervisorClient::connect(supervisor).await?;
        let status = client.status().await?;
        let mut timeline = Timeline::new(scenario);
        timeline.leads(Duration::ZERO, status.leader);
        let sight = Sight { writes: tape.progress().writes, ..Sight::default() };
        Ok(Performance {
            scenario: Arc::clone(scenario),
            supervisor: supervisor.clone(),
            client: Some(client),
            is_silent: false,
            is_unsure: false,
            yes,
            tape: tape.clone(),
            began: Instant::now(),
            began_on_tape: tape.now(),
            director: Director::new(&sight),
            timeline,
            elections: 0,
            term: status.term,
            touched: Duration::ZERO,
            faults: Vec::new(),
            injuries: Vec::new(),
            stopped: BTreeSet::new(),
            errands: Vec::new(),
            told: mpsc::unbounded_channel(),
        })
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn is_over(&self) -> bool {
        self.elapsed() >= self.scenario.lasts
    }

    /// Looks at the cluster, and does what is due.
    pub async fn glance(&mut self) -> Vec<Told> {
        let mut told = Vec::new();
        if let Err(error) = self.look(&mut told).await {
            // Asked again at the next look.
            self.client = None;
            if !std::mem::replace(&mut self.is_silent, true) {
                told.push((self.elapsed(), format!("the supervisor does not answer: {error}")));
            }
        } else if std::mem::take(&mut self.is_silent) {
            told.push((self.elapsed(), "the supervisor answers again".to_owned()));
        }
        while let Ok(said) = self.told.1.try_recv() {
            told.push((self.elapsed(), said));
        }
        told
    }

    async fn look(&mut self, told: &mut Vec<Told>) -> Result<(), ControlError> {
        if self.client.is_none() {
            self.client = Some(SupervisorClient::connect(&self.supervisor).await?);
        }
        let Some(client) = &self.client else { return Ok(()) };
        let status = client.status().await?;
        let now = self.elapsed();
        self.see(&status, now, told);
        self.end_faults(now, told);
        let sight = Sight {
            now,
            ready: self.is_ready(&status, now),
            elections: self.elections,
            writes: self.tape.progress().writes,
            faults: self.faults.len(),
        };
        let scenario = Arc::clone(&self.scenario);
        if let Some(place) = self.director.due(&scenario, &sight) {
            match self.begin_step(place, &scenario.steps[place], &status, told).await {
                Ok(()) => {
                    self.touched = self.elapsed();
                    self.timeline.is_ready(self.touched, false);
                    self.timeline.begun(place, self.touched);
                    self.director.begun(&sight);
                }
                Err(ControlError::Refused(it)) => self.director.refused(it.why),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Somebody leads, and every member follows closely: one that is stopped, too, for which the
    /// supervisor does not wait.
    fn is_ready(&self, status: &ClusterStatus, now: Duration) -> bool {
        let runs = |id: &NodeId| {
            status.nodes.iter().any(|it| it.node == *id && it.state == State::Running)
        };
        let leader = leader_of(status);
        let members = leader.into_iter().flat_map(|it| it.voters.iter().chain(&it.learners));
        status.ready && now >= self.touched + STALE && members.copied().all(|id| runs(&id))
    }

    fn see(&mut self, status: &ClusterStatus, now: Duration, told: &mut Vec<Told>) {
        if let Some(leader) = status.leader
            && status.term > self.term
        {
            (self.term, self.elections) = (status.term, self.elections + 1);
            self.timeline.elections.push((now, leader));
            told.push((now, format!("node {leader} leads in term {}", status.term)));
        }
        self.timeline.leads(now, status.leader);
        self.timeline.is_ready(now, self.is_ready(status, now));
        if let Some(report) = leader_of(status)
            && report.outgoing.is_empty()
        {
            self.timeline.has_voters(now, report.voters.len() as u64);
        }
    }

    fn end_faults(&mut self, now: Duration, told: &mut Vec<Told>) {
        for fault in self.faults.extract_if(.., |fault| fault.ends <= now) {
            self.timeline.ended(fault.step, fault.ends);
            self.timeline.is_ready(now, false);
            self.touched = now;
            told.push((now, format!("no longer: {}", fault.what)));
        }
    }

    async fn begin_step(
        &mut self,
        place: usize,
        step: &Step,
        status: &ClusterStatus,
        told: &mut Vec<Told>,
    ) -> Result<(), ControlError> {
        match &step.deed {
            Deed::Nothing => {}
            Deed::Heal => {
                self.heal().await?;
                told.push((self.elapsed(), "all is healed".to_owned()));
            }
            Deed::Fault(wish) => self.inject(place, step, wish, told).await?,
            Deed::Order(order) => {
                let errand =
                    resolve(order, status).map_err(|why| ControlError::Refused(why.into()))?;
                self.begin_errand(errand, &step.text);
                told.push((self.elapsed(), step.text.clone()));
            }
        }
        Ok(())
    }

    async fn inject(
        &mut self,
        place: usize,
        step: &Step,
        wish: &Wish,
        told: &mut Vec<Told>,
    ) -> Result<(), ControlError> {
        let Some(client) = &self.client else { return Ok(()) };
        let left = self.scenario.lasts.saturating_sub(self.elapsed());
        let lasts = step.lasts.map_or(left, |lasts| lasts.min(left));
        let millis = (lasts.as_millis() as u64).max(1);
        let millis = wish.natural_millis().map_or(millis, |natural| natural.min(millis));
        let injection = Injection {
            wish: wish.clone(),
            flap: step.flap,
            duration_millis: Some(millis),
            by: by(&self.scenario),
            blind: false,
        };
        let (fault, unheard) = match self.begun_unheard(client).await? {
            Some(fault) => {
                self.is_unsure = false;
                (fault, Vec::new())
            }
            None => {
                // Until its answer is here, nobody knows whether it has begun.
                self.is_unsure = true;
                let injected = client.inject(&injection, self.yes).await;
                self.is_unsure = !matches!(&injected, Ok(_) | Err(ControlError::Refused(_)));
                let injected = injected?;
                (injected.fault, injected.unheard)
            }
        };
        let fault = &fault;
        let lasts = fault.until_millis.map_or(millis, |until| until - fault.since_millis);
        let what = fault.to_string();
        told.push((self.elapsed(), what.clone()));
        let unheard = unheard.iter().map(|node| format!("node {node} does not answer yet"));
        told.extend(unheard.map(|said| (self.elapsed(), said)));
        // The nodes end it at that moment of the calendar.
        let unix_millis = self.tape.began_unix_millis() + self.tape.now() / 1_000_000;
        let left = fault.until_millis.map_or(lasts, |until| until.saturating_sub(unix_millis));
        let ends = self.elapsed() + Duration::from_millis(left);
        self.injuries.push(Injury {
            kind: step.text.split(' ').next().unwrap_or_default().to_owned(),
            what: what.clone(),
            id: Some(fault.id),
            begun: self.tape.now(),
            ended: self.tape.now() + lasts * 1_000_000,
            refused: None,
        });
        self.faults.push(InForce { step: place, id: fault.id, ends, what });
        Ok(())
    }

    /// The fault that this step had asked for already, if its answer was lost.
    async fn begun_unheard(
        &self,
        client: &SupervisorClient,
    ) -> Result<Option<Fault>, ControlError> {
        if !self.is_unsure {
            return Ok(None);
        }
        let is_new = |fault: &Fault| {
            fault.by == by(&self.scenario)
                && fault.since_millis >= self.tape.began_unix_millis()
                && !self.injuries.iter().any(|injury| injury.id == Some(fault.id))
        };
        Ok(client.faults().await?.into_iter().find(is_new))
    }

    fn begin_errand(&mut self, errand: Errand, text: &str) {
        match &errand {
            Errand::Act { nodes, action: Action::Stop } => self.stopped.extend(nodes),
            Errand::Act { nodes, action: Action::Start } => {
                self.stopped.retain(|node| !nodes.contains(node));
            }
            _ => {}
        }
        let (teller, text) = (self.told.0.clone(), text.to_owned());
        let end = self.began + self.scenario.lasts;
        let work = carry_out(errand, self.supervisor.clone(), end);
        self.errands.push(tokio::task::spawn_local(async move {
            // Nobody listens only if all is over.
            let _ = teller.send(format!("{text}: {}", work.await));
        }));
    }

    async fn heal(&mut self) -> Result<(), ControlError> {
        let now = self.elapsed();
        let Some(client) = &self.client else { return Ok(()) };
        while let Some(fault) = self.faults.last() {
            match client.heal(&[fault.id]).await {
                // It is over by itself meanwhile.
                Ok(_) | Err(ControlError::Refused(_)) => {
                    self.timeline.ended(fault.step, now);
                    let on_tape = self.tape.now();
                    for injury in self.injuries.iter_mut().filter(|it| it.id == Some(fault.id)) {
                        injury.ended = injury.ended.min(on_tape);
                    }
                }
                Err(error) => return Err(error),
            }
            self.faults.pop();
        }
        Ok(())
    }

    /// Ends what is in force, and starts what was stopped. Says what could not be started.
    pub async fn end(&mut self) -> Result<Vec<String>, ControlError> {
        self.timeline.lasted = self.elapsed().min(self.scenario.lasts);
        self.errands.drain(..).for_each(|errand| errand.abort());
        self.client = Some(SupervisorClient::connect(&self.supervisor).await?);
        self.heal().await?;
        let mut refused = Vec::new();
        let Some(client) = &self.client else { return Ok(refused) };
        for node in std::mem::take(&mut self.stopped) {
            match client.act(Some(node), Action::Start, true).await {
                Ok(_) => {}
                // It was removed, for one.
                Err(ControlError::Refused(it)) => refused.push(it.why),
                Err(error) => return Err(error),
            }
        }
        Ok(refused)
    }

    /// The faults that were injected.
    pub fn injuries(&self) -> Vec<Injury> {
        self.injuries.clone()
    }

    /// What was seen, with what clients were told; and the step that never began, and why.
    pub fn timeline(mut self, history: &History) -> (Timeline, Option<(usize, String)>) {
        let began = self.began_on_tape;
        let since = |nanos: u64| nanos.checked_sub(began).map(Duration::from_nanos);
        let is_watch = |it: &&Operation| matches!(it.call, Call::Watch { .. });
        let asked = history.operations.iter().filter(|it| !is_watch(it));
        let answered = asked.filter_map(|operation| {
            let is_ok = matches!(operation.outcome, Outcome::Ok { .. } | Outcome::Mismatch);
            let (called, answered) = (operation.called.time?, operation.ended?.time?);
            let only_looks = operation.call.only_looks();
            let calls = if only_looks { Calls::Reads } else { Calls::Writes };
            let (called, answered) = (since(called)?, since(answered)?);
            is_ok.then_some(Answered { calls, called, answered })
        });
        self.timeline.answered = answered.collect();
        (self.timeline, self.director.waits_for(&self.scenario))
    }
}

/// Who wants the faults, in every status.
fn by(scenario: &Scenario) -> String {
    format!("scenario {}", scenario.name)
}

/// What the leader says.
fn leader_of(status: &ClusterStatus) -> Option<&NodeStatus> {
    let leader = status.nodes.iter().find(|state| Some(state.node) == status.leader)?;
    leader.report.as_ref()
}

/// What an order means, as things stand.
fn resolve(order: &Order, status: &ClusterStatus) -> Result<Errand, String> {
    let all: BTreeSet<NodeId> = status.nodes.iter().map(|state| state.node).collect();
    let leader = status.leader;
    let voters = leader_of(status)
        .map_or_else(|| all.clone(), |report| report.voters.iter().copied().collect());
    let view = View { voters, all, leader, standing: Standing::default() };
    let act = |whos: &[Who], action| {
        let nodes = view.resolve_all(whos)?.into_iter().collect();
        Ok(Errand::Act { nodes, action })
    };
    let one = |who: Who| -> Result<NodeId, String> {
        let nodes = view.resolve_all(&[who])?;
        nodes.into_iter().next().ok_or_else(|| format!("nobody is {who}"))
    };
    match order {
        Order::Kill { nodes } => act(nodes, Action::Kill),
        Order::Restart { nodes } => act(nodes, Action::Restart),
        Order::Stop { nodes } => act(nodes, Action::Stop),
        Order::Start { nodes } => act(nodes, Action::Start),
        Order::Transfer { to } => {
            Ok(Errand::Transfer { from: leader, to: to.map(one).transpose()? })
        }
        Order::Add { learner } => Ok(Errand::Add { learner: *learner }),
        Order::Promote { node } => Ok(Errand::Promote { node: one(*node)? }),
        Order::Remove { node } => Ok(Errand::Remove { node: one(*node)? }),
        Order::Snapshot => Ok(Errand::Snapshot),
    }
}

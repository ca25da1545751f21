//! Drills: something goes wrong, nobody says what, and somebody has to mend it.
//!
//! # The problem
//!
//! Who repairs a store for the first time when it breaks for the first time does it at the worst
//! moment. A drill is that moment on a day of one's own choice: clients work, a fault begins that
//! is hidden from every status, and the clock runs until the cluster is whole again.
//!
//! # What is counted
//!
//! - *Until it was noticed*: until the operator says so, or does something.
//! - *Until it was mended*: until the fault is over and every node is ready.
//! - *What it cost*: writes that were refused or left in doubt, the longest silence; and writes
//!   that were acknowledged and are gone, which must be none: the history is judged.
//! - *Needless deeds*: whatever was done that mended nothing. Under pressure people restart things.

pub mod deeds;
pub mod exercise;

use std::io::Write;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use self::deeds::{Deed, deed};
use self::exercise::Exercise;
use super::nemesis::{Injury, heal_all_of};
use super::run::{Setup, Trial, TrialError};
use super::workload::Workload;
use crate::chaos::{Fault, FaultId, Injection, Who};
use crate::config::Address;
use crate::control::{ControlError, Event, State, SupervisorClient};
use crate::supervisor::launch::{self, Until};
use crate::types::{NodeId, Random};

/// Before a drill, the cluster must be well.
const PATIENCE: Duration = Duration::from_secs(10);
/// Who wants its faults.
const BY: &str = "a drill";
/// Between two looks.
const GLANCE: Duration = Duration::from_millis(100);
/// The fault itself outlives the drill's patience by this, in case nobody is left to end it.
const MARGIN: Duration = Duration::from_secs(30);

/// What to do, and to whom.
pub struct Plan {
    pub exercise: &'static Exercise,
    pub seed: u64,
    /// It goes wrong within this time.
    pub within: Duration,
    /// Then somebody has so long to mend it.
    pub patience: Duration,
    pub supervisor: Address,
    pub yes: bool,
    /// Where the history goes, besides.
    pub history: Option<Box<dyn Write>>,
}

/// A drill under way.
pub struct Drill {
    plan: Plan,
    trial: Trial,
    /// Until it does not answer.
    supervisor: Option<SupervisorClient>,
    fault: Fault,
    /// When it began, on the trial's tape.
    on_tape: u64,
    begun: Instant,
    /// The last event that was looked at.
    seen: u64,
    noticed: Option<Duration>,
    deeds: Vec<Deed>,
}

/// How it went. Times count from the moment at which it went wrong.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    pub exercise: &'static str,
    /// What happened.
    pub what: &'static str,
    /// As it was asked for.
    pub fault: String,
    pub lesson: &'static str,
    pub noticed_seconds: Option<f64>,
    /// `None`: it was not mended in time.
    pub mended_seconds: Option<f64>,
    pub deeds: Vec<Deed>,
    pub needless: usize,
}

impl Drill {
    /// Begins, and returns when it has gone wrong. Lives on a `LocalSet`.
    pub async fn begin(mut plan: Plan) -> Result<Drill, TrialError> {
        may_begin(&SupervisorClient::connect(&plan.supervisor).await?).await?;
        let trial = Trial::start(Setup {
            seed: plan.seed,
            workload: Workload { clients: 5, rate: 100, ..Workload::default() },
            faults: Vec::new(),
            supervisor: plan.supervisor.clone(),
            yes: plan.yes,
            history: plan.history.take(),
        })
        .await?;
        let mut random = Random::from_seed(plan.seed ^ u64::from_le_bytes(*b"a drill!"));
        let least = Duration::from_millis(100).min(plan.within);
        sleep(random.duration(least..plan.within + Duration::from_millis(1))).await;
        let ask = async |it: &SupervisorClient| Ok((it.status().await?, last_event(it).await?));
        let (supervisor, (status, before)) = persist(&plan.supervisor, ask).await?;
        let nodes = status.nodes.iter().filter(|node| node.state == State::Running);
        let followers: Vec<NodeId> =
            nodes.map(|node| node.node).filter(|node| Some(*node) != status.leader).collect();
        if followers.len() < 2 {
            let why = "a drill takes a leader and two followers at least";
            return Err(TrialError::NotNow(why.to_owned()));
        }
        let follower = followers[random.below(followers.len() as u64) as usize];
        let injection = Injection {
            wish: (plan.exercise.wish)(Who::Node(follower)),
            flap: None,
            duration_millis: Some((plan.patience + MARGIN).as_millis() as u64),
            by: BY.to_owned(),
            blind: true,
        };
        let (supervisor, fault) = match supervisor.inject(&injection, plan.yes).await {
            Ok(injected) => (supervisor, injected.fault),
            // It may have begun: its fault is written down before anything is done.
            Err(ControlError::Broken { .. } | ControlError::Timeout { .. }) => {
                let ask = async |it: &SupervisorClient| unanswered(it, before).await;
                let (supervisor, fault) = persist(&plan.supervisor, ask).await?;
                let why = || "the supervisor ended before anything went wrong".to_owned();
                (supervisor, fault.ok_or_else(|| TrialError::NotNow(why()))?)
            }
            Err(error) => return Err(error.into()),
        };
        let (begun, on_tape) = (Instant::now(), trial.elapsed().as_nanos() as u64);
        let seen = match began(&supervisor, before, fault.id).await {
            Ok(seen) => seen,
            // Something is wrong from here on: a drill does not end because its supervisor did.
            Err(_) => {
                let ask = async |it: &SupervisorClient| began(it, before, fault.id).await;
                persist(&plan.supervisor, ask).await?.1
            }
        };
        let (noticed, deeds) = (None, Vec::new());
        let supervisor = Some(supervisor);
        Ok(Drill { plan, trial, supervisor, fault, on_tape, begun, seen, noticed, deeds })
    }

    /// Somebody says that they have noticed.
    pub fn notice(&mut self) {
        self.noticed.get_or_insert(self.begun.elapsed());
    }

    /// Looks on until it is mended, or patience is over. True if it is mended. May be dropped at
    /// any time and called again. A supervisor that does not answer is asked again: whoever mends
    /// things may have started another.
    pub async fn watch(&mut self) -> bool {
        let end = self.begun + self.plan.patience;
        loop {
            match self.look().await {
                Ok(true) => return true,
                Ok(false) => {}
                Err(_) => self.supervisor = None,
            }
            if Instant::now() >= end {
                return false;
            }
            sleep_until((Instant::now() + GLANCE).min(end)).await;
        }
    }

    /// Notes what was done since the last look. Whether it is mended.
    async fn look(&mut self) -> Result<bool, ControlError> {
        let supervisor = match self.supervisor.take() {
            Some(supervisor) => supervisor,
            None => SupervisorClient::connect(&self.plan.supervisor).await?,
        };
        let over = supervisor.faults().await?.iter().all(|it| it.id != self.fault.id);
        let mended = over && supervisor.status().await?.ready;
        let events = supervisor.events(self.seen, 1000, Duration::ZERO).await?;
        self.supervisor = Some(supervisor);
        for event in &events {
            self.seen = self.seen.max(event.sequence);
            if let Some(deed) = deed(event, &self.fault, self.plan.exercise.remedy) {
                self.notice();
                self.deeds.push(deed);
            }
        }
        Ok(mended)
    }

    /// Ends it: what is still wrong is healed. The trial is to be finished and judged, with what
    /// went wrong.
    pub async fn end(self, mended: bool) -> (Score, Trial, Injury) {
        let took = self.begun.elapsed();
        // It may be over; and if it cannot be healed, it ends by itself.
        let _ = call_off(&self.plan.supervisor).await;
        let needless = self.deeds.iter().filter(|deed| !deed.helped).count();
        let Exercise { name, what, lesson, .. } = self.plan.exercise;
        let score = Score {
            exercise: name,
            what,
            fault: self.fault.to_string(),
            lesson,
            noticed_seconds: self.noticed.map(|time| time.as_secs_f64()),
            mended_seconds: mended.then_some(took.as_secs_f64()),
            deeds: self.deeds,
            needless,
        };
        let injury = Injury {
            kind: (*name).to_owned(),
            what: score.fault.clone(),
            id: Some(self.fault.id),
            begun: self.on_tape,
            ended: self.on_tape + took.as_nanos() as u64,
            refused: None,
        };
        (score, self.trial, injury)
    }
}

/// Ends whatever drills have begun, if anything.
pub async fn call_off(supervisor: &Address) -> Result<(), ControlError> {
    heal_all_of(supervisor, BY).await
}

/// Whether the cluster is well, as it must be before a drill.
///
/// # Errors
/// [`TrialError::NotNow`] says why it is not.
pub async fn may_begin(supervisor: &SupervisorClient) -> Result<(), TrialError> {
    let in_force = supervisor.faults().await?.len();
    if in_force > 0 {
        let why = format!("faults in force already: {in_force}; end them: kvctl chaos heal");
        return Err(TrialError::NotNow(why));
    }
    launch::wait(supervisor, Until::Ready, PATIENCE, |_| {})
        .await
        .map_err(|error| TrialError::NotNow(error.to_string()))?;
    Ok(())
}

/// Asks whatever supervisor there is, until one answers.
async fn persist<T>(
    address: &Address,
    ask: impl AsyncFn(&SupervisorClient) -> Result<T, ControlError>,
) -> Result<(SupervisorClient, T), ControlError> {
    let end = Instant::now() + PATIENCE;
    let once = async || {
        let supervisor = SupervisorClient::connect(address).await?;
        let answer = ask(&supervisor).await?;
        Ok((supervisor, answer))
    };
    loop {
        match once().await {
            Err(_) if Instant::now() < end => sleep(GLANCE).await,
            done => return done,
        }
    }
}

/// A drill's fault of which it is not known whether it began, if it did. Somebody may have ended it
/// since.
async fn unanswered(
    supervisor: &SupervisorClient,
    before: u64,
) -> Result<Option<Fault>, ControlError> {
    let in_force = supervisor.faults().await?;
    let ended = supervisor.events(before, 1000, Duration::ZERO).await?.into_iter();
    let ended = ended.filter(|event| event.kind == "fault-ended").filter_map(|event| event.fault);
    Ok(in_force.into_iter().chain(ended.map(|fault| *fault)).find(|fault| fault.by == BY))
}

/// The event that tells that a fault began: what its beginning left in the history up to then is
/// nobody's deed.
async fn began(
    supervisor: &SupervisorClient,
    before: u64,
    id: FaultId,
) -> Result<u64, ControlError> {
    let events = supervisor.events(before, 1000, Duration::ZERO).await?;
    let is_it = |event: &&Event| {
        event.kind == "fault-began" && event.fault.as_ref().is_some_and(|fault| fault.id == id)
    };
    Ok(events.iter().find(is_it).map_or(before, |event| event.sequence))
}

async fn last_event(supervisor: &SupervisorClient) -> Result<u64, ControlError> {
    let mut last = 0;
    loop {
        let events = supervisor.events(last, 1000, Duration::ZERO).await?;
        match events.last() {
            Some(event) => last = event.sequence,
            None => return Ok(last),
        }
    }
}

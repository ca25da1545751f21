//! The nemesis: injects faults at random, one round after the other, through the supervisor.
//!
//! Each fault ends by itself, in the nodes, when its time is over; nobody has to heal it. If this
//! process is killed in the middle, what it injected is gone a few seconds later. [`Nemesis::stop`]
//! ends at once what is in force, and only what this nemesis began.

pub mod plan;
pub mod table;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use self::plan::{Plan, Planned};
use super::tape::{Tape, Upset};
use crate::chaos::{Fault, FaultId, Injection, NodeFault, Wish};
use crate::config::Address;
use crate::control::{ControlError, SupervisorClient};

/// A fault that is refused now (nobody leads, and it aims at the leader) is tried again so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// A fault of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Injury {
    pub kind: String,
    /// What it was, in words.
    pub what: String,
    /// The supervisor's number for it. `None`: it was refused.
    pub id: Option<FaultId>,
    /// When it began, in nanoseconds on the tape; if it was refused, when that was.
    pub begun: u64,
    /// When it ended, or is to end.
    pub ended: u64,
    /// Why it was refused.
    pub refused: Option<String>,
}

/// Injects faults until it is stopped. Dropped, it begins no more.
pub struct Nemesis {
    shared: Rc<Shared>,
    stop: watch::Sender<bool>,
    /// Until it was stopped.
    task: Option<JoinHandle<()>>,
}

struct Shared {
    supervisor: Address,
    by: String,
    yes: bool,
    tape: Tape,
    stopped: watch::Receiver<bool>,
    injuries: RefCell<Vec<Injury>>,
    /// Clocks that are still wrong when it is time to stop.
    upsets: RefCell<Vec<Upset>>,
}

impl Nemesis {
    /// Begins. `by` says in every status who does this; `yes`: even to a protected cluster. Lives
    /// on a `LocalSet`.
    pub fn start(plan: Plan, supervisor: &Address, by: String, yes: bool, tape: &Tape) -> Nemesis {
        let (stop, stopped) = watch::channel(false);
        let shared = Rc::new(Shared {
            supervisor: supervisor.clone(),
            by,
            yes,
            tape: tape.clone(),
            stopped,
            injuries: RefCell::default(),
            upsets: RefCell::default(),
        });
        let task = Some(tokio::task::spawn_local(shared.clone().run(plan)));
        Nemesis { shared, stop, task }
    }

    /// What was injected so far.
    pub fn injuries(&self) -> Vec<Injury> {
        self.shared.injuries.borrow().clone()
    }

    /// How many faults were injected so far, and what is in force now.
    pub fn in_force(&self) -> (usize, Vec<String>) {
        let now = self.shared.tape.now();
        let injuries = self.shared.injuries.borrow();
        let done = injuries.iter().filter(|injury| injury.refused.is_none());
        let now = done.clone().filter(|injury| injury.ended > now);
        (done.count(), now.map(|injury| injury.what.clone()).collect())
    }

    /// Begins no more, and ends what is in force. The error says what could not be healed: it ends
    /// by itself.
    pub async fn stop(&mut self) -> Result<(), ControlError> {
        self.stop.send_replace(true);
        // An order that is on its way is waited for: else it might be carried out after all this.
        if let Some(task) = self.task.take() {
            let _ = task.await;
        }
        heal_all_of(&self.shared.supervisor, &self.shared.by).await?;
        self.shared.upsets.borrow_mut().clear();
        let now = self.shared.tape.now();
        for injury in &mut *self.shared.injuries.borrow_mut() {
            injury.ended = injury.ended.min(now.max(injury.begun));
        }
        Ok(())
    }
}

impl Drop for Nemesis {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl Shared {
    async fn run(self: Rc<Self>, plan: Plan) {
        for round in plan {
            if !self.sleep(round.calm).await {
                return;
            }
            join_all(round.faults.iter().map(|planned| self.strike(planned))).await;
        }
    }

    /// False if it is time to stop.
    async fn sleep(&self, time: Duration) -> bool {
        let mut stopped = self.stopped.clone();
        tokio::select! {
            biased;
            _ = stopped.wait_for(|stopped| *stopped) => false,
            () = sleep(time) => true,
        }
    }

    /// One fault, from its beginning to its end.
    async fn strike(&self, planned: &Planned) {
        if !self.sleep(planned.after).await {
            return;
        }
        let end = Instant::now() + PATIENCE;
        let is_clock = matches!(&planned.wish, Wish::Node { fault: NodeFault::Clock(_), .. });
        let upset = is_clock.then(|| self.tape.upset());
        let injury = loop {
            match self.inject(planned).await {
                Ok(fault) => break self.injury(planned, &fault),
                Err(ControlError::Refused(_)) if Instant::now() < end => {
                    if !self.sleep(PAUSE).await {
                        return;
                    }
                }
                Err(error) => break self.refused(planned, error),
            }
        };
        let left = Duration::from_nanos(injury.ended.saturating_sub(self.tape.now()));
        // It may be in force all the same if nobody heard the answer.
        let is_unheard = injury.id.is_none();
        self.injuries.borrow_mut().push(injury);
        if !self.sleep(left).await || is_unheard {
            // It goes on until all is healed.
            self.upsets.borrow_mut().extend(upset);
        }
    }

    fn injury(&self, planned: &Planned, fault: &Fault) -> Injury {
        let on_tape = |unix: u64| unix.saturating_sub(self.tape.began_unix_millis()) * 1_000_000;
        let ends = planned.lasts.as_millis() as u64 + fault.since_millis;
        Injury {
            kind: planned.kind.to_owned(),
            what: fault.to_string(),
            id: Some(fault.id),
            begun: on_tape(fault.since_millis),
            ended: on_tape(fault.until_millis.unwrap_or(ends)),
            refused: None,
        }
    }

    fn refused(&self, planned: &Planned, error: ControlError) -> Injury {
        let now = self.tape.now();
        Injury {
            kind: planned.kind.to_owned(),
            what: planned.wish.to_string(),
            id: None,
            begun: now,
            ended: now,
            refused: Some(error.to_string()),
        }
    }

    /// A conversation of its own each time: the supervisor may have been started again meanwhile.
    async fn inject(&self, planned: &Planned) -> Result<Fault, ControlError> {
        let supervisor = SupervisorClient::connect(&self.supervisor).await?;
        let injection = Injection {
            wish: planned.wish.clone(),
            flap: None,
            duration_millis: Some(planned.lasts.as_millis() as u64),
            by: self.by.clone(),
            blind: false,
        };
        Ok(supervisor.inject(&injection, self.yes).await?.fault)
    }
}

/// Ends what is in force and was asked for by this one: all of it, though an answer was lost.
pub async fn heal_all_of(supervisor: &Address, by: &str) -> Result<(), ControlError> {
    let supervisor = SupervisorClient::connect(supervisor).await?;
    let faults = supervisor.faults().await?;
    for fault in faults.iter().filter(|fault| fault.by == by) {
        match supervisor.heal(&[fault.id]).await {
            // It is over by itself meanwhile.
            Ok(_) | Err(ControlError::Refused(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

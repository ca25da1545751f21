//! Asks the supervisor for all that is shown, beside the screen: it goes on while no answer comes.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::chaos::Fault;
use crate::cli::failure::Failure;
use crate::cli::{Global, reach};
use crate::control::{ClusterStatus, ControlError, Event, SupervisorClient};
use crate::supervisor::launch::{self, Start};

/// Between two looks at the cluster.
pub const PACE: Duration = Duration::from_millis(250);

/// Between two tries to find a supervisor.
const RETRY: Duration = Duration::from_secs(1);

/// Events asked for at once.
const EVENTS: u32 = 200;

/// What came of asking.
pub enum Heard {
    All {
        status: Box<ClusterStatus>,
        faults: Vec<Fault>,
        events: Vec<Event>,
    },
    /// And why.
    Nothing(String),
}

/// Asks from now on, until nobody wants to hear it.
pub fn begin(global: Global, supervisor: SupervisorClient) -> mpsc::Receiver<Heard> {
    // The screen is drawn far more often: what waits here is at most one answer.
    let (sender, receiver) = mpsc::channel(1);
    tokio::task::spawn_local(async move {
        let mut supervisor = Some(supervisor);
        let mut last = 0;
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            pace.tick().await;
            let heard = match look(&global, &mut supervisor, last).await {
                Ok(heard) => heard,
                Err(why) => {
                    supervisor = None;
                    Heard::Nothing(why)
                }
            };
            if let Heard::All { events, .. } = &heard {
                last = events.last().map_or(last, |event| event.sequence);
            }
            if sender.send(heard).await.is_err() {
                return;
            }
            if supervisor.is_none() {
                sleep(RETRY).await;
            }
        }
    });
    receiver
}

async fn look(
    global: &Global,
    supervisor: &mut Option<SupervisorClient>,
    last: u64,
) -> Result<Heard, String> {
    let known = match supervisor.take() {
        Some(known) => known,
        // Like any other command, it starts a new one if the old one died.
        None => find(global).await.map_err(|failure| failure.message)?,
    };
    let heard = ask(supervisor.insert(known), last).await;
    heard.map_err(|error| error.to_string())
}

async fn find(global: &Global) -> Result<SupervisorClient, Failure> {
    let directory = reach::directory(global)?;
    let found = launch::connect_or_adopt(&directory, &Start::default()).await;
    found.map(|(supervisor, _)| supervisor).map_err(Failure::from)
}

async fn ask(supervisor: &SupervisorClient, last: u64) -> Result<Heard, ControlError> {
    let status = Box::new(supervisor.status().await?);
    let faults = supervisor.faults().await?;
    let events = supervisor.events(last, EVENTS, Duration::ZERO).await?;
    Ok(Heard::All { status, faults, events })
}

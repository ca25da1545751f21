//! Who led, and when: as the supervisor sees it, looked at ten times a second.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::tape::Tape;
use crate::config::Address;
use crate::control::{ControlError, SupervisorClient};
use crate::types::NodeId;

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(100);

/// From a moment on, this node led, or nobody did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Leadership {
    /// Nanoseconds on the tape.
    pub since: u64,
    pub leader: Option<NodeId>,
    pub term: u64,
}

/// Looks on until it is dropped.
pub struct Watch {
    seen: Rc<RefCell<Vec<Leadership>>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Begins. Lives on a `LocalSet`.
    pub fn start(supervisor: &Address, tape: &Tape) -> Watch {
        let seen = Rc::new(RefCell::new(Vec::new()));
        let task = tokio::task::spawn_local(look(supervisor.clone(), tape.clone(), seen.clone()));
        Watch { seen, task }
    }

    /// Every change that was seen so far.
    pub fn seen(&self) -> Vec<Leadership> {
        self.seen.borrow().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn look(address: Address, tape: Tape, seen: Rc<RefCell<Vec<Leadership>>>) {
    loop {
        // A supervisor that does not answer is asked again: this is a spectator.
        let _: Result<(), ControlError> = follow(&address, &tape, &seen).await;
        sleep(GLANCE).await;
    }
}

async fn follow(
    address: &Address,
    tape: &Tape,
    seen: &RefCell<Vec<Leadership>>,
) -> Result<(), ControlError> {
    let supervisor = SupervisorClient::connect(address).await?;
    loop {
        let status = supervisor.status().await?;
        let now = Leadership { since: tape.now(), leader: status.leader, term: status.term.0 };
        let is_new = |last: &Leadership| (last.leader, last.term) != (now.leader, now.term);
        if seen.borrow().last().is_none_or(is_new) {
            seen.borrow_mut().push(now);
        }
        sleep(GLANCE).await;
    }
}

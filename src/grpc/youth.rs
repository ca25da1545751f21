//! The first moments of a node, in which its cluster may not yet be all that it can be.
//!
//! # The problem
//! A new cluster begins with the oldest state machine, and raises it as its members hear of each
//! other, within a second. Whoever calls in between would hear "not capable" of what works a moment
//! later.
//!
//! # The rule
//! For so long after its start, a node lets a call wait until the state machine is the newest that
//! this program knows. After that nobody waits any more: some member is of an older program.
//!
//! Right after that the members tell their names, and who asks for them waits for these, too.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::backend::Backend;
use crate::kv::version::LATEST_VERSION;

const YOUTH: Duration = Duration::from_secs(5);

/// Between two looks.
const GLANCE: Duration = Duration::from_millis(20);

/// See the [module](self). One for all connections of a node.
pub struct Youth {
    began: Instant,
    is_over: Cell<bool>,
}

impl Youth {
    pub fn begin() -> Youth {
        Youth { began: Instant::now(), is_over: Cell::new(false) }
    }

    /// Waits until it is over.
    pub async fn over(&self, backend: &dyn Backend) {
        while !self.is_over.get() {
            // One that repairs its log will answer nobody soon.
            let Some(state) = backend.state() else { return };
            if state.version() >= LATEST_VERSION || self.began.elapsed() >= YOUTH {
                self.is_over.set(true);
            } else {
                sleep(GLANCE).await;
            }
        }
    }

    /// Waits, while it is young, until all members have said what they are called. One that was
    /// added and never started says nothing; so this is for who asks for the list of them.
    pub async fn introductions(&self, backend: &dyn Backend) {
        while self.began.elapsed() < YOUTH {
            let Some(state) = backend.state() else { return };
            let members = backend.status().consensus.configuration.members();
            if members.iter().all(|id| state.roster().member(*id).is_some()) {
                return;
            }
            sleep(GLANCE).await;
        }
    }
}

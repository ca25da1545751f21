//! The wish that the node stops, from whoever has it.

use std::cell::Cell;
use std::sync::Arc;

use tokio::sync::Notify;

/// Asked for by a signal or an operator, noticed by the event loop.
#[derive(Debug)]
pub struct Stop {
    asked: Cell<bool>,
    taken: Cell<bool>,
    took: Notify,
    /// Rings for the event loop.
    bell: Arc<Notify>,
}

impl Stop {
    /// Nobody has asked yet.
    pub fn new(bell: Arc<Notify>) -> Stop {
        Stop { asked: Cell::new(false), taken: Cell::new(false), took: Notify::new(), bell }
    }

    /// Asks the node to stop.
    pub fn ask(&self, who: &str) {
        if !self.asked.replace(true) {
            tracing::info!("stopping: {who} asked for it");
        }
        self.bell.notify_one();
    }

    /// Whether anybody has asked.
    pub fn is_asked(&self) -> bool {
        self.asked.get()
    }

    /// From now on no new request is taken.
    pub fn take(&self) {
        self.taken.set(true);
        self.took.notify_waiters();
    }

    /// Waits until no new request is taken.
    pub async fn taken(&self) {
        while !self.taken.get() {
            self.took.notified().await;
        }
    }
}

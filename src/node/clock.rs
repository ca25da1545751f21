//! The node's clock: the one place where the layers below get their time from.

use std::time::Duration;

use crate::types::Instant;

/// A monotonic clock that starts at one second, so that moments before its origin can be named.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: tokio::time::Instant,
}

const HEAD_START: Duration = Duration::from_secs(1);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        Clock { origin: tokio::time::Instant::now() }
    }

    /// Now, in the words of the deterministic layers.
    pub fn now(&self) -> Instant {
        Instant(self.origin.elapsed() + HEAD_START)
    }

    /// When `instant` will be, in tokio's words.
    pub fn at(&self, instant: Instant) -> tokio::time::Instant {
        self.origin + instant.0.saturating_sub(HEAD_START)
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.origin.elapsed()
    }
}

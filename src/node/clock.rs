//! The node's clock: the one place where the layers below get their time from, and where it can be
//! made wrong on purpose.
//!
//! Two times are told apart. The *node's* time is what consensus sees: elections, heartbeats and
//! leases are counted in it. The *true* time is that of what lies outside the node, such as the
//! links: a node whose clock stands still still receives what is on its way.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use crate::chaos;
use crate::types::Instant;

/// A monotonic clock that starts at one second, so that moments before its origin can be named.
/// All clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock {
    origin: tokio::time::Instant,
    /// From true time to the node's.
    shown: Rc<Cell<chaos::Clock>>,
}

const HEAD_START: Duration = Duration::from_secs(1);

impl Clock {
    /// A clock that starts now, and is right.
    pub fn start() -> Clock {
        let start = Instant(HEAD_START);
        let shown = Rc::new(Cell::new(chaos::Clock::new(start, start)));
        Clock { origin: tokio::time::Instant::now(), shown }
    }

    /// The node's time, in the words of the deterministic layers.
    pub fn now(&self) -> Instant {
        self.shown.get().local(self.true_now())
    }

    /// When the node's time will be `instant`, in tokio's words.
    pub fn at(&self, instant: Instant) -> tokio::time::Instant {
        self.truly_at(self.shown.get().world(instant))
    }

    /// The true time.
    pub fn true_now(&self) -> Instant {
        Instant(self.uptime() + HEAD_START)
    }

    /// When the true time will be `instant`, in tokio's words.
    pub fn truly_at(&self, instant: Instant) -> tokio::time::Instant {
        self.origin + instant.0.saturating_sub(HEAD_START)
    }

    /// True time since the start.
    pub fn uptime(&self) -> Duration {
        self.origin.elapsed()
    }

    /// Makes it run at `rate`, and jump by so many milliseconds, ahead or back. `set_back`: if it
    /// stands still because it was set back, it may.
    pub fn disturb(&self, rate: f64, jumps: &[i64], set_back: bool) {
        let now = self.true_now();
        let mut shown = self.shown.get();
        if !set_back {
            shown.go_on(now);
        }
        shown.set_rate(now, rate);
        for jump in jumps {
            let by = Duration::from_millis(jump.unsigned_abs());
            match *jump > 0 {
                true => shown.jump(now, by),
                false => shown.set_back(now, by),
            }
        }
        self.shown.set(shown);
    }
}

/// Time since some moment that does not change, for measuring.
pub fn time_passed() -> Duration {
    static ORIGIN: LazyLock<std::time::Instant> = LazyLock::new(std::time::Instant::now);
    ORIGIN.elapsed()
}

//! One node's clock: it began somewhere, runs at its own rate, and may jump.

use std::time::Duration;

use crate::types::Instant;

/// Turns the world's time into a node's and back. A clock never goes backwards: it stands for
/// `CLOCK_BOOTTIME`, which jumps ahead when a machine was suspended.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The two moments from which it has been running at this rate.
    world: Instant,
    local: Instant,
    rate: f64,
}

impl Clock {
    /// A clock that shows `local` when the world's shows `world`.
    pub fn new(world: Instant, local: Instant) -> Clock {
        Clock { world, local, rate: 1.0 }
    }

    /// What it shows.
    pub fn local(&self, world: Instant) -> Instant {
        let passed = world.since(self.world);
        let passed = if self.rate == 1.0 { passed } else { passed.mul_f64(self.rate) };
        self.local + passed
    }

    /// When it will show `local`, or has.
    pub fn world(&self, local: Instant) -> Instant {
        let left = local.since(self.local);
        if self.rate == 1.0 {
            return self.world + left;
        }
        // A nanosecond more, so that rounding never lets a deadline come too early for ever.
        self.world + left.div_f64(self.rate) + Duration::from_nanos(1)
    }

    /// From now on it runs at this rate.
    pub fn set_rate(&mut self, world: Instant, rate: f64) {
        *self = Clock { world, local: self.local(world), rate };
    }

    /// It jumps ahead.
    pub fn jump(&mut self, world: Instant, by: Duration) {
        *self = Clock { world, local: self.local(world) + by, rate: self.rate };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_on_a_clock_comes_when_the_clock_shows_it() {
        let mut clock = Clock::new(Instant::from_millis(10), Instant::from_millis(500));
        for (at, rate) in [(10, 1.0), (20, 0.37), (90, 3.1), (100, 1.0)] {
            let now = Instant::from_millis(at);
            let before = clock.local(now);
            clock.set_rate(now, rate);
            assert!(clock.local(now).since(before) < Duration::from_micros(1));
            let deadline = before + Duration::from_micros(12_345);
            assert!(clock.local(clock.world(deadline)) >= deadline, "rate {rate}");
        }
        let now = Instant::from_millis(200);
        let before = clock.local(now);
        clock.jump(now, Duration::from_secs(1));
        assert_eq!(clock.local(now), before + Duration::from_secs(1));
    }
}

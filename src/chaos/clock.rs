//! One node's clock: it began somewhere, runs at its own rate, may jump, and may stand still.
//!
//! # Why it never goes backwards
//!
//! A node's time is monotonic time, which has no calendar: it can run fast or slow, and jump ahead
//! (`CLOCK_BOOTTIME` does when a machine was suspended), but the kernel never takes it back. So a
//! clock that is *set back* stands still until what it showed has come true. For Raft that is the
//! dangerous half of it anyway: whoever's clock stands still believes that its lease still holds.

use std::time::Duration;

use crate::types::Instant;

/// How long a moment that a stopped clock will never show lies ahead, at least.
const NEVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Turns the world's time into a node's and back.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// The two moments from which it has been running at this rate. The world's may lie ahead:
    /// until then it stands still.
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
        if self.rate * NEVER.as_secs_f64() < left.as_secs_f64() {
            return self.world + NEVER;
        }
        // A nanosecond more, so that rounding never lets a deadline come too early for ever.
        self.world + left.div_f64(self.rate) + Duration::from_nanos(1)
    }

    /// From now on it runs at this rate; 0: it stands still.
    pub fn set_rate(&mut self, world: Instant, rate: f64) {
        let local = self.local(world);
        *self = Clock { world: self.world.max(world), local, rate };
    }

    /// It jumps ahead.
    pub fn jump(&mut self, world: Instant, by: Duration) {
        let local = self.local(world) + by;
        *self = Clock { world: self.world.max(world), local, rate: self.rate };
    }

    /// It is set back: it stands still for so long.
    pub fn set_back(&mut self, world: Instant, by: Duration) {
        let local = self.local(world);
        *self = Clock { world: self.world.max(world) + by, local, rate: self.rate };
    }

    /// If it stands still because it was set back, it goes on.
    pub fn go_on(&mut self, world: Instant) {
        *self = Clock { world, local: self.local(world), rate: self.rate };
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

    #[test]
    fn a_clock_that_is_set_back_stands_still_and_never_goes_back() {
        let at = Instant::from_millis;
        let mut clock = Clock::new(at(0), at(1000));
        clock.set_back(at(10), Duration::from_millis(50));
        clock.set_rate(at(20), 2.0);
        assert_eq!(clock.local(at(10)), at(1010));
        assert_eq!(clock.local(at(60)), at(1010));
        assert_eq!(clock.local(at(65)), at(1020));
        clock.set_back(at(65), Duration::from_millis(50));
        clock.go_on(at(70));
        assert_eq!(clock.local(at(80)), at(1040));
    }

    #[test]
    fn a_clock_that_stands_still_never_shows_later_moments() {
        let mut clock = Clock::new(Instant::from_millis(0), Instant::from_millis(0));
        clock.set_rate(Instant::from_millis(5), 0.0);
        assert_eq!(clock.local(Instant::from_millis(5000)), Instant::from_millis(5));
        assert!(clock.world(Instant::from_millis(6)) >= Instant(NEVER));
        clock.set_rate(Instant::from_millis(5000), 1.0);
        assert_eq!(clock.world(Instant::from_millis(6)), Instant::from_millis(5001));
    }
}

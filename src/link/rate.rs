//! Rate: so many bytes per second get through, and the rest waits its turn.
//!
//! The line carries one message after another; a message has been sent when its last byte has. A
//! message of [`Class::Control`] has the right of way: it waits only for control messages before
//! it, and pushes back the bulk that comes later by the time it takes. The alternative, one line
//! for all, turns every slow link into a dead one: a heartbeat that waits behind seconds of entries
//! arrives after the follower has called an election, whose winner has the same slow links.
//!
//! Bulk that was handed in before is not pushed back, so for a moment the link may carry a control
//! message more than its rate; on average it keeps it.

use std::time::Duration;

use super::{Class, Policy};
use crate::types::Instant;

/// Until when the line is taken.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    control_until: Instant,
    bulk_until: Instant,
}

impl Rate {
    /// When the last byte of a message that is handed in now will have been sent.
    pub fn sent_at(&mut self, policy: &Policy, class: Class, size: usize, now: Instant) -> Instant {
        let Some(rate) = policy.rate else { return now };
        let takes = time_for(size, rate);
        self.bulk_until = self.bulk_until.max(now) + takes;
        match class {
            Class::Bulk => self.bulk_until,
            Class::Control => {
                self.control_until = self.control_until.max(now) + takes;
                self.control_until
            }
        }
    }
}

/// How long `size` bytes take at `rate` bytes per second, rounded up to the nanosecond.
fn time_for(size: usize, rate: u64) -> Duration {
    const SECOND: u128 = 1_000_000_000;
    let nanos = (size as u128 * SECOND).div_ceil(u128::from(rate.max(1)));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILOBYTE_PER_SECOND: Policy = Policy {
        rate: Some(1000),
        cut: false,
        stall: false,
        loss_burst: 0.0,
        loss: 0.0,
        duplicate: 0.0,
        delay: Duration::ZERO,
        jitter: Duration::ZERO,
        distribution: super::super::Distribution::Uniform,
        reorder: 0.0,
        reorder_hold: Duration::ZERO,
    };

    #[test]
    fn messages_wait_for_those_before_them() {
        let mut rate = Rate::default();
        let start = Instant::from_millis(5000);
        let mut sent = |size, after| {
            let now = start + Duration::from_millis(after);
            rate.sent_at(&KILOBYTE_PER_SECOND, Class::Bulk, size, now).since(start).as_millis()
        };
        assert_eq!(sent(100, 0), 100);
        assert_eq!(sent(100, 0), 200);
        assert_eq!(sent(50, 150), 250);
        // The line was idle for a while; that is not saved up.
        assert_eq!(sent(100, 1000), 1100);
    }

    #[test]
    fn control_goes_first_and_takes_its_share() {
        let mut rate = Rate::default();
        let now = Instant::from_millis(5000);
        let mut sent = |class, size| {
            rate.sent_at(&KILOBYTE_PER_SECOND, class, size, now).since(now).as_millis()
        };
        assert_eq!(sent(Class::Bulk, 10_000), 10_000);
        assert_eq!(sent(Class::Control, 10), 10);
        assert_eq!(sent(Class::Control, 10), 20);
        assert_eq!(sent(Class::Bulk, 100), 10_120);
    }

    #[test]
    fn without_a_rate_nothing_waits_and_absurd_ones_do_not_overflow() {
        let now = Instant::from_millis(1);
        let sent = Rate::default().sent_at(&Policy::default(), Class::Bulk, usize::MAX, now);
        assert_eq!(sent, now);
        let slowest = Policy { rate: Some(1), ..Policy::default() };
        let mut rate = Rate::default();
        rate.sent_at(&slowest, Class::Bulk, usize::MAX, now);
        assert!(rate.sent_at(&slowest, Class::Bulk, usize::MAX, now) > now);
    }
}

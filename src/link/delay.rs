//! Delay: a message is on its way for a while, and not always for the same.
//!
//! Only integer arithmetic and additions of fractions are used, no logarithm and no cosine: those
//! differ in their last digit between machines, and a seed must give the same run everywhere.

use std::time::Duration;

use super::{Distribution, Policy};
use crate::types::Random;

/// Draws how long each is on its way.
#[derive(Clone, Debug)]
pub struct Delay {
    random: Random,
}

impl Delay {
    pub fn new(random: Random) -> Delay {
        Delay { random }
    }

    /// How long the message at hand is on its way.
    pub fn draw(&mut self, policy: &Policy) -> Duration {
        if policy.jitter.is_zero() {
            return policy.delay;
        }
        let jitter = policy.jitter.as_micros() as u64;
        let offset = match policy.distribution {
            Distribution::Uniform => self.random.below(2 * jitter + 1) as i64 - jitter as i64,
            Distribution::Normal => (self.bell() * jitter as f64) as i64,
            Distribution::LongTail => self.tail(jitter),
        };
        let micros = (policy.delay.as_micros() as i64).saturating_add(offset).max(0);
        Duration::from_micros(micros as u64)
    }

    /// About normal, with mean 0 and deviation 1: the sum of twelve uniform numbers (Irwin–Hall).
    fn bell(&mut self) -> f64 {
        const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
        (0..12).map(|_| (self.random.bits() >> 11) as f64 * UNIT).sum::<f64>() - 6.0
    }

    /// In octave k, from 2ᵏ−1 to 2ᵏ⁺¹−1 jitters, with probability 2⁻ᵏ⁻¹; uniform within it.
    fn tail(&mut self, jitter: u64) -> i64 {
        const LAST_OCTAVE: u32 = 6;
        let octave = self.random.bits().trailing_ones().min(LAST_OCTAVE);
        let width = jitter << octave;
        (width - jitter + self.random.below(width)) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten thousand delays in microseconds, ascending: about 100 ms, jitter 10 ms.
    fn delays(distribution: Distribution) -> Vec<u64> {
        let mut fault = Delay::new(Random::from_seed(3));
        let (delay, jitter) = (Duration::from_millis(100), Duration::from_millis(10));
        let policy = Policy { delay, jitter, distribution, ..Policy::default() };
        let mut delays: Vec<_> =
            (0..10_000).map(|_| fault.draw(&policy).as_micros() as u64).collect();
        delays.sort_unstable();
        delays
    }

    #[test]
    fn without_jitter_all_delays_are_the_same() {
        let mut fault = Delay::new(Random::from_seed(3));
        let policy = Policy { delay: Duration::from_millis(7), ..Policy::default() };
        assert!((0..100).all(|_| fault.draw(&policy) == policy.delay));
        assert_eq!(fault.draw(&Policy::default()), Duration::ZERO);
    }

    #[test]
    fn uniform_fills_its_range_evenly() {
        let delays = delays(Distribution::Uniform);
        assert!(delays[0] >= 90_000 && delays[9999] <= 110_000);
        for tenth in 0..10 {
            let found = delays[tenth * 1000 + 500];
            let wanted = 91_000 + 2000 * tenth as u64;
            assert!(found.abs_diff(wanted) < 400, "tenth {tenth}: {found}, not {wanted}");
        }
    }

    #[test]
    fn normal_has_two_thirds_within_one_deviation() {
        let delays = delays(Distribution::Normal);
        let within =
            |micros: u64| delays.iter().filter(|delay| delay.abs_diff(100_000) <= micros).count();
        assert!((6640..=7010).contains(&within(10_000)), "{}", within(10_000));
        assert!((9450..=9640).contains(&within(20_000)), "{}", within(20_000));
        assert!(within(60_000) == 10_000);
    }

    #[test]
    fn each_doubling_of_the_tail_is_half_as_likely() {
        let delays = delays(Distribution::LongTail);
        assert!(delays[0] >= 100_000 && delays[9999] < 100_000 + 127 * 10_000);
        for (octave, wanted) in [(0u32, 10_000), (1, 5000), (2, 2500), (3, 1250), (6, 156)] {
            let from = 100_000 + ((1 << octave) - 1) * 10_000;
            let beyond = delays.iter().filter(|delay| **delay >= from).count() as i64;
            assert!((beyond - wanted).abs() <= 200, "octave {octave}: {beyond}, not {wanted}");
        }
        assert!(delays[9999] > 100_000 + 63 * 10_000, "the last octave was reached");
    }

    #[test]
    fn no_message_arrives_before_it_is_sent() {
        let mut fault = Delay::new(Random::from_seed(3));
        let jitter = Duration::from_millis(10);
        for distribution in [Distribution::Uniform, Distribution::Normal] {
            let policy = Policy { jitter, distribution, ..Policy::default() };
            let delays: Vec<_> = (0..1000).map(|_| fault.draw(&policy)).collect();
            let at_once = delays.iter().filter(|delay| delay.is_zero()).count();
            assert!((400..600).contains(&at_once), "{at_once}");
        }
    }
}

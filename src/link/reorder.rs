//! Reorder: a message is held back for a while, and those behind it overtake.
//!
//! Delay and jitter alone never change the order, because the sockets below do not; so this is the
//! fault to name when a receiver is to see the newer before the older. It needs no delay to work.

use std::time::Duration;

use super::Policy;
use crate::types::Random;

/// Draws who is held back.
#[derive(Clone, Debug)]
pub struct Reorder {
    random: Random,
}

impl Reorder {
    pub fn new(random: Random) -> Reorder {
        Reorder { random }
    }

    /// For how long the message at hand is held back, if it is.
    pub fn holds_back(&mut self, policy: &Policy) -> Option<Duration> {
        self.random.chance(policy.reorder).then_some(policy.reorder_hold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_are_held_back_as_the_probability_says_and_for_that_long() {
        let mut fault = Reorder::new(Random::from_seed(4));
        let hold = Duration::from_millis(20);
        let policy = Policy { reorder: 0.25, reorder_hold: hold, ..Policy::default() };
        let held: Vec<_> = (0..10_000).filter_map(|_| fault.holds_back(&policy)).collect();
        assert!((2327..=2673).contains(&held.len()), "{}", held.len());
        assert!(held.iter().all(|held| *held == hold));
    }
}

//! Loss: each message is lost with a fixed probability, independently of the others.
//!
//! A stream socket loses no single message, so without this fault nothing would show whether the
//! protocol above repeats what it must. Losing replies matters as much as losing requests: give the
//! link back the same policy.

use super::Policy;
use crate::types::Random;

/// Draws who is lost.
#[derive(Clone, Debug)]
pub struct Loss {
    random: Random,
}

impl Loss {
    pub fn new(random: Random) -> Loss {
        Loss { random }
    }

    /// Whether the message at hand is lost.
    pub fn loses(&mut self, policy: &Policy) -> bool {
        self.random.chance(policy.loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(loss: f64) -> usize {
        let mut fault = Loss::new(Random::from_seed(1));
        let policy = Policy { loss, ..Policy::default() };
        (0..10_000).filter(|_| fault.loses(&policy)).count()
    }

    #[test]
    fn as_many_are_lost_as_the_probability_says() {
        assert_eq!(lost(0.0), 0);
        assert_eq!(lost(1.0), 10_000);
        // Four standard deviations about the mean.
        assert!((2826..=3184).contains(&lost(0.3)), "{}", lost(0.3));
    }
}

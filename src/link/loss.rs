//! Loss: each message is lost with a fixed probability, independently of the others or in bursts.
//!
//! Bursts are those of Gilbert's model: the line is good or bad, and every message that meets it
//! bad is lost. It stays bad for so many messages on average, and turns bad as often as makes the
//! share of all that are lost the same as without bursts.
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
    /// Within a burst.
    bad: bool,
}

impl Loss {
    pub fn new(random: Random) -> Loss {
        Loss { random, bad: false }
    }

    /// Whether the message at hand is lost.
    pub fn loses(&mut self, policy: &Policy) -> bool {
        let Policy { loss, loss_burst, .. } = *policy;
        if loss_burst <= 1.0 || loss >= 1.0 {
            return self.random.chance(loss);
        }
        let turns = if self.bad { 1.0 / loss_burst } else { loss / ((1.0 - loss) * loss_burst) };
        self.bad ^= self.random.chance(turns.min(1.0));
        self.bad
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
    fn bursts_lose_as_many_and_more_in_a_row() {
        let mut fault = Loss::new(Random::from_seed(1));
        let policy = Policy { loss: 0.2, loss_burst: 10.0, ..Policy::default() };
        let lost: Vec<bool> = (0..100_000).map(|_| fault.loses(&policy)).collect();
        let count = lost.iter().filter(|lost| **lost).count();
        assert!((18_500..=21_500).contains(&count), "{count}");
        let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        let length = count as f64 / bursts as f64;
        assert!((9.0..=11.0).contains(&length), "{length}");
    }

    #[test]
    fn as_many_are_lost_as_the_probability_says() {
        assert_eq!(lost(0.0), 0);
        assert_eq!(lost(1.0), 10_000);
        // Four standard deviations about the mean.
        assert!((2826..=3184).contains(&lost(0.3)), "{}", lost(0.3));
    }
}

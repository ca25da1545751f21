//! Duplicate: a message arrives twice.
//!
//! The copy is a message like any other behind this point: it takes its share of the rate, has a
//! delay of its own, and follows the first in order unless reordering holds one of them back. It is
//! not duplicated again.
//!
//! What must not happen twice has to be recognised by its receiver: consensus messages carry terms
//! and indexes and stand it by design; a relayed request needs its ticket looked at.

use super::Policy;
use crate::types::Random;

/// Draws who arrives twice.
#[derive(Clone, Debug)]
pub struct Duplicate {
    random: Random,
}

impl Duplicate {
    pub fn new(random: Random) -> Duplicate {
        Duplicate { random }
    }

    /// Whether the message at hand arrives twice.
    pub fn doubles(&mut self, policy: &Policy) -> bool {
        self.random.chance(policy.duplicate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_arrive_twice_as_the_probability_says() {
        let doubled = |duplicate| {
            let mut fault = Duplicate::new(Random::from_seed(2));
            let policy = Policy { duplicate, ..Policy::default() };
            (0..10_000).filter(|_| fault.doubles(&policy)).count()
        };
        assert_eq!(doubled(0.0), 0);
        assert_eq!(doubled(1.0), 10_000);
        assert!((400..=600).contains(&doubled(0.05)), "{}", doubled(0.05));
    }
}

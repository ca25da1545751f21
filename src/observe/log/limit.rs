//! Each place in the code may say so much, and no more.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;

/// Lines that a place may say at once.
pub const BURST: u32 = 20;

/// And one more after each such time.
pub const REFILL: Duration = Duration::from_millis(200);

/// A bucket of tokens for each place. There are as many places as the program has, so that it
/// cannot grow.
#[derive(Debug, Default)]
pub struct Limit {
    places: Mutex<HashMap<Identifier, Place>>,
}

#[derive(Debug)]
struct Place {
    /// When its bucket will be full again.
    full_at: Instant,
    held_back: u64,
}

impl Limit {
    /// Whether `place` may speak at `now`; if so, how many of its lines were held back before.
    pub fn speak(&self, place: Identifier, now: Instant) -> Option<u64> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let place = places.entry(place).or_insert(Place { full_at: now, held_back: 0 });
        let full_at = place.full_at.max(now) + REFILL;
        if full_at > now + REFILL * BURST {
            place.held_back += 1;
            return None;
        }
        place.full_at = full_at;
        Some(std::mem::take(&mut place.held_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_says_a_burst_and_then_one_each_time() {
        let limit = Limit::default();
        let (one, other) = (places()[0].clone(), places()[1].clone());
        let start = Instant::now();
        let said = (0..100).filter(|_| limit.speak(one.clone(), start).is_some()).count();
        assert_eq!(said, BURST as usize);
        assert_eq!(limit.speak(one.clone(), start + REFILL), Some(80));
        assert_eq!(limit.speak(one.clone(), start + REFILL), None);
        assert_eq!(limit.speak(other, start), Some(0), "another place has a bucket of its own");
        let later = start + REFILL * 1000;
        assert_eq!(limit.speak(one.clone(), later), Some(1));
        let said = (0..100).filter(|_| limit.speak(one.clone(), later).is_some()).count();
        assert_eq!(said, BURST as usize - 1, "silence saves no more than a burst");
    }

    /// Two places.
    fn places() -> [Identifier; 2] {
        use tracing::callsite::Callsite;
        struct Nowhere(u8);
        impl Callsite for Nowhere {
            fn set_interest(&self, _: tracing::subscriber::Interest) {}
            fn metadata(&self) -> &tracing::Metadata<'_> {
                unreachable!("place {} is asked nothing", self.0)
            }
        }
        static PLACES: [Nowhere; 2] = [Nowhere(1), Nowhere(2)];
        [Identifier(&PLACES[0]), Identifier(&PLACES[1])]
    }
}

//! Log lines that a stranger can cause must not fill the disk.

use std::cell::Cell;
use std::time::{Duration, Instant};

/// Lets one line through every so often, and says how many it held back since.
#[derive(Debug)]
pub struct Seldom {
    every: Duration,
    last: Cell<Option<Instant>>,
    held_back: Cell<u64>,
}

impl Seldom {
    /// At most one line in `every`.
    pub const fn new(every: Duration) -> Seldom {
        Seldom { every, last: Cell::new(None), held_back: Cell::new(0) }
    }

    /// Whether to speak now; if so, how many times it was not to since the last.
    pub fn speak(&self) -> Option<u64> {
        let now = Instant::now();
        if self.last.get().is_some_and(|last| now.duration_since(last) < self.every) {
            self.held_back.set(self.held_back.get() + 1);
            return None;
        }
        self.last.set(Some(now));
        Some(self.held_back.replace(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_speaks_once_and_counts_what_it_held_back() {
        let seldom = Seldom::new(Duration::from_secs(3600));
        assert_eq!(seldom.speak(), Some(0));
        assert_eq!(seldom.speak(), None);
        assert_eq!(seldom.speak(), None);
        let always = Seldom::new(Duration::ZERO);
        assert_eq!(always.speak(), Some(0));
        assert_eq!(always.speak(), Some(0));
    }
}

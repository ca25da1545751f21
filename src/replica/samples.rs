//! How long things took, for whoever shows it.

use std::time::Duration;

use crate::storage::Times;

/// Says how much time has passed since some moment that does not change.
pub type Stopwatch = fn() -> Duration;

/// What was measured since somebody last asked: of each kind the first few thousand.
#[derive(Clone, Debug, Default)]
pub struct Samples {
    /// From a write's coming in here, where it was proposed, to its being applied.
    pub commits: Vec<Duration>,
    /// Applying what was committed together.
    pub applies: Vec<Duration>,
    /// The disk's groups of writes.
    pub writes: Vec<Times>,
}

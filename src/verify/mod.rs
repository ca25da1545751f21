//! What a history proves: pure models, and the search that judges a history by them.
//!
//! Nothing here knows where a history comes from: a simulated world, a live cluster, or somebody
//! else's store. An operation was called at one moment and returned at another, said what it did
//! and what it was told; the question is whether one copy of the data, handling one operation at a
//! time, could have told everybody the same.
//!
//! 1. [`history`]: how it is written down, and which lines make sense.
//! 2. [`model`]: what a store promises, as code; [`register`]: that of one key; [`cells`]: that of
//!    several which are changed together. [`values`]: what they hold.
//! 3. [`linearizable`]: the search for an order that explains everything.
//! 4. [`judge`]: the verdict on all keys.
//! 5. [`shrink`]: the smallest part that contradicts itself. [`story`]: that part, told.
//!
//! [`generate`] draws histories that are right, to try a checker on.

pub mod cells;
pub mod generate;
pub mod history;
pub mod judge;
pub mod linearizable;
pub mod model;
pub mod register;
pub mod shrink;
pub mod story;
pub mod values;

#[cfg(test)]
mod tests;

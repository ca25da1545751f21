//! What a history proves: pure models, and the search that judges a history by them.
//!
//! Nothing here knows where a history comes from: a simulated world, a live cluster, or somebody
//! else's store. An operation was called at one moment and returned at another, said what it did
//! and what it was told; the question is whether one copy of the data, handling one operation at a
//! time, could have told everybody the same ([`linearizable`]).

pub mod generate;
pub mod history;
pub mod judge;
pub mod linearizable;
pub mod register;
mod shrink;
pub mod story;

#[cfg(test)]
mod tests;

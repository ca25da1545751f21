//! Who writes down what the core is told, so that its life can be lived again ([`record`]).
//!
//! [`record`]: crate::record

use crate::consensus::{Consensus, Effect, Input};
use crate::types::Instant;

/// Sees every step of a core, and must not hold it up.
pub trait Recorder<C: Consensus> {
    /// The core, as it stands, is about to be told `input`. If that ends the node, nothing comes
    /// after this.
    fn before(&mut self, core: &C, now: Instant, input: &Input<C>);

    /// What came of it.
    fn after(&mut self, effects: &[Effect<C>]);

    /// The last step was taken, and the node ends in good order. One that is dropped without this
    /// belongs to a node that does not.
    fn end(&mut self, core: &C, now: Instant);
}

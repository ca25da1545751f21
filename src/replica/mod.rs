//! Consensus, log and state machine as one deterministic value.

mod message;
mod request;

pub use message::*;
pub use request::*;

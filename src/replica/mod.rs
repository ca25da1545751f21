//! Consensus, log and state machine as one deterministic value.
mod request;
pub use request::*;

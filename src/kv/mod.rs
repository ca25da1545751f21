//! The state machine.

mod command;

pub use command::*;

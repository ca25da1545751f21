//! The keeper of one cluster on one machine.

pub mod events;
pub mod lifecycle;
pub mod process;
pub mod spawn;
pub mod state;

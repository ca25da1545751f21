//! Raft.

mod message;

pub use message::{AppendResult, Message};

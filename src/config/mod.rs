//! What was asked for, as files that people may read and edit.
//!
//! A key that is misspelt is an error that names its line, never a setting silently ignored.

mod address;
mod cluster;
mod node;

pub use address::{Address, AddressError};
pub use cluster::Transport;
pub use node::{Durability, NodeConfig};

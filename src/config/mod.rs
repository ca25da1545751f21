//! What was asked for, as files that people may read and edit.
//!
//! A key that is misspelt is an error that names its line, never a setting silently ignored.

mod address;
mod cluster;
mod file;
mod layout;
mod log_format;
mod members;
mod node;
mod slow;
mod tuned;

pub use address::{Address, AddressError};
pub use cluster::{ClusterConfig, MAX_NODES, Override, Storage, Supervision, Timings, Transport};
pub use file::{ConfigError, create_file, parse_toml, read_toml, replace_file};
pub use layout::{ClusterDirectory, ClusterName, Home, LayoutError, NodeDirectory};
pub use log_format::LogFormat;
pub use members::{Member, Members};
pub use node::{Durability, NodeConfig};
pub use slow::Slow;
pub use tuned::Tuned;

//! Why a node does not start, or stops.

use std::io;
use std::path::PathBuf;

use super::lock::LockError;
use crate::observe::{HttpError, MetricError};
use crate::replica::Fatal;
use crate::rpc::TransportError;
use crate::storage::{DiskError, LogError};

/// BSD's EX_CONFIG: a supervisor that sees it need not try again.
pub const EXIT_CONFIGURATION: u8 = 78;

/// Why a node cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    #[error(transparent)]
    Lock(#[from] LockError),
    #[error("cannot write the log file {}: {source}", path.display())]
    LogFile { path: PathBuf, source: io::Error },
    /// The log on disk cannot be used.
    #[error("{}: {source}", directory.display())]
    Log { directory: PathBuf, source: LogError },
    #[error("{0}")]
    Disk(#[from] DiskError),
    #[error("node {node} is none of the members that {} names", file.display())]
    NotAMember { node: crate::types::NodeId, file: PathBuf },
    #[error(transparent)]
    Faults(#[from] super::faults::FaultsError),
    #[error(transparent)]
    Listen(#[from] TransportError),
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error(transparent)]
    Metric(#[from] MetricError),
    #[error("the system refused what a node needs: {0}")]
    System(#[from] io::Error),
    #[error(transparent)]
    Fatal(#[from] Fatal),
    #[error("an invariant is broken, there is no safe way on: {0}")]
    Panicked(String),
    #[cfg(feature = "museum")]
    #[error("{0}")]
    Museum(String),
}

impl NodeError {
    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            // What a person has to look at: trying again cannot help.
            NodeError::NotAMember { .. } | NodeError::Faults(_) => EXIT_CONFIGURATION,
            NodeError::Log { source, .. } | NodeError::Fatal(Fatal::Log(source)) => match source {
                LogError::Disk(_) => 1,
                _ => EXIT_CONFIGURATION,
            },
            // Another start on the same data would end the same way.
            NodeError::Fatal(Fatal::Outgrown { .. } | Fatal::Diverged { .. }) => EXIT_CONFIGURATION,
            #[cfg(feature = "museum")]
            NodeError::Museum(_) => EXIT_CONFIGURATION,
            _ => 1,
        }
    }
}

//! A node's very first start: its log begins with who the members are.

use std::path::Path;

use super::{DirectoryLock, NodeError};
use crate::config::{Members, NodeConfig};
use crate::storage::{FileDisk, Identity, SegmentLog};

/// Creates the log of the node that `config` describes, with `members` (read from `file`) as its
/// first entry. It refuses if there is a log: a node is initialised once in its life.
pub fn init(config: &NodeConfig, members: &Members, file: &Path) -> Result<(), NodeError> {
    if !members.member.iter().any(|member| member.id == config.node) {
        return Err(NodeError::NotAMember { node: config.node, file: file.to_owned() });
    }
    let _lock = DirectoryLock::take(&config.directory)?;
    let directory = config.directory.join("log");
    let mut disk = FileDisk::open(&directory, config.durability, Box::new(|| {}))?;
    let identity = Identity { cluster: config.cluster, node: config.node };
    SegmentLog::create(&mut disk, identity, &members.configuration())
        .map_err(|source| NodeError::Log { directory, source })
}

/// Creates the log of a node that is to join a cluster that runs. It holds nothing, so the node
/// waits for a leader that sends it the log, and stands for no election before. It refuses if there
/// is a log.
pub fn join(config: &NodeConfig) -> Result<(), NodeError> {
    let _lock = DirectoryLock::take(&config.directory)?;
    let directory = config.directory.join("log");
    let mut disk = FileDisk::open(&directory, config.durability, Box::new(|| {}))?;
    let identity = Identity { cluster: config.cluster, node: config.node };
    SegmentLog::create_empty(&mut disk, identity)
        .map_err(|source| NodeError::Log { directory, source })
}

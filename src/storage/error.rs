//! Why the log could not be opened, or cannot go on.

use crate::types::{ClusterId, LogIndex, NodeId};

use super::disk::DiskError;

/// Every one of these is final: the node stops, and a person has to look. A full disk is none of
/// them: the log waits for space and says so in its status.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// There is no log here. A node that once had one has lost its data, and must not vote again
    /// under its old id.
    #[error(
        "there is no log here: a new node must be initialised first; a node that had a log has \
         lost it, and must come back under a new id"
    )]
    NotInitialised,

    /// A log cannot be created over another.
    #[error("there is already a log here ({file}): it is never overwritten")]
    Exists { file: String },

    /// What had been durable is damaged. Nothing was changed.
    #[error(
        "{file} is corrupt at offset {offset}, at or after entry {index}: {what}; entries that \
         were durable are unreadable, so the log is refused, not cut"
    )]
    Corrupt {
        file: String,
        offset: u64,
        /// The first entry that may be affected: all before it were read in full.
        index: LogIndex,
        what: String,
    },

    /// A segment is gone.
    #[error(
        "segment {sequence} of the log is missing ({evidence}): entries from about {index} on are \
         gone with it; put the file back, or bring the node back under a new id"
    )]
    MissingSegment { sequence: u64, index: LogIndex, evidence: String },

    /// The segment belongs to another cluster or node.
    #[error(
        "{file} belongs to node {found_node} of cluster {found_cluster:x}, not to node \
         {expected_node} of cluster {expected_cluster:x}: the wrong directory?",
        found_cluster = found_cluster.0,
        expected_cluster = expected_cluster.0
    )]
    Foreign {
        file: String,
        found_cluster: ClusterId,
        found_node: NodeId,
        expected_cluster: ClusterId,
        expected_node: NodeId,
    },

    /// Written by a newer kvraft.
    #[error(
        "{file} has format version {found}, and this program knows versions up to {supported}: \
         use the newer program"
    )]
    NewerFormat { file: String, found: u32, supported: u32 },

    /// A file whose name ends like a segment's or a snapshot's and is not one.
    #[error("{file} is no part of this log: {what}; move it away")]
    UnexpectedFile { file: String, what: String },

    /// The log goes on from a snapshot that is not there.
    #[error(
        "the log goes on from the snapshot of entry {index}, and {file} is missing: what it \
         covered is gone with it; put the file back, or bring the node back under a new id"
    )]
    MissingSnapshot { index: LogIndex, file: String },

    /// The log goes on from a snapshot that is damaged.
    #[error(
        "{file} is damaged at offset {offset}: {what}; the log goes on from this snapshot of entry \
         {index}, so the node cannot start; put a whole copy in its place (any member's file of \
         this name will do), or bring the node back under a new id"
    )]
    DamagedSnapshot { index: LogIndex, file: String, offset: u64, what: String },

    /// The log is whole, and its hard state means nothing to the consensus algorithm in use.
    #[error(
        "the hard state in the log ({bytes} bytes) is not of the consensus algorithm that this \
         node was started with"
    )]
    ForeignHardState { bytes: usize },

    /// The disk failed for good; a failed sync is among these.
    #[error("the disk failed: {0}")]
    Disk(#[from] DiskError),
}

//! The log on disk.
//!
//! A Raft node keeps two promises across a crash: it remembers its term and vote, and every entry
//! that it has acknowledged (paper §5.1, figure 2, "persistent state"). This room keeps them, on
//! disks that tear writes, fill up, rot and fail.
//!
//! Reading order: [`disk`] (what a disk does and does not promise), [`format`](mod@format) (the
//! bytes, every crash case, and the rule that tells a tear from corruption), [`log`] (how writes
//! travel), then `writer`, `recovery` with `scan`, `contents` (the index) and `reader`. For
//! snapshots: [`snapshot_format`], `snapshots`, `reception`, and `background`, which says how none
//! of it holds up a write. [`FileDisk`] is the real disk, [`MemoryDisk`] the one for tests, which
//! forgets what was not synced.
//!
//! Damage is refused; or, where it is known which entries it cost, localised (`salvage`) and healed
//! with the help of others (`heal`).
//!
//! What this room leaves to others: *when* to truncate or compact is the core's decision, and
//! fetching a damaged entry from a peer is the node's business.

mod background;
mod contents;
pub mod disk;
mod error;
mod figures;
pub mod file_disk;
pub mod format;
mod headers;
mod heal;
pub mod inspect;
mod inventory;
pub mod log;
pub mod memory_disk;
mod reader;
mod reception;
mod recovery;
mod replay;
mod report;
mod salvage;
mod scan;
mod script;
mod segment_header;
mod segments;
pub mod snapshot_format;
mod snapshots;
mod trouble;
mod writer;

#[cfg(test)]
mod tests;

pub use disk::{
    Completion, Disk, DiskError, DiskErrorKind, FileName, Operation, OperationId, Outcome, Times,
};
pub use error::LogError;
pub use file_disk::{Ailment, FileDisk, FileView};
pub use format::{Identity, record_len};
pub use log::SegmentLog;
pub use memory_disk::{Crash, MemoryDisk};
pub use report::{Damaged, LogEvent, LogOptions, LogStatus, Recovered, Tear};
pub use trouble::{InvalidTrouble, Trouble};

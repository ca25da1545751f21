//! What the log is told, and what it says: its options, what a start found, events and figures.

use std::time::Duration;

use bytes::Bytes;

use crate::consensus::{Chunk, Configuration, Entry, SnapshotMark};
use crate::museum::Bugs;
use crate::types::{LogIndex, NodeId, Seq, Term};

/// What may be tuned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// Size of a segment; one is made larger if a single write does not fit.
    pub segment_bytes: u64,
    /// A group takes no further writes beyond this.
    pub max_group_bytes: u64,
    /// Zeros are written this far ahead.
    pub zero_ahead_bytes: u64,
    /// Bytes of log for each entry of the index in memory.
    pub index_spacing_bytes: u64,
    /// When idle for so long, the log proves its last group durable.
    pub idle_mark_after: Duration,
    /// For the simulator: a bug put back. See [`museum`](crate::museum).
    pub bugs: Bugs,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: 64 << 20,
            max_group_bytes: 4 << 20,
            zero_ahead_bytes: 1 << 20,
            index_spacing_bytes: 64 << 10,
            idle_mark_after: Duration::from_millis(100),
            bugs: Bugs::none(),
        }
    }
}

/// What a start found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last hard state written; empty if none ever was.
    pub hard_state: Bytes,
    /// What the newest snapshot covers; zeros and nobody without one. Its file is there.
    pub snapshot: SnapshotMark,
    /// The last entry before those whose terms `term_runs` says: the snapshot's last entry; or,
    /// where older entries were kept behind a snapshot, the first of them; or nothing at all.
    pub log_start: (LogIndex, Term),
    /// Every configuration entry after the snapshot, in order.
    pub configurations: Vec<(LogIndex, Configuration)>,
    /// First index and term of each run of entries of the same term, after `log_start`.
    pub term_runs: Vec<(LogIndex, Term)>,
    /// The last entry's index; the snapshot's if the log holds no entry.
    pub last_index: LogIndex,
    /// What was cut off the end, if anything was.
    pub tear: Option<Tear>,
}

/// An entry that the log has and that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub index: LogIndex,
    /// Its term, where what is around it leaves no doubt.
    pub term: Option<Term>,
    pub file: String,
    /// Where the damage begins.
    pub offset: u64,
}

/// The end of the log as a crash left it: a group that was never durable, hence never
/// acknowledged, and has been cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tear {
    pub file: String,
    /// Where the group began.
    pub offset: u64,
    /// How far from there anything but zeros was found.
    pub bytes: u64,
    /// The first entry that the cut may have concerned.
    pub index: LogIndex,
}

impl std::fmt::Display for Tear {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} was torn by a crash: {} bytes from offset {} on, entry {} at the earliest, were \
             never durable and have been cut",
            self.file, self.bytes, self.offset, self.index
        )
    }
}

/// What the log has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEvent {
    /// The write with this number, and all before it, are durable.
    Durable(Seq),
    /// The answer to a read: consecutive entries from `from` on, at least one.
    Read { from: LogIndex, entries: Vec<Entry> },
    /// The log has no entry `from` (any more).
    ReadFailed { from: LogIndex },
    /// A part of the snapshot being taken is on the disk; the next may come.
    SnapshotPartWritten,
    /// The snapshot taken here is durable under its name.
    SnapshotSaved { index: LogIndex },
    /// The snapshot being taken here could not be finished; nothing is left of it.
    SnapshotFailed { index: LogIndex, why: String },
    /// So many bytes of the snapshot being received are on the disk.
    SnapshotWritten { index: LogIndex, bytes: u64 },
    /// A received snapshot is whole, in order, and durable under its name.
    SnapshotReceived { snapshot: SnapshotMark },
    /// A received snapshot is not what it should be, or there is no space; nothing is left of it.
    SnapshotRejected { index: LogIndex, why: String },
    /// A piece of a snapshot's file, for `to`; `None`: there is no such snapshot (any more).
    SnapshotBytes { to: NodeId, index: LogIndex, offset: u64, chunk: Option<Chunk> },
    /// A part of a snapshot, verified, and where the next one lies; without a next it was the
    /// last. `None`: the snapshot is damaged or gone.
    SnapshotPart { index: LogIndex, at: u64, part: Option<Bytes>, next: Option<u64> },
}

/// The log in figures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogStatus {
    /// The first entry that can be read.
    pub first_index: LogIndex,
    /// The last entry appended, durable or not.
    pub last_index: LogIndex,
    /// Segments, the one being prepared not counted.
    pub segments: u64,
    /// Bytes that the files take on the disk.
    pub disk_bytes: u64,
    /// Bytes appended and not yet durable.
    pub pending_bytes: u64,
    /// The disk had no space when last asked; see [`room`](super::SegmentLog::room).
    pub full: bool,
    /// What the disk said then.
    pub full_reason: Option<String>,
    /// Groups made durable since the start, idle marks not counted.
    pub groups: u64,
    /// Bytes of groups made durable since the start.
    pub group_bytes: u64,
    /// Writes (`Persist`s) made durable since the start.
    pub persists: u64,
    /// Syncs since the start.
    pub syncs: u64,
    /// What the newest durable snapshot mark covers.
    pub snapshot_index: LogIndex,
    /// Bytes of log after that entry, to about [`LogOptions::index_spacing_bytes`].
    pub bytes_since_snapshot: u64,
    /// Bytes of the snapshots' files.
    pub snapshot_bytes: u64,
    /// Bytes of segments deleted since the start because a snapshot covers them.
    pub compacted_bytes: u64,
}

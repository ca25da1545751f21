//! What the log may ask of a disk: submit an operation, later collect its completion.
//!
//! # Why not plain file calls
//!
//! A log that blocks in `fdatasync` stops the thread that also has to send heartbeats; and a test
//! that wants to cut the power *between* a write and its sync needs a seam there. So nothing in
//! [`storage`](super) touches a file: it hands an [`Operation`] to a [`Disk`], goes on with other
//! work, and collects a [`Completion`] when the disk has called its waker. The real disk
//! ([`FileDisk`](super::FileDisk)) has a thread behind the queue; the one in memory
//! ([`MemoryDisk`](super::MemoryDisk)) performs operations whenever a test says so, and forgets on
//! a crash what was not synced.
//!
//! # The rules
//!
//! 1. **One queue.** Operations are performed one after the other in the order of submission, and
//!    complete in that order. A sync therefore covers every write submitted before it.
//! 2. **Nothing is durable until it is synced**: a file's bytes and length by a sync of that file,
//!    a *name* (created, renamed, deleted) by [`Operation::SyncDirectory`]. A file whose bytes were
//!    synced and whose name was not may be gone after a crash.
//! 3. **A write that was not synced may be torn**: any part of it may survive a crash.
//! 4. **A failed sync is final** ([`DiskErrorKind::SyncFailed`]). The kernel reports the loss of
//!    dirty pages once and then forgets them: a second sync that succeeds proves nothing
//!    ("fsyncgate"). Whoever sees it stops.
//! 5. **No space** ([`DiskErrorKind::NoSpace`]) is told apart from all else: it is a state that
//!    passes, and the same operation may be submitted again.
//!
//! The queue is bounded. The log keeps a handful of operations under way, far below the bound; a
//! caller that exceeds it waits in [`Disk::submit`].

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

/// The name of a file in the disk's one flat directory.
pub type FileName = String;

/// One thing to do. All of them name files of one flat directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Name every file and its length: [`Outcome::Files`], in the order of the names.
    List,
    /// Create a file that must not exist, with space for `size` bytes that read as zero. If there
    /// is no space for them, no file is left behind.
    Create { file: FileName, size: u64 },
    /// Make the file at least `size` bytes long, with space reserved; new bytes read as zero.
    Allocate { file: FileName, size: u64 },
    /// Write `bytes` at `offset`; with `sync`, make the whole file durable afterwards.
    Write { file: FileName, offset: u64, bytes: Bytes, sync: bool },
    /// Make the file's bytes and length durable (fdatasync).
    Sync { file: FileName },
    /// Make every creation, renaming and deletion so far durable.
    SyncDirectory,
    /// Give a file a new name, replacing any file of that name.
    Rename { from: FileName, to: FileName },
    /// Remove a file.
    Delete { file: FileName },
    /// Read up to `length` bytes at `offset`, fewer only at the file's end: [`Outcome::Bytes`].
    Read { file: FileName, offset: u64, length: usize },
    /// The first offset from `offset` on that may hold anything but zeros, or the file's length:
    /// [`Outcome::Offset`]. It lets recovery skip what was allocated and never written; a disk
    /// that does not know answers `offset`.
    FindData { file: FileName, offset: u64 },
}

/// What an operation that succeeded brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The files and their lengths.
    Files(Vec<(FileName, u64)>),
    /// What was read.
    Bytes(Bytes),
    /// Where data may lie.
    Offset(u64),
}

/// Names an operation under way; later operations have greater ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OperationId(pub u64);

/// The end of an operation.
#[derive(Clone, Debug)]
pub struct Completion {
    pub id: OperationId,
    pub result: Result<Outcome, DiskError>,
    pub times: Times,
}

/// How long the parts of a write took that is synced, if the disk has a clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Until the system had the bytes.
    pub write: Option<Duration>,
    /// From then on, until they were durable.
    pub sync: Option<Duration>,
}

/// A disk; see the [module](self) for its rules.
pub trait Disk {
    /// Queues an operation.
    fn submit(&mut self, operation: Operation) -> OperationId;

    /// The next completion, if one is there. Never waits.
    fn complete(&mut self) -> Option<Completion>;

    /// Performs an operation and waits for it: for start-up, when there is nothing else to do.
    /// Completions of earlier operations stay to be collected.
    fn execute(&mut self, operation: Operation) -> Result<Outcome, DiskError>;
}

/// Why an operation failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskErrorKind {
    /// The disk, or the quota, is full. Nothing is lost; try again later.
    NoSpace,
    /// A sync failed: what was written before it may be lost, whatever a later sync says. Final.
    SyncFailed,
    /// There is no file of that name.
    NotFound,
    /// There is already a file of that name.
    Exists,
    /// Anything else: final.
    Other,
}

/// An operation that failed: what, on which file, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskError {
    pub kind: DiskErrorKind,
    /// What was being done: `write 4096 bytes at 64`.
    pub action: String,
    /// On which file; with its directory, where there is one.
    pub file: String,
    /// The system's words.
    pub reason: String,
}

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "could not {} {}: {}", self.action, self.file, self.reason)
    }
}

impl std::error::Error for DiskError {}

impl Operation {
    /// The operation in words, to be followed by the file's name.
    pub fn action(&self) -> String {
        match self {
            Operation::List => "list".into(),
            Operation::Create { size, .. } => format!("create, with {size} bytes,"),
            Operation::Allocate { size, .. } => format!("allocate {size} bytes for"),
            Operation::Write { offset, bytes, .. } => {
                format!("write {} bytes at offset {offset} of", bytes.len())
            }
            Operation::Sync { .. } => "sync".into(),
            Operation::SyncDirectory => "sync the directory".into(),
            Operation::Rename { to, .. } => format!("give the name {to} to"),
            Operation::Delete { .. } => "delete".into(),
            Operation::Read { offset, length, .. } => {
                format!("read {length} bytes at offset {offset} of")
            }
            Operation::FindData { offset, .. } => format!("find data from offset {offset} on in"),
        }
    }

    /// The file it is about; none for the directory itself.
    pub fn file(&self) -> Option<&str> {
        match self {
            Operation::List | Operation::SyncDirectory => None,
            Operation::Create { file, .. }
            | Operation::Allocate { file, .. }
            | Operation::Write { file, .. }
            | Operation::Sync { file }
            | Operation::Rename { from: file, .. }
            | Operation::Delete { file }
            | Operation::Read { file, .. }
            | Operation::FindData { file, .. } => Some(file),
        }
    }
}

impl Outcome {
    /// The bytes of a read; empty for any other outcome.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Outcome::Bytes(bytes) => bytes,
            _ => Bytes::new(),
        }
    }
}

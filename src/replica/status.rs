//! A replica as others may see it.

use crate::consensus;
use crate::storage::LogStatus;
use crate::types::{LogIndex, Revision};

/// What a replica has done since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Writes taken into the log here.
    pub proposals_accepted: u64,
    /// Writes refused by the core: not leading, or busy.
    pub proposals_refused: u64,
    /// Requests handed on to a leader.
    pub relayed: u64,
    /// Entries applied to the state machine.
    pub entries_applied: u64,
    /// Messages dropped because the disk has no room for what they carry.
    pub dropped_for_space: u64,
    /// Messages that no correct member sends.
    pub peers_rejected: u64,
    /// Snapshots taken here that are durable.
    pub snapshots_taken: u64,
    /// Snapshots that could not be taken.
    pub snapshots_failed: u64,
    /// Snapshots received and installed.
    pub snapshots_installed: u64,
}

/// A replica as others may see it.
#[derive(Clone, Debug)]
pub struct ReplicaStatus {
    pub consensus: consensus::Status,
    pub log: LogStatus,
    pub revision: Revision,
    pub keys: u64,
    /// Bytes of keys and values in the state machine.
    pub bytes: u64,
    pub sessions: u64,
    pub state_hash: u128,
    /// What the state machine has really applied; behind the core's word while a snapshot is being
    /// installed.
    pub machine_applied: LogIndex,
    /// The state machine's version in force, and the newest that this program knows.
    pub machine_version: u16,
    pub machine_supports: u16,
    /// The last entry that a snapshot here covers; zero without one.
    pub snapshot_index: LogIndex,
    /// A snapshot that is being taken, of this index.
    pub snapshot_being_taken: Option<LogIndex>,
    /// A received snapshot that is being installed, of this index.
    pub snapshot_being_installed: Option<LogIndex>,
    /// The alarm: at this index the replicas' states differed, and none was a majority's. Writes
    /// are refused.
    pub disagreed_at: Option<LogIndex>,
    pub pending_requests: usize,
    pub counters: Counters,
}

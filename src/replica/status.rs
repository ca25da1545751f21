//! A replica as others may see it.

use super::pending::Stage;
use crate::consensus::{self, Configuration, Role};
use crate::storage::LogStatus;
use crate::types::{LogIndex, NodeId, Revision, Term, TraceContext};

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
    /// How often entries were removed that are not the leader's.
    pub removals: u64,
    /// Messages that no correct member sends.
    pub peers_rejected: u64,
    /// Snapshots taken here that are durable.
    pub snapshots_taken: u64,
    /// Snapshots that could not be taken.
    pub snapshots_failed: u64,
    /// Snapshots received and installed.
    pub snapshots_installed: u64,
    /// Grants and revocations of leases that were applied here.
    pub leases_granted: u64,
    pub leases_revoked: u64,
    /// Keep-alives that this replica acknowledged as leader, and leases whose end it proposed.
    pub leases_renewed: u64,
    pub leases_expired: u64,
}

/// Where a replica stands in its group's history: cheap to look at, after every turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub role: Role,
    pub term: Term,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    pub commit_index: LogIndex,
    pub last_index: LogIndex,
    /// The last entry that the newest snapshot covers; zero without one.
    pub snapshot_index: LogIndex,
    /// Snapshots received and installed since its start.
    pub snapshots_installed: u64,
    /// How often it removed entries that are not its leader's; and which the last time.
    pub removals: u64,
    pub removed: Option<(LogIndex, LogIndex)>,
}

/// A request under way whose path somebody follows, and how far it has come here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traced {
    /// Who asked for it: a client's part of the path, or another node's.
    pub parent: TraceContext,
    /// This replica's part.
    pub own: TraceContext,
    pub is_write: bool,
    pub stage: Stage,
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
    /// What was before it can neither be read nor watched; zero: all can.
    pub compacted_revision: Revision,
    /// Bytes of keys and values that are only read by who looks back.
    pub past_bytes: u64,
    /// What is stored, as the quota counts it.
    pub size: u64,
    pub leases: u64,
    pub sessions: u64,
    pub state_hash: u128,
    /// What the state machine has really applied; behind the core's word while a snapshot is being
    /// installed.
    pub machine_applied: LogIndex,
    /// The state machine's version in force, and the newest that this program knows.
    pub machine_version: u16,
    pub machine_supports: u16,
    /// The highest number that a member ever had, as far as the state machine knows.
    pub last_member: NodeId,
    /// The last entry that a snapshot here covers; zero without one.
    pub snapshot_index: LogIndex,
    /// A snapshot that is being taken, of this index.
    pub snapshot_being_taken: Option<LogIndex>,
    /// A received snapshot that is being installed, of this index.
    pub snapshot_being_installed: Option<LogIndex>,
    /// The alarm: at this index the replicas' states differed, and none was a majority's. Writes
    /// are refused.
    pub disagreed_at: Option<LogIndex>,
    /// The log is damaged, and is being repaired: the replica takes no part meanwhile.
    pub repair: Option<RepairStatus>,
    pub pending_requests: usize,
    pub counters: Counters,
}

/// How far a repair is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairStatus {
    /// Entries still missing, and the first of them.
    pub missing: usize,
    pub first: LogIndex,
    /// What it waits for, for people.
    pub waits_for: String,
}

impl ReplicaStatus {
    /// Of a replica that has no core and no state.
    pub fn nothing() -> ReplicaStatus {
        ReplicaStatus {
            consensus: consensus::Status {
                id: NodeId(0),
                role: Role::Follower,
                term: Term(0),
                voted_for: None,
                leader: None,
                commit_index: LogIndex(0),
                applied_index: LogIndex(0),
                first_index: LogIndex(0),
                last_index: LogIndex(0),
                last_term: Term(0),
                durable_index: LogIndex(0),
                snapshot_index: LogIndex(0),
                configuration: Configuration::default(),
                peers: Default::default(),
                pending_reads: 0,
                transfer_to: None,
                uncommitted_bytes: 0,
                elections_started: 0,
                elections_won: 0,
            },
            log: LogStatus::default(),
            revision: Revision(0),
            keys: 0,
            bytes: 0,
            compacted_revision: Revision(0),
            past_bytes: 0,
            size: 0,
            leases: 0,
            sessions: 0,
            state_hash: 0,
            machine_applied: LogIndex(0),
            machine_version: 0,
            machine_supports: 0,
            last_member: NodeId(0),
            snapshot_index: LogIndex(0),
            snapshot_being_taken: None,
            snapshot_being_installed: None,
            disagreed_at: None,
            repair: None,
            pending_requests: 0,
            counters: Counters::default(),
        }
    }
}

//! The boundary between a consensus algorithm and everything that drives it.
//!
//! A core is a *value* that is told what happened ([`Input`]) and answers with what must be done
//! ([`Effect`]). It holds no socket, file, clock, thread or global generator: time comes in as an
//! [`Instant`], randomness as a seed, storage and network as effects that others carry out. So the
//! same core runs in a node, in a simulator and in a test that steps it by hand; and because every
//! input passes the one door [`Consensus::step`], a recorded life can be replayed elsewhere.
//!
//! Raft ([`raft`]) is the first core. Nothing above this boundary may know which core it drives.
//!
//! ```text
//!              Input                                   Effect
//!   Elapsed ───────────┐                      ┌──► Persist{seq, …} ──► the log ──► Persisted{seq}
//!   Receive{from, m} ──┤    ┌────────────┐    ├──► Send{to, m, after} ──► a link to a peer
//!   Propose(batch) ────┼───►│    core    │────┼──► Apply{entries} ──► state machine ──► Applied
//!   Read{ticket} ──────┤    └────────────┘    ├──► ServeRead / Accepted / Refuse ──► a client
//!   Persisted{seq} ────┤                      ├──► ReadLog ──► the log ──► LogRead
//!   Transfer, Change… ─┘                      └──► Read/Write/InstallSnapshot, Compact
//! ```
//!
//! # Durability
//!
//! [`Effect::Persist`] is answered by [`Input::Persisted`], in order; several may share one
//! fdatasync. A [`Effect::Send`] with `after` leaves only when that write is durable; one without
//! leaves at once. So acknowledgements and votes wait for the disk, and heartbeats and the
//! leader's own replication never do (dissertation §10.2.1: the leader writes to its disk in
//! parallel with its followers).
//!
//! # What a core keeps in memory
//!
//! A core keeps the tail of the log: all that is not yet both committed and applied, and a bounded
//! cache before it. For anything older it asks ([`Effect::ReadLog`]), be it for a follower far
//! behind or for its own state machine after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::museum::Bugs;
use crate::types::{Instant, LogIndex, NodeId, Seq, Term, Ticket};

pub mod raft;
mod role;

pub use role::Role;

/// A consensus algorithm as a deterministic value. See the [module](self) for the contract.
/// It can be copied, compared, hashed and written down, its generator included, so that a life can
/// be recorded and lived again elsewhere.
pub trait Consensus: Clone + Hash + Eq + Debug + Serialize + DeserializeOwned {
    /// What members of the same algorithm say to each other.
    type Message: Clone + Hash + Eq + Debug + Serialize + DeserializeOwned;
    /// What must survive a crash beside the log, written as one record: for Raft, term and vote.
    type HardState: Clone + Hash + Eq + Debug + Default + ToBytes;
    /// What shows others that entries were committed: nothing for Raft, a quorum certificate for
    /// a Byzantine algorithm.
    type Proof: Clone + Hash + Eq + Debug;

    /// A core as it stands after a start, from what its disk holds. `config.seed` is its only
    /// source of randomness, `now` the first moment it is told.
    fn recover(now: Instant, config: Config, saved: Saved<Self>) -> Self;

    /// Tells the core what happened. It cannot fail: bad input is answered by an effect
    /// ([`Effect::PeerRejected`], [`Effect::Refuse`]) and changes nothing.
    fn step(&mut self, now: Instant, input: Input<Self>) -> Vec<Effect<Self>>;

    /// Bytes that taking this message would add to the log, for a disk that is nearly full.
    fn log_bytes(message: &Self::Message) -> usize;

    /// When the core next wants [`Input::Elapsed`], if nothing else happens before. Nothing ticks
    /// in vain, and a simulator jumps from one deadline to the next.
    fn next_deadline(&self) -> Option<Instant>;

    /// Who leads, as far as this core knows; itself, if it does.
    fn leader(&self) -> Option<NodeId>;

    /// Snapshots that are on their way to others, by index: their files must stay.
    fn snapshots_in_use(&self) -> BTreeSet<LogIndex>;

    /// The core as others may see it.
    fn status(&self) -> Status;

    /// What the next step is measured against.
    fn checkpoint(&self) -> Checkpoint;

    /// Panics if the core's state, or the step to it from `before`, breaks an invariant of the
    /// algorithm. A broken invariant stops the node: there is no safe way on.
    fn assert_invariants(&self, before: &Checkpoint);
}

/// A value with a stable binary form, for the log on disk.
pub trait ToBytes: Sized {
    /// The binary form.
    fn to_bytes(&self) -> Vec<u8>;
    /// The value that `bytes` stands for; `None` if it is not the form of one.
    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(bound = "")]
pub enum Input<C: Consensus> {
    /// Time has passed; the deadline may have come.
    Elapsed,
    /// A message arrived. `from` is who the transport says sent it.
    Receive { from: NodeId, message: C::Message },
    /// Clients want these commands in the log, in this order. Each is answered by
    /// [`Effect::Accepted`] or [`Effect::Refuse`].
    Propose(Vec<Proposal>),
    /// A client wants to read; answered by [`Effect::ServeRead`] or [`Effect::Refuse`].
    Read { ticket: Ticket },
    /// Stand for election now, whatever the timer says.
    Campaign,
    /// Hand the leadership over, to `to` or to whoever is furthest. Answered by [`Effect::Refuse`]
    /// if it cannot be, or could not within an election time-out; success shows as a new leader.
    Transfer { ticket: Ticket, to: Option<NodeId> },
    /// Change who the members are, all of `changes` at once. Answered by [`Effect::Accepted`] with
    /// the entry that begins the change, or by [`Effect::Refuse`]. It is complete once a
    /// configuration at or after that entry is applied that has no outgoing voters.
    ChangeMembership { ticket: Ticket, changes: Vec<Change> },
    /// A snapshot of the state machine as of `index`, taken here, is durable under its name; so is
    /// the log up to there.
    SnapshotSaved { index: LogIndex },
    /// The answer to [`Effect::ReadSnapshot`]; `None`: there is no such snapshot any more.
    SnapshotRead { to: NodeId, index: LogIndex, offset: u64, chunk: Option<Chunk> },
    /// The answer to [`Effect::WriteSnapshot`]: so many bytes of the snapshot of `index` are
    /// written by now.
    SnapshotWritten { index: LogIndex, bytes: u64 },
    /// All of a snapshot has come, is in order, and is durable under its name.
    SnapshotReceived { snapshot: SnapshotMark },
    /// What came as the snapshot of `index` is damaged, or could not be kept; it is gone.
    SnapshotRejected { index: LogIndex },
    /// The write numbered `seq`, and all before it, are durable.
    Persisted { seq: Seq },
    /// The state machine has applied everything up to `index`.
    Applied { index: LogIndex },
    /// The answer to [`Effect::ReadLog`]: entries from `from` on, consecutive; none if they were
    /// removed since.
    LogRead { from: LogIndex, entries: Vec<Entry> },
}

/// What must be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect<C: Consensus> {
    /// Write to the log, atomically and in order of `seq`; then say [`Input::Persisted`].
    Persist(Persist<C::HardState>),
    /// Hand `message` to the link to `to`: at once, or once `after` is durable. It may be lost,
    /// delayed or duplicated: a core copes.
    Send { to: NodeId, message: C::Message, after: Option<Seq> },
    /// These entries are committed. They continue where the last `Apply` ended; apply them and say
    /// [`Input::Applied`].
    Apply { entries: Vec<Entry>, proof: C::Proof },
    /// Read entries from `from` on out of the log, at least one and else no more than `max_bytes`
    /// of payload, none past `to`; then say [`Input::LogRead`]. At most a few are outstanding.
    ReadLog { from: LogIndex, to: LogIndex, max_bytes: usize },
    /// The proposal `ticket` stands at `index` in the log with term `term`. It is *not* committed:
    /// it is once an `Apply` shows the same term at that index, and never if it shows another.
    Accepted { ticket: Ticket, index: LogIndex, term: Term },
    /// The read may be answered from the state machine once it has applied `at`.
    ServeRead { ticket: Ticket, at: LogIndex },
    /// Read up to `max_bytes` of the snapshot of `index`, from `offset` on; answered by
    /// [`Input::SnapshotRead`].
    ReadSnapshot { to: NodeId, index: LogIndex, offset: u64, max_bytes: usize },
    /// A part of a snapshot has come from the leader: write it at `offset`. Offset 0 begins anew,
    /// whatever was there. Answered by [`Input::SnapshotWritten`]; the last part (`done`) by
    /// [`Input::SnapshotReceived`] or [`Input::SnapshotRejected`].
    WriteSnapshot { index: LogIndex, term: Term, offset: u64, chunk: Chunk },
    /// Let the state machine be what the received snapshot of `index` holds. It has applied
    /// everything up to `index` then; no [`Input::Applied`] answers this.
    InstallSnapshot { index: LogIndex },
    /// Entries up to `to`, all covered by a durable snapshot, are not needed any more.
    Compact { to: LogIndex },
    /// The request was not taken, and certainly has no effect.
    Refuse { ticket: Ticket, why: Refusal },
    /// `from` sent something that no correct member sends. Count it, log it; nothing was changed.
    PeerRejected { from: NodeId, why: String },
}

/// One atomic write to the log: the snapshot first, then truncation, entries, and hard state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Persist<H> {
    /// Numbers the writes, consecutively.
    pub seq: Seq,
    /// This snapshot, durable under its name, covers the log up to its index from now on.
    pub snapshot: Option<SnapshotMark>,
    /// With `snapshot`: what the log holds does not continue it, so every entry goes, and the log
    /// goes on right after it. Without, the log has the snapshot's last entry, and keeps all.
    pub discard_log: bool,
    /// The new hard state, if it changed.
    pub hard_state: Option<H>,
    /// Remove every entry from this index on.
    pub truncate_from: Option<LogIndex>,
    /// Entries to append: consecutive, and adjoining what is then left of the log.
    pub entries: Vec<Entry>,
}

/// One entry of the replicated log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// The term of the leader that created it.
    pub term: Term,
    /// Where it stands.
    pub index: LogIndex,
    /// What it says.
    pub payload: Payload,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Payload {
    /// Nothing: a new leader's first entry, whose commit opens its term.
    Noop,
    /// A command for the state machine, opaque to consensus.
    Command(Bytes),
    /// Who the members are, from here on.
    Configuration(Configuration),
}

impl Entry {
    /// More than an entry takes beside its payload, in the log and on the wire.
    pub const OVERHEAD: usize = 64;

    /// Bytes that it takes, as budgets count them: its payload, and its place. A thousand small
    /// entries are not nothing: a message of them must fit what a follower's log has room for.
    pub fn size(&self) -> usize {
        let payload = match &self.payload {
            Payload::Noop => 0,
            Payload::Command(bytes) => bytes.len(),
            Payload::Configuration(configuration) => {
                configuration.addresses.values().map(|a| a.len() + 16).sum()
            }
        };
        payload + Entry::OVERHEAD
    }
}

/// A command that a client wants in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proposal {
    pub ticket: Ticket,
    pub command: Bytes,
}

/// Who the members are. It lives in the log from its first entry, and takes effect when it is
/// appended (paper §6).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Configuration {
    /// Those whose majority decides.
    pub voters: BTreeSet<NodeId>,
    /// During a joint change, the voters of the old configuration: a majority of each set is
    /// needed. Empty otherwise.
    pub outgoing: BTreeSet<NodeId>,
    /// Those who receive the log and do not vote.
    pub learners: BTreeSet<NodeId>,
    /// Where each member listens for its peers, as the transport writes addresses
    /// (`unix:/…`, `tcp:127.0.0.1:…`); consensus only carries it.
    pub addresses: BTreeMap<NodeId, String>,
}

impl Configuration {
    /// Everyone who receives the log.
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.voters.iter().chain(&self.outgoing).chain(&self.learners).copied().collect()
    }
}

/// A snapshot as the log knows it: where it stands, and who the members were then.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SnapshotMark {
    /// The last entry that it covers…
    pub index: LogIndex,
    /// …and that entry's term.
    pub term: Term,
    /// In force as of `index`.
    pub configuration: Configuration,
}

/// Consecutive bytes of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chunk {
    pub data: Bytes,
    /// They reach its end.
    pub done: bool,
}

/// One step of a change of membership.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// `node`, which listens at `address`, receives the log from now on, without a vote.
    AddLearner { node: NodeId, address: String },
    /// A learner gets a vote. Refused until it has caught up.
    Promote { node: NodeId },
    /// A voter becomes a learner.
    Demote { node: NodeId },
    /// `node` is no member any more.
    Remove { node: NodeId },
    /// `node`, a member as before, listens at `address` from now on.
    Relocate { node: NodeId, address: String },
}

/// Why a request was not taken. All of them mean: no effect, safe to try elsewhere or later.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// This node does not lead; `leader` does, as far as it knows.
    NotLeader { leader: Option<NodeId> },
    /// Too much is under way; try again after a while.
    Busy,
    /// Another change of membership, or another transfer, is under way: wait for its end.
    ChangeUnderWay,
    /// `node` lacks too much of the log to do this now.
    NotCaughtUp { node: NodeId },
    /// The request makes no sense as the group stands; says why.
    Invalid(String),
    /// The leadership could not be handed over within an election time-out.
    TransferFailed { to: NodeId },
}

/// What a core is told once, at its start.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Config {
    /// Who this core is.
    pub id: NodeId,
    /// The only source of randomness.
    pub seed: u64,
    /// An election starts when nothing was heard of a leader for a random time in this range
    /// (paper §5.2; 150–300 ms by default).
    pub election_timeout: std::ops::Range<Duration>,
    /// A leader is heard of at least this often.
    pub heartbeat_interval: Duration,
    /// Opt-in: a leader that a quorum answered serves reads for a while without asking again. Every
    /// member must say the same.
    pub lease: Option<Lease>,
    /// Bytes of entries in one message at most, unless a single entry is larger.
    pub max_message_bytes: usize,
    /// Messages with entries that may be under way to one follower. Few, and on purpose: while
    /// they are, what clients bring gathers for the next, so that under load messages grow instead
    /// of multiplying (two instead of sixty-four: two thirds more writes a second on five nodes and
    /// two cores). At least two, or a follower's disk would wait for the network.
    pub max_in_flight_messages: usize,
    /// Bytes of entries that may be under way to one follower.
    pub max_in_flight_bytes: usize,
    /// Bytes of entries proposed here and not yet applied; beyond it, proposals are refused as
    /// [`Refusal::Busy`].
    pub max_uncommitted_bytes: usize,
    /// Reads that may wait for their leadership to be confirmed.
    pub max_pending_reads: usize,
    /// Bytes of applied entries kept in memory for followers that are only a little behind.
    pub cache_bytes: usize,
    /// Bytes of entries handed to the state machine and not yet applied.
    pub max_applying_bytes: usize,
    /// Bytes of a snapshot in one message.
    pub snapshot_chunk_bytes: usize,
    /// Entries that stay in the log although a snapshot covers them, for followers that are only a
    /// little behind.
    pub keep_entries: u64,
    /// For the simulator: a bug put back. See [`museum`](crate::museum).
    pub bugs: Bugs,
}

impl Config {
    /// The defaults for `id`, with `seed` for its randomness.
    pub fn new(id: NodeId, seed: u64) -> Config {
        Config {
            id,
            seed,
            election_timeout: Duration::from_millis(150)..Duration::from_millis(300),
            heartbeat_interval: Duration::from_millis(50),
            lease: None,
            max_message_bytes: 1 << 20,
            max_in_flight_messages: 2,
            max_in_flight_bytes: 8 << 20,
            max_uncommitted_bytes: 16 << 20,
            max_pending_reads: 16_384,
            cache_bytes: 4 << 20,
            max_applying_bytes: 4 << 20,
            snapshot_chunk_bytes: 256 << 10,
            keep_entries: 10_000,
            bugs: Bugs::none(),
        }
    }
}

/// What leases rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// By how much two members' clocks may differ at most in measuring the shortest election
    /// time-out. If they differ by more, reads may be stale: this is the declared bound.
    pub clock_error: Duration,
}

/// What the disk holds when a core starts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Saved<C: Consensus> {
    /// The last hard state that was written.
    pub hard_state: C::HardState,
    /// The newest snapshot; zeros without one. The state machine starts from it.
    pub snapshot: SnapshotMark,
    /// The entry right before the first that the log holds: the snapshot's last, or an earlier one,
    /// where the log still has entries that the snapshot covers.
    pub log_start: (LogIndex, Term),
    /// Every configuration entry in the log, in order.
    pub configurations: Vec<(LogIndex, Configuration)>,
    /// The terms of the log's entries as runs: each pair is the first index of a run of entries of
    /// that term. Terms never decrease.
    pub term_runs: Vec<(LogIndex, Term)>,
    /// The last index in the log; `snapshot`'s if it holds no entry.
    pub last_index: LogIndex,
}

/// A core as others may see it: for the status table, the metrics, and the invariants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Status {
    pub id: NodeId,
    pub role: Role,
    pub term: Term,
    /// Whom this node voted for in `term`, where the algorithm votes.
    pub voted_for: Option<NodeId>,
    /// Who leads, as far as this node knows.
    pub leader: Option<NodeId>,
    pub commit_index: LogIndex,
    /// Handed to the state machine and confirmed by it.
    pub applied_index: LogIndex,
    pub first_index: LogIndex,
    pub last_index: LogIndex,
    pub last_term: Term,
    /// What is durable here.
    pub durable_index: LogIndex,
    /// The last entry that the newest snapshot covers; zero without one.
    pub snapshot_index: LogIndex,
    pub configuration: Configuration,
    /// On a leader: each other member, as it sees it.
    pub peers: BTreeMap<NodeId, PeerStatus>,
    /// Reads that wait for a leadership to be confirmed.
    pub pending_reads: usize,
    /// On a leader: to whom it is handing over.
    pub transfer_to: Option<NodeId>,
    /// Bytes proposed here and not yet applied.
    pub uncommitted_bytes: usize,
    /// Elections this core has started since its own start.
    pub elections_started: u64,
    /// Elections this core has won since its own start.
    pub elections_won: u64,
}

/// What a step must not take back: cheap to copy, so that every step is checked, in production
/// too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    pub role: Role,
    pub term: Term,
    pub voted_for: Option<NodeId>,
    pub commit_index: LogIndex,
    pub applied_index: LogIndex,
    pub last_index: LogIndex,
}

/// What a leader knows of a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerStatus {
    /// The last entry known to be durable there.
    pub match_index: LogIndex,
    /// The next entry to send.
    pub next_index: LogIndex,
    /// `probe`, `replicate` or `snapshot`.
    pub state: &'static str,
    /// When it last answered.
    pub last_heard: Option<Instant>,
    /// Entries were sent in so many messages that it has not answered yet; so many bytes of them.
    pub in_flight: (usize, usize),
    /// Since when, at least, it lacks an entry that the leader has; `None`: it has them all.
    pub behind_since: Option<Instant>,
}

//! A replica: consensus, log and state machine composed into one deterministic value.
//!
//! It is told what happened ([`Event`]) and says what must be done ([`Output`]), like the core
//! within it; only the disk it drives itself, through the [`Disk`] trait. A node wraps sockets and
//! a clock around it, the simulator a virtual world: both run this same code.
//!
//! ```text
//!        Event                                                        Output
//!   Client ───► requests (pending) ──Propose, Read──► core ──Send───► (after the disk) ──► Send
//!   Peer ─────────────────────Receive────────────────►  │
//!   Disk ───► log ──────────Persisted, LogRead───────►  ├──Persist─► log
//!                                                       ├──Apply───► machine ──► Reply
//!                                                       └──ServeRead──► machine ──► Reply
//! ```
//!
//! # Turns
//! Its driver hands in all events that wait, then calls [`Replica::finish_turn`]. Proposals of a
//! turn reach the core as one batch and the log as one group: under load, one message to each
//! follower and one fdatasync carry many clients' writes.
//!
//! # Requests
//! A follower hands its clients' requests on to the leader, in messages on the same links as all
//! else. [`pending`] says what a client is told when that fails.

pub mod agreement;
pub mod announcing;
pub mod deadlines;
pub mod fetch;
pub mod forgetting;
pub mod install;
pub mod keep_alive;
pub mod leases;
pub mod members;
mod message;
mod observe;
pub mod orders;
pub mod pending;
pub mod quota;
mod recorder;
pub mod repair;
mod request;
mod running;
mod samples;
mod serve;
pub mod snapshots;
mod status;
mod step;
pub mod supply;
pub mod upgrade;

pub use members::{MemberOrder, MemberRefusal, MemberResult};
pub use message::*;
pub use observe::Observation;
pub use pending::Stage;
pub use recorder::Recorder;
pub use request::*;
pub use samples::{Samples, Stopwatch};
pub use status::*;

use crate::consensus::{Config, Consensus};
use crate::kv::{Announcement, Machine, MachineOptions};
use crate::museum::Bugs;
use crate::quota::Quota;
use crate::retention::Retention;
use crate::storage::{Damaged, Disk, Identity, LogError, LogOptions, SegmentLog, Tear};
use crate::types::{ClusterId, Instant, LeaseId, LogIndex, NodeId, Revision, Term};
use repair::Repairing;
use running::Running;

/// What a replica is told once, at its start.
#[derive(Clone, Debug)]
pub struct Options {
    pub cluster: ClusterId,
    pub consensus: Config,
    pub log: LogOptions,
    /// Requests under way at once, of clients here and of relaying nodes; more are refused as busy.
    pub max_requests: usize,
    /// Bytes of log that clients' writes must leave free, for what a cluster needs to go on: votes,
    /// no-ops, configurations.
    pub log_reserve: u64,
    /// A snapshot is taken about every so many bytes of commands: see [`snapshots`].
    pub snapshot_log_bytes: u64,
    /// The replicas compare their states at each multiple of this index; zero: never. All members
    /// must say the same: see [`agreement`].
    pub hash_every: u64,
    /// How much of the past is kept: see [`forgetting`].
    pub retention: Retention,
    /// How much is stored at most: see [`quota`].
    pub quota: Quota,
    /// What the others are told of this one: see [`announcing`]. `None`: nothing.
    pub announcement: Option<Announcement>,
    /// What the program brings to the state machine.
    pub machine: MachineOptions,
    /// What work is measured with. Nothing depends on what it says; a simulation has none.
    pub stopwatch: Option<Stopwatch>,
}

impl Options {
    /// The defaults, for a member of `cluster` that `consensus` describes.
    pub fn new(cluster: ClusterId, consensus: Config) -> Options {
        Options {
            cluster,
            consensus,
            log: LogOptions::default(),
            max_requests: 16_384,
            log_reserve: 64 << 10,
            snapshot_log_bytes: 64 << 20,
            hash_every: 1024,
            retention: Retention::default(),
            quota: Quota::default(),
            announcement: None,
            machine: MachineOptions::default(),
            stopwatch: None,
        }
    }

    /// For the simulator: the same, with `bugs` put back, wherever they live.
    pub fn with_bugs(mut self, bugs: Bugs) -> Options {
        self.consensus.bugs = bugs;
        self.log.bugs = bugs;
        self.machine.bugs = bugs;
        self
    }
}

/// What was found on the disk at the start.
#[derive(Clone, Debug)]
pub struct OpenReport {
    pub last_index: LogIndex,
    /// A write that the last stop cut short; it was removed, and had never been acknowledged.
    pub tear: Option<Tear>,
    /// Entries that cannot be read: the replica [repairs](repair) them before it takes part.
    pub damaged: Vec<Damaged>,
}

/// A reason to stop the node at once: going on could break a promise.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    #[error("the log failed: {0}")]
    Log(#[from] LogError),
    #[error(
        "the cluster raised its state machine to version {to}, and this program knows versions up \
         to {supports}: start this node with a newer program"
    )]
    Outgrown { to: u16, supports: u16 },
    #[error(
        "at index {index} this node's state has the hash {own:032x}, and a majority of the voters \
         has {majority:032x}: this node is wrong. Keep its directory for whoever looks into it, \
         and let the node come back without its data, under a new id"
    )]
    Diverged { index: LogIndex, own: u128, majority: u128 },
    #[error(
        "the received snapshot of index {index} cannot be installed: {why}. The disk or the memory \
         of this machine is not to be trusted; if it is sound, start the node again"
    )]
    Snapshot { index: LogIndex, why: String },
}

/// One replica of one Raft group.
pub struct Replica<C: Consensus, D: Disk> {
    life: Life<C, D>,
    /// It ended with an error, and nobody may look at its state any more.
    has_failed: bool,
    /// A checker wants to know what changes.
    is_observed: bool,
    /// Waits for the core that it is to record.
    recorder: Option<Box<dyn Recorder<C>>>,
}

/// What a replica is doing.
enum Life<C: Consensus, D: Disk> {
    /// Its log is damaged; it takes no part.
    Repairing(Box<Repairing<C, D>>),
    Running(Box<Running<C, D>>),
    /// It failed while it became whole, and is not used any more.
    Over,
}

impl<C: Consensus, D: Disk> Replica<C, D> {
    /// A replica as it stands after a start, from what `disk` holds.
    ///
    /// # Errors
    /// As [`SegmentLog::open_damaged`]: not initialised, another node's, or damaged beyond what
    /// peers can repair.
    pub fn open(now: Instant, options: Options, disk: D) -> Result<(Self, OpenReport), LogError> {
        let identity = Identity { cluster: options.cluster, node: options.consensus.id };
        let (mut log, mut recovered, is_damaged) =
            SegmentLog::open_damaged(disk, identity, options.log.clone())?;
        let damaged = log.damaged();
        // What is damaged beside the entries does not matter to anybody.
        if is_damaged && damaged.is_empty() {
            (log, recovered) = log.heal()?;
        }
        let (last_index, tear) = (recovered.last_index, recovered.tear.clone());
        let life = match damaged.is_empty() {
            true => Life::Running(Box::new(Running::start(now, options, log, recovered)?)),
            false => Life::Repairing(Box::new(Repairing::begin(now, options, log, recovered)?)),
        };
        let replica = Replica { life, has_failed: false, is_observed: false, recorder: None };
        Ok((replica, OpenReport { last_index, tear, damaged }))
    }

    /// Takes in what happened. What must be done comes out of [`Replica::finish_turn`].
    pub fn handle(&mut self, now: Instant, event: Event<C::Message>) {
        match &mut self.life {
            Life::Running(running) => running.handle(now, event),
            Life::Repairing(repairing) => repairing.handle(now, event),
            Life::Over => {}
        }
    }

    /// Ends a turn: proposes what clients brought, lets the log write, and says what must be done.
    ///
    /// # Errors
    /// After one, the replica must not be used any more, and its node must stop.
    pub fn finish_turn(&mut self, now: Instant) -> Result<Vec<Output<C::Message>>, Fatal> {
        let mut outputs = match &mut self.life {
            Life::Running(running) => {
                let outputs = running.finish_turn(now);
                self.has_failed |= outputs.is_err();
                return outputs;
            }
            Life::Repairing(repairing) => repairing.finish_turn(now)?,
            Life::Over => return Ok(Vec::new()),
        };
        self.life = match std::mem::replace(&mut self.life, Life::Over) {
            Life::Repairing(repairing) if repairing.is_whole() => {
                let mut running = repairing.take_part(now)?;
                if self.is_observed {
                    running.observe();
                }
                running.recorder = self.recorder.take();
                outputs.extend(running.finish_turn(now)?);
                Life::Running(Box::new(running))
            }
            life => life,
        };
        Ok(outputs)
    }

    /// When [`Event::Elapsed`] is wanted, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Instant> {
        match &self.life {
            Life::Running(running) => running.next_deadline(),
            Life::Repairing(repairing) => repairing.next_deadline(),
            Life::Over => None,
        }
    }

    pub fn status(&self) -> ReplicaStatus {
        match &self.life {
            Life::Running(running) => running.status(),
            Life::Repairing(repairing) => repairing.status(),
            Life::Over => ReplicaStatus::nothing(),
        }
    }

    /// Requests under way here whose path somebody follows.
    pub fn traced(&self) -> Vec<Traced> {
        self.running().map(Running::traced).unwrap_or_default()
    }

    /// Where it stands; `None` while it [repairs](Replica::is_repairing), or has ended.
    pub fn place(&self) -> Option<Place> {
        self.running().map(Running::place)
    }

    /// Whether it is a member without a vote, and is to remain one.
    pub fn is_learner(&self) -> bool {
        self.running().is_some_and(Running::is_learner)
    }

    /// Looks at the state as it is here; `None`: there is none to be trusted. How old it may be is
    /// its caller's affair.
    pub fn look<T>(&self, look: impl FnOnce(&Machine) -> T) -> Option<T> {
        let running = self.running().filter(|_| !self.has_failed)?;
        Some(look(&running.machine))
    }

    /// Who leads, as far as this replica knows.
    pub fn leader(&self) -> Option<NodeId> {
        self.running()?.core.leader()
    }

    pub fn term(&self) -> Term {
        self.running().map_or(Term(0), |running| running.core.checkpoint().term)
    }

    /// All leases as this replica knows them, and the revision of its state: the first to end
    /// first, if it leads; else by their names.
    pub fn leases(&self) -> (Revision, Vec<LeaseId>) {
        self.running().map(Running::leases).unwrap_or_default()
    }

    fn running(&self) -> Option<&Running<C, D>> {
        if let Life::Running(running) = &self.life { Some(running) } else { None }
    }

    fn running_mut(&mut self) -> Option<&mut Running<C, D>> {
        if let Life::Running(running) = &mut self.life { Some(running) } else { None }
    }

    /// Whether its log is damaged, and it takes no part until it is whole.
    pub fn is_repairing(&self) -> bool {
        matches!(self.life, Life::Repairing(_))
    }

    /// Bytes of log that certainly still fit on the disk.
    pub fn room(&self) -> u64 {
        self.running().map_or(0, Running::room)
    }

    /// Whether this replica still hands its leadership over before it stops.
    pub fn is_handing_over(&self) -> bool {
        self.running().is_some_and(Running::is_handing_over)
    }

    /// What was measured since this was last asked.
    pub fn take_samples(&mut self) -> Samples {
        self.running_mut().map(Running::take_samples).unwrap_or_default()
    }

    /// From now on, changes are noted.
    pub fn observe(&mut self) {
        self.is_observed = true;
        if let Some(running) = self.running_mut() {
            running.observe();
        }
    }

    /// What changed since this was last asked.
    pub fn take_observations(&mut self) -> Vec<Observation<C>> {
        self.running_mut().map(Running::take_observations).unwrap_or_default()
    }

    /// From now on, what the core is told is recorded.
    pub fn record(&mut self, recorder: Box<dyn Recorder<C>>) {
        match &mut self.life {
            Life::Running(running) => running.recorder = Some(recorder),
            Life::Repairing(_) | Life::Over => self.recorder = Some(recorder),
        }
    }

    /// The core was told the last that it is ever told: its record ends in good order.
    pub fn end_record(&mut self, now: Instant) {
        if let Some(running) = self.running_mut() {
            running.end_record(now);
        }
    }

    /// The consensus core, for a checker.
    ///
    /// # Panics
    /// While the replica [repairs](Replica::is_repairing): there is none then.
    pub fn core(&self) -> &C {
        self.running().map(Running::core).expect("a replica that repairs its log has no core")
    }

    /// The state machine, unless the replica [repairs](Replica::is_repairing) or has failed.
    pub fn state(&self) -> Option<&Machine> {
        self.running().map(Running::machine)
    }

    /// The state machine, for a checker.
    ///
    /// # Panics
    /// As [`Replica::core`].
    pub fn machine(&self) -> &Machine {
        self.state().expect("a replica that repairs its log has no state")
    }
}

//! One node: a replica, its disk, its clock, and what is known of it from outside.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::time::Duration;

use super::schedule::{Loss, Setting};
use crate::chaos::Clock;
use crate::consensus::raft::{Message, Raft};
use crate::consensus::{Config, Configuration, Lease};
use crate::kv::MachineOptions;
use crate::kv::version::{FIRST_VERSION, LATEST_VERSION};
use crate::replica::{Event, OpenReport, Options, Replica};
use crate::retention::Retention;
use crate::storage::{Crash, Identity, LogError, LogOptions, MemoryDisk, SegmentLog};
use crate::types::{ClusterId, Instant, NodeId, Random, Ticket};

/// Which cluster it is does not matter.
pub const CLUSTER: ClusterId = ClusterId(7);

/// Events that wait for a node which stands still; more are lost, as a socket's buffer is bounded.
const MAX_INBOX: usize = 4096;

/// Little, so that every life compacts its past many times.
const RETENTION: Retention = Retention::Revisions(50);

/// A node of the simulated cluster.
pub struct Node {
    pub id: NodeId,
    pub disk: MemoryDisk,
    /// `None`: it is down.
    pub replica: Option<Replica<Raft, MemoryDisk>>,
    pub clock: Clock,
    /// It has a log: a spare node gets one when it is to join.
    pub born: bool,
    /// Its disk lost what was durable: it must be repaired by others, or not take part any more.
    pub damaged: bool,
    /// Its log is damaged, and it asks the others for what it lacks.
    pub repairing: bool,
    /// It was removed, and will not come back.
    pub retired: bool,
    /// It was removed from the members: its id is never used again.
    pub removed: bool,
    /// The newest version of the state machine that its program knows.
    pub supports: u16,
    /// Counts its lives: what was meant for an earlier one is void.
    pub life: u64,
    /// How many faults keep it down, or still.
    pub held_down: u32,
    pub paused: u32,
    /// What came while it stood still.
    pub inbox: VecDeque<Event<Message>>,
    /// When it will next be woken, by the world's time.
    pub wake: Option<Instant>,
    /// The disk is busy with an operation.
    pub disk_busy: bool,
    /// How long the disk takes.
    pub latency: Range<Duration>,
    /// Requests that it was asked and has not answered.
    pub asked: BTreeSet<Ticket>,
    /// It believes to lead.
    pub leads: bool,
    /// Since when another leads a newer term, if it still believes to lead.
    pub superseded: Option<Instant>,
    random: Random,
}

impl Node {
    /// A node without a log, which is down.
    pub fn new(id: NodeId, seed: u64, setting: &Setting) -> Node {
        let disk = MemoryDisk::new();
        disk.set_stepped(true);
        disk.set_ignore_syncs(setting.lying_disks);
        let random = Random::from_seed(seed ^ id.0.wrapping_mul(0xd6e8_feb8_6659_fd93));
        Node {
            id,
            disk,
            replica: None,
            clock: Clock::new(Instant::default(), Instant::default()),
            life: 0,
            held_down: 0,
            paused: 0,
            inbox: VecDeque::new(),
            wake: None,
            disk_busy: false,
            latency: setting.disk.clone(),
            asked: BTreeSet::new(),
            leads: false,
            superseded: None,
            random,
            born: false,
            damaged: false,
            repairing: false,
            retired: false,
            removed: false,
            supports: if setting.old_programs { FIRST_VERSION } else { LATEST_VERSION },
        }
    }

    /// It gets a log: a member's of a new cluster, or the empty one of a node that is to join.
    pub fn bear(&mut self, initial: Option<&Configuration>) -> Result<(), LogError> {
        // A node that joins brings the newest program: the cluster may rely on it already.
        if initial.is_none() {
            self.supports = LATEST_VERSION;
        }
        let identity = Identity { cluster: CLUSTER, node: self.id };
        match initial {
            Some(initial) => SegmentLog::create(&mut self.disk, identity, initial)?,
            None => SegmentLog::create_empty(&mut self.disk, identity)?,
        }
        self.born = true;
        Ok(())
    }

    /// It starts from what its disk holds, with a clock that began anew.
    pub fn open(&mut self, now: Instant, setting: &Setting) -> Result<OpenReport, LogError> {
        let origin = Instant(Duration::from_millis(self.random.below(1_000_000)));
        self.clock = Clock::new(now, origin);
        let config = Config {
            cache_bytes: setting.cache_bytes,
            max_message_bytes: setting.max_message_bytes,
            max_in_flight_messages: setting.max_in_flight,
            snapshot_chunk_bytes: setting.snapshot_chunk_bytes,
            keep_entries: setting.keep_entries,
            lease: setting.lease.then_some(Lease { clock_error: Duration::from_millis(5) }),
            ..Config::new(self.id, self.random.bits())
        };
        let options = Options {
            log: LogOptions {
                segment_bytes: setting.segment_bytes,
                zero_ahead_bytes: 1 << 10,
                index_spacing_bytes: 1 << 10,
                ..LogOptions::default()
            },
            log_reserve: 1 << 10,
            snapshot_log_bytes: setting.snapshot_log_bytes,
            hash_every: setting.hash_every,
            retention: RETENTION,
            machine: MachineOptions { supports: self.supports, ..MachineOptions::default() },
            ..Options::new(CLUSTER, config)
        }
        .with_bugs(setting.bugs);
        let (mut replica, report) = Replica::open(origin, options, self.disk.handle())?;
        replica.observe();
        self.repairing = replica.is_repairing();
        self.replica = Some(replica);
        self.life += 1;
        self.wake = None;
        self.disk_busy = false;
        Ok(report)
    }

    /// It dies, and its disk forgets. Requests that it had not answered never will be.
    pub fn crash(&mut self, loss: Loss) -> BTreeSet<Ticket> {
        self.replica = None;
        self.repairing = false;
        self.life += 1;
        self.wake = None;
        self.disk_busy = false;
        self.leads = false;
        self.superseded = None;
        self.inbox.clear();
        let crash = match loss {
            Loss::Nothing => Crash::LoseNothing,
            Loss::Unsynced => Crash::LoseUnsynced,
            Loss::Some => Crash::KeepSome(self.random.bits()),
        };
        if loss != Loss::Nothing {
            // The disk was in the middle of what it had been asked to do: mostly between a write
            // and its sync.
            self.disk.power_off_after([0, 1, 1, 1, 2, 3][self.random.below(6) as usize]);
            while self.disk.step() {}
        }
        self.disk.crash(crash);
        std::mem::take(&mut self.asked)
    }

    /// Its disk loses everything.
    pub fn wipe(&mut self) {
        self.disk = MemoryDisk::new();
        self.disk.set_stepped(true);
    }

    /// A bit of what its log surely holds durably is another. False if there is nothing.
    pub fn rot(&mut self, share: f64) -> bool {
        let files = self.disk.files();
        let logs: Vec<_> = files.iter().filter(|(name, _)| name.ends_with(".seg")).collect();
        let place = (share * 997.0) as usize % logs.len().max(1);
        let Some((name, bytes)) = logs.get(place) else { return false };
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0);
        let (offset, bit) = ((share * used as f64) as u64, (share * 8.0) as u32);
        // Rot in the last group cannot be told from a tear: that limit is stated, and spared.
        let copy = self.disk.fork();
        copy.set_stepped(false);
        // The disk's other faults would hide what is to be seen.
        copy.set_fail_syncs(false);
        copy.set_capacity(None);
        copy.flip_bit(name, offset, bit);
        let identity = Identity { cluster: CLUSTER, node: self.id };
        let found = SegmentLog::open_damaged(copy, identity, LogOptions::default());
        let told = !matches!(found, Ok((_, _, false)));
        told && self.disk.flip_bit(name, offset, bit)
    }

    /// Its core, if it takes part.
    pub fn core(&self) -> Option<&Raft> {
        self.replica.as_ref().filter(|_| !self.repairing).map(Replica::core)
    }

    /// Whether it can be told something.
    pub fn is_up(&self) -> bool {
        self.replica.is_some()
    }

    /// How long the disk will take for its next operation.
    pub fn draw_latency(&mut self) -> Duration {
        self.random.duration(self.latency.clone())
    }

    /// Keeps an event for later.
    pub fn keep(&mut self, event: Event<Message>) {
        if self.inbox.len() < MAX_INBOX {
            self.inbox.push_back(event);
        }
    }
}

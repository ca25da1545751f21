//! The segment log: what the replica sees of it.
//!
//! # How a write travels
//!
//! ```text
//!  append(persist) ──► queue ──flush──► group ──write+sync──► Durable(seq)
//!                        ▲                │  one group under way; all that arrives meanwhile
//!                        └────────────────┘  gathers in the queue and shares the next sync
//! ```
//!
//! [`SegmentLog::append`] only queues. [`SegmentLog::flush`], once in each turn of the event loop,
//! starts a group if none is under way. [`SegmentLog::poll`], when the disk has called its waker
//! or the deadline has come, takes what the disk has done, starts what can be started, and hands
//! out [`LogEvent`]s. So a lone write is synced at once, and under load the group grows by itself
//! to what the disk can do: group commit without a timer.
//!
//! # A full disk
//!
//! The next segment is allocated when the current one is half full, so a full disk is noticed while
//! there is still room. [`SegmentLog::room`] says what certainly still fits; the replica
//! refuses clients' writes well before it is used up, so that votes still find room. What was
//! appended beyond it waits, and is neither lost nor acknowledged; every second the log tries
//! again. Any other failure of the disk is final: [`SegmentLog::poll`] returns it, now and ever
//! after, and the node stops.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use crate::codec;
use crate::consensus::{Configuration, Entry, Payload, Persist, ToBytes};
use crate::museum::Bugs;
use crate::types::{Instant, LogIndex, Seq, Term};

use super::contents::Contents;
use super::disk::{Completion, Disk, DiskErrorKind};
use super::error::LogError;
use super::format::{Identity, MARK_LEN, RESERVE, record_len};
use super::reader::{ReadRequest, Reading};
use super::recovery;
use super::writer::{self, Next, Purpose, Script, Segment};

/// How long after a refusal for want of space the log tries again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Sync times kept for whoever collects them.
const MAX_SYNC_TIMES: usize = 1024;
/// Reads that may wait; a core has a few outstanding at most.
const MAX_READS: usize = 1024;

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
    /// The last entry that a snapshot covers; zeros without one.
    pub snapshot: (LogIndex, Term),
    /// The configuration as of `snapshot`.
    pub snapshot_configuration: Configuration,
    /// Every configuration entry in the log, in order.
    pub configurations: Vec<(LogIndex, Configuration)>,
    /// First index and term of each run of entries of the same term.
    pub term_runs: Vec<(LogIndex, Term)>,
    /// The last entry's index.
    pub last_index: LogIndex,
    /// What was cut off the end, if anything was.
    pub tear: Option<Tear>,
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
    /// The disk had no space when last asked; see [`SegmentLog::room`].
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
}

/// One `Persist`, waiting for its group.
pub(super) struct Pending {
    pub seq: Seq,
    pub hard_state: Option<Vec<u8>>,
    pub truncate_from: Option<LogIndex>,
    pub entries: Vec<Entry>,
    /// Upper bound of the bytes it takes in a group.
    pub bytes: u64,
}

/// The log; see the [module](self).
pub struct SegmentLog<D: Disk> {
    pub(super) disk: D,
    pub(super) identity: Identity,
    pub(super) options: LogOptions,
    /// All that is in groups, the one under way included.
    pub(super) contents: Contents,
    /// Name and length of every segment, by sequence.
    pub(super) segments: BTreeMap<u64, (String, u64)>,
    /// The segment being written.
    pub(super) current: Segment,
    pub(super) next: Next,
    /// Bytes of header and opening group, if a segment were opened now.
    pub(super) opening_len: u64,
    /// Appended, and in no group yet.
    pub(super) queue: VecDeque<Pending>,
    pub(super) queue_bytes: u64,
    /// The entries that are not durable yet and not truncated either, each with its write's
    /// number; consecutive, and ending with `last_index`.
    pub(super) tail: VecDeque<(Seq, Entry)>,
    /// The last entry appended.
    pub(super) last_index: LogIndex,
    /// The group or the change of segment under way.
    pub(super) active: Option<Script>,
    /// The allocation under way.
    pub(super) allocation: Option<Script>,
    /// The group buffer, between groups.
    pub(super) buffer: BytesMut,
    pub(super) zeros: Bytes,
    /// When to prove the last group, unless another follows.
    pub(super) idle_at: Option<Instant>,
    pub(super) reads: VecDeque<ReadRequest>,
    pub(super) reading: Option<Reading>,
    pub(super) events: Vec<LogEvent>,
    pub(super) now: Instant,
    pub(super) counts: LogStatus,
    sync_times: VecDeque<Duration>,
    failed: Option<LogError>,
}

impl<D: Disk> SegmentLog<D> {
    /// The first start ever: writes a log that holds `initial` as entry 1 of term 1. Refuses if
    /// there is one. After a crash in the middle there is none, and it can be called again.
    pub fn create(
        disk: &mut D,
        identity: Identity,
        initial: &Configuration,
    ) -> Result<(), LogError> {
        recovery::create(disk, identity, initial)
    }

    /// Recovers the log. A tear is cut and reported; corruption is refused. All that is reported
    /// here is durable.
    pub fn open(
        mut disk: D,
        identity: Identity,
        options: LogOptions,
    ) -> Result<(Self, Recovered), LogError> {
        let found = recovery::open(&mut disk, identity, &options)?;
        let contents = found.contents;
        let recovered = Recovered {
            hard_state: contents.hard_state.clone(),
            snapshot: contents.snapshot,
            snapshot_configuration: contents.snapshot_configuration.clone(),
            configurations: contents.configurations.clone(),
            term_runs: contents.term_runs.clone(),
            last_index: contents.last_index,
            tear: found.tear,
        };
        let zeros = Bytes::from(vec![0; options.zero_ahead_bytes as usize]);
        let log = SegmentLog {
            disk,
            identity,
            options,
            last_index: contents.last_index,
            opening_len: writer::opening_len(&contents),
            contents,
            segments: found.segments,
            current: found.current,
            next: Next::None,
            queue: VecDeque::new(),
            queue_bytes: 0,
            tail: VecDeque::new(),
            active: None,
            allocation: None,
            buffer: BytesMut::new(),
            zeros,
            // The last group may have no proof behind it yet: let it have one soon.
            idle_at: Some(Instant::default()),
            reads: VecDeque::new(),
            reading: None,
            events: Vec::new(),
            now: Instant::default(),
            counts: LogStatus::default(),
            sync_times: VecDeque::new(),
            failed: None,
        };
        Ok((log, recovered))
    }

    /// Queues a write. Writes become durable in the order of their numbers, each wholly or not at
    /// all.
    ///
    /// # Panics
    /// If the entries do not adjoin the log: a broken invariant of the core.
    pub fn append<H: ToBytes>(&mut self, persist: &Persist<H>) {
        if let Some(from) = persist.truncate_from {
            self.truncate_tail(from);
        }
        let hard_state = persist.hard_state.as_ref().map(ToBytes::to_bytes);
        let mut bytes = MARK_LEN + hard_state.as_ref().map_or(0, |h| record_len(h.len()));
        bytes += persist.truncate_from.map_or(0, |_| record_len(0));
        for entry in &persist.entries {
            assert_eq!(entry.index, self.last_index.next(), "an entry must adjoin the log");
            self.last_index = entry.index;
            bytes += entry_cost(&entry.payload);
            self.tail.push_back((persist.seq, entry.clone()));
        }
        self.queue_bytes += bytes;
        self.queue.push_back(Pending {
            seq: persist.seq,
            hard_state,
            truncate_from: persist.truncate_from,
            entries: persist.entries.clone(),
            bytes,
        });
    }

    fn truncate_tail(&mut self, from: LogIndex) {
        assert!(
            from > self.contents.snapshot.0 && from <= self.last_index.next(),
            "a truncation from {from} on, when the log ends with {}",
            self.last_index
        );
        self.last_index = from.previous();
        while self.tail.back().is_some_and(|(_, entry)| entry.index >= from) {
            self.tail.pop_back();
        }
        if let Some(reading) = &mut self.reading {
            reading.truncate(from);
        }
    }

    /// Ends a turn: starts a group with what was appended, if none is under way.
    pub fn flush(&mut self) {
        if self.failed.is_none() {
            self.start_writing();
        }
    }

    /// Asks for entries from `from` on: none past `to`, and no more than `max_bytes` of payload,
    /// but at least one. Answered in order by [`LogEvent::Read`] or [`LogEvent::ReadFailed`], at
    /// the earliest from the next [`poll`](Self::poll). Entries that are not durable yet are
    /// answered too; entries truncated meanwhile never.
    pub fn read(&mut self, from: LogIndex, to: LogIndex, max_bytes: usize) {
        if self.reads.len() >= MAX_READS {
            self.events.push(LogEvent::ReadFailed { from });
            return;
        }
        self.reads.push_back(ReadRequest { from, to, max_bytes });
        if self.failed.is_none() {
            self.start_reading();
        }
    }

    /// Takes what the disk has done and says what came of it. To be called when the disk has
    /// called its waker and when [`next_deadline`](Self::next_deadline) has come. An error is
    /// final: every later call returns it again.
    pub fn poll(&mut self, now: Instant) -> Result<Vec<LogEvent>, LogError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.now = self.now.max(now);
        match self.poll_disk() {
            Ok(()) => Ok(std::mem::take(&mut self.events)),
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    fn poll_disk(&mut self) -> Result<(), LogError> {
        while let Some(completion) = self.disk.complete() {
            self.completed(completion)?;
        }
        self.retry();
        self.start_writing();
        self.start_reading();
        Ok(())
    }

    fn completed(&mut self, completion: Completion) -> Result<(), LogError> {
        if let Some(time) = completion.sync_time {
            self.counts.syncs += 1;
            if self.sync_times.len() == MAX_SYNC_TIMES {
                self.sync_times.pop_front();
            }
            self.sync_times.push_back(time);
        }
        let id = completion.id;
        if self.reading.as_ref().is_some_and(|reading| reading.waits_for(id)) {
            return self.read_completed(completion.result?.into_bytes());
        }
        let slot = match &self.active {
            Some(script) if script.waits_for(id) => &mut self.active,
            _ => &mut self.allocation,
        };
        let Some(script) = slot.as_mut().filter(|script| script.waits_for(id)) else {
            return Ok(());
        };
        match completion.result {
            Ok(_) => {
                let done = script.advance(&mut self.disk);
                let finished = if script.is_finished() { slot.take() } else { None };
                self.recycle(done);
                if let Some(script) = finished {
                    self.finished(script.purpose);
                }
            }
            Err(error) if error.kind == DiskErrorKind::NoSpace => {
                script.wait(self.now + RETRY_AFTER);
                self.counts.full_reason = Some(error.to_string());
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn retry(&mut self) {
        for script in [&mut self.active, &mut self.allocation].into_iter().flatten() {
            if script.retry_at().is_some_and(|at| at <= self.now) {
                script.submit(&mut self.disk);
            }
        }
    }

    /// When [`poll`](Self::poll) must be called at the latest. A moment that has passed means: at
    /// once.
    pub fn next_deadline(&self) -> Option<Instant> {
        if self.failed.is_some() {
            return None;
        }
        let ready = (!self.events.is_empty()).then_some(self.now);
        let idle = self.idle_at.filter(|_| self.active.is_none() && self.queue.is_empty());
        let scripts = [&self.active, &self.allocation];
        let retry = scripts.into_iter().flatten().filter_map(Script::retry_at).min();
        [ready, idle, retry].into_iter().flatten().min()
    }

    /// Bytes that certainly still fit, beyond all that was appended: any writes fit whose
    /// [costs](Self::cost) add up to no more. About half a segment at least, unless the disk is
    /// full ([`LogStatus::full`]) or is still busy allocating. Callers refuse clients well before
    /// it reaches zero.
    pub fn room(&self) -> u64 {
        if self.active.as_ref().is_some_and(Script::is_blocked) {
            return 0;
        }
        let current = match self.active.as_ref().map(|script| &script.purpose) {
            Some(Purpose::ChangeSegment(opened)) => opened,
            _ => &self.current,
        };
        let here = current.capacity.saturating_sub(current.offset + RESERVE);
        let next = match self.next {
            Next::Ready { size } => size.saturating_sub(self.opening_len + RESERVE),
            Next::None => 0,
        };
        match here.checked_sub(self.queue_bytes) {
            Some(here) => here.max(next),
            None => next.saturating_sub(self.queue_bytes),
        }
    }

    /// Upper bound of the bytes that a write of these entries takes; a hard state adds less than
    /// 128.
    pub fn cost<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> u64 {
        let entries = entries.into_iter().map(|entry| entry_cost(&entry.payload));
        MARK_LEN + 128 + entries.sum::<u64>()
    }

    /// The log in figures.
    pub fn status(&self) -> LogStatus {
        let next = match self.next {
            Next::Ready { size } => size,
            Next::None => 0,
        };
        let full = [&self.active, &self.allocation].into_iter().flatten().any(Script::is_blocked);
        LogStatus {
            first_index: self.contents.first_index(),
            last_index: self.last_index,
            segments: self.segments.len() as u64,
            disk_bytes: self.segments.values().map(|segment| segment.1).sum::<u64>() + next,
            pending_bytes: self.queue_bytes + self.active.as_ref().map_or(0, Script::group_bytes),
            full,
            full_reason: self.counts.full_reason.clone().filter(|_| full),
            ..self.counts.clone()
        }
    }

    /// The times of the syncs since the last call, oldest first; the last
    /// thousand or so if there were more.
    pub fn take_sync_times(&mut self) -> Vec<Duration> {
        self.sync_times.drain(..).collect()
    }

    /// The disk beneath, for whoever wants to look at it or break it.
    pub fn disk_mut(&mut self) -> &mut D {
        &mut self.disk
    }

    /// Ends the log and hands back its disk. What is not durable may be lost.
    pub fn into_disk(self) -> D {
        self.disk
    }
}

/// Upper bound of the bytes that an entry takes. A configuration counts double: it is repeated at
/// the head of the next segment.
fn entry_cost(payload: &Payload) -> u64 {
    match payload {
        Payload::Noop => record_len(0),
        Payload::Command(bytes) => record_len(bytes.len()),
        Payload::Configuration(configuration) => {
            2 * record_len(codec::encode_configuration(configuration).len())
        }
    }
}

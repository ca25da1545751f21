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

use crate::consensus::{Configuration, Entry, Persist, SnapshotMark, ToBytes};
use crate::museum::Bug;
use crate::types::{Instant, LogIndex, Seq, Term};

use super::background::Lane;
use super::contents::Contents;
use super::disk::{Completion, Disk, DiskErrorKind, Operation, Times};
use super::error::LogError;
use super::figures::{configuration_cost, entry_cost};
use super::format::{Identity, MARK_LEN, record_len};
use super::reader::{ReadRequest, Reading};
use super::reception::Receiving;
use super::recovery;
use super::report::{LogEvent, LogOptions, LogStatus, Recovered};
use super::script::Script;
use super::segments::{Next, Segment, SegmentFile};
use super::snapshots::Taking;
use super::writer;

/// How long after a refusal for want of space the log tries again.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Times of writes kept for whoever collects them.
const MAX_TIMES: usize = 1024;
/// Reads that may wait; a core has a few outstanding at most.
const MAX_READS: usize = 1024;

/// One `Persist`, waiting for its group.
pub(super) struct Pending {
    pub seq: Seq,
    pub snapshot: Option<SnapshotMark>,
    pub discard_log: bool,
    pub hard_state: Option<Vec<u8>>,
    pub truncate_from: Option<LogIndex>,
    pub entries: Vec<Entry>,
    /// Upper bound of the bytes it takes in a group.
    pub bytes: u64,
}

impl Pending {
    /// A write of nothing.
    pub(super) fn nothing(seq: Seq) -> Pending {
        Pending {
            seq,
            snapshot: None,
            discard_log: false,
            hard_state: None,
            truncate_from: None,
            entries: Vec::new(),
            bytes: MARK_LEN,
        }
    }
}

/// The log; see the [module](self).
pub struct SegmentLog<D: Disk> {
    pub(super) disk: D,
    pub(super) identity: Identity,
    pub(super) options: LogOptions,
    /// All that is in groups, the one under way included.
    pub(super) contents: Contents,
    /// Every segment, by sequence.
    pub(super) segments: BTreeMap<u64, SegmentFile>,
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
    /// No entry before this one can be read, whatever `contents` still says: the log was discarded.
    pub(super) first_readable: LogIndex,
    /// What the newest mark appended covers, and the newest that is durable.
    pub(super) appended_mark: LogIndex,
    pub(super) durable_mark: LogIndex,
    /// The group or the change of segment under way.
    pub(super) active: Option<Script>,
    /// The allocation under way.
    pub(super) allocation: Option<Script>,
    /// What goes on beside the groups.
    pub(super) lane: Lane,
    /// Term and bytes of every snapshot that is durable under its name.
    pub(super) snapshots: BTreeMap<LogIndex, (Term, u64)>,
    /// The log is open to be healed, and for nothing else.
    pub(super) is_damaged: bool,
    /// Entries supplied for damaged ones.
    pub(super) repaired: BTreeMap<LogIndex, Entry>,
    pub(super) taking: Option<Taking>,
    pub(super) receiving: Option<Receiving>,
    /// How many snapshots were begun since the start.
    pub(super) takes: u64,
    pub(super) receptions: u64,
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
    times: Vec<Times>,
    pub(super) failed: Option<LogError>,
}

impl<D: Disk> SegmentLog<D> {
    /// The first start ever: writes a log that holds `initial` as entry 1 of term 1. Refuses if
    /// there is one. After a crash in the middle there is none, and it can be called again.
    pub fn create(
        disk: &mut D,
        identity: Identity,
        initial: &Configuration,
    ) -> Result<(), LogError> {
        recovery::create(disk, identity, Some(initial))
    }

    /// The first start ever of a node that joins a cluster which is running: a log without any
    /// entry, to be filled by the leader. Otherwise as [`create`](Self::create).
    pub fn create_empty(disk: &mut D, identity: Identity) -> Result<(), LogError> {
        recovery::create(disk, identity, None)
    }

    /// Recovers the log. A tear is cut and reported; corruption is refused. All that is reported
    /// here is durable.
    pub fn open(
        disk: D,
        identity: Identity,
        options: LogOptions,
    ) -> Result<(Self, Recovered), LogError> {
        Self::start(disk, identity, options, false)
    }

    /// Recovers the log although entries are damaged, for as long as it is known which. If any
    /// are, or something else is that does not matter, the log is open for reading only, until it
    /// has [healed](Self::heal); `true` then. Configurations and terms of damaged entries are not
    /// in what is reported. Nothing is changed.
    ///
    /// # Errors
    /// As [`open`](Self::open) if it is not known what was damaged, or if it was the hard state or
    /// a snapshot's mark.
    pub fn open_damaged(
        disk: D,
        identity: Identity,
        options: LogOptions,
    ) -> Result<(Self, Recovered, bool), LogError> {
        let (log, recovered) = Self::start(disk, identity, options, true)?;
        let is_damaged = log.is_damaged;
        Ok((log, recovered, is_damaged))
    }

    fn start(
        mut disk: D,
        identity: Identity,
        options: LogOptions,
        tolerate: bool,
    ) -> Result<(Self, Recovered), LogError> {
        let found = recovery::open(&mut disk, identity, &options, tolerate)?;
        let contents = found.contents;
        let (log_start, term_runs) = contents.terms();
        let recovered = Recovered {
            hard_state: contents.hard_state.clone(),
            snapshot: contents.snapshot.clone(),
            log_start,
            configurations: contents.configurations.clone(),
            term_runs,
            last_index: contents.last_index,
            tear: found.tear,
        };
        let zeros = Bytes::from(vec![0; options.zero_ahead_bytes as usize]);
        let log = SegmentLog {
            disk,
            identity,
            options,
            last_index: contents.last_index,
            first_readable: LogIndex(1),
            appended_mark: contents.snapshot.index,
            durable_mark: contents.snapshot.index,
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
            lane: Lane::default(),
            snapshots: found.snapshots,
            is_damaged: found.is_damaged,
            repaired: BTreeMap::new(),
            taking: None,
            receiving: None,
            takes: 0,
            receptions: 0,
            buffer: BytesMut::new(),
            zeros,
            // The last group may have no proof behind it yet: let it have one soon.
            idle_at: (!found.is_damaged).then(Instant::default),
            reads: VecDeque::new(),
            reading: None,
            events: Vec::new(),
            now: Instant::default(),
            counts: LogStatus::default(),
            times: Vec::new(),
            failed: None,
        };
        Ok((log, recovered))
    }

    /// Queues a write. Writes become durable in the order of their numbers, each wholly or not at
    /// all.
    ///
    /// # Panics
    /// If the entries do not adjoin the log, or the snapshot is not there or not of this log: a
    /// broken invariant of the core.
    pub fn append<H: ToBytes>(&mut self, persist: &Persist<H>) {
        assert!(!self.is_damaged, "a write to a log that has not healed yet");
        if let Some(mark) = &persist.snapshot {
            self.append_mark(mark, persist.discard_log);
        }
        if let Some(from) = persist.truncate_from {
            self.truncate_tail(from);
        }
        let hard_state = persist.hard_state.as_ref().map(ToBytes::to_bytes);
        let mut bytes = MARK_LEN + hard_state.as_ref().map_or(0, |h| record_len(h.len()));
        bytes += persist.truncate_from.map_or(0, |_| record_len(0));
        bytes += persist.snapshot.as_ref().map_or(0, |m| configuration_cost(&m.configuration));
        for entry in &persist.entries {
            assert_eq!(entry.index, self.last_index.next(), "an entry must adjoin the log");
            self.last_index = entry.index;
            bytes += entry_cost(&entry.payload);
            self.tail.push_back((persist.seq, entry.clone()));
        }
        self.queue_bytes += bytes;
        self.queue.push_back(Pending {
            snapshot: persist.snapshot.clone(),
            discard_log: persist.discard_log,
            hard_state,
            truncate_from: persist.truncate_from,
            entries: persist.entries.clone(),
            bytes,
            ..Pending::nothing(persist.seq)
        });
    }

    fn append_mark(&mut self, mark: &SnapshotMark, discard_log: bool) {
        let index = mark.index;
        assert!(
            self.snapshots.get(&index).is_some_and(|(term, _)| *term == mark.term),
            "a mark of the snapshot of {index} of term {}, which is not on the disk",
            mark.term
        );
        assert!(index >= self.appended_mark, "{index} after a mark of {}", self.appended_mark);
        self.appended_mark = index;
        if !discard_log {
            assert!(
                index <= self.last_index,
                "{index}, when the log ends with {}",
                self.last_index
            );
            return;
        }
        self.tail.clear();
        self.last_index = index;
        self.first_readable = index.next();
        if let Some(reading) = &mut self.reading {
            reading.truncate(LogIndex(0));
        }
    }

    fn truncate_tail(&mut self, from: LogIndex) {
        assert!(
            from > self.appended_mark && from <= self.last_index.next(),
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
        self.start_background();
        Ok(())
    }

    fn completed(&mut self, completion: Completion) -> Result<(), LogError> {
        self.counts.syncs += u64::from(completion.times.sync.is_some());
        if completion.times != Times::default() && self.times.len() < MAX_TIMES {
            self.times.push(completion.times);
        }
        let id = completion.id;
        if self.reading.as_ref().is_some_and(|reading| reading.waits_for(id)) {
            return self.read_completed(completion.result);
        }
        if self.lane.current.as_ref().is_some_and(|(_, script)| script.waits_for(id)) {
            return self.background_completed(completion.result);
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
            Err(error)
                if error.kind == DiskErrorKind::SyncFailed
                    && self.options.bugs.has(Bug::SyncRetried) =>
            {
                // As programs did before "fsyncgate": the second sync succeeds and syncs nothing.
                if let Some(file) = script.operation().and_then(Operation::file) {
                    let file = file.to_owned();
                    script.replace(Operation::Sync { file });
                }
                script.wait(self.now + RETRY_AFTER);
            }
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn retry(&mut self) {
        let background = self.lane.current.as_mut().map(|(_, script)| script);
        let own = [&mut self.active, &mut self.allocation].into_iter().flatten();
        for script in own.chain(background) {
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
        let background = self.lane.current.as_ref().map(|(_, script)| script);
        let scripts = [&self.active, &self.allocation].into_iter().flatten().chain(background);
        let retry = scripts.filter_map(Script::retry_at).min();
        [ready, idle, retry].into_iter().flatten().min()
    }

    /// How long the writes since the last call took, oldest first; the first thousand or so if
    /// there were more.
    pub fn take_times(&mut self) -> Vec<Times> {
        std::mem::take(&mut self.times)
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

//! The writing half of the log: groups, changes of segment, and the allocation ahead of need.
//!
//! Each of these is a [`Script`]: operations performed one after the other, each submitted when the
//! one before it has succeeded. One script writes at a time, so a group is durable before the next
//! is even submitted, which is what the durable-offset rule of [`format`](super::format) rests on.
//! The allocation of the next segment touches nothing that counts, and runs beside it.
//!
//! Why not submit a whole script at once, where the disk has a queue anyway? Because the operations
//! after one that failed would be performed all the same: a segment whose first bytes could not be
//! written would still get its name.
//!
//! A script that meets a full disk keeps its place and tries the same operation again later. That
//! is sound because every operation in a script can be repeated: the same bytes go to the same
//! offset, and a creation, renaming or allocation that failed has left nothing behind. A *sync*
//! that fails is never repeated: the disk reports it as final.
//!
//! # Order at a change of segment
//!
//! 1. `next.tmp` was created and allocated long before (when the old segment was half full).
//! 2. Header and opening group are written to it, and synced.
//! 3. It gets its name. The directory is synced.
//! 4. The old segment gets its seal, and is synced.
//! 5. The first group goes into the new one.
//!
//! Until 5, everything that counts is in the old segment; see [`format`](super::format) for a crash
//! at each point.

use bytes::{Bytes, BytesMut};

use crate::codec;
use crate::consensus::Payload;
use crate::museum::Bug;
use crate::types::{LogIndex, Seq, Term};

use super::contents::{Contents, Place};
use super::disk::{Disk, Operation};
use super::format::{
    EntryKind, GroupEncoder, HEADER_LEN, Identity, MARK_LEN, NEXT_FILE, RESERVE, RecordKind,
    SEAL_LEN, Salt, SegmentHeader, Summary, VERSION, record_len, segment_name,
};
use super::log::{Pending, SegmentLog};
use super::report::LogEvent;
use super::script::{Purpose, Script};
use super::segments::{Next, Segment, SegmentFile};

/// Zeros are written ahead for so many groups of the size at hand, or not at all.
const MIN_GROUPS_IN_ZEROS: usize = 4;

/// A larger group buffer is not kept.
const MAX_KEPT_BUFFER: usize = 1 << 20;

impl<D: Disk> SegmentLog<D> {
    /// Starts whatever can be started.
    pub(super) fn start_writing(&mut self) {
        if self.is_damaged {
            return;
        }
        self.allocate_ahead();
        if self.active.is_some() {
            return;
        }
        let needed = match self.queue.front() {
            Some(first) => first.bytes,
            None if self.current.version < VERSION => 0,
            None => {
                if self.idle_at.is_some_and(|at| at <= self.now) {
                    self.start_idle_mark();
                }
                return;
            }
        };
        if self.fits_here(needed) {
            self.start_group();
        } else if matches!(self.next, Next::Ready { size } if size >= self.next_size(needed)) {
            self.change_segment();
        }
    }

    fn fits_here(&self, bytes: u64) -> bool {
        let fits = self.current.offset + bytes + RESERVE <= self.current.capacity;
        fits && self.current.version == VERSION
    }

    /// The size that the next segment must have for a first write of `bytes`.
    fn next_size(&self, bytes: u64) -> u64 {
        (self.opening_len + bytes + RESERVE).next_multiple_of(8)
    }

    /// Has the next segment ready before it is needed, and large enough for what needs it.
    fn allocate_ahead(&mut self) {
        if self.allocation.is_some() || matches!(self.purpose(), Some(Purpose::ChangeSegment(_))) {
            return;
        }
        let waiting = self.queue.front().map(|first| first.bytes).filter(|b| !self.fits_here(*b));
        let half_full =
            self.current.offset >= self.current.capacity / 2 || self.current.version < VERSION;
        let wanted = self.options.segment_bytes.max(self.next_size(waiting.unwrap_or(0)));
        let file = NEXT_FILE.to_owned();
        let operation = match self.next {
            Next::None if half_full || waiting.is_some() => {
                Operation::Create { file, size: wanted }
            }
            Next::Ready { size } if waiting.is_some() && size < wanted => {
                Operation::Allocate { file, size: wanted }
            }
            _ => return,
        };
        let purpose = Purpose::Allocation { size: wanted };
        self.allocation = Some(Script::start(&mut self.disk, vec![operation], purpose));
    }

    fn purpose(&self) -> Option<&Purpose> {
        self.active.as_ref().map(|script| &script.purpose)
    }

    /// Writes as much of the queue as one group takes.
    fn start_group(&mut self) {
        let space = self.current.capacity - RESERVE - self.current.offset;
        let mut budget = space.min(self.options.max_group_bytes);
        let sequence = self.current.sequence;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.reserve(self.queue_bytes.min(budget) as usize);
        let salt = Salt::new(self.identity, sequence);
        let summary = Some(self.contents.summary());
        let mut group = GroupEncoder::begin(&mut buffer, salt, self.current.offset, summary);
        let (mut seq, mut persists, mut opening_changed) = (Seq(0), 0, false);
        let mut mark = None;
        while self.queue.front().is_some_and(|next| persists == 0 || next.bytes <= budget)
            && let Some(pending) = self.queue.pop_front()
        {
            budget = budget.saturating_sub(pending.bytes);
            self.queue_bytes -= pending.bytes;
            opening_changed |= encode(&pending, &mut group, &mut self.contents, sequence);
            seq = pending.seq;
            mark = pending.snapshot.map(|snapshot| snapshot.index).or(mark);
            persists += 1;
        }
        group.finish();
        if opening_changed {
            self.opening_len = opening_len(&self.contents);
        }
        let bytes = buffer.len() as u64;
        self.write_group(buffer.freeze(), Purpose::Group { seq, persists, bytes, mark });
        if self.options.bugs.has(Bug::AckBeforeDisk) {
            self.events.push(LogEvent::Durable(seq));
        }
    }

    /// Proves that all before it is durable.
    fn start_idle_mark(&mut self) {
        self.idle_at = None;
        if self.current.offset + MARK_LEN + SEAL_LEN > self.current.capacity {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        let salt = Salt::new(self.identity, self.current.sequence);
        let summary = Some(self.contents.summary());
        GroupEncoder::begin(&mut buffer, salt, self.current.offset, summary).finish();
        self.write_group(buffer.freeze(), Purpose::IdleMark);
    }

    /// Writes and syncs a group at the end of the current segment; and zeros behind it, whenever
    /// it reaches the end of those written before. A write over zeros changes no metadata, so most
    /// syncs have nothing but data to write. (Groups that are nearly as large as the zeros would
    /// only have everything written twice.)
    fn write_group(&mut self, group: Bytes, purpose: Purpose) {
        let segment = &mut self.current;
        let mut operations = Vec::with_capacity(2);
        let end = segment.offset + group.len() as u64;
        if end > segment.zeroed_to {
            let pays = group.len() * MIN_GROUPS_IN_ZEROS <= self.zeros.len();
            let ahead = if pays { self.zeros.len() as u64 } else { 0 };
            let ahead = ahead.min(segment.capacity - end);
            segment.zeroed_to = end + ahead;
            if ahead > 0 {
                operations.push(Operation::Write {
                    file: segment.name.clone(),
                    offset: end,
                    bytes: self.zeros.slice(..ahead as usize),
                    sync: false,
                });
            }
        }
        operations.push(Operation::Write {
            file: segment.name.clone(),
            offset: segment.offset,
            bytes: group,
            sync: true,
        });
        segment.offset = end;
        self.active = Some(Script::start(&mut self.disk, operations, purpose));
    }

    /// Opens the next segment and seals the current one.
    fn change_segment(&mut self) {
        let Next::Ready { size } = std::mem::replace(&mut self.next, Next::None) else { return };
        let old = &self.current;
        let summary = (old.version > 1).then(|| self.contents.summary());
        let sequence = old.sequence + 1;
        let header = SegmentHeader {
            version: VERSION,
            identity: self.identity,
            sequence,
            first_index: self.contents.last_index.next(),
            previous_end: old.offset,
        };
        let name = segment_name(sequence, header.first_index);
        let opening = encode_opening(&header, &self.contents);
        self.contents.begin_segment();
        let segment = Segment {
            sequence,
            name: name.clone(),
            version: VERSION,
            offset: opening.len() as u64,
            capacity: size,
            zeroed_to: 0,
        };
        let next = NEXT_FILE.to_owned();
        let mut operations = vec![
            Operation::Write { file: next.clone(), offset: 0, bytes: opening.freeze(), sync: true },
            Operation::Rename { from: next, to: name },
            Operation::SyncDirectory,
        ];
        if old.offset + SEAL_LEN <= old.capacity {
            operations.push(Operation::Write {
                file: old.name.clone(),
                offset: old.offset,
                bytes: encode_seal(self.identity, old, summary),
                sync: true,
            });
        }
        let purpose = Purpose::ChangeSegment(segment);
        self.active = Some(Script::start(&mut self.disk, operations, purpose));
    }

    /// A script has come to its end.
    pub(super) fn finished(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Group { seq, persists, bytes, mark } => {
                while self.tail.front().is_some_and(|(of, _)| *of <= seq) {
                    self.tail.pop_front();
                }
                self.counts.groups += 1;
                self.counts.group_bytes += bytes;
                self.counts.persists += persists;
                self.durable_mark = mark.unwrap_or(self.durable_mark);
                if !self.options.bugs.has(Bug::AckBeforeDisk) {
                    self.events.push(LogEvent::Durable(seq));
                }
                self.idle_at = Some(self.now + self.options.idle_mark_after);
            }
            Purpose::IdleMark => {}
            Purpose::ChangeSegment(segment) => {
                if let Some(old) = self.segments.get_mut(&self.current.sequence) {
                    old.end = self.current.offset;
                }
                let (name, length) = (segment.name.clone(), segment.capacity);
                self.segments.insert(segment.sequence, SegmentFile { name, length, end: 0 });
                self.current = segment;
                // Its header says where the old one ends: nothing is left to prove.
                self.idle_at = None;
            }
            Purpose::Allocation { size } => self.next = Next::Ready { size },
            // These are the lane's.
            Purpose::Report(_)
            | Purpose::Name { .. }
            | Purpose::Verify(_)
            | Purpose::Send { .. }
            | Purpose::Part { .. } => {}
        }
    }

    /// Takes the buffer of a group that is written back into use.
    pub(super) fn recycle(&mut self, done: Option<Operation>) {
        if let Some(Operation::Write { bytes, sync: true, .. }) = done
            && let Ok(mut buffer) = bytes.try_into_mut()
            && buffer.capacity() <= MAX_KEPT_BUFFER
        {
            buffer.clear();
            self.buffer = buffer;
        }
    }
}

/// Adds a write to a group and to the contents. True if it changed what a segment opens with.
pub fn encode(
    pending: &Pending,
    group: &mut GroupEncoder<'_>,
    contents: &mut Contents,
    sequence: u64,
) -> bool {
    let mut opening_changed = false;
    if let Some(mark) = &pending.snapshot {
        let (kind, marked) = match pending.discard_log {
            true => (RecordKind::SnapshotInstead, contents.discard(mark.clone())),
            false => (RecordKind::SnapshotMark, contents.mark(mark.clone())),
        };
        keep_invariant(marked);
        let configuration = codec::encode_configuration(&mark.configuration);
        group.record(kind, mark.term, mark.index, &configuration);
        opening_changed = true;
    }
    if let Some(from) = pending.truncate_from {
        keep_invariant(contents.truncate(from));
        group.record(RecordKind::Truncation, Term(0), from, &[]);
        opening_changed = true;
    }
    for entry in &pending.entries {
        let place = Place { sequence, offset: group.offset() };
        let (term, index) = (entry.term, entry.index);
        let configuration = match &entry.payload {
            Payload::Noop => {
                group.record(RecordKind::Entry(EntryKind::Noop), term, index, &[]);
                None
            }
            Payload::Command(bytes) => {
                group.record(RecordKind::Entry(EntryKind::Command), term, index, bytes);
                None
            }
            Payload::Configuration(configuration) => {
                let kind = RecordKind::Entry(EntryKind::Configuration);
                group.record(kind, term, index, &codec::encode_configuration(configuration));
                opening_changed = true;
                Some(configuration.clone())
            }
        };
        keep_invariant(contents.push(index, term, configuration, place));
    }
    if let Some(hard_state) = &pending.hard_state {
        group.record(RecordKind::HardState, Term(0), LogIndex(0), hard_state);
        opening_changed |= hard_state.len() != contents.hard_state.len();
        contents.hard_state = Bytes::copy_from_slice(hard_state);
    }
    opening_changed
}

/// What is written must be readable again: a core that asks for a gap or for a term that goes back
/// has lost its mind, and the node stops before that reaches the disk.
fn keep_invariant(result: Result<(), String>) {
    if let Err(broken) = result {
        panic!("broken invariant: the core wants to write {broken}");
    }
}

/// Bytes of header and opening group of a segment that would be opened now.
pub fn opening_len(contents: &Contents) -> u64 {
    let configuration = |c| record_len(codec::encode_configuration(c).len());
    HEADER_LEN as u64
        + MARK_LEN
        + record_len(contents.hard_state.len())
        + configuration(&contents.snapshot.configuration)
        + contents.configurations.iter().map(|(_, c)| configuration(c)).sum::<u64>()
}

/// Header and opening group.
pub fn encode_opening(header: &SegmentHeader, contents: &Contents) -> BytesMut {
    let mut buffer = BytesMut::with_capacity(opening_len(contents) as usize);
    buffer.extend_from_slice(&header.encode());
    let salt = Salt::new(header.identity, header.sequence);
    let mut group = GroupEncoder::begin(&mut buffer, salt, 0, Some(contents.summary()));
    encode_opening_records(&mut group, contents);
    group.finish();
    buffer
}

/// The records with which every segment opens.
pub fn encode_opening_records(group: &mut GroupEncoder<'_>, contents: &Contents) {
    group.record(RecordKind::HardState, Term(0), LogIndex(0), &contents.hard_state);
    let mark = &contents.snapshot;
    let configuration = codec::encode_configuration(&mark.configuration);
    group.record(RecordKind::SnapshotMark, mark.term, mark.index, &configuration);
    for (index, configuration) in &contents.configurations {
        let configuration = codec::encode_configuration(configuration);
        group.record(RecordKind::Configuration, Term(0), *index, &configuration);
    }
}

/// The group that says that another segment follows.
fn encode_seal(identity: Identity, segment: &Segment, summary: Option<Summary>) -> Bytes {
    let mut buffer = BytesMut::with_capacity(SEAL_LEN as usize);
    let salt = Salt::new(identity, segment.sequence);
    let mut group = GroupEncoder::begin(&mut buffer, salt, segment.offset, summary);
    group.record(RecordKind::Seal, Term(0), LogIndex(segment.sequence + 1), &[]);
    group.finish();
    buffer.freeze()
}

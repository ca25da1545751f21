//! Reading entries back while the log goes on growing, and shrinking.
//!
//! # What can go wrong
//!
//! 1. The core asks for 5–9. 2. The disk begins to read. 3. A new leader's append truncates the log
//!    from 7 on, and brings another 7. 4. The disk delivers what it found: the old 7. If that was
//!    handed out, the core would send or apply an entry that is in no log any more.
//!
//! # The rule
//!
//! A truncation lowers the limit of the read under way at once, when it is *appended*, not when it
//! is written; what lies beyond the limit is dropped, however far the disk has got. If nothing is
//! left, the request starts over and meets the log as it is now.
//!
//! Compaction deletes segments under a read in the same way: a read that still wants something from
//! them ends with what it has, or starts over and learns that the entry is gone. What the disk
//! says about a file that is deleted is not looked at.
//!
//! Entries that are not durable yet are all in memory (`tail`): a request that begins among them is
//! answered from there, one that begins on disk is answered with what is on disk, and the
//! asker asks again. So the disk is only ever asked for entries that a finished group holds.
//!
//! Requests are answered in order, one at a time, in chunks of at most 1 MiB unless one entry is
//! larger. Every record is verified: damage that shows itself here is as final as at start-up.

use bytes::Bytes;

use crate::codec;
use crate::consensus::{Entry, Payload};
use crate::types::LogIndex;

use super::contents::{Place, Span};
use super::disk::{Disk, DiskError, Operation, OperationId, Outcome};
use super::error::LogError;
use super::format::{EntryKind, RECORD_HEADER_LEN, RecordHeader, RecordKind, Salt};
use super::log::SegmentLog;
use super::report::LogEvent;

/// Bytes asked of the disk at a time.
const MIN_CHUNK: usize = 64 << 10;
const MAX_CHUNK: usize = 1 << 20;

/// Entries that the core wants.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    pub from: LogIndex,
    pub to: LogIndex,
    pub max_bytes: usize,
}

/// The first request, while the disk works on it.
pub struct Reading {
    operation: OperationId,
    /// Bytes asked for.
    length: usize,
    /// What was asked for begins here.
    span: Span,
    /// Found so far: consecutive from the request's first on.
    entries: Vec<Entry>,
    bytes: usize,
    max_bytes: usize,
    /// The entry wanted next.
    next: LogIndex,
    /// No entry beyond this one; falls with every truncation.
    limit: LogIndex,
    /// What it wants was compacted: whatever the disk delivers, or cannot, is of no use.
    gone: bool,
}

impl Reading {
    fn new(operation: OperationId, span: Span, length: usize, request: ReadRequest) -> Reading {
        Reading {
            operation,
            length,
            span,
            entries: Vec::new(),
            bytes: 0,
            max_bytes: request.max_bytes,
            next: request.from,
            limit: request.to,
            gone: false,
        }
    }

    pub fn waits_for(&self, id: OperationId) -> bool {
        self.operation == id
    }

    /// The entries from `from` on are gone.
    pub fn truncate(&mut self, from: LogIndex) {
        self.limit = self.limit.min(from.previous());
        let keep = self.entries.partition_point(|entry| entry.index < from);
        self.entries.truncate(keep);
    }

    /// The entries before `first` are gone.
    pub fn forget_before(&mut self, first: LogIndex) {
        self.gone |= self.next < first;
    }

    /// Takes an entry; false if it would exceed the budget.
    fn take(&mut self, entry: Entry) -> bool {
        self.bytes += entry.size();
        if !self.entries.is_empty() && self.bytes > self.max_bytes {
            return false;
        }
        self.next = entry.index.next();
        self.entries.push(entry);
        true
    }
}

/// How far a chunk of bytes brought a read.
enum Progress {
    /// All that the answer will hold.
    Done,
    /// Go on reading here, at least so many bytes.
    More { span: Span, at_least: usize },
}

impl<D: Disk> SegmentLog<D> {
    /// Answers requests from memory, and starts on the first that needs the disk.
    pub(super) fn start_reading(&mut self) {
        while self.reading.is_none()
            && let Some(&request) = self.reads.front()
        {
            let from = request.from;
            let to = request.to.min(self.last_index);
            let in_memory = self.tail.front().map_or(self.last_index.next(), |(_, e)| e.index);
            if from <= to && from >= in_memory {
                let entries = self.read_tail(request, to);
                self.answer(LogEvent::Read { from, entries });
                continue;
            }
            let limit = to.min(in_memory.previous());
            let damaged = self.contents.damaged.range(from..).next();
            let limit = damaged.map_or(limit, |(index, _)| limit.min(index.previous()));
            if from < self.first_readable {
                self.answer(LogEvent::ReadFailed { from });
                continue;
            }
            match self.contents.locate(from).filter(|_| from <= limit) {
                None => self.answer(LogEvent::ReadFailed { from }),
                Some(span) => {
                    let length = request.max_bytes.clamp(MIN_CHUNK, MAX_CHUNK);
                    let operation = self.submit_read(span, length);
                    let request = ReadRequest { to: limit, ..request };
                    self.reading = Some(Reading::new(operation, span, length, request));
                }
            }
        }
    }

    fn answer(&mut self, event: LogEvent) {
        self.reads.pop_front();
        self.events.push(event);
    }

    fn read_tail(&self, request: ReadRequest, to: LogIndex) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let skip = self.tail.partition_point(|(_, entry)| entry.index < request.from);
        for (_, entry) in self.tail.range(skip..) {
            bytes += entry.size();
            if entry.index > to || (!entries.is_empty() && bytes > request.max_bytes) {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }

    fn submit_read(&mut self, span: Span, length: usize) -> OperationId {
        let file = self.segment_file(span.place.sequence);
        self.disk.submit(Operation::Read { file, offset: span.place.offset, length })
    }

    fn segment_file(&self, sequence: u64) -> String {
        self.segments.get(&sequence).map(|segment| segment.name.clone()).unwrap_or_default()
    }

    /// The disk has delivered a chunk.
    pub(super) fn read_completed(
        &mut self,
        result: Result<Outcome, DiskError>,
    ) -> Result<(), LogError> {
        let Some(mut reading) = self.reading.take() else { return Ok(()) };
        if reading.gone {
            // What was found before is as good as ever; without any, the request meets the log as
            // it is now.
            if let Some(from) = reading.entries.first().map(|entry| entry.index) {
                self.answer(LogEvent::Read { from, entries: reading.entries });
            }
            return Ok(());
        }
        let bytes = result?.into_bytes();
        match self.scan(&mut reading, &bytes)? {
            Progress::More { span, at_least } => {
                reading.length = at_least.max(reading.max_bytes.clamp(MIN_CHUNK, MAX_CHUNK));
                reading.span = span;
                reading.operation = self.submit_read(span, reading.length);
                self.reading = Some(reading);
            }
            Progress::Done => {
                // Without an entry, all was truncated meanwhile: the request meets the new log.
                if let Some(from) = reading.entries.first().map(|entry| entry.index) {
                    self.answer(LogEvent::Read { from, entries: reading.entries });
                }
            }
        }
        Ok(())
    }

    /// Reads entries from `from` on at once, waiting for the disk: when there is nothing else to
    /// do. At least one, unless it is not there; none past `to` or a damaged one.
    pub(super) fn read_now(
        &mut self,
        from: LogIndex,
        to: LogIndex,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, LogError> {
        let damaged = self.contents.damaged.range(from..).next();
        let to = damaged.map_or(to, |(index, _)| to.min(index.previous()));
        let Some(span) = self.contents.locate(from).filter(|_| from <= to) else {
            return Ok(Vec::new());
        };
        let request = ReadRequest { from, to, max_bytes };
        let mut reading = Reading::new(OperationId(0), span, MAX_CHUNK, request);
        loop {
            let file = self.segment_file(reading.span.place.sequence);
            let (offset, length) = (reading.span.place.offset, reading.length);
            let read = Operation::Read { file, offset, length };
            let bytes = self.disk.execute(read)?.into_bytes();
            match self.scan(&mut reading, &bytes)? {
                Progress::Done => return Ok(reading.entries),
                Progress::More { span, at_least } => {
                    reading.length = at_least.max(MAX_CHUNK);
                    reading.span = span;
                }
            }
        }
    }

    fn scan(&self, reading: &mut Reading, bytes: &[u8]) -> Result<Progress, LogError> {
        let mut span = reading.span;
        let begin = span.place;
        let salt = Salt::new(self.identity, begin.sequence);
        let mut at = 0;
        loop {
            if reading.next > reading.limit {
                return Ok(Progress::Done);
            }
            if span.end.is_some_and(|end| reading.next >= end) {
                let Some(next) = self.contents.locate(reading.next) else {
                    return Ok(Progress::Done);
                };
                // Mostly it goes on right here.
                match next.place.within(begin, bytes.len()) {
                    Some(offset) => (span, at) = (next, offset),
                    None => return Ok(Progress::More { span: next, at_least: 0 }),
                }
            }
            let place = Place { offset: begin.offset + at as u64, ..begin };
            let rest = &bytes[at..];
            let more = |at_least| Progress::More { span: Span { place, ..span }, at_least };
            let damaged = |what: &str| LogError::Corrupt {
                file: self.segment_file(place.sequence),
                offset: place.offset,
                index: reading.next,
                what: format!("{what}, when it was read back"),
            };
            let at_end = bytes.len() < reading.length;
            if rest.len() < RECORD_HEADER_LEN {
                if at_end {
                    return Err(damaged("the file ends here"));
                }
                return Ok(more(RECORD_HEADER_LEN));
            }
            let header = RecordHeader::decode(rest, place.offset)
                .ok_or_else(|| damaged("there is no record here"))?;
            let length = header.record_len() as usize;
            if rest.len() < length {
                if at_end {
                    return Err(damaged("the file ends within a record"));
                }
                return Ok(more(length));
            }
            if !salt.verify(&header, place.offset, &rest[..length]) {
                return Err(damaged("a record's checksum is wrong"));
            }
            at += length;
            if let RecordKind::Entry(kind) = header.kind
                && header.index >= reading.next
            {
                if header.index > reading.next {
                    return Err(damaged("an entry is missing"));
                }
                let payload = &rest[RECORD_HEADER_LEN..RECORD_HEADER_LEN + header.length];
                let payload = decode_payload(kind, payload).map_err(|what| damaged(&what))?;
                let entry = Entry { term: header.term, index: header.index, payload };
                if !reading.take(entry) {
                    return Ok(Progress::Done);
                }
            }
        }
    }
}

/// An entry's payload. It is copied: a slice would keep the whole chunk in memory for as long as
/// anyone keeps the entry.
fn decode_payload(kind: EntryKind, payload: &[u8]) -> Result<Payload, String> {
    Ok(match kind {
        EntryKind::Noop => Payload::Noop,
        EntryKind::Command => Payload::Command(Bytes::copy_from_slice(payload)),
        EntryKind::Configuration => Payload::Configuration(
            codec::decode_configuration(payload)
                .map_err(|error| format!("a configuration that cannot be read ({error})"))?,
        ),
    })
}

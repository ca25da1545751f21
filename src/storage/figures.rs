//! The log in figures: what still fits, and what it amounts to.

use crate::codec;
use crate::consensus::{Configuration, Entry, Payload};
use crate::types::LogIndex;

use super::disk::Disk;
use super::format::{MARK_LEN, RESERVE, record_len};
use super::log::SegmentLog;
use super::report::LogStatus;
use super::script::{Purpose, Script};
use super::segments::{Next, SegmentFile};

impl<D: Disk> SegmentLog<D> {
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
            first_index: self.contents.first_index().max(self.first_readable),
            last_index: self.last_index,
            segments: self.segments.len() as u64,
            disk_bytes: self.segments.values().map(|s| s.length).sum::<u64>() + next,
            pending_bytes: self.queue_bytes + self.active.as_ref().map_or(0, Script::group_bytes),
            full,
            full_reason: self.counts.full_reason.clone().filter(|_| full),
            snapshot_index: self.durable_mark,
            bytes_since_snapshot: self.bytes_since(self.durable_mark),
            snapshot_bytes: self.snapshots.values().map(|(_, bytes)| bytes).sum(),
            ..self.counts.clone()
        }
    }

    /// Bytes of log after entry `index`, as far as the index in memory can tell.
    fn bytes_since(&self, index: LogIndex) -> u64 {
        let Some(span) = self.contents.locate(index.next()) else { return 0 };
        let place = span.place;
        let end = |(sequence, file): (&u64, &SegmentFile)| match *sequence {
            current if current == self.current.sequence => self.current.offset,
            _ => file.end,
        };
        let total: u64 = self.segments.range(place.sequence..).map(end).sum();
        total.saturating_sub(place.offset)
    }
}

/// Upper bound of the bytes that an entry takes. A configuration counts double: it is repeated at
/// the head of the next segment.
pub fn entry_cost(payload: &Payload) -> u64 {
    match payload {
        Payload::Noop => record_len(0),
        Payload::Command(bytes) => record_len(bytes.len()),
        Payload::Configuration(configuration) => configuration_cost(configuration),
    }
}

pub fn configuration_cost(configuration: &Configuration) -> u64 {
    2 * record_len(codec::encode_configuration(configuration).len())
}

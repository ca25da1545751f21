//! Supplying others that [repair](super::repair) their logs: what this log has at an index.
//!
//! An answer is taken for the truth, so it is given only by what was *read*. "Lacking" is a vote
//! for cutting another's log: it is said only where this log is certain, because it ends before the
//! index, or an entry of another term was read there. Whatever is doubtful cannot tell.

use super::running::Running;
use super::{Output, PeerMessage, RepairVerdict};
use crate::consensus::{Chunk, Consensus, Entry};
use crate::storage::{Disk, SegmentLog};
use crate::types::{LogIndex, NodeId, Term};

/// Entries that are being read for peers at once; further questions go unanswered and are repeated.
pub(super) const MAX_READS: usize = 256;

/// What a peer wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub by: NodeId,
    pub index: LogIndex,
    pub term: Option<Term>,
}

/// Whom a read of the log is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    Core,
    Peer(Asked),
}

/// What can be said before the log is read, if anything.
pub(super) fn before_reading(
    asked: Asked,
    (first, last): (LogIndex, LogIndex),
    snapshot: LogIndex,
) -> Option<RepairVerdict> {
    if asked.index > last {
        return Some(RepairVerdict::Lacks);
    }
    (asked.index < first).then_some(RepairVerdict::CannotTell { compacted_to: snapshot })
}

/// What the log's answer means.
pub(super) fn after_reading(asked: Asked, found: Option<Entry>) -> RepairVerdict {
    match found.filter(|entry| entry.index == asked.index) {
        None => RepairVerdict::CannotTell { compacted_to: LogIndex(0) },
        Some(entry) if asked.term.is_some_and(|term| term != entry.term) => RepairVerdict::Lacks,
        Some(entry) => RepairVerdict::Entry(entry),
    }
}

/// Parts of snapshots that are being read for peers that repair.
#[derive(Debug)]
pub struct Lending {
    lent: Vec<(NodeId, LogIndex, u64)>,
    max_bytes: usize,
}

impl Lending {
    /// Nothing yet; parts of at most so many bytes.
    pub fn new(max_bytes: usize) -> Lending {
        Lending { lent: Vec::new(), max_bytes }
    }

    /// A peer asks for part of a snapshot that covers an entry. If there is none, it asks others.
    pub fn asked<D: Disk>(
        &mut self,
        log: &mut SegmentLog<D>,
        by: NodeId,
        (covers, wanted, offset): (LogIndex, Option<LogIndex>, u64),
    ) {
        let here = log.snapshots();
        let is_here = |index: &LogIndex| here.iter().any(|(there, _)| there == index);
        let (index, offset) = match wanted.filter(is_here) {
            Some(index) => (index, offset),
            None => (here.last().map_or(LogIndex(0), |(index, _)| *index), 0),
        };
        if index >= covers && index > LogIndex(0) && self.lent.len() < MAX_READS {
            self.lent.push((by, index, offset));
            log.read_snapshot(by, index, offset, self.max_bytes);
        }
    }

    /// Part of a snapshot was read: whether it was for a peer that repairs, which is told then.
    pub fn read<D: Disk, M>(
        &mut self,
        log: &SegmentLog<D>,
        (to, index, offset): (NodeId, LogIndex, u64),
        chunk: Option<&Chunk>,
        outputs: &mut Vec<Output<M>>,
    ) -> bool {
        let place = self.lent.iter().position(|lent| *lent == (to, index, offset));
        let Some(place) = place else { return false };
        self.lent.swap_remove(place);
        if let (Some(term), Some(chunk)) = (log.snapshot_term(index), chunk.cloned()) {
            let message = PeerMessage::SnapshotReply { index, term, offset, chunk };
            outputs.push(Output::Send { to, message });
        }
        true
    }
}

/// Answering peers, while this replica takes part.
impl<C: Consensus, D: Disk> Running<C, D> {
    pub(super) fn repair_asked(&mut self, by: NodeId, index: LogIndex, term: Option<Term>) {
        let asked = Asked { by, index, term };
        let log = self.log.status();
        let range = (log.first_index, log.last_index);
        if let Some(verdict) = before_reading(asked, range, self.snapshots.newest()) {
            self.tell_verdict(asked, verdict);
        } else if self.reads.len() < MAX_READS {
            self.reads.push_back(Reader::Peer(asked));
            self.log.read(index, index, 0);
        }
    }

    pub(super) fn snapshot_asked(&mut self, by: NodeId, asked: (LogIndex, Option<LogIndex>, u64)) {
        self.lending.asked(&mut self.log, by, asked);
    }

    /// The log has read what a peer asked for; or nothing.
    pub(super) fn repair_read(&mut self, asked: Asked, found: Option<Entry>) {
        self.tell_verdict(asked, after_reading(asked, found));
    }

    fn tell_verdict(&mut self, Asked { by, index, .. }: Asked, verdict: RepairVerdict) {
        let message = PeerMessage::RepairReply { index, verdict };
        self.outputs.push(Output::Send { to: by, message });
    }
}

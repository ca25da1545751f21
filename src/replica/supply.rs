//! Supplying others that [repair](super::repair) their logs: what this log has at an index.
//!
//! An answer is taken for the truth, so it is given only by what was *read*. "Lacking" is a vote
//! for cutting another's log: it is said only where this log is certain, because it ends before the
//! index, or an entry of another term was read there. Whatever is doubtful cannot tell.

use super::running::Running;
use super::{Output, PeerMessage, RepairVerdict};
use crate::consensus::{Consensus, Entry};
use crate::storage::Disk;
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

    /// The log has read what a peer asked for; or nothing.
    pub(super) fn repair_read(&mut self, asked: Asked, found: Option<Entry>) {
        self.tell_verdict(asked, after_reading(asked, found));
    }

    fn tell_verdict(&mut self, Asked { by, index, .. }: Asked, verdict: RepairVerdict) {
        let message = PeerMessage::RepairReply { index, verdict };
        self.outputs.push(Output::Send { to: by, message });
    }
}

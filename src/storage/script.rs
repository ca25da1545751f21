//! Operations performed one after the other, and what they are for.
//!
//! See [`writer`](super::writer) for why a script submits one operation at a time, and for what it
//! does when there is no space.

use std::collections::VecDeque;

use crate::consensus::SnapshotMark;
use crate::types::{Instant, LogIndex, NodeId, Seq};

use super::disk::{Disk, Operation, OperationId};
use super::report::LogEvent;
use super::segments::Segment;
use super::snapshot_format::SnapshotDecoder;

/// What a script is for.
pub enum Purpose {
    Group {
        seq: Seq,
        persists: u64,
        bytes: u64,
        /// The newest snapshot mark in it.
        mark: Option<LogIndex>,
    },
    /// A group of nothing but the durable mark.
    IdleMark,
    ChangeSegment(Segment),
    Allocation {
        size: u64,
    },
    /// In the background; says this when done.
    Report(Option<LogEvent>),
    /// In the background: a snapshot has got its name.
    Name {
        snapshot: SnapshotMark,
        bytes: u64,
        event: LogEvent,
    },
    /// In the background: the file that was received is read back.
    Verify(Box<Verification>),
    /// In the background: a piece of a snapshot is read for a peer.
    Send {
        to: NodeId,
        index: LogIndex,
        offset: u64,
        /// Bytes of the whole file.
        total: u64,
    },
    /// In the background: a part of a snapshot is read for the state machine.
    Part {
        index: LogIndex,
        at: u64,
    },
}

/// A received snapshot on its way to being trusted.
pub struct Verification {
    /// As it was announced.
    pub announced: SnapshotMark,
    pub decoder: SnapshotDecoder,
    /// As it says itself; known once the header was read.
    pub found: Option<SnapshotMark>,
    /// Read so far.
    pub offset: u64,
    /// The file's length.
    pub total: u64,
}

/// Operations to be performed one after the other.
pub struct Script {
    /// The first one is under way or waits for its next attempt; empty when finished.
    operations: VecDeque<Operation>,
    state: ScriptState,
    /// The first operation was refused for want of space, and has not succeeded since.
    blocked: bool,
    pub purpose: Purpose,
}

enum ScriptState {
    UnderWay(OperationId),
    RetryAt(Instant),
    Finished,
}

impl Script {
    pub fn start<D: Disk>(disk: &mut D, operations: Vec<Operation>, purpose: Purpose) -> Script {
        let operations = VecDeque::from(operations);
        let mut script =
            Script { operations, state: ScriptState::Finished, blocked: false, purpose };
        script.submit(disk);
        script
    }

    /// Submits the first operation (again).
    pub fn submit<D: Disk>(&mut self, disk: &mut D) {
        self.state = match self.operations.front() {
            Some(operation) => ScriptState::UnderWay(disk.submit(operation.clone())),
            None => ScriptState::Finished,
        };
    }

    /// The first operation has succeeded: goes on to the next, and returns the one that is done.
    pub fn advance<D: Disk>(&mut self, disk: &mut D) -> Option<Operation> {
        self.blocked = false;
        let done = self.operations.pop_front();
        self.submit(disk);
        done
    }

    /// The operation under way.
    pub fn operation(&self) -> Option<&Operation> {
        self.operations.front()
    }

    /// Replaces the operation that failed.
    pub fn replace(&mut self, operation: Operation) {
        self.operations.pop_front();
        self.operations.push_front(operation);
    }

    /// There was no space: to be tried again at `at`.
    pub fn wait(&mut self, at: Instant) {
        self.blocked = true;
        self.state = ScriptState::RetryAt(at);
    }

    pub fn waits_for(&self, id: OperationId) -> bool {
        matches!(self.state, ScriptState::UnderWay(under_way) if under_way == id)
    }

    pub fn is_finished(&self) -> bool {
        matches!(self.state, ScriptState::Finished)
    }

    pub fn is_blocked(&self) -> bool {
        self.blocked
    }

    pub fn retry_at(&self) -> Option<Instant> {
        match self.state {
            ScriptState::RetryAt(at) => Some(at),
            ScriptState::UnderWay(_) | ScriptState::Finished => None,
        }
    }

    /// Bytes of the group it writes, if it writes one.
    pub fn group_bytes(&self) -> u64 {
        match self.purpose {
            Purpose::Group { bytes, .. } => bytes,
            _ => 0,
        }
    }
}

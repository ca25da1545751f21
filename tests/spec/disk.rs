//! A node's disk as the spec sees it: what it holds, what it was asked to write, its snapshots.
//!
//! It writes one thing at a time, in order, each whole or not at all: that is what the log on a
//! real disk makes of its sectors, and `src/storage`'s own tests are about how. A crash leaves
//! what was written and loses the rest.

use std::collections::VecDeque;

use kvraft::consensus::raft::{HardState, Raft};
use kvraft::consensus::{Configuration, Entry, Payload, Persist, Saved, SnapshotMark};
use kvraft::types::{LogIndex, Seq, Term};

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Disk {
    pub hard_state: HardState,
    pub log: Log,
    pub writing: VecDeque<Persist<HardState>>,
    /// Those under their names: the one that the log is marked with, and newer ones.
    pub snapshots: Vec<Snapshot>,
}

/// Entries after a start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Log {
    pub start: (LogIndex, Term),
    pub mark: SnapshotMark,
    pub entries: Vec<Entry>,
}

/// A state machine's state: here, all that it ever applied.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Snapshot {
    pub mark: SnapshotMark,
    pub machine: Vec<Entry>,
}

impl Log {
    pub fn last_index(&self) -> LogIndex {
        self.entries.last().map_or(self.start.0, |entry| entry.index)
    }

    fn place(&self, index: LogIndex) -> usize {
        (index.0 - self.start.0.0 - 1) as usize
    }

    pub fn get(&self, index: LogIndex) -> Option<&Entry> {
        (index > self.start.0).then(|| self.entries.get(self.place(index)))?
    }

    /// Entries of `from..=to`; none if the first is gone.
    pub fn read(&self, from: LogIndex, to: LogIndex) -> Vec<Entry> {
        let gone = from <= self.start.0;
        let wanted = |e: &&Entry| !gone && e.index >= from && e.index <= to;
        self.entries.iter().filter(wanted).cloned().collect()
    }

    /// The members as of `index`, which must not lie before the snapshot.
    pub fn members_at(&self, index: LogIndex) -> Configuration {
        let before = self.entries.iter().rev().filter(|e| e.index <= index);
        let mut configurations = before.filter(|e| e.index > self.mark.index).filter_map(|e| {
            let Payload::Configuration(it) = &e.payload else { return None };
            Some(it.clone())
        });
        configurations.next().unwrap_or_else(|| self.mark.configuration.clone())
    }

    fn write(&mut self, write: &Persist<HardState>) {
        if let Some(mark) = &write.snapshot {
            if write.discard_log {
                self.entries.clear();
                self.start = (mark.index, mark.term);
            }
            self.mark = mark.clone();
        }
        if let Some(from) = write.truncate_from {
            let place = self.place(from);
            self.entries.truncate(place);
        }
        for entry in &write.entries {
            assert_eq!(entry.index, self.last_index().next(), "an entry adjoins the log");
            self.entries.push(entry.clone());
        }
    }
}

impl Disk {
    /// The oldest write is done; its number.
    pub fn finish_one(&mut self) -> Option<Seq> {
        let write = self.writing.pop_front()?;
        self.log.write(&write);
        let mark = self.log.mark.index;
        self.snapshots.retain(|snapshot| snapshot.mark.index >= mark);
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        Some(write.seq)
    }

    /// The log as it will be.
    pub fn effective_log(&self) -> Log {
        let mut log = self.log.clone();
        self.writing.iter().for_each(|write| log.write(write));
        log
    }

    /// Entries up to `to` are removed, which must be covered durably.
    pub fn compact(&mut self, to: LogIndex) {
        assert!(to <= self.log.mark.index, "compacted past the durable snapshot");
        let Some(term) = self.log.get(to).map(|entry| entry.term) else { return };
        self.log.entries.retain(|entry| entry.index > to);
        self.log.start = (to, term);
    }

    /// What is not done is lost; so is a snapshot that the log does not mention yet.
    pub fn crash(&mut self) {
        self.writing.clear();
        let mark = &self.log.mark;
        self.snapshots.retain(|snapshot| snapshot.mark == *mark);
    }

    pub fn keep(&mut self, snapshot: Snapshot) {
        self.snapshots.retain(|known| known.mark.index != snapshot.mark.index);
        self.snapshots.push(snapshot);
    }

    pub fn snapshot(&self, index: LogIndex) -> Option<&Snapshot> {
        self.snapshots.iter().find(|snapshot| snapshot.mark.index == index)
    }

    pub fn saved(&self) -> Saved<Raft> {
        let mut term_runs: Vec<(LogIndex, Term)> = Vec::new();
        let mut configurations = Vec::new();
        for entry in &self.log.entries {
            if term_runs.last().is_none_or(|run| run.1 != entry.term) {
                term_runs.push((entry.index, entry.term));
            }
            if let Payload::Configuration(configuration) = &entry.payload {
                configurations.push((entry.index, configuration.clone()));
            }
        }
        Saved {
            hard_state: self.hard_state.clone(),
            snapshot: self.log.mark.clone(),
            log_start: self.log.start,
            configurations,
            term_runs,
            last_index: self.log.last_index(),
        }
    }
}

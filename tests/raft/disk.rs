//! A node's disk: what it holds, and what it has been asked to write.

use std::collections::{BTreeMap, VecDeque};

use kvraft::consensus::raft::{HardState, Raft};
use kvraft::consensus::{Chunk, Entry, Payload, Persist, Saved, SnapshotMark};
use kvraft::types::{LogIndex, Seq, Term};

#[derive(Clone, Default)]
pub struct Disk {
    pub hard_state: HardState,
    pub log: Log,
    pub writing: VecDeque<Persist<HardState>>,
    /// Snapshots under their names.
    pub snapshots: BTreeMap<LogIndex, SnapshotMark>,
    /// The snapshot that is being received: its place, and what has come.
    pub received: Option<(LogIndex, Vec<u8>)>,
}

/// Entries after a start.
#[derive(Clone, Default)]
pub struct Log {
    pub start: (LogIndex, Term),
    pub snapshot: SnapshotMark,
    pub entries: Vec<Entry>,
}

/// What came of a part of a snapshot.
pub enum Received {
    Part { bytes: u64 },
    Whole,
    Rejected,
}

/// A snapshot's bytes: whoever took it, they are the same.
pub fn content(index: LogIndex) -> Vec<u8> {
    format!("the state as of entry {index}").into_bytes()
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
        if from <= self.start.0 {
            return Vec::new();
        }
        self.entries.iter().filter(|e| e.index >= from && e.index <= to).cloned().collect()
    }

    pub fn write(&mut self, write: &Persist<HardState>) {
        if let Some(snapshot) = &write.snapshot {
            assert!(snapshot.index > self.snapshot.index, "snapshots never go back");
            if write.discard_log {
                self.entries.clear();
                self.start = (snapshot.index, snapshot.term);
            }
            self.snapshot = snapshot.clone();
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
        if let Some(snapshot) = &write.snapshot {
            assert!(self.snapshots.contains_key(&snapshot.index), "a mark without its snapshot");
        }
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
        assert!(to <= self.log.snapshot.index, "compacted past the durable snapshot");
        let Some(term) = self.log.get(to).map(|entry| entry.term) else { return };
        self.log.entries.retain(|entry| entry.index > to);
        self.log.start = (to, term);
    }

    pub fn read_snapshot(&self, index: LogIndex, offset: u64, max_bytes: usize) -> Option<Chunk> {
        self.snapshots.get(&index)?;
        let bytes = content(index);
        let rest = bytes.get(offset as usize..)?;
        let part = &rest[..rest.len().min(max_bytes)];
        Some(Chunk { data: part.to_vec().into(), done: part.len() == rest.len() })
    }

    /// Writes a part of a snapshot; a whole one is kept under its name, as `mark`.
    pub fn receive(
        &mut self,
        mark: SnapshotMark,
        offset: u64,
        Chunk { data, done }: Chunk,
    ) -> Received {
        let index = mark.index;
        if offset == 0 {
            self.received = Some((index, Vec::new()));
        }
        let Some((of, bytes)) = &mut self.received else { return Received::Rejected };
        if *of != index || bytes.len() as u64 != offset {
            self.received = None;
            return Received::Rejected;
        }
        bytes.extend_from_slice(&data);
        if !done {
            return Received::Part { bytes: bytes.len() as u64 };
        }
        if *bytes != content(index) {
            self.received = None;
            return Received::Rejected;
        }
        self.received = None;
        self.snapshots.insert(index, mark);
        Received::Whole
    }

    /// What is not done is lost.
    pub fn crash(&mut self) {
        self.writing.clear();
        self.received = None;
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
            snapshot: self.log.snapshot.clone(),
            log_start: self.log.start,
            configurations,
            term_runs,
            last_index: self.log.last_index(),
        }
    }
}

//! The log of a node that does not run: looking at it, giving it a beginning, and, after the loss
//! of a quorum, an end.
//!
//! # What can go wrong
//!
//! - *Somebody runs the node meanwhile.* The disk's lock, which is the node's own, forbids it.
//! - *A look changes what it looks at.* Recovery cuts a tear and removes leftovers. So that a look
//!   does not, it goes through a disk that takes writes and forgets them.
//! - *The change ends in the middle.* A configuration is appended as one durable group, wholly or
//!   not at all. A log with a snapshot as its beginning is only used once all of it was read back.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::config::Durability;
use crate::consensus::raft::HardState;
use crate::consensus::{Configuration, Entry, Payload, Persist, SnapshotMark, ToBytes};
use crate::kv::Machine;
use crate::storage::{
    Completion, Disk, DiskError, FileDisk, Identity, LogError, LogEvent, LogOptions, Operation,
    OperationId, Outcome, Recovered, SegmentLog,
};
use crate::types::{LogIndex, Seq, Term};

/// For a disk to finish what it was given.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why a log cannot be looked at or changed.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    #[error("{}: {source}", directory.display())]
    Log { directory: PathBuf, source: LogError },
    #[error("{}: {why}", directory.display())]
    Wrong { directory: PathBuf, why: String },
}

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub hard_state: HardState,
    pub last_index: LogIndex,
    pub last_term: Term,
    /// The newest configuration, committed or not.
    pub configuration: Configuration,
    /// What is certainly committed: its snapshot's last entry; zero without one.
    pub snapshot: LogIndex,
    /// First index and term of each run of entries of the same term.
    pub term_runs: Vec<(LogIndex, Term)>,
    /// The end of it was torn by a crash, and is not counted.
    pub torn: bool,
}

impl Held {
    /// The term of the entry at `index`, where the log still knows it.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        let run = self.term_runs.iter().rev().find(|(first, _)| *first <= index);
        run.filter(|_| index <= self.last_index).map(|(_, term)| *term)
    }

    fn from(recovered: Recovered) -> Result<Held, String> {
        let hard_state = match recovered.hard_state.is_empty() {
            true => HardState::default(),
            false => HardState::from_bytes(&recovered.hard_state)
                .ok_or_else(|| "its hard state is not Raft's".to_owned())?,
        };
        let newest = recovered.configurations.last().map(|(_, configuration)| configuration);
        let last_term = recovered.term_runs.last().map(|(_, term)| *term);
        Ok(Held {
            hard_state,
            last_index: recovered.last_index,
            last_term: last_term.unwrap_or(recovered.snapshot.term),
            configuration: newest.unwrap_or(&recovered.snapshot.configuration).clone(),
            snapshot: recovered.snapshot.index,
            term_runs: recovered.term_runs,
            torn: recovered.tear.is_some(),
        })
    }
}

/// Takes writes and forgets them.
struct ReadOnly(FileDisk);

impl Disk for ReadOnly {
    fn submit(&mut self, operation: Operation) -> OperationId {
        self.0.submit(operation)
    }

    fn complete(&mut self) -> Option<Completion> {
        self.0.complete()
    }

    fn execute(&mut self, operation: Operation) -> Result<Outcome, DiskError> {
        match operation {
            Operation::List | Operation::Read { .. } | Operation::FindData { .. } => {
                self.0.execute(operation)
            }
            _ => Ok(Outcome::Done),
        }
    }
}

/// Looks at the log in `directory`, and changes nothing.
pub fn look(directory: &Path, identity: Identity) -> Result<Held, OfflineError> {
    let failed = |source| OfflineError::Log { directory: directory.to_owned(), source };
    if !directory.exists() {
        return Err(failed(LogError::NotInitialised));
    }
    let disk = FileDisk::open(directory, Durability::Fsync, Box::new(|| {}));
    let disk = ReadOnly(disk.map_err(|error| failed(error.into()))?);
    let (_, recovered) = SegmentLog::open(disk, identity, LogOptions::default()).map_err(failed)?;
    Held::from(recovered)
        .map_err(|why| OfflineError::Wrong { directory: directory.to_owned(), why })
}

/// A log that is open, and the bell that its disk rings.
struct Open {
    directory: PathBuf,
    log: SegmentLog<FileDisk>,
    bell: Receiver<()>,
    began: Instant,
    events: Vec<LogEvent>,
}

impl Open {
    fn at(
        directory: &Path,
        identity: Identity,
        options: LogOptions,
    ) -> Result<(Open, Recovered), OfflineError> {
        let failed = |source| OfflineError::Log { directory: directory.to_owned(), source };
        let (ring, bell) = channel();
        let waker = Box::new(move || {
            let _ = ring.send(());
        });
        let disk = FileDisk::open(directory, Durability::Fsync, waker)
            .map_err(|error| failed(error.into()))?;
        let (log, recovered) = SegmentLog::open(disk, identity, options).map_err(failed)?;
        let directory = directory.to_owned();
        let events = Vec::new();
        Ok((Open { directory, log, bell, began: Instant::now(), events }, recovered))
    }

    fn wrong(&self, why: impl Into<String>) -> OfflineError {
        OfflineError::Wrong { directory: self.directory.clone(), why: why.into() }
    }

    /// Works until an event is as `wanted`.
    fn until(&mut self, wanted: impl Fn(&LogEvent) -> bool) -> Result<(), OfflineError> {
        let end = Instant::now() + PATIENCE;
        loop {
            self.log.flush();
            let now = crate::types::Instant(Duration::from_secs(1) + self.began.elapsed());
            let events = self.log.poll(now).map_err(|source| OfflineError::Log {
                directory: self.directory.clone(),
                source,
            })?;
            self.events.extend(events);
            while let Some(event) = (!self.events.is_empty()).then(|| self.events.remove(0)) {
                if let LogEvent::SnapshotFailed { why, .. } = &event {
                    return Err(self.wrong(format!("the snapshot could not be written: {why}")));
                }
                if wanted(&event) {
                    return Ok(());
                }
            }
            if self.log.status().full {
                return Err(self.wrong("there is no space on the disk"));
            }
            if Instant::now() >= end {
                return Err(self.wrong(format!("the disk did not finish within {PATIENCE:?}")));
            }
            let _ = self.bell.recv_timeout(Duration::from_millis(10));
        }
    }

    fn persist(&mut self, persist: &Persist<HardState>) -> Result<(), OfflineError> {
        self.log.append(persist);
        self.until(|event| matches!(event, LogEvent::Durable(seq) if *seq >= persist.seq))
    }
}

/// Appends `configuration` to the log in `directory` as an entry of `term`, which must be above
/// all that any survivor knows. Returns where it stands. A joint change that was under way ends
/// with it.
pub fn append_configuration(
    directory: &Path,
    identity: Identity,
    configuration: Configuration,
    term: Term,
) -> Result<LogIndex, OfflineError> {
    let (mut open, recovered) = Open::at(directory, identity, LogOptions::default())?;
    let held = Held::from(recovered).map_err(|why| open.wrong(why))?;
    if term <= held.hard_state.term || term <= held.last_term {
        return Err(open.wrong(format!("term {term} is not above what the log knows")));
    }
    let index = held.last_index.next();
    open.persist(&Persist {
        seq: Seq(1),
        snapshot: None,
        discard_log: false,
        hard_state: Some(HardState { term, voted_for: None }),
        truncate_from: None,
        entries: vec![Entry { term, index, payload: Payload::Configuration(configuration) }],
    })?;
    Ok(index)
}

/// Creates a log in `directory` that begins with a snapshot: `mark`, and the parts that `parts`
/// hands out one after the other. Read back as a whole before this returns.
pub fn seed(
    directory: &Path,
    identity: Identity,
    segment_bytes: u64,
    mark: &SnapshotMark,
    parts: &mut dyn FnMut() -> Result<Option<Bytes>, String>,
) -> Result<Machine, OfflineError> {
    let failed = |source| OfflineError::Log { directory: directory.to_owned(), source };
    {
        let disk = FileDisk::open(directory, Durability::Fsync, Box::new(|| {}));
        let mut disk = disk.map_err(|error| failed(error.into()))?;
        SegmentLog::create_empty(&mut disk, identity).map_err(failed)?;
    }
    let options = LogOptions { segment_bytes, ..LogOptions::default() };
    let (mut open, _) = Open::at(directory, identity, options)?;
    open.log.snapshot_begin(mark.clone());
    while let Some(part) = parts().map_err(|why| open.wrong(why))? {
        open.log.snapshot_write(&part);
        open.until(|event| matches!(event, LogEvent::SnapshotPartWritten))?;
    }
    open.log.snapshot_finish();
    open.until(|event| matches!(event, LogEvent::SnapshotSaved { .. }))?;
    open.persist(&Persist {
        seq: Seq(1),
        snapshot: Some(mark.clone()),
        discard_log: true,
        hard_state: Some(HardState { term: mark.term, voted_for: None }),
        truncate_from: None,
        entries: Vec::new(),
    })?;
    drop(open);
    read_back(directory, identity, mark)
}

/// Reads a seeded log as a node would at its start.
fn read_back(
    directory: &Path,
    identity: Identity,
    mark: &SnapshotMark,
) -> Result<Machine, OfflineError> {
    let (mut open, recovered) = Open::at(directory, identity, LogOptions::default())?;
    if recovered.snapshot != *mark || recovered.last_index != mark.index {
        return Err(open.wrong("the log does not begin where it should"));
    }
    let mut restore = Machine::new().restore();
    let mut take = |part: &[u8]| restore.take(part).map_err(|error| error.to_string());
    open.log
        .load_snapshot(mark.index, &mut take)
        .map_err(|source| OfflineError::Log { directory: directory.to_owned(), source })?;
    restore.finish().map_err(|error| open.wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{ClusterId, NodeId};

    const IDENTITY: Identity = Identity { cluster: ClusterId(7), node: NodeId(2) };

    fn configuration(voters: &[u64]) -> Configuration {
        let voters: std::collections::BTreeSet<_> = voters.iter().map(|id| NodeId(*id)).collect();
        let addresses = voters.iter().map(|id| (*id, format!("unix:/{id}"))).collect();
        Configuration { voters, addresses, ..Configuration::default() }
    }

    fn created(directory: &Path) {
        let mut disk = FileDisk::open(directory, Durability::Fsync, Box::new(|| {})).unwrap();
        SegmentLog::create(&mut disk, IDENTITY, &configuration(&[1, 2, 3])).unwrap();
    }

    #[test]
    fn a_configuration_is_appended_in_a_higher_term_and_a_look_changes_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let log = temporary.path().join("log");
        created(&log);
        let before = look(&log, IDENTITY).unwrap();
        assert_eq!((before.last_index, before.last_term), (LogIndex(1), Term(1)));
        assert_eq!(before.configuration, configuration(&[1, 2, 3]));
        let alone = configuration(&[2]);
        let low = append_configuration(&log, IDENTITY, alone.clone(), Term(1)).unwrap_err();
        assert!(low.to_string().contains("not above"), "{low}");
        let index = append_configuration(&log, IDENTITY, alone.clone(), Term(9)).unwrap();
        assert_eq!(index, LogIndex(2));
        let contents = || -> Vec<_> {
            let files = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().path());
            let mut files: Vec<_> =
                files.map(|path| (std::fs::read(&path).unwrap(), path)).collect();
            files.sort();
            files
        };
        let untouched = contents();
        let after = look(&log, IDENTITY).unwrap();
        assert_eq!(contents(), untouched);
        assert_eq!((after.hard_state.term, after.last_term), (Term(9), Term(9)));
        assert_eq!(after.configuration, alone);
        assert_eq!(after.term_at(LogIndex(1)), Some(Term(1)));
        assert_eq!(after.term_at(LogIndex(3)), None);
        let foreign = Identity { cluster: ClusterId(8), ..IDENTITY };
        assert!(look(&log, foreign).unwrap_err().to_string().contains("belongs to node 2"));
    }

    #[test]
    fn a_log_begins_with_a_snapshot() {
        let temporary = tempfile::tempdir().unwrap();
        let log = temporary.path().join("log");
        let mut machine = Machine::new();
        (1..=41).for_each(|index| machine.skip(LogIndex(index)));
        let configuration = configuration(&[1, 2]);
        let mark = SnapshotMark { index: LogIndex(41), term: Term(5), configuration };
        let mut parts = machine.snapshot();
        let seeded = seed(&log, IDENTITY, 4 << 20, &mark, &mut || Ok(parts.next())).unwrap();
        assert_eq!(seeded.state_hash(), machine.state_hash());
        let held = look(&log, IDENTITY).unwrap();
        assert_eq!((held.last_index, held.last_term), (mark.index, mark.term));
        assert_eq!((held.snapshot, held.configuration), (mark.index, mark.configuration));
        let again = seed(&log, IDENTITY, 4 << 20, &held_mark(), &mut || Ok(None)).unwrap_err();
        assert!(again.to_string().contains("already a log"), "{again}");
    }

    fn held_mark() -> SnapshotMark {
        SnapshotMark { index: LogIndex(1), term: Term(1), ..SnapshotMark::default() }
    }
}

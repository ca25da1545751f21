//! A cluster in a file, and a cluster out of one.
//!
//! The file is a snapshot as a node keeps it
//! ([`snapshot_format`](crate::storage::snapshot_format)): the state as of one entry, with its
//! checksums, and the cluster and members it was taken from. Nothing needs to be added for a
//! backup, and what a node would refuse is refused here. `etcdctl snapshot save` gets the same file
//! with something behind it ([`grpc::snapshot`](crate::grpc::snapshot)), which is taken as well.
//!
//! # What can go wrong
//!
//! - *The file is damaged, cut, of another program.* It is read and checked as a whole, the state
//!   built and its hash compared, before anything is created.
//! - *The new cluster is taken for the old one*, and the two mix. So it gets an identity of its
//!   own, and its members are new: each node's log is created with the snapshot, marked anew, as
//!   its beginning.
//! - *Creating it ends in the middle.* All of it is made in a directory beside, which no command
//!   takes for a cluster, and renamed in one step at the end.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Serialize;

use super::offline::{self, OfflineError};
use super::state::{Mode, StateError, StateFile};
use crate::config::{ClusterConfig, ClusterDirectory, ConfigError, Home, LayoutError, create_file};
use crate::consensus::SnapshotMark;
use crate::grpc::snapshot::{self, Unwrapping};
use crate::kv::Machine;
use crate::storage::Identity;
use crate::storage::snapshot_format::{Item, SNAPSHOT_VERSION, SnapshotDecoder};
use crate::types::{ClusterId, LogIndex, NodeId, Revision, Term};

/// Bytes read at once.
const CHUNK: usize = 1 << 20;

/// Where a snapshot's header names its cluster.
const CLUSTER_AT: std::ops::Range<usize> = 16..24;

/// Why a cluster cannot be made out of a file.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("cannot {what} {}: {source}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{} is no snapshot that can be used: {what}", path.display())]
    Damaged { path: PathBuf, what: String },
    #[error("there is a cluster (or something else) in {} already", path.display())]
    Exists { path: PathBuf },
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    State(#[from] StateError),
    #[error(transparent)]
    Offline(#[from] OfflineError),
}

fn io_error(what: &'static str, path: &Path) -> impl Fn(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { what, path: path.clone(), source }
}

/// What is in a snapshot's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Facts {
    pub bytes: u64,
    pub format_version: u32,
    /// Of the cluster that it was taken from.
    pub cluster: ClusterId,
    /// The last entry that it covers…
    pub index: LogIndex,
    /// …and that entry's term.
    pub term: Term,
    pub voters: Vec<NodeId>,
    pub learners: Vec<NodeId>,
    pub revision: Revision,
    pub keys: u64,
    pub sessions: u64,
    /// Hexadecimal.
    pub state_hash: String,
}

/// Checks a snapshot's bytes as they come, whatever cluster it is of.
#[derive(Default)]
pub struct Check {
    /// The first bytes, until they name the cluster.
    head: Vec<u8>,
    decoder: Option<SnapshotDecoder>,
    cluster: ClusterId,
}

impl Check {
    /// Takes the next bytes, and hands what is in them to `sink`.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn push(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FnMut(Item) -> Result<(), String>,
    ) -> Result<(), String> {
        let decoder = match &mut self.decoder {
            Some(decoder) => {
                decoder.push(bytes);
                decoder
            }
            None => {
                self.head.extend_from_slice(bytes);
                let Some(cluster) = self.head.get(CLUSTER_AT) else { return Ok(()) };
                let cluster = cluster.try_into().map(u64::from_le_bytes).unwrap_or_default();
                self.cluster = ClusterId(cluster);
                let decoder = self.decoder.insert(SnapshotDecoder::new(self.cluster));
                decoder.push(&std::mem::take(&mut self.head));
                decoder
            }
        };
        while let Some(item) = decoder.item().map_err(|damage| damage.to_string())? {
            sink(item)?;
        }
        Ok(())
    }

    /// No more bytes will come.
    pub fn finish(&self) -> Result<(), String> {
        match &self.decoder {
            Some(decoder) => decoder.finish().map_err(|damage| damage.to_string()),
            None => Err(format!("it is cut off after {} bytes", self.head.len())),
        }
    }
}

/// The snapshot in the file at `path`, without what a client of etcd was given behind it.
fn open(path: &Path) -> Result<io::Take<File>, BackupError> {
    let file = File::open(path).map_err(io_error("read", path))?;
    match snapshot::unwrap(&file) {
        Ok(length) => Ok(file.take(length.unwrap_or(u64::MAX))),
        Err(Unwrapping::Io(error)) => Err(io_error("read", path)(error)),
        Err(error) => {
            let (path, what) = (path.to_owned(), error.to_string());
            Err(BackupError::Damaged { path, what })
        }
    }
}

/// Reads the file at `path`, piece by piece.
fn read(
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), BackupError>,
) -> Result<u64, BackupError> {
    let failed = io_error("read", path);
    let mut file = open(path)?;
    let mut buffer = vec![0; CHUNK];
    let mut total = 0;
    loop {
        let count = match file.read(&mut buffer) {
            Ok(0) => return Ok(total),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        total += count as u64;
        take(&buffer[..count])?;
    }
}

/// Reads the file at `path` as a whole, and says what is in it if all of it is right.
pub fn inspect(path: &Path) -> Result<Facts, BackupError> {
    let damaged = |what: String| BackupError::Damaged { path: path.to_owned(), what };
    let mut check = Check::default();
    let mut mark = None;
    let mut restore = Machine::new().restore();
    let mut sink = |item| match item {
        Item::Mark(found) => {
            mark = Some(found);
            Ok(())
        }
        Item::Part(part) => restore.take(&part).map_err(|error| error.to_string()),
    };
    let bytes = read(path, |bytes| check.push(bytes, &mut sink).map_err(damaged))?;
    check.finish().map_err(damaged)?;
    let machine = restore.finish().map_err(|error| damaged(error.to_string()))?;
    let SnapshotMark { index, term, configuration } =
        mark.ok_or_else(|| damaged("it has no header".into()))?;
    if machine.applied_index() != index {
        let applied = machine.applied_index();
        return Err(damaged(format!("its state is of entry {applied}, and not of {index}")));
    }
    Ok(Facts {
        bytes,
        format_version: SNAPSHOT_VERSION,
        cluster: check.cluster,
        index,
        term,
        voters: configuration.voters.into_iter().collect(),
        learners: configuration.learners.into_iter().collect(),
        revision: machine.revision(),
        keys: machine.keys(),
        sessions: machine.sessions(),
        state_hash: format!("{:032x}", machine.state_hash()),
    })
}

/// The parts of a snapshot's file, one after the other.
struct Parts {
    path: PathBuf,
    file: io::Take<File>,
    check: Check,
    ready: std::collections::VecDeque<Bytes>,
}

impl Parts {
    fn of(path: &Path, facts: &Facts) -> Result<Parts, BackupError> {
        let file = File::open(path).map_err(io_error("read", path))?.take(facts.bytes);
        let (check, ready) = Default::default();
        Ok(Parts { path: path.to_owned(), file, check, ready })
    }

    fn next(&mut self) -> Result<Option<Bytes>, String> {
        let mut buffer = vec![0; CHUNK];
        while self.ready.is_empty() {
            let failed = |error| format!("cannot read {}: {error}", self.path.display());
            let count = self.file.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                return self.check.finish().map(|()| None);
            }
            let ready = &mut self.ready;
            self.check.push(&buffer[..count], &mut |item| {
                if let Item::Part(part) = item {
                    ready.push_back(part);
                }
                Ok(())
            })?;
        }
        Ok(self.ready.pop_front())
    }
}

/// Creates the cluster that `config` describes out of the snapshot in the file at `path`. It is
/// not started. `told` hears what is being done.
pub fn restore(
    home: &Home,
    config: &ClusterConfig,
    path: &Path,
    told: &mut dyn FnMut(String),
) -> Result<Facts, BackupError> {
    let directory = home.cluster(&config.name);
    let exists = || BackupError::Exists { path: directory.path().to_owned() };
    if directory.path().exists() {
        return Err(exists());
    }
    config.validate().map_err(|message| ConfigError::wrong(&directory.cluster_toml(), message))?;
    told(format!("reads and checks {}", path.display()));
    let facts = inspect(path)?;
    let beside = format!(".{}.restoring-{}", config.name, std::process::id());
    let beside = ClusterDirectory::at(home.path().join(beside))?;
    let made = make(&directory, &beside, config, path, &facts, told).and_then(|()| {
        // The directory is made in one step: who looks sees all of it or nothing.
        fs::rename(beside.path(), directory.path()).map_err(|error| match error.kind() {
            io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists => exists(),
            _ => io_error("create", directory.path())(error),
        })?;
        let synced = File::open(home.path()).and_then(|home| home.sync_all());
        synced.map_err(io_error("make durable", home.path()))
    });
    if made.is_err() {
        let _ = fs::remove_dir_all(beside.path());
    }
    made.map(|()| facts)
}

/// Writes all that the cluster in `directory` will consist of into `beside`.
fn make(
    directory: &ClusterDirectory,
    beside: &ClusterDirectory,
    config: &ClusterConfig,
    path: &Path,
    facts: &Facts,
    told: &mut dyn FnMut(String),
) -> Result<(), BackupError> {
    beside.create()?;
    let write = |path: PathBuf, text: String| {
        create_file(&path, text.as_bytes()).map_err(io_error("write", &path))
    };
    write(beside.cluster_toml(), config.to_commented_toml())?;
    let mut state = StateFile::new(config, directory)?;
    state.mode = Mode::Down;
    let members = state.members();
    write(beside.members_toml(), members.to_commented_toml())?;
    let mark = SnapshotMark {
        index: facts.index,
        term: facts.term,
        configuration: members.configuration(),
    };
    for (id, record) in &mut state.nodes {
        told(format!("writes the log of node {id}"));
        let place = beside.node(*id);
        place.create()?;
        let identity = Identity { cluster: config.id, node: *id };
        let segment_bytes = config.tuned(*id).segment_bytes;
        let mut parts = Parts::of(path, facts)?;
        let machine =
            offline::seed(&place.log_directory(), identity, segment_bytes, &mark, &mut || {
                parts.next()
            })?;
        if format!("{:032x}", machine.state_hash()) != facts.state_hash {
            let what = "it changed while it was read".into();
            return Err(BackupError::Damaged { path: path.to_owned(), what });
        }
        record.initialised = true;
    }
    Ok(state.write(&beside.supervisor_json())?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::snapshot_format::SnapshotEncoder;

    fn file(directory: &Path) -> PathBuf {
        let mut machine = Machine::new();
        (1..=9).for_each(|index| machine.skip(LogIndex(index)));
        let mark = SnapshotMark { index: LogIndex(9), term: Term(4), ..Default::default() };
        let (mut encoder, mut bytes) = SnapshotEncoder::begin(ClusterId(3), &mark);
        let mut all = std::mem::take(&mut bytes).to_vec();
        machine.snapshot().for_each(|part| all.extend(encoder.part(&part)));
        all.extend(encoder.end());
        let path = directory.join("backup");
        fs::write(&path, all).unwrap();
        path
    }

    #[test]
    fn a_cluster_is_made_out_of_a_file_as_a_whole() {
        let temporary = tempfile::tempdir().unwrap();
        let path = file(temporary.path());
        let home = Home::at(temporary.path().join("home")).unwrap();
        fs::create_dir(home.path()).unwrap();
        let config = ClusterConfig::new("new".parse().unwrap(), 3);
        let facts = restore(&home, &config, &path, &mut |_| {}).unwrap();
        assert_eq!((facts.index, facts.term, facts.cluster), (LogIndex(9), Term(4), ClusterId(3)));
        let directory = home.cluster(&config.name);
        let state = StateFile::read(&directory).unwrap().unwrap();
        assert!(state.nodes.values().all(|node| node.initialised && node.founder));
        for id in config.node_ids() {
            let identity = Identity { cluster: config.id, node: id };
            let held = offline::look(&directory.node(id).log_directory(), identity).unwrap();
            assert_eq!((held.last_index, held.last_term), (LogIndex(9), Term(4)));
            assert_eq!(held.configuration, state.members().configuration());
        }
        let again = restore(&home, &config, &path, &mut |_| {}).unwrap_err();
        assert!(matches!(again, BackupError::Exists { .. }), "{again}");
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1, "nothing is left beside");
    }

    #[test]
    fn a_damaged_file_is_refused_with_the_place_and_changes_nothing() {
        let temporary = tempfile::tempdir().unwrap();
        let path = file(temporary.path());
        let whole = fs::read(&path).unwrap();
        let home = Home::at(temporary.path().join("home")).unwrap();
        let config = ClusterConfig::new("new".parse().unwrap(), 3);
        let refused = |bytes: &[u8], says: &str| {
            fs::write(&path, bytes).unwrap();
            let error = restore(&home, &config, &path, &mut |_| {}).unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("backup"), "{error}");
            assert!(!home.path().exists(), "nothing was created");
        };
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            refused(&bytes, "offset");
        }
        refused(&whole[..whole.len() - 1], "ends here");
        refused(&whole[..10], "cut off after 10 bytes");
        refused(&[], "cut off after 0 bytes");
        refused(&[&whole[..], b"x"].concat(), "behind the end");
    }
}

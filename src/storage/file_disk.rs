//! The real disk: a directory, and a thread that performs the operations on it.
//!
//! The thread exists because Linux has no asynchronous `fdatasync` short of io_uring, and the
//! thread that talks to the other nodes must never wait for one. Requests go to it through a
//! bounded channel; after every completion it calls the waker, which only has to make
//! somebody call [`Disk::complete`] soon.
//!
//! # Durability that can be tested
//!
//! A process that is killed leaves its writes in the kernel's page cache, where they survive: so
//! killing nodes can never show that an fsync is missing. In the mode
//! [`Durability::FsyncDropUnsynced`] written bytes are therefore held back in this process's own
//! memory, and reach the kernel only in the sync that makes them durable: a SIGKILL loses
//! them as a power cut would. Reads see them all the same. What is held back is bounded by
//! what the log writes between two syncs: a group and the zeros ahead of it.
//!
//! [`Durability::None`] skips every sync: for comparison only.
//!
//! # Ownership
//!
//! The directory is locked (flock) for as long as the disk lives: two processes can never write one
//! log. The thread ends when the disk is dropped; what is still in its queue then is not performed.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, SeekFrom};

use crate::config::Durability;

use super::disk::{
    Completion, Disk, DiskError, DiskErrorKind, FileName, Operation, OperationId, Outcome,
};

/// Operations that may wait; beyond it, submitting blocks. The log keeps three under way.
const QUEUE: usize = 256;
/// Files kept open.
const OPEN_FILES: usize = 8;

/// A directory as a disk; see the [module](self).
pub struct FileDisk {
    directory: PathBuf,
    requests: Option<SyncSender<(OperationId, Operation)>>,
    completions: Receiver<Completion>,
    /// Completions that came while something else was waited for.
    early: VecDeque<Completion>,
    /// Submitted, and not completed yet.
    under_way: VecDeque<OperationId>,
    next_id: u64,
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl FileDisk {
    /// Takes `directory`, creating it (0700) if it is missing. `waker` is called from the disk's
    /// thread after every completion.
    pub fn open(
        directory: &Path,
        durability: Durability,
        waker: Box<dyn Fn() + Send>,
    ) -> Result<FileDisk, DiskError> {
        let describe = |action: &str, error: io::Error| {
            describe(&error, action.to_owned(), directory.display().to_string())
        };
        create_directory(directory).map_err(|error| describe("create", error))?;
        let handle = File::open(directory).map_err(|error| describe("open", error))?;
        // By its path: std's File has a method of the same name and another result.
        fs2::FileExt::try_lock_exclusive(&handle).map_err(|error| DiskError {
            kind: DiskErrorKind::Other,
            action: "lock".to_owned(),
            file: directory.display().to_string(),
            reason: if error.kind() == ErrorKind::WouldBlock {
                "another process uses this log; is the node running already?".to_owned()
            } else {
                error.to_string()
            },
        })?;
        let (requests, inbox) = sync_channel(QUEUE);
        let (outbox, completions) = channel();
        let stopping = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            directory: directory.to_owned(),
            handle,
            durability,
            open: Vec::new(),
            held: BTreeMap::new(),
        };
        let stop = Arc::clone(&stopping);
        let thread = std::thread::Builder::new()
            .name("log-disk".to_owned())
            .spawn(move || {
                let mut worker = worker;
                while let Ok((id, operation)) = inbox.recv() {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let completion = worker.perform(id, operation);
                    if outbox.send(completion).is_err() {
                        return;
                    }
                    waker();
                }
            })
            .map_err(|error| describe("start a thread for", error))?;
        Ok(FileDisk {
            directory: directory.to_owned(),
            requests: Some(requests),
            completions,
            early: VecDeque::new(),
            under_way: VecDeque::new(),
            next_id: 0,
            stopping,
            thread: Some(thread),
        })
    }

    fn thread_ended(&self, action: String) -> DiskError {
        DiskError {
            kind: DiskErrorKind::Other,
            action,
            file: self.directory.display().to_string(),
            reason: "the disk's thread has ended".to_owned(),
        }
    }
}

impl Disk for FileDisk {
    fn submit(&mut self, operation: Operation) -> OperationId {
        let id = OperationId(self.next_id);
        self.next_id += 1;
        self.under_way.push_back(id);
        if let Some(requests) = &self.requests {
            // If the thread is gone, `complete` says so.
            let _ = requests.send((id, operation));
        }
        id
    }

    fn complete(&mut self) -> Option<Completion> {
        if let Some(completion) = self.early.pop_front() {
            return Some(completion);
        }
        match self.completions.try_recv() {
            Ok(completion) => {
                self.under_way.pop_front();
                Some(completion)
            }
            Err(TryRecvError::Empty) => None,
            // The thread is gone, and with it whatever it had not performed.
            Err(TryRecvError::Disconnected) => {
                let id = self.under_way.pop_front()?;
                let result = Err(self.thread_ended("go on with".to_owned()));
                Some(Completion { id, result, sync_time: None })
            }
        }
    }

    fn execute(&mut self, operation: Operation) -> Result<Outcome, DiskError> {
        let action = operation.action();
        let id = self.submit(operation);
        loop {
            let Ok(completion) = self.completions.recv() else {
                self.under_way.pop_back();
                return Err(self.thread_ended(action));
            };
            self.under_way.pop_front();
            if completion.id == id {
                return completion.result;
            }
            self.early.push_back(completion);
        }
    }
}

impl Drop for FileDisk {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has already failed every operation.
            let _ = thread.join();
        }
    }
}

/// Creates the directory and makes its name durable.
fn create_directory(directory: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(directory) {
        Ok(()) => {
            let parent = directory.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes the file `size` bytes long with space reserved for them, so that no write within it runs
/// out of space later.
///
/// Not through fs2: its `allocate` calls posix_fallocate, which *returns* the error's number, and
/// then reports whatever errno happened to hold: a full disk could not be told from anything else.
fn allocate(file: &File, size: u64) -> io::Result<()> {
    loop {
        match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, size) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            // A file system that cannot reserve: writes may be refused later, and the log copes.
            Err(rustix::io::Errno::OPNOTSUPP) => return file.set_len(size),
            Err(error) => return Err(error.into()),
        }
    }
}

fn kind_of(error: &io::Error) -> DiskErrorKind {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DiskErrorKind::NoSpace,
        ErrorKind::NotFound => DiskErrorKind::NotFound,
        ErrorKind::AlreadyExists => DiskErrorKind::Exists,
        _ => DiskErrorKind::Other,
    }
}

fn describe(error: &io::Error, action: String, file: String) -> DiskError {
    DiskError { kind: kind_of(error), action, file, reason: error.to_string() }
}

/// The files of a directory and their lengths.
fn list_files(directory: &Path) -> io::Result<Vec<(FileName, u64)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        // A name that is not text is none of ours.
        if let (true, Ok(name)) = (metadata.is_file(), entry.file_name().into_string()) {
            files.push((name, metadata.len()));
        }
    }
    files.sort();
    Ok(files)
}

/// What went wrong, and whether it was a sync.
enum Failure {
    Io(io::Error),
    Sync(io::Error),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Io(error)
    }
}

impl From<rustix::io::Errno> for Failure {
    fn from(error: rustix::io::Errno) -> Failure {
        Failure::Io(error.into())
    }
}

/// The thread's half.
struct Worker {
    directory: PathBuf,
    /// The directory itself, locked.
    handle: File,
    durability: Durability,
    /// Open files, the one used last at the end.
    open: Vec<(FileName, File)>,
    /// In the mode that drops unsynced bytes: writes since the last sync, by file.
    held: BTreeMap<FileName, Vec<(u64, Bytes)>>,
}

impl Worker {
    fn perform(&mut self, id: OperationId, operation: Operation) -> Completion {
        let mut sync_time = None;
        let result = self.try_perform(&operation, &mut sync_time).map_err(|failure| {
            let path = operation.file().map(|file| self.directory.join(file));
            let file = path.as_deref().unwrap_or(&self.directory).display().to_string();
            match failure {
                Failure::Io(error) => describe(&error, operation.action(), file),
                Failure::Sync(error) => DiskError {
                    kind: DiskErrorKind::SyncFailed,
                    ..describe(&error, "sync".to_owned(), file)
                },
            }
        });
        // `operation` ends here, before the completion is sent: its bytes are the log's again.
        Completion { id, result, sync_time }
    }

    fn try_perform(
        &mut self,
        operation: &Operation,
        sync_time: &mut Option<Duration>,
    ) -> Result<Outcome, Failure> {
        match operation {
            Operation::List => return Ok(Outcome::Files(list_files(&self.directory)?)),
            Operation::Read { file, offset, length } => {
                return Ok(Outcome::Bytes(self.read(file, *offset, *length)?.into()));
            }
            Operation::FindData { file, offset } => {
                return Ok(Outcome::Offset(self.find_data(file, *offset)?));
            }
            Operation::Create { file, size } => self.create(file, *size)?,
            Operation::Allocate { file, size } => {
                let file = self.file(file)?;
                if file.metadata()?.len() < *size {
                    allocate(file, *size)?;
                }
            }
            Operation::Write { file, offset, bytes, sync } => {
                self.write(file, *offset, bytes)?;
                if *sync {
                    *sync_time = self.sync(file)?;
                }
            }
            Operation::Sync { file } => *sync_time = self.sync(file)?,
            Operation::SyncDirectory => {
                if self.durability != Durability::None {
                    self.handle.sync_all().map_err(Failure::Sync)?;
                }
            }
            Operation::Rename { from, to } => {
                std::fs::rename(self.directory.join(from), self.directory.join(to))?;
                self.open.retain(|(name, _)| name != from && name != to);
                if let Some(held) = self.held.remove(from) {
                    self.held.insert(to.clone(), held);
                }
            }
            Operation::Delete { file } => {
                std::fs::remove_file(self.directory.join(file))?;
                self.open.retain(|(name, _)| name != file);
                self.held.remove(file);
            }
        }
        Ok(Outcome::Done)
    }

    fn create(&mut self, name: &str, size: u64) -> io::Result<()> {
        let path = self.directory.join(name);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        if size > 0
            && let Err(error) = allocate(&file, size)
        {
            // Nothing half-made is left to stand in the way of the next attempt.
            std::fs::remove_file(&path)?;
            return Err(error);
        }
        self.remember(name, file);
        Ok(())
    }

    /// The open file called `name`.
    fn file(&mut self, name: &str) -> io::Result<&File> {
        match self.open.iter().position(|(open, _)| open == name) {
            Some(position) => self.open[position..].rotate_left(1),
            None => {
                let path = self.directory.join(name);
                let file = OpenOptions::new().read(true).write(true).open(path)?;
                self.remember(name, file);
            }
        }
        self.open.last().map(|(_, file)| file).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn remember(&mut self, name: &str, file: File) {
        if self.open.len() >= OPEN_FILES {
            self.open.remove(0);
        }
        self.open.push((name.to_owned(), file));
    }

    fn write(&mut self, name: &str, offset: u64, bytes: &Bytes) -> io::Result<()> {
        if self.durability == Durability::FsyncDropUnsynced {
            let held = self.held.entry(name.to_owned()).or_default();
            held.push((offset, bytes.clone()));
            return Ok(());
        }
        self.file(name)?.write_all_at(bytes, offset)
    }

    /// Syncs, and says how long that took, unless the durability asked for has no syncs.
    fn sync(&mut self, name: &str) -> Result<Option<Duration>, Failure> {
        if let Some(held) = self.held.get(name).cloned() {
            for (offset, bytes) in &held {
                self.file(name)?.write_all_at(bytes, *offset)?;
            }
            self.held.remove(name);
        }
        if self.durability == Durability::None {
            return Ok(None);
        }
        let file = self.file(name)?;
        let start = Instant::now();
        file.sync_data().map_err(Failure::Sync)?;
        Ok(Some(start.elapsed()))
    }

    fn read(&mut self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let held = self.held.get(name).cloned().unwrap_or_default();
        let file = self.file(name)?;
        let end = held.iter().map(|(at, bytes)| at + bytes.len() as u64).max().unwrap_or(0);
        let end = end.max(file.metadata()?.len());
        let length = length.min(end.saturating_sub(offset) as usize);
        let mut buffer = Vec::with_capacity(length);
        while buffer.len() < length {
            let at = offset + buffer.len() as u64;
            match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut buffer), at) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // Of what is only held back, there may be more than the file has.
        buffer.resize(length, 0);
        for (at, bytes) in &held {
            let start = (*at).max(offset);
            let end = (at + bytes.len() as u64).min(offset + length as u64);
            if start < end {
                let part = &bytes[(start - at) as usize..(end - at) as usize];
                buffer[(start - offset) as usize..(end - offset) as usize].copy_from_slice(part);
            }
        }
        Ok(buffer)
    }

    fn find_data(&mut self, name: &str, offset: u64) -> Result<u64, Failure> {
        if self.held.contains_key(name) {
            return Ok(offset);
        }
        let file = self.file(name)?;
        // Space that was allocated and never written counts as data once the system has read ahead
        // into it. What is in memory and not dirty can go.
        rustix::fs::fadvise(file, offset, None, rustix::fs::Advice::DontNeed)?;
        match rustix::fs::seek(file, SeekFrom::Data(offset)) {
            Ok(data) => Ok(data),
            // Nothing but a hole to the end.
            Err(rustix::io::Errno::NXIO) => Ok(file.metadata()?.len()),
            // The file system has no notion of holes.
            Err(rustix::io::Errno::INVAL) => Ok(offset),
            Err(error) => Err(error.into()),
        }
    }
}

mod view;

pub use view::FileView;

#[cfg(test)]
mod tests;

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
//! # Trouble on purpose
//!
//! A disk that is slow, full or failing is had from [`FileDisk::ailment`]: what is wrong with it
//! comes and goes while it is used.
//!
//! # Ownership
//!
//! The directory is locked (flock) for as long as the disk lives: two processes can never write one
//! log. The thread ends when the disk is dropped; what is still in its queue then is not performed.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, channel, sync_channel};
use std::thread::JoinHandle;

use crate::config::Durability;
use crate::types::Random;

use super::disk::{
    Completion, Disk, DiskError, DiskErrorKind, FileName, Operation, OperationId, Outcome, Times,
};

/// Operations that may wait; beyond it, submitting blocks. The log keeps three under way.
const QUEUE: usize = 256;

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
    ailment: Ailment,
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
        let ailment = Ailment::default();
        let worker = Worker {
            directory: directory.to_owned(),
            handle,
            durability,
            ailment: ailment.clone(),
            random: Random::from_seed(u64::from(std::process::id())),
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
            ailment,
            thread: Some(thread),
        })
    }

    /// What is wrong with it, for whoever wants something to be.
    pub fn ailment(&self) -> Ailment {
        self.ailment.clone()
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
                Some(Completion { id, result, times: Times::default() })
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
        self.ailment.stop();
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

mod ailing;
mod view;
mod worker;

pub use ailing::Ailment;
pub use view::FileView;
use worker::Worker;

#[cfg(test)]
mod tests;

//! The thread's half of the real disk: performs operations, one after the other.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustix::fs::{FallocateFlags, SeekFrom};

use super::super::disk::{
    Completion, DiskError, DiskErrorKind, FileName, Operation, OperationId, Outcome, Times,
};
use super::{Ailment, describe, list_files};
use crate::config::Durability;
use crate::types::Random;

/// Files kept open.
const OPEN_FILES: usize = 8;

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
pub(super) struct Worker {
    pub(super) directory: PathBuf,
    /// The directory itself, locked.
    pub(super) handle: File,
    pub(super) durability: Durability,
    pub(super) ailment: Ailment,
    /// Of what the ailment leaves to chance.
    pub(super) random: Random,
    /// Open files, the one used last at the end.
    pub(super) open: Vec<(FileName, File)>,
    /// Where unsynced bytes are dropped: writes since the last sync, by file.
    pub(super) held: BTreeMap<FileName, Vec<(u64, Bytes)>>,
}

impl Worker {
    /// Performs one operation.
    pub(super) fn perform(&mut self, id: OperationId, operation: Operation) -> Completion {
        let mut times = Times::default();
        let result = self.try_perform(&operation, &mut times).map_err(|failure| {
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
        Completion { id, result, times }
    }

    fn try_perform(
        &mut self,
        operation: &Operation,
        times: &mut Times,
    ) -> Result<Outcome, Failure> {
        // A write that is to be synced is held up in between: what is written and not synced is
        // what a slow disk has most of.
        let syncs =
            matches!(operation, Operation::Write { sync: true, .. } | Operation::Sync { .. });
        if !syncs {
            self.ailment.wait(&mut self.random);
        }
        self.ailment.fails(operation, &mut self.random)?;
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
                let begun = sync.then(Instant::now);
                self.write(file, *offset, bytes)?;
                if let Some(begun) = begun {
                    times.write = Some(begun.elapsed());
                    times.sync = self.sync(file)?;
                }
            }
            Operation::Sync { file } => times.sync = self.sync(file)?,
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
        let (holds_back, torn) = self.ailment.holds_back();
        if torn {
            self.file(name)?.write_all_at(&bytes[..bytes.len() / 2], offset)?;
        }
        if holds_back || self.durability == Durability::FsyncDropUnsynced {
            let held = self.held.entry(name.to_owned()).or_default();
            held.push((offset, bytes.clone()));
            return Ok(());
        }
        // What was held back before must not come after this.
        self.let_go(name)?;
        self.file(name)?.write_all_at(bytes, offset)
    }

    /// Writes what was held back.
    fn let_go(&mut self, name: &str) -> io::Result<()> {
        if let Some(held) = self.held.get(name).cloned() {
            for (offset, bytes) in &held {
                self.file(name)?.write_all_at(bytes, *offset)?;
            }
            self.held.remove(name);
        }
        Ok(())
    }

    /// Syncs, and says how long that took, unless the durability asked for has no syncs. What makes
    /// the disk slow on purpose counts: whoever looks at the figures is to see a slow disk.
    fn sync(&mut self, name: &str) -> Result<Option<Duration>, Failure> {
        let start = Instant::now();
        self.ailment.wait(&mut self.random);
        if self.ailment.fails_sync() {
            self.held.remove(name);
            let error = io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
            return Err(Failure::Sync(error));
        }
        self.let_go(name)?;
        if self.durability == Durability::None {
            return Ok(None);
        }
        let file = self.file(name)?;
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

//! A directory that can be looked at and is never touched.
//!
//! For a look into a log whose node runs, or that must stay as it was found: no lock is taken, no
//! file is opened for writing. Operations that would change something are taken for done and not
//! done, so recovery itself can be run on it, to see what it would say.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::super::disk::{
    Completion, Disk, DiskError, FileName, Operation, OperationId, Outcome, Times,
};
use super::{describe, list_files};

/// A view of a directory: what would change something is taken for done, and not done.
#[derive(Debug)]
pub struct FileView {
    directory: PathBuf,
    next_id: u64,
    completions: VecDeque<Completion>,
}

impl FileView {
    /// Of `directory`, which must exist.
    pub fn open(directory: &Path) -> Result<FileView, DiskError> {
        let name = || directory.display().to_string();
        File::open(directory).map_err(|error| describe(&error, "open".to_owned(), name()))?;
        Ok(FileView { directory: directory.to_owned(), next_id: 0, completions: VecDeque::new() })
    }

    fn perform(&self, operation: &Operation) -> Result<Outcome, DiskError> {
        let done = match operation {
            Operation::List => list_files(&self.directory).map(Outcome::Files),
            Operation::Read { file, offset, length } => {
                self.read(file, *offset, *length).map(|bytes| Outcome::Bytes(bytes.into()))
            }
            Operation::FindData { offset, .. } => Ok(Outcome::Offset(*offset)),
            _ => Ok(Outcome::Done),
        };
        done.map_err(|error| {
            let path = operation.file().map(|file| self.directory.join(file));
            let path = path.as_deref().unwrap_or(&self.directory);
            describe(&error, operation.action(), path.display().to_string())
        })
    }

    fn read(&self, name: &FileName, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let file = File::open(self.directory.join(name))?;
        let left = file.metadata()?.len().saturating_sub(offset);
        let mut buffer = vec![0; left.min(length as u64) as usize];
        let mut done = 0;
        while done < buffer.len() {
            match file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(count) => done += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(done);
        Ok(buffer)
    }
}

impl Disk for FileView {
    fn submit(&mut self, operation: Operation) -> OperationId {
        let id = OperationId(self.next_id);
        self.next_id += 1;
        let result = self.perform(&operation);
        self.completions.push_back(Completion { id, result, times: Times::default() });
        id
    }

    fn complete(&mut self) -> Option<Completion> {
        self.completions.pop_front()
    }

    fn execute(&mut self, operation: Operation) -> Result<Outcome, DiskError> {
        self.perform(&operation)
    }
}

//! One process, one node directory.
//!
//! Two processes that append to the same log would destroy it. The kernel's lock on `<dir>/lock`
//! goes with the process that holds it, however it ends; the file itself stays and means nothing.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The directory cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "the node directory {} is in use by process {holder}; stop that one first",
        directory.display()
    )]
    Held { directory: PathBuf, holder: String },
    #[error("cannot lock the node directory {}: {source}", directory.display())]
    Io { directory: PathBuf, source: io::Error },
}

/// The right to use a node directory, until dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

impl DirectoryLock {
    /// Takes the lock, or says who has it.
    pub fn take(directory: &Path) -> Result<DirectoryLock, LockError> {
        let failed = |source| LockError::Io { directory: directory.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join("lock"))
            .map_err(failed)?;
        // By its path: the standard library has a method of the same name.
        if let Err(error) = fs2::FileExt::try_lock_exclusive(&file) {
            if error.kind() != fs2::lock_contended_error().kind() {
                return Err(failed(error));
            }
            // What the holder wrote; for people only.
            let mut holder = String::new();
            let _ = file.read_to_string(&mut holder);
            let holder = if holder.is_empty() { "(unknown)".to_owned() } else { holder };
            return Err(LockError::Held { directory: directory.to_owned(), holder });
        }
        let written = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| write!(file, "{}", std::process::id()));
        written.map_err(failed)?;
        Ok(DirectoryLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_has_one_holder_and_the_lock_goes_with_it() {
        let directory = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::take(directory.path()).unwrap();
        let error = DirectoryLock::take(directory.path()).unwrap_err();
        assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        DirectoryLock::take(directory.path()).unwrap();
    }

    #[test]
    fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("none");
        let error = DirectoryLock::take(&missing).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}

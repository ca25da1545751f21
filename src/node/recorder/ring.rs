//! The files of a record: the oldest go, so that all of them together stay within bounds.
//!
//! Files are numbered and a number is never used again, so that their order is known whatever the
//! clock says. A node that dies again and again leaves a short file each time; it is bytes that are
//! counted, not files, and so its many short lives do not push out the long one before them.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::record::block;

/// Files kept at most, however short.
const MAX_FILES: usize = 1024;

/// What the name of each file ends with.
pub const EXTENSION: &str = "rec";

/// See the [module](self).
#[derive(Debug)]
pub struct Ring {
    directory: PathBuf,
    /// Older files than the current one may have so many bytes together.
    older_bytes: u64,
    file: Option<File>,
}

/// The files of a record, oldest first: the number of each, and where it is.
pub fn files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let is_record = path.extension().is_some_and(|extension| extension == EXTENSION);
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok());
        if let (true, Some(number)) = (is_record, number) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files)
}

impl Ring {
    /// The ring in `directory`; nothing is touched yet.
    pub fn new(directory: &Path, file_bytes: usize, ring_bytes: u64) -> Ring {
        let older_bytes = ring_bytes.saturating_sub(file_bytes as u64);
        Ring { directory: directory.to_owned(), older_bytes, file: None }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Begins a file, and lets the oldest go.
    pub fn begin(&mut self, header: &[u8]) -> io::Result<()> {
        self.file = None;
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)?;
        let files = files(&self.directory)?;
        let number = files.last().map_or(1, |(number, _)| number + 1);
        self.forget(files)?;
        let path = self.directory.join(format!("{number:020}.{EXTENSION}"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(header)?;
        self.file = Some(file);
        Ok(())
    }

    fn forget(&self, files: Vec<(u64, PathBuf)>) -> io::Result<()> {
        let (mut bytes, mut kept) = (0, 0);
        for (_, path) in files.into_iter().rev() {
            bytes += path.metadata()?.len();
            kept += 1;
            if bytes > self.older_bytes || kept >= MAX_FILES {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Writes whole records into the current file.
    pub fn write(&mut self, records: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("no file was begun"));
        };
        file.write_all(&block(records))?;
        file.write_all(records)
    }

    /// Writes no more into the current file.
    pub fn give_up(&mut self) {
        self.file = None;
    }
}

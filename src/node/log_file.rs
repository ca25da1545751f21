//! The node's own log for people: `node.log`, written and rotated by the node itself.
//!
//! # Why no pipe
//!
//! A node whose supervisor reads its standard error dies with the supervisor (SIGPIPE), or stops
//! when the supervisor does not read (a full pipe blocks). So each node writes a file, and a
//! supervisor, or a person, reads it.
//!
//! # The rule
//!
//! A line goes to the file in one write. When the file would grow past [`MAX_BYTES`], it becomes
//! `node.log.1`, that one `node.log.2`, and the oldest goes: at most three files, so a node that
//! complains for a year fills nothing. What cannot be written (a full disk) is counted, and the
//! next line that can be is preceded by how many were lost: the log must never harm the node.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tracing_subscriber::fmt::MakeWriter;

use crate::config::LogFormat;

/// A file is rotated before it grows larger.
const MAX_BYTES: u64 = 8 << 20;

/// Files kept, the current one included.
const FILES: usize = 3;

/// A log file that rotates. Clones write to the same file.
#[derive(Clone, Debug)]
pub struct LogFile {
    inner: Arc<Mutex<Rotating>>,
}

#[derive(Debug)]
struct Rotating {
    path: PathBuf,
    file: File,
    size: u64,
    max: u64,
    format: LogFormat,
    lost: u64,
}

impl LogFile {
    /// Appends to the file at `path`, lines of that form.
    pub fn open(path: &Path, format: LogFormat) -> io::Result<LogFile> {
        LogFile::with_size(path, MAX_BYTES, format)
    }

    fn with_size(path: &Path, max: u64, format: LogFormat) -> io::Result<LogFile> {
        let file = append_to(path)?;
        let size = file.metadata()?.len();
        let rotating = Rotating { path: path.to_owned(), file, size, max, format, lost: 0 };
        Ok(LogFile { inner: Arc::new(Mutex::new(rotating)) })
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

impl Rotating {
    fn line(&mut self, line: &[u8]) {
        if self.try_line(line).is_err() {
            self.lost += 1;
        }
    }

    fn try_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.size > 0 && self.size + line.len() as u64 > self.max {
            self.rotate()?;
        }
        if self.lost > 0 {
            let note = format!("{} lines could not be written here", self.lost);
            let note = match self.format {
                LogFormat::Text => format!("({note})\n"),
                LogFormat::Json => format!("{{\"level\":\"WARN\",\"message\":\"{note}\"}}\n"),
            };
            self.file.write_all(note.as_bytes())?;
            self.size += note.len() as u64;
            self.lost = 0;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..FILES).rev() {
            let from =
                if number == 1 { self.path.clone() } else { numbered(&self.path, number - 1) };
            match std::fs::rename(from, numbered(&self.path, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = append_to(&self.path)?;
        self.size = 0;
        Ok(())
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}

/// One line's writer: the subscriber hands over a whole line at once.
pub struct LineWriter<'a>(MutexGuard<'a, Rotating>);

impl Write for LineWriter<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogFile {
    type Writer = LineWriter<'a>;

    fn make_writer(&'a self) -> LineWriter<'a> {
        // A thread that panicked while it wrote a line left at worst half of one.
        LineWriter(self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(log: &LogFile, line: &str) {
        log.make_writer().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    #[test]
    fn it_keeps_three_files_and_the_newest_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let log = LogFile::with_size(&path, 100, LogFormat::Text).unwrap();
        for number in 0..100 {
            say(&log, &format!("line {number:04}"));
        }
        let mut files: Vec<_> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, ["node.log", "node.log.1", "node.log.2"]);
        assert!(files.iter().all(|f| directory.path().join(f).metadata().unwrap().len() <= 100));
        assert!(std::fs::read_to_string(&path).unwrap().ends_with("line 0099\n"));
        assert!(std::fs::read_to_string(numbered(&path, 1)).unwrap().contains("line 0089"));
    }

    #[test]
    fn a_restart_appends() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        say(&LogFile::open(&path, LogFormat::Text).unwrap(), "first life");
        say(&LogFile::open(&path, LogFormat::Text).unwrap(), "second life");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first life\nsecond life\n");
    }

    #[test]
    fn lost_lines_are_told_of() {
        for (format, note) in [
            (LogFormat::Text, "(2 lines could not be written here)"),
            (LogFormat::Json, r#"{"level":"WARN","message":"2 lines could not be written here"}"#),
        ] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("node.log");
            let log = LogFile::open(&path, format).unwrap();
            // Read-only: every write fails.
            log.inner.lock().unwrap().file = File::open(&path).unwrap();
            say(&log, "lost");
            say(&log, "lost too");
            log.inner.lock().unwrap().file = append_to(&path).unwrap();
            say(&log, "kept");
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text, format!("{note}\nkept\n"));
        }
    }
}

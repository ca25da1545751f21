//! A log file that grows, and is replaced by another of its name.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::line::Line;
use crate::cli::failure::Failure;
use crate::types::NodeId;

/// So much of the end of a file is read at most.
const TAIL_BYTES: u64 = 4 << 20;

/// The end of a file that grows, and may be replaced by another of its name.
pub struct Tail {
    pub whose: Option<NodeId>,
    path: PathBuf,
    file: Option<File>,
    position: u64,
    /// A line that has not ended yet.
    rest: Vec<u8>,
    /// The last whole line.
    last: Line,
}

impl Tail {
    pub fn new(whose: Option<NodeId>, path: PathBuf) -> Tail {
        Tail { whose, path, file: None, position: 0, rest: Vec::new(), last: Line::default() }
    }

    /// The whole lines that were written since the last time.
    pub async fn more(&mut self) -> Result<Vec<Line>, Failure> {
        let cannot = |path: &Path, error: std::io::Error| {
            Failure::failed(format!("cannot read {}: {error}", path.display()))
        };
        let mut bytes = std::mem::take(&mut self.rest);
        let result = self.read(&mut bytes).await;
        result.map_err(|error| cannot(&self.path, error))?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.rest = bytes.split_off(end);
        let text = String::from_utf8_lossy(&bytes);
        let mut lines = Vec::new();
        for text in text.lines().filter(|text| !text.is_empty()) {
            self.last = Line::read(self.whose, text, &self.last);
            lines.push(self.last.clone());
        }
        Ok(lines)
    }

    async fn read(&mut self, bytes: &mut Vec<u8>) -> std::io::Result<()> {
        if let Some(file) = &mut self.file {
            self.position += file.take(TAIL_BYTES).read_to_end(bytes).await? as u64;
        }
        // Rotated (another file has the name) or cut: begin again, with what is left of the old
        // one already read.
        let there = match tokio::fs::metadata(&self.path).await {
            Ok(there) => there,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        if let Some(file) = &self.file {
            use std::os::unix::fs::MetadataExt;
            let same = file.metadata().await?.ino() == there.ino();
            if same && there.len() >= self.position {
                return Ok(());
            }
            self.position = 0;
        }
        let within = self.file.is_none() && there.len() > TAIL_BYTES;
        let mut file = File::open(&self.path).await?;
        if within {
            self.position = there.len() - TAIL_BYTES;
            file.seek(SeekFrom::Start(self.position)).await?;
        }
        self.position += (&mut file).take(TAIL_BYTES).read_to_end(bytes).await? as u64;
        if within {
            // The rest of a line is none.
            let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
            bytes.drain(..end);
        }
        self.file = Some(file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[tokio::test]
    async fn a_growing_file_is_followed_through_its_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let mut tail = Tail::new(Some(NodeId(1)), path.clone());
        let read = |lines: Vec<Line>| lines.into_iter().map(|l| l.text).collect::<Vec<_>>();
        assert!(tail.more().await.unwrap().is_empty());
        let mut file = std::fs::File::create(&path).unwrap();
        write!(file, "one\ntw").unwrap();
        assert_eq!(read(tail.more().await.unwrap()), ["one"]);
        writeln!(file, "o").unwrap();
        assert_eq!(read(tail.more().await.unwrap()), ["two"]);
        writeln!(file, "three").unwrap();
        std::fs::rename(&path, directory.path().join("node.1.log")).unwrap();
        std::fs::write(&path, "four\n").unwrap();
        assert_eq!(read(tail.more().await.unwrap()), ["three", "four"]);
        assert!(tail.more().await.unwrap().is_empty());
    }
}

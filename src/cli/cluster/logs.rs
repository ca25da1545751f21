//! `kvctl cluster logs`: the nodes' logs as one.
//!
//! Each node writes and rotates its own log file, one JSON object or one line of text an event,
//! with the time at its beginning. Here the files are read (from their directories: that works when
//! nothing runs), merged by time and marked with their node.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::time::sleep;

use crate::cli::Global;
use crate::cli::failure::{Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::cli::reach;
use crate::types::NodeId;

/// How often the files are looked at with `-f`.
const POLL: Duration = Duration::from_millis(200);
/// So much of the end of a file is read at most.
const TAIL_BYTES: u64 = 4 << 20;

/// Show the nodes' logs, merged by time
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl cluster logs
  kvctl cluster logs --node 3 -n 100
  kvctl cluster logs -f                 and go on as they are written, until Ctrl-C

JSON fields, one line each: schema_version, node, line (as the node wrote it)")]
pub struct Logs {
    /// Go on as they are written, until Ctrl-C
    #[arg(short, long)]
    pub follow: bool,
    /// Only of this node
    #[arg(long, value_name = "ID", value_parser = reach::parse_node)]
    pub node: Option<NodeId>,
    /// The newest so many lines
    #[arg(short = 'n', long, default_value_t = 50, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub lines: u32,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    node: NodeId,
    line: &'a str,
}

/// One line, and whose.
struct Line {
    node: NodeId,
    text: String,
}

pub async fn run(global: &Global, command: Logs) -> Outcome {
    let directory = reach::directory(global)?;
    let nodes = reach::endpoints(global, &directory)?.into_iter().map(|(node, _)| node);
    let nodes: Vec<NodeId> =
        nodes.filter(|node| command.node.is_none_or(|wanted| wanted == *node)).collect();
    if let (true, Some(node)) = (nodes.is_empty(), command.node) {
        return Err(Failure::usage(format!("there is no node {node}")));
    }
    let mut files: Vec<Tail> =
        nodes.iter().map(|node| Tail::new(*node, directory.node(*node).log_file())).collect();
    let mut lines = Vec::new();
    for file in &mut files {
        lines.extend(file.more().await?);
    }
    sort(&mut lines);
    let skip = lines.len().saturating_sub(command.lines as usize);
    lines[skip..].iter().try_for_each(|line| print(global, line))?;
    if !command.follow {
        return Ok(0);
    }
    loop {
        sleep(POLL).await;
        let mut lines = Vec::new();
        for file in &mut files {
            lines.extend(file.more().await?);
        }
        sort(&mut lines);
        lines.iter().try_for_each(|line| print(global, line))?;
    }
}

/// By time. Lines that begin with none (the rest of a panic, say) stay behind the one before.
fn sort(lines: &mut [Line]) {
    let mut last = String::new();
    let mut node = None;
    lines.sort_by_cached_key(|line| {
        if node != Some(line.node) {
            last.clear();
            node = Some(line.node);
        }
        if let Some(time) = time(&line.text) {
            time.clone_into(&mut last);
        }
        last.clone()
    });
}

/// The time that a line begins with: RFC 3339, alone or as the first field of a JSON object.
fn time(line: &str) -> Option<&str> {
    let text = line.strip_prefix("{\"timestamp\":\"").unwrap_or(line);
    let end = text.find(['Z', ' ', '"'])?;
    let time = &text[..end];
    (time.len() >= 19 && time.as_bytes()[10] == b'T').then_some(time)
}

fn print(global: &Global, line: &Line) -> Result<(), Failure> {
    match global.output {
        Format::Json => output::json_line(&Printed { node: line.node, line: &line.text }),
        Format::Table | Format::Name => output::line(format!("{} │ {}", line.node, line.text)),
    }
}

/// The end of a file that grows, and may be replaced by another of its name.
struct Tail {
    node: NodeId,
    path: PathBuf,
    file: Option<File>,
    position: u64,
    /// A line that has not ended yet.
    rest: Vec<u8>,
}

impl Tail {
    fn new(node: NodeId, path: PathBuf) -> Tail {
        Tail { node, path, file: None, position: 0, rest: Vec::new() }
    }

    /// The whole lines that were written since the last time.
    async fn more(&mut self) -> Result<Vec<Line>, Failure> {
        let cannot = |path: &Path, error: std::io::Error| {
            Failure::failed(format!("cannot read {}: {error}", path.display()))
        };
        let mut bytes = std::mem::take(&mut self.rest);
        let result = self.read(&mut bytes).await;
        result.map_err(|error| cannot(&self.path, error))?;
        let end = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        self.rest = bytes.split_off(end);
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.lines().map(|line| Line { node: self.node, text: line.to_owned() }).collect())
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
        let first = self.file.is_none();
        let mut file = File::open(&self.path).await?;
        if first && there.len() > TAIL_BYTES {
            self.position = there.len() - TAIL_BYTES;
            file.seek(SeekFrom::Start(self.position)).await?;
        }
        self.position += (&mut file).take(TAIL_BYTES).read_to_end(bytes).await? as u64;
        self.file = Some(file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(node: u64, text: &str) -> Line {
        Line { node: NodeId(node), text: text.to_owned() }
    }

    #[test]
    fn lines_are_merged_by_time_and_what_has_none_stays_with_its_own() {
        let mut lines = vec![
            line(1, "2026-11-23T10:00:01.000000Z  INFO one"),
            line(1, "  a continuation"),
            line(1, "2026-11-23T10:00:04.000000Z  INFO four"),
            line(2, "2026-11-23T10:00:00.500000Z  INFO zero"),
            line(2, "{\"timestamp\":\"2026-11-23T10:00:02.000000Z\",\"level\":\"INFO\"}"),
        ];
        sort(&mut lines);
        let order: Vec<&str> = lines.iter().map(|line| &line.text[..]).collect();
        assert!(order[0].ends_with("zero") && order[1].ends_with("one"), "{order:?}");
        assert!(order[2].contains("continuation") && order[3].contains("10:00:02"), "{order:?}");
    }

    #[tokio::test]
    async fn a_growing_file_is_followed_through_its_rotation() {
        use std::io::Write;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("node.log");
        let mut tail = Tail::new(NodeId(1), path.clone());
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

//! The history of a cluster: what happened, when, to whom.
//!
//! One line of JSON an event, appended to `events.jsonl`; when that is large it becomes
//! `events.1.jsonl` and a new one begins, so that the history is bounded. Sequences go on from the
//! last line that can be read, over restarts of the supervisor.
//!
//! A power cut may tear the last line or lose the last ones: a line that cannot be read is left
//! out. An event that cannot be written (a full disk) is kept in memory, and the supervisor goes
//! on: the history is for people, and nothing depends on it.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use crate::chaos::Fault;
use crate::config::ClusterDirectory;
use crate::control::Event;
use crate::types::NodeId;

/// Events at hand for those who ask.
const KEPT: usize = 4096;

/// Bytes of a file before the next one begins.
const FILE_BYTES: u64 = 1 << 20;

/// Bytes of one event's detail: a node's last words can be long.
const DETAIL_BYTES: usize = 2048;

/// Everything that an event can be about.
pub const KINDS: [&str; 37] = [
    "alert-fires",
    "alert-over",
    "cluster-down",
    "cluster-going-down",
    "cluster-recovered",
    "cluster-up",
    "fault-began",
    "fault-ended",
    "leader-changed",
    "leader-lost",
    "leadership-transferred",
    "log-corrupted",
    "member-added",
    "member-joining",
    "member-promoted",
    "member-removed",
    "node-adopted",
    "node-crash-looping",
    "node-exited",
    "node-killed",
    "node-not-started",
    "node-paused",
    "node-responsive",
    "node-resumed",
    "node-running",
    "node-started",
    "node-stopped",
    "node-unresponsive",
    "port-changed",
    "snapshot-taken",
    "stale-state",
    "supervisor-replaced",
    "supervisor-started",
    "supervisor-stopped",
    "trial-unknown",
    "trial-valid",
    "trial-violation",
];

/// The history.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    older: PathBuf,
    file: Option<File>,
    bytes: u64,
    recent: VecDeque<Event>,
    last: u64,
    rotate_at: u64,
}

impl EventLog {
    /// Opens the history of the cluster in `directory`, or begins it.
    pub fn open(directory: &ClusterDirectory) -> io::Result<EventLog> {
        let mut log = EventLog {
            path: directory.events(),
            older: directory.older_events(),
            file: None,
            bytes: 0,
            recent: VecDeque::new(),
            last: 0,
            rotate_at: FILE_BYTES,
        };
        for path in [log.older.clone(), log.path.clone()] {
            let text = match fs::read(&path) {
                Ok(text) => text,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for line in text.split(|byte| *byte == b'\n') {
                if let Ok(event) = serde_json::from_slice::<Event>(line) {
                    log.last = log.last.max(event.sequence);
                    log.keep(event);
                }
            }
            log.bytes = text.len() as u64;
        }
        log.reopen()?;
        if log.bytes > 0 {
            // A line that a power cut tore ends here, and not in the next event.
            log.append(b"\n");
        }
        Ok(log)
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.path)?;
        self.bytes = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }

    fn keep(&mut self, event: Event) {
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(event);
    }

    fn append(&mut self, line: &[u8]) {
        let Some(file) = &mut self.file else { return };
        match file.write_all(line) {
            Ok(()) => self.bytes += line.len() as u64,
            Err(error) => {
                tracing::warn!(%error, path = %self.path.display(), "cannot write the history");
            }
        }
    }

    /// Writes down that something happened, to `node` or to the cluster, or that `fault` began or
    /// ended.
    pub fn tell(
        &mut self,
        time_millis: u64,
        node: Option<NodeId>,
        kind: &str,
        detail: &str,
        fault: Option<&Fault>,
    ) {
        let mut end = detail.len().min(DETAIL_BYTES);
        while !detail.is_char_boundary(end) {
            end -= 1;
        }
        self.last += 1;
        let event = Event {
            sequence: self.last,
            time_millis,
            node,
            kind: kind.to_owned(),
            detail: detail[..end].to_owned(),
            fault: fault.cloned().map(Box::new),
        };
        if self.bytes >= self.rotate_at {
            let rotated = fs::rename(&self.path, &self.older).and_then(|()| self.reopen());
            if let Err(error) = rotated {
                tracing::warn!(%error, path = %self.path.display(), "cannot rotate the history");
            }
        }
        if let Ok(mut line) = serde_json::to_vec(&event) {
            line.push(b'\n');
            self.append(&line);
        }
        self.keep(event);
    }

    /// The sequence of the newest event; 0 if there is none.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// The newest `limit` events if `after` is 0, else the first ones after it.
    pub fn after(&self, after: u64, limit: usize) -> Vec<Event> {
        let skipped = match after {
            0 => self.recent.len().saturating_sub(limit),
            _ => self.recent.partition_point(|event| event.sequence <= after),
        };
        self.recent.iter().skip(skipped).take(limit).cloned().collect()
    }

    /// The last `limit` events before the sequence `before`.
    pub fn before(&self, before: u64, limit: usize) -> Vec<Event> {
        let end = self.recent.partition_point(|event| event.sequence < before);
        self.recent.range(end.saturating_sub(limit)..end).cloned().collect()
    }

    /// A handle with which what was written can be made durable, on another thread.
    pub fn to_sync(&self) -> Option<File> {
        self.file.as_ref().and_then(|file| file.try_clone().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sequences(events: &[Event]) -> Vec<u64> {
        events.iter().map(|event| event.sequence).collect()
    }

    #[test]
    fn the_history_goes_on_after_a_restart_and_a_torn_line() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = ClusterDirectory::at(temporary.path()).unwrap();
        let mut log = EventLog::open(&directory).unwrap();
        for n in 1..=3 {
            log.tell(n, Some(NodeId(n)), "node-started", &"é".repeat(2000), None);
        }
        drop(log);
        let mut text = fs::read(directory.events()).unwrap();
        text.truncate(text.len() - 20);
        fs::write(directory.events(), text).unwrap();
        let mut log = EventLog::open(&directory).unwrap();
        assert_eq!(log.last(), 2, "the third was torn");
        log.tell(4, None, "cluster-up", "", None);
        drop(log);
        let log = EventLog::open(&directory).unwrap();
        assert_eq!(sequences(&log.after(0, 100)), [1, 2, 3]);
        assert_eq!(log.after(0, 100)[2].kind, "cluster-up");
    }

    #[test]
    fn the_history_is_bounded_and_can_be_followed() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = ClusterDirectory::at(temporary.path()).unwrap();
        let mut log = EventLog::open(&directory).unwrap();
        log.rotate_at = 1000;
        for n in 1..=100 {
            log.tell(n, None, "kind", "detail", None);
        }
        assert_eq!(sequences(&log.after(0, 2)), [99, 100]);
        assert_eq!(sequences(&log.after(98, 10)), [99, 100]);
        assert_eq!(sequences(&log.after(50, 2)), [51, 52]);
        assert!(log.after(100, 10).is_empty());
        assert_eq!(sequences(&log.before(4, 2)), [2, 3]);
        assert_eq!(sequences(&log.before(2, 10)), [1]);
        assert!(log.before(1, 10).is_empty());
        assert_eq!(sequences(&log.before(1000, 1)), [100]);
        let size = |path: PathBuf| fs::metadata(path).unwrap().len();
        assert!(size(directory.events()) < 1200 && size(directory.older_events()) < 1200);
        drop(log);
        let log = EventLog::open(&directory).unwrap();
        assert_eq!(log.last(), 100);
        assert!(log.after(0, 1000).len() < 40, "older ones are gone for good");
    }
}

//! The log as a whole, on disks that crash, tear, rot, fill and fail.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::consensus::{Configuration, Entry, Payload, Persist, ToBytes};
use crate::types::{ClusterId, Instant, LogIndex, NodeId, Seq, Term};

mod damage;
mod format;
mod full;
mod heal;
mod life;
mod model;
mod power_cut;
mod reads;
mod snapshots;
mod versions;

pub(super) const IDENTITY: Identity = Identity { cluster: ClusterId(0xc1), node: NodeId(3) };

/// A hard state as small as they come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hard(pub(super) u64);

impl ToBytes for Hard {
    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }
    fn from_bytes(bytes: &[u8]) -> Option<Hard> {
        Some(Hard(u64::from_le_bytes(bytes.try_into().ok()?)))
    }
}

/// Everything tiny, so that a short scenario changes segments many times.
fn tiny() -> LogOptions {
    LogOptions {
        segment_bytes: 2048,
        max_group_bytes: 700,
        zero_ahead_bytes: 256,
        index_spacing_bytes: 600,
        idle_mark_after: Duration::from_millis(100),
        bugs: crate::museum::Bugs::none(),
    }
}

pub(super) fn members(count: u64) -> Configuration {
    Configuration { voters: (1..=count).map(NodeId).collect(), ..Configuration::default() }
}

pub(super) fn command(index: u64, term: u64, payload: impl Into<Vec<u8>>) -> Entry {
    let payload = Payload::Command(Bytes::from(payload.into()));
    Entry { term: Term(term), index: LogIndex(index), payload }
}

pub(super) fn entries(seq: u64, entries: Vec<Entry>) -> Persist<Hard> {
    Persist {
        seq: Seq(seq),
        snapshot: None,
        discard_log: false,
        hard_state: None,
        truncate_from: None,
        entries,
    }
}

/// A disk with a fresh log on it.
fn new_disk() -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    SegmentLog::create(&mut disk, IDENTITY, &members(3)).unwrap();
    disk
}

fn open(disk: &MemoryDisk) -> Result<(SegmentLog<MemoryDisk>, Recovered), LogError> {
    SegmentLog::open(disk.handle(), IDENTITY, tiny())
}

fn opened(disk: &MemoryDisk) -> (SegmentLog<MemoryDisk>, Recovered) {
    open(disk).unwrap_or_else(|error| panic!("{error}"))
}

/// Flushes, and polls until nothing moves any more, at `now`.
fn settle(log: &mut SegmentLog<MemoryDisk>, now: Instant) -> Result<Vec<LogEvent>, LogError> {
    log.flush();
    let mut events = Vec::new();
    loop {
        let waiting = log.disk_mut().has_completions();
        let stepped = log.disk_mut().step();
        let more = log.poll(now)?;
        let woken = waiting || stepped || log.disk_mut().step() || log.disk_mut().has_completions();
        if !woken && more.is_empty() && log.next_deadline().is_none_or(|at| at > now) {
            return Ok(events);
        }
        events.extend(more);
    }
}

/// The last write reported durable.
pub(super) fn durable(events: &[LogEvent]) -> Option<Seq> {
    let seqs = events.iter().filter_map(|event| match event {
        LogEvent::Durable(seq) => Some(*seq),
        _ => None,
    });
    seqs.max()
}

/// Reads the whole log back, `max_bytes` at a time.
fn read_all(
    log: &mut SegmentLog<MemoryDisk>,
    now: Instant,
    max_bytes: usize,
) -> Result<Vec<Entry>, LogError> {
    let last = log.status().last_index;
    let mut all: Vec<Entry> = Vec::new();
    while all.last().map_or(LogIndex(0), |entry| entry.index) < last {
        let from = LogIndex(all.len() as u64 + 1);
        log.read(from, last, max_bytes);
        for event in settle(log, now)? {
            match event {
                LogEvent::Read { from: begins, entries } => {
                    assert_eq!((begins, entries[0].index), (from, from));
                    all.extend(entries);
                }
                LogEvent::ReadFailed { from } => panic!("entry {from} of {last} cannot be read"),
                _ => {}
            }
        }
    }
    Ok(all)
}

/// A log of several segments and groups, all durable, then idle: `count` commands after entry 1.
fn filled(count: u64) -> MemoryDisk {
    let disk = new_disk();
    let (mut log, _) = opened(&disk);
    for i in 0..count {
        let payload = vec![i as u8; 20 + (i as usize * 13) % 90];
        log.append(&entries(i + 1, vec![command(i + 2, 1, payload)]));
        settle(&mut log, Instant::from_millis(1)).unwrap();
    }
    settle(&mut log, Instant::from_millis(500)).unwrap();
    disk
}

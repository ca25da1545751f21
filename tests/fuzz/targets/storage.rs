//! A log directory: a log that was written in order and then changed anywhere, or segments that
//! hold any records whatever, each with a checksum that is right.
//!
//! Opening must end, one way or the other. What opens goes on as a log does: it takes a write, and
//! opens again with it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kvraft::consensus::raft::HardState;
use kvraft::consensus::{Configuration, Entry, Payload, Persist};
use kvraft::storage::format::{
    EntryKind, GroupEncoder, RecordKind, Salt, SegmentHeader, Summary, VERSION, segment_name,
};
use kvraft::storage::{Disk, Identity, LogOptions, MemoryDisk, Operation, SegmentLog};
use kvraft::types::{ClusterId, Instant, LogIndex, NodeId, Seq, Term};

use super::script::Script;

const IDENTITY: Identity = Identity { cluster: ClusterId(7), node: NodeId(1) };

pub fn run(data: &[u8]) {
    let mut script = Script(data);
    let disk = match script.below(3) {
        0 => honest(&mut script),
        1 => composed(&mut script),
        _ => raw(&mut script),
    };
    let _ = SegmentLog::open_damaged(disk.fork(), IDENTITY, options());
    let Ok((mut log, recovered)) = SegmentLog::open(disk.handle(), IDENTITY, options()) else {
        return;
    };
    let last = recovered.last_index;
    let term = recovered.term_runs.last().map_or(recovered.log_start.1, |run| run.1);
    if last.0 > 1 << 60 || term.0 > 1 << 60 {
        return;
    }
    let index = last.next();
    log.append(&write(1, vec![command(index, term, b"after")]));
    log.read(recovered.log_start.0.next(), index, 1 << 16);
    settle(&mut log);
    drop(log);
    let again = SegmentLog::open(disk, IDENTITY, options());
    let again = again.map(|(_, recovered)| recovered.last_index);
    assert_eq!(again.ok(), Some(index), "what was taken is there");
}

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 2048,
        max_group_bytes: 700,
        zero_ahead_bytes: 256,
        index_spacing_bytes: 300,
        idle_mark_after: Duration::from_millis(100),
        ..LogOptions::default()
    }
}

fn command(index: LogIndex, term: Term, bytes: &[u8]) -> Entry {
    Entry { term, index, payload: Payload::Command(Bytes::copy_from_slice(bytes)) }
}

fn write(seq: u64, entries: Vec<Entry>) -> Persist<HardState> {
    let hard_state = Some(HardState { term: Term(9), voted_for: Some(NodeId(2)) });
    Persist {
        seq: Seq(seq),
        snapshot: None,
        discard_log: false,
        hard_state,
        truncate_from: None,
        entries,
    }
}

/// Lets the log do all that it has to do.
fn settle(log: &mut SegmentLog<MemoryDisk>) {
    for _ in 0..1000 {
        let busy = log.disk_mut().has_completions();
        if log.poll(Instant::default()).is_err() || !busy && !log.disk_mut().has_completions() {
            return;
        }
    }
}

/// A log with a few segments, and then bytes of it changed.
fn honest(script: &mut Script<'_>) -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    let voters = [NodeId(1), NodeId(2), NodeId(3)].into();
    let first = Configuration { voters, ..Configuration::default() };
    let _ = SegmentLog::create(&mut disk, IDENTITY, &first);
    if let Ok((mut log, _)) = SegmentLog::open(disk.handle(), IDENTITY, options()) {
        for seq in 1..=u64::from(script.below(12)) {
            let entry = command(LogIndex(1 + seq), Term(1 + seq / 3), &[seq as u8; 200]);
            log.append(&write(seq, vec![entry]));
            settle(&mut log);
        }
    }
    let names: Vec<String> = disk.files().into_keys().collect();
    while !script.is_over() {
        let file = &names[usize::from(script.byte()) % names.len()];
        let offset = u64::from(script.byte()) << 4 | u64::from(script.byte() & 15);
        match script.below(4) {
            0 => drop(disk.flip_bit(file, offset, script.byte().into())),
            1 => drop(disk.overwrite(file, offset, script.bytes(64))),
            2 => drop(disk.overwrite(file, offset, &[0; 64])),
            _ => disk.remove(file),
        }
    }
    disk
}

/// Segments of records that nobody would write, each with the right checksum.
fn composed(script: &mut Script<'_>) -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    for sequence in 1..=1 + u64::from(script.below(3)) {
        let first_index = LogIndex(script.number(&[1]));
        let header = SegmentHeader {
            version: if script.flag() { VERSION } else { 1 },
            identity: IDENTITY,
            sequence,
            first_index,
            previous_end: script.number(&[0, 200]),
        };
        let mut buffer = BytesMut::from(&header.encode()[..]);
        for _ in 0..1 + script.below(3) {
            let summary = (header.version == VERSION).then(|| summary(script));
            let salt = Salt::new(IDENTITY, sequence);
            let mut group = GroupEncoder::begin(&mut buffer, salt, 0, summary);
            for _ in 0..script.below(8) {
                let (term, index) = (script.number(&[1, 2]), script.number(&[first_index.0]));
                let kind = kind(script.byte());
                group.record(kind, Term(term), LogIndex(index), payload(script));
            }
            group.finish();
        }
        put(&mut disk, segment_name(sequence, first_index), &buffer);
    }
    disk
}

fn summary(script: &mut Script<'_>) -> Summary {
    Summary {
        last_index: LogIndex(script.number(&[1])),
        last_term: Term(script.number(&[1])),
        truncations: script.byte().into(),
        truncated_from: LogIndex(script.number(&[1])),
        snapshot: LogIndex(script.number(&[1])),
        hard_state: script.byte().into(),
    }
}

fn kind(choice: u8) -> RecordKind {
    match choice % 11 {
        0 => RecordKind::Entry(EntryKind::Noop),
        1 | 2 => RecordKind::Entry(EntryKind::Command),
        3 => RecordKind::Entry(EntryKind::Configuration),
        4 => RecordKind::HardState,
        5 => RecordKind::Truncation,
        6 => RecordKind::SnapshotMark,
        7 => RecordKind::SnapshotInstead,
        8 => RecordKind::DurableMark,
        9 => RecordKind::Configuration,
        _ => RecordKind::Seal,
    }
}

fn payload<'a>(script: &mut Script<'a>) -> &'a [u8] {
    if script.flag() { script.bytes(80) } else { &[] }
}

/// One file, byte for byte.
fn raw(script: &mut Script<'_>) -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    let name = segment_name(script.byte().into(), LogIndex(script.byte().into()));
    put(&mut disk, name, script.0);
    disk
}

fn put(disk: &mut MemoryDisk, file: String, bytes: &[u8]) {
    let create = Operation::Create { file: file.clone(), size: bytes.len() as u64 };
    let bytes = Bytes::copy_from_slice(bytes);
    let write = Operation::Write { file, offset: 0, bytes, sync: true };
    for operation in [create, write, Operation::SyncDirectory] {
        let _ = disk.execute(operation);
    }
}

pub fn samples() -> Vec<Vec<u8>> {
    let honest = [0, 1, 3, 6, 9, 11].map(|writes| vec![0, writes]);
    let composed = [
        vec![1, 0, 8, 1, 0, 0],
        vec![1, 1, 8, 1, 0, 0, 1, 8, 8, 8, 0, 8, 0, 4, 8, 8, 4, 0, 8, 16, 0, 0, 8, 24, 1, 0],
    ];
    honest.into_iter().chain(composed).chain([vec![2, 1, 1]]).collect()
}

//! What older programs wrote is read, and never continued in a way that they would misread.

use super::snapshots::{mark, marked, read_rest, take};
use super::*;
use crate::consensus::SnapshotMark;
use crate::storage::format::*;
use crate::storage::snapshot_format::SnapshotEncoder;

fn now() -> Instant {
    Instant::from_millis(1)
}

/// A log as version 1 wrote it: entries 1–3, each segment opening with the newest configuration.
fn version_1() -> MemoryDisk {
    let mut disk = MemoryDisk::new();
    let header = SegmentHeader {
        version: 1,
        identity: IDENTITY,
        sequence: 1,
        first_index: LogIndex(1),
        previous_end: 0,
    };
    let mut buffer = bytes::BytesMut::from(&header.encode()[..]);
    let salt = Salt::new(IDENTITY, 1);
    let nobody = crate::codec::encode_configuration(&Configuration::default());
    let mut group = GroupEncoder::begin(&mut buffer, salt, 0, None);
    group.record(RecordKind::HardState, Term(0), LogIndex(0), &[]);
    group.record(RecordKind::SnapshotMark, Term(0), LogIndex(0), &nobody);
    group.record(RecordKind::Configuration, Term(0), LogIndex(0), &nobody);
    let initial = crate::codec::encode_configuration(&members(3));
    let kind = RecordKind::Entry(EntryKind::Configuration);
    group.record(kind, Term(1), LogIndex(1), &initial);
    group.finish();
    let mut group = GroupEncoder::begin(&mut buffer, salt, 0, None);
    let kind = RecordKind::Entry(EntryKind::Command);
    group.record(kind, Term(1), LogIndex(2), b"two");
    group.record(kind, Term(1), LogIndex(3), b"three");
    group.finish();
    let file = segment_name(1, LogIndex(1));
    let size = buffer.len() as u64;
    disk.execute(Operation::Create { file: file.clone(), size }).unwrap();
    let write = Operation::Write { file, offset: 0, bytes: buffer.freeze(), sync: true };
    disk.execute(write).unwrap();
    disk.execute(Operation::SyncDirectory).unwrap();
    disk
}

#[test]
fn a_log_of_version_1_is_read_and_goes_on_in_a_segment_of_its_own() {
    let disk = version_1();
    let (mut log, recovered) = opened(&disk);
    assert_eq!(recovered.last_index, LogIndex(3));
    assert_eq!(recovered.configurations, vec![(LogIndex(1), members(3))]);
    log.append(&entries(1, vec![command(4, 2, "four")]));
    settle(&mut log, now()).unwrap();
    take(&mut log, &mark(3, 1));
    log.append(&marked(2, mark(3, 1), false));
    settle(&mut log, now()).unwrap();
    let whole = read_rest(&mut log);
    assert_eq!((whole.len(), &whole[2]), (4, &command(3, 1, "three")));
    drop(log);
    let versions: Vec<u32> = disk
        .files()
        .into_iter()
        .filter(|(name, _)| name.ends_with(".seg"))
        .map(|(_, bytes)| SegmentHeader::decode(&bytes).unwrap().version)
        .collect();
    assert_eq!(versions, [1, 2]);
    let (mut log, recovered) = opened(&disk);
    assert_eq!(recovered.snapshot, mark(3, 1));
    assert_eq!(read_rest(&mut log), whole);
    log.compact(LogIndex(3));
    settle(&mut log, now()).unwrap();
    assert_eq!(read_rest(&mut log), whole[3..]);
    drop(log);
    assert_eq!(opened(&disk).1.log_start, (LogIndex(3), Term(1)));
}

#[test]
fn a_golden_snapshot() {
    let mark = SnapshotMark {
        index: LogIndex(42),
        term: Term(5),
        configuration: Configuration::default(),
    };
    let (mut encoder, header) = SnapshotEncoder::begin(ClusterId(0xc1), &mark);
    let bytes = [header, encoder.part(b"hello, state"), encoder.end()].concat();
    assert_eq!(bytes.len() as u64, encoder.offset());
    let lines: Vec<String> = bytes.chunks(16).map(hex::encode).collect();
    let golden = "\
4b5652414654534e0100000068000000
c1000000000000002a00000000000000
05000000000000003800000000000000
0600000000000000000004000d000000
05000000090000000500000005000000
05000000010000000700000000000000
01000100e599282f0c00000042d3cdc9
68656c6c6f2c207374617465ffffffff
2c32eeb601000000000000000c000000
00000000a4fc8de1";
    assert_eq!(lines.join("\n"), golden);
}

//! Damage: what was durable is never cut silently, and what is refused is named.

use bytes::BytesMut;

use super::*;
use crate::museum::{Bug, Bugs};
use crate::storage::format::*;

/// The records of a segment, without the zeros behind: offset, length, kind, index.
fn records(bytes: &[u8], sequence: u64) -> Vec<(u64, u64, RecordKind, LogIndex)> {
    let salt = Salt::new(IDENTITY, sequence);
    let mut found = Vec::new();
    let mut at = HEADER_LEN as u64;
    while let Some(header) = RecordHeader::decode(&bytes[at as usize..], at) {
        let record = &bytes[at as usize..][..header.record_len() as usize];
        assert!(salt.verify(&header, at, record));
        found.push((at, header.record_len(), header.kind, header.index));
        at += header.record_len();
    }
    found
}

/// Name, bytes, and where what counts ends, of every segment in order.
fn segments(disk: &MemoryDisk) -> Vec<(String, Vec<u8>, u64)> {
    let files: Vec<_> = disk.files().into_iter().filter(|(name, _)| name != NEXT_FILE).collect();
    let ends: Vec<u64> = files
        .iter()
        .skip(1)
        .map(|(_, bytes)| SegmentHeader::decode(bytes).unwrap().previous_end)
        .collect();
    let end = |i: usize, bytes: &[u8]| match ends.get(i) {
        Some(end) => *end,
        None => records(bytes, i as u64 + 1).last().map_or(0, |record| record.0 + record.1),
    };
    files
        .into_iter()
        .enumerate()
        .map(|(i, (name, bytes))| {
            let end = end(i, &bytes);
            (name, bytes, end)
        })
        .collect()
}

/// What must come of damage to the byte at `at` of segment `i`.
enum Expected {
    /// Refused: at this offset, and at or after this entry.
    Refused(u64, LogIndex),
    /// Nothing is lost.
    Harmless,
}

fn expected(segments: &[(String, Vec<u8>, u64)], i: usize, at: u64) -> Expected {
    let (_, bytes, end) = &segments[i];
    let is_last = i + 1 == segments.len();
    // The idle mark is the one group behind which there is nothing; it holds nothing either.
    let end = if is_last { end - MARK_LEN } else { *end };
    if at >= end {
        return Expected::Harmless;
    }
    let first = SegmentHeader::decode(bytes).unwrap().first_index;
    if at < HEADER_LEN as u64 {
        return Expected::Refused(0, first);
    }
    let records = records(bytes, i as u64 + 1);
    let damaged = records.iter().find(|record| at < record.0 + record.1).unwrap();
    // A group counts as a whole: what precedes the damage in its own group is not reported.
    let group = RecordHeader::decode(&bytes[damaged.0 as usize..], damaged.0).unwrap().group;
    let entries = records.iter().filter(|record| matches!(record.2, RecordKind::Entry(_)));
    let before = entries.take_while(|record| record.0 < group).last();
    Expected::Refused(damaged.0, before.map_or(first, |record| record.3.next()))
}

fn check(disk: &MemoryDisk, name: &str, expected: &Expected, last: LogIndex) {
    let before = disk.files();
    match (open(disk), expected) {
        (Err(LogError::Corrupt { file, offset, index, .. }), Expected::Refused(at, entry)) => {
            assert_eq!((&*file, offset, index), (name, *at, *entry));
            assert_eq!(disk.files(), before, "a log that is refused stays as it is");
        }
        (Ok((_, recovered)), Expected::Harmless) => assert_eq!(recovered.last_index, last),
        (result, _) => panic!("{:?}", result.map(|(_, recovered)| recovered)),
    }
}

#[test]
fn a_flipped_bit_is_refused_by_file_offset_and_index() {
    let disk = filled(24);
    let segments = segments(&disk);
    assert!(segments.len() >= 3, "{}", segments.len());
    for (i, (name, bytes, _)) in segments.iter().enumerate() {
        for at in 0..bytes.len() as u64 {
            let damaged = disk.fork();
            assert!(damaged.flip_bit(name, at, at as u32 * 5));
            check(&damaged, name, &expected(&segments, i, at), LogIndex(25));
        }
    }
}

#[test]
fn a_lost_sector_is_refused_by_file_offset_and_index() {
    // Zeros look like the end of the log: only what follows them says that they are not.
    let disk = filled(24);
    let segments = segments(&disk);
    for (i, (name, bytes, end)) in segments.iter().enumerate() {
        for at in (0..bytes.len()).step_by(64) {
            // The stated limit: the proof must not be damaged with what it proves.
            if i + 1 == segments.len() && at as u64 + 64 > end - MARK_LEN {
                break;
            }
            let Some(first) = bytes[at..at + 64].iter().position(|byte| *byte != 0) else {
                continue;
            };
            let damaged = disk.fork();
            assert!(damaged.overwrite(name, at as u64, &[0; 64]));
            let expected = expected(&segments, i, (at + first) as u64);
            check(&damaged, name, &expected, LogIndex(25));
        }
    }
}

#[test]
fn damage_in_the_last_group_looks_like_a_tear() {
    // The stated limit: nothing was written behind it.
    let disk = new_disk();
    let (mut log, _) = opened(&disk);
    for i in 1..=3 {
        log.append(&entries(i, vec![command(i + 1, 1, vec![7; 40])]));
        settle(&mut log, Instant::from_millis(1)).unwrap();
    }
    drop(log);
    let segments = segments(&disk);
    let (name, _, end) = &segments[0];
    assert!(disk.flip_bit(name, end - 20, 3));
    let (_, recovered) = opened(&disk);
    assert_eq!(recovered.last_index, LogIndex(3));
    let tear = recovered.tear.expect("a tear is reported");
    assert_eq!((&tear.file, tear.index), (name, LogIndex(4)));
    assert!(tear.to_string().contains("entry 4"), "{tear}");
    assert_eq!(opened(&disk).1.tear, None, "it is gone for good");
}

#[test]
fn one_idle_mark_later_the_same_damage_is_refused() {
    let disk = new_disk();
    let (mut log, _) = opened(&disk);
    log.append(&entries(1, vec![command(2, 1, vec![7; 40])]));
    settle(&mut log, Instant::from_millis(1)).unwrap();
    let due = log.next_deadline().expect("an idle mark is due");
    assert!(due <= Instant::from_millis(101), "{due}");
    settle(&mut log, due).unwrap();
    assert_eq!(log.next_deadline(), None, "one is enough");
    drop(log);
    let (name, _, end) = &segments(&disk)[0];
    assert!(disk.flip_bit(name, end - MARK_LEN - 20, 3));
    let error = open(&disk).map(|_| ()).unwrap_err();
    assert!(matches!(error, LogError::Corrupt { index: LogIndex(2), .. }), "{error}");
    assert!(error.to_string().contains(name), "{error}");
}

#[test]
fn with_the_bug_put_back_what_was_durable_is_cut() {
    let disk = filled(24);
    let segments = segments(&disk);
    let (name, _, end) = &segments[segments.len() - 1];
    assert!(disk.flip_bit(name, end - MARK_LEN - 30, 3));
    assert!(matches!(open(&disk), Err(LogError::Corrupt { .. })));
    let options = LogOptions { bugs: Bugs::only(Bug::CorruptionCut), ..tiny() };
    let (_, recovered) = SegmentLog::open(disk.handle(), IDENTITY, options).unwrap();
    assert!(recovered.last_index < LogIndex(25), "{}", recovered.last_index);
}

#[test]
fn a_restart_proves_the_last_group_too() {
    let disk = new_disk();
    let (mut log, _) = opened(&disk);
    log.append(&entries(1, vec![command(2, 1, vec![7; 40])]));
    settle(&mut log, Instant::from_millis(1)).unwrap();
    drop(log);
    let (mut log, _) = opened(&disk);
    settle(&mut log, Instant::default()).unwrap();
    drop(log);
    let (name, _, end) = &segments(&disk)[0];
    assert!(disk.flip_bit(name, end - MARK_LEN - 20, 3));
    let error = open(&disk).map(|_| ()).unwrap_err();
    assert!(matches!(error, LogError::Corrupt { index: LogIndex(2), .. }), "{error}");
}

#[test]
fn a_missing_segment_is_noticed_wherever_it_was() {
    let disk = filled(24);
    let segments = segments(&disk);
    for (i, (name, _, _)) in segments.iter().enumerate() {
        let damaged = disk.fork();
        damaged.remove(name);
        match open(&damaged).map(|_| ()) {
            Err(LogError::MissingSegment { sequence, .. }) => assert_eq!(sequence, i as u64 + 1),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn the_log_of_another_is_refused_by_name() {
    let disk = filled(2);
    let refused = |cluster, node| {
        let identity = Identity { cluster: ClusterId(cluster), node: NodeId(node) };
        SegmentLog::open(disk.handle(), identity, tiny()).map(|_| ()).unwrap_err()
    };
    let error = refused(0xc2, 3);
    assert!(matches!(error, LogError::Foreign { found_cluster: ClusterId(0xc1), .. }), "{error}");
    let error = refused(0xc1, 4);
    assert!(matches!(error, LogError::Foreign { found_node: NodeId(3), .. }), "{error}");
    assert!(error.to_string().contains("node 3 of cluster c1"), "{error}");
}

#[test]
fn a_newer_format_is_told_apart_from_damage() {
    let disk = filled(1);
    let (name, bytes, _) = &segments(&disk)[0];
    let mut header = bytes[..HEADER_LEN].to_vec();
    header[8] = 3;
    let crc = crc32c::crc32c(&header[..HEADER_LEN - 4]);
    header[HEADER_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
    assert!(disk.overwrite(name, 0, &header));
    let error = open(&disk).map(|_| ()).unwrap_err();
    assert_eq!(error, LogError::NewerFormat { file: name.clone(), found: 3, supported: 2 });
}

#[test]
fn misnamed_files_are_refused() {
    let disk = filled(24);
    let segments = segments(&disk);
    let renamed = |from: &str, to: &str| {
        let disk = disk.fork();
        assert!(disk.rename(from, to));
        open(&disk).map(|_| ()).unwrap_err()
    };
    let last = &segments[segments.len() - 1].0;
    let error = renamed(last, "1-2.seg");
    assert!(matches!(error, LogError::UnexpectedFile { .. }), "{error}");
    let error = renamed(last, &segment_name(1, LogIndex(77)));
    assert!(matches!(error, LogError::UnexpectedFile { .. }), "{error}");
    let error = renamed(last, &segment_name(segments.len() as u64, LogIndex(77)));
    assert!(matches!(error, LogError::Corrupt { offset: 0, .. }), "{error}");
}

#[test]
fn creation_happens_once_and_a_missing_log_is_named() {
    let mut disk = MemoryDisk::new();
    assert_eq!(open(&disk).map(|_| ()).unwrap_err(), LogError::NotInitialised);
    let next = Operation::Create { file: NEXT_FILE.to_owned(), size: 10 };
    disk.execute(next).unwrap();
    SegmentLog::create(&mut disk, IDENTITY, &members(3)).unwrap();
    let again = SegmentLog::create(&mut disk, IDENTITY, &members(3));
    assert!(matches!(again, Err(LogError::Exists { .. })), "{again:?}");
    let (mut log, recovered) = opened(&disk);
    assert_eq!(recovered.configurations, vec![(LogIndex(1), members(3))]);
    assert_eq!(recovered.term_runs, vec![(LogIndex(1), Term(1))]);
    assert!(recovered.hard_state.is_empty());
    let first = read_all(&mut log, Instant::default(), 1).unwrap();
    assert_eq!(first[0].payload, Payload::Configuration(members(3)));
}

/// A log that ends with entry 4 of term 2, and then with one more valid group.
fn with_group(kind: RecordKind, term: u64, index: u64, payload: &[u8]) -> LogError {
    let disk = new_disk();
    let (mut log, _) = opened(&disk);
    log.append(&entries(1, (2..=4).map(|i| command(i, 2, "x")).collect()));
    settle(&mut log, Instant::from_millis(1)).unwrap();
    drop(log);
    let (name, _, end) = &segments(&disk)[0];
    let mut buffer = BytesMut::new();
    let mut group = GroupEncoder::begin(&mut buffer, Salt::new(IDENTITY, 1), *end, None);
    group.record(kind, Term(term), LogIndex(index), payload);
    group.finish();
    assert!(disk.overwrite(name, *end, &buffer));
    open(&disk).map(|_| ()).unwrap_err()
}

#[test]
fn records_that_do_not_follow_are_refused() {
    let entry = RecordKind::Entry(EntryKind::Command);
    for (error, words) in [
        (with_group(entry, 2, 6, b"x"), "entry 6 follows entry 4"),
        (with_group(entry, 1, 5, b"x"), "term 1 after one of term 2"),
        (with_group(RecordKind::Truncation, 0, 9, b""), "truncation from 9 on"),
        (with_group(RecordKind::Configuration, 0, 1, b""), "belongs elsewhere"),
        (with_group(RecordKind::Entry(EntryKind::Configuration), 2, 5, b"?"), "cannot be read"),
    ] {
        assert!(matches!(error, LogError::Corrupt { index: LogIndex(5), .. }), "{error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

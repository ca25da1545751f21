//! Snapshots: taken, received, sent, loaded, refused; and the log behind them compacted.

use std::collections::BTreeSet;

use super::*;
use crate::consensus::{Chunk, SnapshotMark};
use crate::storage::snapshot_format::*;

fn now() -> Instant {
    Instant::from_millis(1)
}

pub(super) fn mark(index: u64, term: u64) -> SnapshotMark {
    SnapshotMark { index: LogIndex(index), term: Term(term), configuration: members(3) }
}

pub(super) fn marked(seq: u64, snapshot: SnapshotMark, discard_log: bool) -> Persist<Hard> {
    Persist { snapshot: Some(snapshot), discard_log, ..entries(seq, Vec::new()) }
}

/// Three parts, different for each index.
pub(super) fn parts(index: u64) -> Vec<Vec<u8>> {
    (1..=3).map(|i| vec![(index * 3 + i) as u8; i as usize * 300]).collect()
}

/// Takes a snapshot; what was said of it at last.
pub(super) fn take(log: &mut SegmentLog<MemoryDisk>, mark: &SnapshotMark) -> Option<LogEvent> {
    log.snapshot_begin(mark.clone());
    for part in parts(mark.index.0) {
        log.snapshot_write(&part.into());
        let events = settle(log, now()).unwrap();
        if !events.contains(&LogEvent::SnapshotPartWritten) {
            return events.into_iter().next();
        }
    }
    log.snapshot_finish();
    settle(log, now()).unwrap().pop()
}

pub(super) fn load(
    log: &mut SegmentLog<MemoryDisk>,
    index: u64,
) -> Result<(SnapshotMark, Vec<u8>), LogError> {
    let mut state = Vec::new();
    let mark = log.load_snapshot(LogIndex(index), &mut |part| {
        state.extend_from_slice(part);
        Ok(())
    })?;
    Ok((mark, state))
}

/// A log of entries 1–25 over several segments, with a snapshot of 20, marked and not compacted.
fn with_snapshot() -> (MemoryDisk, SegmentLog<MemoryDisk>) {
    let disk = filled(24);
    let (mut log, _) = opened(&disk);
    let event = take(&mut log, &mark(20, 1));
    assert_eq!(event, Some(LogEvent::SnapshotSaved { index: LogIndex(20) }));
    log.append(&marked(1, mark(20, 1), false));
    assert_eq!(durable(&settle(&mut log, now()).unwrap()), Some(Seq(1)));
    (disk, log)
}

/// The entries from the log's first on.
pub(super) fn read_rest(log: &mut SegmentLog<MemoryDisk>) -> Vec<Entry> {
    let LogStatus { first_index, last_index, .. } = log.status();
    let mut all = Vec::new();
    while first_index + (all.len() as u64) <= last_index {
        let from = first_index + all.len() as u64;
        log.read(from, last_index, 300);
        for event in settle(log, now()).unwrap() {
            match event {
                LogEvent::Read { entries, .. } => all.extend(entries),
                LogEvent::ReadFailed { from } => panic!("entry {from} of {last_index}"),
                _ => {}
            }
        }
    }
    all
}

#[test]
fn a_snapshot_taken_is_loaded_part_by_part_and_as_a_whole() {
    let (_, mut log) = with_snapshot();
    let (found, state) = load(&mut log, 20).unwrap();
    assert_eq!((found, &state), (mark(20, 1), &parts(20).concat()));
    let (mut at, mut read) = (0, Vec::new());
    loop {
        log.read_part(LogIndex(20), at);
        let event = settle(&mut log, now()).unwrap().pop().unwrap();
        let LogEvent::SnapshotPart { index: LogIndex(20), at: of, part, next } = event else {
            panic!("{event:?}");
        };
        assert_eq!(of, at);
        read.push(part.expect("it is in order").to_vec());
        match next {
            Some(next) => at = next,
            None => break,
        }
    }
    assert_eq!(read, parts(20));
    assert_eq!(log.snapshots().len(), 1);
    let status = log.status();
    assert_eq!(status.snapshot_index, LogIndex(20));
    assert_eq!(status.snapshot_bytes, log.snapshots()[0].1);
    assert!(status.bytes_since_snapshot > 0 && status.bytes_since_snapshot < status.disk_bytes);
}

#[test]
fn compaction_keeps_what_the_mark_does_not_cover_and_a_restart_knows_where_the_log_begins() {
    let (disk, mut log) = with_snapshot();
    let before = log.status();
    let whole = read_rest(&mut log);
    log.compact(LogIndex(99));
    settle(&mut log, now()).unwrap();
    let status = log.status();
    assert!(status.segments < before.segments, "{status:?}");
    let first = status.first_index;
    assert!(first > LogIndex(1) && first <= LogIndex(21), "{first}");
    let rest = read_rest(&mut log);
    assert_eq!(rest, whole[first.0 as usize - 1..]);
    log.read(first.previous(), LogIndex(25), 100);
    let from = first.previous();
    assert_eq!(settle(&mut log, now()).unwrap(), vec![LogEvent::ReadFailed { from }]);
    assert!(status.compacted_bytes > 0);
    let segments = |disk: &MemoryDisk| disk.files().keys().filter(|n| n.ends_with("seg")).count();
    assert_eq!(segments(&disk) as u64, status.segments);
    drop(log);

    disk.crash(Crash::LoseUnsynced);
    let (mut log, recovered) = opened(&disk);
    assert_eq!(recovered.snapshot, mark(20, 1));
    assert_eq!(recovered.log_start, (first, Term(1)), "the entry before has no known term");
    assert_eq!(recovered.term_runs, vec![(first.next(), Term(1))]);
    assert_eq!(recovered.configurations, vec![]);
    assert_eq!(read_rest(&mut log), rest);
    assert_eq!(load(&mut log, 20).unwrap().1, parts(20).concat());
    log.append(&entries(1, vec![command(26, 2, "on")]));
    assert_eq!(durable(&settle(&mut log, now()).unwrap()), Some(Seq(1)));
}

#[test]
fn nothing_goes_before_the_mark_is_durable() {
    let disk = filled(24);
    let (mut log, _) = opened(&disk);
    take(&mut log, &mark(20, 1));
    disk.set_stepped(true);
    let segments = log.status().segments;
    log.append(&marked(1, mark(20, 1), false));
    log.flush();
    log.compact(LogIndex(20));
    assert_eq!(log.status().segments, segments);
    settle(&mut log, now()).unwrap();
    log.compact(LogIndex(20));
    assert!(log.status().segments < segments);
    settle(&mut log, now()).unwrap();
}

#[test]
fn a_read_under_way_in_a_segment_that_goes_fails_and_nothing_worse() {
    for steps in 0..4 {
        let (disk, mut log) = with_snapshot();
        disk.set_stepped(true);
        log.read(LogIndex(2), LogIndex(25), usize::MAX);
        for _ in 0..steps {
            disk.step();
        }
        log.compact(LogIndex(20));
        let mut events = settle(&mut log, now()).unwrap();
        assert_eq!(events.pop(), Some(LogEvent::ReadFailed { from: LogIndex(2) }), "{steps}");
        assert!(!read_rest(&mut log).is_empty());
    }
}

/// Copies the snapshot of `index`, `max_bytes` at a time; what the receiver said at last.
pub(super) fn copy(
    from: &mut SegmentLog<MemoryDisk>,
    to: &mut SegmentLog<MemoryDisk>,
    index: u64,
    max_bytes: usize,
) -> LogEvent {
    let mut offset = 0;
    loop {
        from.read_snapshot(NodeId(9), LogIndex(index), offset, max_bytes);
        let event = settle(from, now()).unwrap().pop().unwrap();
        let LogEvent::SnapshotBytes { to: NodeId(9), chunk: Some(chunk), .. } = event else {
            panic!("{event:?}");
        };
        assert!(chunk.data.len() <= max_bytes);
        let term = from.snapshot_term(LogIndex(index)).unwrap();
        to.receive_snapshot(LogIndex(index), term, offset, chunk);
        match settle(to, now()).unwrap().pop().unwrap() {
            LogEvent::SnapshotWritten { bytes, .. } => offset = bytes,
            last => return last,
        }
    }
}

/// An empty log, of a node of its own in the same cluster.
fn joiner() -> (MemoryDisk, SegmentLog<MemoryDisk>) {
    let mut disk = MemoryDisk::new();
    SegmentLog::create_empty(&mut disk, IDENTITY).unwrap();
    let (log, recovered) = opened(&disk);
    assert_eq!((recovered.last_index, recovered.log_start), (LogIndex(0), Default::default()));
    assert_eq!((recovered.configurations, recovered.term_runs), (vec![], vec![]));
    (disk, log)
}

#[test]
fn a_snapshot_received_takes_the_place_of_the_log() {
    let (_, mut leader) = with_snapshot();
    for max_bytes in [100, 1 << 20] {
        let (disk, mut log) = joiner();
        log.append(&entries(1, vec![command(1, 1, "stale"), command(2, 1, "stale")]));
        settle(&mut log, now()).unwrap();
        let event = copy(&mut leader, &mut log, 20, max_bytes);
        assert_eq!(event, LogEvent::SnapshotReceived { snapshot: mark(20, 1) });

        disk.set_stepped(true);
        log.read(LogIndex(1), LogIndex(9), 100);
        let instead = Persist {
            hard_state: Some(Hard(5)),
            entries: vec![command(21, 1, "next")],
            ..marked(2, mark(20, 1), true)
        };
        log.append(&instead);
        log.read(LogIndex(2), LogIndex(9), 100);
        let events = settle(&mut log, now()).unwrap();
        assert!(!events.iter().any(|e| matches!(e, LogEvent::Read { .. })), "{events:?}");
        assert_eq!(durable(&events), Some(Seq(2)));
        assert_eq!(read_rest(&mut log), vec![command(21, 1, "next")]);
        drop(log);
        disk.crash(Crash::LoseUnsynced);
        disk.set_stepped(false);
        let (mut log, recovered) = opened(&disk);
        assert_eq!(recovered.snapshot, mark(20, 1));
        assert_eq!(recovered.log_start, (LogIndex(20), Term(1)));
        assert_eq!(recovered.term_runs, vec![(LogIndex(21), Term(1))]);
        assert_eq!(recovered.hard_state, Hard(5).to_bytes());
        assert_eq!(read_rest(&mut log), vec![command(21, 1, "next")]);
        assert_eq!(load(&mut log, 20).unwrap(), (mark(20, 1), parts(20).concat()));
    }
}

#[test]
fn chunks_that_do_not_fit_are_answered_with_what_is_there() {
    let (_, mut leader) = with_snapshot();
    let (disk, mut log) = joiner();
    let chunk = |data: &'static [u8]| Chunk { data: data.into(), done: false };
    let said = |log: &mut SegmentLog<MemoryDisk>, index, term, offset, data| {
        log.receive_snapshot(LogIndex(index), Term(term), offset, chunk(data));
        match settle(log, now()).unwrap().as_slice() {
            [LogEvent::SnapshotWritten { index, bytes }] => (index.0, *bytes),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(said(&mut log, 20, 1, 7, b"early"), (20, 0));
    assert_eq!(said(&mut log, 20, 1, 0, b"begin"), (20, 5));
    assert_eq!(said(&mut log, 20, 1, 9, b"gap"), (20, 5));
    assert_eq!(said(&mut log, 20, 1, 3, b"again"), (20, 5));
    assert_eq!(said(&mut log, 30, 1, 5, b"other"), (30, 0));
    assert_eq!(said(&mut log, 20, 1, 5, b"fits"), (20, 9));
    assert_eq!(said(&mut log, 20, 1, 0, b"anew"), (20, 4));
    assert_eq!(disk.files()[RECEIVING_FILE], b"anew");
    let event = copy(&mut leader, &mut log, 20, 200);
    assert_eq!(event, LogEvent::SnapshotReceived { snapshot: mark(20, 1) });
    // And once more, when it is there already.
    assert_eq!(copy(&mut leader, &mut log, 20, 200), event);
    assert!(!disk.files().contains_key(RECEIVING_FILE));
}

#[test]
fn what_was_announced_and_what_comes_must_agree() {
    let (_, mut leader) = with_snapshot();
    let file = leader.disk_mut().files().remove(&snapshot_name(LogIndex(20), Term(1))).unwrap();
    let (disk, mut log) = joiner();
    let mut rejected = |index, term, data: &[u8]| {
        let chunk = Chunk { data: Bytes::copy_from_slice(data), done: true };
        log.receive_snapshot(LogIndex(index), Term(term), 0, chunk);
        match settle(&mut log, now()).unwrap().pop() {
            Some(LogEvent::SnapshotRejected { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    };
    assert!(rejected(21, 1, &file).contains("the snapshot of entry 20 of term 1, not of 21"));
    assert!(rejected(20, 2, &file).contains("not of 20 of term 2"));
    assert!(rejected(20, 1, &[]).contains("ends here"));
    assert!(rejected(20, 1, &[file.clone(), vec![0]].concat()).contains("behind the end"));
    let foreign = Identity { cluster: ClusterId(0xbad), ..IDENTITY };
    let (_, header) = SnapshotEncoder::begin(foreign.cluster, &mark(20, 1));
    assert!(rejected(20, 1, &header).contains("cluster bad"));
    let nobodys = SnapshotMark { configuration: Configuration::default(), ..mark(20, 1) };
    let (_, header) = SnapshotEncoder::begin(IDENTITY.cluster, &nobodys);
    assert!(rejected(20, 1, &header).contains("nobody votes"));
    for length in 0..file.len() {
        rejected(20, 1, &file[..length]);
    }
    for at in 0..file.len() {
        let mut damaged = file.clone();
        damaged[at] ^= 1 << (at % 8);
        rejected(20, 1, &damaged);
    }
    assert_eq!(disk.files().len(), 1, "nothing is left: {:?}", disk.files().keys());
}

#[test]
fn a_damaged_snapshot_is_refused_by_name_at_the_start_and_is_not_there_for_others() {
    let (disk, log) = with_snapshot();
    drop(log);
    let name = snapshot_name(LogIndex(20), Term(1));
    let length = disk.files()[&name].len() as u64;
    for at in 0..length {
        let disk = disk.fork();
        assert!(disk.flip_bit(&name, at, at as u32 * 3));
        let loaded = open(&disk).and_then(|(mut log, _)| load(&mut log, 20));
        match loaded {
            Err(LogError::DamagedSnapshot { file, index: LogIndex(20), .. }) => {
                assert_eq!(file, name);
            }
            other => panic!("{at}: {other:?}"),
        }
    }
    // While the node runs, a part that is damaged is a part that is not there.
    let (mut log, _) = opened(&disk);
    assert!(disk.flip_bit(&name, length / 2, 1));
    let (mut at, mut seen) = (0, 0);
    loop {
        log.read_part(LogIndex(20), at);
        match settle(&mut log, now()).unwrap().pop() {
            Some(LogEvent::SnapshotPart { part: Some(_), next: Some(next), .. }) => at = next,
            Some(LogEvent::SnapshotPart { part: None, next: None, .. }) => break,
            other => panic!("{other:?}"),
        }
        seen += 1;
    }
    assert!(seen < 3);
    disk.remove(&name);
    log.read_part(LogIndex(20), 0);
    log.read_snapshot(NodeId(2), LogIndex(20), 0, 100);
    log.read_snapshot(NodeId(2), LogIndex(19), 0, 100);
    let events = settle(&mut log, now()).unwrap();
    assert!(matches!(&events[0], LogEvent::SnapshotPart { part: None, .. }));
    assert!(matches!(&events[1], LogEvent::SnapshotBytes { chunk: None, .. }));
    assert!(matches!(&events[2], LogEvent::SnapshotBytes { chunk: None, .. }));
    drop(log);
    let error = open(&disk).map(|_| ()).unwrap_err();
    assert_eq!(error, LogError::MissingSnapshot { index: LogIndex(20), file: name.clone() });
    assert!(error.to_string().contains(&name), "{error}");
}

/// Rot in the last group passes for a tear, but not where that group had let something go.
#[test]
fn a_mark_that_is_lost_after_what_it_covers_is_gone_is_told_from_a_missing_snapshot() {
    let (disk, mut log) = with_snapshot();
    take(&mut log, &mark(24, 1));
    log.append(&marked(2, mark(24, 1), false));
    settle(&mut log, now()).unwrap();
    log.retain_snapshots(&BTreeSet::new());
    settle(&mut log, now()).unwrap();
    drop(log);
    let files = disk.files();
    assert!(!files.contains_key(&snapshot_name(LogIndex(20), Term(1))), "it was let go");
    let (name, bytes) = files.iter().rfind(|(name, _)| name.ends_with(".seg")).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    assert!(disk.flip_bit(name, last as u64, 1));
    let tolerant = SegmentLog::open_damaged(disk.handle(), IDENTITY, tiny());
    for found in [open(&disk).map(drop), tolerant.map(drop)] {
        let Err(LogError::Corrupt { file, what, .. }) = found else { panic!("{found:?}") };
        assert_eq!(file, *name);
        assert!(what.contains(&snapshot_name(LogIndex(24), Term(1))), "{what}");
    }
    assert_eq!(disk.files().len(), files.len(), "and nothing was changed");
}

#[test]
fn orphans_and_unfinished_files_are_deleted_at_the_start() {
    let (disk, mut log) = with_snapshot();
    take(&mut log, &mark(22, 1));
    log.snapshot_begin(mark(24, 1));
    log.receive_snapshot(LogIndex(50), Term(2), 0, Chunk { data: "half".into(), done: false });
    settle(&mut log, now()).unwrap();
    drop(log);
    let files = disk.files();
    assert!(files.contains_key(TAKING_FILE) && files.contains_key(RECEIVING_FILE));
    let (log, recovered) = opened(&disk);
    assert_eq!(recovered.snapshot, mark(20, 1), "the mark decides");
    assert_eq!(log.snapshots().len(), 1);
    disk.crash(Crash::LoseUnsynced);
    let left: Vec<_> = disk.files().into_keys().filter(|n| !n.ends_with(".seg")).collect();
    assert_eq!(left, vec![snapshot_name(LogIndex(20), Term(1))]);
}

#[test]
fn old_snapshots_go_except_those_that_are_kept() {
    let (disk, mut log) = with_snapshot();
    for (seq, index) in [(2, 22), (3, 24)] {
        take(&mut log, &mark(index, 1));
        log.append(&marked(seq, mark(index, 1), false));
        settle(&mut log, now()).unwrap();
    }
    take(&mut log, &mark(25, 1));
    let there = |log: &SegmentLog<MemoryDisk>| -> Vec<u64> {
        log.snapshots().iter().map(|(index, _)| index.0).collect()
    };
    log.retain_snapshots(&BTreeSet::from([LogIndex(20)]));
    settle(&mut log, now()).unwrap();
    assert_eq!(there(&log), [20, 24, 25], "25 is not marked yet");
    log.retain_snapshots(&BTreeSet::new());
    settle(&mut log, now()).unwrap();
    assert_eq!(there(&log), [24, 25]);
    let files = disk.files();
    assert_eq!(files.keys().filter(|name| name.ends_with(".snap")).count(), 2);
}

#[test]
fn without_space_a_snapshot_is_given_up_and_the_log_goes_on() {
    let (disk, mut log) = with_snapshot();
    let (_, mut leader) = with_snapshot();
    let used: usize = disk.files().values().map(Vec::len).sum();
    for spare in [0, 100, 500, 1500] {
        disk.set_capacity(Some((used + spare) as u64));
        let event = take(&mut log, &mark(24, 1));
        let Some(LogEvent::SnapshotFailed { index: LogIndex(24), why }) = event else {
            panic!("{spare}: {event:?}");
        };
        assert!(why.contains("no space"), "{why}");
        // What comes late is of no consequence.
        log.snapshot_write(&Bytes::from_static(b"late"));
        log.snapshot_finish();
        log.snapshot_abort();
        assert_eq!(settle(&mut log, now()).unwrap(), vec![]);
        assert!(!disk.files().contains_key(TAKING_FILE));

        let (mut at, mut rejected) = (0, false);
        while !rejected {
            leader.read_snapshot(NodeId(9), LogIndex(20), at, 300);
            let event = settle(&mut leader, now()).unwrap().pop();
            let Some(LogEvent::SnapshotBytes { chunk: Some(chunk), .. }) = event else { panic!() };
            log.receive_snapshot(LogIndex(20), Term(1), at, chunk);
            match settle(&mut log, now()).unwrap().pop() {
                Some(LogEvent::SnapshotWritten { bytes, .. }) => at = bytes,
                Some(LogEvent::SnapshotRejected { why, .. }) => {
                    assert!(why.contains("no space"), "{why}");
                    rejected = true;
                }
                other => panic!("{other:?}"),
            }
        }
        assert!(!disk.files().contains_key(RECEIVING_FILE));
    }
    log.append(&entries(2, vec![command(26, 1, "on")]));
    assert_eq!(durable(&settle(&mut log, now()).unwrap()), Some(Seq(2)));
    disk.set_capacity(None);
    assert_eq!(take(&mut log, &mark(24, 1)), Some(LogEvent::SnapshotSaved { index: LogIndex(24) }));
}

#[test]
fn a_snapshot_begun_anew_or_given_up_leaves_nothing() {
    let (disk, mut log) = with_snapshot();
    disk.set_stepped(true);
    log.snapshot_begin(mark(22, 1));
    log.snapshot_write(&Bytes::from_static(b"of the first"));
    disk.step();
    log.snapshot_begin(mark(23, 1));
    log.snapshot_write(&Bytes::from_static(b"of the second"));
    log.snapshot_finish();
    let events = settle(&mut log, now()).unwrap();
    assert_eq!(
        events,
        vec![LogEvent::SnapshotPartWritten, LogEvent::SnapshotSaved { index: LogIndex(23) }]
    );
    assert_eq!(load(&mut log, 23).unwrap().1, b"of the second");
    log.snapshot_begin(mark(24, 1));
    log.snapshot_write(&Bytes::from_static(b"x"));
    disk.step();
    log.snapshot_abort();
    let events = settle(&mut log, now()).unwrap();
    let why = "it was given up".to_owned();
    assert_eq!(events, vec![LogEvent::SnapshotFailed { index: LogIndex(24), why }]);
    assert!(!disk.files().contains_key(TAKING_FILE));
}

#[test]
#[should_panic(expected = "which is not on the disk")]
fn a_mark_without_its_snapshot_is_a_broken_invariant() {
    let (_, mut log) = with_snapshot();
    log.append(&marked(2, mark(24, 1), false));
}

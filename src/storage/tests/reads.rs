//! Reading back while the log grows and shrinks.

use super::*;

fn now() -> Instant {
    Instant::from_millis(1)
}

/// Entries 1–21 of term 1, all durable; then step mode.
fn stepped() -> (MemoryDisk, SegmentLog<MemoryDisk>) {
    let disk = filled(20);
    let (mut log, _) = opened(&disk);
    settle(&mut log, now()).unwrap();
    disk.set_stepped(true);
    (disk, log)
}

fn answer(events: Vec<LogEvent>) -> Option<LogEvent> {
    events.into_iter().find(|event| !matches!(event, LogEvent::Durable(_)))
}

fn indexes(event: Option<LogEvent>) -> Vec<(u64, u64)> {
    match event {
        Some(LogEvent::Read { entries, .. }) => {
            entries.iter().map(|entry| (entry.index.0, entry.term.0)).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn budget_and_bounds_are_kept() {
    let (_, mut log) = stepped();
    let whole = read_all(&mut log, now(), usize::MAX).unwrap();
    for max_bytes in [0, 1, 100, 500] {
        assert_eq!(read_all(&mut log, now(), max_bytes).unwrap(), whole);
        log.read(LogIndex(3), LogIndex(9), max_bytes);
        let Some(LogEvent::Read { entries, .. }) = answer(settle(&mut log, now()).unwrap()) else {
            panic!("no answer");
        };
        let bytes: usize = entries.iter().map(Entry::size).sum();
        assert!(bytes <= max_bytes || entries.len() == 1, "{bytes} for {max_bytes}");
        assert!(entries.iter().all(|entry| (3..=9).contains(&entry.index.0)));
    }
    for (from, to) in [(22, 30), (0, 5), (9, 8)] {
        log.read(LogIndex(from), LogIndex(to), 100);
        let from = LogIndex(from);
        assert_eq!(answer(settle(&mut log, now()).unwrap()), Some(LogEvent::ReadFailed { from }));
    }
}

#[test]
fn entries_that_are_not_durable_are_read_too_and_answers_keep_their_order() {
    let (_, mut log) = stepped();
    let new = (22..=25).map(|i| command(i, 1, "new")).collect();
    log.append(&entries(1, new));
    log.read(LogIndex(20), LogIndex(99), usize::MAX);
    log.read(LogIndex(24), LogIndex(99), usize::MAX);
    // The second could be answered at once, but waits for the first.
    assert_eq!(answer(log.poll(now()).unwrap()), None);
    let events: Vec<_> = settle(&mut log, now()).unwrap();
    let mut answers = events.into_iter().filter(|e| !matches!(e, LogEvent::Durable(_)));
    assert_eq!(indexes(answers.next()), [(20, 1), (21, 1)], "what is on disk");
    assert_eq!(indexes(answers.next()), [(24, 1), (25, 1)]);

    log.append(&entries(2, vec![command(26, 1, "newer")]));
    log.read(LogIndex(26), LogIndex(26), 0);
    assert_eq!(log.next_deadline(), Some(now()), "there is an answer to collect");
    assert_eq!(indexes(answer(log.poll(now()).unwrap())), [(26, 1)]);
}

#[test]
fn an_entry_truncated_during_the_read_is_never_handed_out() {
    // 1. Entries 15–21 are asked for. 2. The disk reads. 3. A new leader's write truncates from 18
    // on. 4. The disk delivers the old 18.
    for disk_first in [false, true] {
        let (disk, mut log) = stepped();
        log.read(LogIndex(15), LogIndex(21), usize::MAX);
        if disk_first {
            assert!(disk.step());
        }
        let new = Persist {
            truncate_from: Some(LogIndex(18)),
            ..entries(1, vec![command(18, 2, "of the new leader")])
        };
        log.append(&new);
        let events = settle(&mut log, now()).unwrap();
        assert_eq!(indexes(answer(events)), [(15, 1), (16, 1), (17, 1)]);
        log.read(LogIndex(17), LogIndex(21), usize::MAX);
        assert_eq!(indexes(answer(settle(&mut log, now()).unwrap())), [(17, 1), (18, 2)]);
    }
}

#[test]
fn a_read_that_lost_all_its_entries_meets_the_new_log() {
    for replaced in [true, false] {
        let (disk, mut log) = stepped();
        log.read(LogIndex(15), LogIndex(21), usize::MAX);
        assert!(disk.step());
        let new = if replaced { vec![command(12, 2, "a"), command(13, 2, "b")] } else { vec![] };
        log.append(&Persist { truncate_from: Some(LogIndex(12)), ..entries(1, new) });
        log.append(&entries(
            2,
            if replaced { (14..=16).map(|i| command(i, 2, "c")).collect() } else { vec![] },
        ));
        let answer = answer(settle(&mut log, now()).unwrap());
        if replaced {
            assert_eq!(indexes(answer), [(15, 2), (16, 2)]);
        } else {
            assert_eq!(answer, Some(LogEvent::ReadFailed { from: LogIndex(15) }));
        }
    }
}

#[test]
fn an_entry_larger_than_a_chunk_is_read_back() {
    let disk = new_disk();
    let (mut log, _) = opened(&disk);
    let big: Vec<u8> = (0..3 << 20).map(|i: u32| (i / 7) as u8).collect();
    log.append(&entries(1, vec![command(2, 1, "small"), command(3, 1, big)]));
    log.append(&entries(2, vec![command(4, 1, "last")]));
    settle(&mut log, now()).unwrap();
    let read = read_all(&mut log, now(), 100).unwrap();
    assert_eq!(read[2].size(), (3 << 20) + Entry::OVERHEAD);
    drop(log);
    let (mut log, _) = opened(&disk);
    assert_eq!(read_all(&mut log, now(), usize::MAX).unwrap(), read);
}

#[test]
fn one_reading_of_the_disk_serves_all_anchors_that_it_passes() {
    let (disk, mut log) = stepped();
    let spacing = tiny().index_spacing_bytes as usize;
    log.read(LogIndex(2), LogIndex(99), usize::MAX);
    let mut steps = 0;
    let entries = loop {
        match answer(log.poll(now()).unwrap()) {
            Some(LogEvent::Read { entries, .. }) => break entries,
            Some(other) => panic!("{other:?}"),
            None => assert!(disk.step(), "nothing is under way, and there is no answer"),
        }
        steps += 1;
    };
    let bytes: usize = entries.iter().map(Entry::size).sum();
    assert_eq!(entries.last().map(|entry| entry.index), Some(LogIndex(21)));
    assert!(bytes > 3 * spacing, "{bytes} bytes pass few anchors");
    assert_eq!(steps, log.status().segments, "one reading for each segment");
}

#[test]
fn damage_that_shows_itself_when_reading_is_final() {
    let (disk, mut log) = stepped();
    let (name, bytes) = disk.files().into_iter().next().unwrap();
    // The payload of entry 2 is 20 zeros; of entry 3, 33 ones.
    let at = bytes.windows(8).position(|window| window == [1; 8]).unwrap();
    assert!(disk.flip_bit(&name, at as u64, 0));
    log.read(LogIndex(2), LogIndex(9), usize::MAX);
    let error = settle(&mut log, now()).unwrap_err();
    assert!(matches!(&error, LogError::Corrupt { index: LogIndex(3), file, .. } if *file == name));
    assert_eq!(log.poll(now()), Err(error));
}

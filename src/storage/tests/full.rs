//! A full disk passes; a failed sync does not.

use super::*;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

fn one(seq: u64, index: u64, bytes: usize) -> Persist<Hard> {
    entries(seq, vec![command(index, 1, vec![seq as u8; bytes])])
}

/// Appends writes of `bytes` for as long as `room` says that they fit; returns how many.
fn fill(log: &mut SegmentLog<MemoryDisk>, bytes: usize, now: Instant) -> u64 {
    let mut count = 0;
    while count < 500 {
        let persist = one(count + 1, count + 2, bytes);
        if log.room() < SegmentLog::<MemoryDisk>::cost(&persist.entries) {
            break;
        }
        log.append(&persist);
        count += 1;
        let events = settle(log, now).unwrap();
        assert_eq!(durable(&events), Some(Seq(count)), "there was room for it");
    }
    count
}

#[test]
fn what_room_promises_does_fit_and_the_rest_waits_for_space() {
    for bytes in [1, 100, 300] {
        let disk = new_disk();
        disk.set_capacity(Some(9000));
        let (mut log, _) = opened(&disk);
        let count = fill(&mut log, bytes, at(1));
        assert!(count > 5, "{count}");
        let status = log.status();
        assert!(status.full, "{status:?}");
        assert!(status.full_reason.is_some_and(|reason| reason.contains("no space")));
        assert!(status.disk_bytes <= 9000, "{}", status.disk_bytes);

        // Beyond it: not lost, and not acknowledged.
        let more: Vec<u64> = (count + 1..=count + 30).collect();
        for seq in &more {
            log.append(&one(*seq, seq + 1, 200));
        }
        let events = settle(&mut log, at(2)).unwrap();
        assert!(durable(&events).is_none_or(|seq| seq.0 < count + 30), "{events:?}");
        let read = read_all(&mut log, at(2), 1000).unwrap();
        assert_eq!(read.len() as u64, count + 31, "reads are served meanwhile");

        // It tries again every second.
        let retry = log.next_deadline().expect("another attempt");
        assert!(retry > at(2) && retry <= at(1002), "{retry}");
        settle(&mut log, retry).unwrap();
        assert!(log.status().full, "still");
        disk.set_capacity(None);
        let retry = log.next_deadline().expect("another attempt");
        let events = settle(&mut log, retry).unwrap();
        assert_eq!(durable(&events), Some(Seq(count + 30)));
        assert!(!log.status().full);
        assert_eq!(read_all(&mut log, retry, 1000).unwrap(), read);
        drop(log);
        disk.crash(Crash::LoseUnsynced);
        let (mut log, recovered) = opened(&disk);
        assert_eq!((recovered.last_index, recovered.tear), (LogIndex(count + 31), None));
        assert_eq!(read_all(&mut log, at(0), 1000).unwrap(), read);
    }
}

#[test]
fn a_crash_while_the_disk_is_full_loses_nothing_that_was_durable() {
    let disk = new_disk();
    disk.set_capacity(Some(7000));
    let (mut log, _) = opened(&disk);
    let count = fill(&mut log, 50, at(1));
    for seq in count + 1..count + 40 {
        log.append(&one(seq, seq + 1, 200));
    }
    let durable = durable(&settle(&mut log, at(2)).unwrap()).map_or(count, |seq| seq.0);
    drop(log);
    disk.crash(Crash::LoseUnsynced);
    let (mut log, recovered) = opened(&disk);
    assert_eq!(recovered.last_index, LogIndex(durable + 1), "and it starts on a full disk");
    assert_eq!(read_all(&mut log, at(0), 1000).unwrap().len() as u64, durable + 1);
}

#[test]
fn a_refused_write_is_written_again() {
    // As on a file system that copies on write: even allocated space may be refused.
    let disk = new_disk();
    let (mut log, _) = opened(&disk);
    disk.set_writes_full(true);
    for seq in 1..=40 {
        log.append(&one(seq, seq + 1, 150));
    }
    assert_eq!(durable(&settle(&mut log, at(10)).unwrap()), None);
    assert!(log.status().full);
    assert_eq!(log.room(), 0);
    let mut now = at(10);
    let mut reached = Seq(0);
    // Every attempt gets a little further, and through several changes of segment.
    while reached < Seq(40) {
        now = log.next_deadline().expect("another attempt");
        assert!(now <= at(200_000), "stuck at {reached}");
        disk.set_writes_full(false);
        log.poll(now).unwrap();
        disk.set_writes_full(true);
        reached = durable(&settle(&mut log, now).unwrap()).unwrap_or(reached).max(reached);
    }
    disk.set_writes_full(false);
    let read = read_all(&mut log, now, 1000).unwrap();
    drop(log);
    disk.crash(Crash::LoseUnsynced);
    let (mut log, recovered) = opened(&disk);
    assert_eq!(recovered.last_index, LogIndex(41));
    assert_eq!(read_all(&mut log, at(0), 1000).unwrap(), read);
}

#[test]
fn a_failed_sync_is_final() {
    let disk = new_disk();
    let (mut log, _) = opened(&disk);
    settle(&mut log, at(0)).unwrap();
    disk.set_fail_syncs(true);
    log.append(&one(1, 2, 10));
    log.flush();
    let error = log.poll(at(1)).unwrap_err();
    assert!(matches!(&error, LogError::Disk(e) if e.kind == DiskErrorKind::SyncFailed), "{error}");
    // A later sync that succeeds proves nothing.
    disk.set_fail_syncs(false);
    log.append(&one(2, 3, 10));
    log.flush();
    assert_eq!(log.poll(at(2)), Err(error.clone()));
    assert_eq!(log.poll(at(5000)), Err(error));
    assert_eq!(log.next_deadline(), None);
}

#[test]
fn a_write_larger_than_a_segment_gets_a_larger_segment() {
    let disk = new_disk();
    let (mut log, _) = opened(&disk);
    log.append(&one(1, 2, 10));
    log.append(&entries(2, (3..=12).map(|i| command(i, 1, vec![5; 900])).collect()));
    log.append(&one(3, 13, 10));
    assert_eq!(durable(&settle(&mut log, at(1)).unwrap()), Some(Seq(3)));
    let read = read_all(&mut log, at(1), 2000).unwrap();
    disk.crash(Crash::LoseUnsynced);
    let (mut log, _) = opened(&disk);
    assert_eq!(read_all(&mut log, at(1), usize::MAX).unwrap(), read);
}

#[test]
fn one_sync_serves_all_that_waits() {
    let disk = new_disk();
    let options = LogOptions { segment_bytes: 1 << 20, max_group_bytes: 1 << 20, ..tiny() };
    let (mut log, _) = SegmentLog::open(disk.handle(), IDENTITY, options).unwrap();
    settle(&mut log, at(0)).unwrap();
    disk.set_stepped(true);
    for seq in 1..=100 {
        log.append(&one(seq, seq + 1, 100));
        log.flush();
    }
    assert_eq!(durable(&settle(&mut log, at(0)).unwrap()), Some(Seq(100)));
    let status = log.status();
    assert_eq!((status.groups, status.persists), (2, 100), "the first alone, the rest together");
    assert_eq!(status.pending_bytes, 0);
}

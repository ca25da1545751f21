//! The real disk, and the log on it.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use bytes::Bytes;

use super::super::tests::{IDENTITY, command, durable, entries, members};
use super::*;
use crate::storage::{LogEvent, LogOptions, SegmentLog, Trouble};
use crate::types::{LogIndex, Seq};

type Moment = crate::types::Instant;

/// A disk, and a receiver that hears its waker.
fn disk(directory: &Path, durability: Durability) -> (FileDisk, Receiver<()>) {
    let (sender, receiver) = channel();
    let waker = Box::new(move || {
        // A test that has ended need not be woken.
        let _ = sender.send(());
    });
    (FileDisk::open(directory, durability, waker).unwrap(), receiver)
}

/// Waits for the waker.
fn woken(receiver: &Receiver<()>) {
    receiver.recv_timeout(Duration::from_secs(20)).expect("the disk calls its waker");
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 64 << 10, zero_ahead_bytes: 8 << 10, ..LogOptions::default() }
}

/// Appends `count` writes of one entry each and waits until they are durable.
fn append(log: &mut SegmentLog<FileDisk>, wakes: &Receiver<()>, first: u64, count: u64) {
    for i in 0..count {
        log.append(&entries(i + 1, vec![command(first + i, 1, vec![i as u8; 500])]));
        log.flush();
    }
    let mut reached = None;
    while reached != Some(Seq(count)) {
        woken(wakes);
        reached = durable(&log.poll(Moment::from_millis(1)).unwrap()).or(reached);
    }
}

#[test]
fn a_log_on_a_real_disk_comes_back_whole() {
    for durability in [Durability::Fsync, Durability::FsyncDropUnsynced, Durability::None] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (mut files, wakes) = disk(&path, durability);
        SegmentLog::create(&mut files, IDENTITY, &members(3)).unwrap();
        let (mut log, _) = SegmentLog::open(files, IDENTITY, options()).unwrap();
        append(&mut log, &wakes, 2, 300);
        let status = log.status();
        assert!(status.segments >= 2, "{status:?}");
        let times = log.take_times();
        assert!(times.iter().any(|it| it.write.is_some()));
        let synced = times.iter().any(|it| it.sync.is_some());
        assert_eq!(synced, durability != Durability::None);
        assert_eq!(status.syncs > 0, durability != Durability::None);
        drop(log);

        let (files, wakes) = disk(&path, durability);
        let (mut log, recovered) = SegmentLog::open(files, IDENTITY, options()).unwrap();
        assert_eq!((recovered.last_index, recovered.tear), (LogIndex(301), None));
        log.read(LogIndex(250), LogIndex(301), usize::MAX);
        let mut read = Vec::new();
        while read.is_empty() {
            woken(&wakes);
            for event in log.poll(Moment::default()).unwrap() {
                if let LogEvent::Read { entries, .. } = event {
                    read = entries;
                }
            }
        }
        assert_eq!(read.len(), 52);
        assert_eq!(read[51], command(301, 1, vec![299_u64 as u8; 500]));
    }
}

#[test]
fn unsynced_bytes_are_lost_with_the_process_in_the_mode_that_says_so() {
    for (durability, survives) in
        [(Durability::Fsync, true), (Durability::FsyncDropUnsynced, false)]
    {
        let directory = tempfile::tempdir().unwrap();
        let (mut files, _wakes) = disk(directory.path(), durability);
        let file = || "x".to_owned();
        let write = |offset, bytes: &'static [u8], sync| Operation::Write {
            file: file(),
            offset,
            bytes: Bytes::from_static(bytes),
            sync,
        };
        let read = Operation::Read { file: file(), offset: 2, length: 100 };
        files.execute(Operation::Create { file: file(), size: 16 }).unwrap();
        files.execute(write(0, b"synced", true)).unwrap();
        files.execute(write(4, b"not synced", false)).unwrap();
        let seen = files.execute(read.clone()).unwrap().into_bytes();
        assert_eq!(&seen[..], b"ncnot synced\0\0", "the process itself sees it");
        drop(files);

        let (mut files, _wakes) = disk(directory.path(), Durability::Fsync);
        let left = files.execute(read).unwrap().into_bytes();
        let expected: &[u8] =
            if survives { b"ncnot synced\0\0" } else { b"nced\0\0\0\0\0\0\0\0\0\0" };
        assert_eq!(&left[..], expected, "{durability:?}");
    }
}

#[test]
fn a_log_that_is_dropped_unsynced_keeps_what_was_durable_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let (mut files, wakes) = disk(directory.path(), Durability::FsyncDropUnsynced);
    SegmentLog::create(&mut files, IDENTITY, &members(3)).unwrap();
    let (mut log, _) = SegmentLog::open(files, IDENTITY, options()).unwrap();
    append(&mut log, &wakes, 2, 20);
    // A group without its sync, as a log that forgot to sync would write it.
    let mut files = log.into_disk();
    let name = crate::storage::format::segment_name(1, LogIndex(1));
    let bytes = Bytes::from_static(&[0xee; 4096]);
    let write = Operation::Write { file: name.clone(), offset: 40_000, bytes, sync: false };
    files.execute(write).unwrap();
    drop(files);
    let (files, _wakes) = disk(directory.path(), Durability::FsyncDropUnsynced);
    let (_, recovered) = SegmentLog::open(files, IDENTITY, options()).unwrap();
    assert_eq!((recovered.last_index, recovered.tear), (LogIndex(21), None));
    let bytes = std::fs::read(directory.path().join(name)).unwrap();
    assert!(!bytes.windows(16).any(|window| window == [0xee; 16]));
}

#[test]
fn two_processes_cannot_have_one_log() {
    let directory = tempfile::tempdir().unwrap();
    let (first, _wakes) = disk(directory.path(), Durability::Fsync);
    let open = || FileDisk::open(directory.path(), Durability::Fsync, Box::new(|| {}));
    let error = open().map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("another process uses this log"), "{error}");
    drop(first);
    assert!(open().is_ok());
}

#[test]
fn the_thread_ends_with_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let token = Arc::new(());
    let held = Arc::clone(&token);
    let waker = Box::new(move || assert!(Arc::strong_count(&held) > 0));
    let files = FileDisk::open(directory.path(), Durability::Fsync, waker).unwrap();
    assert_eq!(Arc::strong_count(&token), 2, "the thread has the waker");
    drop(files);
    assert_eq!(Arc::strong_count(&token), 1, "it is gone when drop returns");
}

#[test]
fn errors_say_what_where_and_why() {
    let directory = tempfile::tempdir().unwrap();
    let (mut files, wakes) = disk(directory.path(), Durability::Fsync);
    let file = || "x".to_owned();
    let missing = files.execute(Operation::Read { file: file(), offset: 0, length: 1 });
    let error = missing.unwrap_err();
    assert_eq!(error.kind, DiskErrorKind::NotFound);
    assert!(error.to_string().starts_with("could not read 1 bytes at offset 0 of /"), "{error}");
    files.execute(Operation::Create { file: file(), size: 8 }).unwrap();
    let again = files.execute(Operation::Create { file: file(), size: 8 });
    assert_eq!(again.unwrap_err().kind, DiskErrorKind::Exists);
    // Completions of submitted operations come in order, past an execute.
    let ids = [files.submit(Operation::SyncDirectory), files.submit(Operation::List)];
    files.execute(Operation::Sync { file: file() }).unwrap();
    let done: Vec<_> = std::iter::from_fn(|| files.complete()).collect();
    assert_eq!(done.iter().map(|completion| completion.id).collect::<Vec<_>>(), ids);
    assert_eq!(done[1].result, Ok(Outcome::Files(vec![(file(), 8)])));
    woken(&wakes);
}

#[test]
fn a_full_disk_is_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("/dev/full", directory.path().join("x")).unwrap();
    let (mut files, _wakes) = disk(directory.path(), Durability::Fsync);
    let bytes = Bytes::from_static(b"data");
    let write = Operation::Write { file: "x".to_owned(), offset: 0, bytes, sync: true };
    let error = files.execute(write).unwrap_err();
    assert_eq!(error.kind, DiskErrorKind::NoSpace, "{error}");
    // Nor is what can never be allocated a full disk, and nothing half-made stays behind.
    let file = || "y".to_owned();
    for _ in 0..2 {
        let error = files.execute(Operation::Create { file: file(), size: 1 << 63 }).unwrap_err();
        assert_eq!(error.kind, DiskErrorKind::Other, "{error}");
    }
}

#[test]
fn holes_are_skipped_and_data_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let (mut files, _wakes) = disk(directory.path(), Durability::Fsync);
    let file = || "x".to_owned();
    files.execute(Operation::Create { file: file(), size: 1 << 20 }).unwrap();
    let bytes = Bytes::from_static(b"data");
    let write = Operation::Write { file: file(), offset: 700_000, bytes, sync: true };
    files.execute(write).unwrap();
    let mut find = |offset| match files.execute(Operation::FindData { file: file(), offset }) {
        Ok(Outcome::Offset(found)) => found,
        other => panic!("{other:?}"),
    };
    // How coarse, or whether at all, is the file system's business; but never past the data.
    assert!(find(0) <= 700_000);
    assert!((700_001..=700_001).contains(&find(700_001)));
    assert!((900_000..=1 << 20).contains(&find(900_000)));
}

#[test]
fn what_was_allocated_and_only_read_is_no_data() {
    // A system that reads ahead into space that was never written would take it for data.
    let directory = tempfile::tempdir().unwrap();
    let (mut files, _wakes) = disk(directory.path(), Durability::Fsync);
    let file = || "x".to_owned();
    files.execute(Operation::Create { file: file(), size: 8 << 20 }).unwrap();
    let bytes = Bytes::from_static(b"data");
    files.execute(Operation::Write { file: file(), offset: 0, bytes, sync: true }).unwrap();
    let find = Operation::FindData { file: file(), offset: 1 << 20 };
    let before = files.execute(find.clone()).unwrap();
    for offset in [0, 1 << 20] {
        files.execute(Operation::Read { file: file(), offset, length: 1 << 20 }).unwrap();
    }
    assert_eq!(files.execute(find).unwrap(), before);
}

fn file(name: &str) -> String {
    name.to_owned()
}

/// Writes `bytes` at the beginning of `f`.
fn write(disk: &mut FileDisk, bytes: &'static [u8], sync: bool) -> Result<Outcome, DiskError> {
    disk.execute(Operation::Write { file: file("f"), offset: 0, bytes: bytes.into(), sync })
}

#[test]
fn a_disk_in_trouble_refuses_what_it_says_and_is_well_again_afterwards() {
    let directory = tempfile::tempdir().unwrap();
    let (mut disk, _wakes) = disk(&directory.path().join("log"), Durability::Fsync);
    disk.execute(Operation::Create { file: file("f"), size: 8 }).unwrap();
    let read = Operation::Read { file: file("f"), offset: 0, length: 8 };
    let ailment = disk.ailment();

    ailment.set(Trouble { full: true, ..Trouble::default() });
    let longer = Operation::Allocate { file: file("f"), size: 16 };
    for refused in [
        write(&mut disk, b"12345678", false),
        disk.execute(longer.clone()),
        disk.execute(Operation::Create { file: file("g"), size: 8 }),
    ] {
        assert_eq!(refused.unwrap_err().kind, DiskErrorKind::NoSpace);
    }
    disk.execute(read.clone()).unwrap();

    ailment.set(Trouble { read_errors: 1.0, ..Trouble::default() });
    assert_eq!(disk.execute(read.clone()).unwrap_err().kind, DiskErrorKind::Other);
    write(&mut disk, b"12345678", true).unwrap();

    ailment.set(Trouble { write_errors: 1.0, ..Trouble::default() });
    assert_eq!(write(&mut disk, b"abcdefgh", true).unwrap_err().kind, DiskErrorKind::Other);

    ailment.set(Trouble::default());
    assert_eq!(disk.execute(read).unwrap().into_bytes(), "12345678");
    disk.execute(longer).unwrap();
    write(&mut disk, b"abcdefgh", true).unwrap();
}

#[test]
fn one_sync_fails_and_what_it_should_have_saved_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let (mut disk, _wakes) = disk(&directory.path().join("log"), Durability::Fsync);
    disk.execute(Operation::Create { file: file("f"), size: 8 }).unwrap();
    let trouble = Trouble { sync_error: true, ..Trouble::default() };
    disk.ailment().set(trouble.clone());
    assert_eq!(write(&mut disk, b"12345678", true).unwrap_err().kind, DiskErrorKind::SyncFailed);
    let read = Operation::Read { file: file("f"), offset: 0, length: 8 };
    assert_eq!(&disk.execute(read).unwrap().into_bytes()[..], [0; 8]);
    disk.execute(Operation::Sync { file: file("f") }).unwrap();
    // To be told of the same trouble again is not to be in it again.
    disk.ailment().set(trouble);
    write(&mut disk, b"12345678", true).unwrap();
}

#[test]
fn what_is_not_synced_is_lost_or_torn_and_what_was_held_back_comes_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let (mut files, _wakes) = disk(&path, Durability::Fsync);
    files.execute(Operation::Create { file: file("f"), size: 8 }).unwrap();
    let on_disk = || std::fs::read(path.join("f")).unwrap();
    let trouble = Trouble { lose_unsynced: true, ..Trouble::default() };
    files.ailment().set(trouble.clone());
    write(&mut files, b"12345678", false).unwrap();
    assert_eq!(on_disk(), [0; 8]);
    files.ailment().set(Trouble { torn: true, ..trouble });
    write(&mut files, b"abcdefgh", false).unwrap();
    assert_eq!(on_disk(), b"abcd\0\0\0\0");
    // Well again: what is written now comes after what was held back.
    files.ailment().set(Trouble::default());
    write(&mut files, b"x", false).unwrap();
    assert_eq!(on_disk(), b"xbcdefgh");
}

#[test]
fn a_slow_disk_is_slow_until_it_is_well() {
    let directory = tempfile::tempdir().unwrap();
    let (mut disk, wakes) = disk(&directory.path().join("log"), Durability::Fsync);
    disk.execute(Operation::Create { file: file("f"), size: 8 }).unwrap();
    woken(&wakes);
    let ailment = disk.ailment();
    ailment.set(Trouble { delay_millis: 20, jitter_millis: 5, ..Trouble::default() });
    let begin = std::time::Instant::now();
    write(&mut disk, b"1", true).unwrap();
    assert!(begin.elapsed() >= Duration::from_millis(15));
    woken(&wakes);
    // So slow that the test would not live to see it, were it not healed.
    ailment.set(Trouble { delay_millis: 60_000, ..Trouble::default() });
    disk.submit(Operation::Sync { file: file("f") });
    ailment.set(Trouble::default());
    woken(&wakes);
    assert!(disk.complete().unwrap().result.is_ok());
    ailment.set(Trouble { delay_millis: 60_000, ..Trouble::default() });
    disk.submit(Operation::Sync { file: file("f") });
    drop(disk);
}

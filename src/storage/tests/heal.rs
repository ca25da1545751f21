//! Damage that is localised: each entry that cannot be read is known by index and term, nothing
//! wrong is ever handed out, and what others supply makes the log whole again.

use std::collections::BTreeMap;

use super::life::*;
use super::*;
use crate::consensus::SnapshotMark;
use crate::storage::format::*;

fn now() -> Instant {
    Instant::from_millis(1)
}

type Truth = BTreeMap<u64, Entry>;

/// A log over several segments, in three terms, with truncations, hard states, a configuration and
/// groups of several entries; and what it holds.
fn rich() -> (MemoryDisk, Truth, Bytes) {
    let action = |i: u64| Action {
        truncate_back: matches!(i, 5 | 11).then_some(i / 4),
        entries: 3,
        payload: 30 + i as usize * 4,
        configuration: (i == 7).then_some(4),
        hard_state: (i.is_multiple_of(4)).then_some(i),
        steps: 3,
        wait: i == 6,
        ..Action::default()
    };
    let disk = new_disk();
    let (mut log, _) = opened(&disk);
    disk.set_stepped(true);
    let mut life = Life::new(State::first());
    life.run(&mut log, &(1..=16).map(action).collect::<Vec<_>>()).unwrap();
    assert!(log.status().segments > 4);
    disk.set_stepped(false);
    drop(log);
    let hard_state = opened(&disk).1.hard_state;
    (disk, life.states.pop().unwrap().entries, hard_state)
}

fn open_damaged(disk: &MemoryDisk) -> Result<(SegmentLog<MemoryDisk>, Recovered, bool), LogError> {
    SegmentLog::open_damaged(disk.handle(), IDENTITY, tiny())
}

/// Every entry that is not damaged can be read and is right; every damaged one is named rightly.
fn check_reads(log: &mut SegmentLog<MemoryDisk>, truth: &Truth) {
    let damaged: BTreeMap<u64, Damaged> =
        log.damaged().into_iter().map(|damaged| (damaged.index.0, damaged)).collect();
    let last = log.status().last_index;
    assert_eq!(Some(last.0), truth.keys().next_back().copied(), "{damaged:?}");
    let mut index = log.status().first_index.0;
    while index <= last.0 {
        log.read(LogIndex(index), last, 400);
        match settle(log, now()).unwrap().pop() {
            Some(LogEvent::Read { entries, .. }) => {
                for entry in entries {
                    assert!(!damaged.contains_key(&index), "{index}");
                    assert_eq!(Some(&entry), truth.get(&index));
                    index += 1;
                }
            }
            Some(LogEvent::ReadFailed { .. }) => {
                let damaged = damaged.get(&index).unwrap_or_else(|| panic!("{index} is whole"));
                let term = truth[&index].term;
                assert!(damaged.term.is_none_or(|known| known == term), "{damaged:?}: {term}");
                index += 1;
            }
            other => panic!("{other:?}"),
        }
    }
}

fn repair_all(log: &mut SegmentLog<MemoryDisk>, truth: &Truth) {
    for damaged in log.damaged() {
        log.repair(truth[&damaged.index.0].clone()).unwrap();
    }
}

/// Opens the damaged log, checks it, heals it and checks it again. How many entries were damaged;
/// `None` if it was refused.
fn heals(disk: &MemoryDisk, truth: &Truth, hard_state: &Bytes) -> Option<usize> {
    let before = disk.files();
    let (mut log, recovered, is_damaged) = match open_damaged(disk) {
        Ok(opened) => opened,
        Err(error) => {
            assert!(matches!(error, LogError::Corrupt { .. }), "{error}");
            return None;
        }
    };
    if !is_damaged {
        return Some(0);
    }
    assert!(open(disk).is_err(), "an ordinary start refuses it");
    assert_eq!(&recovered.hard_state, hard_state);
    check_reads(&mut log, truth);
    let count = log.damaged().len();
    assert_eq!(disk.files(), before, "nothing is changed");
    repair_all(&mut log, truth);
    let (mut log, recovered) = log.heal().unwrap();
    assert_eq!(&recovered.hard_state, hard_state);
    check_reads(&mut log, truth);
    drop(log);
    disk.crash(Crash::LoseUnsynced);
    let (mut log, again) = opened(disk);
    assert_eq!(again, recovered);
    check_reads(&mut log, truth);
    Some(count)
}

fn segment_names(disk: &MemoryDisk) -> Vec<(String, u64)> {
    let files = disk.files().into_iter().filter(|(name, _)| name.ends_with(".seg"));
    files.map(|(name, bytes)| (name, bytes.len() as u64)).collect()
}

#[test]
fn a_flipped_bit_costs_the_entries_it_hits_and_no_others() {
    let (disk, truth, hard_state) = rich();
    let (mut localised, mut refused) = (0, 0);
    for (name, length) in segment_names(&disk) {
        for at in (0..length).step_by(3) {
            let disk = disk.fork();
            assert!(disk.flip_bit(&name, at, at as u32 * 5));
            match heals(&disk, &truth, &hard_state) {
                Some(count) if open_damaged(&disk).is_ok_and(|(_, _, damaged)| damaged) => {
                    panic!("{count} healed, and it is damaged still")
                }
                // A mark of a group takes no entry with it, a record of an entry one.
                Some(count) => {
                    assert!(count <= 4, "{name} {at}: {count}");
                    localised += usize::from(count > 0);
                }
                None => refused += 1,
            }
        }
    }
    // Refused: headers, opening groups, and the newest hard state.
    assert!(localised > 1000 && refused * 3 < localised, "{localised} {refused}");
}

#[test]
fn an_entry_alone_is_named_with_its_term_and_place() {
    let disk = filled(24);
    let (name, bytes) = disk.files().into_iter().next().unwrap();
    // The payload of entry 3 is 33 ones.
    let at = bytes.windows(8).position(|window| window == [1; 8]).unwrap() as u64;
    assert!(disk.flip_bit(&name, at, 0));
    let (log, recovered, is_damaged) = open_damaged(&disk).unwrap();
    assert!(is_damaged);
    assert_eq!(recovered.last_index, LogIndex(25));
    let offset = at - RECORD_HEADER_LEN as u64;
    let (index, term) = (LogIndex(3), Some(Term(1)));
    assert_eq!(log.damaged(), vec![Damaged { index, term, file: name, offset }]);
}

#[test]
fn lost_sectors_heal_wherever_they_are_and_however_many() {
    let (disk, truth, hard_state) = rich();
    let (mut healed, mut most) = (0, 0);
    for (name, length) in segment_names(&disk) {
        for size in [64, 512] {
            for at in (0..length).step_by(size) {
                let disk = disk.fork();
                let zeros = vec![0; size.min((length - at) as usize)];
                assert!(disk.overwrite(&name, at, &zeros));
                if let Some(count) = heals_or_is_a_tear(&disk, &truth, &hard_state) {
                    healed += usize::from(count > 0);
                    most = most.max(count);
                }
            }
        }
    }
    assert!(healed > 60 && most > 5, "{healed} {most}");
    // One sector in every segment but the last.
    let names = segment_names(&disk);
    for (name, _) in &names[..names.len() - 1] {
        assert!(disk.overwrite(name, 1024, &[0xaa; 256]));
    }
    let count = heals(&disk, &truth, &hard_state).expect("it heals");
    assert!(count >= names.len() - 1, "{count}");
}

/// As [`heals`]; but zeros at the very end take the proof with them, and look like a tear.
fn heals_or_is_a_tear(disk: &MemoryDisk, truth: &Truth, hard_state: &Bytes) -> Option<usize> {
    let last = truth.keys().next_back().map(|index| LogIndex(*index));
    match open_damaged(&disk.fork()) {
        Ok((log, _, _)) if Some(log.status().last_index) < last => None,
        _ => heals(disk, truth, hard_state),
    }
}

#[test]
fn what_was_never_committed_is_cut() {
    let (disk, truth, _) = rich();
    let last = *truth.keys().next_back().unwrap();
    // The last group but the idle mark.
    let (name, bytes) = disk.files().into_iter().rfind(|(n, _)| n.ends_with(".seg")).unwrap();
    let data = bytes.iter().rposition(|byte| *byte != 0).unwrap() as u64;
    assert!(disk.overwrite(&name, data - 200, &[0x55; 40]));
    let (mut log, _, _) = open_damaged(&disk).unwrap();
    let damaged = log.damaged();
    let first = damaged.first().expect("something is").index;
    assert!(first.0 + 3 > last, "{damaged:?}");
    assert!(log.cut_from(LogIndex(last + 1)).is_err());
    log.cut_from(first).unwrap();
    assert_eq!(log.damaged(), vec![]);
    let (mut log, recovered) = log.heal().unwrap();
    assert_eq!(recovered.last_index, first.previous());
    let cut: Truth = truth.into_iter().filter(|(index, _)| *index < first.0).collect();
    check_reads(&mut log, &cut);
    log.append(&entries(1, vec![command(first.0, 99, "on")]));
    assert_eq!(durable(&settle(&mut log, now()).unwrap()), Some(Seq(1)));
}

#[test]
fn what_is_supplied_must_be_that_entry_and_nothing_heals_before_all_is_there() {
    let (disk, truth, _) = rich();
    let (name, _) = &segment_names(&disk)[1];
    assert!(disk.overwrite(name, 1000, &[0x55; 300]));
    let (mut log, _, _) = open_damaged(&disk).unwrap();
    let damaged = log.damaged();
    assert!(damaged.len() > 1, "{damaged:?}");
    let right = truth[&damaged[0].index.0].clone();
    let wrong = Entry { term: Term(right.term.0 + 50), ..right.clone() };
    assert!(log.repair(wrong).unwrap_err().contains("term"));
    assert!(log.repair(truth[&1].clone()).unwrap_err().contains("not damaged"));
    log.repair(right).unwrap();
    assert_eq!(log.damaged().len(), damaged.len() - 1);
    let error = log.heal().map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("still missing"), "{error}");
    let (log, _, _) = open_damaged(&disk).unwrap();
    assert_eq!(log.damaged(), damaged, "as it was");
}

#[test]
#[should_panic(expected = "has not healed yet")]
fn a_damaged_log_takes_no_write() {
    let (disk, truth, _) = rich();
    let (name, _) = &segment_names(&disk)[1];
    assert!(disk.overwrite(name, 1000, &[0x55; 300]));
    let (mut log, _, _) = open_damaged(&disk).unwrap();
    let next = truth.keys().next_back().unwrap() + 1;
    log.append(&entries(1, vec![command(next, 99, "x")]));
}

#[test]
fn the_power_fails_at_every_step_of_healing() {
    let (disk, truth, hard_state) = rich();
    for (name, _) in &segment_names(&disk)[1..4] {
        assert!(disk.overwrite(name, 1024, &[0xaa; 256]));
    }
    let mut outcomes = (0, 0);
    for steps in 0.. {
        let mut done = false;
        for crash in [Crash::LoseUnsynced, Crash::LoseNothing]
            .into_iter()
            .chain((0..6).map(|seed| Crash::KeepSome(seed ^ steps << 8)))
        {
            let disk = disk.fork();
            let (mut log, _, _) = open_damaged(&disk).unwrap();
            repair_all(&mut log, &truth);
            disk.power_off_after(steps);
            done = log.heal().is_ok();
            disk.crash(crash);
            disk.power_off_after(steps % 4);
            let _ = open(&disk);
            disk.crash(crash);
            match open(&disk) {
                Ok((mut log, recovered)) => {
                    assert_eq!(recovered.hard_state, hard_state);
                    check_reads(&mut log, &truth);
                    assert_eq!(segment_names(&disk).len(), 1, "the old ones are gone");
                    outcomes.0 += 1;
                }
                Err(_) => {
                    assert!(heals(&disk, &truth, &hard_state).is_some_and(|count| count > 0));
                    outcomes.1 += 1;
                }
            }
        }
        if done {
            break;
        }
    }
    assert!(outcomes.0 > 10 && outcomes.1 > 10, "{outcomes:?}");
}

#[test]
fn damage_that_a_snapshot_covers_needs_nobody() {
    let disk = filled(24);
    let (mut log, _) = opened(&disk);
    snapshots::take(&mut log, &snapshots::mark(20, 1));
    log.append(&snapshots::marked(1, snapshots::mark(20, 1), false));
    log.append(&entries(2, vec![command(26, 2, "x")]));
    settle(&mut log, now()).unwrap();
    settle(&mut log, Instant::from_millis(500)).unwrap();
    let whole = snapshots::read_rest(&mut log);
    drop(log);
    let (name, _) = &segment_names(&disk)[0];
    assert!(disk.overwrite(name, 900, &[0x11; 100]));
    assert!(open(&disk).is_err());
    let (log, _, is_damaged) = open_damaged(&disk).unwrap();
    assert!(is_damaged && log.damaged().is_empty());
    let (mut log, recovered) = log.heal().unwrap();
    assert_eq!(recovered.snapshot, snapshots::mark(20, 1));
    let first = log.status().first_index.0 as usize;
    assert!(first > 1 && first <= 21);
    assert_eq!(snapshots::read_rest(&mut log), whole[first - 1..]);
}

/// A damaged log that has received the snapshot of `mark` from another.
fn with_received(disk: &MemoryDisk, mark: &SnapshotMark) -> SegmentLog<MemoryDisk> {
    let (mut other, _) = opened(&filled(24));
    snapshots::take(&mut other, mark);
    let (mut log, _, _) = open_damaged(disk).unwrap();
    let event = snapshots::copy(&mut other, &mut log, mark.index.0, 200);
    assert_eq!(event, LogEvent::SnapshotReceived { snapshot: mark.clone() });
    log
}

#[test]
fn a_snapshot_stands_for_what_it_covers_and_what_follows_stays_if_it_follows() {
    let (disk, truth, hard_state) = rich();
    for (name, _) in &segment_names(&disk)[1..3] {
        assert!(disk.overwrite(name, 900, &[0x55; 200]));
    }
    let damaged = open_damaged(&disk).unwrap().0.damaged();
    let last = *truth.keys().next_back().unwrap();
    let mut kept = 0;
    for at in damaged[0].index.0..last + 3 {
        for other in [0, 1] {
            let own = truth.get(&at).map_or(Term(99), |entry| entry.term);
            let mark = snapshots::mark(at, own.0 + other);
            let mut log = with_received(&disk.fork(), &mark);
            if let Err(why) = log.adopt_snapshot(&mark) {
                assert!(why.contains("are damaged with them"), "{at}: {why}");
                continue;
            }
            let missing = log.damaged();
            for Damaged { index, .. } in &missing {
                log.repair(truth[&index.0].clone()).unwrap();
            }
            let (mut log, recovered) = log.heal().unwrap();
            assert_eq!((&recovered.snapshot, &recovered.hard_state), (&mark, &hard_state));
            let rest: Truth = truth.range(at + 1..).map(|(i, entry)| (*i, entry.clone())).collect();
            let follows = recovered.last_index.0 > at;
            let was_whole = !damaged.iter().any(|damaged| damaged.index.0 == at);
            if other == 0 || was_whole {
                assert_eq!(follows, other == 0 && at < last, "{at} {other}");
            }
            match follows {
                true => check_reads(&mut log, &rest),
                false => assert!(recovered.last_index.0 == at && missing.is_empty()),
            }
            kept += u64::from(follows);
        }
    }
    assert!(kept > 10, "{kept}");
    let (mut log, _, _) = open_damaged(&disk).unwrap();
    let error = log.adopt_snapshot(&snapshots::mark(last, 9)).unwrap_err();
    assert!(error.contains("there is no snapshot"), "{error}");
}

#[test]
fn the_power_fails_at_every_step_of_healing_with_a_snapshot() {
    let (disk, truth, hard_state) = rich();
    let (name, _) = &segment_names(&disk)[1];
    assert!(disk.overwrite(name, 900, &[0x55; 200]));
    let at = open_damaged(&disk).unwrap().0.damaged().last().unwrap().index.0 + 2;
    let mark = snapshots::mark(at, truth[&at].term.0);
    let rest: Truth = truth.range(at + 1..).map(|(i, entry)| (*i, entry.clone())).collect();
    let mut outcomes = (0, 0);
    for steps in 0.. {
        let disk = disk.fork();
        let mut log = with_received(&disk, &mark);
        log.adopt_snapshot(&mark).unwrap();
        disk.power_off_after(steps);
        let done = log.heal().is_ok();
        disk.crash(if steps % 2 == 0 { Crash::LoseUnsynced } else { Crash::KeepSome(steps) });
        match open(&disk) {
            Ok((mut log, recovered)) => {
                assert_eq!((&recovered.snapshot, &recovered.hard_state), (&mark, &hard_state));
                check_reads(&mut log, &rest);
                outcomes.0 += 1;
            }
            Err(_) => {
                assert!(heals(&disk, &truth, &hard_state).is_some_and(|count| count > 0));
                outcomes.1 += 1;
            }
        }
        if done {
            break;
        }
    }
    assert!(outcomes.0 > 2 && outcomes.1 > 2, "{outcomes:?}");
}

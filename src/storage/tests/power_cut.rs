//! The power fails at every step of a workload that does everything the log can do.
//!
//! The workload crosses several changes of segment, truncations within a segment and across one,
//! changes of hard state and configuration; a snapshot is taken, one is received that the log goes
//! on from, one that it is discarded for; it is compacted behind each. Then the same with one
//! failure instead of a cut: every sync in turn fails, every request for space in turn is refused.

use super::life::*;
use super::*;
use crate::museum::{Bug, Bugs};

fn workload() -> Vec<Action> {
    let write = |i: u64| Action {
        truncate_back: match i {
            5 => Some(3),
            9 => Some(8),
            16 => Some(2),
            _ => None,
        },
        entries: if i == 9 { 1 } else { 2 },
        payload: 70 + i as usize * 9,
        configuration: matches!(i, 4 | 11).then_some(i / 2 + 2),
        hard_state: i.is_multiple_of(3).then_some(i),
        snapshot: match i {
            7 => Some(Snapshot::Take { back: 1 }),
            12 => Some(Snapshot::ReceiveOld { back: 2 }),
            14 => Some(Snapshot::ReceiveNew { ahead: 5 }),
            19 => Some(Snapshot::Take { back: 0 }),
            _ => None,
        },
        steps: if matches!(i, 12 | 14) { 12 } else { 4 },
        wait: matches!(i, 6 | 13 | 18),
    };
    (1..=21).map(write).collect()
}

#[test]
fn recovery_is_right_after_a_cut_at_every_step() {
    let seeds = [1, 2, 3, 4, 5, 6];
    let seen = crash_everywhere(&workload(), &seeds, |_| {}).unwrap_or_else(|e| panic!("{e}"));
    let all = ["compacted", "discarded", "kept", "received", "saved"];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all, "the workload does it all");
}

#[test]
fn the_checker_notices_when_syncs_are_taken_out() {
    let error = crash_everywhere(&workload(), &[1], |trial| trial.ignore_syncs = true);
    assert!(error.unwrap_err().contains("was durable"));
}

fn with(bug: Bug) -> impl Fn(&mut Trial) {
    move |trial| trial.options.bugs = Bugs::only(bug)
}

#[test]
fn the_checker_notices_an_acknowledgement_before_the_disk() {
    let error = crash_everywhere(&workload(), &[], with(Bug::AckBeforeDisk)).unwrap_err();
    assert!(error.contains("was durable"), "{error}");
}

#[test]
fn the_checker_notices_a_log_compacted_past_its_snapshot() {
    let error = crash_everywhere(&workload(), &[], with(Bug::CompactionGap)).unwrap_err();
    assert!(error.contains("no snapshot covers what is before"), "{error}");
}

/// Runs the workload while the sync after `syncs` others fails. `None`: there are not so many.
fn sync_fails_after(syncs: u64, trial: &Trial) -> Option<Result<(), String>> {
    let disk = new_disk();
    let (mut log, _) = trial.open(&disk).unwrap();
    disk.set_stepped(true);
    disk.fail_one_sync_after(syncs);
    let mut life = Life::new(State::first());
    let ran = life.run(&mut log, &workload());
    if disk.failure_is_due() {
        return None;
    }
    Some(match ran {
        Ok(()) if trial.options.bugs == Bugs::none() => Err("the log went on".to_owned()),
        Err(error) if log.poll(life.now) != Err(error.clone()) => Err("it did not last".to_owned()),
        _ => {
            drop(log);
            disk.crash(Crash::LoseUnsynced);
            disk.set_stepped(false);
            trial.go_on(&disk, &life, &workload(), syncs)
        }
    })
}

#[test]
fn a_sync_that_fails_is_final_wherever_it_is_and_nothing_durable_is_lost() {
    let trial = Trial::new(Crash::LoseUnsynced);
    let mut count = 0;
    while let Some(result) = sync_fails_after(count, &trial) {
        assert_eq!(result, Ok(()), "sync {count}");
        count += 1;
    }
    assert!(count > 60, "{count}");
}

#[test]
fn the_checker_notices_a_sync_that_is_tried_again_and_believed() {
    let mut trial = Trial::new(Crash::LoseUnsynced);
    trial.options.bugs = Bugs::only(Bug::SyncRetried);
    let lost = (0..).map_while(|syncs| sync_fails_after(syncs, &trial));
    let lost: Vec<String> = lost.filter_map(Result::err).collect();
    // The groups after it were written, and prove that it had been taken for durable.
    assert!(lost.iter().any(|error| error.contains("were durable are unreadable")), "{lost:?}");
}

#[test]
fn a_disk_that_is_full_once_costs_time_and_nothing_else() {
    let trial = Trial::new(Crash::LoseUnsynced);
    let mut seen = std::collections::BTreeSet::new();
    for requests in 0.. {
        let disk = new_disk();
        disk.refuse_space_once_after(requests);
        let (mut log, _) = trial.open(&disk).unwrap();
        disk.set_stepped(true);
        let mut life = Life::new(State::first());
        life.run(&mut log, &workload()).unwrap();
        assert_eq!(life.durable as usize, life.states.len() - 1, "all was written: {requests}");
        seen.extend(life.seen.iter().copied());
        let done = disk.failure_is_due();
        drop(log);
        disk.crash(Crash::LoseUnsynced);
        disk.set_stepped(false);
        disk.refuse_space_once_after(u64::MAX);
        let gone_on = trial.go_on(&disk, &life, &workload(), requests);
        assert_eq!(gone_on, Ok(()), "request {requests}");
        if done {
            assert!(requests > 20, "{requests}");
            break;
        }
    }
    assert!(seen.contains("failed") && seen.contains("rejected"), "{seen:?}");
}

//! Faults of disks.

use std::time::{Duration, Instant};

use kvraft::chaos::{NodeFault, Who, Wish};
use kvraft::client::{Client, Options};
use kvraft::control::State;
use kvraft::storage::inspect::{Inspection, inspect};
use kvraft::storage::{FileView, Recovered, Trouble};
use kvraft::testing::Cluster;
use kvraft::types::{LogIndex, NodeId};

use super::support::{nothing_is_left, on, state, until};

fn disk(who: Who, trouble: Trouble) -> Wish {
    on(who, NodeFault::Disk(trouble))
}

fn well() -> Trouble {
    Trouble::default()
}

fn follower(cluster: &Cluster) -> NodeId {
    let leader = cluster.leader().unwrap();
    cluster.nodes().into_iter().find(|id| *id != leader).unwrap()
}

/// What is in the log of a node that does not run.
fn look(cluster: &Cluster, id: NodeId) -> Inspection {
    let view = FileView::open(&cluster.directory().node(id).log_directory()).unwrap();
    inspect(view, &mut |_| {}).unwrap()
}

#[test]
fn slow_disks_make_writes_slow_and_full_ones_refuse_them() {
    let cluster = Cluster::start(5).unwrap();
    cluster.put("a", "before").unwrap();
    let delay = Duration::from_millis(60);
    cluster.inject(disk(Who::All, Trouble { delay_millis: 60, ..well() })).unwrap();
    let begin = Instant::now();
    cluster.put("a", "slow").unwrap();
    assert!(begin.elapsed() >= delay, "{:?}", begin.elapsed());
    cluster.heal(&[]).unwrap();
    nothing_is_left(&cluster);

    cluster.inject(disk(Who::All, Trouble { full: true, ..well() })).unwrap();
    let endpoints = cluster.endpoints().unwrap();
    let options = Options { timeout: Duration::from_millis(700), ..Options::default() };
    let client = cluster.block_on(Client::connect(&endpoints, options)).unwrap();
    cluster.block_on(client.put("a", "no room")).unwrap_err();
    until("it is seen that they are full", || {
        let status = cluster.status().unwrap();
        status.nodes.iter().any(|it| it.report.as_ref().is_some_and(|report| report.disk_full))
    });
    cluster.heal(&[]).unwrap();
    until("they are seen to have room again", || {
        let status = cluster.status().unwrap();
        status.nodes.iter().all(|it| it.report.as_ref().is_some_and(|report| !report.disk_full))
    });
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn a_disk_that_fails_ends_its_node_which_comes_back_when_it_is_healed() {
    let cluster = Cluster::start(5).unwrap();
    let exit = |id: NodeId| cluster.status().unwrap().node(id).unwrap().last_exit.clone();
    for (trouble, again) in [
        (Trouble { write_errors: 1.0, ..well() }, false),
        // It reads when it starts.
        (Trouble { read_errors: 1.0, ..well() }, true),
    ] {
        let victim = follower(&cluster);
        cluster.inject(disk(Who::Node(victim), trouble)).unwrap();
        if again {
            // It does not come up: what is refused is that it runs.
            cluster.restart(victim).unwrap_err();
        }
        until("it was given up", || {
            cluster.put("a", "b").unwrap();
            state(&cluster, victim) == State::CrashLooping
        });
        assert!(exit(victim).unwrap().starts_with("exit code"), "{:?}", exit(victim));
        cluster.heal(&[]).unwrap();
        until("it runs", || state(&cluster, victim) == State::Running);
        nothing_is_left(&cluster);
    }
    cluster.down().unwrap();
}

#[test]
fn one_failed_sync_ends_a_node_once() {
    let cluster = Cluster::start(5).unwrap();
    let leader = cluster.leader().unwrap();
    let lives = || cluster.status().unwrap().node(leader).unwrap().restarts;
    let before = lives();
    cluster.inject(disk(Who::Leader, Trouble { sync_error: true, ..well() })).unwrap();
    until("it has ended and runs again", || {
        cluster.put("a", "b").unwrap();
        lives() > before && state(&cluster, leader) == State::Running
    });
    // It is in force still, and has had its effect.
    assert_eq!(cluster.faults().unwrap()[0].spent, [leader].into());
    for _ in 0..20 {
        cluster.put("a", "c").unwrap();
    }
    assert_eq!(lives(), before + 1);
    cluster.heal(&[]).unwrap();
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

/// What is in the log of a leader that is killed while it syncs an entry. Its disk is in `trouble`,
/// and syncs take `delay_millis`; `written`: whether what must be in its file is there.
fn killed_before_the_sync(
    trouble: Trouble,
    delay_millis: u64,
    written: impl Fn(&Recovered, LogIndex) -> bool,
) {
    let cluster = Cluster::start(5).unwrap();
    nothing_is_left(&cluster);
    let leader = cluster.leader().unwrap();
    let reported = |id| {
        let status = cluster.status().unwrap();
        status.node(id).and_then(|it| it.report.clone()).unwrap()
    };
    let loses = trouble.lose_unsynced || trouble.torn;
    cluster.inject(disk(Who::Leader, Trouble { delay_millis, ..trouble })).unwrap();
    let before = reported(leader);
    assert_eq!(before.durable_index, before.last_index);
    cluster.put("a", "on the others' disks").unwrap();
    until("the leader says that it has it", || reported(leader).last_index > before.last_index);
    let had = reported(leader).last_index;
    until("its file has what it must", || {
        look(&cluster, leader).recovered.is_ok_and(|(recovered, _)| written(&recovered, had))
    });
    cluster.inject(on(Who::Node(leader), NodeFault::Kill)).unwrap();
    let (recovered, _) = look(&cluster, leader).recovered.unwrap();
    assert!(written(&recovered, had), "{recovered:?}");
    assert_eq!(recovered.last_index < had, loses, "{:?} of {had:?}", recovered.last_index);
    cluster.heal(&[]).unwrap();
    assert_eq!(cluster.get("a").unwrap().unwrap(), "on the others' disks");
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn a_killed_node_has_what_it_wrote_for_a_kill_is_no_power_cut() {
    // The cluster may have had something of its own to write, behind it.
    killed_before_the_sync(well(), 2_000, |recovered, had| recovered.last_index >= had);
}

#[test]
fn a_killed_node_loses_what_its_disk_forgets() {
    let forgets = Trouble { lose_unsynced: true, ..well() };
    killed_before_the_sync(forgets, 60_000, |recovered, had| recovered.last_index < had);
}

#[test]
fn a_killed_node_recovers_from_a_torn_write() {
    let tears = Trouble { torn: true, ..well() };
    killed_before_the_sync(tears, 60_000, |recovered, _| recovered.tear.is_some());
}

#[test]
fn a_flipped_bit_is_found_and_repaired_from_the_others() {
    let cluster = Cluster::start(5).unwrap();
    for number in 0..20 {
        cluster.put(&format!("key {number}"), vec![b'x'; 2000]).unwrap();
    }
    nothing_is_left(&cluster);
    let victim = follower(&cluster);
    cluster.inject(on(Who::Node(victim), NodeFault::Corrupt { segment: Some(0) })).unwrap();
    assert_eq!(state(&cluster, victim), State::Stopped);
    assert!(look(&cluster, victim).is_damaged);
    let told = cluster.events().unwrap();
    assert!(told.iter().any(|event| event.kind == "log-corrupted"), "{told:?}");
    cluster.heal(&[]).unwrap();
    until("it runs", || state(&cluster, victim) == State::Running);
    nothing_is_left(&cluster);
    cluster.stop(victim).unwrap();
    assert!(!look(&cluster, victim).is_damaged);
    cluster.start_node(victim).unwrap();
    cluster.down().unwrap();
}

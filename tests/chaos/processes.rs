//! Faults of processes: dead, dying again and again, starved.

use std::collections::BTreeSet;
use std::time::Duration;

use kvraft::chaos::{Injection, NodeFault, Who, Wish};
use kvraft::control::State;
use kvraft::supervisor::process::Identity;
use kvraft::testing::Cluster;
use kvraft::types::NodeId;

use super::support::{nothing_is_left, on, state, until};

fn pid(cluster: &Cluster, id: NodeId) -> Option<u32> {
    cluster.status().unwrap().node(id).unwrap().pid
}

/// A node that a fault keeps down is down until it ends, and the others go on.
fn keeps_down(cluster: &Cluster, kind: NodeFault) {
    let leader = cluster.leader().unwrap();
    let fault = cluster.inject(on(Who::Leader, kind.clone())).unwrap().fault;
    assert_eq!(fault.nodes, [leader].into(), "{kind}");
    assert_eq!((state(cluster, leader), pid(cluster, leader)), (State::Stopped, None), "{kind}");
    cluster.put("without", "the old leader").unwrap();
    assert_ne!(cluster.leader().unwrap(), leader);
    // A second one wants the same: the node stays down until that is healed, too.
    let second = cluster.inject(on(Who::Node(leader), NodeFault::Kill)).unwrap().fault;
    // A new supervisor knows that it is meant to be down.
    cluster.kill_supervisor().unwrap();
    let receipt = cluster.heal(&[fault.id]).unwrap();
    assert_eq!((receipt.healed.len(), receipt.healed[0].at_begin.leader), (1, Some(leader)));
    assert_eq!(state(cluster, leader), State::Stopped, "{kind}");
    cluster.heal(&[second.id]).unwrap();
    until("it runs", || state(cluster, leader) == State::Running);
    nothing_is_left(cluster);
}

#[test]
fn who_is_killed_or_terminated_stays_away_until_it_is_healed() {
    let cluster = Cluster::start(5).unwrap();
    keeps_down(&cluster, NodeFault::Kill);
    keeps_down(&cluster, NodeFault::Terminate);

    // Its time is over although nobody was there to see it.
    let victim = cluster.leader().unwrap();
    cluster.inject_for(on(Who::Leader, NodeFault::Kill), Duration::from_millis(300)).unwrap();
    cluster.kill_supervisor().unwrap();
    until("it runs again", || state(&cluster, victim) == State::Running);
    assert_eq!(cluster.faults().unwrap(), []);

    // Somebody starts what a fault stopped: then there is no such fault any more.
    cluster.inject(on(Who::Node(victim), NodeFault::Kill)).unwrap();
    cluster.start_node(victim).unwrap();
    until("it is seen that it runs", || cluster.faults().unwrap().is_empty());

    // What a person stopped is nobody's to kill, and nobody's to start.
    cluster.stop(victim).unwrap();
    let refused = cluster.inject(on(Who::Node(victim), NodeFault::Kill)).unwrap_err().to_string();
    assert!(refused.contains("no process"), "{refused}");
    assert_eq!(state(&cluster, victim), State::Stopped);
    cluster.start_node(victim).unwrap();

    // Not even what a fault had stopped before.
    cluster.inject(on(Who::Node(victim), NodeFault::Kill)).unwrap();
    cluster.stop(victim).unwrap();
    cluster.heal(&[]).unwrap();
    assert_eq!(state(&cluster, victim), State::Stopped);
    cluster.start_node(victim).unwrap();

    let injected = cluster.inject(on(Who::All, NodeFault::Kill)).unwrap();
    assert!(injected.warning.unwrap().contains("no majority"));
    cluster.heal(&[]).unwrap();
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn a_crash_loop_kills_again_and_again_and_is_not_given_up() {
    let cluster = Cluster::start(5).unwrap();
    let victim = NodeId(3);
    let fault = NodeFault::CrashLoop { every_millis: 100 };
    cluster.inject(on(Who::Node(victim), fault)).unwrap();
    let mut lives = BTreeSet::new();
    until("it has had eight lives", || {
        lives.extend(pid(&cluster, victim));
        lives.len() >= 8
    });
    cluster.kill_supervisor().unwrap();
    let so_far = lives.len();
    until("the next supervisor goes on with it", || {
        lives.extend(pid(&cluster, victim));
        lives.len() >= so_far + 2
    });
    let healed = cluster.heal(&[]).unwrap().healed;
    let starts = healed[0].at_end.starts - healed[0].at_begin.starts;
    assert!(starts + 1 >= lives.len() as u64, "{healed:?}, {lives:?}");
    until("it runs", || state(&cluster, victim) == State::Running);
    let last = pid(&cluster, victim);
    nothing_is_left(&cluster);
    for _ in 0..20 {
        cluster.put("a", "b").unwrap();
    }
    assert_eq!(pid(&cluster, victim), last);
    cluster.down().unwrap();
}

/// The letter that the system shows for what a process is doing; `T` for one that stands still.
fn does(pid: u32) -> char {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.chars().next().unwrap()
}

/// What the supervisor has written down.
fn state_file(cluster: &Cluster) -> serde_json::Value {
    let text = std::fs::read_to_string(cluster.directory().supervisor_json()).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The guards that the supervisor knows of.
fn guards(cluster: &Cluster) -> Vec<Identity> {
    let state = state_file(cluster);
    let guards = state["chaos"]["guards"].as_array().unwrap();
    guards.iter().map(|guard| serde_json::from_value(guard["process"].clone()).unwrap()).collect()
}

#[test]
fn a_slow_node_stands_still_for_a_part_of_its_time() {
    let cluster = Cluster::start(5).unwrap();
    let victim = NodeId(2);
    cluster.inject(on(Who::Node(victim), NodeFault::SlowCpu { share: 0.4 })).unwrap();
    let comes_and_goes = |cluster: &Cluster| {
        let pid = pid(cluster, victim).unwrap();
        for _ in 0..3 {
            until("it stands still", || does(pid) == 'T');
            until("it goes on", || does(pid) != 'T');
        }
    };
    comes_and_goes(&cluster);
    // It is not paused: it answers.
    cluster.put("a", "b").unwrap();
    assert_ne!(state(&cluster, victim), State::Paused);
    let refused = cluster.inject(on(Who::Node(victim), NodeFault::Pause)).unwrap_err();
    assert!(refused.to_string().contains("slowed down"), "{refused}");
    // So is its next life, and the next supervisor knows.
    cluster.kill(victim).unwrap();
    until("it runs", || state(&cluster, victim) == State::Running);
    comes_and_goes(&cluster);
    cluster.kill_supervisor().unwrap();
    until("it is known to run", || state(&cluster, victim) == State::Running);
    comes_and_goes(&cluster);

    // Its guard is killed while it stands still: another supervisor's, whose end is heard all the
    // same.
    let guard = guards(&cluster).into_iter().find(|guard| guard.is_alive().unwrap()).unwrap();
    until("it stands still", || does(pid(&cluster, victim).unwrap()) == 'T');
    let number = nix::unistd::Pid::from_raw(guard.pid as i32);
    nix::sys::signal::kill(number, nix::sys::signal::Signal::SIGKILL).unwrap();
    until("it goes on", || does(pid(&cluster, victim).unwrap()) != 'T');

    cluster.heal(&[]).unwrap();
    assert_eq!(guards(&cluster), []);
    cluster.inject(on(Who::Node(victim), NodeFault::SlowCpu { share: 0.1 })).unwrap();
    let guard = guards(&cluster).remove(0);
    until("it stands still", || does(pid(&cluster, victim).unwrap()) == 'T');
    cluster.heal(&[]).unwrap();
    assert!(!guard.is_alive().unwrap());
    assert_ne!(does(pid(&cluster, victim).unwrap()), 'T');
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

/// The first leaves the node to the second, and the second has to take it over.
#[test]
fn one_fault_ends_while_another_begins_that_wants_the_same() {
    let cluster = Cluster::start(5).unwrap();
    let victim = NodeId(2);
    for (kind, held) in [
        (NodeFault::Kill, State::Stopped),
        (NodeFault::Terminate, State::Stopped),
        (NodeFault::Pause, State::Paused),
    ] {
        let wish = || on(Who::Node(victim), kind.clone());
        let first = cluster.inject(wish()).unwrap().fault;
        let injection = Injection {
            wish: wish(),
            flap: None,
            duration_millis: Some(60_000),
            by: "a test".to_owned(),
            blind: false,
        };
        // Asked for one right after the other: the second is written down, not yet done, when the
        // first is ended.
        let (second, healed) = cluster.block_on(async {
            let supervisor = cluster.supervisor().await.unwrap();
            let (first, ids) = (supervisor.inject(&injection, true), [first.id]);
            tokio::join!(first, supervisor.heal(&ids))
        });
        assert_eq!(healed.unwrap().healed.len(), 1, "{kind}");
        let second = second.unwrap().fault;
        assert_eq!(cluster.faults().unwrap().len(), 1, "{kind}");
        assert_eq!(state(&cluster, victim), held, "{kind}");
        cluster.heal(&[second.id]).unwrap();
        until("it runs", || state(&cluster, victim) == State::Running);
    }
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

/// A fault is written down before it is done, and a supervisor may die in between.
#[test]
fn what_was_written_down_and_not_done_is_done_later_or_over() {
    let cluster = Cluster::start(5).unwrap();
    let (slow, spared) = (NodeId(2), NodeId(3));
    let killed = cluster.inject(on(Who::Node(spared), NodeFault::Kill)).unwrap().fault;
    let written = state_file(&cluster)["chaos"]["faults"][0].clone();
    cluster.heal(&[killed.id]).unwrap();
    until("it runs", || state(&cluster, spared) == State::Running);
    cluster.inject(on(Who::Node(slow), NodeFault::SlowCpu { share: 0.3 })).unwrap();
    let guard = guards(&cluster).remove(0);
    let before = pid(&cluster, spared);

    cluster.kill_supervisor().unwrap();
    let number = nix::unistd::Pid::from_raw(guard.pid as i32);
    nix::sys::signal::kill(number, nix::sys::signal::Signal::SIGKILL).unwrap();
    let mut state_of_old = state_file(&cluster);
    state_of_old["chaos"]["guards"] = serde_json::json!([]);
    state_of_old["chaos"]["faults"].as_array_mut().unwrap().push(written);
    let path = cluster.directory().supervisor_json();
    std::fs::write(path, serde_json::to_vec(&state_of_old).unwrap()).unwrap();

    // What was to be killed lives: that fault is over. What was to be slow is slow.
    until("only one is in force", || cluster.faults().unwrap().len() == 1);
    assert_eq!(cluster.faults().unwrap()[0].nodes, [slow].into());
    assert_eq!((state(&cluster, spared), pid(&cluster, spared)), (State::Running, before));
    let number = pid(&cluster, slow).unwrap();
    for _ in 0..3 {
        until("it stands still", || does(number) == 'T');
        until("it goes on", || does(number) != 'T');
    }
    cluster.heal(&[]).unwrap();
    assert_ne!(does(number), 'T');
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

/// How much memory the data of a process may take.
fn limit(pid: u32) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    line.split_ascii_whitespace().nth(3).unwrap().to_owned()
}

#[test]
fn a_node_that_needs_more_memory_than_it_may_have_ends_and_comes_back() {
    let cluster = Cluster::start(5).unwrap();
    let victim = cluster.nodes().into_iter().find(|id| *id != cluster.leader().unwrap()).unwrap();
    let before = limit(pid(&cluster, victim).unwrap());
    let of = |bytes| on(Who::Node(victim), NodeFault::Memory { bytes });
    let generous = cluster.inject(of(1 << 30)).unwrap().fault;
    assert_eq!(limit(pid(&cluster, victim).unwrap()), (1 << 30).to_string());
    let first = pid(&cluster, victim);
    cluster.inject(of(1 << 20)).unwrap();
    // The smaller one holds, for this process and for the next.
    until("it has ended", || {
        for _ in 0..4 {
            cluster.put("large", vec![7; 256 << 10]).unwrap();
        }
        pid(&cluster, victim) != first
    });
    cluster.heal(&[]).unwrap();
    assert!(cluster.heal(&[generous.id]).is_err());
    until("it runs", || state(&cluster, victim) == State::Running);
    until("it may have what it had", || {
        pid(&cluster, victim).is_some_and(|pid| limit(pid) == before)
    });
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn what_makes_no_sense_is_refused_and_breaks_nothing() {
    let cluster = Cluster::start(3).unwrap();
    for (wrong, why) in [
        (NodeFault::SlowCpu { share: 1.5 }, "1 % to 99 %"),
        (NodeFault::CrashLoop { every_millis: 0 }, "every 10 ms at most"),
        (NodeFault::Memory { bytes: 0 }, "without memory"),
        (NodeFault::Corrupt { segment: Some(77) }, "no segment 77"),
    ] {
        let refused = cluster.inject(on(Who::Node(NodeId(1)), wrong)).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
    }
    let several = Wish::Node { nodes: vec![Who::All], fault: NodeFault::Corrupt { segment: None } };
    let refused = cluster.inject(several).unwrap_err().to_string();
    assert!(refused.contains("one node at a time"), "{refused}");
    assert_eq!(cluster.faults().unwrap(), []);
    cluster.wait_ready().unwrap();
    cluster.down().unwrap();
}

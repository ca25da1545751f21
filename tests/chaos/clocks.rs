//! Faults of clocks: what elections make of them.

use kvraft::chaos::{ClockFault, NodeFault, Who};
use kvraft::testing::Cluster;
use kvraft::types::Term;

use super::support::{nothing_is_left, on, until};

fn term(cluster: &Cluster) -> Term {
    cluster.status().unwrap().term
}

fn clock(who: Who, fault: ClockFault) -> kvraft::chaos::Wish {
    on(who, NodeFault::Clock(fault))
}

/// A leader whose clock does this is succeeded by another, and all is well when it is healed.
fn costs_the_leadership(cluster: &Cluster, fault: ClockFault) {
    let (leader, before) = (cluster.leader().unwrap(), term(cluster));
    cluster.inject(clock(Who::Node(leader), fault)).unwrap();
    until("another one leads", || {
        let status = cluster.status().unwrap();
        status.term > before && status.leader.is_some_and(|new| new != leader)
    });
    let receipt = cluster.heal(&[]).unwrap();
    assert!(receipt.healed[0].at_end.term > receipt.healed[0].at_begin.term, "{receipt:?}");
    nothing_is_left(cluster);
}

#[test]
fn a_leader_whose_clock_is_too_slow_is_succeeded() {
    let cluster = Cluster::start(5).unwrap();
    // It sends no heartbeats while the time between two of them does not pass.
    costs_the_leadership(&cluster, ClockFault::Stop);
    costs_the_leadership(&cluster, ClockFault::Drift { rate: 0.02 });
    costs_the_leadership(&cluster, ClockFault::Jump { millis: -5_000 });
    cluster.down().unwrap();
}

#[test]
fn a_leader_whose_clock_jumps_ahead_thinks_that_all_have_been_silent() {
    let cluster = Cluster::start(5).unwrap();
    let before = term(&cluster);
    // One jump may come just after everybody has answered; a strobe does not miss.
    let strobe = ClockFault::Strobe { millis: 5_000, every_millis: 60 };
    cluster.inject(clock(Who::All, strobe)).unwrap();
    until("somebody stands for election", || term(&cluster) > before);
    cluster.heal(&[]).unwrap();
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

#[test]
fn a_jump_is_made_once_and_not_again_by_a_node_that_starts() {
    let cluster = Cluster::start(5).unwrap();
    let jumps = |cluster: &Cluster| {
        cluster.inject(clock(Who::All, ClockFault::Jump { millis: 60_000 })).unwrap().fault
    };
    // A minute has passed for everybody: who followed has heard nothing for a minute.
    let before = term(&cluster);
    until("somebody stands for election", || {
        jumps(&cluster);
        term(&cluster) > before
    });
    // It is over by itself.
    until("no fault is left", || cluster.faults().unwrap().is_empty());
    let follower = cluster.nodes().into_iter().find(|id| *id != cluster.leader().unwrap()).unwrap();
    let fault = jumps(&cluster);
    assert!(fault.until_millis.is_some());
    cluster.restart(follower).unwrap();
    cluster.heal(&[]).unwrap();
    nothing_is_left(&cluster);
    cluster.down().unwrap();
}

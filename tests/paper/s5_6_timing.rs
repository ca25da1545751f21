//! Section 5.6: timing and availability.

use kvraft::consensus::{Config, Role};
use kvraft::types::NodeId;

use crate::server::{append, server};

/// "broadcastTime ≪ electionTimeout": several heartbeats fit in the shortest time-out.
#[test]
fn several_heartbeats_fit_in_a_time_out() {
    let config = Config::new(NodeId(1), 1);
    assert!(config.heartbeat_interval * 3 <= config.election_timeout.start);
}

/// §5.2, §5.6: leaders "send heartbeat messages … to keep followers from starting elections".
#[test]
fn heartbeats_keep_followers_from_standing() {
    let mut server = server();
    for _ in 0..200 {
        server.receive(2, append(2, (1, 1), vec![], 0));
        server.elapse(50);
        assert_eq!((server.role(), server.term()), (Role::Follower, 2));
    }
}

/// "Safety must not depend on timing": a clock that jumps makes a server ask, and no more.
#[test]
fn a_jump_of_the_clock_costs_an_election_at_most() {
    let mut server = server();
    server.receive(2, append(2, (1, 1), vec![], 0));
    server.now = server.now + std::time::Duration::from_secs(3600);
    server.elapse(0);
    assert_eq!((server.role(), server.term()), (Role::PreCandidate, 2));
    server.receive(2, append(2, (1, 1), vec![], 0));
    assert_eq!((server.role(), server.term()), (Role::Follower, 2));
}

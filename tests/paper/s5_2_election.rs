//! Section 5.2: leader election.

use std::collections::BTreeSet;

use kvraft::consensus::raft::Message;
use kvraft::consensus::{Config, Consensus, Role};
use kvraft::types::{Instant, NodeId};

use crate::server::{
    Server, append, entry, request_vote, says_yes, server, told, vote, would_vote,
};

/// "When servers start up, they begin as followers."
#[test]
fn a_server_starts_as_a_follower() {
    assert_eq!(server().role(), Role::Follower);
}

/// "Leaders send periodic heartbeats to all followers", "AppendEntries RPCs that carry no log
/// entries".
#[test]
fn a_leader_sends_heartbeats_to_all() {
    let mut server = Server::new(5, &[]);
    server.win();
    for id in 2..=5 {
        server.receive(id, crate::server::matched(server.term(), 2));
    }
    let said = server.elapse(50);
    let heartbeat =
        |m: &Message| matches!(m, Message::AppendEntries { entries, .. } if entries.is_empty());
    assert_eq!(told(&said, heartbeat), [2, 3, 4, 5]);
    assert_eq!(told(&server.elapse(50), heartbeat), [2, 3, 4, 5], "again and again");
}

/// "If a follower receives no communication over a period of time called the election timeout", it
/// "increments its current term and transitions to candidate state"; it "votes for itself and
/// issues RequestVote RPCs in parallel". (Between the two it asks for pre-votes: dissertation 9.6.)
#[test]
fn a_follower_that_hears_nothing_stands_for_election() {
    let mut server = server();
    assert!(server.elapse(149).is_empty(), "not before its time");
    let said = server.elapse(151);
    assert_eq!(told(&said, |m| matches!(m, Message::PreVote { .. })), [2, 3]);
    assert_eq!((server.role(), server.term()), (Role::PreCandidate, 1));
    let said = server.receive(2, would_vote(2));
    assert_eq!((server.role(), server.term()), (Role::Candidate, 2));
    assert_eq!(server.hard_state.voted_for, Some(NodeId(1)));
    assert_eq!(told(&said, |m| matches!(m, Message::RequestVote { .. })), [2, 3]);
}

/// "A candidate wins an election if it receives votes from a majority of the servers in the full
/// cluster for the same term."
#[test]
fn a_majority_of_all_wins_and_no_less() {
    for (size, needed) in [(1, 0), (2, 1), (3, 1), (4, 2), (5, 2)] {
        let mut server = Server::new(size, &[]);
        server.elapse(300);
        (2..=size).for_each(|id| drop(server.receive(id, would_vote(2))));
        for id in 2..2 + needed {
            assert_eq!(server.role(), Role::Candidate, "{} of {size}", id - 1);
            server.receive(id, vote(server.term()));
        }
        assert_eq!(server.role(), Role::Leader, "{needed} others of {size}");
    }
}

/// The same voter's vote, told twice, is one vote.
#[test]
fn a_vote_counts_once() {
    let mut server = Server::new(5, &[]);
    server.stand();
    server.receive(2, vote(server.term()));
    server.receive(2, vote(server.term()));
    assert_eq!(server.role(), Role::Candidate);
}

/// "Each server will vote for at most one candidate in a given term, on a first-come-first-served
/// basis."
#[test]
fn a_server_votes_once_a_term() {
    let mut server = server();
    assert!(says_yes(server.answer(2, request_vote(2, (1, 1)))));
    assert!(!says_yes(server.answer(3, request_vote(2, (9, 1)))), "however good its log");
    assert!(says_yes(server.answer(2, request_vote(2, (1, 1)))), "the answer was lost, perhaps");
    assert!(says_yes(server.answer(3, request_vote(3, (1, 1)))), "another term, another vote");
}

/// A candidate that hears from "another server claiming to be leader" whose "term is at least as
/// large" returns to follower state; else it "rejects the RPC and continues in candidate state".
#[test]
fn a_candidate_yields_to_a_leader_of_its_term_and_not_of_an_older() {
    for (older, role) in [(0, Role::Follower), (1, Role::Candidate)] {
        let mut server = Server::new(3, &[2]);
        server.stand();
        let term = server.term();
        server.receive(2, append(term - older, (2, 2), vec![entry(3, term - older)], 0));
        assert_eq!((server.role(), server.term()), (role, term));
    }
}

/// "Each candidate will time out and start a new election by incrementing its term."
#[test]
fn a_split_vote_leads_to_a_new_election() {
    let mut server = Server::new(4, &[]);
    server.stand();
    let term = server.term();
    server.receive(2, vote(term));
    server.elapse(300);
    assert_eq!((server.role(), server.term()), (Role::PreCandidate, term));
    server.receive(2, would_vote(term + 1));
    server.receive(3, would_vote(term + 1));
    assert_eq!((server.role(), server.term()), (Role::Candidate, term + 1));
}

/// "Raft uses randomized election timeouts to ensure that split votes are rare": "chosen randomly
/// from a fixed interval (e.g., 150–300ms)".
#[test]
fn time_outs_are_random_within_the_interval() {
    let deadline = |seed| {
        let log = vec![crate::server::configuration(1, 1, crate::server::voters(1..=3))];
        let config = Config::new(NodeId(1), seed);
        let server = Server::start(config, Instant::default(), log, Default::default());
        server.raft.next_deadline().expect("a voter has a deadline").0.as_millis()
    };
    let deadlines: BTreeSet<u128> = (0..100).map(deadline).collect();
    assert!(deadlines.iter().all(|millis| (150..300).contains(millis)), "{deadlines:?}");
    assert!(deadlines.len() > 50, "spread out: {deadlines:?}");
}

/// "Once a candidate wins an election, it becomes leader. It then sends heartbeat messages to all
/// of the other servers to establish its authority." (Ours carry the no-op that opens the term.)
#[test]
fn a_new_leader_asserts_itself_at_once() {
    let said = server().win();
    assert_eq!(told(&said, |m| matches!(m, Message::AppendEntries { .. })), [2, 3]);
}

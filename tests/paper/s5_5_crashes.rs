//! Section 5.5: follower and candidate crashes.

use kvraft::consensus::raft::Message;
use kvraft::consensus::{Config, Role};
use kvraft::types::{NodeId, Term};

use crate::server::{append, entry, request_vote, says_matched, says_yes, server, told};

/// "Raft RPCs are idempotent, so this causes no harm": a request that comes twice.
#[test]
fn the_same_request_twice_does_no_harm() {
    let mut server = server();
    let message = append(2, (1, 1), vec![entry(2, 2), entry(3, 2)], 2);
    assert!(says_matched(server.answer(2, message.clone()), 3));
    let (terms, applied) = (server.terms(), server.applied.clone());
    assert!(says_matched(server.answer(2, message), 3), "the same answer");
    assert_eq!((server.terms(), server.applied.clone()), (terms, applied));
}

/// "If a follower or candidate crashes, then future RequestVote and AppendEntries RPCs sent to it
/// will fail. Raft handles these failures by retrying indefinitely."
#[test]
fn a_candidate_asks_again_who_has_not_answered() {
    let mut server = crate::server::Server::new(5, &[]);
    server.stand();
    server.receive(2, crate::server::vote(server.term()));
    let said = server.elapse(50);
    assert_eq!(told(&said, |m| matches!(m, Message::RequestVote { .. })), [3, 4, 5]);
}

/// A server restarts with its term, its vote and its log (figure 2, persistent state), and as a
/// follower that knows of nothing committed.
#[test]
fn what_must_survive_a_crash_does() {
    let mut before = server();
    before.receive(2, append(5, (1, 1), vec![entry(2, 5)], 2));
    before.elapse(300);
    assert!(says_yes(before.answer(3, request_vote(6, (2, 5)))));
    let mut after = before.restart(Config::new(NodeId(1), 8));
    let status = after.status();
    assert_eq!((status.term, status.voted_for), (Term(6), Some(NodeId(3))));
    assert_eq!((status.role, status.commit_index.0, after.last()), (Role::Follower, 0, 2));
    assert!(!says_yes(after.answer(2, request_vote(6, (2, 5)))), "it has voted in term 6");
}

//! Section 5.1: terms.

use kvraft::consensus::Role;
use kvraft::consensus::raft::{Message, SnapshotResult};
use kvraft::types::{LogIndex, NodeId, Term};

use crate::server::{append, entry, request_vote, server, vote};

/// §5.1: "each server stores a current term number, which increases monotonically"; it is on disk.
#[test]
fn a_newer_term_is_adopted_and_written_down() {
    let mut server = server();
    server.receive(2, append(5, (1, 1), vec![], 0));
    assert_eq!((server.term(), server.hard_state.term), (5, Term(5)));
    server.receive(3, request_vote(4, (9, 4)));
    assert_eq!(server.term(), 5, "terms never go back");
}

/// §5.1: "if one server's current term is smaller than the other's, then it updates its current
/// term to the larger value"; a candidate or leader "immediately reverts to follower state".
#[test]
fn a_candidate_or_leader_of_an_old_term_becomes_a_follower() {
    let mut candidate = server();
    candidate.stand();
    assert_eq!(candidate.role(), Role::Candidate);
    candidate.receive(2, Message::RequestVoteReply { term: Term(9), granted: false });
    assert_eq!((candidate.role(), candidate.term()), (Role::Follower, 9));

    let mut leader = server();
    leader.win();
    let result = kvraft::consensus::raft::AppendResult::Matched(LogIndex(1));
    leader.receive(2, Message::AppendEntriesReply { term: Term(9), round: 0, result });
    assert_eq!((leader.role(), leader.term()), (Role::Follower, 9));
}

/// §5.1: "if a server receives a request with a stale term number, it rejects the request"; the
/// answer tells the newer term (figures 2 and 13).
#[test]
fn a_request_of_an_old_term_is_rejected() {
    let mut server = server();
    server.receive(2, append(5, (1, 1), vec![entry(2, 5)], 0));
    let before = server.raft.clone();
    let answer = server.answer(3, append(4, (1, 1), vec![entry(2, 4)], 2));
    assert!(matches!(answer, Some(Message::AppendEntriesReply { term: Term(5), .. })));
    let snapshot = Message::InstallSnapshot {
        term: Term(4),
        snapshot_index: LogIndex(9),
        snapshot_term: Term(4),
        offset: 0,
        data: b"state"[..].into(),
        done: true,
    };
    let result = SnapshotResult::Received { bytes: 0 };
    let (term, snapshot_index) = (Term(5), LogIndex(9));
    let rejected = Message::InstallSnapshotReply { term, snapshot_index, result };
    assert_eq!(server.answer(3, snapshot), Some(rejected));
    assert!(server.raft == before, "nothing changed");
}

/// §5.1: a term has at most one leader. A vote for an election that is over elects nobody.
#[test]
fn votes_of_another_term_do_not_count() {
    let mut server = server();
    server.stand();
    let term = server.term();
    server.receive(2, vote(term - 1));
    assert_eq!(server.role(), Role::Candidate);
    server.receive(2, vote(term));
    assert_eq!(server.role(), Role::Leader);
    assert_eq!(server.hard_state.voted_for, Some(NodeId(1)));
}

//! Section 5.4: safety.

use crate::server::{Server, append, entry, matched, request_vote, says_yes};

/// §5.4.1: "the voter denies its vote if its own log is more up-to-date than that of the
/// candidate": "the log with the later term is more up-to-date"; "if the logs end with the same
/// term, then whichever log is longer". The voter's log: terms 1 2 2.
#[test]
fn a_voter_denies_a_candidate_whose_log_is_older() {
    let cases = [
        ((3, 2), true),
        ((4, 2), true),
        ((2, 2), false),
        ((9, 1), false),
        ((1, 3), true),
        ((2, 3), true),
    ];
    for (last, granted) in cases {
        let mut server = Server::new(3, &[2, 2]);
        assert_eq!(says_yes(server.answer(2, request_vote(5, last))), granted, "{last:?}");
        assert_eq!(server.term(), 5, "denied or not, the term is newer");
    }
}

/// §5.4.2: "Raft never commits log entries from previous terms by counting replicas. Only log
/// entries from the leader's current term are committed by counting replicas."
#[test]
fn old_entries_are_not_committed_by_counting() {
    let mut server = Server::new(5, &[2, 2]);
    server.win();
    let term = server.term();
    for id in [2, 3, 4, 5] {
        server.receive(id, matched(term, 3));
    }
    assert_eq!(server.commit(), 0, "all five have entry 3, of term 2");
    server.receive(2, matched(term, 4));
    assert_eq!(server.commit(), 0);
    server.receive(3, matched(term, 4));
    assert_eq!(server.commit(), 4, "entry 4 is of its own term");
}

/// §5.4.2: "once an entry from the current term has been committed in this way, then all prior
/// entries are committed indirectly because of the Log Matching Property".
#[test]
fn what_came_before_is_committed_with_it() {
    let mut server = Server::new(3, &[2, 2]);
    server.lead_with(2);
    let indexes: Vec<_> = server.applied.iter().map(|entry| entry.index.0).collect();
    assert_eq!(indexes, [1, 2, 3, 4]);
}

/// Figure 3, State Machine Safety, at one server: who contradicts what is committed is refused.
#[test]
fn a_committed_entry_is_never_replaced() {
    let mut server = Server::new(3, &[]);
    server.receive(2, append(2, (1, 1), vec![entry(2, 2)], 2));
    server.receive(3, append(3, (1, 1), vec![entry(2, 3)], 2));
    assert_eq!((server.terms(), server.commit()), (vec![1, 2], 2));
    assert_eq!(server.others.len(), 1, "rejected: {:?}", server.others);
}

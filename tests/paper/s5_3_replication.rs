//! Section 5.3: log replication.

use kvraft::consensus::Payload;
use kvraft::consensus::raft::{AppendResult, Message};
use kvraft::types::{LogIndex, Term};

use crate::server::{
    Server, append, entries_to, entry, matched, says_conflict, says_matched, server, told,
};

/// "The leader appends the command to its log as a new entry, then issues AppendEntries RPCs in
/// parallel to each of the other servers"; each entry holds "the term number when the entry was
/// received by the leader" and "an integer index identifying its position".
#[test]
fn a_command_is_appended_and_sent_to_all() {
    let mut server = server();
    server.lead_with(2);
    server.receive(3, matched(server.term(), 2));
    let said = server.propose("x=1");
    for id in [2, 3] {
        let entries = entries_to(&said, id);
        let places: Vec<_> = entries.iter().map(|e| (e.index.0, e.term.0)).collect();
        assert_eq!(places, [(3, server.term())], "to {id}");
        assert_eq!(entries[0].payload, Payload::Command(b"x=1"[..].into()));
    }
}

/// "A log entry is committed once the leader that created the entry has replicated it on a majority
/// of the servers"; then the leader applies it.
#[test]
fn an_entry_is_committed_when_a_majority_has_it() {
    let mut server = Server::new(5, &[]);
    server.win();
    let term = server.term();
    server.receive(2, matched(term, 2));
    assert_eq!(server.commit(), 0, "two of five");
    server.receive(3, matched(term, 2));
    assert_eq!(server.commit(), 2, "three of five");
    assert_eq!(server.applied.len(), 2);
}

/// The leader "includes that index in future AppendEntries RPCs (including heartbeats) so that the
/// other servers eventually find out. Once a follower learns that a log entry is committed, it
/// applies the entry to its local state machine (in log order)."
#[test]
fn followers_learn_what_is_committed() {
    let mut leader = server();
    leader.lead_with(2);
    let commits = |m: &Message| match m {
        Message::AppendEntries { leader_commit, .. } => *leader_commit == LogIndex(2),
        _ => false,
    };
    assert_eq!(told(&leader.elapse(50), commits), [2, 3]);

    let mut follower = server();
    follower.receive(2, append(2, (1, 1), vec![entry(2, 2), entry(3, 2)], 1));
    assert_eq!(follower.applied.len(), 1);
    follower.receive(2, append(2, (3, 2), vec![], 3));
    let indexes: Vec<_> = follower.applied.iter().map(|entry| entry.index.0).collect();
    assert_eq!(indexes, [1, 2, 3]);
}

/// "If the follower does not find an entry in its log with the same index and term, then it refuses
/// the new entries."
#[test]
fn a_follower_refuses_what_does_not_follow() {
    for (previous, agrees) in
        [((1, 1), true), ((2, 2), true), ((3, 2), false), ((2, 1), false), ((2, 3), false)]
    {
        let mut server = Server::new(3, &[2]);
        let next = previous.0 + 1;
        let answer = server.answer(2, append(3, previous, vec![entry(next, 3)], 0));
        assert_eq!(says_matched(answer.clone(), next), agrees, "after {previous:?}");
        assert_eq!(says_conflict(answer), !agrees, "after {previous:?}");
    }
}

/// "If an existing entry conflicts with a new one (same index but different terms), delete the
/// existing entry and all that follow it"; "append any new entries not already in the log"
/// (figure 2, AppendEntries, 3 and 4). The log before: terms 1 2 3.
#[test]
fn a_follower_removes_conflicts_and_nothing_else() {
    type Case<'a> = ((u64, u64), &'a [(u64, u64)], &'a [u64]);
    let cases: [Case; 5] = [
        ((3, 3), &[(4, 4)], &[1, 2, 3, 4]),
        ((2, 2), &[(3, 4), (4, 4)], &[1, 2, 4, 4]),
        ((1, 1), &[(2, 4)], &[1, 4]),
        ((1, 1), &[(2, 2)], &[1, 2, 3]),
        ((1, 1), &[], &[1, 2, 3]),
    ];
    for (previous, entries, expected) in cases {
        let mut server = Server::new(3, &[2, 3]);
        let entries = entries.iter().map(|(index, term)| entry(*index, *term)).collect();
        server.receive(2, append(4, previous, entries, 0));
        assert_eq!(server.terms(), expected, "after {previous:?}");
    }
}

/// "Set commitIndex = min(leaderCommit, index of last new entry)" (figure 2, AppendEntries, 5):
/// what lies past it has not been shown to agree.
#[test]
fn a_follower_commits_no_further_than_it_agrees() {
    let mut server = Server::new(3, &[2, 2]);
    server.receive(2, append(3, (1, 1), vec![], 9));
    assert_eq!(server.commit(), 1);
    server.receive(2, append(3, (1, 1), vec![entry(2, 3)], 9));
    assert_eq!((server.commit(), server.terms()), (2, vec![1, 3]));
}

/// "When a leader first comes to power, it initializes all nextIndex values to the index just after
/// the last one in its log"; after a rejection "the leader decrements nextIndex and retries" — and
/// with the conflicting term in the answer, it skips all entries of that term.
#[test]
fn a_leader_goes_back_to_where_the_logs_agree() {
    let mut server = Server::new(3, &[4, 4, 5, 5]);
    let said = server.win();
    let first = said.iter().find_map(|(_, message)| match message {
        Message::AppendEntries { prev_log_index, prev_log_term, .. } => {
            Some((prev_log_index.0, prev_log_term.0))
        }
        _ => None,
    });
    assert_eq!(first, Some((5, 5)));
    // The follower has a run of term 3 there, from 2 on, which the leader does not know.
    let result =
        AppendResult::Conflict { rejected: LogIndex(5), term: Term(3), index: LogIndex(2) };
    let term = Term(server.term());
    let said = server.receive(2, Message::AppendEntriesReply { term, round: 0, result });
    let probe = said.iter().find_map(|(_, message)| match message {
        Message::AppendEntries { prev_log_index, .. } => Some(prev_log_index.0),
        _ => None,
    });
    assert_eq!(probe, Some(1), "one answer for the whole term");
    let said = server.receive(2, matched(server.term(), 1));
    assert_eq!(entries_to(&said, 2).first().map(|entry| entry.index.0), Some(2));
}

/// "A leader never overwrites or deletes entries in its own log" (Leader Append-Only, figure 3).
#[test]
fn a_leader_only_appends() {
    let mut server = Server::new(3, &[2, 2]);
    server.win();
    let terms = server.terms();
    server.receive(2, append(server.term(), (1, 1), vec![entry(2, server.term())], 0));
    assert_eq!(server.terms(), terms, "nobody else leads its term");
    server.propose("x=1");
    assert_eq!(server.terms()[..terms.len()], terms);
}

/// "If followers crash or run slowly, or if network packets are lost, the leader retries
/// AppendEntries RPCs indefinitely … until all followers eventually store all log entries."
#[test]
fn a_leader_asks_again_without_end() {
    let mut server = server();
    server.lead_with(2);
    for _ in 0..20 {
        server.receive(2, matched(server.term(), 2));
        let said = server.elapse(50);
        assert!(told(&said, |m| matches!(m, Message::AppendEntries { .. })).contains(&3));
    }
    let said = server.receive(3, matched(server.term(), 1));
    assert_eq!(entries_to(&said, 3).len(), 1, "what it lacks, at its first word");
}

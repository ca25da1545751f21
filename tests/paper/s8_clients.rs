//! Section 8: client interaction.

use kvraft::consensus::raft::Message;
use kvraft::consensus::{Payload, Refusal};
use kvraft::types::{LogIndex, NodeId};

use crate::server::{append, confirmed, entries_to, matched, server, told};

/// "If the client's first choice is not the leader, that server will reject the client's request
/// and supply information about the most recent leader it has heard from."
#[test]
fn a_follower_refuses_and_names_the_leader() {
    let mut server = server();
    server.receive(2, append(2, (1, 1), vec![], 0));
    server.propose("x=1");
    let leader = Some(NodeId(2));
    assert_eq!(server.refused.pop().map(|it| it.1), Some(Refusal::NotLeader { leader }));
    assert_eq!(server.last(), 1);
}

/// "Each leader commit[s] a blank no-op entry into the log at the start of its term."
#[test]
fn a_term_opens_with_a_no_op() {
    let mut server = server();
    let said = server.win();
    let entries = entries_to(&said, 2);
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].payload.clone(), entries[0].term.0), (Payload::Noop, server.term()));
}

/// "A leader must have the latest information on which entries are committed": a read waits for the
/// no-op.
#[test]
fn a_read_waits_for_the_no_op() {
    let mut server = server();
    server.win();
    let term = server.term();
    server.read();
    server.receive(2, matched(term, 1));
    assert!(server.served.is_empty());
    server.receive(2, matched(term, 2));
    server.receive(2, confirmed(term, 2, 1));
    assert_eq!(server.served.pop().map(|it| it.1), Some(LogIndex(2)));
}

/// "A leader must check whether it has been deposed before processing a read-only request": it has
/// "the leader exchange heartbeat messages with a majority of the cluster". The log stays as it is.
#[test]
fn a_read_asks_a_majority_and_writes_nothing() {
    let mut server = crate::server::Server::new(5, &[]);
    server.win();
    let term = server.term();
    (2..=5).for_each(|id| drop(server.receive(id, matched(term, 2))));
    let said = server.read();
    let round = |m: &Message| matches!(m, Message::AppendEntries { round: 1, .. });
    assert_eq!(told(&said, round), [2, 3, 4, 5]);
    server.receive(2, confirmed(term, 2, 0));
    server.receive(3, confirmed(term, 2, 0));
    assert!(server.served.is_empty(), "answers to heartbeats from before the read");
    server.receive(2, confirmed(term, 2, 1));
    assert!(server.served.is_empty(), "two of five");
    server.receive(3, confirmed(term, 2, 1));
    assert_eq!(server.served.len(), 1);
    assert_eq!(server.last(), 2);
}

/// A leader that is deposed meanwhile serves nothing.
#[test]
fn a_deposed_leader_serves_no_read() {
    let mut server = server();
    server.lead_with(2);
    server.read();
    server.receive(3, append(server.term() + 1, (1, 1), vec![], 0));
    assert!(server.served.is_empty());
    let refusal = server.refused.pop().map(|it| it.1);
    assert!(matches!(refusal, Some(Refusal::NotLeader { .. })), "it is told so: {refusal:?}");
}

//! Section 6: cluster membership changes.

use kvraft::consensus::raft::Message;
use kvraft::consensus::{Change, Configuration, Payload, Refusal, Role};
use kvraft::types::NodeId;

use crate::server::{
    Server, append, configuration, entry, matched, request_vote, says_yes, server, told, vote,
    voters,
};

fn joint(new: &[u64], old: &[u64]) -> Configuration {
    let outgoing = old.iter().map(|id| NodeId(*id)).collect();
    Configuration { outgoing, ..voters(new.iter().copied()) }
}

/// "Once a given server adds the new configuration entry to its log, it uses that configuration for
/// all future decisions (a server always uses the latest configuration in its log, regardless of
/// whether the entry is committed)."
#[test]
fn a_configuration_holds_from_its_append() {
    let mut server = server();
    let change = configuration(2, 2, joint(&[1, 2, 3, 4, 5], &[1, 2, 3]));
    server.receive(2, append(2, (1, 1), vec![change.clone()], 0));
    let Payload::Configuration(expected) = change.payload else { unreachable!() };
    assert_eq!((server.status().configuration, server.commit()), (expected, 0));
}

/// "Agreement (for elections and entry commitment) requires separate majorities from both the old
/// and new configurations." Elections:
#[test]
fn an_election_needs_both_majorities() {
    let mut server = server();
    let change = configuration(2, 2, joint(&[1, 4, 5], &[1, 2, 3]));
    server.receive(2, append(2, (1, 1), vec![change], 0));
    let said = server.stand();
    assert_eq!(told(&said, |m| matches!(m, Message::RequestVote { .. })), [2, 3, 4, 5]);
    let term = server.term();
    server.receive(4, vote(term));
    server.receive(5, vote(term));
    assert_eq!(server.role(), Role::Candidate, "all of the new, and itself of the old");
    server.receive(2, vote(term));
    assert_eq!(server.role(), Role::Leader);
}

/// The same for commitment; and "once C_old,new has been committed", the leader creates "a log
/// entry describing C_new".
#[test]
fn a_change_is_committed_by_both_majorities_and_then_ended() {
    let mut server = server();
    server.lead_with(2);
    let term = server.term();
    server.change(&[Change::AddLearner { node: NodeId(4), address: "unix:/4".into() }]);
    server.receive(2, matched(term, 3));
    server.receive(4, matched(term, 3));
    server.change(&[Change::Promote { node: NodeId(4) }, Change::Remove { node: NodeId(3) }]);
    assert_eq!(server.status().configuration.voters, voters([1, 2, 4]).voters);
    assert_eq!(server.status().configuration.outgoing, voters([1, 2, 3]).voters);
    server.receive(4, matched(term, 4));
    assert_eq!(server.commit(), 3, "two of the new, one of the old");
    server.receive(3, matched(term, 4));
    assert_eq!(server.commit(), 4);
    let Payload::Configuration(end) = &server.log[4].payload else { panic!("C_new follows") };
    assert_eq!((end.voters.clone(), end.outgoing.len()), (voters([1, 2, 4]).voters, 0));
}

/// "New servers … join the cluster as non-voting members (the leader replicates log entries to
/// them, but they are not considered for majorities)."
#[test]
fn a_learner_gets_entries_and_counts_for_nothing() {
    let mut server = server();
    server.lead_with(2);
    let term = server.term();
    server.change(&[Change::AddLearner { node: NodeId(4), address: "unix:/4".into() }]);
    let said = server.receive(4, matched(term, 2));
    assert_eq!(crate::server::entries_to(&said, 4).len(), 1, "the leader sends it what it lacks");
    server.receive(4, matched(term, 3));
    assert_eq!(server.commit(), 2);
    server.receive(3, matched(term, 3));
    assert_eq!(server.commit(), 3);
}

/// "The leader steps down (returns to follower state) once it has committed the C_new log entry";
/// it "does not count itself in majorities".
#[test]
fn a_leader_that_is_removed_does_not_count_and_steps_down() {
    let mut server = server();
    server.lead_with(2);
    let term = server.term();
    server.change(&[Change::Remove { node: NodeId(1) }]);
    server.receive(2, matched(term, 3));
    server.receive(3, matched(term, 3));
    assert_eq!((server.commit(), server.last()), (3, 4), "C_new is appended");
    server.receive(2, matched(term, 4));
    assert_eq!((server.commit(), server.role()), (3, Role::Leader), "one of {{2, 3}}");
    let said = server.receive(3, matched(term, 4));
    assert_eq!(server.commit(), 4);
    assert_ne!(server.role(), Role::Leader);
    assert_eq!(told(&said, |m| matches!(m, Message::TimeoutNow { .. })).len(), 1);
}

/// "If a server receives a RequestVote RPC within the minimum election timeout of hearing from a
/// current leader, it does not update its term or grant its vote."
#[test]
fn who_has_just_heard_a_leader_ignores_candidates() {
    let mut server = server();
    server.receive(2, append(2, (1, 1), vec![], 0));
    server.elapse(149);
    assert_eq!(server.answer(3, request_vote(9, (9, 8))), None);
    assert_eq!(server.term(), 2);
    server.elapse(1);
    assert!(says_yes(server.answer(3, request_vote(9, (9, 8)))));
}

/// A configuration whose entry is removed is in force no more; two that are removed at once bring
/// back the one before both. (This core's leaders never stack two that are not committed: see
/// `membership`. The log keeps its promise all the same.)
#[test]
fn two_changes_roll_back_together() {
    let mut server = server();
    let first = configuration(2, 2, joint(&[1, 2], &[1, 2, 3]));
    let second = configuration(3, 2, voters([1, 2]));
    server.receive(2, append(2, (1, 1), vec![first, second], 0));
    assert_eq!(server.status().configuration, voters([1, 2]));
    server.receive(3, append(3, (1, 1), vec![entry(2, 3)], 0));
    assert_eq!(server.status().configuration, voters([1, 2, 3]));
}

/// One change at a time, and none before an entry of the leader's own term is committed
/// (dissertation §4.1, and its erratum of 2015).
#[test]
fn a_change_waits_for_the_one_before_and_for_the_term() {
    let remove = |id| [Change::Remove { node: NodeId(id) }];
    let mut server = Server::new(5, &[]);
    server.win();
    server.change(&remove(2));
    assert_eq!(server.refused.pop().map(|it| it.1), Some(Refusal::ChangeUnderWay));
    let term = server.term();
    server.receive(2, matched(term, 2));
    server.receive(3, matched(term, 2));
    server.change(&remove(2));
    server.change(&remove(3));
    assert_eq!(server.refused.pop().map(|it| it.1), Some(Refusal::ChangeUnderWay));
    assert_eq!(server.last(), 3, "the first was taken, the second not");
}

//! The dissertation, where the paper says less.

use std::time::Duration;

use kvraft::consensus::raft::Message;
use kvraft::consensus::{Change, Config, Lease, Refusal, Role};
use kvraft::types::{LogIndex, NodeId, Term};

use crate::server::{
    Server, append, configuration, confirmed, entry, matched, pre_vote, request_vote, says_matched,
    says_yes, server, told, voters,
};

fn times_out(said: &[(NodeId, Message)]) -> Vec<u64> {
    told(said, |m| matches!(m, Message::TimeoutNow { .. }))
}

/// §3.10: the leader "stops accepting new client requests", "fully updates the target server's
/// log", and only then "sends a TimeoutNow request".
#[test]
fn a_transfer_holds_requests_and_waits_for_the_target() {
    let mut server = server();
    server.lead_with(2);
    let term = server.term();
    server.receive(3, matched(term, 1));
    assert!(times_out(&server.transfer(3)).is_empty(), "3 lacks the no-op");
    server.propose("x=1");
    assert_eq!(server.last(), 2);
    assert_eq!(times_out(&server.receive(3, matched(term, 2))), [3]);
}

/// §3.10: the target "starts a new election (incrementing its term and becoming a candidate)" at
/// once, and its request says so: who hears the leader well votes all the same (§4.2.3).
#[test]
fn the_target_stands_at_once_and_is_not_ignored() {
    let mut server = server();
    server.receive(2, append(2, (1, 1), vec![entry(2, 2)], 2));
    let said = server.receive(2, Message::TimeoutNow { term: Term(2) });
    let asks = |m: &Message| matches!(m, Message::RequestVote { transfer: true, .. });
    assert_eq!((told(&said, asks), server.role()), (vec![2, 3], Role::Candidate));

    let mut voter = crate::server::server();
    voter.receive(2, append(2, (1, 1), vec![entry(2, 2)], 2));
    let (term, last_log_index, last_log_term) = (Term(3), LogIndex(2), Term(2));
    let request = Message::RequestVote { term, last_log_index, last_log_term, transfer: true };
    assert!(says_yes(voter.answer(3, request)));
}

/// §3.10: "if leadership transfer does not complete after about an election timeout, the prior
/// leader aborts the transfer and resumes accepting client requests".
#[test]
fn a_transfer_that_leads_nowhere_is_abandoned() {
    let mut server = server();
    server.lead_with(2);
    server.transfer(3);
    server.propose("x=1");
    for _ in 0..7 {
        server.receive(2, matched(server.term(), 2));
        server.elapse(50);
    }
    let to = NodeId(3);
    assert_eq!(server.refused.pop().map(|it| it.1), Some(Refusal::TransferFailed { to }));
    assert_eq!((server.role(), server.last()), (Role::Leader, 3), "what was held is taken");
}

/// §4.2.1: a new server has caught up when a round of replication took no longer than an election
/// time-out; not before is it given a vote.
#[test]
fn a_learner_is_promoted_after_a_short_round() {
    let promote = [Change::Promote { node: NodeId(4) }];
    for (millis, caught_up) in [(100, true), (2000, false)] {
        let mut server = server();
        server.lead_with(2);
        let term = server.term();
        server.change(&[Change::AddLearner { node: NodeId(4), address: "unix:/4".into() }]);
        server.receive(2, matched(term, 3));
        for _ in 0..millis / 50 {
            server.receive(2, matched(term, 3));
            server.elapse(50);
        }
        server.change(&promote);
        let refusal = server.refused.pop().map(|it| it.1);
        assert_eq!(refusal, Some(Refusal::NotCaughtUp { node: NodeId(4) }));
        server.receive(4, matched(term, 3));
        server.change(&promote);
        assert_eq!(server.refused.is_empty(), caught_up, "a round of {millis} ms");
    }
}

/// §4.2.2: "a server that is not part of its own latest configuration should still start new
/// elections, as it might still be needed until the C_new entry is committed (as in Figure 4.6)".
#[test]
fn a_server_whose_removal_is_not_committed_still_stands() {
    let mut server = server();
    server.receive(2, append(2, (1, 1), vec![configuration(2, 2, voters([2, 3]))], 0));
    server.elapse(300);
    assert_eq!(server.role(), Role::PreCandidate);
    server.receive(2, append(2, (2, 2), vec![], 2));
    server.elapse(5000);
    assert_eq!(server.role(), Role::Learner, "once it is committed, no more");
}

/// §6.2: "a leader steps down if an election timeout elapses without a successful round of
/// heartbeats to a majority of its cluster".
#[test]
fn a_leader_without_a_quorum_steps_down() {
    let mut server = Server::new(5, &[]);
    server.win();
    let term = server.term();
    for _ in 0..20 {
        (2..=3).for_each(|id| drop(server.receive(id, matched(term, 2))));
        server.elapse(50);
    }
    assert_eq!(server.role(), Role::Leader, "three of five, itself included");
    for _ in 0..8 {
        server.receive(2, matched(term, 2));
        server.elapse(50);
    }
    assert_eq!((server.role(), server.term()), (Role::Follower, term), "in its own term");
}

/// §6.4: reads that wait are confirmed together, and those that come after a round began wait for
/// the next.
#[test]
fn a_round_confirms_only_reads_that_came_before_it() {
    let mut server = server();
    server.lead_with(2);
    let term = server.term();
    server.read();
    server.read();
    server.receive(2, confirmed(term, 2, 1));
    assert_eq!(server.served.len(), 1, "the second came after round 1 began");
    server.receive(2, confirmed(term, 2, 2));
    assert_eq!(server.served.len(), 2);
}

/// §6.4: "followers could help offload the processing of read-only queries": a follower asks the
/// leader for its read index.
#[test]
fn a_follower_asks_for_the_read_index() {
    let mut follower = server();
    follower.receive(2, append(2, (1, 1), vec![entry(2, 2)], 2));
    let said = follower.read();
    let [(NodeId(2), Message::ReadIndex { context, .. })] = said[..] else { panic!("{said:?}") };
    let (term, at) = (Term(2), LogIndex(2));
    follower.receive(2, Message::ReadIndexReply { term, context, at });
    assert_eq!(follower.served.len(), 1);
    follower.receive(2, Message::ReadIndexReply { term, context, at });
    assert_eq!(follower.served.len(), 1, "an answer counts once");
}

fn leased() -> Server {
    let Server { log, hard_state, now, .. } = server();
    let clock_error = Duration::from_millis(10);
    let config = Config { lease: Some(Lease { clock_error }), ..Config::new(NodeId(1), 7) };
    Server::start(config, now, log, hard_state)
}

/// §6.4.1: once a round was acknowledged by a majority the leader "could respond to read-only
/// queries … without any communication" for an election time-out from its *start*, less the clocks'
/// error.
#[test]
fn a_lease_runs_from_the_start_of_its_round() {
    let mut server = leased();
    server.lead_with(2);
    let term = server.term();
    server.elapse(50);
    server.elapse(40);
    server.receive(2, confirmed(term, 2, 1));
    server.elapse(60);
    server.read();
    assert_eq!(server.served.len(), 1, "100 ms after the round began");
    server.elapse(40);
    server.read();
    assert_eq!(server.served.len(), 1, "140 ms after it");
}

/// §6.4.1 and §3.10: a leader that hands over gives its lease up first.
#[test]
fn a_transfer_ends_the_lease() {
    let mut server = leased();
    server.lead_with(2);
    let term = server.term();
    server.elapse(50);
    server.receive(2, confirmed(term, 2, 1));
    assert_eq!(times_out(&server.transfer(2)), [2]);
    server.read();
    assert!(server.served.is_empty());
}

/// A server that restarts has forgotten whose lease rests on it: it votes for nobody for a while.
#[test]
fn a_restarted_server_with_leases_waits() {
    let mut server = leased();
    assert_eq!(server.answer(2, request_vote(5, (9, 4))), None);
    server.elapse(150);
    assert!(says_yes(server.answer(2, request_vote(5, (9, 4)))));
}

/// §9.6: "a candidate would only increment its term if it first learned from a majority of the
/// cluster that they would be willing to grant the candidate their votes".
#[test]
fn a_pre_vote_raises_no_term() {
    let mut server = server();
    let before = server.raft.clone();
    let answer = server.answer(2, pre_vote(9, (1, 1)));
    assert!(matches!(answer, Some(Message::PreVoteReply { granted: true, term: Term(1), .. })));
    assert!(server.raft == before, "nothing changed, no vote is given");
    server.elapse(3000);
    assert_eq!((server.role(), server.term()), (Role::PreCandidate, 1), "it asks, and asks");
}

/// §9.6: it is granted only if "the candidate's log is sufficiently up-to-date, and the voters have
/// not received heartbeats from a valid leader for at least a baseline election timeout".
#[test]
fn a_pre_vote_is_denied_like_a_vote() {
    let granted = |server: &mut Server, message| {
        matches!(server.answer(3, message), Some(Message::PreVoteReply { granted: true, .. }))
    };
    let mut server = Server::new(3, &[2]);
    assert!(!granted(&mut server, pre_vote(9, (1, 1))), "an older log");
    assert!(!granted(&mut server, pre_vote(2, (2, 2))), "no newer term");
    server.receive(2, append(2, (2, 2), vec![], 0));
    assert!(!granted(&mut server, pre_vote(9, (2, 2))), "a leader was heard");
    server.elapse(150);
    assert!(granted(&mut server, pre_vote(9, (2, 2))));
}

/// §10.2.1: "the leader can write to its disk in parallel with replicating to the followers"; "the
/// leader may even commit an entry before it has been written to its own disk, if a majority of
/// followers have written it to their disks".
#[test]
fn a_leader_sends_before_its_own_disk_is_done() {
    let mut server = server();
    server.lead_with(2);
    let term = server.term();
    server.receive(3, matched(term, 2));
    server.slow_disk = true;
    let said = server.propose("x=1");
    assert_eq!(told(&said, |m| matches!(m, Message::AppendEntries { .. })), [2, 3]);
    server.receive(2, matched(term, 3));
    assert_eq!(server.commit(), 2, "one disk of three");
    server.receive(3, matched(term, 3));
    assert_eq!(server.commit(), 3, "two disks, neither its own");
}

/// Figure 2: persistent state is "updated on stable storage before responding to RPCs".
#[test]
fn answers_wait_for_the_disk() {
    let mut server = server();
    server.slow_disk = true;
    assert_eq!(server.answer(2, request_vote(2, (1, 1))), None);
    let said = server.persist();
    assert!(says_yes(said.into_iter().next().map(|(_, message)| message)));
    assert_eq!(server.answer(2, append(2, (1, 1), vec![entry(2, 2)], 0)), None);
    let said = server.persist();
    assert!(says_matched(said.into_iter().next().map(|(_, message)| message), 2));
}

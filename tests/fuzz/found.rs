//! What the fuzzer found in the core, told as stories.

use kvraft::consensus::raft::{Message, Raft};
use kvraft::consensus::{
    Config, Configuration, Consensus, Effect, Input, Role, Saved, SnapshotMark,
};
use kvraft::types::{Instant, LogIndex, NodeId, Term};

/// 1. Node 2 sends node 1 the last part of a snapshot of entry 9. Node 1's disk is at it.
/// 2. Node 1 stands for election. Node 3 votes for it, although it has entry 9 and node 1 does not:
///    no correct member does that.
/// 3. The snapshot is there. Node 1 leads, and dropped its log for what a leader of the past said.
#[test]
fn a_leader_installs_no_snapshot() {
    let now = Instant::from_millis(1000);
    let voters = [NodeId(1), NodeId(2), NodeId(3)].into();
    let configuration = Configuration { voters, ..Configuration::default() };
    let saved = Saved {
        configurations: vec![(LogIndex(1), configuration.clone())],
        term_runs: vec![(LogIndex(1), Term(1))],
        last_index: LogIndex(1),
        hard_state: Default::default(),
        snapshot: Default::default(),
        log_start: Default::default(),
    };
    let mut raft = Raft::recover(now, Config::new(NodeId(1), 7), saved);
    let mut told = |input: Input<Raft>| {
        let before = raft.checkpoint();
        let effects = raft.step(now, input);
        raft.assert_invariants(&before);
        let write = effects.iter().find_map(|effect| match effect {
            Effect::Persist(write) => Some(write.seq),
            _ => None,
        });
        if let Some(seq) = write {
            raft.step(now, Input::Persisted { seq });
        }
        (raft.status(), effects)
    };
    let (index, snapshot_term) = (LogIndex(9), Term(2));
    let part = Message::InstallSnapshot {
        term: Term(2),
        snapshot_index: index,
        snapshot_term,
        offset: 0,
        data: bytes::Bytes::from_static(b"all"),
        done: true,
    };
    let (_, effects) = told(Input::Receive { from: NodeId(2), message: part });
    assert!(effects.iter().any(|effect| matches!(effect, Effect::WriteSnapshot { .. })));
    told(Input::Campaign);
    let vote = Message::RequestVoteReply { term: Term(3), granted: true };
    let (status, _) = told(Input::Receive { from: NodeId(3), message: vote });
    assert_eq!((status.role, status.last_index), (Role::Leader, LogIndex(2)));

    let snapshot = SnapshotMark { index, term: snapshot_term, configuration };
    let (status, effects) = told(Input::SnapshotReceived { snapshot });
    assert_eq!((status.role, status.last_index), (Role::Leader, LogIndex(2)));
    assert_eq!(effects, []);
}

//! Configurations in the log, and what changes make of them.

use bytes::Bytes;

use crate::consensus::raft::{Message, Raft};
use crate::consensus::{
    Config, Configuration, Consensus, Entry, Input, Payload, Saved, SnapshotMark,
};
use crate::types::{Instant, LogIndex, NodeId, Term};

fn voters(ids: &[u64]) -> Configuration {
    let voters = ids.iter().map(|id| NodeId(*id)).collect();
    Configuration { voters, ..Configuration::default() }
}

fn append(term: u64, previous: (u64, u64), entries: Vec<Entry>) -> Input<Raft> {
    let message = Message::AppendEntries {
        term: Term(term),
        prev_log_index: LogIndex(previous.0),
        prev_log_term: Term(previous.1),
        entries,
        leader_commit: LogIndex(0),
        round: 0,
    };
    Input::Receive { from: NodeId(2), message }
}

#[test]
fn a_configuration_holds_from_its_append_until_its_removal() {
    let born = voters(&[1, 2, 3]);
    let saved = Saved {
        hard_state: Default::default(),
        snapshot: SnapshotMark::default(),
        log_start: (LogIndex(0), Term(0)),
        configurations: vec![(LogIndex(1), born.clone())],
        term_runs: vec![(LogIndex(1), Term(1))],
        last_index: LogIndex(1),
    };
    let now = Instant::default();
    let mut raft = Raft::recover(now, Config::new(NodeId(1), 7), saved);
    assert_eq!(raft.status().configuration, born);

    let wider = voters(&[1, 2, 3, 4, 5]);
    let payload = Payload::Configuration(wider.clone());
    let change = Entry { term: Term(2), index: LogIndex(2), payload };
    raft.step(now, append(2, (1, 1), vec![change]));
    assert_eq!(raft.status().configuration, wider, "uncommitted, and yet in force");

    let payload = Payload::Command(Bytes::new());
    let other = Entry { term: Term(3), index: LogIndex(2), payload };
    raft.step(now, append(3, (1, 1), vec![other]));
    assert_eq!(raft.status().configuration, born, "removed, and the old one is back");
}

//! Section 7: log compaction.

use bytes::Bytes;
use kvraft::consensus::raft::{Message, SnapshotResult};
use kvraft::consensus::{Chunk, Effect, Input, SnapshotMark};
use kvraft::types::{LogIndex, NodeId, Term};

use crate::server::{Server, append, entry, matched, says_matched, voters};

fn part(term: u64, place: (u64, u64), offset: u64, data: &[u8], done: bool) -> Message {
    Message::InstallSnapshot {
        term: Term(term),
        snapshot_index: LogIndex(place.0),
        snapshot_term: Term(place.1),
        offset,
        data: Bytes::copy_from_slice(data),
        done,
    }
}

fn mark(index: u64, term: u64) -> SnapshotMark {
    SnapshotMark { index: LogIndex(index), term: Term(term), configuration: voters(1..=3) }
}

fn says_installed(said: &[(NodeId, Message)]) -> bool {
    let installed = |message: &Message| {
        matches!(message, Message::InstallSnapshotReply { result: SnapshotResult::Installed, .. })
    };
    said.iter().any(|(_, message)| installed(message))
}

/// "Each server takes snapshots independently, covering just the committed entries in its log";
/// "once a server completes writing a snapshot, it may delete all log entries up through the last
/// included index". (Ours keeps a tail: `keep_entries`.)
#[test]
fn a_follower_takes_its_own_snapshot_and_forgets_entries() {
    let mut server = Server::keeping(0, &[2, 2, 2]);
    server.receive(2, append(2, (4, 2), vec![], 3));
    server.step(Input::SnapshotSaved { index: LogIndex(3) });
    assert_eq!(server.others, [Effect::Compact { to: LogIndex(3) }]);
    let status = server.status();
    assert_eq!((status.first_index, status.snapshot_index), (LogIndex(4), LogIndex(3)));
    // The last included term is remembered "to support the AppendEntries consistency check".
    assert!(says_matched(server.answer(2, append(2, (3, 2), vec![entry(4, 2)], 3)), 4));

    let mut tail = Server::keeping(1, &[2, 2, 2]);
    tail.receive(2, append(2, (4, 2), vec![], 3));
    tail.step(Input::SnapshotSaved { index: LogIndex(3) });
    assert_eq!(tail.status().first_index, LogIndex(3), "one of the entries that it covers");
}

/// "The leader must occasionally send snapshots to followers that lag behind": "when the leader has
/// already discarded the next log entry that it needs to send".
#[test]
fn a_leader_sends_a_snapshot_for_what_it_has_forgotten() {
    let mut server = Server::keeping(0, &[]);
    server.lead_with(2);
    server.step(Input::SnapshotSaved { index: LogIndex(2) });
    server.others.clear();
    let term = server.term();
    // Server 3 says that its log ends before entry 1.
    let result = kvraft::consensus::raft::AppendResult::Conflict {
        rejected: LogIndex(1),
        term: Term(0),
        index: LogIndex(1),
    };
    server.receive(3, Message::AppendEntriesReply { term: Term(term), round: 0, result });
    let asked = server.others.iter().find_map(|effect| match effect {
        Effect::ReadSnapshot { to, index, offset, .. } => Some((*to, *index, *offset)),
        _ => None,
    });
    assert_eq!(asked, Some((NodeId(3), LogIndex(2), 0)), "{:?}", server.others);
    let chunk = Some(Chunk { data: b"half"[..].into(), done: false });
    let (to, index) = (NodeId(3), LogIndex(2));
    let said = server.step(Input::SnapshotRead { to, index, offset: 0, chunk });
    assert_eq!(said, [(NodeId(3), part(term, (2, term), 0, b"half", false))]);
}

/// Figure 13, steps 2 to 4: chunks are written at their offsets, and none before the one before it.
#[test]
fn chunks_come_in_order_or_are_asked_for() {
    let mut server = Server::keeping(0, &[]);
    let has = |server: &mut Server, message| match server.answer(2, message) {
        Some(Message::InstallSnapshotReply {
            result: SnapshotResult::Received { bytes }, ..
        }) => Some(bytes),
        _ => None,
    };
    assert_eq!(has(&mut server, part(3, (9, 2), 4, b"late", false)), Some(0));
    server.receive(2, part(3, (9, 2), 0, b"half", false));
    let written = matches!(server.others[..], [Effect::WriteSnapshot { offset: 0, .. }]);
    assert!(written, "{:?}", server.others);
    server.step(Input::SnapshotWritten { index: LogIndex(9), bytes: 4 });
    assert_eq!(has(&mut server, part(3, (9, 2), 8, b"far ", true)), Some(4));
}

/// Figure 13, steps 7 and 8: "discard the entire log", "reset state machine using snapshot contents
/// (and load snapshot's cluster configuration)". The answer waits for the disk.
#[test]
fn a_snapshot_replaces_a_log_that_does_not_hold_its_last_entry() {
    let mut server = Server::keeping(0, &[2, 2]);
    server.receive(2, part(3, (9, 3), 0, b"state", true));
    server.slow_disk = true;
    let said = server.step(Input::SnapshotReceived { snapshot: mark(9, 3) });
    assert!(!says_installed(&said), "not before it is durable");
    let status = server.status();
    assert_eq!((status.last_index.0, status.last_term.0, status.commit_index.0), (9, 3, 9));
    assert!(server.others.contains(&Effect::InstallSnapshot { index: LogIndex(9) }));
    assert!(says_installed(&server.persist()));
    assert!(server.log.is_empty());
}

/// Figure 13, step 6: "if existing log entry has same index and term as snapshot's last included
/// entry, retain log entries following it and reply".
#[test]
fn a_log_that_holds_the_snapshots_last_entry_is_kept() {
    let mut server = Server::keeping(0, &[2, 2, 2]);
    let said = server.receive(2, part(3, (3, 2), 0, b"state", true));
    assert!(says_installed(&said));
    assert_eq!((server.terms(), server.commit()), (vec![1, 2, 2, 2], 3));
    assert!(server.others.iter().all(|it| !matches!(it, Effect::WriteSnapshot { .. })));
}

/// A snapshot of what is committed here already changes nothing (§7: "erroneously, due to
/// retransmission").
#[test]
fn an_old_snapshot_changes_nothing() {
    let mut server = Server::keeping(0, &[2, 2, 2]);
    server.receive(2, append(2, (4, 2), vec![], 4));
    server.step(Input::SnapshotSaved { index: LogIndex(4) });
    server.others.clear();
    let said = server.receive(2, part(2, (2, 2), 0, b"state", true));
    assert!(says_installed(&said));
    assert_eq!((server.commit(), server.others.len()), (4, 0));
}

/// A follower that gets there otherwise needs the snapshot no more.
#[test]
fn a_follower_that_catches_up_by_itself_gets_entries_again() {
    let mut server = Server::keeping(0, &[]);
    server.lead_with(2);
    let term = server.term();
    server.step(Input::SnapshotSaved { index: LogIndex(2) });
    server.receive(3, matched(term, 0));
    assert_eq!(server.status().peers[&NodeId(3)].state, "snapshot");
    server.receive(3, matched(term, 2));
    assert_eq!(server.status().peers[&NodeId(3)].state, "replicate");
}

//! A batch from another node, as it comes off a connection.

use bytes::Bytes;
use capnp::message::{Builder, ReaderOptions};
use capnp::serialize;
use kvraft::consensus::raft::{AppendResult, Message, ReadContext, SnapshotResult};
use kvraft::consensus::{Chunk, Configuration, Entry, Payload};
use kvraft::replica::{Consistency, PeerMessage, RepairVerdict, Request, Response};
use kvraft::rpc::peer::{Batch, read_batch, write_batch};
use kvraft::schema::peer_capnp::batch;
use kvraft::types::{ClusterId, LogIndex, NodeId, Term, Ticket};

pub fn run(data: &[u8]) {
    let Some(first) = read(data) else { return };
    let again = read(&write(&first));
    assert_eq!(again.as_ref(), Some(&first), "what was read can be written, and read again");
}

fn read(data: &[u8]) -> Option<Batch> {
    let mut slice = data;
    let message = serialize::read_message_from_flat_slice(&mut slice, ReaderOptions::new()).ok()?;
    read_batch(message.get_root::<batch::Reader<'_>>().ok()?).ok()
}

fn write(batch: &Batch) -> Vec<u8> {
    let mut message = Builder::new_default();
    let root = message.init_root::<batch::Builder<'_>>();
    write_batch((batch.cluster, batch.from, batch.to), batch.messages.iter(), root);
    serialize::write_message_to_words(&message)
}

pub fn samples() -> Vec<Vec<u8>> {
    let each = messages().into_iter().map(|message| vec![message]);
    let batches = each.chain([messages(), Vec::new()]);
    let (cluster, from, to) = (ClusterId(7), NodeId(1), NodeId(2));
    batches.map(|messages| write(&Batch { cluster, from, to, messages })).collect()
}

fn messages() -> Vec<PeerMessage<Message>> {
    let (term, at, context) = (Term(3), LogIndex(4), ReadContext { incarnation: 9, counter: 2 });
    let members = Configuration {
        voters: [NodeId(1), NodeId(2)].into(),
        outgoing: [NodeId(3)].into(),
        learners: [NodeId(4)].into(),
        addresses: [(NodeId(1), "unix:/a".into())].into(),
    };
    let payloads =
        [Payload::Noop, Payload::Command(Bytes::from("x=1")), Payload::Configuration(members)];
    let entries = payloads.into_iter().zip(5..).map(|(payload, index)| {
        let index = LogIndex(index);
        Entry { term, index, payload }
    });
    let conflict = AppendResult::Conflict { rejected: at, term: Term(2), index: LogIndex(3) };
    let data = Bytes::from("a part");
    let consensus = [
        Message::PreVote { next_term: term, last_log_index: at, last_log_term: term },
        Message::PreVoteReply { term, next_term: term.next(), granted: true },
        Message::RequestVote { term, last_log_index: at, last_log_term: term, transfer: true },
        Message::RequestVoteReply { term, granted: true },
        Message::AppendEntries {
            term,
            prev_log_index: at,
            prev_log_term: Term(2),
            entries: entries.collect(),
            leader_commit: at,
            round: 6,
        },
        Message::AppendEntriesReply { term, round: 6, result: AppendResult::Matched(at) },
        Message::AppendEntriesReply { term, round: 6, result: conflict },
        Message::InstallSnapshot {
            term,
            snapshot_index: at,
            snapshot_term: Term(2),
            offset: 10,
            data,
            done: true,
        },
        Message::InstallSnapshotReply {
            term,
            snapshot_index: at,
            result: SnapshotResult::Received { bytes: 5 },
        },
        Message::InstallSnapshotReply {
            term,
            snapshot_index: at,
            result: SnapshotResult::Installed,
        },
        Message::TimeoutNow { term },
        Message::ReadIndex { term, context },
        Message::ReadIndexReply { term, context, at },
    ];
    let request = Request::Read { query: Bytes::from("q"), consistency: Consistency::Linearizable };
    let timeout = std::time::Duration::from_secs(1);
    let response = Response::Answer(Bytes::from("a"));
    let entry = Entry { term, index: at, payload: Payload::Noop };
    let others = [
        PeerMessage::Relay { ticket: Ticket(5), term, request, timeout, trace: None },
        PeerMessage::RelayReply { ticket: Ticket(5), response },
        PeerMessage::StateHash { index: at, hash: 1 << 100 },
        PeerMessage::Supports { version: 2 },
        PeerMessage::RepairRequest { index: at, term: Some(term) },
        PeerMessage::SnapshotRequest { covers: at, snapshot: Some(at), offset: 9 },
        PeerMessage::SnapshotReply {
            index: at,
            term,
            offset: 9,
            chunk: Chunk { data: Bytes::from_static(b"part"), done: false },
        },
        PeerMessage::RepairReply { index: at, verdict: RepairVerdict::Entry(entry) },
        PeerMessage::RepairReply { index: at, verdict: RepairVerdict::Lacks },
        PeerMessage::RepairReply {
            index: at,
            verdict: RepairVerdict::CannotTell { compacted_to: at },
        },
    ];
    consensus.into_iter().map(PeerMessage::Consensus).chain(others).collect()
}

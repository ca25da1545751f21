//! Messages survive the wire, and whatever else arrives is an error.

use std::time::Duration;

use bytes::Bytes;
use capnp::message::{Builder, ReaderOptions};
use capnp::serialize;

use crate::codec::CodecError;
use crate::consensus::raft::{AppendResult, Message, ReadContext, SnapshotResult};
use crate::consensus::{Chunk, Configuration, Entry, Payload};
use crate::replica::{
    Consistency, LeaseAsk, MemberOrder, MemberRefusal, MemberResult, PeerMessage, Refused,
    RepairVerdict, Request, Response,
};
use crate::rpc::peer::{self, Batch};
use crate::rpc::{Limits, client};
use crate::schema::{client_capnp, peer_capnp};
use crate::types::{
    ClusterId, LeaseId, LogIndex, NodeId, Random, Revision, Term, Ticket, TraceContext,
};

fn responses() -> Vec<Response> {
    let refused = |why| Response::Refused { why, message: "wörds".into() };
    vec![
        Response::Written(Bytes::from_static(b"outcome")),
        Response::Answer(Bytes::new()),
        Response::Unknown("the node stopped".into()),
        refused(Refused::NoLeader { leader: None }),
        refused(Refused::NoLeader { leader: Some(NodeId(3)) }),
        refused(Refused::Busy { retry_after_millis: 50 }),
        refused(Refused::Invalid),
        refused(Refused::NoSpace),
        refused(Refused::TimedOut),
        refused(Refused::Stopping),
        refused(Refused::Disagreement),
        refused(Refused::Repairing),
        Response::Member(MemberResult::Done { node: NodeId(6) }),
        Response::Member(MemberResult::Refused(MemberRefusal::Unhealthy)),
        Response::Member(MemberResult::Refused(MemberRefusal::TooManyMembers)),
    ]
}

fn requests() -> Vec<Request> {
    let read = |consistency| Request::Read { query: Bytes::from_static(b"query"), consistency };
    vec![
        Request::Write { command: Bytes::from_static(b"\0\xff") },
        read(Consistency::Linearizable),
        read(Consistency::Stale),
        Request::Lease { id: LeaseId(u64::MAX), ask: LeaseAsk::KeepAlive },
        Request::Lease { id: LeaseId(0), ask: LeaseAsk::TimeToLive },
        Request::Member(MemberOrder::Add { address: "unix:/6".into(), learner: true }),
        Request::Member(MemberOrder::Promote { node: NodeId(6) }),
        Request::Member(MemberOrder::Remove { node: NodeId(5) }),
        Request::Member(MemberOrder::Update { node: NodeId(4), address: "tcp:127.0.0.1:4".into() }),
    ]
}

fn consensus() -> Vec<Message> {
    let configuration = Configuration {
        voters: (1..=5).map(NodeId).collect(),
        outgoing: [NodeId(6)].into(),
        learners: [NodeId(7)].into(),
        addresses: (1..=7).map(|id| (NodeId(id), format!("unix:/tmp/{id}/peer.sock"))).collect(),
    };
    let payloads = [
        Payload::Noop,
        Payload::Command(Bytes::from(vec![7; 3000])),
        Payload::Command(Bytes::from_static(b"x")),
        Payload::Configuration(configuration),
    ];
    let entries = (9..).map(LogIndex).zip(payloads);
    let reply = |result| Message::AppendEntriesReply { term: Term(3), round: 17, result };
    let append = |entries| Message::AppendEntries {
        term: Term(3),
        prev_log_index: LogIndex(8),
        prev_log_term: Term(2),
        entries,
        leader_commit: LogIndex(7),
        round: 17,
    };
    let context = ReadContext { incarnation: 3, counter: 4 };
    let snapshot_reply = |result| {
        let (term, snapshot_index) = (Term(7), LogIndex(9));
        Message::InstallSnapshotReply { term, snapshot_index, result }
    };
    vec![
        Message::PreVote {
            next_term: Term(2),
            last_log_index: LogIndex(3),
            last_log_term: Term(1),
        },
        Message::PreVoteReply { term: Term(4), next_term: Term(5), granted: true },
        Message::RequestVote {
            term: Term(1),
            last_log_index: LogIndex(2),
            last_log_term: Term(1),
            transfer: true,
        },
        Message::InstallSnapshot {
            term: Term(7),
            snapshot_index: LogIndex(9),
            snapshot_term: Term(6),
            offset: 1 << 20,
            data: Bytes::from_static(b"state"),
            done: true,
        },
        snapshot_reply(SnapshotResult::Received { bytes: 77 }),
        snapshot_reply(SnapshotResult::Installed),
        Message::TimeoutNow { term: Term(8) },
        Message::ReadIndex { term: Term(8), context },
        Message::ReadIndexReply { term: Term(8), context, at: LogIndex(5) },
        Message::RequestVoteReply { term: Term(4), granted: true },
        append(vec![]),
        append(entries.map(|(index, payload)| Entry { term: Term(3), index, payload }).collect()),
        reply(AppendResult::Matched(LogIndex(12))),
        reply(AppendResult::Stale),
        reply(AppendResult::Conflict { rejected: LogIndex(8), term: Term(1), index: LogIndex(4) }),
    ]
}

fn batch() -> Batch {
    let mut messages: Vec<_> = consensus().into_iter().map(PeerMessage::Consensus).collect();
    messages.extend(requests().into_iter().map(|request| PeerMessage::Relay {
        ticket: Ticket(5),
        term: Term(3),
        request,
        timeout: Duration::from_millis(1500),
        trace: Some(TraceContext { trace: 1 << 100 | 7, span: 8, sampled: true }),
    }));
    messages.extend(
        responses()
            .into_iter()
            .map(|response| PeerMessage::RelayReply { ticket: Ticket(u64::MAX), response }),
    );
    let entry = Entry { term: Term(3), index: LogIndex(9), payload: Payload::Noop };
    let verdicts = [
        RepairVerdict::Entry(entry),
        RepairVerdict::Lacks,
        RepairVerdict::CannotTell { compacted_to: LogIndex(8) },
    ];
    let reply = |verdict| PeerMessage::RepairReply { index: LogIndex(9), verdict };
    messages.extend(verdicts.map(reply));
    messages.extend([
        PeerMessage::StateHash { index: LogIndex(1024), hash: u128::MAX - 7 },
        PeerMessage::Supports { version: 2 },
        PeerMessage::RepairRequest { index: LogIndex(9), term: Some(Term(3)) },
        PeerMessage::RepairRequest { index: LogIndex(9), term: None },
        PeerMessage::SnapshotRequest { covers: LogIndex(9), snapshot: None, offset: 0 },
        PeerMessage::SnapshotRequest {
            covers: LogIndex(9),
            snapshot: Some(LogIndex(11)),
            offset: 7,
        },
        PeerMessage::SnapshotReply {
            index: LogIndex(11),
            term: Term(3),
            offset: 7,
            chunk: Chunk { data: Bytes::from_static(b"part"), done: true },
        },
    ]);
    Batch { cluster: ClusterId(u64::MAX), from: NodeId(1), to: NodeId(2), messages }
}

fn encode(batch: &Batch) -> Vec<u8> {
    let mut message = Builder::new_default();
    let route = (batch.cluster, batch.from, batch.to);
    peer::write_batch(route, batch.messages.iter(), message.init_root());
    serialize::write_message_to_words(&message)
}

fn decode(bytes: &[u8]) -> Result<Batch, CodecError> {
    let mut options = ReaderOptions::new();
    options.traversal_limit_in_words(Some(Limits::default().max_message_bytes / 8));
    let message = serialize::read_message(bytes, options)?;
    peer::read_batch(message.get_root::<peer_capnp::batch::Reader<'_>>()?)
}

#[test]
fn every_message_survives_the_wire() {
    let batch = batch();
    let bytes = encode(&batch);
    let estimate: usize = batch.messages.iter().map(peer::size).sum();
    assert!(estimate + 64 >= bytes.len(), "estimated {estimate}, took {}", bytes.len());
    assert_eq!(decode(&bytes), Ok(batch));
}

#[test]
fn damaged_batches_never_panic() {
    let bytes = encode(&batch());
    for length in 0..bytes.len() {
        assert!(decode(&bytes[..length]).is_err(), "cut to {length}");
    }
    let mut random = Random::from_seed(2);
    let mut refused = 0;
    for _ in 0..20_000 {
        let mut damaged = bytes.clone();
        for _ in 0..=random.below(4) {
            let at = random.below(damaged.len() as u64) as usize;
            damaged[at] = random.bits() as u8;
        }
        refused += usize::from(decode(&damaged).is_err());
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn absurd_numbers_and_nobody_are_refused() {
    let absurd = |message| Batch { messages: vec![PeerMessage::Consensus(message)], ..batch() };
    let vote = Message::RequestVoteReply { term: Term(u64::MAX), granted: false };
    let error = decode(&encode(&absurd(vote))).unwrap_err();
    assert!(error.to_string().contains("a term of 18446744073709551615"), "{error}");
    let nobody = Batch { from: NodeId(0), ..batch() };
    assert!(decode(&encode(&nobody)).unwrap_err().to_string().contains("nobody"));
}

#[test]
fn too_much_in_one_batch_is_refused() {
    let reply = PeerMessage::Consensus(Message::RequestVoteReply { term: Term(1), granted: true });
    let many = Batch { messages: vec![reply; peer::MAX_MESSAGES + 1], ..batch() };
    assert!(decode(&encode(&many)).unwrap_err().to_string().contains("at most 4096"));
    let command = Bytes::from(vec![0; client::MAX_REQUEST_BYTES + 1]);
    let relay = PeerMessage::Relay {
        ticket: Ticket(1),
        term: Term(3),
        request: Request::Write { command },
        timeout: Duration::from_secs(1),
        trace: None,
    };
    let large = Batch { messages: vec![relay], ..batch() };
    assert!(decode(&encode(&large)).unwrap_err().to_string().contains("2097153 bytes"));
}

/// A program that knows nothing of leases reads a question about one as a query without a byte, and
/// must refuse that alone, not the batch that it came in.
#[test]
fn an_older_program_refuses_a_question_about_a_lease() {
    let mut message = Builder::new_default();
    let question = Request::Lease { id: LeaseId(7), ask: LeaseAsk::KeepAlive };
    client::write_request(&question, Duration::from_secs(1), None, message.init_root());
    let request: client_capnp::request::Reader<'_> = message.get_root_as_reader().unwrap();
    let Ok(client_capnp::request::Read(read)) = request.which() else { panic!("not a read") };
    assert!(!read.get_stale());
    assert!(crate::kv::Query::decode(read.get_query().unwrap()).is_err());
}

#[test]
fn a_request_is_given_a_bounded_time() {
    let timeout_of = |millis| {
        let mut message = Builder::new_default();
        let mut request = message.init_root::<client_capnp::request::Builder<'_>>();
        request.set_timeout_millis(millis);
        request.set_write(b"");
        client::read_request(message.get_root_as_reader().unwrap()).unwrap().timeout
    };
    assert_eq!(timeout_of(0), client::DEFAULT_TIMEOUT);
    assert_eq!(timeout_of(20), Duration::from_millis(20));
    assert_eq!(timeout_of(u32::MAX), client::MAX_TIMEOUT);
}

/// Whoever follows paths must not keep a request from being served.
#[test]
fn what_is_no_trace_context_follows_nothing() {
    for text in ["", "00-nonsense", &"x".repeat(10_000)] {
        let mut message = Builder::new_default();
        let mut request = message.init_root::<client_capnp::request::Builder<'_>>();
        request.set_write(b"w");
        request.set_trace_parent(text);
        let read = client::read_request(message.get_root_as_reader().unwrap()).unwrap();
        assert_eq!((read.trace, read.request.is_write()), (None, true));
    }
}

#[test]
fn hello_survives_the_wire() {
    for leader in [None, Some(NodeId(2))] {
        let hello = client::Hello {
            cluster: ClusterId(1),
            node: NodeId(2),
            leader,
            term: Term(3),
            applied_index: LogIndex(4),
            revision: Revision(5),
            build: "0.1.0".into(),
        };
        let mut message = Builder::new_default();
        hello.write(message.init_root());
        let read = client::Hello::read(message.get_root_as_reader().unwrap()).unwrap();
        assert_eq!(read, hello);
    }
}

/// It would come to stand in the log.
#[test]
fn a_member_without_an_address_is_refused() {
    for address in ["", "somewhere", "unix:relative", &format!("unix:/{}", "x".repeat(1024))] {
        let order = MemberOrder::Add { address: address.to_owned(), learner: false };
        let mut message = Builder::new_default();
        let (request, time) = (Request::Member(order), Duration::from_secs(1));
        client::write_request(&request, time, None, message.init_root());
        let root = message.get_root_as_reader::<client_capnp::request::Reader<'_>>().unwrap();
        assert!(client::read_request(root).is_err(), "{address}");
    }
}

//! What clients say to a node, and what nodes say to clients: requests, responses, greetings. The
//! first byte says which of them the rest is.

use std::time::Duration;

use bytes::Bytes;
use capnp::message::{Builder, ReaderOptions};
use capnp::serialize;
use kvraft::replica::{
    Consistency, LeaseAsk, MemberOrder, MemberRefusal, MemberResult, Refused, Request, Response,
};
use kvraft::rpc::client::{Hello, read_request, read_response, write_request, write_response};
use kvraft::schema::client_capnp::{hello, request, response};
use kvraft::types::{ClusterId, LeaseId, LogIndex, NodeId, Revision, Term, TraceContext};

pub fn run(data: &[u8]) {
    let Some((kind, mut rest)) = data.split_first() else { return };
    let message = serialize::read_message_from_flat_slice(&mut rest, ReaderOptions::new());
    let Ok(message) = message else { return };
    match kind % 3 {
        0 => {
            let root = message.get_root::<request::Reader<'_>>();
            let Some(first) = root.ok().and_then(|r| read_request(r).ok()) else { return };
            let mut again = Builder::new_default();
            write_request(&first.request, first.timeout, first.trace, again.init_root());
            let root = again.get_root_as_reader::<request::Reader<'_>>();
            let again = root.ok().and_then(|root| read_request(root).ok());
            assert_eq!(again, Some(first));
        }
        1 => {
            let root = message.get_root::<response::Reader<'_>>();
            let Some(first) = root.ok().and_then(|root| read_response(root).ok()) else { return };
            let mut again = Builder::new_default();
            write_response(&first, again.init_root());
            let root = again.get_root_as_reader::<response::Reader<'_>>();
            assert_eq!(root.ok().and_then(|root| read_response(root).ok()), Some(first));
        }
        _ => {
            let root = message.get_root::<hello::Reader<'_>>();
            let Some(first) = root.ok().and_then(|root| Hello::read(root).ok()) else { return };
            let mut again = Builder::new_default();
            first.write(again.init_root());
            let root = again.get_root_as_reader::<hello::Reader<'_>>();
            assert_eq!(root.ok().and_then(|root| Hello::read(root).ok()), Some(first));
        }
    }
}

fn bytes(kind: u8, message: &Builder<capnp::message::HeapAllocator>) -> Vec<u8> {
    [vec![kind], serialize::write_message_to_words(message)].concat()
}

pub fn samples() -> Vec<Vec<u8>> {
    let (command, query) = (Bytes::from("c"), Bytes::from("q"));
    let requests = [
        Request::Write { command },
        Request::Read { query: query.clone(), consistency: Consistency::Linearizable },
        Request::Read { query, consistency: Consistency::Stale },
        Request::Lease { id: LeaseId(7), ask: LeaseAsk::KeepAlive },
        Request::Member(MemberOrder::Add { address: "unix:/6".into(), learner: true }),
        Request::Member(MemberOrder::Remove { node: NodeId(5) }),
    ];
    let requests = requests.iter().map(|request| {
        let mut message = Builder::new_default();
        let trace = Some(TraceContext { trace: 1 << 100 | 7, span: 8, sampled: true });
        write_request(request, Duration::from_secs(3), trace, message.init_root());
        bytes(0, &message)
    });
    let refusals = [
        Refused::NoLeader { leader: Some(NodeId(2)) },
        Refused::Busy { retry_after_millis: 9 },
        Refused::Invalid,
        Refused::NoSpace,
        Refused::TimedOut,
        Refused::Stopping,
        Refused::Disagreement,
        Refused::Repairing,
    ];
    let refusals = refusals.into_iter().map(|why| Response::Refused { why, message: "why".into() });
    let responses = [
        Response::Written(Bytes::from("o")),
        Response::Answer(Bytes::from("a")),
        Response::Unknown("ü".into()),
        Response::Member(MemberResult::Done { node: NodeId(6) }),
        Response::Member(MemberResult::Refused(MemberRefusal::Unhealthy)),
    ];
    let responses = responses.into_iter().chain(refusals).map(|response| {
        let mut message = Builder::new_default();
        write_response(&response, message.init_root());
        bytes(1, &message)
    });
    let hello = Hello {
        cluster: ClusterId(1),
        node: NodeId(2),
        leader: Some(NodeId(3)),
        term: Term(4),
        applied_index: LogIndex(5),
        revision: Revision(6),
        build: "0.1".into(),
    };
    let mut message = Builder::new_default();
    hello.write(message.init_root());
    requests.chain(responses).chain([bytes(2, &message)]).collect()
}

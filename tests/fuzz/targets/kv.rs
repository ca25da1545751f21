//! What clients put into requests, and what they get back: commands, queries, outcomes, answers.
//! The first byte says which of them the rest is.

use std::sync::Arc;

use bytes::Bytes;
use kvraft::kv::version::LATEST_VERSION;
use kvraft::kv::{
    Alarm, AlarmKind, AlarmOrder, Announcement, Answer, Command, Compare, CompareResult,
    CompareTarget, DeleteRangeRequest, Effect, Expected, KeyValue, LeaseCheckpoint, Operation,
    Outcome, PutRequest, Query, RangeRequest, Refusal, RequestOp, ResponseOp, SessionId,
    SessionStamp, SortOrder, SortTarget, Transaction, TransactionResult,
};
use kvraft::types::{LeaseId, LogIndex, NodeId, Revision};

pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 4 {
        0 => {
            let Ok(first) = Command::decode(rest) else { return };
            assert!(first.encoded_bytes() >= first.encode().len());
            let _ = first.validate();
            assert_eq!(Command::decode(&first.encode()).as_ref(), Ok(&first));
        }
        1 => {
            let Ok(first) = Query::decode(rest) else { return };
            let _ = first.validate();
            assert_eq!(Query::decode(&first.encode()).as_ref(), Ok(&first));
        }
        2 => {
            let Ok(first) = Outcome::decode(rest) else { return };
            assert_eq!(Outcome::decode(&first.encode()).as_ref(), Ok(&first));
        }
        _ => {
            let Ok(first) = Answer::decode(rest) else { return };
            assert_eq!(Answer::decode(&first.encode()).as_ref(), Ok(&first));
        }
    }
}

pub fn samples() -> Vec<Vec<u8>> {
    let with = |kind: u8, bytes: Bytes| [&[kind][..], &bytes].concat();
    let commands = commands().into_iter().map(|command| with(0, command.encode()));
    let queries = queries().into_iter().map(|query| with(1, query.encode()));
    let found = KeyValue {
        key: Bytes::from("k"),
        value: Bytes::from("v"),
        create_revision: Revision(2),
        mod_revision: Revision(3),
        version: 2,
        lease: LeaseId(0),
    };
    let effects = [
        Effect::Put { existed: true },
        Effect::Deleted { existed: false },
        Effect::Swapped,
        Effect::Unchanged { found: Some(found.clone()) },
        Effect::Raised { version: 2 },
        Effect::Transaction(Arc::new(result(found))),
        Effect::LeaseRevoked { deleted: 2 },
        Effect::Alarm { alarm: Some(ALARM) },
        Effect::Refused(Refusal::SessionFull),
    ];
    let outcomes = effects.map(|effect| Outcome { revision: Revision(7), effect }.encode());
    let outcomes = outcomes.into_iter().map(|outcome| with(2, outcome));
    let machine = super::state::machine_with(&super::kv::commands());
    let answers = super::kv::queries().into_iter().map(|query| machine.query(&query).encode());
    let answers: Vec<_> = answers.map(|answer| with(3, answer)).collect();
    commands.chain(queries).chain(outcomes).chain(answers).collect()
}

const ALARM: Alarm = Alarm { member: NodeId(2), kind: AlarmKind::NoSpace };

/// One of each.
pub fn commands() -> Vec<Command> {
    let (key, value) = (Bytes::from("key"), Bytes::from("value"));
    let swap = |expected| Operation::CompareAndSwap {
        key: Bytes::from("key"),
        expected,
        value: Bytes::from("new"),
    };
    let operations = [
        Operation::Put { key: key.clone(), value: value.clone() },
        Operation::Delete { key },
        swap(Expected::Absent),
        swap(Expected::Value(value)),
        swap(Expected::ModRevision(Revision(2))),
        Operation::RaiseVersion { to: 2 },
        Operation::RaiseVersion { to: 3 },
        Operation::LeaseGrant { id: LeaseId(5), ttl: 60 },
        Operation::Transaction(transaction()),
        Operation::LeaseCheckpoint(vec![LeaseCheckpoint { id: LeaseId(5), remaining: 7 }]),
        Operation::Compact { revision: Revision(3) },
        Operation::LeaseRevoke { id: LeaseId(5) },
        Operation::RaiseVersion { to: 4 },
        Operation::Announce(Announcement {
            node: NodeId(2),
            name: "two".into(),
            client_urls: vec!["http://127.0.0.1:1".into()],
        }),
        Operation::Enlist { node: NodeId(3) },
        Operation::Alarm(AlarmOrder { alarm: ALARM, is_on: true }),
    ];
    let stamp =
        SessionStamp { id: SessionId(9), sequence: 1, acknowledged: 0, opened_at: LogIndex(0) };
    let plain = operations.clone().map(|operation| Command { session: None, operation });
    let [first, ..] = operations;
    let stamped = Command { session: Some(stamp), operation: first };
    plain.into_iter().chain([stamped]).collect()
}

/// What brings a new machine to its newest version.
pub fn raises() -> Vec<Command> {
    (2..=LATEST_VERSION)
        .map(|to| Command { session: None, operation: Operation::RaiseVersion { to } })
        .collect()
}

/// A bit of everything that a transaction may hold.
fn transaction() -> Transaction {
    let (start, end) = (Bytes::from("a"), Bytes::from("m"));
    let compare = |target| Compare {
        start: start.clone(),
        end: end.clone(),
        result: CompareResult::NotEqual,
        target,
    };
    let put = PutRequest {
        key: Bytes::from("kept"),
        value: Bytes::from("value"),
        lease: LeaseId(5),
        prev_kv: true,
        ..PutRequest::default()
    };
    let delete =
        DeleteRangeRequest { start: Bytes::from("key"), end: Bytes::from("key0"), prev_kv: true };
    let range = RequestOp::Range(RangeRequest { start: start.clone(), ..RangeRequest::default() });
    let inner = Transaction { failure: vec![range.clone()], ..Transaction::default() };
    Transaction {
        compare: vec![
            compare(CompareTarget::Version(9)),
            compare(CompareTarget::Value(Bytes::from("nothing like it"))),
        ],
        success: vec![
            RequestOp::Put(put),
            RequestOp::DeleteRange(delete),
            range.clone(),
            RequestOp::Transaction(inner),
        ],
        failure: vec![range],
    }
}

/// What of it changes nothing.
fn reads() -> Transaction {
    let mut reads = transaction();
    reads.success.retain(|it| !matches!(it, RequestOp::Put(_) | RequestOp::DeleteRange(_)));
    reads
}

/// What it may answer.
fn result(found: KeyValue) -> TransactionResult {
    let inner = TransactionResult { succeeded: true, responses: vec![] };
    let items = vec![found.clone()];
    TransactionResult {
        succeeded: true,
        responses: vec![
            ResponseOp::Range { items, more: true, count: 2 },
            ResponseOp::Put { prev: Some(found.clone()) },
            ResponseOp::DeleteRange { deleted: 1, prev: vec![found] },
            ResponseOp::Transaction(inner),
        ],
    }
}

/// One of each.
pub fn queries() -> Vec<Query> {
    let range = |keys_only, count_only| {
        Query::Range(RangeRequest {
            end: Bytes::from("z"),
            limit: 3,
            keys_only,
            count_only,
            ..RangeRequest::default()
        })
    };
    vec![
        Query::Get { key: Bytes::from("key") },
        range(false, false),
        range(true, false),
        range(false, true),
        Query::Range(RangeRequest {
            revision: Revision(3),
            max_mod_revision: Revision(9),
            sort_order: SortOrder::Descend,
            sort_target: SortTarget::Mod,
            skip: 1,
            ..RangeRequest::default()
        }),
        Query::Lease { id: LeaseId(5), keys: true, after: Bytes::new() },
        Query::Leases { after: LeaseId(1) },
        Query::Revision,
        Query::Transaction(reads()),
    ]
}

//! Transactions: what may stand in one, and what it does.

use super::past::machine_with_a_past;
use super::*;
use crate::kv::limits::{MAX_RESULT_PAYLOAD_BYTES, MAX_TRANSACTION_DEPTH, MAX_TRANSACTION_OPS};

fn put_op(key: &str, value: &str) -> RequestOp {
    RequestOp::Put(PutRequest {
        key: bytes(key),
        value: bytes(value),
        prev_kv: true,
        ..PutRequest::default()
    })
}

fn delete_op(start: &str, end: &str) -> RequestOp {
    let (start, end) = (bytes(start), bytes(end));
    RequestOp::DeleteRange(DeleteRangeRequest { start, end, prev_kv: true })
}

fn range_op(start: &str, end: &str) -> RequestOp {
    let (start, end) = (bytes(start), bytes(end));
    RequestOp::Range(RangeRequest { start, end, ..RangeRequest::default() })
}

fn all_of(success: Vec<RequestOp>) -> Transaction {
    Transaction { success, ..Transaction::default() }
}

fn nested(success: Vec<RequestOp>, failure: Vec<RequestOp>) -> RequestOp {
    RequestOp::Transaction(Transaction { compare: Vec::new(), success, failure })
}

fn compare(key: &str, result: CompareResult, target: CompareTarget) -> Compare {
    Compare { start: bytes(key), end: after(key.as_bytes()), result, target }
}

fn transact(machine: &mut Machine, transaction: Transaction) -> (Revision, TransactionResult) {
    let outcome = apply(machine, &alone(Operation::Transaction(transaction)));
    match outcome.effect {
        Effect::Transaction(result) => (outcome.revision, (*result).clone()),
        other => panic!("it was not done: {other:?}"),
    }
}

fn refusal(machine: &mut Machine, success: Vec<RequestOp>) -> Option<Refusal> {
    let before = (machine.state_hash(), machine.revision());
    let outcome = apply(machine, &alone(Operation::Transaction(all_of(success))));
    let refusal = refused(&outcome);
    let untouched = (machine.state_hash(), machine.revision()) == before;
    assert!(refusal.is_none() || untouched, "what is refused has no effect");
    refusal
}

/// etcd's rule, with its exceptions.
#[test]
fn no_key_is_changed_twice() {
    let (a, b) = (|| put_op("a", "1"), || put_op("b", "1"));
    let duplicates: Vec<Vec<RequestOp>> = vec![
        vec![a(), a()],
        vec![a(), nested(vec![a()], vec![])],
        vec![nested(vec![], vec![a()]), a()],
        vec![nested(vec![a()], vec![]), nested(vec![], vec![a()])],
        vec![a(), delete_op("a", "b")],
        vec![delete_op("a", "z"), b()],
        vec![delete_op("a", "c"), nested(vec![b()], vec![])],
        vec![nested(vec![b()], vec![]), delete_op("a", "c")],
        // A put of the list's own counts as later than what nested transactions delete.
        vec![a(), nested(vec![delete_op("a", "b")], vec![])],
        vec![nested(vec![delete_op("a", "b")], vec![]), nested(vec![], vec![a()])],
        vec![nested(vec![nested(vec![a()], vec![])], vec![]), nested(vec![a()], vec![])],
        vec![nested(vec![a(), a()], vec![])],
    ];
    let allowed: Vec<Vec<RequestOp>> = vec![
        vec![a(), b(), range_op("", "")],
        vec![nested(vec![a()], vec![a()])],
        vec![delete_op("a", "b"), b()],
        vec![delete_op("a", "c"), delete_op("b", "d")],
        vec![nested(vec![a()], vec![]), nested(vec![delete_op("a", "b")], vec![])],
        vec![nested(vec![delete_op("a", "b")], vec![a()])],
        vec![delete_op("a", ""), a()],
    ];
    for operations in duplicates {
        let command = alone(Operation::Transaction(all_of(operations.clone())));
        assert_eq!(command.validate(), Err(Invalid::DuplicateKey), "{operations:?}");
        let failure = Transaction { failure: operations, ..Transaction::default() };
        assert_eq!(failure.validate(), Err(Invalid::DuplicateKey));
        let outcome = apply(&mut machine_with_a_past(), &command);
        assert_eq!(refused(&outcome), Some(Refusal::Malformed));
    }
    for operations in allowed {
        assert_eq!(all_of(operations.clone()).validate(), Ok(()), "{operations:?}");
    }
}

#[test]
fn a_transaction_is_bounded() {
    let many = |count: usize| (0..count).map(|_| range_op("a", "b")).collect::<Vec<_>>();
    assert_eq!(all_of(many(MAX_TRANSACTION_OPS)).validate(), Ok(()));
    assert_eq!(all_of(many(MAX_TRANSACTION_OPS + 1)).validate(), Err(Invalid::TooManyOps));
    // What is nested has what is left.
    let mut outer = many(99);
    outer.push(nested(many(28), many(28)));
    assert_eq!(all_of(outer.clone()).validate(), Ok(()));
    outer.push(nested(many(28), vec![]));
    assert_eq!(all_of(outer).validate(), Err(Invalid::TooManyOps));

    let deep = |levels: usize| {
        (1..levels).fold(all_of(vec![]), |inner, _| all_of(vec![RequestOp::Transaction(inner)]))
    };
    let deepest = alone(Operation::Transaction(deep(MAX_TRANSACTION_DEPTH)));
    assert_eq!(deepest.validate(), Ok(()));
    assert_eq!(Command::decode(&deepest.encode()), Ok(deepest.clone()));
    let outcome = apply(&mut machine_with_a_past(), &deepest);
    assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
    let deeper = alone(Operation::Transaction(deep(MAX_TRANSACTION_DEPTH + 1)));
    assert_eq!(deeper.validate(), Err(Invalid::TooDeep));
    let far_too_deep = alone(Operation::Transaction(deep(100))).encode();
    assert!(matches!(Command::decode(&far_too_deep), Err(DecodeError::Malformed { .. })));

    let one = |put: PutRequest| all_of(vec![RequestOp::Put(put)]).validate();
    let key = bytes("a");
    let nameless = PutRequest { value: bytes("1"), ..PutRequest::default() };
    assert_eq!(one(nameless), Err(Invalid::EmptyKey));
    let both = PutRequest { key: key.clone(), value: bytes("1"), ..PutRequest::default() };
    let both = PutRequest { ignore_value: true, ..both };
    assert_eq!(one(both), Err(Invalid::ValueProvided));
    let both = PutRequest { key, lease: LeaseId(1), ignore_lease: true, ..PutRequest::default() };
    assert_eq!(one(both), Err(Invalid::LeaseProvided));
}

#[test]
fn all_changes_bear_one_revision_and_later_reads_see_earlier_writes() {
    let mut machine = machine_with_a_past();
    apply(&mut machine, &alone(put("a", "0")));
    let operations = vec![
        range_op("", ""),
        put_op("a", "1"),
        range_op("", ""),
        put_op("b", "2"),
        nested(vec![put_op("c", "3"), range_op("b", "")], vec![]),
        delete_op("x", "y"),
    ];
    let (revision, result) = transact(&mut machine, all_of(operations));
    assert_eq!(revision, Revision(3));
    let values = |response: &ResponseOp| match response {
        ResponseOp::Range { items, .. } => {
            items.iter().map(|kv| String::from_utf8_lossy(&kv.value).into_owned()).collect()
        }
        other => vec![format!("{other:?}")],
    };
    assert_eq!(values(&result.responses[0]), ["0"]);
    assert_eq!(values(&result.responses[2]), ["1"]);
    let ResponseOp::Transaction(inner) = &result.responses[4] else { panic!("{result:?}") };
    assert_eq!(values(&inner.responses[1]), ["2", "3"]);
    let ResponseOp::Put { prev: Some(prev) } = &result.responses[1] else { panic!("{result:?}") };
    assert_eq!((&prev.value[..], prev.mod_revision), (&b"0"[..], Revision(2)));
    assert_eq!(result.responses[5], ResponseOp::DeleteRange { deleted: 0, prev: vec![] });
    let changes = machine.changes(Revision(3)).unwrap();
    let changes: Vec<_> = changes.map(|it| (it.item.mod_revision.0, it.sub, it.item.key)).collect();
    assert_eq!(changes, [(3, 0, bytes("a")), (3, 1, bytes("b")), (3, 2, bytes("c"))]);
    let rest = machine.changes_from(Revision(3), 1).unwrap();
    assert_eq!(rest.map(|it| it.sub).collect::<Vec<_>>(), [1, 2]);
    // One that changes nothing consumes nothing.
    let (revision, _) = transact(&mut machine, all_of(vec![range_op("", ""), delete_op("x", "y")]));
    assert_eq!(revision, Revision(3));
}

/// A key that an earlier nested transaction put and a later one deletes was there for the
/// transaction's own reads, and for its changes; nobody else ever sees it.
#[test]
fn a_key_may_come_and_go_within_a_transaction() {
    let mut machine = machine_with_a_past();
    apply(&mut machine, &alone(put("a", "0")));
    let come_and_go = vec![
        nested(vec![put_op("a", "1"), put_op("b", "1")], vec![]),
        nested(vec![range_op("", ""), delete_op("", "")], vec![]),
    ];
    let (_, result) = transact(&mut machine, all_of(come_and_go));
    let ResponseOp::Transaction(second) = &result.responses[1] else { panic!("{result:?}") };
    assert!(matches!(&second.responses[0], ResponseOp::Range { count: 2, .. }));
    let changes: Vec<_> = machine.changes(Revision(3)).unwrap().collect();
    let told: Vec<_> = changes.iter().map(|it| (it.sub, it.is_delete)).collect();
    assert_eq!(told, [(0, false), (1, false), (2, true), (3, true)]);
    // Of the deletion, too, the one before is what was there before the transaction.
    assert_eq!(machine.previous(&changes[2]).map(|kv| kv.value), Some(bytes("0")));
    assert_eq!(machine.previous(&changes[3]), None);
    let at = |revision| {
        let range = RangeRequest { revision: Revision(revision), ..RangeRequest::default() };
        machine.query(&Query::Range(range)).count
    };
    assert_eq!((at(1), at(2), at(3)), (0, 1, 0));
    let parts: Vec<_> = machine.snapshot().in_parts_of(30).collect();
    let mut restore = Machine::new().restore();
    parts.iter().for_each(|part| restore.take(part).unwrap());
    assert_eq!(restore.finish().unwrap().state_hash(), machine.state_hash());
}

#[test]
fn comparisons_are_etcd_s() {
    use CompareResult::{Equal, Greater, Less, NotEqual};
    let mut machine = machine_with_a_past();
    for (key, value) in [("a", "1"), ("a", "2"), ("b", "2")] {
        apply(&mut machine, &alone(put(key, value)));
    }
    let value = |text| CompareTarget::Value(bytes(text));
    let version = CompareTarget::Version;
    let cases = [
        (compare("a", Equal, value("2")), true),
        (compare("a", NotEqual, value("2")), false),
        (compare("a", Greater, value("1")), true),
        (compare("a", Less, value("2")), false),
        (compare("a", Equal, version(2)), true),
        (compare("a", Less, CompareTarget::CreateRevision(Revision(3))), true),
        (compare("a", Equal, CompareTarget::ModRevision(Revision(3))), true),
        (compare("a", Equal, CompareTarget::Lease(LeaseId(0))), true),
        // What is absent has version, revisions and lease zero, and no value to compare.
        (compare("x", Equal, version(0)), true),
        (compare("x", Greater, CompareTarget::CreateRevision(Revision(0))), false),
        (compare("x", Less, CompareTarget::ModRevision(Revision(1))), true),
        (compare("x", NotEqual, CompareTarget::Lease(LeaseId(1))), true),
        (compare("x", Equal, value("")), false),
        (compare("x", NotEqual, value("1")), false),
        // Of a range, all must hold.
        (Compare { end: bytes("c"), ..compare("a", Equal, value("2")) }, true),
        (Compare { end: Bytes::new(), ..compare("a", Equal, version(1)) }, false),
        (Compare { end: bytes("z"), ..compare("c", Equal, version(0)) }, true),
    ];
    for (compare, holds) in cases {
        let transaction = Transaction { compare: vec![compare.clone()], ..Transaction::default() };
        let (revision, result) = transact(&mut machine, transaction);
        assert_eq!((result.succeeded, revision), (holds, Revision(4)), "{compare:?}");
    }
}

/// As in etcd: which way a nested transaction goes is decided before the outer one has done
/// anything.
#[test]
fn nested_comparisons_see_the_keys_as_they_were() {
    let mut machine = machine_with_a_past();
    let absent = compare("a", CompareResult::Equal, CompareTarget::Version(0));
    let inner = Transaction { compare: vec![absent], ..Transaction::default() };
    let operations = vec![put_op("a", "1"), RequestOp::Transaction(inner)];
    let (_, result) = transact(&mut machine, all_of(operations));
    let ResponseOp::Transaction(inner) = &result.responses[1] else { panic!("{result:?}") };
    assert!(inner.succeeded);
}

#[test]
fn a_put_keeps_what_it_is_told_to_keep() {
    let mut machine = machine_with_a_past();
    let keep = |ignore_value, ignore_lease| PutRequest {
        key: bytes("a"),
        ignore_value,
        ignore_lease,
        ..PutRequest::default()
    };
    for put in [keep(true, false), keep(false, true)] {
        let refusal = refusal(&mut machine, vec![put_op("b", "1"), RequestOp::Put(put)]);
        assert_eq!(refusal, Some(Refusal::KeyNotFound));
    }
    apply(&mut machine, &alone(Operation::LeaseGrant { id: LeaseId(7), ttl: 10 }));
    let leased = PutRequest { value: bytes("1"), lease: LeaseId(7), ..keep(false, false) };
    transact(&mut machine, all_of(vec![RequestOp::Put(leased.clone())]));
    let kv = |machine: &Machine| machine.query(&Query::Get { key: bytes("a") }).items.remove(0);
    // The lease stays, the value is new; then the value stays, and the lease goes.
    let put = PutRequest { value: bytes("2"), ..keep(false, true) };
    transact(&mut machine, all_of(vec![RequestOp::Put(put)]));
    assert_eq!((kv(&machine).value, kv(&machine).lease), (bytes("2"), LeaseId(7)));
    transact(&mut machine, all_of(vec![RequestOp::Put(keep(true, false))]));
    assert_eq!((kv(&machine).value, kv(&machine).lease), (bytes("2"), LeaseId(0)));
    let unknown = PutRequest { lease: LeaseId(8), ..leased };
    let operations = vec![put_op("b", "1"), RequestOp::Put(unknown)];
    assert_eq!(refusal(&mut machine, operations), Some(Refusal::LeaseNotFound));
    let future = RangeRequest { revision: Revision(99), ..RangeRequest::default() };
    let operations = vec![put_op("b", "1"), RequestOp::Range(future)];
    assert_eq!(refusal(&mut machine, operations), Some(Refusal::FutureRevision));
}

#[test]
fn a_transaction_that_would_answer_too_much_has_no_effect() {
    let mut machine = machine_with_a_past();
    let large = "x".repeat(1 << 20);
    for number in 0..4 {
        apply(&mut machine, &alone(put(&format!("k{number}"), &large)));
    }
    let too_large = Some(Refusal::ResultTooLarge);
    assert_eq!(refusal(&mut machine, vec![put_op("a", "1"), range_op("", "")]), too_large);
    assert_eq!(refusal(&mut machine, vec![put_op("a", "1"), delete_op("k", "")]), too_large);
    // What fits comes whole, and fits what a client is ready to read.
    let outcome = apply(
        &mut machine,
        &alone(Operation::Transaction(all_of(vec![put_op("k0", ""), put_op("k1", "")]))),
    );
    assert!(outcome.encode().len() > MAX_RESULT_PAYLOAD_BYTES / 2);
    assert!(outcome.encode().len() < limits::MAX_ANSWER_BYTES);
}

/// Asked, not applied: the same answer, and nothing has changed.
#[test]
fn a_transaction_that_only_reads_is_a_query_too() {
    let mut machine = machine_with_a_past();
    for (key, value) in [("a", "1"), ("a", "2"), ("b", "2")] {
        apply(&mut machine, &alone(put(key, value)));
    }
    let then = RangeRequest { revision: Revision(2), ..RangeRequest::default() };
    let reads = |version| Transaction {
        compare: vec![compare("a", CompareResult::Equal, CompareTarget::Version(version))],
        success: vec![range_op("", ""), nested(vec![range_op("b", "")], vec![])],
        failure: vec![RequestOp::Range(then.clone())],
    };
    for (version, count) in [(2, 2), (7, 1)] {
        let query = Query::Transaction(reads(version));
        assert_eq!(query.validate(), Ok(()));
        let before = (machine.state_hash(), machine.revision());
        let answer = machine.query(&query);
        assert_eq!((machine.state_hash(), machine.revision()), before);
        let (revision, applied) = transact(&mut machine, reads(version));
        assert_eq!((answer.revision, answer.refused), (revision, None));
        let result = answer.transaction.unwrap();
        assert!(
            matches!(&result.responses[0], ResponseOp::Range { count: it, .. } if *it == count)
        );
        assert_eq!(result, applied);
    }
    let future = RangeRequest { revision: Revision(99), ..RangeRequest::default() };
    let answer = machine.query(&Query::Transaction(all_of(vec![RequestOp::Range(future)])));
    assert_eq!((answer.refused, answer.transaction), (Some(Refusal::FutureRevision), None));
    // In whichever list, however deep.
    let deep = Transaction {
        failure: vec![nested(vec![], vec![delete_op("a", "b")])],
        ..Transaction::default()
    };
    for writes in [all_of(vec![range_op("", ""), put_op("c", "1")]), deep] {
        let query = Query::Transaction(writes);
        assert_eq!(query.validate(), Err(Invalid::NoQuery));
        assert_eq!(machine.query(&query).refused, Some(Refusal::Malformed));
    }
}

/// A retry of what was refused for good reasons is refused again, whatever has changed since.
#[test]
fn a_session_keeps_what_a_transaction_did_or_why_it_was_refused() {
    let mut machine = machine_with_a_past();
    let keeps = PutRequest { key: bytes("a"), ignore_value: true, ..PutRequest::default() };
    let keeps = Operation::Transaction(all_of(vec![RequestOp::Put(keeps)]));
    let first = apply(&mut machine, &stamped(1, 1, 0, keeps.clone()));
    assert_eq!(refused(&first), Some(Refusal::KeyNotFound));
    let operation = Operation::Transaction(all_of(vec![put_op("a", "1"), range_op("", "")]));
    let second = apply(&mut machine, &stamped(1, 2, 0, operation.clone()));
    apply(&mut machine, &alone(put("b", "2")));
    assert_eq!(apply(&mut machine, &stamped(1, 1, 0, keeps)), first);
    assert_eq!(apply(&mut machine, &stamped(1, 2, 0, operation)), second);
    assert_eq!(machine.revision(), Revision(3));
}

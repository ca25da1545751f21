//! How many keys a question or a transaction looks at.

use std::cell::Cell;

use super::past::machine_with_a_past;
use super::*;

const KEYS: usize = 2_000;

/// A machine with many keys, some of which have a past.
fn machine_with_many_keys() -> Machine {
    let mut machine = machine_with_a_past();
    for number in (0..KEYS).chain(0..KEYS / 10) {
        apply(&mut machine, &alone(put(&format!("k{number:05}"), "x")));
    }
    machine
}

fn count(start: &str, revision: u64) -> RangeRequest {
    let (start, revision) = (bytes(start), Revision(revision));
    RangeRequest { start, revision, count_only: true, ..RangeRequest::default() }
}

/// A put, and so many transactions within the transaction.
fn many(inner: &Transaction, times: usize) -> Operation {
    let key = bytes("new");
    let mut success = vec![RequestOp::Put(PutRequest { key, ..PutRequest::default() })];
    success.extend((0..times).map(|_| RequestOp::Transaction(inner.clone())));
    Operation::Transaction(Transaction { success, ..Transaction::default() })
}

#[test]
fn a_transaction_looks_at_a_bounded_number_of_keys() {
    let mut machine = machine_with_many_keys();
    let range = |request: RangeRequest| Transaction {
        success: vec![RequestOp::Range(request); 60],
        ..Transaction::default()
    };
    let target = CompareTarget::Version(0);
    let (start, result) = (bytes("k"), CompareResult::Greater);
    let compare = Compare { start, end: Bytes::new(), result, target };
    let compares = Transaction { compare: vec![compare; 60], ..Transaction::default() };
    let last = machine.revision().0;
    for inner in [range(count("k", 0)), range(count("", last - 1)), compares] {
        // 60 times 2,000 keys each.
        let few = apply(&mut machine, &alone(many(&inner, 8)));
        assert!(matches!(few.effect, Effect::Transaction(_)), "{few:?}");
        let before = (machine.state_hash(), machine.revision());
        let outcome = apply(&mut machine, &alone(many(&inner, 9)));
        assert_eq!(refused(&outcome), Some(Refusal::TooMuchToVisit));
        assert_eq!((machine.state_hash(), machine.revision()), before, "it has no effect");
        assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
    }
    // What is counted without a look costs nothing.
    let outcome = apply(&mut machine, &alone(many(&range(count("\0", 0)), 60)));
    assert!(matches!(outcome.effect, Effect::Transaction(_)), "{outcome:?}");
}

/// The number of all keys is known; and nobody who only counts wants an order.
#[test]
fn counting_looks_at_no_more_than_it_must() {
    let machine = machine_with_many_keys();
    let range = |request: &RangeRequest| machine.parts().0.range(request, 1000, &|| true).unwrap();
    for start in ["", "\0"] {
        for sort_target in [SortTarget::Key, SortTarget::Value] {
            let request = RangeRequest { sort_target, ..count(start, 0) };
            let found = range(&request);
            assert_eq!((found.count, found.items.len()), (KEYS as u64, 0));
            assert!(found.visited <= 1, "{}", found.visited);
        }
    }
    let found = range(&count("k00000\0", 0));
    assert_eq!((found.count, found.visited), (KEYS as u64 - 1, KEYS as u64 - 1));
    // Of the past, each key once, be it changed or not.
    let found = range(&count("", machine.revision().0 - 1));
    assert_eq!((found.count, found.visited), (KEYS as u64, KEYS as u64));
}

/// A question is small or not by what it looks at, whatever it is that looks.
#[test]
fn a_small_query_looks_at_few_keys() {
    let most = limits::SMALL_QUERY_VISITS as usize;
    let mut machine = machine_with_a_past();
    (0..=most).for_each(|number| {
        apply(&mut machine, &alone(put(&format!("k{number:05}"), "x")));
    });
    let first = machine.revision().0 - most as u64;
    apply(&mut machine, &alone(put("after", "x")));
    let revision = machine.revision().0 - 1;
    let limited = RangeRequest { limit: 1, count_only: false, ..count("", 0) };
    let by_value = RangeRequest { sort_target: SortTarget::Value, ..limited.clone() };
    // All that there were, and only the last of them was there then.
    for range in [count("", 0), count("", revision), count("", first), limited, by_value] {
        let of =
            |start: &str| RangeRequest { start: bytes(start), end: bytes("l"), ..range.clone() };
        let compare = Compare {
            start: bytes("k"),
            end: bytes("k00001"),
            result: CompareResult::Equal,
            target: CompareTarget::Version(0),
        };
        let success = vec![RequestOp::Range(of("k00002"))];
        let together = Transaction { compare: vec![compare], failure: success, success: vec![] };
        for (query, is_small) in [
            (Query::Range(of("k00001")), true),
            (Query::Range(of("k00000")), false),
            (Query::Transaction(together.clone()), true),
            (
                Query::Transaction(Transaction {
                    failure: vec![RequestOp::Range(of("k00001"))],
                    ..together
                }),
                false,
            ),
        ] {
            let answer = machine.query(&query);
            assert_eq!(machine.query_whole(&query, &|| true), answer);
            assert_eq!(machine.query_small(&query), is_small.then_some(answer), "{query:?}");
        }
    }
}

#[test]
fn whoever_has_no_patience_any_more_is_not_worked_for() {
    let machine = machine_with_many_keys();
    let revision = machine.revision().0 - 1;
    for query in [count("k", 0), count("k", revision)] {
        let asked = Cell::new(0);
        let patience = || {
            asked.set(asked.get() + 1);
            asked.get() <= 100
        };
        machine.query_whole(&Query::Range(query), &patience);
        assert!((100..110).contains(&asked.get()), "{}", asked.get());
    }
}

/// What takes many answers page by page is one.
#[test]
fn a_whole_range_is_all_of_its_pages() {
    let mut machine = machine_with_a_past();
    for number in 0..7 {
        let value =
            format!("{}{}", number * 3 % 7, "x".repeat(limits::MAX_ANSWER_PAYLOAD_BYTES / 2));
        apply(&mut machine, &alone(put(&format!("k{number}"), &value)));
    }
    for (limit, sort_target) in
        [(0, SortTarget::Key), (0, SortTarget::Value), (5, SortTarget::Value), (7, SortTarget::Key)]
    {
        let range = RangeRequest { limit, sort_target, ..RangeRequest::default() };
        let (mut items, mut more) = (Vec::new(), true);
        while more && (limit == 0 || items.len() < limit as usize) {
            let limit = if limit == 0 { 0 } else { limit - items.len() as u64 };
            let page = RangeRequest { skip: items.len() as u64, limit, ..range.clone() };
            let answer = machine.query(&Query::Range(page));
            more = answer.more;
            items.extend(answer.items);
        }
        let query = Query::Range(range);
        let whole = machine.query_whole(&query, &|| true);
        assert_eq!((whole.items.len(), whole.more), (items.len(), more));
        assert!(whole.items == items, "in the same order");
        assert_eq!(machine.query_small(&query), None);
        assert!(query.is_cut_by(&machine.query(&query)) && !query.is_cut_by(&whole));
    }
}

/// etcd's leases are signed numbers.
#[test]
fn leases_are_compared_as_signed() {
    let mut machine = machine_with_a_past();
    let (id, key) = (LeaseId(u64::MAX), bytes("a"));
    apply(&mut machine, &alone(Operation::LeaseGrant { id, ttl: 9 }));
    let put = PutRequest { key: key.clone(), lease: id, ..PutRequest::default() };
    let success = vec![RequestOp::Put(put)];
    let leased = Transaction { success, ..Transaction::default() };
    apply(&mut machine, &alone(Operation::Transaction(leased)));
    for (name, wanted) in [("a", 1), ("absent", i64::MIN as u64)] {
        let (start, end) = (bytes(name), after(name.as_bytes()));
        let target = CompareTarget::Lease(LeaseId(wanted));
        let result = if wanted == 1 { CompareResult::Less } else { CompareResult::Greater };
        let compare = vec![Compare { start, end, result, target }];
        let transaction = Transaction { compare, ..Transaction::default() };
        let outcome = apply(&mut machine, &alone(Operation::Transaction(transaction)));
        let Effect::Transaction(result) = outcome.effect else { panic!("{outcome:?}") };
        assert!(result.succeeded, "{name}");
    }
}

/// Which refusal is told is etcd's choice: that of a put, wherever it stands.
#[test]
fn puts_are_checked_before_ranges() {
    let mut machine = machine_with_a_past();
    let (key, lease) = (bytes("a"), LeaseId(7));
    let put = RequestOp::Put(PutRequest { key, lease, ..PutRequest::default() });
    let inner = Transaction { success: vec![put], ..Transaction::default() };
    let success = vec![RequestOp::Range(count("", 99)), RequestOp::Transaction(inner)];
    let transaction = Transaction { success, ..Transaction::default() };
    let outcome = apply(&mut machine, &alone(Operation::Transaction(transaction)));
    assert_eq!(refused(&outcome), Some(Refusal::LeaseNotFound));
}

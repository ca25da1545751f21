use std::collections::BTreeSet;

use super::model::Model;
use super::*;
use crate::kv::limits::{MAX_ANSWER_PAYLOAD_BYTES, SessionLimits};

/// So small that every limit is met in a short run.
const TINY: SessionLimits = SessionLimits {
    sessions: 3,
    results: 3,
    session_bytes: 400,
    total_bytes: 700,
    idle_entries: 9,
};

/// One entry of the log.
#[derive(Clone, Debug)]
enum Entry {
    Write(Operation),
    /// `opened` entries before this one; zero is a lie.
    Stamped {
        id: u128,
        sequence: u64,
        unacknowledged: u64,
        opened: u64,
        operation: Operation,
    },
    Raise(u16),
    Skip,
    Garbage(Vec<u8>),
}

fn any_entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        3 => any_operation().prop_map(Entry::Write),
        8 => (1..6u128, 1..9u64, 1..9u64, 0..40u64, any_operation()).prop_map(
            |(id, sequence, unacknowledged, opened, operation)| Entry::Stamped {
                id, sequence, unacknowledged, opened, operation
            }
        ),
        1 => prop_oneof![4 => Just(2u16), 1 => 0..2u16].prop_map(Entry::Raise),
        1 => Just(Entry::Skip),
        1 => prop::collection::vec(any::<u8>(), 0..64).prop_map(Entry::Garbage),
    ]
}

/// The entry's command, if it is one, as it would be written at `index`.
fn command_at(entry: &Entry, index: LogIndex) -> Option<Command> {
    match entry {
        Entry::Write(operation) => Some(alone(operation.clone())),
        Entry::Raise(to) => Some(alone(Operation::RaiseVersion { to: *to })),
        Entry::Stamped { id, sequence, unacknowledged, opened, operation } => {
            let acknowledged = sequence.saturating_sub(*unacknowledged);
            let mut command = stamped(*id, *sequence, acknowledged, operation.clone());
            let opened_at = LogIndex(index.0.saturating_sub(*opened));
            command.session.as_mut().unwrap().opened_at = opened_at;
            Some(command)
        }
        Entry::Skip | Entry::Garbage(_) => None,
    }
}

proptest! {
    #![proptest_config(cases(400))]

    /// Outcomes, contents and counters equal the model's after every entry; the incremental hash
    /// equals the recomputed one; an early clone that is fed the rest ends the same, and one that
    /// is not stays as it was.
    #[test]
    fn equals_the_model(entries in prop::collection::vec(any_entry(), 1..80), cut in 0..80usize) {
        let mut machine = Machine::with_limits(TINY);
        let mut model = Model::new(TINY);
        let mut clones = Vec::new();
        let mut hash_at_cut = 0;
        for (position, entry) in entries.iter().enumerate() {
            let index = LogIndex(position as u64 + 1);
            if position == cut {
                clones = vec![machine.clone(), machine.clone()];
                hash_at_cut = machine.state_hash();
            }
            match (entry, command_at(entry, index)) {
                (_, Some(command)) => {
                    let outcome = machine.apply(index, &command.encode());
                    prop_assert_eq!(&outcome, &model.apply(index, &command));
                    if let [clone, _] = &mut clones[..] {
                        prop_assert_eq!(clone.apply(index, &command.encode()), outcome);
                    }
                }
                (Entry::Garbage(garbage), None) => {
                    let outcome = machine.apply(index, garbage);
                    model.advance(index);
                    prop_assert!(refused(&outcome).is_some());
                    clones.iter_mut().take(1).for_each(|clone| { clone.apply(index, garbage); });
                }
                _ => {
                    machine.skip(index);
                    model.advance(index);
                    clones.iter_mut().take(1).for_each(|clone| clone.skip(index));
                }
            }
            let (store, sessions) = machine.parts();
            sessions.check();
            prop_assert!(store.items_now().eq(model.keys.values().cloned()));
            prop_assert_eq!(machine.revision().0, model.revision);
            prop_assert_eq!(machine.version(), model.version);
            prop_assert_eq!(machine.sessions(), model.sessions.len() as u64);
            let bytes = model.keys.values().map(|item| item.key.len() + item.value.len());
            prop_assert_eq!(machine.bytes(), bytes.sum::<usize>() as u64);
            prop_assert_eq!(machine.state_hash(), machine.recompute_state_hash());
        }
        if let [followed, frozen] = &clones[..] {
            prop_assert_eq!(followed.state_hash(), machine.state_hash());
            prop_assert_eq!(frozen.applied_index().0, cut as u64);
            prop_assert_eq!(frozen.state_hash(), hash_at_cut);
            prop_assert_eq!(frozen.recompute_state_hash(), hash_at_cut);
        }
    }

    /// Walking any range page by page shows exactly what is in it.
    #[test]
    fn pages_make_up_the_range(
        keys in prop::collection::btree_set("[a-c]{1,3}", 0..30),
        start in "[a-c]{0,3}",
        end in "[a-c]{0,3}",
        limit in 0..5u64,
    ) {
        let mut machine = Machine::new();
        keys.iter().for_each(|key| { apply(&mut machine, &alone(put(key, key))); });
        let wanted: Vec<_> = keys.iter()
            .filter(|key| **key >= start && (end.is_empty() || **key < end))
            .map(|key| bytes(key))
            .collect();
        let mut seen = Vec::new();
        let mut from = bytes(&start);
        loop {
            let query = range(&from, &bytes(&end), limit);
            let answer = machine.query(&query);
            prop_assert_eq!(answer.count as usize, wanted.len() - seen.len());
            prop_assert!(limit == 0 || answer.items.len() as u64 <= limit);
            prop_assert_eq!(answer.more, (answer.items.len() as u64) < answer.count);
            seen.extend(answer.items.iter().map(|item| item.key.clone()));
            let Some(last) = answer.items.last() else { break };
            from = [&last.key[..], &[0]].concat().into();
            if !answer.more {
                break;
            }
        }
        prop_assert_eq!(seen, wanted);
    }
}

fn range(start: &Bytes, end: &Bytes, limit: u64) -> Query {
    let (start, end) = (start.clone(), end.clone());
    Query::Range(RangeRequest { start, end, limit, ..RangeRequest::default() })
}

#[test]
fn only_changes_to_keys_consume_a_revision() {
    let mut machine = Machine::new();
    let steps = [
        (delete("a"), 1, Effect::Deleted { existed: false }),
        (put("a", "1"), 2, Effect::Put { existed: false }),
        (put("a", "1"), 3, Effect::Put { existed: true }),
        (swap("b", Expected::Value(bytes("")), "x"), 3, Effect::Unchanged { found: None }),
        (swap("b", Expected::Absent, "x"), 4, Effect::Swapped),
        (swap("a", Expected::ModRevision(Revision(3)), "2"), 5, Effect::Swapped),
        (delete("b"), 6, Effect::Deleted { existed: true }),
    ];
    assert_eq!(machine.revision(), Revision(1));
    for (operation, revision, effect) in steps {
        let outcome = apply(&mut machine, &alone(operation));
        assert_eq!(outcome, Outcome { revision: Revision(revision), effect });
    }
    let answer = machine.query(&Query::Get { key: bytes("a") });
    let item = KeyValue {
        key: bytes("a"),
        value: bytes("2"),
        create_revision: Revision(2),
        mod_revision: Revision(5),
        version: 3,
        lease: LeaseId(0),
    };
    let (revision, items) = (Revision(6), vec![item]);
    assert_eq!(answer, Answer { revision, items, count: 1, ..Answer::default() });
    // A key that comes back starts over.
    apply(&mut machine, &alone(put("b", "again")));
    let item = machine.query(&Query::Get { key: bytes("b") }).items.remove(0);
    assert_eq!((item.create_revision, item.version), (Revision(7), 1));
}

#[test]
fn an_answer_is_bounded_and_never_empty_while_there_is_more() {
    let mut machine = Machine::new();
    let large = "x".repeat(MAX_ANSWER_PAYLOAD_BYTES + 1);
    let half = "x".repeat(MAX_ANSWER_PAYLOAD_BYTES / 2 - 1000);
    for (key, value) in [("a", &large), ("b", &half), ("c", &half), ("d", &half)] {
        apply(&mut machine, &alone(put(key, value)));
    }
    let page = |from: &str| {
        let answer = machine.query(&range(&bytes(from), &Bytes::new(), 0));
        assert!(answer.encode().len() <= limits::MAX_ANSWER_BYTES);
        let keys: Vec<_> = answer.items.iter().map(|item| item.key.clone()).collect();
        (keys, answer.more, answer.count)
    };
    assert_eq!(page(""), (vec![bytes("a")], true, 4));
    assert_eq!(page("b"), (vec![bytes("b"), bytes("c")], true, 3));
    assert_eq!(page("d"), (vec![bytes("d")], false, 1));
}

#[test]
fn keys_only_and_count_only_leave_out_what_they_say() {
    let mut machine = Machine::new();
    for key in ["a", "b", "c"] {
        apply(&mut machine, &alone(put(key, "value")));
    }
    let ask = |keys_only, count_only| {
        let (start, end) = (bytes("b"), Bytes::new());
        let range = RangeRequest { start, end, keys_only, count_only, ..RangeRequest::default() };
        machine.query(&Query::Range(range))
    };
    let keys = ask(true, false);
    assert!(keys.items.iter().all(|item| item.value.is_empty() && item.version == 1));
    assert_eq!((keys.items.len(), keys.count), (2, 2));
    let count = ask(false, true);
    assert_eq!((count.items.len(), count.count, count.more), (0, 2, false));
    let backwards = machine.query(&range(&bytes("c"), &bytes("a"), 0));
    assert_eq!((backwards.items.len(), backwards.count, backwards.more), (0, 0, false));
}

#[test]
fn what_makes_no_sense_is_refused_and_changes_nothing() {
    let mut machine = Machine::new();
    apply(&mut machine, &alone(put("a", "1")));
    let before = machine.state_hash();
    let mut newer = alone(put("a", "2")).encode().to_vec();
    newer[16] = 2;
    let cases = [
        (newer.into(), Refusal::UnknownVersion),
        (Bytes::new(), Refusal::Malformed),
        (alone(put("", "1")).encode(), Refusal::Malformed),
        (stamped(1, 0, 0, put("a", "2")).encode(), Refusal::Malformed),
        (stamped(1, 2, 2, put("a", "2")).encode(), Refusal::Malformed),
        (alone(put("a", &"x".repeat(limits::MAX_REQUEST_BYTES))).encode(), Refusal::Malformed),
    ];
    for (command, refusal) in cases {
        let outcome = machine.apply(machine.applied_index().next(), &command);
        assert_eq!(outcome.effect, Effect::Refused(refusal));
        assert_eq!(outcome.revision, Revision(2));
        assert_eq!(machine.state_hash(), before);
    }
}

#[test]
#[should_panic(expected = "one after another")]
fn a_gap_in_the_log_stops_the_replica() {
    Machine::new().apply(LogIndex(2), &alone(put("a", "1")).encode());
}

/// Different states differ in hash, whatever it is that differs.
#[test]
fn the_hash_sees_every_part_of_the_state() {
    let histories: Vec<Vec<Command>> = vec![
        vec![],
        vec![alone(put("a", "1"))],
        vec![alone(put("a", "2"))],
        vec![alone(put("b", "1"))],
        vec![alone(put("a", "1")), alone(put("b", "1"))],
        vec![alone(put("b", "1")), alone(put("a", "1"))],
        vec![alone(put("a", "1")), alone(delete("a"))],
        vec![alone(put("a", "1")), alone(delete("a")), alone(put("a", "1"))],
        vec![stamped(1, 1, 0, put("a", "1"))],
        vec![stamped(1, 2, 0, put("a", "1"))],
        vec![stamped(1, 2, 1, put("a", "1"))],
        vec![stamped(2, 1, 0, put("a", "1"))],
        vec![stamped(1, 1, 0, put("a", "1")), stamped(1, 1, 0, put("a", "1"))],
    ];
    let hashes: BTreeSet<u128> = histories
        .iter()
        .map(|history| {
            let mut machine = Machine::new();
            history.iter().for_each(|command| {
                apply(&mut machine, command);
            });
            machine.state_hash()
        })
        .collect();
    assert_eq!(hashes.len(), histories.len());
}

/// The number that nodes of different versions compare must not drift.
#[test]
fn the_hash_is_what_it_has_always_been() {
    let mut machine = Machine::new();
    apply(&mut machine, &alone(put("key", "value")));
    apply(&mut machine, &stamped(7, 1, 0, swap("key", Expected::Absent, "other")));
    apply(&mut machine, &stamped(7, 2, 0, delete("nothing")));
    machine.skip(LogIndex(4));
    assert_eq!(format!("{:032x}", machine.state_hash()), "cf9851eea2fe206d0be18cc3cc88e767");
}

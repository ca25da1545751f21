//! Transactions, leases and locks, judged by trying every order of them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use serde_json::{Value, json};

use super::{judged, read};
use crate::verify::generate::{Plan, generate};
use crate::verify::history::{Call, Deed, Event, Found, History, Operation, Outcome, Type};
use crate::verify::judge::Judged;

/// Values and the leases that they are attached to, by place; a lease that lives has a value.
type State = BTreeMap<usize, (Vec<u8>, Option<usize>)>;

/// What may take effect: an operation of the history, or the end of a lease from a line on.
#[derive(Clone, Copy)]
enum Next<'a> {
    Done(&'a Operation),
    End { lease: usize, from: u64 },
}

/// Whether some order explains everything, found as slowly as can be.
fn explains(state: &State, left: &[Next<'_>]) -> bool {
    let returned = |next: &Next<'_>| match next {
        Next::Done(it) if it.outcome != Outcome::Unknown => it.ended.map(|ended| ended.line),
        _ => None,
    };
    if left.iter().all(|next| returned(next).is_none()) {
        return true;
    }
    let first = left.iter().filter_map(returned).min().unwrap_or(u64::MAX);
    (0..left.len()).any(|at| {
        let mut rest = left.to_vec();
        let next = rest.remove(at);
        let called = match next {
            Next::Done(operation) => operation.called.line,
            Next::End { from, .. } => from,
        };
        called <= first && outcomes(state, next).into_iter().any(|after| explains(&after, &rest))
    })
}

/// The states after it, if what was told fits.
fn outcomes(state: &State, next: Next<'_>) -> Vec<State> {
    let operation = match next {
        Next::End { lease, .. } => return vec![ended(state, lease)],
        Next::Done(operation) => operation,
    };
    let done = act(state, operation);
    match &operation.outcome {
        Outcome::Failed => vec![state.clone()],
        Outcome::Unknown => vec![done.map_or_else(|| state.clone(), |(after, _)| after)],
        Outcome::Mismatch if done.is_none() => vec![state.clone()],
        Outcome::Mismatch => vec![],
        Outcome::Ok { found, .. } => match done {
            Some((after, told)) if matches!(found, Found::Life(_)) || told == *found => vec![after],
            _ => vec![],
        },
    }
}

fn ended(state: &State, lease: usize) -> State {
    let stays = |key: &usize, attached: &Option<usize>| *key != lease && *attached != Some(lease);
    let stays = state.iter().filter(|(key, (_, attached))| stays(key, attached));
    stays.map(|(key, cell)| (*key, cell.clone())).collect()
}

/// One copy does it; nothing if what was looked for is not there.
fn act(state: &State, operation: &Operation) -> Option<(State, Found)> {
    let key = operation.key;
    let mut after = state.clone();
    let value = |state: &State, key: usize| state.get(&key).map(|(value, _)| value.clone().into());
    // Who was told of a mismatch was told of the value, whatever became of the lease.
    if let Some(lease) = operation.lease.filter(|_| operation.outcome != Outcome::Mismatch) {
        state.get(&lease)?;
    }
    let attached = operation.lease;
    let mut set = |key: usize, value: Option<&[u8]>, attached| match value {
        Some(value) => {
            after.insert(key, (value.to_vec(), attached));
        }
        None => {
            after.remove(&key);
        }
    };
    let mut told = Found::Nothing;
    match &operation.call {
        Call::Read => told = Found::Value(value(state, key)),
        Call::Write(value) => set(key, Some(value), attached),
        Call::Append(more) => {
            let whole = [state.get(&key).map_or(&[][..], |(it, _)| it), more].concat();
            set(key, Some(&whole), attached);
        }
        Call::Delete => set(key, None, None),
        Call::Cas { old, new } => {
            (value(state, key) == *old).then(|| set(key, new.as_deref(), attached))?;
        }
        Call::Acquire(holder) => {
            value(state, key).is_none().then(|| set(key, Some(holder), attached))?;
        }
        Call::Release(holder) => {
            (value(state, key).as_ref() == Some(holder)).then(|| set(key, None, None))?;
        }
        Call::Grant(_) => set(key, Some(b"lives"), None),
        Call::KeepAlive => drop(state.get(&key)?),
        Call::Revoke => {
            state.get(&key)?;
            after = ended(state, key);
        }
        Call::Txn(steps) => {
            let mut found = Vec::new();
            for step in steps {
                let present = value(&after, step.key);
                let (key, mut put) = (step.key, |value: Vec<u8>| {
                    after.insert(step.key, (value, None));
                });
                match &step.deed {
                    Deed::Check(expected) if present != *expected => return None,
                    Deed::Check(_) => {}
                    Deed::Read => found.push(present),
                    Deed::Write(value) => put(value.to_vec()),
                    Deed::Append(more) => put([&present.unwrap_or_default()[..], more].concat()),
                    Deed::Delete => {
                        after.remove(&key);
                    }
                }
            }
            told = Found::Values(found);
        }
        Call::Watch { .. } => return None,
    }
    Some((after, told))
}

/// The history's own operations, and the end of each lease.
fn all(history: &History) -> Vec<Next<'_>> {
    let said = |it: &&Operation| it.outcome != Outcome::Failed;
    let mut all: Vec<Next<'_>> = history.operations.iter().filter(said).map(Next::Done).collect();
    for lease in 0..history.keys.len() {
        let of = |it: &&Operation| it.key == lease;
        let mut until = None;
        let mut life = None;
        for it in history.operations.iter().filter(of) {
            match it.call {
                Call::Grant(asked) if it.outcome != Outcome::Failed => life = life.or(Some(asked)),
                Call::KeepAlive if it.outcome.is_ok() => {}
                _ => continue,
            }
            let Some(life) = life else { continue };
            until = until.max(it.called.time.map(|time| time + life.as_nanos() as u64));
        }
        let lines = history.operations.iter().flat_map(|it| [Some(it.called), it.ended]);
        let mut lines: Vec<_> = lines.flatten().collect();
        lines.sort();
        if let Some(until) = until
            && let Some(first) = lines.iter().find(|it| it.time >= Some(until))
        {
            all.push(Next::End { lease, from: first.line });
        }
    }
    all
}

fn invocation() -> impl Strategy<Value = (Event, Vec<Event>)> {
    let value = || prop::sample::select(vec![json!("a"), json!("b"), Value::Null]);
    let text = || prop::sample::select(vec![json!("a"), json!("b")]);
    let key = || prop::sample::select(vec!["x", "y"]);
    let lease = || prop::sample::select(vec![None, None, Some("l".to_owned())]);
    let event = |f: &str, key: Option<&str>, value: Option<Value>, lease| Event {
        process: 0,
        kind: Type::Invoke,
        f: f.to_owned(),
        key: key.map(str::to_owned),
        value,
        lease,
        time: None,
        node: None,
        rev: None,
        error: None,
    };
    let verbs = [json!(["grant", 2]), json!(["keep-alive"]), json!(["revoke"])];
    let plain = move |it: Event| {
        let ok = Event { kind: Type::Ok, ..it.clone() };
        let no = Event { kind: Type::Fail, error: Some("mismatch".into()), ..it.clone() };
        (it, vec![ok.clone(), ok, no])
    };
    let step = move || {
        prop_oneof![
            (key(), value()).prop_map(|(key, value)| json!(["check", key, value])),
            (key(), value()).prop_map(|(key, value)| json!(["read", key, value])),
            (key(), text()).prop_map(|(key, value)| json!(["write", key, value])),
            (key(), text()).prop_map(|(key, value)| json!(["append", key, value])),
            key().prop_map(|key| json!(["delete", key])),
        ]
    };
    prop_oneof![
        3 => (key(), value()).prop_map(move |(key, value)| {
            let it = event("read", Some(key), None, None);
            let ok = Event { kind: Type::Ok, value: Some(value), ..it.clone() };
            (it, vec![ok])
        }),
        2 => (key(), text(), lease())
            .prop_map(move |(key, value, lease)| {
                plain(event("write", Some(key), Some(value), lease))
            }),
        1 => (key(), value(), value(), lease())
            .prop_map(move |(key, old, new, lease)| {
                plain(event("cas", Some(key), Some(json!([old, new])), lease))
            }),
        2 => (key(), prop::sample::select(vec!["acquire", "release"]), text(), lease())
            .prop_map(move |(key, verb, holder, lease)| {
                let lease = lease.filter(|_| verb == "acquire");
                plain(event("lock", Some(key), Some(json!([verb, holder])), lease))
            }),
        3 => prop::sample::select(verbs.to_vec())
            .prop_map(move |value| plain(event("lease", Some("l"), Some(value), None))),
        4 => prop::collection::vec(step(), 1..4).prop_map(move |mut steps| {
            steps.sort_by_key(|step| step[0] != "check");
            let checks = steps[0][0] == "check";
            let (invoke, mut ends) = plain(event("txn", None, Some(steps.into()), None));
            ends.truncate(if checks { 3 } else { 2 });
            (invoke, ends)
        }),
    ]
}

/// Lines of a short history, a millisecond apart.
fn history() -> impl Strategy<Value = Vec<Event>> {
    let one = (invocation(), 0..12u64, 1..8u64, 0..5usize);
    prop::collection::vec(one, 1..=5).prop_map(|all| {
        let mut events = Vec::new();
        for (process, ((invoke, ends), called, takes, end)) in all.into_iter().enumerate() {
            let process = process as u64;
            events.push((called, Event { process, ..invoke }));
            if let Some(end) = ends.get(end) {
                events.push((called + takes, Event { process, ..end.clone() }));
            }
        }
        events.sort_by_key(|(at, _)| *at);
        // A lease is granted once; the second grant is another's.
        let mut grants = BTreeMap::new();
        for (_, event) in events.iter_mut().filter(|(_, it)| it.f == "lease") {
            if event.value.as_ref().is_some_and(|value| value[0] == "grant") {
                let next = grants.len();
                let number = *grants.entry(event.process).or_insert(next);
                event.key = Some(if number == 0 { "l".into() } else { format!("m{number}") });
            }
        }
        let timed = |(at, event): (u64, Event)| Event { time: Some(at * 1_000_000), ..event };
        events.into_iter().map(timed).collect()
    })
}

fn parsed(events: &[Event]) -> History {
    let lines: String = events.iter().map(Event::to_line).collect();
    read(&lines).unwrap_or_else(|bad| panic!("{bad}\n{lines}"))
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 10_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The judge agrees with the oracle.
    #[test]
    fn the_judge_finds_what_every_order_tells(events in history()) {
        let history = parsed(&events);
        let verdicts = judged(&history);
        let violated = verdicts.iter().any(|it| matches!(it, Judged::Violated(_)));
        let valid = verdicts.iter().all(|it| *it == Judged::Valid);
        match explains(&State::new(), &all(&history)) {
            true => prop_assert!(valid, "{verdicts:#?}\n{events:#?}"),
            false => prop_assert!(violated, "{verdicts:#?}\n{events:#?}"),
        }
    }

    /// What a violation tells is a contradiction by itself, or with the ends of leases.
    #[test]
    fn what_is_told_contradicts_itself(events in history()) {
        let history = parsed(&events);
        for verdict in judged(&history) {
            let Judged::Violated(violation) = verdict else { continue };
            let is_part = |it: &Operation| {
                let place = history.operations.iter().position(|other| std::ptr::eq(it, other));
                place.is_none_or(|place| violation.part.contains(&place))
            };
            let part: Vec<Next<'_>> = all(&history)
                .into_iter()
                .filter(|next| match next {
                    Next::Done(it) => is_part(it),
                    Next::End { .. } => true,
                })
                .collect();
            prop_assert!(!explains(&State::new(), &part), "{:#?}", violation.story);
        }
    }
}

/// Both kinds come up, or the above says little.
#[test]
fn short_histories_are_right_and_wrong() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..2_000 {
        let events = history().new_tree(&mut runner).unwrap().current();
        match explains(&State::new(), &all(&parsed(&events))) {
            true => right += 1,
            false => wrong += 1,
        }
    }
    assert!(right > 200 && wrong > 200, "{right} {wrong}");
}

#[test]
fn what_one_copy_did_together_is_valid() {
    let mut done = BTreeMap::new();
    for seed in 0..60 {
        let plan = Plan {
            seed,
            operations: 300,
            clients: 2 + seed % 8,
            keys: 2 + seed % 3,
            unknown_percent: seed % 3,
            revisions: seed % 2 == 0,
            everything: true,
            ..Plan::default()
        };
        let history = parsed(&generate(&plan));
        history.counts().iter().for_each(|count| *done.entry(count.f).or_insert(0) += count.ok);
        for verdict in judged(&history) {
            assert_eq!(verdict, Judged::Valid, "{plan:?}");
        }
    }
    let often = ["txn", "lease", "lock", "watch"].map(|f| (f, done[f]));
    assert!(often.iter().all(|(_, ok)| *ok > 100), "{often:?}");
}

//! Short histories, judged by trying every order of them.

use bytes::Bytes;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use crate::verify::linearizable::{self, Verdict};
use crate::verify::register::{Action, Told, check};
use crate::verify::shrink::{Item, cut, is_honest, shrink};

type Operation = linearizable::Operation<Action, Told>;

/// Whether some order explains everything, found as slowly as can be.
fn explains(state: Option<&[u8]>, left: &[Operation]) -> bool {
    if left.iter().all(|operation| operation.returned.is_none()) {
        return true;
    }
    let returned = |operation: &Operation| operation.returned.as_ref().map(|(at, _)| *at);
    let first = left.iter().filter_map(returned).min().unwrap_or(u64::MAX);
    (0..left.len()).any(|at| {
        let mut rest = left.to_vec();
        let operation = rest.remove(at);
        let told = operation.returned.as_ref().map(|(_, told)| told);
        let (after, fits) = act(state, &operation.action, told);
        operation.called <= first && fits && explains(after.as_deref(), &rest)
    })
}

/// One copy does it.
fn act(state: Option<&[u8]>, action: &Action, told: Option<&Told>) -> (Option<Vec<u8>>, bool) {
    let same = state.map(<[u8]>::to_vec);
    let after = match action {
        Action::Get => same,
        Action::Put(value) => Some(value.to_vec()),
        Action::Delete => None,
        Action::Append(more) => Some([state.unwrap_or_default(), more].concat()),
        Action::CompareAndSwap { expected, value } => {
            let swaps = expected.as_deref() == state;
            let fits = match told {
                None => true,
                Some(Told::Swapped) => swaps,
                Some(Told::Found(found)) => !swaps && found.as_deref() == state,
                Some(_) => !swaps,
            };
            return (if swaps { value.as_deref().map(<[u8]>::to_vec) } else { same }, fits);
        }
    };
    let fits = match told {
        Some(Told::Found(found)) => found.as_deref() == state,
        Some(Told::Written { existed }) => *existed == state.is_some(),
        _ => true,
    };
    (after, fits)
}

fn text(value: &'static str) -> Bytes {
    Bytes::from_static(value.as_bytes())
}

fn written() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "b", "ab"]).prop_map(text)
}

fn maybe() -> impl Strategy<Value = Option<Bytes>> {
    let values = vec![None, Some("a"), Some("b"), Some("ab"), Some("ba"), Some("abb")];
    prop::sample::select(values).prop_map(|value| value.map(text))
}

fn asked_and_told() -> impl Strategy<Value = (Action, Told)> {
    let done = || {
        prop_oneof![
            4 => Just(Told::Done),
            1 => any::<bool>().prop_map(|existed| Told::Written { existed }),
        ]
    };
    let swapped = prop_oneof![
        2 => Just(Told::Swapped),
        2 => Just(Told::Mismatch),
        1 => maybe().prop_map(Told::Found),
    ];
    prop_oneof![
        3 => maybe().prop_map(|found| (Action::Get, Told::Found(found))),
        3 => (written(), done()).prop_map(|(value, told)| (Action::Put(value), told)),
        1 => done().prop_map(|told| (Action::Delete, told)),
        2 => (written(), done()).prop_map(|(more, told)| (Action::Append(more), told)),
        2 => (maybe(), maybe(), swapped).prop_map(|(expected, value, told)| {
            (Action::CompareAndSwap { expected, value }, told)
        }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let takes = prop_oneof![3 => (1..8u64).prop_map(Some), 1 => Just(None)];
    (0..12u64, takes, asked_and_told()).prop_map(|(called, takes, (action, told))| Operation {
        called,
        returned: takes.map(|takes| (called + takes, told)),
        action,
        witness: None,
    })
}

fn history() -> impl Strategy<Value = Vec<Operation>> {
    prop::collection::vec(operation(), 1..=6)
}

/// As the shrinker gets them: no line of a history says what a write found.
fn items(history: &[Operation]) -> Vec<Item> {
    let mut items: Vec<Item> = history
        .iter()
        .enumerate()
        .map(|(place, operation)| Item { place, operation: operation.clone() })
        .collect();
    for item in &mut items {
        if let Some((_, told @ Told::Written { .. })) = &mut item.operation.returned {
            *told = Told::Done;
        }
    }
    items.sort_by_key(|item| item.operation.called);
    items
}

fn operations(items: &[Item]) -> Vec<Operation> {
    items.iter().map(|item| item.operation.clone()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 20_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// The search agrees with the oracle.
    #[test]
    fn the_search_finds_what_every_order_tells(history in history()) {
        let verdict = check(&history, 100_000);
        match explains(None, &history) {
            true => prop_assert_eq!(verdict, Verdict::Linearizable),
            false => prop_assert!(matches!(verdict, Verdict::Violated { .. }), "{:?}", verdict),
        }
    }

    /// What was right stays right when an honest part is left out of it, or its end.
    #[test]
    fn an_honest_part_of_what_is_right_is_right(history in history(), out in any::<[bool; 6]>()) {
        let items = items(&history);
        if explains(None, &operations(&items)) {
            let (gone, rest): (Vec<_>, Vec<_>) =
                items.iter().cloned().partition(|item| out[item.place]);
            if is_honest(&gone, &rest) {
                prop_assert!(explains(None, &operations(&rest)), "without {gone:?}: {rest:?}");
            }
            for end in 0..20 {
                prop_assert!(explains(None, &operations(&cut(&items, end))), "up to {end}");
            }
        }
    }

    /// What is left of a violation is one, and nothing of it can honestly go.
    #[test]
    fn the_smallest_part_is_a_violation(history in history()) {
        let items = items(&history);
        if !explains(None, &operations(&items)) {
            let part = shrink(items, &mut |_| true);
            prop_assert!(!explains(None, &operations(&part)), "{part:?}");
            for at in 0..part.len() {
                let mut rest = part.clone();
                let gone = rest.remove(at);
                let can_go = is_honest(&[gone], &rest) && !explains(None, &operations(&rest));
                prop_assert!(!can_go, "{at} of {part:?}");
            }
        }
    }
}

/// The histories above are of both kinds: else the tests above would test little.
#[test]
fn the_drawn_histories_are_right_and_wrong() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut right = 0;
    for _ in 0..1_000 {
        let drawn = history().new_tree(&mut runner).unwrap().current();
        right += usize::from(explains(None, &drawn));
    }
    assert!((100..900).contains(&right), "{right} of a thousand");
}

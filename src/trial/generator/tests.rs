//! What is drawn: the same from the same seed, each key in its time, each kind as it should be.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::verify::history::{Deed, Found};

fn keys(workload: &Workload) -> Keys {
    Keys::new("t/", leases(1_700_000_000_000), workload)
}

fn of(kinds: &[Kind], keys: u32) -> Workload {
    Workload { kinds: kinds.to_vec(), keys, ..Workload::default() }
}

fn drawn(seed: u64, client: u32, count: usize) -> Vec<Wish> {
    let workload = of(&Kind::ALL, 3);
    let mut keys = keys(&workload);
    let mut generator = Generator::new(seed, client, &workload);
    (0..count).map(|_| generator.next(&mut keys)).collect()
}

fn done(outcome: Outcome) -> Ended {
    Ended { outcome, error: None }
}

fn ok(found: Found) -> Ended {
    done(Outcome::Ok { found, rev: Some(7) })
}

/// The end of a wish, if all goes well and nobody else is there.
fn well(wish: &Wish) -> Ended {
    let nothing = |steps: &[crate::verify::history::Step]| {
        steps.iter().filter(|step| step.deed == Deed::Read).map(|_| None).collect()
    };
    ok(match &wish.call {
        Call::Read => Found::Value(None),
        Call::Txn(steps) => Found::Values(nothing(steps)),
        Call::Grant(life) => Found::Life(*life),
        _ => Found::Nothing,
    })
}

/// What is wished one after the other, if each ends as `end` says.
fn with_ends(kind: Kind, count: usize, end: impl Fn(&Wish) -> Ended) -> Vec<Wish> {
    let workload = of(&[kind], 1);
    let mut keys = keys(&workload);
    let mut generator = Generator::new(7, 0, &workload);
    let mut wishes = Vec::new();
    for _ in 0..count {
        let wish = generator.next(&mut keys);
        generator.ended(&mut keys, &wish, &end(&wish));
        wishes.push(wish);
    }
    wishes
}

#[test]
fn a_seed_gives_the_same_wishes_and_each_client_its_own() {
    assert_eq!(drawn(1, 0, 500), drawn(1, 0, 500));
    assert_ne!(drawn(1, 0, 500), drawn(2, 0, 500));
    let calls = |client| -> Vec<_> {
        drawn(1, client, 100).into_iter().map(|wish| (wish.keys, wish.call.name())).collect()
    };
    assert_ne!(calls(0), calls(1));
    let kinds: BTreeSet<Kind> = drawn(1, 0, 500).into_iter().map(|wish| wish.kind).collect();
    assert_eq!(kinds.len(), 7, "nobody is asked to watch: {kinds:?}");
}

#[test]
fn a_key_is_left_alone_after_its_time_and_no_value_comes_twice() {
    let workload = Workload { operations_per_key: 10, ..Workload::default() };
    let mut keys = keys(&workload);
    let mut generator = Generator::new(7, 3, &workload);
    let mut uses = BTreeMap::new();
    let mut values = BTreeSet::new();
    for _ in 0..5_000 {
        let wish = generator.next(&mut keys);
        assert!(wish.key().starts_with("t/"));
        *uses.entry(wish.keys).or_insert(0) += 1;
        let value = match wish.call {
            Call::Write(value) | Call::Append(value) => Some(value),
            Call::Cas { new, .. } => new,
            _ => None,
        };
        assert!(value.is_none_or(|value| values.insert(value)));
    }
    assert!(uses.len() >= 500 && uses.values().all(|used| *used <= 10), "{}", uses.len());
}

#[test]
fn what_is_tied_together_is_left_alone_sooner_and_sooner_yet_in_doubt() {
    for kind in [Kind::Transaction, Kind::Lease, Kind::Lock, Kind::LockService] {
        let workload = Workload { operations_per_key: 1_000_000, ..of(&[kind], 1) };
        let longest = |end: fn(&Wish) -> Ended| {
            let mut keys = keys(&workload);
            let mut generator = Generator::new(7, 0, &workload);
            let mut uses: BTreeMap<String, u32> = BTreeMap::new();
            for _ in 0..2_000 {
                let wish = generator.next(&mut keys);
                generator.ended(&mut keys, &wish, &end(&wish));
                let group = wish.key().trim_end_matches(|it: char| it.is_alphabetic() || it == '/');
                *uses.entry(group.to_owned()).or_default() += 1;
            }
            uses.into_values().max().unwrap()
        };
        assert_eq!(longest(well), 300, "{kind}");
        assert_eq!(longest(|_| done(Outcome::Unknown)), 12, "{kind}");
    }
}

#[test]
fn a_swap_expects_what_was_last_heard_and_nothing_of_an_older_key() {
    let workload = Workload { operations_per_key: 20, ..of(&[Kind::CompareAndSwap], 1) };
    let mut keys = keys(&workload);
    let mut generator = Generator::new(7, 0, &workload);
    let value = Some(Bytes::from("x"));
    let hear = |keys: &mut Keys, key: &str| {
        let read = Wish::of(Kind::CompareAndSwap, key, Call::Read);
        keys.ended(&read, &ok(Found::Value(value.clone())));
    };
    for _ in 0..20 {
        let wish = generator.next(&mut keys);
        assert!(!matches!(wish.call, Call::Cas { old, .. } if old.is_some()));
        hear(&mut keys, "t/cas-0.9");
        assert_eq!(wish.keys, ["t/cas-0.0"]);
    }
    let wish = generator.next(&mut keys);
    assert_eq!(wish.keys, ["t/cas-0.1"]);
    hear(&mut keys, wish.key());
    let swaps: Vec<_> = (0..19)
        .filter_map(|_| match generator.next(&mut keys).call {
            Call::Cas { old, .. } => Some(old),
            _ => None,
        })
        .collect();
    assert!(!swaps.is_empty() && swaps.iter().all(|old| *old == value));
}

#[test]
fn a_transaction_is_one_that_a_store_takes() {
    let mut seen = BTreeSet::new();
    for wish in with_ends(Kind::Transaction, 2_000, well) {
        let Call::Txn(steps) = &wish.call else { panic!("{wish:?}") };
        assert!((2..5).contains(&steps.len()) && wish.keys.len() == 3, "{wish:?}");
        seen.extend(steps.iter().map(|step| step.deed.name()));
        let writes = steps.iter().filter(|it| !matches!(it.deed, Deed::Check(_) | Deed::Read));
        let written: Vec<usize> = writes.map(|step| step.key).collect();
        let different: BTreeSet<usize> = written.iter().copied().collect();
        assert_eq!(written.len(), different.len(), "no key is written twice: {wish:?}");
        let checks = steps.iter().map(|step| matches!(step.deed, Deed::Check(_)));
        assert!(checks.rev().is_sorted(), "checks stand first: {wish:?}");
        assert!(!matches!(steps.last().unwrap().deed, Deed::Check(_)), "{wish:?}");
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
}

#[test]
fn a_lease_is_kept_alive_and_then_revoked_or_left_to_end() {
    let wishes = with_ends(Kind::Lease, 5_000, well);
    let mut granted = BTreeSet::new();
    let mut living = None;
    let mut revoked = 0;
    for wish in &wishes {
        match &wish.call {
            Call::Grant(life) => {
                assert!((2..5).contains(&life.as_secs()));
                assert!(granted.insert(wish.lease), "a name for each");
                living = wish.lease;
            }
            Call::Revoke => revoked += 1,
            _ => {}
        }
        assert!(wish.lease.is_none() || wish.lease == living, "{wish:?}");
    }
    assert!(revoked > 0 && granted.len() > revoked, "{revoked} of {}", granted.len());
    // Whoever is told that it is gone asks for another.
    let gone = |wish: &Wish| match wish.call {
        Call::KeepAlive => done(Outcome::Mismatch),
        Call::Write(_) => Ended {
            outcome: Outcome::Failed,
            error: Some("n:1 refused: etcdserver: requested lease not found".to_owned()),
        },
        _ => well(wish),
    };
    let grants =
        |wishes: &[Wish]| wishes.iter().filter(|it| matches!(it.call, Call::Grant(_))).count();
    assert!(grants(&with_ends(Kind::Lease, 1_000, gone)) > 3 * grants(&wishes[..1_000]));
}

#[test]
fn a_lock_is_released_by_whoever_holds_it_and_some_die() {
    let mut holds: Option<(Bytes, _)> = None;
    let (mut released, mut died) = (0, 0);
    let both = [Kind::Lock, Kind::LockService].map(|kind| with_ends(kind, 5_000, well));
    for wish in both.concat() {
        match &wish.call {
            Call::Acquire(holder) => {
                assert!(holds.is_none() && wish.lease.is_some(), "{wish:?}");
                holds = Some((holder.clone(), wish.lease));
            }
            Call::Release(holder) => {
                assert_eq!(holds.take().map(|(holder, _)| holder), Some(holder.clone()));
                released += 1;
            }
            Call::Grant(_) => died += u32::from(holds.take().is_some()),
            _ => {}
        }
    }
    assert!(released > 100 && died > 10, "{released} {died}");
    // Whoever has lost its lease, or does not know what it has, begins anew.
    for end in [Outcome::Mismatch, Outcome::Unknown] {
        let wishes = with_ends(Kind::Lock, 500, |wish| match wish.call {
            Call::KeepAlive => done(end.clone()),
            _ => well(wish),
        });
        let after = wishes.windows(2).filter(|pair| pair[0].call == Call::KeepAlive);
        assert!(after.into_iter().all(|pair| matches!(pair[1].call, Call::Grant(_))));
    }
}

#[test]
fn who_waited_in_vain_for_the_service_revokes_its_lease() {
    let late = |wish: &Wish| match wish.call {
        Call::Acquire(_) => done(Outcome::Unknown),
        _ => well(wish),
    };
    let wishes = with_ends(Kind::LockService, 500, late);
    let after = |call: &Call| matches!(call, Call::Revoke | Call::Grant(_));
    let pairs = || wishes.windows(2).filter(|pair| matches!(pair[0].call, Call::Acquire(_)));
    assert!(pairs().all(|pair| after(&pair[1].call)), "it dies, or gives the lease back");
    let revoked = pairs().filter(|pair| pair[1].call == Call::Revoke);
    assert!(revoked.filter(|pair| pair[0].lease == pair[1].lease).count() > 50);
    let others = with_ends(Kind::Lock, 500, late);
    assert!(others.iter().all(|wish| wish.call != Call::Revoke), "a transaction waits for nobody");
}

#[test]
fn nobody_watches_what_is_beneath_the_locks_of_the_service() {
    let workload = of(&[Kind::Register, Kind::LockService, Kind::Watch], 3);
    let keys = keys(&workload);
    let mut random = Random::from_seed(7);
    for _ in 0..200 {
        let (name, _) = keys.aim(&mut random);
        assert!(name.starts_with("t/register-"), "{name}");
    }
    assert!(beneath_locks("t/").starts_with("lock-service/"));
    assert!(of(&[Kind::LockService, Kind::Watch], 3).validate().is_err());
    assert!(of(&[Kind::LockService], 3).validate().is_ok());
}

//! Snapshots: what comes back is what was there, and nothing else ever comes back.

use super::*;
use crate::kv::limits::{SESSION_LIMITS, SessionLimits};
use crate::kv::snapshot::{KEYS_FOR_PAST, MAX_PART_BYTES, PART_BYTES};
use crate::kv::version::LATEST_VERSION;
use crate::types::NodeId;

/// A machine after `entries`, some of them of sessions.
fn machine_after(entries: &[(u8, Operation)], raised: bool) -> Machine {
    let mut machine = Machine::new();
    for (place, (who, operation)) in entries.iter().enumerate() {
        if raised && place == entries.len() / 2 {
            raise_to_latest(&mut machine);
        }
        let (who, sequence) = (u128::from(*who), place as u64 + 1);
        let command = match who {
            0 => alone(operation.clone()),
            1 => stamped(1, sequence, sequence.saturating_sub(3), operation.clone()),
            _ => stamped(who, sequence, 0, operation.clone()),
        };
        apply(&mut machine, &command);
    }
    if raised && entries.is_empty() {
        raise_to_latest(&mut machine);
    }
    machine
}

fn raise_to_latest(machine: &mut Machine) {
    raise_to(machine, LATEST_VERSION);
}

fn raise_to(machine: &mut Machine, version: u16) {
    (2..=version).for_each(|to| {
        apply(machine, &alone(Operation::RaiseVersion { to }));
    });
    let grant = Operation::LeaseGrant { id: LeaseId(3), ttl: 60 };
    apply(machine, &alone(grant));
}

fn any_entries() -> impl Strategy<Value = Vec<(u8, Operation)>> {
    prop::collection::vec((0..4u8, any_operation()), 0..60)
}

fn restored(parts: &[Bytes]) -> Result<Machine, SnapshotError> {
    let mut restore = Machine::new().restore();
    for part in parts {
        restore.take(part)?;
    }
    restore.finish()
}

proptest! {
    #![proptest_config(cases(200))]

    /// State, answers, and what happens next: all as before.
    #[test]
    fn a_snapshot_comes_back_as_it_was(
        entries in any_entries(),
        more in any_entries(),
        raised in any::<bool>(),
        part_bytes in 1..300usize,
    ) {
        let mut machine = machine_after(&entries, raised);
        let snapshot = machine.snapshot();
        prop_assert_eq!(snapshot.applied_index(), machine.applied_index());
        let parts: Vec<_> = snapshot.in_parts_of(part_bytes).collect();
        let mut back = restored(&parts).unwrap();
        let (store, sessions) = back.parts();
        sessions.check();
        prop_assert!(store.items_now().eq(machine.parts().0.items_now()));
        prop_assert_eq!(back.applied_index(), machine.applied_index());
        prop_assert_eq!(back.version(), machine.version());
        prop_assert_eq!(back.bytes(), machine.bytes());
        prop_assert_eq!(back.state_hash(), machine.state_hash());
        prop_assert_eq!(back.recompute_state_hash(), machine.state_hash());
        let again: Vec<_> = back.snapshot().in_parts_of(part_bytes).collect();
        prop_assert_eq!(again, parts, "equal states give equal bytes");
        // Retries of what was before and new commands meet the same fate on both.
        for (place, (who, operation)) in entries.iter().chain(&more).enumerate() {
            let command = stamped(u128::from(*who) + 1, place as u64 + 1, 0, operation.clone());
            prop_assert_eq!(apply(&mut back, &command), apply(&mut machine, &command));
        }
        prop_assert_eq!(back.state_hash(), machine.state_hash());
    }

    /// A snapshot is of one moment, however long it takes to write.
    #[test]
    fn writes_go_on_while_it_is_taken(
        entries in any_entries(),
        more in any_entries(),
        raised in any::<bool>(),
    ) {
        let mut machine = machine_after(&entries, raised);
        let (hash, mut snapshot) = (machine.state_hash(), machine.snapshot().in_parts_of(50));
        let mut parts = Vec::new();
        for (_, operation) in &more {
            parts.extend(snapshot.next());
            apply(&mut machine, &alone(operation.clone()));
        }
        parts.extend(snapshot);
        prop_assert_eq!(restored(&parts).unwrap().state_hash(), hash);
    }

    /// Every change to the parts is an error.
    #[test]
    fn damage_never_makes_a_machine(
        entries in any_entries(),
        raised in any::<bool>(),
        part_bytes in 1..200usize,
        (at, byte, bit) in any::<(prop::sample::Index, prop::sample::Index, u8)>(),
    ) {
        let machine = machine_after(&entries, raised);
        let parts: Vec<_> = machine.snapshot().in_parts_of(part_bytes).collect();
        let at = at.index(parts.len());
        let byte = byte.index(parts[at].len());
        let changed = |change: &dyn Fn(&mut Vec<Bytes>)| {
            let mut parts = parts.clone();
            change(&mut parts);
            restored(&parts)
        };
        let edited = |edit: &dyn Fn(&mut Vec<u8>)| changed(&|parts| {
            let mut part = parts[at].to_vec();
            edit(&mut part);
            parts[at] = part.into();
        });
        prop_assert!(edited(&|part| part[byte] ^= 1 << (bit % 8)).is_err());
        prop_assert!(edited(&|part| part.truncate(byte)).is_err());
        prop_assert!(edited(&|part| part.push(bit)).is_err());
        let missing = changed(&|parts| drop(parts.remove(at)));
        prop_assert!(missing.is_err());
        let doubled = changed(&|parts| parts.insert(at, parts[at].clone()));
        prop_assert!(doubled.is_err());
        prop_assert!(changed(&|parts| parts.truncate(at)).is_err());
        let other = (at + 1) % parts.len();
        prop_assert!(changed(&|parts| parts.swap(at, other)).is_err());
        // A part of another snapshot that is in itself sound.
        let foreign: Vec<_> = {
            let mut other = machine.clone();
            apply(&mut other, &alone(put("zz", "not there")));
            other.snapshot().in_parts_of(part_bytes).collect()
        };
        if at < foreign.len() && foreign[at] != parts[at] {
            prop_assert!(changed(&|parts| parts[at] = foreign[at].clone()).is_err());
        }
    }

    /// Rubbish that carries a right checksum meets every check behind it, and breaks nothing.
    #[test]
    fn rubbish_is_an_error(kinds in prop::collection::vec(
        (0..10u8, prop::collection::vec(any::<u8>(), 0..80)), 0..5
    ), raised in any::<bool>()) {
        let mut restore = Machine::new().restore();
        let real: Vec<_> = machine_after(&[], raised).snapshot().collect();
        restore.take(&real[0]).unwrap();
        for (position, (kind, body)) in kinds.into_iter().enumerate() {
            let mut part = (position as u64 + 1).to_le_bytes().to_vec();
            part.push(kind);
            part.extend(body);
            let checksum = xxhash_rust::xxh3::xxh3_64(&part).to_le_bytes();
            let _ = restore.take(&[&checksum[..], &part].concat());
        }
        prop_assert!(restore.finish().is_err());
    }
}

#[test]
fn parts_are_as_small_as_was_wished_unless_one_item_is_larger() {
    let mut machine = Machine::new();
    let large = "x".repeat(PART_BYTES + 100);
    for (key, value) in [("a", "1"), ("b", &large), ("c", "3")] {
        apply(&mut machine, &alone(put(key, value)));
    }
    for number in 0..2000 {
        apply(&mut machine, &alone(put(&format!("key-{number:04}"), &"y".repeat(1000))));
    }
    let parts: Vec<_> = machine.snapshot().collect();
    assert!(parts.iter().filter(|part| part.len() > PART_BYTES).count() == 1);
    assert!((7..12).contains(&parts.len()), "{}", parts.len());
    assert_eq!(restored(&parts).unwrap().state_hash(), machine.state_hash());
}

/// Else the node that makes it would stand still for as long as it takes to walk over all keys.
#[test]
fn a_part_of_the_past_looks_at_a_bounded_number_of_keys() {
    let mut machine = machine_after(&[], true);
    let last = 2 * KEYS_FOR_PAST;
    let mut set = |number: usize| {
        apply(&mut machine, &alone(put(&format!("{number:06}"), "")));
    };
    (0..=last).for_each(&mut set);
    [0, last, last].into_iter().for_each(&mut set);
    let parts: Vec<_> = machine.snapshot().collect();
    let header = 8 + 8 + 1;
    let past: Vec<_> = parts.iter().filter(|part| part[header - 1] == 7).collect();
    assert_eq!(past.len(), 3, "one for each so many keys, and one for the last key");
    assert_eq!(past[1].len(), header, "keys without a past leave nothing");
    let back = restored(&parts).unwrap();
    assert_eq!(back.recompute_state_hash(), machine.state_hash());
}

#[test]
fn an_item_too_long_for_a_part_goes_in_pieces() {
    let mut machine = Machine::new();
    let large = "x".repeat(limits::MAX_REQUEST_BYTES - 200);
    apply(&mut machine, &stamped(1, 1, 0, put("a", &large)));
    apply(&mut machine, &stamped(1, 2, 0, swap("a", Expected::Absent, "")));
    let parts: Vec<_> = machine.snapshot().collect();
    assert!(parts.iter().all(|part| part.len() <= MAX_PART_BYTES));
    assert_eq!(parts.len(), 1 + 2 + 1 + 2 + 1, "the key and the result that quotes it");
    let back = restored(&parts).unwrap();
    assert_eq!(back.state_hash(), machine.state_hash());
    for missing in 0..parts.len() {
        let mut parts = parts.clone();
        parts.remove(missing);
        assert!(restored(&parts).is_err());
    }
}

#[test]
fn a_snapshot_of_a_newer_program_is_refused_by_name() {
    let machine = machine_after(&[], true);
    let head = machine.snapshot().next().unwrap();
    let refused = Machine::supporting(1).restore().take(&head);
    let found = LATEST_VERSION;
    assert_eq!(refused, Err(SnapshotError::UnknownVersion { found, supports: 1 }));
}

#[test]
fn limits_are_the_cluster_s_and_not_the_snapshot_s() {
    let mut machine = Machine::new();
    for id in 1..=5 {
        apply(&mut machine, &stamped(id, 1, 0, put("a", "1")));
    }
    let limits = SessionLimits { sessions: 4, ..SESSION_LIMITS };
    let mut restore = Machine::with_limits(limits).restore();
    let taken: Result<Vec<()>, _> = machine.snapshot().map(|part| restore.take(&part)).collect();
    assert!(matches!(taken, Err(SnapshotError::Damaged { part: 2, .. })), "{taken:?}");
}

/// The form on disks and between nodes of different versions must not drift.
#[test]
fn the_form_is_what_it_has_always_been() {
    let mut machine = Machine::new();
    apply(&mut machine, &alone(put("key", "value")));
    apply(&mut machine, &stamped(7, 1, 0, swap("key", Expected::Absent, "other")));
    apply(&mut machine, &stamped(7, 2, 0, delete("nothing")));
    let bytes: Vec<u8> = machine.snapshot().flatten().collect();
    let sum = xxhash_rust::xxh3::xxh3_128(&bytes);
    assert_eq!(
        (bytes.len(), format!("{sum:032x}").as_str()),
        (286, "296c8d370f23e4834b671e293a07b18d")
    );
}

/// The same for what has a history: the bytes, and the hash.
#[test]
fn the_form_with_a_history_is_what_it_has_always_been() {
    let mut machine = Machine::new();
    apply(&mut machine, &alone(put("key", "value")));
    raise_to(&mut machine, 3);
    let (key, lease) = (bytes("leased"), LeaseId(3));
    let put_leased = PutRequest { key, lease, prev_kv: true, ..PutRequest::default() };
    let read = RequestOp::Range(RangeRequest::default());
    let inner = Transaction { success: vec![read], ..Transaction::default() };
    let everything = DeleteRangeRequest { start: bytes("key"), end: bytes("l"), prev_kv: true };
    let transaction = Transaction {
        success: vec![
            RequestOp::Put(put_leased),
            RequestOp::Transaction(inner),
            RequestOp::DeleteRange(everything),
        ],
        ..Transaction::default()
    };
    let later = [
        Operation::Transaction(transaction),
        Operation::Compact { revision: Revision(2) },
        Operation::Compact { revision: Revision(9) },
        Operation::LeaseCheckpoint(vec![LeaseCheckpoint { id: LeaseId(3), remaining: 7 }]),
        Operation::LeaseRevoke { id: LeaseId(3) },
        Operation::LeaseGrant { id: LeaseId(4), ttl: 9 },
        Operation::Compact { revision: Revision(3) },
    ];
    for (operation, sequence) in later.into_iter().zip(1..) {
        apply(&mut machine, &stamped(7, sequence, 0, operation));
    }
    let bytes: Vec<u8> = machine.snapshot().flatten().collect();
    let sum = xxhash_rust::xxh3::xxh3_128(&bytes);
    assert_eq!(
        (bytes.len(), format!("{sum:032x}").as_str()),
        (830, "bec595702c5be951e614dc5ce5ea004c")
    );
    assert_eq!(format!("{:032x}", machine.state_hash()), "cc56b147143b4a2d885af411d10271b0");
}

/// The same for what knows its members.
#[test]
fn the_form_with_a_roster_is_what_it_has_always_been() {
    let mut machine = Machine::new();
    raise_to_latest(&mut machine);
    machine.know_members(&[1, 2, 9].map(NodeId).into(), &[1, 2].map(NodeId).into());
    let alarm = Alarm { member: NodeId(2), kind: AlarmKind::NoSpace };
    let announcement = Announcement {
        node: NodeId(2),
        name: "node-2".into(),
        client_urls: vec!["http://127.0.0.1:2379".into()],
    };
    let later = [
        Operation::Announce(announcement),
        Operation::Enlist { node: NodeId(9) },
        Operation::Alarm(AlarmOrder { alarm, is_on: true }),
        Operation::Alarm(AlarmOrder {
            alarm: Alarm { kind: AlarmKind::Corrupt, ..alarm },
            is_on: false,
        }),
        put("key", "no room for it"),
    ];
    for (operation, sequence) in later.into_iter().zip(1..) {
        apply(&mut machine, &stamped(7, sequence, 0, operation));
    }
    let bytes: Vec<u8> = machine.snapshot().flatten().collect();
    let sum = xxhash_rust::xxh3::xxh3_128(&bytes);
    assert_eq!(
        (bytes.len(), format!("{sum:032x}"), format!("{:032x}", machine.state_hash())),
        (453, "efe15c7a8547ac8fc0a98d17e519644b".into(), "4e01deb4c2db3bfd607fef2a0508ea7f".into())
    );
}

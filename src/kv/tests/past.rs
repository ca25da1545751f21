//! History, transactions, leases and compaction, all at once, against a model that keeps every map
//! there ever was.

use super::past_model::PastModel;
use super::*;
use crate::types::NodeId;

fn any_key() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["a", "b", "ba", "c"]).prop_map(bytes)
}

fn any_value() -> impl Strategy<Value = Bytes> {
    prop::sample::select(vec!["", "1", "2"]).prop_map(bytes)
}

/// One key, some, or all.
fn any_span() -> impl Strategy<Value = (Bytes, Bytes)> {
    prop_oneof![
        3 => any_key().prop_map(|key| (key.clone(), after(&key))),
        1 => (any_key(), any_key()),
        1 => any_key().prop_map(|key| (key, Bytes::new())),
        1 => Just((Bytes::new(), Bytes::new())),
    ]
}

fn any_lease() -> impl Strategy<Value = LeaseId> {
    (1..4u64).prop_map(LeaseId)
}

fn any_revision() -> impl Strategy<Value = Revision> {
    prop_oneof![3 => Just(0), 1 => 1..30u64].prop_map(Revision)
}

pub fn any_range() -> impl Strategy<Value = RangeRequest> {
    let sort_order =
        prop::sample::select(vec![SortOrder::None, SortOrder::Ascend, SortOrder::Descend]);
    let sort_target = prop::sample::select(vec![
        SortTarget::Key,
        SortTarget::Key,
        SortTarget::Version,
        SortTarget::Create,
        SortTarget::Mod,
        SortTarget::Value,
    ]);
    let revisions = [0; 5].map(|_| any_revision());
    let flags = prop::sample::select(vec![(false, false), (true, false), (false, true)]);
    (any_span(), 0..4u64, flags, revisions, (sort_order, sort_target), 0..2u64).prop_map(
        |((start, end), limit, (keys_only, count_only), revisions, sort, skip)| {
            let [revision, min_mod, max_mod, min_create, max_create] = revisions;
            RangeRequest {
                start,
                end,
                limit,
                keys_only,
                count_only,
                revision,
                min_mod_revision: min_mod,
                max_mod_revision: max_mod,
                min_create_revision: min_create,
                max_create_revision: max_create,
                sort_order: sort.0,
                sort_target: sort.1,
                skip,
            }
        },
    )
}

fn any_compare() -> impl Strategy<Value = Compare> {
    let result = prop::sample::select(vec![
        CompareResult::Equal,
        CompareResult::Greater,
        CompareResult::Less,
        CompareResult::NotEqual,
    ]);
    let target = prop_oneof![
        (0..3u64).prop_map(CompareTarget::Version),
        any_revision().prop_map(CompareTarget::CreateRevision),
        any_revision().prop_map(CompareTarget::ModRevision),
        any_value().prop_map(CompareTarget::Value),
        prop::sample::select(vec![0, 1, 2, u64::MAX])
            .prop_map(|id| CompareTarget::Lease(LeaseId(id))),
    ];
    (any_span(), result, target).prop_map(|((start, end), result, target)| Compare {
        start,
        end,
        result,
        target,
    })
}

fn any_put() -> impl Strategy<Value = PutRequest> {
    let lease = prop_oneof![2 => Just(LeaseId(0)), 1 => any_lease()];
    let flags =
        prop::sample::select(vec![(false, false), (false, false), (true, false), (false, true)]);
    (any_key(), any_value(), lease, any::<bool>(), flags).prop_map(
        |(key, value, lease, prev_kv, (ignore_value, ignore_lease))| PutRequest {
            key,
            value: if ignore_value { Bytes::new() } else { value },
            lease: if ignore_lease { LeaseId(0) } else { lease },
            prev_kv,
            ignore_value,
            ignore_lease,
        },
    )
}

pub fn any_transaction() -> impl Strategy<Value = Transaction> {
    let leaf = prop_oneof![
        2 => any_range().prop_map(RequestOp::Range),
        4 => any_put().prop_map(RequestOp::Put),
        1 => (any_span(), any::<bool>()).prop_map(|((start, end), prev_kv)| {
            RequestOp::DeleteRange(DeleteRangeRequest { start, end, prev_kv })
        }),
    ];
    let of =
        |operation: BoxedStrategy<RequestOp>| {
            let compare = prop::collection::vec(any_compare(), 0..2);
            let operations = || prop::collection::vec(operation.clone(), 0..3);
            (compare, operations(), operations())
                .prop_map(|(compare, success, failure)| Transaction { compare, success, failure })
        };
    let leaf = leaf.boxed();
    let nested = prop_oneof![
        3 => leaf.clone(),
        1 => of(leaf).prop_map(RequestOp::Transaction),
    ];
    of(nested.boxed())
}

/// More often off than on, or hardly anything else would be done.
pub fn any_alarm_order() -> impl Strategy<Value = AlarmOrder> {
    let kind = prop::sample::select(vec![AlarmKind::NoSpace, AlarmKind::Corrupt]);
    let is_on = prop::bool::weighted(0.3);
    (0..2u64, kind, is_on).prop_map(|(member, kind, is_on)| {
        let alarm = Alarm { member: NodeId(member), kind };
        AlarmOrder { alarm, is_on }
    })
}

pub fn any_announcement() -> impl Strategy<Value = Announcement> {
    let name = prop::sample::select(vec!["one", "two"]).prop_map(str::to_owned);
    let url = prop::sample::select(vec!["http://a:1", ""]).prop_map(str::to_owned);
    (1..4u64, name, prop::collection::vec(url, 0..3)).prop_map(|(node, name, client_urls)| {
        Announcement { node: NodeId(node), name, client_urls }
    })
}

fn any_entry() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => any_operation(),
        8 => any_transaction().prop_map(Operation::Transaction),
        2 => (0..30u64).prop_map(|at| Operation::Compact { revision: Revision(at) }),
        3 => (any_lease(), 1..9u64).prop_map(|(id, ttl)| Operation::LeaseGrant { id, ttl }),
        1 => any_lease().prop_map(|id| Operation::LeaseRevoke { id }),
        1 => prop::collection::vec(
            (any_lease(), 0..9u64).prop_map(|(id, remaining)| LeaseCheckpoint { id, remaining }),
            0..3,
        ).prop_map(Operation::LeaseCheckpoint),
        3 => any_alarm_order().prop_map(Operation::Alarm),
        1 => any_announcement().prop_map(Operation::Announce),
        1 => (1..4u64).prop_map(|id| Operation::Enlist { node: NodeId(id) }),
    ]
}

/// A machine whose keys have a past from the beginning.
pub fn machine_with_a_past() -> Machine {
    let mut machine = Machine::new();
    for to in 2..=crate::kv::version::LATEST_VERSION {
        apply(&mut machine, &alone(Operation::RaiseVersion { to }));
    }
    machine
}

/// Whatever the machine can be asked says what the model says.
fn compare(machine: &Machine, model: &PastModel) -> Result<(), TestCaseError> {
    prop_assert_eq!(machine.revision().0, model.revision());
    prop_assert_eq!(machine.compacted_revision().0, model.compacted);
    prop_assert_eq!(machine.state_hash(), machine.recompute_state_hash());
    for revision in 1..=model.revision() + 1 {
        let everything = RangeRequest { revision: Revision(revision), ..RangeRequest::default() };
        let answer = machine.query(&Query::Range(everything.clone()));
        match model.range(&everything) {
            Ok((items, _, _)) => prop_assert_eq!(answer.items, items, "at {}", revision),
            Err(refusal) => prop_assert_eq!(answer.refused, Some(refusal)),
        }
        let changes = machine.changes(Revision(revision)).map(|it| it.collect::<Vec<_>>());
        if revision < model.compacted {
            prop_assert_eq!(changes, Err(Refusal::Compacted));
            continue;
        }
        let later = |it: &Change| it.item.mod_revision.0 >= revision;
        let wanted: Vec<_> = model.changes.iter().filter(|it| later(it)).cloned().collect();
        for change in &wanted {
            let before = change.item.mod_revision.0 - 1;
            let known = before >= model.compacted.max(1);
            let previous = known.then(|| model.at(before).get(&change.item.key).cloned());
            prop_assert_eq!(machine.previous(change), previous.flatten());
        }
        prop_assert_eq!(changes, Ok(wanted));
    }
    let leases = machine.query(&Query::Leases { after: LeaseId(0) }).leases;
    let told: Vec<_> = leases.iter().map(|it| (it.id, (it.granted, it.remaining))).collect();
    prop_assert_eq!(told, model.leases.clone().into_iter().collect::<Vec<_>>());
    let alarms: Vec<_> = machine.roster().alarms().collect();
    prop_assert_eq!(alarms, model.alarms.iter().copied().collect::<Vec<_>>());
    let members: Vec<_> = machine.roster().members().map(|(_, it)| it.clone()).collect();
    prop_assert_eq!(members, model.members.values().cloned().collect::<Vec<_>>());
    for id in model.leases.keys() {
        let query = Query::Lease { id: *id, keys: true, after: Bytes::new() };
        prop_assert_eq!(&machine.query(&query).leases[0].keys, &model.keys_of(*id));
    }
    Ok(())
}

/// The machine that a snapshot of this one makes.
fn restored(machine: &Machine, part_bytes: usize) -> Machine {
    let parts: Vec<_> = machine.snapshot().in_parts_of(part_bytes).collect();
    let mut restore = machine.restore();
    parts.iter().for_each(|part| restore.take(part).unwrap());
    let back = restore.finish().unwrap();
    let again: Vec<_> = back.snapshot().in_parts_of(part_bytes).collect();
    assert_eq!(again, parts, "equal states give equal bytes");
    back
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn equals_the_model(
        entries in prop::collection::vec(any_entry(), 1..40),
        ranges in prop::collection::vec(any_range(), 1..20),
        part_bytes in 1..300usize,
    ) {
        let (mut machine, mut model) = (machine_with_a_past(), PastModel::new());
        let mut early = None;
        for (place, operation) in entries.iter().enumerate() {
            let command = if place % 3 == 0 {
                stamped(1, place as u64 + 1, 0, operation.clone())
            } else {
                alone(operation.clone())
            };
            prop_assert_eq!(apply(&mut machine, &command), model.apply(operation));
            prop_assert_eq!(machine.state_hash(), machine.recompute_state_hash());
            if place == entries.len() / 2 {
                compare(&machine, &model)?;
                early = Some((machine.clone(), machine.state_hash(), model.clone()));
            }
        }
        compare(&machine, &model)?;
        for range in &ranges {
            let query = Query::Range(range.clone());
            let answer = machine.query(&query);
            prop_assert_eq!(machine.query_small(&query), Some(answer.clone()));
            prop_assert_eq!(machine.query_whole(&query, &|| true), answer.clone());
            let told = match answer.refused {
                Some(refusal) => Err(refusal),
                None => Ok((answer.items, answer.more, answer.count)),
            };
            prop_assert_eq!(told, model.range(range), "{:?}", range);
        }
        let (clone, hash, then) = early.unwrap();
        prop_assert_eq!(clone.state_hash(), hash);
        compare(&clone, &then)?;

        // Both go on alike, and both have swept the same.
        let mut back = restored(&machine, part_bytes);
        compare(&back, &model)?;
        for (place, operation) in entries.iter().enumerate() {
            let command = stamped(1 + place as u128 % 2, place as u64 + 1, 0, operation.clone());
            prop_assert_eq!(apply(&mut machine, &command), apply(&mut back, &command));
        }
        prop_assert_eq!(machine.state_hash(), back.state_hash());
    }

    /// What compaction leaves is what somebody may still ask for, and nothing besides.
    #[test]
    fn the_broom_leaves_what_is_needed(entries in prop::collection::vec(any_entry(), 1..60)) {
        let (mut machine, mut model) = (machine_with_a_past(), PastModel::new());
        for operation in &entries {
            apply(&mut machine, &alone(operation.clone()));
            model.apply(operation);
        }
        (0..20).for_each(|_| machine.skip(machine.applied_index().next()));
        let history = machine.parts().0.history().unwrap();
        prop_assert_eq!(history.counts(), model.needed());
    }
}

//! Alarms, and what is known of the members.

use std::collections::{BTreeMap, BTreeSet};

use super::past::{any_alarm_order, any_announcement, machine_with_a_past};
use super::*;
use crate::kv::limits::{MAX_ALARMS, MAX_ANNOUNCED, MAX_URLS, STORED_ITEM_BYTES};
use crate::kv::roster::Member;
use crate::types::NodeId;

fn ids(ids: &[u64]) -> BTreeSet<NodeId> {
    ids.iter().copied().map(NodeId).collect()
}

fn alarm(member: u64, kind: AlarmKind, is_on: bool) -> Command {
    alone(Operation::Alarm(AlarmOrder { alarm: Alarm { member: NodeId(member), kind }, is_on }))
}

fn announce(node: u64, name: &str) -> Operation {
    let client_urls = vec![format!("http://127.0.0.1:{node}")];
    Operation::Announce(Announcement { node: NodeId(node), name: name.into(), client_urls })
}

fn names(machine: &Machine) -> Vec<(u64, String, bool)> {
    let shown = |(id, it): (NodeId, &Member)| (id.0, it.name.clone(), it.is_enlisted);
    machine.roster().members().map(shown).collect()
}

/// What is done to a machine.
#[derive(Clone, Debug)]
enum Step {
    Do(Operation),
    Know(BTreeSet<NodeId>, BTreeSet<NodeId>),
}

fn any_step() -> impl Strategy<Value = Step> {
    let some = || prop::collection::btree_set((1..6u64).prop_map(NodeId), 1..5);
    prop_oneof![
        3 => any_announcement().prop_map(|it| Step::Do(Operation::Announce(it))),
        2 => (1..6u64).prop_map(|id| Step::Do(Operation::Enlist { node: NodeId(id) })),
        2 => any_alarm_order().prop_map(|it| Step::Do(Operation::Alarm(it))),
        2 => any_operation().prop_map(Step::Do),
        2 => (some(), some()).prop_map(|(members, more)| {
            let voters = more.intersection(&members).copied().collect();
            Step::Know(members, voters)
        }),
    ]
}

proptest! {
    #![proptest_config(cases(300))]

    /// Who is known is who was announced or enlisted and not left out since; and all of it comes
    /// back out of a snapshot, at any moment.
    #[test]
    fn the_roster_follows_what_is_said(
        steps in prop::collection::vec(any_step(), 1..40),
        part_bytes in 1..300usize,
    ) {
        let mut machine = machine_with_a_past();
        let mut known: BTreeMap<NodeId, (String, bool)> = BTreeMap::new();
        let mut last = NodeId(0);
        for step in &steps {
            match step {
                Step::Do(operation) => {
                    apply(&mut machine, &alone(operation.clone()));
                    match operation {
                        Operation::Announce(it) => {
                            known.entry(it.node).or_default().0.clone_from(&it.name);
                        }
                        Operation::Enlist { node } => known.entry(*node).or_default().1 = true,
                        _ => {}
                    }
                }
                Step::Know(members, voters) => {
                    machine.skip(machine.applied_index().next());
                    machine.know_members(members, voters);
                    last = last.max(*members.last().unwrap());
                    known.retain(|id, _| members.contains(id));
                    known.iter_mut().for_each(|(id, it)| it.1 &= !voters.contains(id));
                    known.retain(|_, (name, enlisted)| !name.is_empty() || *enlisted);
                }
            }
            prop_assert_eq!(machine.state_hash(), machine.recompute_state_hash());
            prop_assert_eq!(machine.roster().last_member(), last);
            let wanted = known.iter().map(|(id, (name, to_vote))| (id.0, name.clone(), *to_vote));
            prop_assert_eq!(names(&machine), wanted.collect::<Vec<_>>());
        }
        let parts: Vec<_> = machine.snapshot().in_parts_of(part_bytes).collect();
        let mut restore = Machine::new().restore();
        parts.iter().for_each(|part| restore.take(part).unwrap());
        let back = restore.finish().unwrap();
        prop_assert_eq!(back.state_hash(), machine.state_hash());
        prop_assert_eq!(names(&back), names(&machine));
    }
}

#[test]
fn without_room_what_takes_room_is_refused_and_what_frees_it_is_not() {
    let mut machine = machine_with_a_past();
    apply(&mut machine, &alone(put("a", "1")));
    let raised = apply(&mut machine, &alarm(1, AlarmKind::NoSpace, true));
    let on = Some(Alarm { member: NodeId(1), kind: AlarmKind::NoSpace });
    assert_eq!(raised.effect, Effect::Alarm { alarm: on });
    let hash = machine.state_hash();
    let a_put = RequestOp::Put(PutRequest { key: bytes("b"), ..PutRequest::default() });
    let inner = Transaction { failure: vec![a_put.clone()], ..Transaction::default() };
    for operation in [
        put("a", "2"),
        swap("a", Expected::Absent, "2"),
        Operation::Transaction(Transaction { failure: vec![a_put], ..Transaction::default() }),
        Operation::Transaction(Transaction {
            success: vec![RequestOp::Transaction(inner)],
            ..Transaction::default()
        }),
        Operation::LeaseGrant { id: LeaseId(1), ttl: 9 },
    ] {
        let outcome = apply(&mut machine, &alone(operation));
        assert_eq!(refused(&outcome), Some(Refusal::NoSpace));
        assert_eq!(machine.state_hash(), hash);
    }
    // Of another member, too.
    apply(&mut machine, &alarm(2, AlarmKind::NoSpace, true));
    let off = apply(&mut machine, &alarm(1, AlarmKind::NoSpace, false));
    assert_eq!(off.effect, Effect::Alarm { alarm: on });
    assert_eq!(refused(&apply(&mut machine, &alone(put("a", "2")))), Some(Refusal::NoSpace));
    let read = RequestOp::Range(RangeRequest::default());
    for operation in [
        delete("a"),
        Operation::Transaction(Transaction { success: vec![read], ..Transaction::default() }),
        Operation::Compact { revision: Revision(3) },
    ] {
        assert_eq!(refused(&apply(&mut machine, &alone(operation))), None);
    }
    apply(&mut machine, &alarm(2, AlarmKind::NoSpace, false));
    let again = apply(&mut machine, &alarm(2, AlarmKind::NoSpace, false));
    assert_eq!(again.effect, Effect::Alarm { alarm: None });
    assert_eq!(refused(&apply(&mut machine, &alone(put("a", "2")))), None);
}

#[test]
fn a_corrupt_cluster_takes_nothing_but_the_way_back() {
    let mut machine = machine_with_a_past();
    apply(&mut machine, &alone(Operation::LeaseGrant { id: LeaseId(1), ttl: 9 }));
    apply(&mut machine, &alarm(1, AlarmKind::Corrupt, true));
    for operation in [
        put("a", "2"),
        delete("a"),
        Operation::Transaction(Transaction::default()),
        Operation::Compact { revision: Revision(1) },
        Operation::LeaseGrant { id: LeaseId(2), ttl: 9 },
        Operation::LeaseRevoke { id: LeaseId(1) },
    ] {
        let outcome = apply(&mut machine, &alone(operation));
        assert_eq!(refused(&outcome), Some(Refusal::Corrupt));
    }
    assert_eq!(refused(&apply(&mut machine, &alone(announce(1, "one")))), None);
    apply(&mut machine, &alarm(1, AlarmKind::Corrupt, false));
    assert_eq!(refused(&apply(&mut machine, &alone(put("a", "2")))), None);
}

#[test]
fn a_number_that_was_a_member_s_is_never_forgotten() {
    let mut machine = Machine::new();
    machine.know_members(&ids(&[1, 2, 8]), &ids(&[1, 2, 8]));
    assert_eq!(machine.roster().last_member(), NodeId(0), "version 1 knows no members");
    machine = machine_with_a_past();
    machine.know_members(&ids(&[1, 2, 8]), &ids(&[1, 2]));
    machine.know_members(&ids(&[1, 2]), &ids(&[1, 2]));
    assert_eq!(machine.roster().last_member(), NodeId(8));
}

/// Whatever stands in the log, the roster stays small.
#[test]
fn alarms_and_members_are_bounded() {
    let mut machine = machine_with_a_past();
    for member in 0..MAX_ALARMS as u64 {
        let outcome = apply(&mut machine, &alarm(member, AlarmKind::NoSpace, true));
        assert_eq!(refused(&outcome), None);
    }
    let beyond = alarm(u64::MAX, AlarmKind::NoSpace, true);
    assert_eq!(refused(&apply(&mut machine, &beyond)), Some(Refusal::TooMany));
    let known = alarm(0, AlarmKind::NoSpace, true);
    assert_eq!(refused(&apply(&mut machine, &known)), None);
    for node in 1..=MAX_ANNOUNCED as u64 {
        assert_eq!(refused(&apply(&mut machine, &alone(announce(node, "x")))), None);
    }
    for operation in [announce(999, "x"), Operation::Enlist { node: NodeId(999) }] {
        assert_eq!(refused(&apply(&mut machine, &alone(operation))), Some(Refusal::TooMany));
    }
    assert_eq!(refused(&apply(&mut machine, &alone(announce(1, "again")))), None);
    let urls = vec![String::new(); MAX_URLS + 1];
    for (node, name, client_urls) in [
        (0, "x".to_owned(), vec![]),
        (1, String::new(), vec![]),
        (1, "x".repeat(129), vec![]),
        (1, "x".into(), urls),
        (1, "x".into(), vec!["x".repeat(257)]),
    ] {
        let it = Announcement { node: NodeId(node), name, client_urls };
        let outcome = apply(&mut machine, &alone(Operation::Announce(it)));
        assert_eq!(refused(&outcome), Some(Refusal::Malformed));
    }
}

/// The bytes that count: of each version, with what it costs besides.
#[test]
fn the_size_goes_up_with_what_is_kept_and_down_with_what_is_swept() {
    let mut machine = machine_with_a_past();
    assert_eq!(machine.size(), 0);
    let first = put("key", "value");
    apply(&mut machine, &alone(first.clone()));
    assert_eq!(machine.size(), first.cost());
    assert_eq!(machine.size(), STORED_ITEM_BYTES + 8);
    apply(&mut machine, &alone(first));
    apply(&mut machine, &alone(delete("key")));
    assert_eq!(machine.size(), 3 * STORED_ITEM_BYTES + 8 + 8 + 3, "a deletion has a key");
    let compact = Operation::Compact { revision: machine.revision() };
    apply(&mut machine, &alone(compact));
    machine.skip(machine.applied_index().next());
    // The deletion at the mark is kept, and not what it deleted.
    assert_eq!(machine.size(), STORED_ITEM_BYTES + 3);
    apply(&mut machine, &alone(Operation::LeaseGrant { id: LeaseId(1), ttl: 9 }));
    assert_eq!(machine.size(), STORED_ITEM_BYTES + 3 + 64);
}

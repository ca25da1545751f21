//! Leases, and compaction at its edges.

use super::past::machine_with_a_past;
use super::*;
use crate::kv::limits::MAX_LEASE_TTL;

fn grant(id: u64, ttl: u64) -> Operation {
    Operation::LeaseGrant { id: LeaseId(id), ttl }
}

fn leased(key: &str, id: u64) -> Operation {
    let (key, lease) = (bytes(key), LeaseId(id));
    let put = PutRequest { key, lease, ..PutRequest::default() };
    let success = vec![RequestOp::Put(put)];
    Operation::Transaction(Transaction { success, ..Transaction::default() })
}

fn keys_of(machine: &Machine, id: u64) -> Vec<Bytes> {
    let query = Query::Lease { id: LeaseId(id), keys: true, after: Bytes::new() };
    machine.query(&query).leases.remove(0).keys
}

fn compact(at: u64) -> Command {
    alone(Operation::Compact { revision: Revision(at) })
}

#[test]
fn a_lease_takes_its_keys_with_it_at_one_revision() {
    let mut machine = machine_with_a_past();
    for operation in [grant(1, 5), grant(2, 5), leased("b", 1), leased("a", 1), leased("c", 1)] {
        assert_eq!(refused(&apply(&mut machine, &alone(operation))), None);
    }
    // A key leaves its lease with any put that does not name it, and with its deletion.
    apply(&mut machine, &alone(leased("c", 2)));
    assert_eq!(keys_of(&machine, 1), ["a", "b"]);
    apply(&mut machine, &alone(put("c", "1")));
    apply(&mut machine, &alone(leased("d", 2)));
    apply(&mut machine, &alone(delete("d")));
    assert!(keys_of(&machine, 2).is_empty());

    let before = machine.revision().0;
    let revoke = |id| alone(Operation::LeaseRevoke { id: LeaseId(id) });
    let outcome = apply(&mut machine, &revoke(1));
    assert_eq!(outcome.effect, Effect::LeaseRevoked { deleted: 2 });
    assert_eq!(outcome.revision.0, before + 1);
    let changes = machine.changes(outcome.revision).unwrap();
    let changes: Vec<_> = changes.map(|it| (it.item.key, it.sub, it.is_delete)).collect();
    assert_eq!(changes, [(bytes("a"), 0, true), (bytes("b"), 1, true)]);
    // Without keys it consumes no revision.
    let outcome = apply(&mut machine, &revoke(2));
    assert_eq!(outcome.effect, Effect::LeaseRevoked { deleted: 0 });
    assert_eq!(outcome.revision.0, before + 1);
    assert_eq!(refused(&apply(&mut machine, &revoke(2))), Some(Refusal::LeaseNotFound));
    assert_eq!(machine.leases(), 0);
    let query = Query::Lease { id: LeaseId(1), keys: false, after: Bytes::new() };
    assert_eq!(machine.query(&query).refused, Some(Refusal::LeaseNotFound));
}

#[test]
fn leases_are_granted_once_and_remember_what_they_have_left() {
    let mut machine = machine_with_a_past();
    let effect = |machine: &mut Machine, operation| apply(machine, &alone(operation)).effect;
    assert_eq!(effect(&mut machine, grant(1, 5)), Effect::LeaseGranted);
    assert_eq!(effect(&mut machine, grant(1, 9)), Effect::Refused(Refusal::LeaseExists));
    let hash = machine.state_hash();
    let checkpoint = |id, remaining| LeaseCheckpoint { id: LeaseId(id), remaining };
    let left = Operation::LeaseCheckpoint(vec![checkpoint(1, 3), checkpoint(2, 3)]);
    assert_eq!(effect(&mut machine, left), Effect::LeasesCheckpointed);
    assert_ne!(machine.state_hash(), hash);
    let status = &machine.query(&Query::Leases { after: LeaseId(0) }).leases;
    let wanted = LeaseStatus { id: LeaseId(1), granted: 5, remaining: 3, keys: vec![] };
    assert_eq!(status, &[wanted]);
    for (operation, invalid) in [
        (grant(0, 5), Invalid::ZeroLease),
        (grant(3, 0), Invalid::LeaseTtl { ttl: 0 }),
        (grant(3, MAX_LEASE_TTL + 1), Invalid::LeaseTtl { ttl: MAX_LEASE_TTL + 1 }),
        (Operation::LeaseCheckpoint(vec![checkpoint(0, 1)]), Invalid::ZeroLease),
    ] {
        assert_eq!(alone(operation.clone()).validate(), Err(invalid));
        assert_eq!(effect(&mut machine, operation), Effect::Refused(Refusal::Malformed));
    }
}

/// However many keys a lease has, they come in pages.
#[test]
fn a_lease_s_keys_come_in_pages() {
    let mut machine = machine_with_a_past();
    apply(&mut machine, &alone(grant(1, 5)));
    let long = "x".repeat(limits::MAX_ANSWER_PAYLOAD_BYTES / 2 - 100);
    let keys: Vec<String> = (0..5).map(|number| format!("{number}{long}")).collect();
    keys.iter().for_each(|key| drop(apply(&mut machine, &alone(leased(key, 1)))));
    let (mut seen, mut from) = (Vec::new(), Bytes::new());
    loop {
        let answer = machine.query(&Query::Lease { id: LeaseId(1), keys: true, after: from });
        assert_eq!(answer.count, 5);
        assert!(answer.encode().len() < limits::MAX_ANSWER_BYTES);
        seen.extend(answer.leases[0].keys.clone());
        from = seen.last().unwrap().clone();
        if !answer.more {
            break;
        }
    }
    assert!(seen.iter().eq(keys.iter()));
}

#[test]
fn compaction_is_refused_at_its_edges_and_keeps_what_can_still_be_read() {
    let mut machine = machine_with_a_past();
    for operation in [put("a", "1"), put("a", "2"), delete("a"), put("b", "1"), put("a", "3")] {
        apply(&mut machine, &alone(operation));
    }
    let at = |machine: &Machine, revision: u64| {
        let range = RangeRequest { revision: Revision(revision), ..RangeRequest::default() };
        let answer = machine.query(&Query::Range(range));
        let values: Vec<_> = answer.items.into_iter().map(|kv| kv.value).collect();
        answer.refused.map_or(Ok(values), Err)
    };
    assert_eq!(refused(&apply(&mut machine, &compact(7))), Some(Refusal::FutureRevision));
    assert_eq!(apply(&mut machine, &compact(4)).effect, Effect::Compacted);
    assert_eq!(refused(&apply(&mut machine, &compact(4))), Some(Refusal::Compacted));
    assert_eq!(refused(&apply(&mut machine, &compact(3))), Some(Refusal::Compacted));
    assert_eq!(at(&machine, 3), Err(Refusal::Compacted));
    assert_eq!(at(&machine, 4), Ok(vec![]));
    assert_eq!(at(&machine, 5), Ok(vec![bytes("1")]));
    assert_eq!(at(&machine, 7), Err(Refusal::FutureRevision));
    assert_eq!(at(&machine, 0), at(&machine, 6));
    // The change at the mark is a deletion, and a watch may begin with it.
    assert_eq!(machine.changes(Revision(3)).err(), Some(Refusal::Compacted));
    let changes: Vec<_> = machine.changes(Revision(4)).unwrap().collect();
    assert!(changes[0].is_delete && changes.len() == 3);
    assert_eq!(machine.previous(&changes[0]), None, "what it deleted cannot be read any more");
    assert_eq!(apply(&mut machine, &compact(6)).effect, Effect::Compacted);
    machine.skip(machine.applied_index().next());
    let history = machine.parts().0.history().unwrap();
    assert_eq!((history.counts(), machine.past_bytes()), ((1, 0), 0));
    assert_eq!(at(&machine, 6), Ok(vec![bytes("3"), bytes("1")]));
}

/// The rubbish of a large compaction goes in small steps, and is part of the state meanwhile.
#[test]
fn a_snapshot_in_the_middle_of_sweeping_goes_on_sweeping() {
    let mut machine = machine_with_a_past();
    (0..1000).for_each(|_| drop(apply(&mut machine, &alone(put("a", "1")))));
    apply(&mut machine, &compact(1001));
    let steps = |machine: &Machine| machine.parts().0.history().unwrap().counts().0;
    machine.skip(machine.applied_index().next());
    let swept = store::SWEEP_WITH_EACH_ENTRY as u64;
    assert_eq!(steps(&machine), 1000 - swept);
    let mut restore = machine.restore();
    machine.snapshot().for_each(|part| restore.take(&part).unwrap());
    let mut back = restore.finish().unwrap();
    while steps(&machine) > 1 {
        machine.skip(machine.applied_index().next());
        back.skip(back.applied_index().next());
        assert_eq!(machine.state_hash(), back.state_hash());
        assert_eq!(machine.state_hash(), machine.recompute_state_hash());
    }
}

/// Whoever needs all of a large range asks for page after page at one revision.
#[test]
fn pages_at_one_revision_show_one_state_while_writes_go_on() {
    let mut machine = machine_with_a_past();
    let large = "x".repeat(limits::MAX_ANSWER_PAYLOAD_BYTES / 3);
    let key = |number: u32| format!("k{number}");
    (0..8).for_each(|number| drop(apply(&mut machine, &alone(put(&key(number), &large)))));
    let wanted: Vec<_> = (0..8).rev().map(|number| bytes(&key(number))).collect();
    let revision = machine.revision();
    let mut seen = Vec::new();
    loop {
        let request = RangeRequest {
            revision,
            sort_order: SortOrder::Descend,
            skip: seen.len() as u64,
            ..RangeRequest::default()
        };
        let answer = machine.query(&Query::Range(request));
        assert_eq!(answer.count, 8);
        seen.extend(answer.items.into_iter().map(|kv| kv.key));
        if !answer.more {
            break;
        }
        apply(&mut machine, &alone(delete(&key(0))));
        apply(&mut machine, &alone(put("k9", "new")));
    }
    assert_eq!(seen, wanted);
}

//! What a compaction leaves to be done, and that it is done.

use super::past::machine_with_a_past;
use super::*;

/// A transaction that sets so many keys, of a name of their own or always the same.
fn puts(count: usize, name: &str) -> Operation {
    let put = |number| {
        let key = bytes(&format!("{name}-{number:04}"));
        RequestOp::Put(PutRequest { key, value: bytes("x"), ..PutRequest::default() })
    };
    let success = (0..count).map(put).collect();
    Operation::Transaction(Transaction { success, ..Transaction::default() })
}

fn compact(machine: &mut Machine, at: Revision) {
    let outcome = apply(machine, &alone(Operation::Compact { revision: at }));
    assert_eq!(outcome.effect, Effect::Compacted);
}

fn skip(machine: &mut Machine) {
    machine.skip(machine.applied_index().next());
}

fn restored(machine: &Machine) -> Machine {
    let mut restore = machine.restore();
    machine.snapshot().in_parts_of(4000).for_each(|part| restore.take(&part).unwrap());
    restore.finish().unwrap()
}

/// Wherever the broom stands, and be it in the midst of a revision, a snapshot comes back.
#[test]
fn a_snapshot_is_taken_in_the_midst_of_a_sweep() {
    for (count, rounds) in [(3, 60), (100, 12)] {
        for same in [true, false] {
            let mut machine = machine_with_a_past();
            for round in 0..rounds {
                let name = if same { "k".to_owned() } else { format!("k{round}") };
                apply(&mut machine, &alone(puts(count, &name)));
            }
            let last = machine.revision();
            apply(&mut machine, &alone(delete("k-0000")));
            compact(&mut machine, last);
            for _ in 0..20 {
                let mut back = restored(&machine);
                skip(&mut machine);
                skip(&mut back);
                assert_eq!(back.state_hash(), machine.state_hash());
                assert_eq!(back.recompute_state_hash(), machine.state_hash());
            }
        }
    }
}

/// What no sweep can have taken must be there.
#[test]
fn a_snapshot_that_lacks_a_revision_s_first_changes_is_refused() {
    let mut store = store::Store::restoring(Revision(9));
    store.restore_history(Some(Revision(3))).unwrap();
    let change = || store::KeptChange::Deleted(bytes("a"));
    assert!(store.restore_change((Revision(3), 1), change()).is_err(), "it is at the mark");
    assert!(store.restore_change((Revision(2), 7), change()).is_ok(), "it is before the mark");
    assert!(store.restore_change((Revision(2), 9), change()).is_err(), "one is missing");
    assert!(store.restore_change((Revision(3), 1), change()).is_err(), "one is missing");
    assert!(store.restore_change((Revision(3), 0), change()).is_ok());
}

/// Whatever entries change, the broom comes nearer.
#[test]
fn the_broom_does_not_fall_behind() {
    let mut machine = machine_with_a_past();
    for round in 0..60 {
        apply(&mut machine, &alone(puts(100, "k")));
        let last = machine.revision();
        compact(&mut machine, last);
        let (changes, past) = machine.parts().0.history().unwrap().counts();
        assert!(changes <= 300 && past <= 300, "round {round}: {changes} and {past}");
        assert_eq!(machine.state_hash(), machine.recompute_state_hash());
    }
    skip(&mut machine);
    assert!(!machine.has_rubbish());
    // A lease with many keys goes at once, and so does what it leaves.
    let id = LeaseId(5);
    apply(&mut machine, &alone(Operation::LeaseGrant { id, ttl: 9 }));
    for part in 0..30 {
        let put = |number| {
            let key = bytes(&format!("leased-{part}-{number}"));
            RequestOp::Put(PutRequest { key, lease: id, ..PutRequest::default() })
        };
        let success = (0..100).map(put).collect();
        let transaction = Transaction { success, ..Transaction::default() };
        apply(&mut machine, &alone(Operation::Transaction(transaction)));
    }
    let outcome = apply(&mut machine, &alone(Operation::LeaseRevoke { id }));
    assert_eq!(outcome.effect, Effect::LeaseRevoked { deleted: 3000 });
    let last = machine.revision();
    compact(&mut machine, last);
    assert!(machine.has_rubbish());
    skip(&mut machine);
    assert!(!machine.has_rubbish());
}

/// Everything is deleted at one revision, and compacted to just there: all of it goes, a part with
/// each entry, alike on a replica that begins in the midst of it.
#[test]
fn what_was_deleted_at_the_mark_goes_too() {
    let mut machine = machine_with_a_past();
    for part in 0..4 {
        apply(&mut machine, &alone(puts(100, &format!("k{part}"))));
    }
    let everything = DeleteRangeRequest { start: bytes("k"), ..DeleteRangeRequest::default() };
    let success = vec![RequestOp::DeleteRange(everything)];
    apply(
        &mut machine,
        &alone(Operation::Transaction(Transaction { success, ..Transaction::default() })),
    );
    let last = machine.revision();
    // A later change is not touched, and makes the broom small again.
    apply(&mut machine, &alone(put("later", "1")));
    compact(&mut machine, last);
    let full = machine.past_bytes();
    let mut entries = 0;
    while machine.has_rubbish() {
        let mut back = restored(&machine);
        skip(&mut machine);
        skip(&mut back);
        assert_eq!(back.state_hash(), machine.state_hash());
        assert_eq!(machine.state_hash(), machine.recompute_state_hash());
        entries += 1;
    }
    assert!(entries > 3, "in small steps");
    let (changes, past) = machine.parts().0.history().unwrap().counts();
    assert_eq!((changes, past), (401, 400), "the deletions at the mark");
    assert!(machine.past_bytes() < full);
    let (hash, mut back) = (machine.state_hash(), restored(&machine));
    skip(&mut back);
    assert_eq!(back.state_hash(), hash, "nothing more goes");
}

/// etcd takes one compaction at zero, and tells it from none.
#[test]
fn a_compaction_at_zero_is_taken_once() {
    let mut machine = machine_with_a_past();
    assert_eq!(machine.last_compaction(), None);
    let never = machine.state_hash();
    compact(&mut machine, Revision(0));
    assert_eq!(machine.last_compaction(), Some(Revision(0)));
    assert_ne!(machine.state_hash(), never);
    assert_eq!(restored(&machine).state_hash(), machine.state_hash());
    let again = apply(&mut machine, &alone(Operation::Compact { revision: Revision(0) }));
    assert_eq!(refused(&again), Some(Refusal::Compacted));
}

//! The machine's version: raised by the log, the same on every replica.

use super::*;
use crate::kv::limits::{SESSION_LIMITS, SessionLimits};
use crate::museum::{Bug, Bugs};
use crate::types::NodeId;

fn raise(to: u16) -> Command {
    alone(Operation::RaiseVersion { to })
}

#[test]
fn the_log_raises_the_version_by_one_and_every_other_raise_is_refused() {
    let mut machine = Machine::new();
    let hash = machine.state_hash();
    for to in [0, 1, 3, u16::MAX] {
        assert_eq!(refused(&apply(&mut machine, &raise(to))), Some(Refusal::UnknownVersion));
    }
    assert_eq!((machine.version(), machine.state_hash()), (1, hash));
    let outcome = apply(&mut machine, &raise(2));
    assert_eq!(outcome.effect, Effect::Raised { version: 2 });
    assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
    assert_ne!(machine.state_hash(), hash, "it is part of the state");
    // The second of two leaders that proposed the same.
    assert_eq!(refused(&apply(&mut machine, &raise(2))), Some(Refusal::UnknownVersion));
    assert_eq!((machine.version(), machine.outgrown()), (2, None));
    let of_session = Command { operation: raise(3).operation, ..stamped(1, 1, 0, delete("a")) };
    assert_eq!(refused(&apply(&mut machine, &of_session)), Some(Refusal::Malformed));
}

#[test]
fn old_and_new_programs_agree_until_the_raise_and_the_old_one_knows_that_it_must_stop() {
    let (mut old, mut new) = (Machine::supporting(1), Machine::supporting(2));
    for sequence in 1..10 {
        let command = stamped(7, sequence, 0, put("a", "1"));
        assert_eq!(apply(&mut old, &command), apply(&mut new, &command));
        assert_eq!(old.state_hash(), new.state_hash());
    }
    assert_eq!((old.outgrown(), new.outgrown()), (None, None));
    apply(&mut old, &raise(2));
    apply(&mut new, &raise(2));
    assert_eq!((old.outgrown(), new.outgrown()), (Some(2), None));
}

#[test]
fn from_version_two_on_a_session_goes_when_nobody_used_it_for_so_many_entries() {
    let limits = SessionLimits { idle_entries: 5, ..SESSION_LIMITS };
    let mut machine = Machine::with_limits(limits);
    let first = stamped(1, 1, 0, put("a", "1"));
    apply(&mut machine, &first);
    for _ in 0..20 {
        machine.skip(machine.applied_index().next());
    }
    assert_eq!(machine.sessions(), 1, "version 1 knows no expiry");
    apply(&mut machine, &raise(2));
    assert_eq!(machine.sessions(), 0, "it was idle long before");
    // What could be a retry of a forgotten command is refused; a new session gets in.
    assert_eq!(refused(&apply(&mut machine, &first)), Some(Refusal::SessionExpired));
    let mut newer = stamped(2, 1, 0, put("a", "2"));
    newer.session.as_mut().unwrap().opened_at = machine.applied_index();
    assert_eq!(refused(&apply(&mut machine, &newer)), None);
    for entries in 1..=6 {
        machine.skip(machine.applied_index().next());
        assert_eq!(machine.sessions(), u64::from(entries <= 5), "after {entries} entries");
    }
}

#[test]
fn the_museum_s_bugs_do_what_they_say() {
    let with = |bug, replica| {
        let bugs = Bugs::only(bug);
        Machine::with(MachineOptions { bugs, replica, ..MachineOptions::default() })
    };
    let mut forgetful = with(Bug::NoSessions, 1);
    let command = stamped(1, 1, 0, put("a", "1"));
    apply(&mut forgetful, &command);
    assert_eq!(apply(&mut forgetful, &command).revision, Revision(3), "applied twice");
    let (mut one, mut two) = (with(Bug::DivergentApply, 1), with(Bug::DivergentApply, 2));
    for _ in 0..16 {
        apply(&mut one, &alone(put("a", "1")));
        apply(&mut two, &alone(put("a", "1")));
    }
    assert_ne!(one.state_hash(), two.state_hash());
}

fn later_operations() -> Vec<Operation> {
    let id = LeaseId(1);
    vec![
        Operation::Transaction(Transaction::default()),
        Operation::Compact { revision: Revision(2) },
        Operation::LeaseGrant { id, ttl: 5 },
        Operation::LeaseRevoke { id },
        Operation::LeaseCheckpoint(vec![LeaseCheckpoint { id, remaining: 3 }]),
        // What makes no sense is refused for the same reason: an old program cannot tell.
        Operation::LeaseGrant { id: LeaseId(0), ttl: 5 },
    ]
}

#[test]
fn before_version_three_what_it_brings_is_refused_as_by_a_program_that_does_not_know_it() {
    let mut machine = Machine::new();
    apply(&mut machine, &alone(put("a", "1")));
    for version in 1..3 {
        let hash = machine.state_hash();
        for operation in later_operations() {
            for command in [alone(operation.clone()), stamped(9, 1, 0, operation)] {
                let outcome = apply(&mut machine, &command);
                assert_eq!(refused(&outcome), Some(Refusal::UnknownVersion));
                // Not even the session is taken note of.
                assert_eq!(machine.state_hash(), hash);
            }
        }
        assert_eq!(machine.changes(Revision(1)).err(), Some(Refusal::UnknownVersion));
        apply(&mut machine, &raise(version + 1));
    }
    // History begins at the raise, and there must be something to forget.
    apply(&mut machine, &alone(put("a", "2")));
    for mut operation in later_operations().into_iter().take(5) {
        if let Operation::Compact { revision } = &mut operation {
            *revision = machine.revision();
        }
        assert_eq!(refused(&apply(&mut machine, &alone(operation))), None);
    }
}

#[test]
fn history_begins_with_version_three() {
    let mut machine = Machine::new();
    apply(&mut machine, &raise(2));
    for value in ["1", "2"] {
        apply(&mut machine, &alone(put("a", value)));
    }
    let old_form = machine.snapshot().next().unwrap();
    assert_eq!(Machine::supporting(2).restore().take(&old_form), Ok(()));
    apply(&mut machine, &raise(3));
    assert_eq!(machine.state_hash(), machine.recompute_state_hash());
    let new_form = machine.snapshot().next().unwrap();
    let refused = Machine::supporting(2).restore().take(&new_form);
    assert_eq!(refused, Err(SnapshotError::UnknownVersion { found: 3, supports: 2 }));

    let at = |machine: &Machine, revision| {
        let range = RangeRequest { revision: Revision(revision), ..RangeRequest::default() };
        let answer = machine.query(&Query::Range(range));
        (answer.refused, answer.items.first().map(|kv| kv.value.clone()))
    };
    apply(&mut machine, &alone(put("a", "3")));
    assert_eq!(at(&machine, 2), (Some(Refusal::Compacted), None));
    assert_eq!(at(&machine, 3), (None, Some(bytes("2"))));
    assert_eq!(at(&machine, 4), (None, Some(bytes("3"))));
    let changes: Vec<_> = machine.changes(Revision(3)).unwrap().collect();
    assert_eq!(changes.len(), 1);
    assert_eq!(machine.previous(&changes[0]).map(|kv| kv.value), Some(bytes("2")));
}

#[test]
fn before_version_four_there_are_no_alarms_and_no_names() {
    let mut machine = Machine::new();
    (2..=3).for_each(|to| drop(apply(&mut machine, &raise(to))));
    let alarm = Alarm { member: NodeId(1), kind: AlarmKind::NoSpace };
    let it = Announcement { node: NodeId(1), name: "one".into(), client_urls: vec![] };
    let operations = [
        Operation::Alarm(AlarmOrder { alarm, is_on: true }),
        Operation::Announce(it),
        Operation::Enlist { node: NodeId(1) },
    ];
    let hash = machine.state_hash();
    for operation in operations.clone() {
        let outcome = apply(&mut machine, &stamped(9, 1, 0, operation));
        assert_eq!(refused(&outcome), Some(Refusal::UnknownVersion));
        assert_eq!(machine.state_hash(), hash);
    }
    let old_form = machine.snapshot().next().unwrap();
    assert_eq!(Machine::supporting(3).restore().take(&old_form), Ok(()));
    apply(&mut machine, &raise(4));
    for operation in operations {
        assert_eq!(refused(&apply(&mut machine, &alone(operation))), None);
    }
    let new_form = machine.snapshot().next().unwrap();
    let refused = Machine::supporting(3).restore().take(&new_form);
    assert_eq!(refused, Err(SnapshotError::UnknownVersion { found: 4, supports: 3 }));
}

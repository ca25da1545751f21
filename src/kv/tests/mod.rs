//! The state machine against a naive model, and its bytes against damage.

mod codec;
mod exactly_once;
mod lease;
mod machine;
mod model;
mod past;
mod past_model;
mod roster;
mod snapshot;
mod sweeping;
mod transaction;
mod version;
mod visits;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::types::{LeaseId, LogIndex, Revision};

/// Names as bytes.
fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn put(key: &str, value: &str) -> Operation {
    Operation::Put { key: bytes(key), value: bytes(value) }
}

fn delete(key: &str) -> Operation {
    Operation::Delete { key: bytes(key) }
}

fn swap(key: &str, expected: Expected, value: &str) -> Operation {
    Operation::CompareAndSwap { key: bytes(key), expected, value: bytes(value) }
}

fn alone(operation: Operation) -> Command {
    Command { session: None, operation }
}

fn stamped(id: u128, sequence: u64, acknowledged: u64, operation: Operation) -> Command {
    let opened_at = LogIndex(0);
    let session = Some(SessionStamp { id: SessionId(id), sequence, acknowledged, opened_at });
    Command { session, operation }
}

/// Applies at the next index.
fn apply(machine: &mut Machine, command: &Command) -> Outcome {
    machine.apply(machine.applied_index().next(), &command.encode())
}

fn refused(outcome: &Outcome) -> Option<Refusal> {
    match outcome.effect {
        Effect::Refused(refusal) => Some(refusal),
        _ => None,
    }
}

/// So many runs, and nothing written to the disk about them.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

/// Few keys, so that they meet; few values, so that a comparison may succeed.
fn any_operation() -> impl Strategy<Value = Operation> {
    let key = || prop::sample::select(vec!["a", "b", "ba", "c", "\u{ff}"]).prop_map(bytes);
    let value = || prop::sample::select(vec!["", "1", "2", "a longer value"]).prop_map(bytes);
    let expected = prop_oneof![
        Just(Expected::Absent),
        value().prop_map(Expected::Value),
        (0..20u64).prop_map(|revision| Expected::ModRevision(Revision(revision))),
    ];
    prop_oneof![
        3 => (key(), value()).prop_map(|(key, value)| Operation::Put { key, value }),
        1 => key().prop_map(|key| Operation::Delete { key }),
        2 => (key(), expected, value())
            .prop_map(|(key, expected, value)| Operation::CompareAndSwap { key, expected, value }),
    ]
}

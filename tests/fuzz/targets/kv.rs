//! What clients put into requests, and what they get back: commands, queries, outcomes, answers.
//! The first byte says which of them the rest is.

use bytes::Bytes;
use kvraft::kv::{
    Answer, Command, Effect, Expected, KeyValue, Operation, Outcome, Query, Refusal, SessionId,
    SessionStamp,
};
use kvraft::types::{LogIndex, Revision};

pub fn run(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    match kind % 4 {
        0 => {
            let Ok(first) = Command::decode(rest) else { return };
            assert!(first.encoded_bytes() >= first.encode().len());
            let _ = first.validate();
            assert_eq!(Command::decode(&first.encode()).as_ref(), Ok(&first));
        }
        1 => {
            let Ok(first) = Query::decode(rest) else { return };
            let _ = first.validate();
            assert_eq!(Query::decode(&first.encode()).as_ref(), Ok(&first));
        }
        2 => {
            let Ok(first) = Outcome::decode(rest) else { return };
            assert_eq!(Outcome::decode(&first.encode()).as_ref(), Ok(&first));
        }
        _ => {
            let Ok(first) = Answer::decode(rest) else { return };
            assert_eq!(Answer::decode(&first.encode()).as_ref(), Ok(&first));
        }
    }
}

pub fn samples() -> Vec<Vec<u8>> {
    let with = |kind: u8, bytes: Bytes| [&[kind][..], &bytes].concat();
    let commands = commands().into_iter().map(|command| with(0, command.encode()));
    let queries = queries().into_iter().map(|query| with(1, query.encode()));
    let found = KeyValue {
        key: Bytes::from("k"),
        value: Bytes::from("v"),
        create_revision: Revision(2),
        mod_revision: Revision(3),
        version: 2,
    };
    let effects = [
        Effect::Put { existed: true },
        Effect::Deleted { existed: false },
        Effect::Swapped,
        Effect::Unchanged { found: Some(found) },
        Effect::Raised { version: 2 },
        Effect::Refused(Refusal::SessionFull),
    ];
    let outcomes = effects.map(|effect| Outcome { revision: Revision(7), effect }.encode());
    let outcomes = outcomes.into_iter().map(|outcome| with(2, outcome));
    let machine = super::state::machine_with(&super::kv::commands());
    let answers = super::kv::queries().into_iter().map(|query| machine.query(&query).encode());
    let answers: Vec<_> = answers.map(|answer| with(3, answer)).collect();
    commands.chain(queries).chain(outcomes).chain(answers).collect()
}

/// One of each.
pub fn commands() -> Vec<Command> {
    let (key, value) = (Bytes::from("key"), Bytes::from("value"));
    let swap = |expected| Operation::CompareAndSwap {
        key: Bytes::from("key"),
        expected,
        value: Bytes::from("new"),
    };
    let operations = [
        Operation::Put { key: key.clone(), value: value.clone() },
        Operation::Delete { key },
        swap(Expected::Absent),
        swap(Expected::Value(value)),
        swap(Expected::ModRevision(Revision(2))),
        Operation::RaiseVersion { to: 2 },
    ];
    let stamp =
        SessionStamp { id: SessionId(9), sequence: 1, acknowledged: 0, opened_at: LogIndex(0) };
    let plain = operations.clone().map(|operation| Command { session: None, operation });
    let [first, ..] = operations;
    let stamped = Command { session: Some(stamp), operation: first };
    plain.into_iter().chain([stamped]).collect()
}

/// One of each.
pub fn queries() -> Vec<Query> {
    let range = |keys_only, count_only| Query::Range {
        start: Bytes::new(),
        end: Bytes::from("z"),
        limit: 3,
        keys_only,
        count_only,
    };
    vec![
        Query::Get { key: Bytes::from("key") },
        range(false, false),
        range(true, false),
        range(false, true),
    ]
}

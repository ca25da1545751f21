use super::past::{any_alarm_order, any_announcement, any_range, any_transaction};
use super::*;
use crate::types::{NodeId, Random};

fn any_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn any_command() -> impl Strategy<Value = Command> {
    let session = prop::option::of((1u128.., any::<[u64; 3]>()).prop_map(|(id, [a, b, c])| {
        SessionStamp { id: SessionId(id), sequence: a, acknowledged: b, opened_at: LogIndex(c) }
    }));
    let expected = prop_oneof![
        Just(Expected::Absent),
        any_bytes().prop_map(Expected::Value),
        any::<u64>().prop_map(|at| Expected::ModRevision(Revision(at))),
    ];
    let operation = prop_oneof![
        (any_bytes(), any_bytes()).prop_map(|(key, value)| Operation::Put { key, value }),
        any_bytes().prop_map(|key| Operation::Delete { key }),
        (any_bytes(), expected, any_bytes())
            .prop_map(|(key, expected, value)| Operation::CompareAndSwap { key, expected, value }),
        any::<u16>().prop_map(|to| Operation::RaiseVersion { to }),
        any_transaction().prop_map(Operation::Transaction),
        any::<u64>().prop_map(|at| Operation::Compact { revision: Revision(at) }),
        any::<[u64; 2]>().prop_map(|[id, ttl]| Operation::LeaseGrant { id: LeaseId(id), ttl }),
        any::<u64>().prop_map(|id| Operation::LeaseRevoke { id: LeaseId(id) }),
        prop::collection::vec(
            any::<[u64; 2]>()
                .prop_map(|[id, remaining]| LeaseCheckpoint { id: LeaseId(id), remaining }),
            0..4
        )
        .prop_map(Operation::LeaseCheckpoint),
        any_alarm_order().prop_map(Operation::Alarm),
        any_announcement().prop_map(Operation::Announce),
        any::<u64>().prop_map(|id| Operation::Enlist { node: NodeId(id) }),
    ];
    (session, operation).prop_map(|(session, operation)| Command { session, operation })
}

fn any_query() -> impl Strategy<Value = Query> {
    prop_oneof![
        any_bytes().prop_map(|key| Query::Get { key }),
        any_range().prop_map(Query::Range),
        (any::<u64>(), any::<bool>(), any_bytes()).prop_map(|(id, keys, after)| Query::Lease {
            id: LeaseId(id),
            keys,
            after
        }),
        any::<u64>().prop_map(|after| Query::Leases { after: LeaseId(after) }),
        Just(Query::Revision),
        any_transaction().prop_map(Query::Transaction),
        (any_bytes(), any_bytes(), any::<u64>(), any::<bool>(), any::<bool>()).prop_map(
            |(start, end, limit, keys_only, count_only)| Query::Range(RangeRequest {
                start,
                end,
                limit,
                keys_only,
                count_only,
                ..RangeRequest::default()
            })
        ),
    ]
}

fn any_item() -> impl Strategy<Value = KeyValue> {
    let key = any_bytes().prop_map(|key| if key.is_empty() { bytes("k") } else { key });
    (key, any_bytes(), any::<[u64; 4]>()).prop_map(|(key, value, [a, b, c, d])| KeyValue {
        key,
        value,
        create_revision: Revision(a),
        mod_revision: Revision(b),
        version: c,
        lease: LeaseId(d),
    })
}

fn any_refusal() -> impl Strategy<Value = Refusal> {
    prop::sample::select(Refusal::NUMBERED.to_vec())
}

fn any_result() -> impl Strategy<Value = TransactionResult> {
    let items = || prop::collection::vec(any_item(), 0..3);
    let response =
        prop_oneof![
            (items(), any::<bool>(), any::<u64>())
                .prop_map(|(items, more, count)| ResponseOp::Range { items, more, count }),
            prop::option::of(any_item()).prop_map(|prev| ResponseOp::Put { prev }),
            (any::<u64>(), items())
                .prop_map(|(deleted, prev)| ResponseOp::DeleteRange { deleted, prev }),
        ];
    let response = response.prop_recursive(3, 8, 3, |inner| {
        (any::<bool>(), prop::collection::vec(inner, 0..3)).prop_map(|(succeeded, responses)| {
            ResponseOp::Transaction(TransactionResult { succeeded, responses })
        })
    });
    (any::<bool>(), prop::collection::vec(response, 0..3))
        .prop_map(|(succeeded, responses)| TransactionResult { succeeded, responses })
}

fn any_outcome() -> impl Strategy<Value = Outcome> {
    let effect = prop_oneof![
        any::<bool>().prop_map(|existed| Effect::Put { existed }),
        any::<bool>().prop_map(|existed| Effect::Deleted { existed }),
        Just(Effect::Swapped),
        prop::option::of(any_item()).prop_map(|found| Effect::Unchanged { found }),
        any::<u16>().prop_map(|version| Effect::Raised { version }),
        any_result().prop_map(|result| Effect::Transaction(std::sync::Arc::new(result))),
        Just(Effect::Compacted),
        Just(Effect::LeaseGranted),
        any::<u64>().prop_map(|deleted| Effect::LeaseRevoked { deleted }),
        Just(Effect::LeasesCheckpointed),
        prop::option::of(any_alarm_order().prop_map(|it| it.alarm))
            .prop_map(|alarm| Effect::Alarm { alarm }),
        Just(Effect::Announced),
        Just(Effect::Enlisted),
        any_refusal().prop_map(Effect::Refused),
    ];
    (any::<u64>(), effect).prop_map(|(at, effect)| Outcome { revision: Revision(at), effect })
}

fn any_answer() -> impl Strategy<Value = Answer> {
    let items = prop::collection::vec(any_item(), 0..5);
    let lease = (any::<[u64; 3]>(), prop::collection::vec(any_bytes(), 0..3));
    let lease = lease.prop_map(|([id, granted, remaining], keys)| LeaseStatus {
        id: LeaseId(id),
        granted,
        remaining,
        keys,
    });
    let leases = prop::collection::vec(lease, 0..3);
    let numbers = (any::<u64>(), any::<bool>(), any::<u64>());
    let (result, refused) = (prop::option::of(any_result()), prop::option::of(any_refusal()));
    (numbers, items, leases, result, refused).prop_map(
        |((revision, more, count), items, leases, transaction, refused)| {
            let revision = Revision(revision);
            Answer { revision, items, more, count, leases, transaction, refused }
        },
    )
}

/// Decodes as everything: it must not panic, whatever it says.
fn decode_as_everything(bytes: &[u8]) -> [bool; 4] {
    [
        Command::decode(bytes).is_ok(),
        Query::decode(bytes).is_ok(),
        Outcome::decode(bytes).is_ok(),
        Answer::decode(bytes).is_ok(),
    ]
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn everything_survives_its_bytes(
        command in any_command(),
        query in any_query(),
        outcome in any_outcome(),
        answer in any_answer(),
    ) {
        prop_assert_eq!(command.encode().len(), command.encoded_bytes());
        prop_assert_eq!(query.encode().len(), query.encoded_bytes());
        prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
        prop_assert_eq!(Query::decode(&query.encode()), Ok(query));
        prop_assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
        prop_assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }

    /// Damage and junk are errors or other values, never a panic; and a replica that finds them in
    /// its log does what every other does.
    #[test]
    fn damage_never_panics(command in any_command(), answer in any_answer(), seed in any::<u64>()) {
        let mut random = Random::from_seed(seed);
        let mut replicas = [Machine::new(), Machine::new()];
        for whole in [command.encode(), answer.encode()] {
            for length in 0..whole.len() {
                let decoded = decode_as_everything(&whole[..length]);
                prop_assert_eq!(decoded, [false; 4], "cut to {}", length);
            }
            for _ in 0..50 {
                let mut damaged = whole.to_vec();
                for _ in 0..=random.below(3) {
                    let bit = random.below(damaged.len() as u64 * 8) as usize;
                    damaged[bit / 8] ^= 1 << (bit % 8);
                }
                decode_as_everything(&damaged);
                let index = replicas[0].applied_index().next();
                let outcomes = replicas.each_mut().map(|replica| replica.apply(index, &damaged));
                prop_assert_eq!(&outcomes[0], &outcomes[1]);
            }
        }
        prop_assert_eq!(replicas[0].state_hash(), replicas[1].state_hash());
    }
}

/// What is in the logs of running clusters must be read by every later version. If this test fails,
/// the change is wrong, not the test.
#[rustfmt::skip] // a word a line
#[test]
fn the_logs_format_is_what_it_has_always_been() {
    let command = Command {
        session: Some(SessionStamp {
            id: SessionId(0x0011_2233_4455_6677_8899_aabb_ccdd_eeff),
            sequence: 3,
            acknowledged: 2,
            opened_at: LogIndex(41),
        }),
        operation: put("key", "a value"),
    };
    let golden = concat!(
        "000000000c000000", // one segment of 12 words
        "0000000006000100", // the root: 6 words of data, 1 pointer
        "0100000000000000", // version 1, a put
        "7766554433221100", // session, high half
        "ffeeddccbbaa9988", // session, low half
        "0300000000000000", // sequence
        "0200000000000000", // acknowledged
        "2900000000000000", // opened at
        "0000000000000200", // the put: 2 pointers
        "050000001a000000", // the key: 3 bytes
        "050000003a000000", // the value: 7 bytes
        "6b65790000000000", // "key"
        "612076616c756500", // "a value"
    );
    assert_eq!(hex::encode(command.encode()), golden);
    assert_eq!(Command::decode(&hex::decode(golden).unwrap()), Ok(command));
}

#[test]
fn a_version_from_the_future_is_told_apart_from_damage() {
    const DATA: usize = 16; // behind the segment table and the root's pointer
    let mut version = alone(put("a", "1")).encode().to_vec();
    version[DATA] = 9;
    assert_eq!(Command::decode(&version), Err(DecodeError::UnknownVersion { found: 9 }));
    let mut kind = alone(put("a", "1")).encode().to_vec();
    kind[DATA + 2] = 99;
    assert_eq!(Command::decode(&kind), Err(DecodeError::UnknownKind { what: "command" }));
}

#[test]
fn what_follows_a_message_is_refused() {
    let mut bytes = alone(put("a", "1")).encode().to_vec();
    bytes.extend([0; 8]);
    let error = Command::decode(&bytes).unwrap_err().to_string();
    assert_eq!(error, "not a command: 8 bytes follow the message");
}

#[test]
fn what_is_too_large_is_refused_before_it_is_read() {
    let limit = limits::MAX_REQUEST_BYTES;
    let error = Command::decode(&vec![0; limit + 8]).unwrap_err();
    assert_eq!(error, DecodeError::TooLarge { what: "command", bytes: limit + 8, limit });
    let overhead = alone(put("k", "")).encoded_bytes();
    let value = |bytes: usize| alone(put("k", &"x".repeat(bytes)));
    assert_eq!(value(limit - overhead).validate(), Ok(()));
    let bytes = limit + 8;
    assert_eq!(value(limit - overhead + 1).validate(), Err(Invalid::TooLarge { bytes, limit }));
    assert_eq!(Query::Get { key: Bytes::new() }.validate(), Err(Invalid::EmptyKey));
}

/// A struct pointer of Cap'n Proto, to right behind it.
fn struct_pointer(data: u64, pointers: u64) -> u64 {
    data << 32 | pointers << 48
}

fn message(words: &[u64]) -> Vec<u8> {
    let table = (words.len() as u64) << 32;
    [&[table], words].concat().into_iter().flat_map(u64::to_le_bytes).collect()
}

/// An answer with `count` items whose `pointers` each are as given.
fn answer_of(count: u64, item: impl Fn(u64) -> Vec<u64>, rest: &[u64]) -> Vec<u8> {
    const COMPOSITE: u64 = 7;
    let items: Vec<u64> = (0..count.min(1000)).flat_map(item).collect();
    let (data, pointers) = if items.is_empty() { (0, 0) } else { (3, 2) };
    let list = 1 | (COMPOSITE | (items.len() as u64) << 3) << 32;
    let tag = count << 2 | struct_pointer(data, pointers);
    message(&[&[struct_pointer(3, 1), 0, 0, 0, list, tag], &items[..], rest].concat())
}

#[test]
fn a_small_message_cannot_become_a_large_value() {
    // A hundred items, every one of them with the same kilobyte as its key.
    const COUNT: u64 = 100;
    const BYTES: u64 = 2;
    let blob = [u64::from_le_bytes(*b"blobblob"); 128];
    let shared = |position: u64| {
        let offset = (COUNT - position - 1) * 5 + 1;
        vec![0, 0, 0, offset << 2 | 1 | (BYTES | 1024 << 3) << 32, 0]
    };
    let one = answer_of(1, |_| vec![0, 0, 0, 1 << 2 | 1 | (BYTES | 1024 << 3) << 32, 0], &blob);
    assert_eq!(Answer::decode(&one).map(|answer| answer.items[0].key.len()), Ok(1024));
    let error = Answer::decode(&answer_of(COUNT, shared, &blob)).unwrap_err();
    assert!(matches!(error, DecodeError::Malformed { .. }), "{error}");
    // Half a billion items of no size at all.
    let error = Answer::decode(&answer_of((1 << 29) - 1, |_| vec![], &[])).unwrap_err();
    assert!(matches!(error, DecodeError::Malformed { .. }), "{error}");
}

/// A refusal's place is its number, in snapshots and in the state's hash.
#[test]
fn refusals_keep_their_numbers() {
    for (number, refusal) in Refusal::NUMBERED.iter().enumerate() {
        assert_eq!(usize::from(refusal.number()), number);
    }
}

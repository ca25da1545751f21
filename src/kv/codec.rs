//! Commands, queries and their results as bytes (`schema/kv.capnp`).
//!
//! A command is encoded once, by the client, and those bytes are what the nodes relay, the log
//! stores and every replica decodes. So the form must not drift: it carries a version, it only ever
//! grows, and a test holds one command's bytes in hexadecimal.
//!
//! # What can go wrong
//!
//! The bytes come from a socket or a disk, so they may be anything. Cap'n Proto's readers check
//! every pointer; what remains is *amplification*, a small message whose pointers all lead to the
//! same large value, or a list of billions of elements of no size. Both are stopped by a traversal
//! budget of exactly as many words as the message has: an honest reader visits each word once.
//!
//! # Cost
//!
//! Encoding computes the exact size first: one zeroed segment, one copy behind the segment table.
//! Decoding reads in place and allocates only what it keeps: each key and value is copied into a
//! buffer of its own, because a slice would keep the whole network batch around it alive for as
//! long as the key lives.

use bytes::Bytes;
use capnp::data;
use capnp::message::{Builder, HeapAllocator, Reader, ReaderOptions};
use capnp::serialize::{self, NoAllocSliceSegments};

use super::limits::{MAX_ANSWER_BYTES, MAX_REQUEST_BYTES};
use super::{
    Answer, Command, Effect, Expected, KeyValue, Operation, Outcome, Query, Refusal, SessionId,
    SessionStamp,
};
use crate::schema::kv_capnp as schema;
use crate::types::{LogIndex, Revision};

/// The only version of a command so far.
pub const COMMAND_VERSION: u16 = 1;

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{what} of {bytes} bytes; at most {limit} are read")]
    TooLarge { what: &'static str, bytes: usize, limit: usize },
    #[error("a command of version {found}; this program knows version {COMMAND_VERSION}")]
    UnknownVersion { found: u16 },
    #[error("{what} of a kind that this program does not know")]
    UnknownKind { what: &'static str },
    #[error("not a {what}: {why}")]
    Malformed { what: &'static str, why: String },
}

impl Command {
    /// The bytes for the log. The command must be [valid](Command::validate); a string of half a
    /// gigabyte has no encoding at all.
    pub fn encode(&self) -> Bytes {
        encode(self.encoded_bytes(), |message| {
            let mut root = message.init_root::<schema::command::Builder<'_>>();
            root.set_version(COMMAND_VERSION);
            if let Some(stamp) = &self.session {
                let mut session = root.reborrow().init_session();
                session.set_id_high((stamp.id.0 >> 64) as u64);
                session.set_id_low(stamp.id.0 as u64);
                session.set_sequence(stamp.sequence);
                session.set_acknowledged(stamp.acknowledged);
                session.set_opened_at(stamp.opened_at.0);
            }
            encode_operation(&self.operation, root);
        })
    }

    /// How long [`Command::encode`]'s bytes are.
    pub fn encoded_bytes(&self) -> usize {
        const ROOT: usize = 1 + 6 + 1;
        message_bytes(
            ROOT + match &self.operation {
                Operation::Put { key, value } => 2 + words(key) + words(value),
                Operation::Delete { key } => 1 + words(key),
                Operation::CompareAndSwap { key, expected, value } => {
                    let expected = match expected {
                        Expected::Value(expected) => words(expected),
                        Expected::Absent | Expected::ModRevision(_) => 0,
                    };
                    2 + 3 + words(key) + words(value) + expected
                }
                Operation::RaiseVersion { .. } => 0,
            },
        )
    }

    /// The command that `bytes` stand for. Whether it makes sense is [`Command::validate`]'s
    /// question.
    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        decode("command", bytes, MAX_REQUEST_BYTES, |message| {
            let root = message.get_root::<schema::command::Reader<'_>>()?;
            if root.get_version() != COMMAND_VERSION {
                return Err(DecodeError::UnknownVersion { found: root.get_version() }.into());
            }
            let session = decode_session(root.get_session())?;
            Ok(Command { session, operation: decode_operation(root)? })
        })
    }
}

fn decode_session(
    session: schema::command::session::Reader<'_>,
) -> Result<Option<SessionStamp>, Failure> {
    let id = (u128::from(session.get_id_high()) << 64) | u128::from(session.get_id_low());
    let stamp = SessionStamp {
        id: SessionId(id),
        sequence: session.get_sequence(),
        acknowledged: session.get_acknowledged(),
        opened_at: LogIndex(session.get_opened_at()),
    };
    if id != 0 {
        return Ok(Some(stamp));
    }
    if stamp.sequence != 0 || stamp.acknowledged != 0 || stamp.opened_at != LogIndex(0) {
        return Err(Failure::Why("a numbered command of no session".into()));
    }
    Ok(None)
}

fn encode_operation(operation: &Operation, mut root: schema::command::Builder<'_>) {
    match operation {
        Operation::Put { key, value } => {
            let mut put = root.init_put();
            put.set_key(key);
            put.set_value(value);
        }
        Operation::Delete { key } => root.init_delete().set_key(key),
        Operation::CompareAndSwap { key, expected, value } => {
            let mut swap = root.init_compare_and_swap();
            swap.set_key(key);
            swap.set_value(value);
            let mut wanted = swap.init_expected();
            match expected {
                Expected::Absent => wanted.set_absent(()),
                Expected::Value(value) => wanted.set_value(value),
                Expected::ModRevision(revision) => wanted.set_mod_revision(revision.0),
            }
        }
        Operation::RaiseVersion { to } => root.set_raise_version(*to),
    }
}

fn decode_operation(root: schema::command::Reader<'_>) -> Result<Operation, Failure> {
    use schema::command::Which;
    use schema::compare_and_swap::expected;
    Ok(match root.which()? {
        Which::Put(put) => {
            let put = put?;
            Operation::Put { key: copy(put.get_key()?), value: copy(put.get_value()?) }
        }
        Which::Delete(delete) => Operation::Delete { key: copy(delete?.get_key()?) },
        Which::CompareAndSwap(swap) => {
            let swap = swap?;
            Operation::CompareAndSwap {
                key: copy(swap.get_key()?),
                value: copy(swap.get_value()?),
                expected: match swap.get_expected().which()? {
                    expected::Which::Absent(()) => Expected::Absent,
                    expected::Which::Value(value) => Expected::Value(copy(value?)),
                    expected::Which::ModRevision(at) => Expected::ModRevision(Revision(at)),
                },
            }
        }
        Which::RaiseVersion(to) => Operation::RaiseVersion { to },
    })
}

impl Query {
    /// The bytes for a request. The query must be [valid](Query::validate).
    pub fn encode(&self) -> Bytes {
        encode(self.encoded_bytes(), |message| {
            let mut root = message.init_root::<schema::query::Builder<'_>>();
            match self {
                Query::Get { key } => root.set_get(key),
                Query::Range { start, end, limit, keys_only, count_only } => {
                    let mut range = root.init_range();
                    range.set_start(start);
                    range.set_end(end);
                    range.set_limit(*limit);
                    range.set_keys_only(*keys_only);
                    range.set_count_only(*count_only);
                }
            }
        })
    }

    /// How long [`Query::encode`]'s bytes are.
    pub fn encoded_bytes(&self) -> usize {
        const ROOT: usize = 1 + 1 + 1;
        message_bytes(
            ROOT + match self {
                Query::Get { key } => words(key),
                Query::Range { start, end, .. } => 2 + 2 + words(start) + words(end),
            },
        )
    }

    /// The query that `bytes` stand for.
    pub fn decode(bytes: &[u8]) -> Result<Query, DecodeError> {
        use schema::query::Which;
        decode("query", bytes, MAX_REQUEST_BYTES, |message| {
            Ok(match message.get_root::<schema::query::Reader<'_>>()?.which()? {
                Which::Get(key) => Query::Get { key: copy(key?) },
                Which::Range(range) => {
                    let range = range?;
                    Query::Range {
                        start: copy(range.get_start()?),
                        end: copy(range.get_end()?),
                        limit: range.get_limit(),
                        keys_only: range.get_keys_only(),
                        count_only: range.get_count_only(),
                    }
                }
            })
        })
    }
}

impl Outcome {
    /// The bytes for the client.
    pub fn encode(&self) -> Bytes {
        encode(self.encoded_bytes(), |message| {
            let mut root = message.init_root::<schema::outcome::Builder<'_>>();
            root.set_revision(self.revision.0);
            match &self.effect {
                Effect::Put { existed } => root.set_put(*existed),
                Effect::Deleted { existed } => root.set_deleted(*existed),
                Effect::Swapped => root.set_swapped(()),
                Effect::Unchanged { found } => {
                    let item = root.init_unchanged();
                    if let Some(found) = found {
                        encode_item(found, item);
                    }
                }
                Effect::Raised { version } => root.set_raised(*version),
                Effect::Refused(refusal) => root.set_refused(encode_refusal(*refusal)),
            }
        })
    }

    fn encoded_bytes(&self) -> usize {
        const ROOT: usize = 1 + 2 + 1;
        message_bytes(
            ROOT + match &self.effect {
                Effect::Unchanged { found: Some(found) } => item_words(found),
                Effect::Unchanged { found: None } => EMPTY_ITEM_WORDS,
                _ => 0,
            },
        )
    }

    /// The outcome that `bytes` stand for.
    pub fn decode(bytes: &[u8]) -> Result<Outcome, DecodeError> {
        use schema::outcome::Which;
        decode("outcome", bytes, MAX_ANSWER_BYTES, |message| {
            let root = message.get_root::<schema::outcome::Reader<'_>>()?;
            let effect = match root.which()? {
                Which::Put(existed) => Effect::Put { existed },
                Which::Deleted(existed) => Effect::Deleted { existed },
                Which::Swapped(()) => Effect::Swapped,
                Which::Unchanged(item) => {
                    let item = decode_item(item?)?;
                    Effect::Unchanged { found: (!item.key.is_empty()).then_some(item) }
                }
                Which::Raised(version) => Effect::Raised { version },
                Which::Refused(refusal) => Effect::Refused(decode_refusal(refusal?)),
            };
            Ok(Outcome { revision: Revision(root.get_revision()), effect })
        })
    }
}

impl Answer {
    /// The bytes for the client.
    pub fn encode(&self) -> Bytes {
        const ROOT: usize = 1 + 3 + 1;
        const LIST_TAG: usize = 1;
        let size = ROOT + LIST_TAG + self.items.iter().map(item_words).sum::<usize>();
        encode(message_bytes(size), |message| {
            let mut root = message.init_root::<schema::answer::Builder<'_>>();
            root.set_revision(self.revision.0);
            root.set_more(self.more);
            root.set_count(self.count);
            let mut items = root.init_items(self.items.len() as u32);
            for (position, item) in self.items.iter().enumerate() {
                encode_item(item, items.reborrow().get(position as u32));
            }
        })
    }

    /// The answer that `bytes` stand for.
    pub fn decode(bytes: &[u8]) -> Result<Answer, DecodeError> {
        decode("answer", bytes, MAX_ANSWER_BYTES, |message| {
            let root = message.get_root::<schema::answer::Reader<'_>>()?;
            let list = root.get_items()?;
            // The traversal budget has already refused a list that is longer than the message.
            let mut items = Vec::with_capacity(list.len() as usize);
            for item in list {
                items.push(decode_item(item)?);
            }
            Ok(Answer {
                revision: Revision(root.get_revision()),
                items,
                more: root.get_more(),
                count: root.get_count(),
            })
        })
    }
}

const EMPTY_ITEM_WORDS: usize = 3 + 2;

fn item_words(item: &KeyValue) -> usize {
    EMPTY_ITEM_WORDS + words(&item.key) + words(&item.value)
}

fn encode_item(item: &KeyValue, mut into: schema::key_value::Builder<'_>) {
    into.set_key(&item.key);
    into.set_value(&item.value);
    into.set_create_revision(item.create_revision.0);
    into.set_mod_revision(item.mod_revision.0);
    into.set_version(item.version);
}

fn decode_item(item: schema::key_value::Reader<'_>) -> Result<KeyValue, Failure> {
    Ok(KeyValue {
        key: copy(item.get_key()?),
        value: copy(item.get_value()?),
        create_revision: Revision(item.get_create_revision()),
        mod_revision: Revision(item.get_mod_revision()),
        version: item.get_version(),
    })
}

fn encode_refusal(refusal: Refusal) -> schema::outcome::Refusal {
    use schema::outcome::Refusal as Coded;
    match refusal {
        Refusal::UnknownVersion => Coded::UnknownVersion,
        Refusal::Malformed => Coded::Malformed,
        Refusal::SessionExpired => Coded::SessionExpired,
        Refusal::SessionFull => Coded::SessionFull,
        Refusal::StaleSequence => Coded::StaleSequence,
    }
}

fn decode_refusal(refusal: schema::outcome::Refusal) -> Refusal {
    use schema::outcome::Refusal as Coded;
    match refusal {
        Coded::UnknownVersion => Refusal::UnknownVersion,
        Coded::Malformed => Refusal::Malformed,
        Coded::SessionExpired => Refusal::SessionExpired,
        Coded::SessionFull => Refusal::SessionFull,
        Coded::StaleSequence => Refusal::StaleSequence,
    }
}

const WORD: usize = 8;

/// Words that a string takes, its pointer not counted.
fn words(bytes: &[u8]) -> usize {
    bytes.len().div_ceil(WORD)
}

/// Bytes of a message of one segment: its table is one word.
fn message_bytes(words: usize) -> usize {
    (1 + words) * WORD
}

fn copy(bytes: data::Reader<'_>) -> Bytes {
    Bytes::copy_from_slice(bytes)
}

/// A message built by `build`, whose form is `bytes` long.
fn encode(bytes: usize, build: impl FnOnce(&mut Builder<HeapAllocator>)) -> Bytes {
    let segment_words = u32::try_from(bytes / WORD - 1).unwrap_or(u32::MAX);
    let mut message = Builder::new(HeapAllocator::new().first_segment_words(segment_words));
    build(&mut message);
    let encoded = serialize::write_message_to_words(&message);
    debug_assert_eq!(encoded.len(), bytes, "the size was computed wrongly");
    encoded.into()
}

/// What stopped a decoder, before it is known what it decoded.
enum Failure {
    Why(String),
    UnknownKind,
    Told(DecodeError),
}

impl From<capnp::Error> for Failure {
    fn from(error: capnp::Error) -> Failure {
        Failure::Why(error.to_string())
    }
}

impl From<capnp::NotInSchema> for Failure {
    fn from(_: capnp::NotInSchema) -> Failure {
        Failure::UnknownKind
    }
}

impl From<DecodeError> for Failure {
    fn from(error: DecodeError) -> Failure {
        Failure::Told(error)
    }
}

/// Reads one message that fills `bytes` and lets `read` make a value of it.
fn decode<T>(
    what: &'static str,
    bytes: &[u8],
    limit: usize,
    read: impl FnOnce(Reader<NoAllocSliceSegments<'_>>) -> Result<T, Failure>,
) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLarge { what, bytes: bytes.len(), limit });
    }
    let value = || {
        let mut options = ReaderOptions::new();
        options.traversal_limit_in_words(Some(bytes.len() / WORD)).nesting_limit(8);
        let mut rest = bytes;
        let message = serialize::read_message_from_flat_slice_no_alloc(&mut rest, options)?;
        if !rest.is_empty() {
            return Err(Failure::Why(format!("{} bytes follow the message", rest.len())));
        }
        read(message)
    };
    value().map_err(|failure| match failure {
        Failure::Why(why) => DecodeError::Malformed { what, why },
        Failure::UnknownKind => DecodeError::UnknownKind { what },
        Failure::Told(error) => error,
    })
}

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

mod outcome;
mod query;
mod roster;
mod transaction;

use bytes::Bytes;
use capnp::data;
use capnp::message::{Builder, HeapAllocator, Reader, ReaderOptions};
use capnp::serialize::{self, NoAllocSliceSegments};
use capnp::struct_list;
use capnp::traits::HasStructSize;

use super::limits::MAX_REQUEST_BYTES;
use super::version::{KEYS_HAVE_A_PAST, LATEST_VERSION, MEMBERS_ARE_KNOWN};
use super::{Command, Expected, KeyValue, LeaseCheckpoint, Operation, SessionId, SessionStamp};
use crate::schema::kv_capnp as schema;
use crate::types::{LeaseId, LogIndex, NodeId, Revision};
use roster::{
    announcement_words, decode_announcement, decode_order, encode_announcement, encode_order,
};
use transaction::{decode_transaction, encode_transaction, transaction_words};

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
                Operation::Transaction(transaction) => {
                    struct_words::<schema::transaction::Builder<'_>>()
                        + transaction_words(transaction)
                }
                Operation::Compact { .. } => struct_words::<schema::compact::Builder<'_>>(),
                Operation::LeaseGrant { .. } => struct_words::<schema::lease_grant::Builder<'_>>(),
                Operation::LeaseRevoke { .. } => {
                    struct_words::<schema::lease_revoke::Builder<'_>>()
                }
                Operation::LeaseCheckpoint(checkpoints) => {
                    list_words::<schema::lease_checkpoint::Builder<'_>>(checkpoints.len())
                }
                Operation::Alarm(_) => {
                    struct_words::<schema::alarm_order::Builder<'_>>()
                        + struct_words::<schema::alarm::Builder<'_>>()
                }
                Operation::Announce(announcement) => announcement_words(announcement),
                Operation::Enlist { .. } => struct_words::<schema::enlist::Builder<'_>>(),
            },
        )
    }

    /// The command that `bytes` stand for. Whether it makes sense is [`Command::validate`]'s
    /// question.
    pub fn decode(bytes: &[u8]) -> Result<Command, DecodeError> {
        Command::decode_for(bytes, LATEST_VERSION)
    }

    /// The same, for one that is looked at and dropped: what is long in it stays in `bytes`.
    pub fn glimpse(bytes: &Bytes) -> Result<Command, DecodeError> {
        Command::decode_with(bytes, LATEST_VERSION, |part| bytes.slice_ref(part))
    }

    /// The same, as a program would find it that knows no later version of the machine than this:
    /// what began later is of an unknown kind to it, be it whole or broken.
    pub(super) fn decode_for(bytes: &[u8], version: u16) -> Result<Command, DecodeError> {
        Command::decode_with(bytes, version, copy)
    }

    fn decode_with(
        bytes: &[u8],
        version: u16,
        take: impl Fn(data::Reader<'_>) -> Bytes,
    ) -> Result<Command, DecodeError> {
        decode("command", bytes, MAX_REQUEST_BYTES, |message| {
            let root = message.get_root::<schema::command::Reader<'_>>()?;
            if root.get_version() != COMMAND_VERSION {
                return Err(DecodeError::UnknownVersion { found: root.get_version() }.into());
            }
            let session = decode_session(root.get_session())?;
            Ok(Command { session, operation: decode_operation(root, version, take)? })
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
        Operation::Transaction(transaction) => {
            encode_transaction(transaction, root.init_transaction());
        }
        Operation::Compact { revision } => root.init_compact().set_revision(revision.0),
        Operation::LeaseGrant { id, ttl } => {
            let mut grant = root.init_lease_grant();
            grant.set_id(id.0);
            grant.set_ttl(*ttl);
        }
        Operation::LeaseRevoke { id } => root.init_lease_revoke().set_id(id.0),
        Operation::LeaseCheckpoint(checkpoints) => {
            let mut list = root.init_lease_checkpoint(checkpoints.len() as u32);
            for (position, checkpoint) in checkpoints.iter().enumerate() {
                let mut item = list.reborrow().get(position as u32);
                item.set_id(checkpoint.id.0);
                item.set_remaining(checkpoint.remaining);
            }
        }
        Operation::Alarm(order) => encode_order(*order, root.init_alarm()),
        Operation::Announce(announcement) => {
            encode_announcement(announcement, root.init_announce());
        }
        Operation::Enlist { node } => root.init_enlist().set_node(node.0),
    }
}

/// `take` makes a key or a value of a put, which nearly all operations are.
fn decode_operation(
    root: schema::command::Reader<'_>,
    version: u16,
    take: impl Fn(data::Reader<'_>) -> Bytes,
) -> Result<Operation, Failure> {
    use schema::command::Which;
    use schema::compare_and_swap::expected;
    let with_a_past = version >= KEYS_HAVE_A_PAST;
    Ok(match root.which()? {
        Which::Put(put) => {
            let put = put?;
            Operation::Put { key: take(put.get_key()?), value: take(put.get_value()?) }
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
        _ if !with_a_past => return Err(Failure::UnknownKind),
        Which::Transaction(it) => Operation::Transaction(decode_transaction(it?)?),
        Which::Compact(it) => Operation::Compact { revision: Revision(it?.get_revision()) },
        Which::LeaseGrant(grant) => {
            let grant = grant?;
            Operation::LeaseGrant { id: LeaseId(grant.get_id()), ttl: grant.get_ttl() }
        }
        Which::LeaseRevoke(it) => Operation::LeaseRevoke { id: LeaseId(it?.get_id()) },
        Which::LeaseCheckpoint(list) => {
            let read = |it: schema::lease_checkpoint::Reader<'_>| LeaseCheckpoint {
                id: LeaseId(it.get_id()),
                remaining: it.get_remaining(),
            };
            Operation::LeaseCheckpoint(list?.iter().map(read).collect())
        }
        _ if version < MEMBERS_ARE_KNOWN => return Err(Failure::UnknownKind),
        Which::Alarm(order) => Operation::Alarm(decode_order(order?)?),
        Which::Announce(it) => Operation::Announce(decode_announcement(it?)?),
        Which::Enlist(it) => Operation::Enlist { node: NodeId(it?.get_node()) },
    })
}

/// Words of a struct, what its pointers lead to not counted.
fn struct_words<T: HasStructSize>() -> usize {
    T::STRUCT_SIZE.total() as usize
}

/// Words of a list of structs: its tag, and each of them.
fn list_words<T: HasStructSize>(count: usize) -> usize {
    1 + count * struct_words::<T>()
}

const EMPTY_ITEM_WORDS: usize = 4 + 2;

fn item_words(item: &KeyValue) -> usize {
    EMPTY_ITEM_WORDS + words(&item.key) + words(&item.value)
}

fn encode_item(item: &KeyValue, mut into: schema::key_value::Builder<'_>) {
    into.set_key(&item.key);
    into.set_value(&item.value);
    into.set_create_revision(item.create_revision.0);
    into.set_mod_revision(item.mod_revision.0);
    into.set_version(item.version);
    into.set_lease(item.lease.0);
}

fn decode_item(item: schema::key_value::Reader<'_>) -> Result<KeyValue, Failure> {
    Ok(KeyValue {
        key: copy(item.get_key()?),
        value: copy(item.get_value()?),
        create_revision: Revision(item.get_create_revision()),
        mod_revision: Revision(item.get_mod_revision()),
        version: item.get_version(),
        lease: LeaseId(item.get_lease()),
    })
}

/// Words of a list of items.
fn items_words(items: &[KeyValue]) -> usize {
    1 + items.iter().map(item_words).sum::<usize>()
}

fn encode_items(items: &[KeyValue], mut list: struct_list::Builder<'_, schema::key_value::Owned>) {
    for (position, item) in items.iter().enumerate() {
        encode_item(item, list.reborrow().get(position as u32));
    }
}

fn decode_items(
    list: struct_list::Reader<'_, schema::key_value::Owned>,
) -> Result<Vec<KeyValue>, Failure> {
    // The traversal budget has already refused a list that is longer than the message.
    let mut items = Vec::with_capacity(list.len() as usize);
    for item in list {
        items.push(decode_item(item)?);
    }
    Ok(items)
}

const WORD: usize = 8;

/// Pointers within pointers that a decoder follows: more than the deepest transaction that is
/// allowed has, at three a level, and few enough for any stack.
const NESTING: i32 = 64;

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
        options.traversal_limit_in_words(Some(bytes.len() / WORD)).nesting_limit(NESTING);
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

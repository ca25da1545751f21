//! What commands did, as bytes.

use std::sync::Arc;

use bytes::Bytes;

use super::roster::{decode_alarm, encode_alarm};
use super::{
    DecodeError, EMPTY_ITEM_WORDS, Failure, decode, decode_item, decode_items, encode, encode_item,
    encode_items, item_words, items_words, list_words, message_bytes, struct_words,
};
use crate::kv::limits::MAX_ANSWER_BYTES;
use crate::kv::{Effect, KeyValue, Outcome, Refusal, ResponseOp, TransactionResult};
use crate::schema::kv_capnp as schema;
use crate::types::Revision;

use capnp::struct_list;

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
                    encode_found(found.as_ref(), root.init_unchanged());
                }
                Effect::Raised { version } => root.set_raised(*version),
                Effect::Transaction(result) => encode_result(result, root.init_transaction()),
                Effect::Compacted => root.set_compacted(()),
                Effect::LeaseGranted => root.set_lease_granted(()),
                Effect::LeaseRevoked { deleted } => root.set_lease_revoked(*deleted),
                Effect::LeasesCheckpointed => root.set_leases_checkpointed(()),
                Effect::Alarm { alarm } => encode_alarm(*alarm, root.init_alarm()),
                Effect::Announced => root.set_announced(()),
                Effect::Enlisted => root.set_enlisted(()),
                Effect::Refused(refusal) => root.set_refused(encode_refusal(*refusal)),
            }
        })
    }

    fn encoded_bytes(&self) -> usize {
        let root = 1 + struct_words::<schema::outcome::Builder<'_>>();
        message_bytes(
            root + match &self.effect {
                Effect::Unchanged { found } => found.as_ref().map_or(EMPTY_ITEM_WORDS, item_words),
                Effect::Transaction(result) => {
                    struct_words::<schema::transaction_result::Builder<'_>>() + result_words(result)
                }
                Effect::Alarm { .. } => struct_words::<schema::alarm::Builder<'_>>(),
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
                Which::Unchanged(item) => Effect::Unchanged { found: decode_found(item?)? },
                Which::Raised(version) => Effect::Raised { version },
                Which::Transaction(result) => {
                    Effect::Transaction(Arc::new(decode_result(result?)?))
                }
                Which::Compacted(()) => Effect::Compacted,
                Which::LeaseGranted(()) => Effect::LeaseGranted,
                Which::LeaseRevoked(deleted) => Effect::LeaseRevoked { deleted },
                Which::LeasesCheckpointed(()) => Effect::LeasesCheckpointed,
                Which::Alarm(alarm) => Effect::Alarm { alarm: decode_alarm(alarm?)? },
                Which::Announced(()) => Effect::Announced,
                Which::Enlisted(()) => Effect::Enlisted,
                Which::Refused(refusal) => Effect::Refused(decode_refusal(refusal?)),
            };
            Ok(Outcome { revision: Revision(root.get_revision()), effect })
        })
    }
}

/// An item, or none: one whose key is empty.
fn encode_found(found: Option<&KeyValue>, into: schema::key_value::Builder<'_>) {
    if let Some(found) = found {
        encode_item(found, into);
    }
}

fn decode_found(from: schema::key_value::Reader<'_>) -> Result<Option<KeyValue>, Failure> {
    let item = decode_item(from)?;
    Ok((!item.key.is_empty()).then_some(item))
}

/// Words of what a result's pointers lead to.
pub(super) fn result_words(result: &TransactionResult) -> usize {
    let of_response = |response: &ResponseOp| match response {
        ResponseOp::Range { items, .. } => {
            struct_words::<schema::range_response::Builder<'_>>() + items_words(items)
        }
        ResponseOp::Put { prev } => prev.as_ref().map_or(EMPTY_ITEM_WORDS, item_words),
        ResponseOp::DeleteRange { prev, .. } => {
            struct_words::<schema::delete_range_response::Builder<'_>>() + items_words(prev)
        }
        ResponseOp::Transaction(inner) => {
            struct_words::<schema::transaction_result::Builder<'_>>() + result_words(inner)
        }
    };
    list_words::<schema::response_op::Builder<'_>>(result.responses.len())
        + result.responses.iter().map(of_response).sum::<usize>()
}

pub(super) fn encode_result(
    result: &TransactionResult,
    mut into: schema::transaction_result::Builder<'_>,
) {
    into.set_succeeded(result.succeeded);
    let mut list: struct_list::Builder<'_, schema::response_op::Owned> =
        into.init_responses(result.responses.len() as u32);
    for (position, response) in result.responses.iter().enumerate() {
        let into = list.reborrow().get(position as u32);
        match response {
            ResponseOp::Range { items, more, count } => {
                let mut into = into.init_range();
                into.set_more(*more);
                into.set_count(*count);
                encode_items(items, into.init_items(items.len() as u32));
            }
            ResponseOp::Put { prev } => encode_found(prev.as_ref(), into.init_put()),
            ResponseOp::DeleteRange { deleted, prev } => {
                let mut into = into.init_delete_range();
                into.set_deleted(*deleted);
                encode_items(prev, into.init_prev(prev.len() as u32));
            }
            ResponseOp::Transaction(inner) => encode_result(inner, into.init_transaction()),
        }
    }
}

pub(super) fn decode_result(
    from: schema::transaction_result::Reader<'_>,
) -> Result<TransactionResult, Failure> {
    let responses = from.get_responses()?.iter().map(decode_response).collect::<Result<_, _>>()?;
    Ok(TransactionResult { succeeded: from.get_succeeded(), responses })
}

fn decode_response(from: schema::response_op::Reader<'_>) -> Result<ResponseOp, Failure> {
    use schema::response_op::Which;
    Ok(match from.which()? {
        Which::Range(range) => {
            let range = range?;
            let items = decode_items(range.get_items()?)?;
            ResponseOp::Range { items, more: range.get_more(), count: range.get_count() }
        }
        Which::Put(item) => ResponseOp::Put { prev: decode_found(item?)? },
        Which::DeleteRange(delete) => {
            let delete = delete?;
            let prev = decode_items(delete.get_prev()?)?;
            ResponseOp::DeleteRange { deleted: delete.get_deleted(), prev }
        }
        Which::Transaction(inner) => ResponseOp::Transaction(decode_result(inner?)?),
    })
}

pub(super) fn encode_refusal(refusal: Refusal) -> schema::outcome::Refusal {
    use schema::outcome::Refusal as Coded;
    match refusal {
        Refusal::UnknownVersion => Coded::UnknownVersion,
        Refusal::Malformed => Coded::Malformed,
        Refusal::SessionExpired => Coded::SessionExpired,
        Refusal::SessionFull => Coded::SessionFull,
        Refusal::StaleSequence => Coded::StaleSequence,
        Refusal::Compacted => Coded::Compacted,
        Refusal::FutureRevision => Coded::FutureRevision,
        Refusal::KeyNotFound => Coded::KeyNotFound,
        Refusal::LeaseNotFound => Coded::LeaseNotFound,
        Refusal::LeaseExists => Coded::LeaseExists,
        Refusal::ResultTooLarge => Coded::ResultTooLarge,
        Refusal::TooMuchToVisit => Coded::TooMuchToVisit,
        Refusal::NoSpace => Coded::NoSpace,
        Refusal::Corrupt => Coded::Corrupt,
        Refusal::TooMany => Coded::TooMany,
    }
}

pub(super) fn decode_refusal(refusal: schema::outcome::Refusal) -> Refusal {
    use schema::outcome::Refusal as Coded;
    match refusal {
        Coded::UnknownVersion => Refusal::UnknownVersion,
        Coded::Malformed => Refusal::Malformed,
        Coded::SessionExpired => Refusal::SessionExpired,
        Coded::SessionFull => Refusal::SessionFull,
        Coded::StaleSequence => Refusal::StaleSequence,
        Coded::Compacted => Refusal::Compacted,
        Coded::FutureRevision => Refusal::FutureRevision,
        Coded::KeyNotFound => Refusal::KeyNotFound,
        Coded::LeaseNotFound => Refusal::LeaseNotFound,
        Coded::LeaseExists => Refusal::LeaseExists,
        Coded::ResultTooLarge => Refusal::ResultTooLarge,
        Coded::TooMuchToVisit => Refusal::TooMuchToVisit,
        Coded::NoSpace => Refusal::NoSpace,
        Coded::Corrupt => Refusal::Corrupt,
        Coded::TooMany => Refusal::TooMany,
    }
}

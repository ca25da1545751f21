//! The records of a snapshot's parts as bytes.
//!
//! A session's result is hashed as these bytes, too, if it is a transaction's, and so is a member:
//! they must not drift.

use bytes::BufMut;

use super::{FORM_WITH_HISTORY, FORM_WITHOUT_HISTORY};
use crate::kv::roster::Member;
use crate::kv::store::{Item, Position};
use crate::kv::{Alarm, Effect, KeyValue, Outcome, ResponseOp, TransactionResult};
use crate::types::NodeId;

/// Kinds of records among sessions.
pub const SESSION: u8 = 1;
pub const RESULT: u8 = 2;

/// Kinds of effects that a session keeps.
pub const PUT: u8 = 1;
pub const DELETED: u8 = 2;
pub const SWAPPED: u8 = 3;
pub const NOT_FOUND: u8 = 4;
pub const FOUND: u8 = 5;
pub const TRANSACTION: u8 = 6;
pub const REFUSED: u8 = 7;
pub const COMPACTED: u8 = 8;
pub const GRANTED: u8 = 9;
pub const REVOKED: u8 = 10;
pub const CHECKPOINTED: u8 = 11;
pub const ALARM: u8 = 12;
pub const ANNOUNCED: u8 = 13;
pub const ENLISTED: u8 = 14;

/// Kinds of records in the roster.
pub const RAISED: u8 = 1;
pub const MEMBER: u8 = 2;

/// Kinds of responses in a transaction.
pub const RANGE_RESPONSE: u8 = 1;
pub const PUT_RESPONSE: u8 = 2;
pub const DELETE_RESPONSE: u8 = 3;
pub const TRANSACTION_RESPONSE: u8 = 4;

/// Kinds of changes.
pub const DELETION: u8 = 1;
pub const KNOWN: u8 = 2;
pub const PASSING: u8 = 3;

/// Bytes of a session without its results.
pub const SESSION_BYTES: usize = 1 + 16 + 3 * 8;

/// Bytes of a lease.
pub const LEASE_BYTES: usize = 3 * 8;

/// Bytes of a result are counted as no fewer: programs that know only the first form count so, and
/// must cut their parts where others do.
pub const SHORTEST_RESULT_BYTES: usize = 1 + 8 + 8 + 1 + 1;

/// Bytes of a key.
pub fn item_bytes(item: &KeyValue, form: u16) -> usize {
    let numbers = if form > FORM_WITHOUT_HISTORY { 4 } else { 3 };
    numbers * 8 + 2 * 4 + item.key.len() + item.value.len()
}

/// Bytes of a change, at most.
pub fn change_bytes(item: &Item) -> usize {
    1 + 8 + 4 + item_bytes(&item.kv, FORM_WITH_HISTORY)
}

pub fn put_item(body: &mut Vec<u8>, item: &KeyValue, form: u16) {
    body.put_u64_le(item.create_revision.0);
    body.put_u64_le(item.mod_revision.0);
    body.put_u64_le(item.version);
    if form > FORM_WITHOUT_HISTORY {
        body.put_u64_le(item.lease.0);
    }
    put_string(body, &item.key);
    put_string(body, &item.value);
}

fn put_string(body: &mut Vec<u8>, bytes: &[u8]) {
    // No request is longer than a few megabytes, so no length is cut here.
    body.put_u32_le(bytes.len() as u32);
    body.put_slice(bytes);
}

/// `is_known`: the version that it made is the key as it stands, or in the past.
pub fn put_change(body: &mut Vec<u8>, at: Position, item: &Item, is_known: bool) {
    let kind = match (item.is_tombstone(), is_known) {
        (true, _) => DELETION,
        (false, true) => KNOWN,
        (false, false) => PASSING,
    };
    body.put_u8(kind);
    body.put_u64_le(at.0.0);
    body.put_u32_le(at.1);
    match kind {
        PASSING => put_item(body, &item.kv, FORM_WITH_HISTORY),
        _ => put_string(body, &item.kv.key),
    }
}

pub fn put_result(body: &mut Vec<u8>, number: u64, outcome: &Outcome, form: u16) {
    body.put_u8(RESULT);
    body.put_u64_le(number);
    body.put_u64_le(outcome.revision.0);
    match &outcome.effect {
        Effect::Put { existed } => body.put_slice(&[PUT, u8::from(*existed)]),
        Effect::Deleted { existed } => body.put_slice(&[DELETED, u8::from(*existed)]),
        Effect::Swapped => body.put_u8(SWAPPED),
        Effect::Unchanged { found: None } => body.put_u8(NOT_FOUND),
        Effect::Unchanged { found: Some(found) } => {
            body.put_u8(FOUND);
            put_item(body, found, form);
        }
        Effect::Transaction(result) => {
            body.put_u8(TRANSACTION);
            put_transaction(body, result);
        }
        Effect::Refused(refusal) => body.put_slice(&[REFUSED, refusal.number()]),
        Effect::Compacted => body.put_u8(COMPACTED),
        Effect::LeaseGranted => body.put_u8(GRANTED),
        Effect::LeaseRevoked { deleted } => {
            body.put_u8(REVOKED);
            body.put_u64_le(*deleted);
        }
        Effect::LeasesCheckpointed => body.put_u8(CHECKPOINTED),
        Effect::Alarm { alarm } => {
            body.put_u8(ALARM);
            put_alarm(body, *alarm);
        }
        Effect::Announced => body.put_u8(ANNOUNCED),
        Effect::Enlisted => body.put_u8(ENLISTED),
        // A session keeps what an operation did, and nothing else: see `Machine::apply`.
        Effect::Raised { .. } => unreachable!("no session keeps a raise"),
    }
}

/// An alarm, or zeros.
pub fn put_alarm(body: &mut Vec<u8>, alarm: Option<Alarm>) {
    body.put_u64_le(alarm.map_or(0, |alarm| alarm.member.0));
    body.put_u8(alarm.map_or(0, |alarm| alarm.kind as u8));
}

/// What is known of a member.
pub fn put_member(body: &mut Vec<u8>, id: NodeId, member: &Member) {
    body.put_u64_le(id.0);
    body.put_u8(u8::from(member.is_enlisted));
    put_string(body, member.name.as_bytes());
    body.put_u32_le(member.client_urls.len() as u32);
    member.client_urls.iter().for_each(|url| put_string(body, url.as_bytes()));
}

/// What a transaction did, as bytes.
pub fn of_result(result: &TransactionResult) -> Vec<u8> {
    let mut body = Vec::new();
    put_transaction(&mut body, result);
    body
}

fn put_transaction(body: &mut Vec<u8>, result: &TransactionResult) {
    body.put_u8(u8::from(result.succeeded));
    body.put_u32_le(result.responses.len() as u32);
    for response in &result.responses {
        match response {
            ResponseOp::Range { items, more, count } => {
                body.put_u8(RANGE_RESPONSE);
                body.put_u8(u8::from(*more));
                body.put_u64_le(*count);
                put_items(body, items);
            }
            ResponseOp::Put { prev } => {
                body.put_u8(PUT_RESPONSE);
                put_items(body, prev.as_slice());
            }
            ResponseOp::DeleteRange { deleted, prev } => {
                body.put_u8(DELETE_RESPONSE);
                body.put_u64_le(*deleted);
                put_items(body, prev);
            }
            ResponseOp::Transaction(inner) => {
                body.put_u8(TRANSACTION_RESPONSE);
                put_transaction(body, inner);
            }
        }
    }
}

fn put_items(body: &mut Vec<u8>, items: &[KeyValue]) {
    body.put_u32_le(items.len() as u32);
    items.iter().for_each(|item| put_item(body, item, FORM_WITH_HISTORY));
}

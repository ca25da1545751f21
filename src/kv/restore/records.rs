//! The records of a snapshot's parts, read back.
//!
//! What is counted is only compared with what is there: a list is read item by item until it ends
//! or the bytes do, and no memory is reserved for what a number merely promises.

use std::sync::Arc;

use bytes::{Buf, Bytes};

use super::Wrong;
use crate::kv::limits::{
    MAX_NAME_BYTES, MAX_REQUEST_BYTES, MAX_TRANSACTION_DEPTH, MAX_URL_BYTES, MAX_URLS,
};
use crate::kv::roster::Member;
use crate::kv::snapshot::records::{
    ALARM, ANNOUNCED, CHECKPOINTED, COMPACTED, DELETE_RESPONSE, DELETED, DELETION, ENLISTED, FOUND,
    GRANTED, KNOWN, NOT_FOUND, PASSING, PUT, PUT_RESPONSE, RANGE_RESPONSE, REFUSED, REVOKED,
    SWAPPED, TRANSACTION, TRANSACTION_RESPONSE,
};
use crate::kv::snapshot::{FORM_WITH_ROSTER, FORM_WITHOUT_HISTORY};
use crate::kv::store::KeptChange;
use crate::kv::{
    Alarm, AlarmKind, Effect, KeyValue, Outcome, Refusal, ResponseOp, TransactionResult,
};
use crate::types::{LeaseId, NodeId, Revision};

pub fn item(rest: &mut &[u8], form: u16) -> Result<KeyValue, Wrong> {
    let has_lease = form > FORM_WITHOUT_HISTORY;
    Ok(KeyValue {
        create_revision: Revision(rest.try_get_u64_le()?),
        mod_revision: Revision(rest.try_get_u64_le()?),
        version: rest.try_get_u64_le()?,
        lease: LeaseId(if has_lease { rest.try_get_u64_le()? } else { 0 }),
        key: string(rest)?,
        value: string(rest)?,
    })
}

fn string(rest: &mut &[u8]) -> Result<Bytes, Wrong> {
    let length = rest.try_get_u32_le()? as usize;
    if length > MAX_REQUEST_BYTES {
        return Err("it holds something longer than any request".into());
    }
    let (string, after) = rest.split_at_checked(length).ok_or("it is cut short")?;
    *rest = after;
    Ok(Bytes::copy_from_slice(string))
}

/// A change of one revision: which of its changes, and what it was.
pub fn change(rest: &mut &[u8], form: u16) -> Result<((Revision, u32), KeptChange), Wrong> {
    let kind = rest.try_get_u8()?;
    let at = (Revision(rest.try_get_u64_le()?), rest.try_get_u32_le()?);
    let change = match kind {
        DELETION => KeptChange::Deleted(string(rest)?),
        KNOWN => KeptChange::Known(string(rest)?),
        PASSING => KeptChange::Passing(item(rest, form)?),
        _ => return Err("it holds a change of an unknown kind".into()),
    };
    Ok((at, change))
}

pub fn outcome(rest: &mut &[u8], form: u16) -> Result<Outcome, Wrong> {
    let revision = Revision(rest.try_get_u64_le()?);
    let effect = match rest.try_get_u8()? {
        PUT => Effect::Put { existed: boolean(rest)? },
        DELETED => Effect::Deleted { existed: boolean(rest)? },
        SWAPPED => Effect::Swapped,
        NOT_FOUND => Effect::Unchanged { found: None },
        FOUND => Effect::Unchanged { found: Some(item(rest, form)?) },
        kind if form > FORM_WITHOUT_HISTORY => later_effect(kind, rest, form)?,
        _ => return Err("it holds a result of an unknown kind".into()),
    };
    Ok(Outcome { revision, effect })
}

/// An effect that only machines whose keys have a past know.
fn later_effect(kind: u8, rest: &mut &[u8], form: u16) -> Result<Effect, Wrong> {
    Ok(match kind {
        TRANSACTION => Effect::Transaction(Arc::new(transaction(rest, form, 0)?)),
        REFUSED => {
            let refusal = Refusal::NUMBERED.get(usize::from(rest.try_get_u8()?));
            Effect::Refused(*refusal.ok_or("it holds an unknown refusal")?)
        }
        COMPACTED => Effect::Compacted,
        GRANTED => Effect::LeaseGranted,
        REVOKED => Effect::LeaseRevoked { deleted: rest.try_get_u64_le()? },
        CHECKPOINTED => Effect::LeasesCheckpointed,
        ALARM if form >= FORM_WITH_ROSTER => Effect::Alarm { alarm: alarm(rest)? },
        ANNOUNCED if form >= FORM_WITH_ROSTER => Effect::Announced,
        ENLISTED if form >= FORM_WITH_ROSTER => Effect::Enlisted,
        _ => return Err("it holds a result of an unknown kind".into()),
    })
}

/// An alarm, or none.
pub fn alarm(rest: &mut &[u8]) -> Result<Option<Alarm>, Wrong> {
    let member = NodeId(rest.try_get_u64_le()?);
    let kind = match rest.try_get_u8()? {
        0 if member.0 == 0 => return Ok(None),
        1 => AlarmKind::NoSpace,
        2 => AlarmKind::Corrupt,
        _ => return Err("it holds an alarm of an unknown kind".into()),
    };
    Ok(Some(Alarm { member, kind }))
}

pub fn member(rest: &mut &[u8]) -> Result<(NodeId, Member), Wrong> {
    let (id, is_enlisted) = (NodeId(rest.try_get_u64_le()?), boolean(rest)?);
    let name = text(rest, MAX_NAME_BYTES)?;
    let count = rest.try_get_u32_le()? as usize;
    if count > MAX_URLS {
        return Err("it holds a member of too many addresses".into());
    }
    let client_urls = (0..count).map(|_| text(rest, MAX_URL_BYTES)).collect::<Result<_, _>>()?;
    Ok((id, Member { name, client_urls, is_enlisted }))
}

fn text(rest: &mut &[u8], limit: usize) -> Result<String, Wrong> {
    let bytes = string(rest)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "it holds a text that is not UTF-8")?;
    if text.len() > limit {
        return Err("it holds a text that is too long".into());
    }
    Ok(text.to_owned())
}

fn transaction(rest: &mut &[u8], form: u16, depth: usize) -> Result<TransactionResult, Wrong> {
    if depth >= MAX_TRANSACTION_DEPTH {
        return Err("it holds a transaction deeper than any may be".into());
    }
    let (succeeded, count) = (boolean(rest)?, rest.try_get_u32_le()?);
    let mut responses = Vec::new();
    for _ in 0..count {
        responses.push(match rest.try_get_u8()? {
            RANGE_RESPONSE => ResponseOp::Range {
                more: boolean(rest)?,
                count: rest.try_get_u64_le()?,
                items: items(rest, form)?,
            },
            PUT_RESPONSE => {
                let mut prev = items(rest, form)?;
                if prev.len() > 1 {
                    return Err("it holds a put of several keys".into());
                }
                ResponseOp::Put { prev: prev.pop() }
            }
            DELETE_RESPONSE => ResponseOp::DeleteRange {
                deleted: rest.try_get_u64_le()?,
                prev: items(rest, form)?,
            },
            TRANSACTION_RESPONSE => ResponseOp::Transaction(transaction(rest, form, depth + 1)?),
            _ => return Err("it holds a response of an unknown kind".into()),
        });
    }
    Ok(TransactionResult { succeeded, responses })
}

fn items(rest: &mut &[u8], form: u16) -> Result<Vec<KeyValue>, Wrong> {
    let count = rest.try_get_u32_le()?;
    (0..count).map(|_| item(rest, form)).collect()
}

pub fn boolean(rest: &mut &[u8]) -> Result<bool, Wrong> {
    match rest.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err("it holds a yes or no that is neither".into()),
    }
}

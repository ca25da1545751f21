//! From a line's fields to what was asked for, and to what was told.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;

use super::{Call, Change, Deed, Event, Found, Key, Kind, Step};

/// Finds the place of something that has a name.
pub type Places<'a> = dyn FnMut(Key) -> usize + 'a;

/// What an operation is about, and what was asked for.
pub fn asked(event: &Event, places: &mut Places<'_>) -> Result<(usize, Call), String> {
    if event.f == "txn" {
        let steps = steps(event, places)?;
        let first = steps.first().ok_or("a txn needs at least one step")?;
        return Ok((first.key, Call::Txn(steps)));
    }
    let name = event.key.clone().ok_or_else(|| format!("a {} needs a \"key\"", event.f))?;
    let (kind, call) = match event.f.as_str() {
        "lease" => (Kind::Lease, lease(event)?),
        "watch" => {
            let (prefix, from) = watch(event)?;
            (Kind::Watched { prefix }, Call::Watch { from })
        }
        _ => (Kind::Data, plain(event)?),
    };
    Ok((places(Key { kind, name }), call))
}

/// The lease that what is written is attached to.
pub fn attached(
    event: &Event,
    call: &Call,
    places: &mut Places<'_>,
) -> Result<Option<usize>, String> {
    let Some(name) = event.lease.clone() else { return Ok(None) };
    match call {
        Call::Write(_) | Call::Cas { .. } | Call::Append(_) | Call::Acquire(_) => {
            Ok(Some(places(Key { kind: Kind::Lease, name })))
        }
        Call::Release(_) => Err("a release attaches nothing to a \"lease\"".to_owned()),
        _ => Err(format!("a {} attaches nothing to a \"lease\"", event.f)),
    }
}

/// Whether a value that an answer repeats is the one that was asked for.
pub fn repeats(event: &Event, call: &Call, places: &mut Places<'_>) -> Result<bool, String> {
    if event.value.is_none() {
        return Ok(true);
    }
    match call {
        Call::Read | Call::Watch { .. } => Ok(true),
        Call::Txn(asked) => Ok(steps(event, places)? == *asked),
        Call::Grant(_) => Ok(matches!(lease(event)?, Call::Grant(_))),
        Call::KeepAlive | Call::Revoke => Ok(lease(event)? == *call),
        _ => Ok(plain(event)? == *call),
    }
}

/// What the `ok` of a call says, besides that it is done.
pub fn told(event: &Event, call: &Call, places: &mut Places<'_>) -> Result<Found, String> {
    match call {
        Call::Read => {
            let value = event.value.as_ref().and_then(optional);
            value.map(Found::Value).ok_or_else(|| {
                "a read that is ok needs a \"value\": the string that it found, or null".to_owned()
            })
        }
        Call::Txn(_) => {
            let steps = event.value.as_ref().and_then(Value::as_array).into_iter().flatten();
            let reads = steps.filter(|step| step[0] == "read");
            let found: Option<Vec<_>> = reads.map(|step| step.get(2).and_then(optional)).collect();
            let said = found.filter(|_| event.value.is_some()).ok_or(
                "a txn that is ok repeats its steps, and of each read says what it found: \
                 [\"read\",key,value]",
            );
            Ok(Found::Values(said?))
        }
        Call::Grant(_) if event.value.is_some() => match lease(event)? {
            Call::Grant(life) => Ok(Found::Life(life)),
            _ => Ok(Found::Nothing),
        },
        Call::Watch { .. } => seen(event, places),
        _ => Ok(Found::Nothing),
    }
}

/// What is about one key.
fn plain(event: &Event) -> Result<Call, String> {
    match (event.f.as_str(), &event.value) {
        ("write", Some(Value::String(value))) => Ok(Call::Write(bytes(value))),
        ("append", Some(Value::String(value))) => Ok(Call::Append(bytes(value))),
        ("write" | "append", _) => {
            Err(format!("a {} needs a \"value\", and it is a string", event.f))
        }
        ("cas", Some(Value::Array(pair))) if pair.len() == 2 => {
            let value = |value: &Value| {
                optional(value).ok_or("of a cas, old and new are strings or null".to_owned())
            };
            Ok(Call::Cas { old: value(&pair[0])?, new: value(&pair[1])? })
        }
        ("cas", _) => Err("a cas needs a \"value\", and it is [old, new]".to_owned()),
        ("lock", value) => {
            match words(value) {
                Some(("acquire", [Value::String(holder)])) => Ok(Call::Acquire(bytes(holder))),
                Some(("release", [Value::String(holder)])) => Ok(Call::Release(bytes(holder))),
                _ => Err("a lock needs a \"value\": [\"acquire\",holder] or [\"release\",holder]"
                    .to_owned()),
            }
        }
        ("delete", _) => Ok(Call::Delete),
        _ => Ok(Call::Read),
    }
}

fn lease(event: &Event) -> Result<Call, String> {
    match words(&event.value) {
        Some(("grant", [millis])) if millis.as_u64().is_some_and(|millis| millis > 0) => {
            Ok(Call::Grant(Duration::from_millis(millis.as_u64().unwrap_or_default())))
        }
        Some(("keep-alive", [])) => Ok(Call::KeepAlive),
        Some(("revoke", [])) => Ok(Call::Revoke),
        _ => Err("a lease needs a \"value\": [\"grant\",milliseconds], [\"keep-alive\"] or \
                  [\"revoke\"]"
            .to_owned()),
    }
}

fn steps(event: &Event, places: &mut Places<'_>) -> Result<Vec<Step>, String> {
    let Some(Value::Array(list)) = &event.value else {
        return Err("a txn needs a \"value\", and it is a list of steps".to_owned());
    };
    let mut steps = Vec::with_capacity(list.len());
    for (number, value) in (1..).zip(list) {
        let step = step(value, places).map_err(|why| format!("step {number}: {why}"))?;
        let is_check = |step: &Step| matches!(step.deed, Deed::Check(_));
        if is_check(&step) && !steps.last().is_none_or(is_check) {
            return Err(format!("step {number}: checks stand first"));
        }
        steps.push(step);
    }
    Ok(steps)
}

fn step(value: &Value, places: &mut Places<'_>) -> Result<Step, String> {
    let why = "it is [\"check\",key,value], [\"read\",key], [\"write\",key,string], \
               [\"append\",key,string] or [\"delete\",key]";
    let list = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let (Some(Value::String(f)), Some(Value::String(name))) = (list.first(), list.get(1)) else {
        return Err(why.to_owned());
    };
    let deed = match (f.as_str(), &list[2..]) {
        ("check", [value]) => Deed::Check(optional(value).ok_or(why)?),
        ("read", [] | [_]) => Deed::Read,
        ("write", [Value::String(value)]) => Deed::Write(bytes(value)),
        ("append", [Value::String(value)]) => Deed::Append(bytes(value)),
        ("delete", []) => Deed::Delete,
        _ => return Err(why.to_owned()),
    };
    Ok(Step { key: places(Key { kind: Kind::Data, name: name.clone() }), deed })
}

fn watch(event: &Event) -> Result<(bool, u64), String> {
    let value = event.value.as_ref();
    let from = value.and_then(|value| value.get("from")?.as_u64());
    let prefix = value.and_then(|value| value.get("prefix"));
    match (from, prefix.map_or(Some(false), Value::as_bool)) {
        (Some(from), Some(prefix)) => Ok((prefix, from)),
        _ => {
            Err("a watch needs a \"value\": {\"from\":revision}, and \"prefix\":true if it is of \
                  all keys that begin so"
                .to_owned())
        }
    }
}

/// What a watch was told.
fn seen(event: &Event, places: &mut Places<'_>) -> Result<Found, String> {
    let why = "a watch that is ok needs a \"value\": \
               {\"events\":[[revision,key,value],…],\"upto\":revision}";
    let value = event.value.as_ref().ok_or(why)?;
    let upto = value.get("upto").and_then(Value::as_u64).ok_or(why)?;
    let mut changes = Vec::new();
    for event in value.get("events").and_then(Value::as_array).ok_or(why)? {
        let [revision, Value::String(name), value] =
            event.as_array().map_or(&[][..], Vec::as_slice)
        else {
            return Err(why.to_owned());
        };
        changes.push(Change {
            revision: revision.as_u64().ok_or(why)?,
            key: places(Key { kind: Kind::Data, name: name.clone() }),
            value: optional(value).ok_or(why)?,
        });
    }
    Ok(Found::Changes { changes, upto })
}

/// A list that begins with a word.
fn words(value: &Option<Value>) -> Option<(&str, &[Value])> {
    let (first, rest) = value.as_ref()?.as_array()?.split_first()?;
    Some((first.as_str()?, rest))
}

/// A string, or `null`; nothing if it is neither.
fn optional(value: &Value) -> Option<Option<Bytes>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(bytes(text))),
        _ => None,
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

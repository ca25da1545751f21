//! What an operation does to the keys that it touches, all of them or one alone.

use bytes::Bytes;

use crate::verify::cells::{self, ALIVE, Cells, Step};
use crate::verify::history::{Call, Deed, Found, History, Operation, Outcome};
use crate::verify::linearizable;
use crate::verify::register::{Action, Told};

/// What an operation of a history does, and what it was told; nothing if it cannot have had an
/// effect and was told nothing.
pub fn steps(operation: &Operation) -> Option<(Vec<Step>, Option<cells::Told>)> {
    let told = match operation.outcome {
        Outcome::Failed => return None,
        Outcome::Unknown => None,
        Outcome::Mismatch => Some(cells::Told::Mismatch),
        Outcome::Ok { .. } => Some(cells::Told::Done),
    };
    if told.is_none() && operation.call.only_looks() {
        return None;
    }
    let cell = operation.key;
    let look = |value: Option<Bytes>| Step::Look { cell, value };
    let set = |value: Option<Bytes>| Step::Set { cell, value, lease: operation.lease };
    let alive = || look(Some(ALIVE));
    let mut steps = match &operation.call {
        Call::Watch { .. } => return None,
        Call::Read => match &operation.outcome {
            Outcome::Ok { found: Found::Value(value), .. } => vec![look(value.clone())],
            _ => return None,
        },
        Call::Write(value) => vec![set(Some(value.clone()))],
        Call::Cas { old, new } => vec![look(old.clone()), set(new.clone())],
        Call::Append(more) => {
            vec![Step::Append { cell, more: more.clone(), lease: operation.lease }]
        }
        Call::Delete => vec![set(None)],
        Call::Grant(_) => vec![Step::Set { cell, value: Some(ALIVE), lease: None }],
        Call::KeepAlive => vec![alive()],
        Call::Revoke => vec![alive(), Step::End { lease: cell }],
        Call::Acquire(holder) => vec![look(None), set(Some(holder.clone()))],
        Call::Release(holder) => vec![look(Some(holder.clone())), set(None)],
        Call::Txn(list) => transaction(list, &operation.outcome),
    };
    match told {
        // Of what did not match, only what was looked for says something.
        Some(cells::Told::Mismatch) => steps.retain(|step| matches!(step, Step::Look { .. })),
        _ => {
            let lease = |lease| Step::Look { cell: lease, value: Some(ALIVE) };
            steps.splice(0..0, operation.lease.map(lease));
        }
    }
    Some((steps, told))
}

fn transaction(list: &[crate::verify::history::Step], outcome: &Outcome) -> Vec<Step> {
    let mut found = match outcome {
        Outcome::Ok { found: Found::Values(values), .. } => values.iter(),
        _ => [].iter(),
    };
    let step = |step: &crate::verify::history::Step| {
        let cell = step.key;
        match &step.deed {
            Deed::Check(value) => Some(Step::Look { cell, value: value.clone() }),
            Deed::Read => found.next().map(|value| Step::Look { cell, value: value.clone() }),
            Deed::Write(value) => Some(Step::Set { cell, value: Some(value.clone()), lease: None }),
            Deed::Append(more) => Some(Step::Append { cell, more: more.clone(), lease: None }),
            Deed::Delete => Some(Step::Set { cell, value: None, lease: None }),
        }
    };
    list.iter().filter_map(step).collect()
}

/// Where an answer claims to stand in the order: a look at a revision comes right after the change
/// that made it.
fn witness(operation: &Operation) -> Option<u64> {
    let looks = u64::from(operation.call.only_looks());
    operation.outcome.rev().map(|rev| rev.saturating_mul(2).saturating_add(looks))
}

/// An operation of a history, as the search takes it.
pub fn together(history: &History, place: usize) -> Option<Cells> {
    let operation = &history.operations[place];
    let (action, told) = steps(operation)?;
    let returned = operation.ended.zip(told).map(|(ended, told)| (ended.line, told));
    let called = operation.called.line;
    Some(linearizable::Operation { called, returned, action, witness: witness(operation) })
}

/// What is done to one cell cannot be told without the others.
pub struct Entangled;

/// The part of an operation that is about one cell; nothing if it says nothing of it. If the whole
/// can be explained, so can these parts.
pub fn alone(
    cell: usize,
    operation: &Cells,
) -> Result<Option<linearizable::Operation<Action, Told>>, Entangled> {
    let is_mismatch = matches!(operation.returned, Some((_, cells::Told::Mismatch)));
    if is_mismatch && operation.action.len() > 1 {
        // Whatever did not match may be another one.
        return Ok(None);
    }
    let mut before: Option<Option<Bytes>> = None;
    let mut after: Option<Option<Bytes>> = None;
    let mut more: Option<Bytes> = None;
    for step in &operation.action {
        match step {
            Step::Look { cell: at, value } if *at == cell => match (&after, &more, &before) {
                (None, None, None) => before = Some(value.clone()),
                (Some(known), None, _) | (None, None, Some(known)) if known == value => {}
                _ => return Err(Entangled),
            },
            Step::Set { cell: at, value, .. } if *at == cell => {
                (after, more) = (Some(value.clone()), None);
            }
            Step::Append { cell: at, more: piece, .. } if *at == cell => {
                match (after.as_ref().or(before.as_ref()), &more) {
                    (Some(known), None) => {
                        let whole = [known.as_deref().unwrap_or_default(), piece].concat();
                        after = Some(Some(whole.into()));
                    }
                    (None, None) => more = Some(piece.clone()),
                    _ => return Err(Entangled),
                }
            }
            Step::End { lease } if *lease == cell => after = Some(None),
            _ => {}
        }
    }
    let (action, told) = match (before, after, more) {
        (None, None, None) => return Ok(None),
        (None, None, Some(more)) => (Action::Append(more), Told::Done),
        (None, Some(Some(value)), _) => (Action::Put(value), Told::Done),
        (None, Some(None), _) => (Action::Delete, Told::Done),
        (Some(expected), value, None) if is_mismatch => {
            let value = value.unwrap_or_else(|| expected.clone());
            (Action::CompareAndSwap { expected, value }, Told::Mismatch)
        }
        (Some(found), None, None) if operation.returned.is_some() => {
            (Action::Get, Told::Found(found))
        }
        (Some(_), None, None) => return Ok(None),
        (Some(expected), Some(value), None) => {
            (Action::CompareAndSwap { expected, value }, Told::Swapped)
        }
        (Some(_), _, Some(_)) => return Err(Entangled),
    };
    let returned = operation.returned.map(|(at, _)| (at, told));
    let (called, witness) = (operation.called, operation.witness);
    Ok(Some(linearizable::Operation { called, returned, action, witness }))
}

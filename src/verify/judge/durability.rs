//! Whether a contradiction says no more than that something acknowledged is gone.

use bytes::Bytes;

use crate::verify::history::{Call, Deed, Found, History, Operation, Outcome};
use crate::verify::register::{Action, Told};
use crate::verify::shrink::Item;

/// Whether a contradiction about one key says: this was acknowledged, and later reads lack it.
pub fn is_lost(history: &History, key: usize, places: &[usize], part: &[Item]) -> bool {
    let [writes @ .., last] = part else { return false };
    let (Some(lost), Some((read_at, Told::Found(read)))) =
        (writes.last(), &last.operation.returned)
    else {
        return false;
    };
    let acknowledged = |item: &Item| {
        matches!(&item.operation.returned, Some((at, Told::Done | Told::Swapped))
            if *at < last.operation.called)
    };
    let was_there =
        read.is_none() || writes.iter().any(|item| shows(&item.operation.action, read, true));
    // If anybody sees it later, it was there all the time: the read was stale.
    let seen_later = places.iter().map(|place| &history.operations[*place]).any(|operation| {
        let is_later = operation.ended.is_some_and(|ended| ended.line > *read_at);
        is_later && found(operation, key).iter().any(|it| shows(&lost.operation.action, it, false))
    });
    // If anything else was written meanwhile, it may only have been overwritten.
    let meanwhile = |place: &usize| {
        let operation = &history.operations[*place];
        operation.outcome.is_ok()
            && changes(operation, key)
            && operation.called.line < *read_at
            && operation.ended.is_some_and(|ended| ended.line > lost.operation.called)
    };
    let is_told = |place: &usize| part.iter().any(|item| item.place == *place);
    let disturbed = places.iter().any(|place| meanwhile(place) && !is_told(place));
    writes.iter().all(acknowledged) && was_there && !seen_later && !disturbed
}

/// What an operation found under a key.
fn found(operation: &Operation, key: usize) -> Vec<&Option<Bytes>> {
    match (&operation.call, &operation.outcome) {
        (Call::Read, Outcome::Ok { found: Found::Value(value), .. }) if operation.key == key => {
            vec![value]
        }
        (Call::Txn(steps), Outcome::Ok { found: Found::Values(values), .. }) => {
            let reads = steps.iter().filter(|step| step.deed == Deed::Read).zip(values);
            reads.filter(|(step, _)| step.key == key).map(|(_, value)| value).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether it may change a key.
fn changes(operation: &Operation, key: usize) -> bool {
    match &operation.call {
        Call::Txn(steps) => steps
            .iter()
            .any(|step| step.key == key && !matches!(step.deed, Deed::Check(_) | Deed::Read)),
        call => operation.key == key && !call.only_looks(),
    }
}

/// Whether a value shows that a write took effect; with `only`, and nothing after it.
fn shows(action: &Action, found: &Option<Bytes>, only: bool) -> bool {
    let begins = |whole: &Bytes| match found {
        Some(found) if only => found == whole,
        Some(found) => found.starts_with(whole),
        None => false,
    };
    match action {
        Action::Get => false,
        Action::Put(value) | Action::CompareAndSwap { value: Some(value), .. } => begins(value),
        Action::Delete | Action::CompareAndSwap { value: None, .. } => found.is_none(),
        // What is empty shows nowhere.
        Action::Append(more) => {
            let mut pieces = found.iter().flat_map(|found| found.windows(more.len().max(1)));
            !only && pieces.any(|piece| piece == more)
        }
    }
}

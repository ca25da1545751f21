//! What can be left out of the history of one key.
//!
//! In an order that explains the part with a write, take the write out: until the next write of a
//! whole value the state is another one. Nobody there notices if no read and no cas that stay have
//! its value, or one that may have grown from it; of an append, one that contains what it appended.
//! A mismatch that stays may notice any state; so if there is one, the write has to begin after it,
//! or an acknowledged write of a whole value that stays must lie between the two.
//!
//! An unknown cas can go if nobody wrote what it expects: it had no effect.

use super::{Item, Part};
use crate::verify::linearizable::{Budget, Operation, Verdict};
use crate::verify::register::{Action, Told, check_within};

impl Part for Action {
    type Told = Told;

    fn check(history: &[Operation<Action, Told>], budget: &mut Budget<'_>) -> Verdict {
        check_within(history, budget)
    }

    fn looks(item: &Item) -> bool {
        looks(item)
    }

    fn is_honest(gone: &[Item], rest: &[Item]) -> bool {
        is_honest(gone, rest)
    }
}

fn looks(item: &Item) -> bool {
    let told = item.operation.returned.as_ref().map(|(_, told)| told);
    matches!(told, Some(Told::Found(_) | Told::Mismatch)) || item.operation.action == Action::Get
}

/// Whether the rest can be explained if it could be together with those that are gone.
pub(crate) fn is_honest(gone: &[Item], rest: &[Item]) -> bool {
    let pieces = pieces(rest.iter());
    let mismatches: Vec<&Item> = rest.iter().filter(|item| told(item, &Told::Mismatch)).collect();
    gone.iter().filter(|item| !looks(item)).all(|item| {
        let noticed = rest.iter().filter_map(needs).any(|needed| grew(item, needed, &pieces));
        let apart = || mismatches.iter().all(|mismatch| is_apart(item, mismatch, rest));
        is_idle(item, gone.iter().chain(rest)) || (!noticed && apart())
    })
}

/// Whether an unknown cas can never have had an effect: nobody wrote what it expects.
fn is_idle<'a>(item: &Item, all: impl Iterator<Item = &'a Item> + Clone) -> bool {
    let Action::CompareAndSwap { expected: Some(expected), .. } = &item.operation.action else {
        return false;
    };
    let pieces = pieces(all.clone());
    let mut others = all.filter(|other| other.place != item.place);
    item.operation.returned.is_none() && !others.any(|o| grew(o, Some(expected), &pieces))
}

/// What is appended.
fn pieces<'a>(items: impl Iterator<Item = &'a Item>) -> Vec<&'a [u8]> {
    let piece = |item: &'a Item| match &item.operation.action {
        Action::Append(more) => Some(&more[..]),
        _ => None,
    };
    items.filter_map(piece).collect()
}

fn told(item: &Item, what: &Told) -> bool {
    item.operation.returned.as_ref().is_some_and(|(_, told)| told == what)
}

/// The value without which an operation could not be answered so, or would have no effect.
fn needs(item: &Item) -> Option<Option<&[u8]>> {
    match (&item.operation.action, &item.operation.returned) {
        (_, Some((_, Told::Found(value)))) => Some(value.as_deref()),
        (_, Some((_, Told::Mismatch))) => None,
        (Action::CompareAndSwap { expected, .. }, _) => Some(expected.as_deref()),
        _ => None,
    }
}

/// Whether a value may come from what an operation wrote, and from appends of these pieces.
fn grew(item: &Item, needed: Option<&[u8]>, pieces: &[&[u8]]) -> bool {
    let whole = match &item.operation.action {
        Action::Get => return false,
        Action::Append(more) => {
            let contains = |value: &[u8]| {
                more.is_empty() || value.windows(more.len()).any(|window| window == &more[..])
            };
            return needed.is_some_and(contains);
        }
        Action::Put(value) => Some(&value[..]),
        Action::CompareAndSwap { value, .. } => value.as_deref(),
        Action::Delete => None,
    };
    let added = needed.and_then(|needed| needed.strip_prefix(whole.unwrap_or_default()));
    let may_add = |added: &[u8]| pieces.iter().any(|piece| added.starts_with(piece));
    needed == whole || added.is_some_and(may_add)
}

/// Whether a write cannot lie right before a mismatch, with nothing between that overwrites it.
fn is_apart(write: &Item, mismatch: &Item, rest: &[Item]) -> bool {
    let Some((answered, _)) = mismatch.operation.returned else { return false };
    if write.operation.called > answered {
        return true;
    }
    let Some((ended, _)) = write.operation.returned else { return false };
    let overwrites = |item: &Item| {
        let whole = !matches!(item.operation.action, Action::Append(_)) && !looks(item);
        let within = item.operation.returned.as_ref().is_some_and(|(returned, _)| {
            ended < item.operation.called && *returned < mismatch.operation.called
        });
        whole && within
    };
    rest.iter().any(overwrites)
}

//! The smallest contradictory part of a history.
//!
//! # The problem
//! To leave operations out is easy, and mostly a lie: without the write of `a`, the read of `a` is
//! a contradiction by itself, and one that never was. A part is *honest* if it could not
//! contradict itself unless the whole does.
//!
//! # The rule
//! 1. *The end.* If a history can be explained, so can each beginning of it, with what is under way
//!    at the cut as unknown. So the shortest contradictory beginning is looked for, by halving.
//! 2. *Looks* (reads, mismatches) can go: who explains all answers explains fewer.
//! 3. *Writes* can go if nobody who stays tells the difference. In an order that explains the part
//!    with the write, take it out: until the next write of a whole value the state is another one.
//!    Nobody there notices if no read and no cas that stay have its value, or one that may have
//!    grown from it; of an append, one that contains what it appended. A mismatch that stays may
//!    notice any state; so if there is one, the write has to begin after it, or an acknowledged
//!    write of a whole value that stays must lie between the two.
//! 4. *An unknown cas* can go if nobody wrote what it expects: it had no effect.
//!
//! What is left out is tried in halves, quarters and so on, as long as the rest is a violation.

use super::linearizable::{self, Budget, Verdict};
use super::register::{Action, Told, check_within};

/// An operation, and its place in the history.
#[derive(Clone, Debug)]
pub struct Item {
    pub place: usize,
    pub operation: linearizable::Operation<Action, Told>,
}

/// Tries at most.
const MAX_TRIES: u32 = 5_000;
/// Steps of each try.
const MAX_STEPS: u64 = 200_000;

/// Makes a violation small; what `go_on` cuts short is a larger one.
pub fn shrink(items: Vec<Item>, go_on: &mut dyn FnMut(u64) -> bool) -> Vec<Item> {
    let mut shrinking = Shrinking { tries: MAX_TRIES, go_on };
    let mut items = shrinking.beginning(items);
    loop {
        let before = items.len();
        items = shrinking.drop_all(items, looks);
        items = shrinking.drop_all(items, |_| true);
        if items.len() == before {
            return items;
        }
    }
}

struct Shrinking<'a> {
    tries: u32,
    go_on: &'a mut dyn FnMut(u64) -> bool,
}

impl Shrinking<'_> {
    fn is_violation(&mut self, items: &[Item]) -> bool {
        if self.tries == 0 || !(self.go_on)(0) {
            return false;
        }
        self.tries -= 1;
        let operations: Vec<_> = items.iter().map(|item| item.operation.clone()).collect();
        let mut budget = Budget { steps: MAX_STEPS, go_on: &mut *self.go_on };
        matches!(check_within(&operations, &mut budget), Verdict::Violated { .. })
    }

    fn beginning(&mut self, items: Vec<Item>) -> Vec<Item> {
        let mut ends: Vec<u64> =
            items.iter().filter_map(|item| Some(item.operation.returned.as_ref()?.0)).collect();
        ends.sort_unstable();
        let (mut below, mut above) = (0, ends.len());
        let mut shortest = items.clone();
        while below < above {
            let middle = (below + above) / 2;
            let beginning = cut(&items, ends[middle]);
            if self.is_violation(&beginning) {
                above = middle;
                shortest = beginning;
            } else {
                below = middle + 1;
            }
        }
        shortest
    }

    /// Leaves out whatever can go of those that `may` go.
    fn drop_all(&mut self, mut items: Vec<Item>, may: impl Fn(&Item) -> bool) -> Vec<Item> {
        let mut size = items.len();
        while size > 0 {
            // From the end: what lies before the contradiction goes last, and is most of it.
            let mut end = items.len();
            while end > 0 {
                if self.tries == 0 || !(self.go_on)(0) {
                    return items;
                }
                let start = end.saturating_sub(size);
                let goes = |at: usize| (start..end).contains(&at) && may(&items[at]);
                let (gone, rest): (Vec<_>, Vec<_>) = (0..items.len()).partition(|at| goes(*at));
                let pick = |places: &[usize]| -> Vec<Item> {
                    places.iter().map(|at| items[*at].clone()).collect()
                };
                let (gone, rest) = (pick(&gone), pick(&rest));
                if !gone.is_empty() && is_honest(&gone, &rest) && self.is_violation(&rest) {
                    items = rest;
                }
                end = start;
            }
            size /= 2;
        }
        items
    }
}

/// The history up to a moment.
pub(super) fn cut(items: &[Item], end: u64) -> Vec<Item> {
    let begun = items.iter().filter(|item| item.operation.called <= end).cloned();
    let cut = begun.map(|mut item| {
        item.operation.returned = item.operation.returned.filter(|(at, _)| *at <= end);
        item.operation.witness =
            item.operation.witness.filter(|_| item.operation.returned.is_some());
        item
    });
    let means_nothing =
        |item: &Item| item.operation.returned.is_none() && item.operation.action == Action::Get;
    cut.filter(|item| !means_nothing(item)).collect()
}

/// Whether an operation changes nothing.
fn looks(item: &Item) -> bool {
    let told = item.operation.returned.as_ref().map(|(_, told)| told);
    matches!(told, Some(Told::Found(_) | Told::Mismatch)) || item.operation.action == Action::Get
}

/// Whether the rest can be explained if it could be together with those that are gone.
pub(super) fn is_honest(gone: &[Item], rest: &[Item]) -> bool {
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

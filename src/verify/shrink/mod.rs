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
//! 3. *Writes* can go if nobody who stays tells the difference: that is judged by what is known of
//!    the actions ([`one_key`], [`together`]).
//!
//! What is left out is tried in halves, quarters and so on, as long as the rest is a violation.

pub mod one_key;
pub mod together;

#[cfg(test)]
pub(super) use self::one_key::is_honest;
use super::linearizable::{Budget, Operation, Verdict};
use super::register::Action;

/// An operation, and its place in the history.
#[derive(Clone, Debug)]
pub struct Item<A: Part = Action> {
    pub place: usize,
    pub operation: Operation<A, A::Told>,
}

/// What can be left out of a history of such actions.
pub trait Part: Clone {
    type Told: Clone;

    /// The verdict on what is left.
    fn check(history: &[Operation<Self, Self::Told>], budget: &mut Budget<'_>) -> Verdict
    where
        Self: Sized;

    /// Whether an operation changes nothing.
    fn looks(item: &Item<Self>) -> bool
    where
        Self: Sized;

    /// Whether the rest can be explained if it could be together with those that are gone.
    fn is_honest(gone: &[Item<Self>], rest: &[Item<Self>]) -> bool
    where
        Self: Sized;
}

/// Tries at most.
const MAX_TRIES: u32 = 5_000;
/// Steps of each try.
const MAX_STEPS: u64 = 200_000;

/// Makes a violation small; what `go_on` cuts short is a larger one.
pub fn shrink<A: Part>(items: Vec<Item<A>>, go_on: &mut dyn FnMut(u64) -> bool) -> Vec<Item<A>> {
    let mut shrinking = Shrinking { tries: MAX_TRIES, go_on };
    let mut items = shrinking.beginning(items);
    loop {
        let before = items.len();
        items = shrinking.drop_all(items, A::looks);
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
    fn is_violation<A: Part>(&mut self, items: &[Item<A>]) -> bool {
        if self.tries == 0 || !(self.go_on)(0) {
            return false;
        }
        self.tries -= 1;
        let operations: Vec<_> = items.iter().map(|item| item.operation.clone()).collect();
        let mut budget = Budget { steps: MAX_STEPS, go_on: &mut *self.go_on };
        matches!(A::check(&operations, &mut budget), Verdict::Violated { .. })
    }

    fn beginning<A: Part>(&mut self, items: Vec<Item<A>>) -> Vec<Item<A>> {
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
    fn drop_all<A: Part>(
        &mut self,
        mut items: Vec<Item<A>>,
        may: impl Fn(&Item<A>) -> bool,
    ) -> Vec<Item<A>> {
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
                let pick = |places: &[usize]| -> Vec<Item<A>> {
                    places.iter().map(|at| items[*at].clone()).collect()
                };
                let (gone, rest) = (pick(&gone), pick(&rest));
                if !gone.is_empty() && A::is_honest(&gone, &rest) && self.is_violation(&rest) {
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
pub(super) fn cut<A: Part>(items: &[Item<A>], end: u64) -> Vec<Item<A>> {
    let begun = items.iter().filter(|item| item.operation.called <= end).cloned();
    let cut = begun.map(|mut item| {
        item.operation.returned = item.operation.returned.filter(|(at, _)| *at <= end);
        item.operation.witness =
            item.operation.witness.filter(|_| item.operation.returned.is_some());
        item
    });
    cut.filter(|item| item.operation.returned.is_some() || !A::looks(item)).collect()
}

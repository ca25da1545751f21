//! Is a history linearizable? (Herlihy & Wing 1990; the search is Wing & Gong's, with Lowe's memory
//! of states seen.)
//!
//! # The problem
//! Each operation took some time, and took effect at one moment within it, if the store keeps its
//! promise. Nobody saw those moments. So a history is right if *some* order of its operations, each
//! between its call and its return, explains every answer.
//!
//! # The rule
//! Take any operation that was called before the first return among those not yet taken, let the
//! model do it, and go on if the model answers the same; else take it back and try another. What
//! was tried is remembered as (set of operations taken, state): to come there twice by two orders
//! brings nothing new.
//!
//! An operation whose outcome nobody knows may take effect at any time after its call, or never.
//!
//! # Cost, and caveats
//! The search is exponential in the worst case. Two things keep it short: it is made for each key
//! alone, and each operation may bring a *witness*, such as the revision that its answer carried:
//! the search tries candidates in the order of the witnesses, and for a right history never has to
//! go back. It gives up after so many steps ([`Verdict::Undecided`]): giving up is not an answer.

use std::collections::BTreeSet;

/// One copy of the data, handling one operation at a time.
pub trait Model {
    type State: Clone + Ord;
    type Action;
    type Result;

    /// Before anything happened.
    fn initial(&self) -> Self::State;

    /// The state after `action`, if it could have been answered by `result`; without one, any
    /// answer will do.
    fn step(
        &self,
        state: &Self::State,
        action: &Self::Action,
        result: Option<&Self::Result>,
    ) -> Option<Self::State>;
}

/// What one client did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation<A, R> {
    /// When it was called; moments of one history are comparable.
    pub called: u64,
    /// When it returned, and with what. `None`: whether it took effect is unknown. An operation
    /// that certainly had no effect does not belong into a history.
    pub returned: Option<(u64, R)>,
    pub action: A,
    /// Where it claims to stand in the order; a hint, and no more.
    pub witness: Option<u64>,
}

/// What the search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// There is an order that explains everything.
    Linearizable,
    /// There is none. The longest order that could be found stopped before the operation at this
    /// place returned.
    Violated { stuck: usize },
    /// Too many orders to try them all.
    Undecided,
}

/// Judges a history, giving up after `budget` steps. Operations may stand in any order.
pub fn check<M: Model>(
    model: &M,
    history: &[Operation<M::Action, M::Result>],
    budget: usize,
) -> Verdict {
    let mut order: Vec<usize> = (0..history.len()).collect();
    order.sort_by_key(|place| history[*place].called);
    let mut search = Search {
        model,
        history,
        taken: vec![false; order.len()],
        first: 0,
        left: history.iter().filter(|operation| operation.returned.is_some()).count(),
        seen: BTreeSet::new(),
        furthest: (usize::MAX, 0),
        order,
    };
    search.run(budget)
}

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [Operation<M::Action, M::Result>],
    /// Places in the history, by the moment of the call.
    order: Vec<usize>,
    /// By position in `order`.
    taken: Vec<bool>,
    /// The first position that is not taken.
    first: usize,
    /// How many operations that returned are not taken.
    left: usize,
    seen: BTreeSet<(Vec<u64>, M::State)>,
    /// The fewest that were ever left, and the operation that returned first among them.
    furthest: (usize, usize),
}

/// What may be taken next, and the state before.
struct Choice<S> {
    candidates: Vec<usize>,
    next: usize,
    state: S,
    /// What was taken to come here.
    by: Option<usize>,
}

impl<M: Model> Search<'_, M> {
    fn run(&mut self, mut budget: usize) -> Verdict {
        let mut path = vec![self.choice(self.model.initial(), None)];
        while let Some(choice) = path.last_mut() {
            if self.left == 0 {
                return Verdict::Linearizable;
            }
            let Some(candidate) = choice.candidates.get(choice.next).copied() else {
                let by = choice.by;
                path.pop();
                by.into_iter().for_each(|position| self.give_back(position));
                continue;
            };
            choice.next += 1;
            let operation = &self.history[self.order[candidate]];
            let result = operation.returned.as_ref().map(|(_, result)| result);
            let state = self.model.step(&choice.state, &operation.action, result);
            let Some(state) = state else { continue };
            self.take(candidate);
            if !self.seen.insert((self.key(), state.clone())) {
                self.give_back(candidate);
                continue;
            }
            if budget == 0 {
                return Verdict::Undecided;
            }
            budget -= 1;
            path.push(self.choice(state, Some(candidate)));
        }
        Verdict::Violated { stuck: self.furthest.1 }
    }

    /// Whatever was called before the first of the rest returned.
    fn choice(&mut self, state: M::State, by: Option<usize>) -> Choice<M::State> {
        let mut candidates = Vec::new();
        let mut first_return = (u64::MAX, 0);
        for position in self.first..self.order.len() {
            if self.taken[position] {
                continue;
            }
            let operation = &self.history[self.order[position]];
            if operation.called > first_return.0 {
                break;
            }
            if let Some((returned, _)) = operation.returned
                && returned < first_return.0
            {
                first_return = (returned, self.order[position]);
            }
            candidates.push(position);
        }
        if self.left < self.furthest.0 {
            self.furthest = (self.left, first_return.1);
        }
        candidates.retain(|at| self.history[self.order[*at]].called <= first_return.0);
        let witness = |at: &usize| self.history[self.order[*at]].witness.unwrap_or(u64::MAX);
        candidates.sort_by_key(witness);
        Choice { candidates, next: 0, state, by }
    }

    fn take(&mut self, position: usize) {
        self.taken[position] = true;
        self.left -= usize::from(self.history[self.order[position]].returned.is_some());
        while self.taken.get(self.first) == Some(&true) {
            self.first += 1;
        }
    }

    fn give_back(&mut self, position: usize) {
        self.taken[position] = false;
        self.left += usize::from(self.history[self.order[position]].returned.is_some());
        self.first = self.first.min(position);
    }

    /// The set of operations taken: how many from the beginning on, and then a bit each.
    fn key(&self) -> Vec<u64> {
        let mut key = vec![self.first as u64];
        for bits in self.taken[self.first..].chunks(64) {
            let word = bits.iter().enumerate().map(|(i, taken)| u64::from(*taken) << i).sum();
            key.push(word);
        }
        while key.len() > 1 && key.last() == Some(&0) {
            key.pop();
        }
        key
    }
}

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
//! # What need not be tried
//! The search is exponential in the worst case. A model that gives the hints of [`Model`] spares it
//! most of that. Each rule leaves out orders only where, if any order works, so does one that is
//! left:
//!
//! 1. *A look costs nothing.* An answered operation that changes no state and fits the present one
//!    is taken at once, and nothing else is tried. Whatever order works with it later works with it
//!    now: it was called, and the others do not notice.
//! 2. *No way back.* If an answered operation that is left needs a state that is gone and that
//!    nothing left can make, this branch is dead, however many orders it still has.
//! 3. *Twins.* Of unknown operations that do the same, the one called first is taken first: swap
//!    them in any order that works, and it still does.
//! 4. *Junk.* A state that nobody ever needs is as good as any other such state. An unknown
//!    operation that leads there is worth taking only for an answer that the present state refuses
//!    ("it was something else"), and that comes before the next operation that forgets the state:
//!    if there is none, leave the unknown one out, and nobody notices. Where nothing *grows* a
//!    state (as an append does), what comes between changes nothing, and the unknown operation may
//!    as well be put off until right before that answer.
//!
//! Besides, each operation may bring a *witness*, such as the revision that its answer carried: the
//! search tries candidates in the order of the witnesses, and for a right history hardly ever has
//! to go back.
//!
//! # Caveats
//! It gives up after so many steps, or when it is told to ([`Verdict::Undecided`]): giving up is
//! not an answer. A set of operations is remembered by the sum of its members' 128-bit hashes: that
//! two sets met in one search share it is less likely (10⁻²⁴ for ten million) than that the memory
//! which holds them errs.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_128;

pub use super::model::{Model, Operation};

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

/// How long a search may take. Each step is one state remembered, some 64 bytes.
pub struct Budget<'a> {
    /// Steps that are left; searches that share a budget share them.
    pub steps: u64,
    /// Asked now and then, with the steps that are left: false ends the search.
    pub go_on: &'a mut dyn FnMut(u64) -> bool,
}

impl Budget<'_> {
    fn spend(&mut self) -> bool {
        let asks = self.steps.is_multiple_of(1024);
        if self.steps == 0 || (asks && !(self.go_on)(self.steps)) {
            return false;
        }
        self.steps -= 1;
        true
    }
}

/// Judges a history, giving up after `steps`. Operations may stand in any order.
pub fn check<M: Model>(
    model: &M,
    history: &[Operation<M::Action, M::Result>],
    steps: u64,
) -> Verdict {
    check_within(model, history, &mut Budget { steps, go_on: &mut |_| true })
}

/// Judges a history, giving up as `budget` says.
pub fn check_within<M: Model>(
    model: &M,
    history: &[Operation<M::Action, M::Result>],
    budget: &mut Budget<'_>,
) -> Verdict {
    let mut search = Search::new(model, history);
    match search.never_possible() {
        Some(stuck) => Verdict::Violated { stuck },
        None => search.run(budget),
    }
}

/// How many operations ahead are looked at for one that has become impossible.
const LOOK_AHEAD: usize = 64;
/// Beyond so many pairs of states it is not asked which may grow into which: all may.
const MAX_PAIRS: usize = 20_000_000;
/// What may be taken next, at all places on the way: beyond so much memory (some 24 bytes each) it
/// is given up.
const MAX_HELD: usize = 20_000_000;
/// The end of a list.
const NONE: usize = usize::MAX;

/// What the model says of an operation, and its neighbours in the list of those not taken.
struct Node {
    place: usize,
    looks: bool,
    grows: bool,
    needs: Option<usize>,
    makes: Option<usize>,
    /// The unknown operation that does the same and was called before.
    twin: Option<usize>,
    taken: bool,
    before: usize,
    after: usize,
}

/// A state that some operation needs or makes, and how many of those left do.
struct Known<S> {
    state: S,
    needed: usize,
    made: usize,
    /// States from which it may have grown.
    roots: Vec<usize>,
}

struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [Operation<M::Action, M::Result>],
    /// In the order of their calls.
    nodes: Vec<Node>,
    /// The first node that is not taken.
    first: usize,
    known: Vec<Known<M::State>>,
    places: BTreeMap<M::State, usize>,
    /// Where `roots` was too much work.
    any_root: bool,
    /// Of those not taken: how many returned, and how many grow.
    left: usize,
    growing: usize,
    /// The hash of the set of those taken.
    set: u128,
    seen: BTreeSet<(u128, M::State)>,
    /// The fewest that were ever left, and the operation that returned first among them.
    furthest: (usize, usize),
}

/// What may be taken next, with the state after it.
struct Choice<S> {
    candidates: Vec<(usize, S)>,
    next: usize,
    state: S,
    /// What was taken to come here.
    by: Option<usize>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, history: &'a [Operation<M::Action, M::Result>]) -> Self {
        let mut search = Search {
            model,
            history,
            nodes: Vec::with_capacity(history.len()),
            first: if history.is_empty() { NONE } else { 0 },
            known: Vec::new(),
            places: BTreeMap::new(),
            any_root: false,
            left: 0,
            growing: 0,
            set: 0,
            seen: BTreeSet::new(),
            furthest: (NONE, 0),
        };
        let mut order: Vec<usize> = (0..history.len()).collect();
        order.sort_by_key(|place| history[*place].called);
        let mut twins = BTreeMap::new();
        for (at, place) in order.into_iter().enumerate() {
            let Operation { action, returned, .. } = &history[place];
            let result = returned.as_ref().map(|(_, result)| result);
            let looks = model.only_looks(action, result);
            let needs = result.and_then(|result| model.needs(action, result));
            let makes = if looks { None } else { model.makes(action) };
            let node = Node {
                place,
                looks,
                grows: !looks && makes.is_none(),
                needs: needs.map(|state| search.known(state)),
                makes: makes.map(|state| search.known(state)),
                twin: if result.is_none() { twins.insert(action, at) } else { None },
                taken: true,
                before: at.checked_sub(1).unwrap_or(NONE),
                after: if at + 1 < history.len() { at + 1 } else { NONE },
            };
            search.nodes.push(node);
            search.count(at, false);
        }
        search.find_roots();
        search
    }

    /// The place of a state among those known.
    fn known(&mut self, state: M::State) -> usize {
        let next = self.known.len();
        let place = *self.places.entry(state).or_insert(next);
        if place == next {
            self.known.push(Known { state, needed: 0, made: 0, roots: Vec::new() });
        }
        place
    }

    fn find_roots(&mut self) {
        if self.growing == 0 {
            return;
        }
        let made: Vec<usize> = (0..self.known.len()).filter(|k| self.known[*k].made > 0).collect();
        let needed = self.known.iter().filter(|known| known.needed > 0).count();
        self.any_root = made.len().saturating_mul(needed) > MAX_PAIRS;
        if self.any_root {
            return;
        }
        for place in 0..self.known.len() {
            let Known { state, needed, .. } = self.known[place];
            if needed > 0 {
                let may = |from: &usize| self.model.may_grow(self.known[*from].state, state);
                self.known[place].roots = made.iter().copied().filter(may).collect();
            }
        }
    }

    /// An operation that needs what never was and never will be.
    fn never_possible(&self) -> Option<usize> {
        let initial = self.model.initial();
        let lost = |node: &&Node| node.needs.is_some_and(|needs| self.is_lost(needs, initial));
        self.nodes.iter().find(lost).map(|node| node.place)
    }

    fn run(&mut self, budget: &mut Budget<'_>) -> Verdict {
        let mut path = vec![self.choice(self.model.initial(), None)];
        let mut held = 0_usize;
        while let Some(choice) = path.last_mut() {
            if self.left == 0 {
                return Verdict::Linearizable;
            }
            let Some((candidate, state)) = choice.candidates.get(choice.next).copied() else {
                let by = choice.by;
                held = held.saturating_sub(choice.candidates.len());
                path.pop();
                by.into_iter().for_each(|at| self.give_back(at));
                continue;
            };
            choice.next += 1;
            let before = choice.state;
            self.take(candidate);
            if (state != before && self.is_dead(before, state))
                || !self.seen.insert((self.set, state))
            {
                self.give_back(candidate);
                continue;
            }
            if !budget.spend() {
                return Verdict::Undecided;
            }
            let choice = self.choice(state, Some(candidate));
            held += choice.candidates.len();
            if held > MAX_HELD {
                return Verdict::Undecided;
            }
            path.push(choice);
        }
        Verdict::Violated { stuck: self.furthest.1 }
    }

    /// Whatever was called before the first of the rest returned, and fits.
    fn choice(&mut self, state: M::State, by: Option<usize>) -> Choice<M::State> {
        let mut first_return = (u64::MAX, 0);
        let mut called = Vec::new();
        let mut at = self.first;
        while at != NONE {
            let node = &self.nodes[at];
            let operation = &self.history[node.place];
            if operation.called > first_return.0 {
                break;
            }
            if let Some((returned, _)) = operation.returned
                && returned < first_return.0
            {
                first_return = (returned, node.place);
            }
            called.push(at);
            at = node.after;
        }
        if self.left < self.furthest.0 {
            self.furthest = (self.left, first_return.1);
        }
        called.retain(|at| self.operation(*at).called <= first_return.0);
        let candidates = self.candidates(state, &called);
        Choice { candidates, next: 0, state, by }
    }

    fn candidates(&self, state: M::State, called: &[usize]) -> Vec<(usize, M::State)> {
        let mut candidates = Vec::new();
        let wants = OnceCell::new();
        let wants_junk = || *wants.get_or_init(|| self.wants_junk(state, called));
        for &at in called {
            let (node, operation) = (&self.nodes[at], self.operation(at));
            if node.twin.is_some_and(|twin| !self.nodes[twin].taken) {
                continue;
            }
            let Some(after) = self.step(at, state) else { continue };
            if operation.returned.is_some() {
                if node.looks {
                    return vec![(at, after)];
                }
            } else {
                let useless = self.model.is_junk(after) && !wants_junk();
                if after == state || useless {
                    continue;
                }
            }
            candidates.push((at, after));
        }
        // Those of unknown outcome last: most of them are not needed. Without witnesses, whoever
        // returned first probably took effect first.
        let rank = |(at, _): &(usize, M::State)| {
            let Operation { returned, witness, .. } = self.operation(*at);
            let returned = returned.as_ref().map_or(u64::MAX, |(returned, _)| *returned);
            (witness.unwrap_or(u64::MAX), returned)
        };
        candidates.sort_by_key(rank);
        candidates
    }

    fn operation(&self, at: usize) -> &'a Operation<M::Action, M::Result> {
        &self.history[self.nodes[at].place]
    }

    fn step(&self, at: usize, state: M::State) -> Option<M::State> {
        let Operation { action, returned, .. } = self.operation(at);
        self.model.step(state, action, returned.as_ref().map(|(_, result)| result))
    }

    /// Rule 4.
    fn wants_junk(&self, state: M::State, called: &[usize]) -> bool {
        let refuses = |at: usize| {
            let Operation { action, returned, .. } = self.operation(at);
            returned.as_ref().and_then(|(_, result)| self.model.refuses(action, result))
        };
        if self.growing == 0 {
            return called.iter().any(|at| refuses(*at) == Some(state));
        }
        // Whoever was called after a forgetful operation had returned comes after it.
        let mut forgotten = u64::MAX;
        for (at, node) in self.rest() {
            let operation = &self.history[node.place];
            if operation.called > forgotten {
                break;
            }
            if refuses(at).is_some_and(|r| r == state || self.model.may_grow(state, r)) {
                return true;
            }
            if let Some((returned, _)) = operation.returned
                && node.makes.is_some()
            {
                forgotten = forgotten.min(returned);
            }
        }
        false
    }

    /// Those not taken, in the order of their calls.
    fn rest(&self) -> impl Iterator<Item = (usize, &Node)> {
        let node = |at: usize| Some((at, self.nodes.get(at)?));
        std::iter::successors(node(self.first), move |(_, last)| node(last.after))
    }

    /// Rule 2: whether, now that `before` has become `state`, something left can never be answered.
    fn is_dead(&mut self, before: M::State, state: M::State) -> bool {
        let gone = self.places.get(&before).copied().filter(|gone| self.is_lost(*gone, state));
        if gone.is_none() && self.growing == 0 {
            return false;
        }
        let is_stuck = |node: &&Node| match gone {
            Some(_) => node.needs == gone,
            None => node.needs.is_some_and(|needs| self.is_lost(needs, state)),
        };
        let rest = || self.rest().take(LOOK_AHEAD).map(|(_, node)| node);
        let stuck = rest().find(is_stuck).map(|node| node.place);
        if let Some(stuck) = stuck
            && self.left <= self.furthest.0
        {
            self.furthest = (self.left, stuck);
        }
        gone.is_some() || stuck.is_some()
    }

    /// Whether a known state is needed, and can never be again.
    fn is_lost(&self, place: usize, state: M::State) -> bool {
        let known = &self.known[place];
        if known.needed == 0 || known.made > 0 || known.state == state {
            return false;
        }
        let has_root = || known.roots.iter().any(|root| self.known[*root].made > 0);
        let grows = self.growing > 0
            && (self.any_root || self.model.may_grow(state, known.state) || has_root());
        !grows
    }

    fn take(&mut self, at: usize) {
        let Node { before, after, .. } = self.nodes[at];
        match self.nodes.get_mut(before) {
            Some(node) => node.after = after,
            None => self.first = after,
        }
        if let Some(node) = self.nodes.get_mut(after) {
            node.before = before;
        }
        self.count(at, true);
    }

    /// Undoes [`Self::take`]; the last one taken is given back first.
    fn give_back(&mut self, at: usize) {
        let Node { before, after, .. } = self.nodes[at];
        match self.nodes.get_mut(before) {
            Some(node) => node.after = at,
            None => self.first = at,
        }
        if let Some(node) = self.nodes.get_mut(after) {
            node.before = at;
        }
        self.count(at, false);
    }

    /// Counts an operation out, or in again.
    fn count(&mut self, at: usize, out: bool) {
        let returned = self.operation(at).returned.is_some();
        let node = &mut self.nodes[at];
        node.taken = out;
        let add = |counter: &mut usize, counts: bool| match out {
            true => *counter -= usize::from(counts),
            false => *counter += usize::from(counts),
        };
        add(&mut self.left, returned);
        add(&mut self.growing, node.grows);
        if let Some(needs) = node.needs {
            add(&mut self.known[needs].needed, true);
        }
        if let Some(makes) = node.makes {
            add(&mut self.known[makes].made, true);
        }
        let hash = xxh3_128(&(at as u64).to_le_bytes());
        self.set = match out {
            true => self.set.wrapping_add(hash),
            false => self.set.wrapping_sub(hash),
        };
    }
}

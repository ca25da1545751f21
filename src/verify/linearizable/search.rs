//! The search itself; why each rule is enough stands [above](super).

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_128;

use super::{Budget, Model, Operation, Verdict};

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
    /// What it looks for, what of that it must find, and what it may leave for others to see.
    seeks: Vec<usize>,
    musts: Vec<usize>,
    shows: Vec<usize>,
    /// What it must not come after, if it is unknown; and what it is itself of that.
    fears: Vec<usize>,
    spoils: Vec<usize>,
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

pub(super) struct Search<'a, M: Model> {
    model: &'a M,
    history: &'a [Operation<M::Action, M::Result>],
    /// In the order of their calls.
    nodes: Vec<Node>,
    /// The first node that is not taken.
    first: usize,
    known: Vec<Known<M::State>>,
    places: BTreeMap<M::State, usize>,
    /// The numbers of what can be looked for.
    facets: BTreeMap<M::Facet, usize>,
    /// By number: how many of those left look for it, must find it, may show it.
    seekers: Vec<usize>,
    needed: Vec<usize>,
    shown: Vec<usize>,
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
    pub fn new(model: &'a M, history: &'a [Operation<M::Action, M::Result>]) -> Self {
        let mut search = Search {
            model,
            history,
            nodes: Vec::with_capacity(history.len()),
            first: if history.is_empty() { NONE } else { 0 },
            known: Vec::new(),
            places: BTreeMap::new(),
            facets: BTreeMap::new(),
            seekers: Vec::new(),
            needed: Vec::new(),
            shown: Vec::new(),
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
                seeks: search.numbers(model.seeks(action, result)),
                musts: match result {
                    Some(result) => search.numbers(model.must_find(action, result)),
                    None => Vec::new(),
                },
                shows: if looks { Vec::new() } else { search.numbers(model.shows(action)) },
                fears: search.numbers(model.fears(action)),
                spoils: if looks { Vec::new() } else { search.numbers(model.spoils(action)) },
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

    /// The numbers of what can be looked for.
    fn numbers(&mut self, facets: Vec<M::Facet>) -> Vec<usize> {
        let number = |facet| {
            let next = self.facets.len();
            *self.facets.entry(facet).or_insert(next)
        };
        let numbers = facets.into_iter().map(number).collect();
        for counts in [&mut self.seekers, &mut self.needed, &mut self.shown] {
            counts.resize(self.facets.len(), 0);
        }
        numbers
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
    pub fn never_possible(&self) -> Option<usize> {
        let initial = self.model.initial();
        let lost = |node: &&Node| node.needs.is_some_and(|needs| self.is_lost(needs, initial));
        self.nodes.iter().find(lost).map(|node| node.place)
    }

    pub fn run(&mut self, budget: &mut Budget<'_>) -> Verdict {
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
            if (state != before && self.is_dead(candidate, before, state))
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
        let wanted = OnceCell::new();
        let timely = || wanted.get_or_init(|| self.wanted(called));
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
                let in_vain = || M::HAS_FACETS && !self.is_timely(node, timely());
                if after == state || useless || in_vain() {
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

    /// What those look for, and what they spoil: sorted.
    fn wanted(&self, called: &[usize]) -> (Vec<usize>, Vec<usize>) {
        let nodes = || called.iter().map(|at| &self.nodes[*at]);
        let mut sought: Vec<usize> = nodes().flat_map(|node| &node.seeks).copied().collect();
        let mut spoilt: Vec<usize> = nodes().flat_map(|node| &node.spoils).copied().collect();
        sought.sort_unstable();
        spoilt.sort_unstable();
        (sought, spoilt)
    }

    /// Rules 5 and 6: whether an unknown operation makes something that somebody looks for, and may
    /// have to come before one of those that were called.
    fn is_timely(&self, node: &Node, (sought, spoilt): &(Vec<usize>, Vec<usize>)) -> bool {
        let count = |facet: &usize| {
            let first = spoilt.partition_point(|it| it < facet);
            spoilt[first..].iter().take_while(|it| *it == facet).take(2).count()
        };
        let by_others = |facet: &usize| count(facet) > usize::from(node.spoils.contains(facet));
        node.shows.iter().any(|facet| self.seekers[*facet] > 0)
            && (node.shows.iter().any(|facet| sought.binary_search(facet).is_ok())
                || node.fears.iter().any(by_others))
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
    fn is_dead(&mut self, taken: usize, before: M::State, state: M::State) -> bool {
        let gone = self.model.gone(before, state, &self.operation(taken).action);
        let gone = gone.iter().filter_map(|facet| self.facets.get(facet));
        if gone.into_iter().any(|facet| self.needed[*facet] > 0 && self.shown[*facet] == 0) {
            return true;
        }
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
        let lists = [&node.seeks, &node.musts, &node.shows];
        let counts = [&mut self.seekers, &mut self.needed, &mut self.shown];
        for (list, counts) in lists.into_iter().zip(counts) {
            list.iter().for_each(|facet| add(&mut counts[*facet], true));
        }
        let hash = xxh3_128(&(at as u64).to_le_bytes());
        self.set = match out {
            true => self.set.wrapping_add(hash),
            false => self.set.wrapping_sub(hash),
        };
    }
}

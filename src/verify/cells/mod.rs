//! The model of several keys that are changed together: by transactions, by leases that end.
//!
//! Each key is a *cell*: its value, and the lease that it is attached to. A lease is a cell, too,
//! which holds something for as long as it lives. What a client does is a list of steps that take
//! effect at one moment, if what they look for is there.
//!
//! Judging many keys at once is dear: some thousand operations that transactions tie together are
//! judged in a moment where few outcomes are unknown, and a few hundred where one of twenty is.
//! Beyond that the search may give up, and says so.
//!
//! What a state needs and makes is no single state here, as it is in
//! [`register`](super::register). The hints of this [`Model`] are others: who looks at which cell
//! for what, and what cannot come after what.

mod states;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

pub use self::states::State;
use self::states::States;
use super::linearizable::{self, Budget, Model, Operation, Verdict};
use super::values::{self, Values};

/// One step of what takes effect together. Cells are named by their places among a history's keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The cell has this value, or nothing of the whole takes effect.
    Look {
        cell: usize,
        value: Option<Bytes>,
    },
    Set {
        cell: usize,
        value: Option<Bytes>,
        lease: Option<usize>,
    },
    Append {
        cell: usize,
        more: Bytes,
        lease: Option<usize>,
    },
    /// The lease ends, and all that is attached to it goes.
    End {
        lease: usize,
    },
}

/// What a lease's cell holds while it lives.
pub const ALIVE: Bytes = Bytes::from_static(b"alive");

/// What a client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// All took effect.
    Done,
    /// Something else was there than what was looked for.
    Mismatch,
}

pub type Cells = Operation<Vec<Step>, Told>;

/// Judges what was done to these cells, giving up as `budget` says.
pub fn check_within(history: &[Cells], budget: &mut Budget<'_>) -> Verdict {
    let store = Store::of(history);
    let compiled: Vec<_> = history.iter().map(|operation| store.compile(operation)).collect();
    let verdict = linearizable::check_within(&store, &compiled, budget);
    if store.states.borrow().is_full { Verdict::Undecided } else { verdict }
}

/// What a cell holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    value: values::State,
    lease: Option<u32>,
}

const EMPTY: Cell = Cell { value: values::State::Absent, lease: None };

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Compiled {
    Look(u32, values::State),
    Set(u32, Cell),
    Append(u32, Bytes, Option<u32>),
    End(u32),
}

struct Store {
    values: Values,
    /// The numbers of the cells.
    places: BTreeMap<usize, u32>,
    /// Whatever is ever attached to a lease.
    attached: BTreeMap<u32, BTreeSet<u32>>,
    /// Cells to which something is appended.
    grows: BTreeSet<u32>,
    states: RefCell<States>,
}

impl Store {
    fn of(history: &[Cells]) -> Store {
        let (mut mentioned, mut pieces) = (Vec::new(), BTreeSet::new());
        let mut places = BTreeMap::new();
        let (mut pairs, mut grows) = (Vec::new(), BTreeSet::new());
        let mut number = |cell: usize| {
            let next = places.len() as u32;
            *places.entry(cell).or_insert(next)
        };
        for step in history.iter().flat_map(|operation| &operation.action) {
            match step {
                Step::Look { cell, value } => {
                    mentioned.extend(value.clone());
                    number(*cell);
                }
                Step::Set { cell, lease, .. } | Step::Append { cell, lease, .. } => {
                    let cell = number(*cell);
                    pairs.extend(lease.map(|lease| (number(lease), cell)));
                    if let Step::Append { more, .. } = step {
                        pieces.insert(more.clone());
                        grows.insert(cell);
                    }
                }
                Step::End { lease } => {
                    number(*lease);
                }
            }
        }
        let mut attached: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        for (lease, cell) in pairs {
            attached.entry(lease).or_default().insert(cell);
        }
        let states = RefCell::new(States::of(places.len()));
        Store { values: Values::new(mentioned, pieces), places, attached, grows, states }
    }

    fn compile(&self, operation: &Cells) -> Operation<Vec<Compiled>, Told> {
        let number = |cell: &usize| self.places[cell];
        let step = |step: &Step| match step {
            Step::Look { cell, value } => {
                Compiled::Look(number(cell), self.values.state(value.as_ref()))
            }
            Step::Set { cell, value, lease } => {
                let (value, lease) = (self.values.state(value.as_ref()), lease.as_ref());
                Compiled::Set(number(cell), Cell { value, lease: lease.map(number) })
            }
            Step::Append { cell, more, lease } => {
                Compiled::Append(number(cell), more.clone(), lease.as_ref().map(number))
            }
            Step::End { lease } => Compiled::End(number(lease)),
        };
        Operation {
            called: operation.called,
            returned: operation.returned,
            action: operation.action.iter().map(step).collect(),
            witness: operation.witness,
        }
    }

    /// The cells that these steps touch, and whether they may change them.
    fn touched(&self, steps: &[Compiled]) -> Vec<(u32, bool)> {
        let mut touched = Vec::new();
        for step in steps {
            match step {
                Compiled::Look(cell, _) => touched.push((*cell, false)),
                Compiled::Set(cell, _) | Compiled::Append(cell, ..) => touched.push((*cell, true)),
                Compiled::End(lease) => {
                    touched.push((*lease, true));
                    let attached = self.attached.get(lease).into_iter().flatten();
                    touched.extend(attached.map(|cell| (*cell, true)));
                }
            }
        }
        touched
    }

    /// The state after these steps; `None`: something else was there than what they look for.
    fn after(&self, state: State, steps: &[Compiled]) -> Option<State> {
        let mut states = self.states.borrow_mut();
        let mut state = state;
        for step in steps {
            match step {
                Compiled::Look(cell, value) => {
                    if states.get(state, *cell as usize).value != *value {
                        return None;
                    }
                }
                Compiled::Set(cell, to) => state = states.set(state, *cell as usize, *to),
                Compiled::Append(cell, more, lease) => {
                    let before = states.get(state, *cell as usize).value;
                    let to = Cell { value: self.values.longer(before, more), lease: *lease };
                    state = states.set(state, *cell as usize, to);
                }
                Compiled::End(lease) => {
                    state = states.set(state, *lease as usize, EMPTY);
                    for cell in self.attached.get(lease).into_iter().flatten() {
                        if states.get(state, *cell as usize).lease == Some(*lease) {
                            state = states.set(state, *cell as usize, EMPTY);
                        }
                    }
                }
            }
        }
        Some(state)
    }
}

impl Model for Store {
    type State = State;
    type Action = Vec<Compiled>;
    type Result = Told;
    type Facet = (u32, Facet);

    const HAS_FACETS: bool = true;

    fn initial(&self) -> State {
        self.states.borrow_mut().all(EMPTY)
    }

    fn step(&self, state: State, steps: &Vec<Compiled>, told: Option<&Told>) -> Option<State> {
        if self.states.borrow().is_full {
            return None;
        }
        let after = self.after(state, steps);
        match told {
            Some(Told::Done) => after,
            Some(Told::Mismatch) if after.is_some() => None,
            Some(Told::Mismatch) => Some(state),
            None => Some(after.unwrap_or(state)),
        }
    }

    fn only_looks(&self, steps: &Vec<Compiled>, told: Option<&Told>) -> bool {
        told == Some(&Told::Mismatch) || steps.iter().all(|step| matches!(step, Compiled::Look(..)))
    }

    fn seeks(&self, steps: &Vec<Compiled>, told: Option<&Told>) -> Vec<(u32, Facet)> {
        let mut seeks = Vec::new();
        for step in steps {
            match step {
                Compiled::Look(cell, value) => {
                    seeks.extend([(*cell, Facet::Value(*value)), (*cell, Facet::Any)]);
                    if told == Some(&Told::Mismatch) {
                        seeks.push((*cell, Facet::AnyOther));
                    }
                }
                // It takes what is there along.
                Compiled::Append(cell, ..) => seeks.push((*cell, Facet::Any)),
                _ => {}
            }
        }
        seeks
    }

    fn must_find(&self, steps: &Vec<Compiled>, told: &Told) -> Vec<(u32, Facet)> {
        let mut must = Vec::new();
        let mut changed = BTreeSet::new();
        for step in steps.iter().filter(|_| *told == Told::Done) {
            match step {
                Compiled::Look(cell, value)
                    if !self.grows.contains(cell) && !changed.contains(cell) =>
                {
                    must.push((*cell, Facet::Value(*value)));
                }
                Compiled::Set(cell, _) => drop(changed.insert(*cell)),
                _ => {}
            }
        }
        must
    }

    fn gone(&self, before: State, after: State, steps: &Vec<Compiled>) -> Vec<(u32, Facet)> {
        let states = self.states.borrow();
        let touched = self
            .touched(steps)
            .into_iter()
            .filter(|(cell, changes)| *changes && !self.grows.contains(cell));
        let was = touched.filter_map(|(cell, _)| {
            let (was, is) = (states.get(before, cell as usize), states.get(after, cell as usize));
            (was.value != is.value).then_some((cell, Facet::Value(was.value)))
        });
        was.collect()
    }

    fn shows(&self, steps: &Vec<Compiled>) -> Vec<(u32, Facet)> {
        let mut shows = Vec::new();
        let mut show = |cell: u32, value: values::State| match self.grows.contains(&cell) {
            // It may grow to whatever is looked for.
            true => shows.push((cell, Facet::Any)),
            false => shows.extend([(cell, Facet::Value(value)), (cell, Facet::AnyOther)]),
        };
        for step in steps {
            match step {
                Compiled::Look(..) => {}
                Compiled::Set(cell, to) => {
                    show(*cell, to.value);
                    // What is attached to a lease goes with it.
                    to.lease.iter().for_each(|_| show(*cell, EMPTY.value));
                }
                Compiled::Append(cell, ..) => show(*cell, values::State::Junk),
                Compiled::End(lease) => {
                    let attached = self.attached.get(lease).into_iter().flatten();
                    attached.chain([lease]).for_each(|cell| show(*cell, EMPTY.value));
                }
            }
        }
        shows
    }

    fn fears(&self, steps: &Vec<Compiled>) -> Vec<(u32, Facet)> {
        let touched = self.touched(steps);
        // What changes one cell, and looks at no other, is gone when that is changed again. If it
        // looks at that one, it must come before a lease's end that takes it along.
        if let [.., Compiled::Set(cell, Cell { lease: None, .. })] = steps[..]
            && touched.iter().all(|(it, _)| *it == cell)
            && (steps.len() == 1 || !self.attached.values().any(|cells| cells.contains(&cell)))
        {
            return Vec::new();
        }
        touched.into_iter().map(|(cell, _)| (cell, Facet::Changed)).collect()
    }

    fn spoils(&self, steps: &Vec<Compiled>) -> Vec<(u32, Facet)> {
        let mut changed: Vec<u32> =
            self.touched(steps).into_iter().filter(|it| it.1).map(|it| it.0).collect();
        changed.sort_unstable();
        changed.dedup();
        changed.into_iter().map(|cell| (cell, Facet::Changed)).collect()
    }
}

/// What can be looked for in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Facet {
    Value(values::State),
    /// A value that is another than the one that was wanted.
    AnyOther,
    Any,
    /// Not a value: that it is changed.
    Changed,
}

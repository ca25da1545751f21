//! One subject: a key, or several that are changed together.
//!
//! Several are judged in two steps. Each key alone first, by the search that knows most of one key
//! ([`register`](crate::verify::register)): what each operation did to the others is left out, and
//! of a lease's end it is only said that it may have taken the key along. If the whole can be
//! explained, so can that, so a contradiction there is one of the whole, and a short one. Only what
//! passes goes to the search that knows all of them at once ([`cells`](crate::verify::cells)).

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::durability::is_lost;
use super::leases::Expiry;
use super::steps::{alone, together};
use super::{Judged, Property, Violation, Why, revisions, tokens};
use crate::verify::cells::{self, Step};
use crate::verify::history::{Call, Deed, History, Kind, Outcome};
use crate::verify::linearizable::{self, Budget, Verdict};
use crate::verify::register::Action;
use crate::verify::shrink::{Item, Part, shrink};
use crate::verify::story::{self, Told};

/// The subjects of a history: the keys of each, and the operations that are about them.
pub fn subjects(history: &History) -> Vec<(Vec<usize>, Vec<usize>)> {
    let mut parents: Vec<usize> = (0..history.keys.len()).collect();
    for operation in &history.operations {
        for key in touched(operation) {
            let (a, b) = (root(&mut parents, operation.key), root(&mut parents, key));
            // The first one is the root, so that subjects stand in the order of their first keys.
            parents[a.max(b)] = a.min(b);
        }
    }
    let mut subjects: Vec<(Vec<usize>, Vec<usize>)> = vec![Default::default(); parents.len()];
    for key in 0..parents.len() {
        subjects[root(&mut parents, key)].0.push(key);
    }
    for (place, operation) in history.operations.iter().enumerate() {
        subjects[root(&mut parents, operation.key)].1.push(place);
    }
    // What only a watch told of is nobody's operation: it is judged with the watch.
    subjects.retain(|(keys, places)| !keys.is_empty() && !places.is_empty());
    subjects
}

/// The other keys that an operation is about.
fn touched(operation: &crate::verify::history::Operation) -> impl Iterator<Item = usize> {
    // What failed did nothing; what did not match, only looked.
    let (said, looked) = match operation.outcome {
        Outcome::Failed => (false, false),
        Outcome::Mismatch => (true, true),
        _ => (true, false),
    };
    let steps = match &operation.call {
        Call::Txn(steps) if said => steps.iter(),
        _ => [].iter(),
    };
    let is_meant =
        move |step: &&crate::verify::history::Step| !looked || matches!(step.deed, Deed::Check(_));
    let lease = operation.lease.filter(|_| said && !looked);
    steps.filter(is_meant).map(|step| step.key).chain(lease)
}

fn root(parents: &mut [usize], mut key: usize) -> usize {
    while parents[key] != key {
        parents[key] = parents[parents[key]];
        key = parents[key];
    }
    key
}

/// By key and lease: the values with which the one was attached to the other; `None` if they are
/// not known, because something was appended.
type Attached = BTreeMap<(usize, usize), Option<BTreeSet<Bytes>>>;

fn attached(items: &[Item<Vec<Step>>]) -> Attached {
    let mut attached = Attached::new();
    for step in items.iter().flat_map(|item| &item.operation.action) {
        match step {
            Step::Set { cell, value: Some(value), lease: Some(lease) } => {
                let values = attached.entry((*cell, *lease)).or_insert_with(|| Some([].into()));
                values.iter_mut().for_each(|values| {
                    values.insert(value.clone());
                });
            }
            Step::Append { cell, lease: Some(lease), .. } => {
                attached.insert((*cell, *lease), None);
            }
            _ => {}
        }
    }
    attached
}

/// What may have changed, or looked at, each key.
fn by_key<'i>(
    items: &'i [Item<Vec<Step>>],
    attached: &Attached,
) -> BTreeMap<usize, Vec<&'i Item<Vec<Step>>>> {
    let mut ends: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    attached.keys().for_each(|(key, lease)| ends.entry(*lease).or_default().push(*key));
    let mut by_key: BTreeMap<usize, Vec<&Item<Vec<Step>>>> = BTreeMap::new();
    for item in items {
        let mut keys = BTreeSet::new();
        for step in &item.operation.action {
            match step {
                Step::Look { cell, .. } | Step::Set { cell, .. } | Step::Append { cell, .. } => {
                    keys.insert(*cell);
                }
                Step::End { lease } => {
                    keys.insert(*lease);
                    keys.extend(ends.get(lease).into_iter().flatten());
                }
            }
        }
        keys.into_iter().for_each(|key| by_key.entry(key).or_default().push(item));
    }
    by_key
}

/// What was done to one key; nothing if it cannot be told without the others.
fn of_one(key: usize, items: &[&Item<Vec<Step>>], attached: &Attached) -> Option<Vec<Item>> {
    let mut of_one = Vec::new();
    for item in items {
        if let Some(operation) = alone(key, &item.operation).ok()? {
            of_one.push(Item { place: item.place, operation });
        }
        for step in &item.operation.action {
            let Step::End { lease } = step else { continue };
            let Some(values) = attached.get(&(key, *lease)) else { continue };
            // Whatever was attached to it may go with it, and nobody is told.
            let called = item.operation.called;
            of_one.extend(values.as_ref()?.iter().map(|value| {
                let expected = Some(value.clone());
                let action = Action::CompareAndSwap { expected, value: None };
                let (returned, witness) = (None, None);
                let operation = linearizable::Operation { called, returned, action, witness };
                Item { place: item.place, operation }
            }));
        }
    }
    Some(of_one)
}

/// Steps of the search for one key of several: what is hard alone may be easy together.
const MAX_STEPS_ALONE: u64 = 200_000;

/// What is needed to judge a subject.
pub struct Judge<'a> {
    pub history: &'a History,
    pub keys: &'a [usize],
    pub places: &'a [usize],
    pub expiries: &'a [Expiry],
    /// Whether a contradiction is made small.
    pub small: bool,
}

impl Judge<'_> {
    pub fn judge(&self, steps: u64, go_on: &mut dyn FnMut(u64) -> bool) -> Judged {
        let about = self.about();
        let data = || about.iter().filter(|(key, _)| self.history.keys[**key].kind == Kind::Data);
        let whole = |part: Vec<usize>| -> Vec<Told> {
            part.into_iter().map(|it| Told::whole(self.history, it)).collect()
        };
        for (key, places) in data() {
            if let Some((part, why)) = revisions::contradiction(self.history, *key, places) {
                return self.violated(Property::Revisions, &whole(part), why.to_owned());
            }
        }
        let judged = self.search(steps, go_on);
        if matches!(judged, Judged::Violated(_)) {
            return judged;
        }
        // Of two who hold a lock at once their tokens say less.
        let mut tokens =
            data().filter_map(|(key, places)| tokens::contradiction(self.history, *key, places));
        match tokens.next() {
            Some((part, why)) => self.violated(Property::Locks, &whole(part), why),
            None => judged,
        }
    }

    fn search(&self, steps: u64, go_on: &mut dyn FnMut(u64) -> bool) -> Judged {
        let items = self.items();
        let attached = attached(&items);
        let mut undecided = false;
        let mut entangled = self.keys.len() > 1 || items.iter().any(says_more_together);
        // Alone is a short cut where all together are judged in the end.
        let steps_alone = if entangled { steps.min(MAX_STEPS_ALONE) } else { steps };
        for (key, items) in by_key(&items, &attached) {
            if !go_on(0) {
                return Judged::Unknown(Why::Stopped);
            }
            let Some(items) = of_one(key, &items, &attached) else {
                entangled = true;
                continue;
            };
            match check(&items, steps_alone, go_on) {
                Verdict::Linearizable => {}
                Verdict::Undecided => undecided = true,
                Verdict::Violated { .. } => return self.contradiction_of_one(key, items, go_on),
            }
        }
        if !entangled {
            return if undecided { Judged::Unknown(Why::Steps) } else { Judged::Valid };
        }
        match check(&items, steps, go_on) {
            Verdict::Linearizable => Judged::Valid,
            Verdict::Undecided => Judged::Unknown(Why::Steps),
            Verdict::Violated { .. } => {
                let part = if self.small { shrink(items, go_on) } else { items };
                let why = "There is no order of these, each at one moment between its call and its \
                           answer, that explains what they were told.";
                self.violated(self.property(&part), &told(&part), why.to_owned())
            }
        }
    }

    /// The operations that are about each key.
    fn about(&self) -> BTreeMap<usize, Vec<usize>> {
        let mut about: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for place in self.places {
            let operation = &self.history.operations[*place];
            let mut keys: Vec<usize> = touched(operation).chain([operation.key]).collect();
            keys.sort_unstable();
            keys.dedup();
            keys.into_iter().for_each(|key| about.entry(key).or_default().push(*place));
        }
        about
    }

    /// All that was done, with the ends of the leases at the places after the history's last.
    fn items(&self) -> Vec<Item<Vec<Step>>> {
        let operation = |place: usize| Some((place, together(self.history, place)?));
        let done = self.places.iter().filter_map(|place| operation(*place));
        let after = self.history.operations.len();
        let ends = self.expiries.iter().enumerate();
        let ends = ends.filter(|(_, expiry)| self.keys.binary_search(&expiry.lease).is_ok());
        let ends = ends.map(|(number, expiry)| (after + number, expiry.operation()));
        let mut items: Vec<Item<_>> =
            done.chain(ends).map(|(place, operation)| Item { place, operation }).collect();
        items.sort_by_key(|item| item.operation.called);
        items
    }

    fn contradiction_of_one(
        &self,
        key: usize,
        items: Vec<Item>,
        go_on: &mut dyn FnMut(u64) -> bool,
    ) -> Judged {
        let part = if self.small { shrink(items, go_on) } else { items };
        let mut property = self.property(&part);
        if property == Property::Linearizability && is_lost(self.history, key, self.places, &part) {
            property = Property::Durability;
        }
        let why = story::why_not(self.history, key, property, &part);
        self.violated(property, &told(&part), why)
    }

    /// What a contradiction is about.
    fn property<A: Part>(&self, part: &[Item<A>]) -> Property {
        let mut property = Property::Linearizability;
        for item in part {
            let operation = self.history.operations.get(item.place);
            let about = match operation.map(|it| (&it.call, it.lease)) {
                Some((Call::Acquire(_) | Call::Release(_), _)) => Property::Locks,
                None
                | Some((Call::Grant(_) | Call::KeepAlive | Call::Revoke, _) | (_, Some(_))) => {
                    Property::Leases
                }
                Some((Call::Txn(_), _)) => Property::Transactions,
                Some(_) => Property::Linearizability,
            };
            property = property.max(about);
        }
        property
    }

    fn violated(&self, property: Property, part: &[Told], why: String) -> Judged {
        let names = self.keys.len() > 1;
        let story = story::tell(self.history, self.expiries, part, names, why);
        let count = self.history.operations.len();
        let mut part: Vec<usize> = part.iter().map(|told| told.place).collect();
        part.retain(|place| *place < count);
        part.dedup();
        Judged::Violated(Box::new(Violation { property, part, story }))
    }
}

/// Whether it looked for more than one thing, and one of them was not there: of each alone, that
/// says nothing.
fn says_more_together(item: &Item<Vec<Step>>) -> bool {
    let is_mismatch = matches!(item.operation.returned, Some((_, cells::Told::Mismatch)));
    is_mismatch && item.operation.action.len() > 1
}

/// What the story tells of a part.
fn told<A: Part>(part: &[Item<A>]) -> Vec<Told> {
    let told = |item: &Item<A>| {
        let ended = item.operation.returned.as_ref().map(|(at, _)| *at);
        Told { place: item.place, called: item.operation.called, ended }
    };
    let mut told: Vec<Told> = part.iter().map(told).collect();
    // The end of a lease is told once, whatever it may take along.
    told.dedup_by_key(|told| told.place);
    told
}

fn check<A: Part>(items: &[Item<A>], steps: u64, go_on: &mut dyn FnMut(u64) -> bool) -> Verdict {
    if !go_on(steps) {
        return Verdict::Undecided;
    }
    let operations: Vec<_> = items.iter().map(|item| item.operation.clone()).collect();
    A::check(&operations, &mut Budget { steps, go_on })
}

//! Watches: every change, once, in order, and nothing that never was.
//!
//! Between the revision that a watch began from and the one that it came to, it was told of a list
//! of changes, and that list is judged by revisions, not by an order that somebody has to find:
//!
//! - *order*: revisions do not go back, none is told twice of one key, and all are of what was
//!   asked for;
//! - *completeness*: whatever an acknowledged write made within these revisions, or another watch
//!   was told of, is in the list;
//! - *truth*: each change is what its revision made, and somebody asked for it before the watch was
//!   told;
//! - *agreement*: who read a key, or deleted it, and was told the revision, saw it as the last
//!   change up to there had left it.
//!
//! # Caveats
//! An acknowledged write whose revision is not known (its answer had none) is not missed. Nor is a
//! delete that may have found nothing, nor the half of an unknown transaction whose other half was
//! told. Of what was appended, only the end is compared. Agreement begins at the first change of a
//! key that the watch was told of. What is done under the end of a lease is nobody's operation.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::{Judged, Property, Violation, Why};
use crate::verify::history::{Call, Change, Deed, Found, History, Kind, Operation, Outcome};
use crate::verify::story::{self, shown_value};

/// What a change left under its key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Left {
    Is(Option<Bytes>),
    EndsWith(Bytes),
}

/// What somebody saw under a key, and who.
type Look = (Option<Bytes>, usize);

/// What a history knows of changes, whoever tells.
pub struct Told {
    /// By revision and key: what acknowledged writes made, and which did.
    made: BTreeMap<(u64, usize), (Left, usize)>,
    /// By revision and key: what watches were told first, and which were.
    seen: BTreeMap<(u64, usize), (Option<Bytes>, usize)>,
    /// By key and revision: how it was then, as those say who read or deleted it.
    was: BTreeMap<(usize, u64), Vec<Look>>,
    /// By key and value: the revisions at which watches were told of it, and of which no
    /// acknowledged write says that it made them.
    unclaimed: BTreeMap<(usize, Bytes), BTreeSet<u64>>,
    /// By key and value: the operations that may have written it; of a delete, `None`.
    writers: BTreeMap<(usize, Option<Bytes>), Vec<usize>>,
    /// By key: what was appended, and by which operations.
    appended: BTreeMap<usize, Vec<(Bytes, usize)>>,
    /// Keys that were ever attached to a lease.
    attached: BTreeSet<usize>,
}

impl Told {
    pub fn of(history: &History) -> Told {
        let mut told = Told {
            made: BTreeMap::new(),
            seen: BTreeMap::new(),
            was: BTreeMap::new(),
            unclaimed: BTreeMap::new(),
            writers: BTreeMap::new(),
            appended: BTreeMap::new(),
            attached: Default::default(),
        };
        let is_watch = |it: &Operation| matches!(it.call, Call::Watch { .. });
        if !history.operations.iter().any(is_watch) {
            return told;
        }
        for (place, operation) in history.operations.iter().enumerate() {
            if let Outcome::Ok { found: Found::Changes { changes, .. }, .. } = &operation.outcome {
                for Change { revision, key, value } in changes {
                    let first = (value.clone(), place);
                    told.seen.entry((*revision, *key)).or_insert(first);
                }
            } else if !matches!(operation.outcome, Outcome::Failed | Outcome::Mismatch) {
                told.note(place, operation);
                told.look(place, operation);
            }
        }
        for ((revision, key), (value, _)) in &told.seen {
            if let Some(value) = value
                && !told.made.contains_key(&(*revision, *key))
            {
                let at = (*key, value.clone());
                told.unclaimed.entry(at).or_default().insert(*revision);
            }
        }
        told
    }

    /// Takes note of what an operation wrote, or may have written.
    fn note(&mut self, place: usize, operation: &Operation) {
        for (key, left, is_sure) in changes(&operation.call, operation.key) {
            match &left {
                Left::Is(value) => {
                    self.writers.entry((key, value.clone())).or_default().push(place);
                }
                Left::EndsWith(more) => {
                    self.appended.entry(key).or_default().push((more.clone(), place));
                }
            }
            if operation.lease.is_some() {
                self.attached.insert(key);
            }
            // The last step of a transaction stands.
            if let Some(rev) = operation.outcome.rev() {
                if is_sure {
                    self.made.insert((rev, key), (left, place));
                } else if self.made.get(&(rev, key)).is_some_and(|(_, by)| *by == place) {
                    self.made.remove(&(rev, key));
                }
            }
        }
    }

    /// Takes note of how a key was, as an operation says.
    fn look(&mut self, place: usize, operation: &Operation) {
        let Outcome::Ok { found, rev: Some(rev) } = &operation.outcome else { return };
        let mut note = |key, value: &Option<Bytes>| {
            let was = self.was.entry((key, *rev)).or_default();
            if was.iter().all(|(other, _)| other != value) {
                was.push((value.clone(), place));
            }
        };
        match (&operation.call, found) {
            (Call::Read, Found::Value(value)) => note(operation.key, value),
            (Call::Delete, _) => note(operation.key, &None),
            // Its reads come before its own changes, of which the revision is.
            (Call::Txn(steps), Found::Values(values)) if operation.call.only_looks() => {
                let reads = steps.iter().filter(|step| step.deed == Deed::Read);
                reads.zip(values).for_each(|(step, value)| note(step.key, value));
            }
            _ => {}
        }
    }

    /// The operations that may have made a change.
    fn may_have_made(&self, change: &Change) -> impl Iterator<Item = usize> {
        let writers = self.writers.get(&(change.key, change.value.clone())).into_iter().flatten();
        let value = change.value.clone().unwrap_or_default();
        let appended = self.appended.get(&change.key).into_iter().flatten();
        let appended = appended.filter(move |(more, _)| value.ends_with(more));
        writers.copied().chain(appended.map(|(_, place)| *place))
    }
}

/// What a call leaves under which keys, and whether it is sure that it changes them.
fn changes(call: &Call, key: usize) -> Vec<(usize, Left, bool)> {
    let is = |value: &Bytes| Left::Is(Some(value.clone()));
    match call {
        Call::Write(value) | Call::Acquire(value) | Call::Cas { new: Some(value), .. } => {
            vec![(key, is(value), true)]
        }
        Call::Append(more) => vec![(key, Left::EndsWith(more.clone()), true)],
        Call::Delete => vec![(key, Left::Is(None), false)],
        Call::Release(_) => vec![(key, Left::Is(None), true)],
        Call::Cas { old, new: None } => vec![(key, Left::Is(None), old.is_some())],
        Call::Txn(steps) => {
            let change = |step: &crate::verify::history::Step| match &step.deed {
                Deed::Write(value) => Some((step.key, is(value), true)),
                Deed::Append(more) => Some((step.key, Left::EndsWith(more.clone()), true)),
                Deed::Delete => Some((step.key, Left::Is(None), false)),
                Deed::Check(_) | Deed::Read => None,
            };
            steps.iter().filter_map(change).collect()
        }
        Call::Read | Call::Grant(_) | Call::KeepAlive | Call::Revoke | Call::Watch { .. } => {
            Vec::new()
        }
    }
}

/// What somebody did to make a change, with the key to follow.
fn did(change: &Change) -> String {
    match &change.value {
        Some(_) => format!("wrote {} to", shown_value(&change.value)),
        None => "deleted".to_owned(),
    }
}

/// Judges the watches of one range.
pub fn judge(
    history: &History,
    told: &Told,
    places: &[usize],
    go_on: &mut dyn FnMut(u64) -> bool,
) -> Judged {
    for &place in places {
        if !go_on(0) {
            return Judged::Unknown(Why::Stopped);
        }
        let operation = &history.operations[place];
        let Outcome::Ok { found: Found::Changes { changes, upto }, .. } = &operation.outcome else {
            continue;
        };
        let Call::Watch { from } = operation.call else { continue };
        let watch = Watch { history, told, place, operation, changes, from, upto: *upto };
        if let Some((other, why)) = watch.contradiction() {
            let mut part: Vec<usize> = other.into_iter().chain([place]).collect();
            part.sort_unstable();
            part.dedup();
            let lines: Vec<_> =
                part.iter().map(|place| story::Told::whole(history, *place)).collect();
            let story = story::tell(history, &[], &lines, true, why);
            let property = Property::Watches;
            return Judged::Violated(Box::new(Violation { property, part, story }));
        }
    }
    Judged::Valid
}

/// One watch, with what it was told.
struct Watch<'a> {
    history: &'a History,
    told: &'a Told,
    place: usize,
    operation: &'a Operation,
    changes: &'a [Change],
    from: u64,
    upto: u64,
}

/// Who else is part of a contradiction, and why it is one.
type Contradiction = (Option<usize>, String);

impl Watch<'_> {
    fn contradiction(&self) -> Option<Contradiction> {
        self.disorder()
            .map(|why| (None, why))
            .or_else(|| self.changes.iter().find_map(|change| self.untruth(change)))
            .or_else(|| self.gap())
            .or_else(|| self.disagreement())
    }

    fn name(&self, key: usize) -> &str {
        &self.history.keys[key].name
    }

    /// Whether a key is among those that are watched.
    fn is_watched(&self, key: usize) -> bool {
        let watched = &self.history.keys[self.operation.key];
        match watched.kind {
            Kind::Watched { prefix: true } => self.name(key).starts_with(&watched.name),
            _ => self.name(key) == watched.name,
        }
    }

    fn disorder(&self) -> Option<String> {
        let mut told = BTreeSet::new();
        let mut last = 0;
        for Change { revision, key, .. } in self.changes {
            let name = self.name(*key);
            let asked = (self.from..=self.upto).contains(revision) && self.is_watched(*key);
            if !asked {
                return Some(format!(
                    "It was told of revision {revision} of `{name}`, and that is nothing that it \
                     asked for, or was told to have come to."
                ));
            }
            if *revision < last {
                return Some(format!("It was told of revision {revision} after {last}."));
            }
            if !told.insert((revision, key)) {
                return Some(format!("It was told twice of revision {revision} of `{name}`."));
            }
            last = *revision;
        }
        None
    }

    /// A change that was not so.
    fn untruth(&self, change: &Change) -> Option<Contradiction> {
        let Change { revision, key, value } = change;
        let (name, shown) = (self.name(*key), shown_value(value));
        let other = |left: &str| {
            format!(
                "Revision {revision} left {left} under `{name}`, and the watch was told {shown}."
            )
        };
        if let Some((left, by)) = self.told.made.get(&(*revision, *key)) {
            match left {
                Left::Is(is) if is != value => return Some((Some(*by), other(&shown_value(is)))),
                Left::EndsWith(more) if !value.as_ref().is_some_and(|it| it.ends_with(more)) => {
                    return Some((Some(*by), other("something else")));
                }
                _ if self.history.operations[*by].called.line > self.ended() => {
                    return Some((Some(*by), self.too_early(change)));
                }
                Left::Is(_) => return None,
                // Two watches may have been told of different beginnings.
                Left::EndsWith(_) => {}
            }
        }
        if let Some((seen, by)) = self.told.seen.get(&(*revision, *key))
            && seen != value
        {
            return Some((Some(*by), other(&shown_value(seen))));
        }
        if self.told.made.contains_key(&(*revision, *key)) {
            return None;
        }
        let all = self.told.made.range((*revision, 0)..=(*revision, usize::MAX));
        let stranger = all.map(|(_, (_, by))| *by).find(|by| {
            let operation = &self.history.operations[*by];
            !changes(&operation.call, operation.key).iter().any(|(it, ..)| it == key)
        });
        if let Some(by) = stranger {
            let why = format!("Revision {revision} was the change of another key than `{name}`.");
            return Some((Some(by), why));
        }
        let mut early = None;
        let mut could = 0;
        for by in self.told.may_have_made(change) {
            let operation = &self.history.operations[by];
            if operation.outcome.rev().is_some_and(|rev| rev != *revision) {
                continue;
            }
            if operation.called.line > self.ended() {
                early = Some(by);
            } else if operation.outcome.rev().is_some() {
                return None;
            } else {
                could += 1;
            }
        }
        if could > 0 {
            return self.too_often(change, could);
        }
        // The end of a lease is nobody's deed.
        if value.is_none() && self.told.attached.contains(key) {
            return None;
        }
        let why = match early {
            Some(_) => self.too_early(change),
            None => format!("Nobody {} `{name}` at revision {revision}.", did(change)),
        };
        Some((early, why))
    }

    /// The line on which it was told.
    fn ended(&self) -> u64 {
        self.operation.ended.map_or(u64::MAX, |ended| ended.line)
    }

    fn too_early(&self, change: &Change) -> String {
        format!("It was told before anybody {} `{}`.", did(change), self.name(change.key))
    }

    /// More changes to a value than there are operations that may have made one.
    fn too_often(&self, change: &Change, could: usize) -> Option<Contradiction> {
        let value = change.value.clone()?;
        let seen = self.told.unclaimed.get(&(change.key, value))?.len();
        if seen <= could || self.told.appended.contains_key(&change.key) {
            return None;
        }
        let name = self.name(change.key);
        let why = format!(
            "Watches were told that {seen} revisions left {} under `{name}`, and only {could} of \
             those who wanted that may have done it.",
            shown_value(&change.value)
        );
        Some((None, why))
    }

    /// A change that it was not told of.
    fn gap(&self) -> Option<Contradiction> {
        if self.from > self.upto {
            return None;
        }
        let range = (self.from, 0)..=(self.upto, usize::MAX);
        let made = self.told.made.range(range.clone()).map(|(at, (_, by))| (*at, *by));
        let seen = self.told.seen.range(range).map(|(at, (_, by))| (*at, *by));
        let has = |revision: u64, key: usize| {
            let first = self.changes.partition_point(|change| change.revision < revision);
            let same = self.changes[first..].iter().take_while(|it| it.revision == revision);
            same.into_iter().any(|change| change.key == key)
        };
        let mut missing =
            made.chain(seen).filter(|((_, key), by)| *by != self.place && self.is_watched(*key));
        let ((revision, key), by) = missing.find(|((revision, key), _)| !has(*revision, *key))?;
        let why = format!(
            "Revision {revision} changed `{}`, and the watch, which went from revision {} to {}, \
             was not told.",
            self.name(key),
            self.from,
            self.upto
        );
        Some((Some(by), why))
    }

    /// Somebody who saw a key otherwise than the watch tells.
    fn disagreement(&self) -> Option<Contradiction> {
        let mut changes: BTreeMap<usize, Vec<&Change>> = BTreeMap::new();
        self.changes.iter().for_each(|it| changes.entry(it.key).or_default().push(it));
        for (key, changes) in changes {
            let first = (key, changes[0].revision.min(self.upto));
            let looks = self.told.was.range(first..=(key, self.upto));
            let looks = looks.flat_map(|(at, all)| all.iter().map(move |it| (at, it)));
            for ((_, revision), (was, by)) in looks {
                let after = changes.partition_point(|change| change.revision <= *revision);
                let last = changes[after - 1];
                if last.value != *was {
                    let why = format!(
                        "At revision {revision} `{}` was {}, and the last change up to there that \
                         the watch was told of, at {}, had left {}.",
                        self.name(key),
                        shown_value(was),
                        last.revision,
                        shown_value(&last.value),
                    );
                    return Some((Some(*by), why));
                }
            }
        }
        None
    }
}

//! The verdict on a whole history.
//!
//! Linearizability is *local*: a history is linearizable if that of each key is (Herlihy & Wing
//! 1990, theorem 1). So each key is judged alone, and one that is violated is enough for the whole,
//! whatever is unknown of the others.
//!
//! Three properties are told apart, since they point at different faults:
//!
//! - *linearizability*: some order explains all answers;
//! - *durability*, a special case: an acknowledged write that a later read, and every one after it,
//!   lacks. It is named so when the smallest contradiction says no more than that;
//! - *revisions*: of two writes of a key, the one that began after the other had ended has the
//!   higher revision. An order that explains the values may exist, and the numbers still lie.

use bytes::Bytes;

use super::history::{Call, History, Operation, Outcome};
use super::linearizable::{self, Budget, Verdict};
use super::register::{self, Action, Told};
use super::shrink::{Item, shrink};
use super::story::{Story, tell};

/// What is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    Linearizability,
    Durability,
    Revisions,
}

impl Property {
    pub const ALL: [Property; 3] =
        [Property::Linearizability, Property::Durability, Property::Revisions];

    pub fn name(self) -> &'static str {
        match self {
            Property::Linearizability => "linearizability",
            Property::Durability => "durability",
            Property::Revisions => "revisions",
        }
    }
}

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub property: Property,
    /// The smallest contradictory part that was found: places in the history, by call.
    pub part: Vec<usize>,
    pub story: Story,
}

/// Why there is no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The key took more steps than allowed.
    Steps,
    /// Whoever asked wants no more: the time is up.
    Stopped,
}

/// The verdict on a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    Valid,
    Violated(Box<Violation>),
    Unknown(Why),
}

/// Bounds of a judgement.
pub struct Limits<'a> {
    /// Steps of the search for each key; each is remembered, in some 64 bytes.
    pub steps: u64,
    /// Asked now and then, with the keys that are done: false ends the work.
    pub go_on: &'a mut dyn FnMut(usize) -> bool,
}

/// Contradictions of so many keys are made small; that others are violated, too, is only said.
const MAX_SHRUNK: usize = 10;

/// Judges each key; the verdicts stand in the order of [`History::keys`].
pub fn judge(history: &History, limits: Limits<'_>) -> Vec<Judged> {
    let mut places = vec![Vec::new(); history.keys.len()];
    for (place, operation) in history.operations.iter().enumerate() {
        places[operation.key].push(place);
    }
    let Limits { steps, go_on } = limits;
    let mut stopped = false;
    let mut verdicts = Vec::with_capacity(places.len());
    let mut violated = 0;
    for places in &places {
        let done = verdicts.len();
        let mut ask = |_| {
            stopped = stopped || !go_on(done);
            !stopped
        };
        let verdict = match ask(0) {
            true => {
                key(history, places, violated < MAX_SHRUNK, &mut Budget { steps, go_on: &mut ask })
            }
            false => Judged::Unknown(Why::Stopped),
        };
        let verdict = match verdict {
            Judged::Unknown(_) if stopped => Judged::Unknown(Why::Stopped),
            verdict => verdict,
        };
        violated += usize::from(matches!(verdict, Judged::Violated(_)));
        verdicts.push(verdict);
    }
    verdicts
}

/// Judges one key.
fn key(history: &History, places: &[usize], small: bool, budget: &mut Budget<'_>) -> Judged {
    let violated = |property, items: &[Item]| {
        let part: Vec<usize> = items.iter().map(|item| item.place).collect();
        let story = tell(history, property, items);
        Judged::Violated(Box::new(Violation { property, part, story }))
    };
    let items: Vec<Item> =
        places.iter().filter_map(|place| item(*place, &history.operations[*place])).collect();
    if let Some(pair) = revisions(history, &items) {
        return violated(Property::Revisions, &pair);
    }
    let operations: Vec<_> = items.iter().map(|item| item.operation.clone()).collect();
    match register::check_within(&operations, budget) {
        Verdict::Linearizable => Judged::Valid,
        Verdict::Undecided => Judged::Unknown(Why::Steps),
        Verdict::Violated { .. } => {
            let part = if small { shrink(items, budget.go_on) } else { items };
            let lost = is_lost(history, places, &part);
            violated(if lost { Property::Durability } else { Property::Linearizability }, &part)
        }
    }
}

/// What the search is told of an operation; nothing if it cannot have had an effect and was told
/// nothing.
fn item(place: usize, operation: &Operation) -> Option<Item> {
    let action = match &operation.call {
        Call::Read => Action::Get,
        Call::Write(value) => Action::Put(value.clone()),
        Call::Append(more) => Action::Append(more.clone()),
        Call::Delete => Action::Delete,
        Call::Cas { old, new } => {
            Action::CompareAndSwap { expected: old.clone(), value: new.clone() }
        }
    };
    let (told, rev) = match &operation.outcome {
        Outcome::Failed => return None,
        Outcome::Unknown if action == Action::Get => return None,
        Outcome::Unknown => (None, None),
        Outcome::Mismatch => (Some(Told::Mismatch), None),
        Outcome::Ok { found, rev } => match &action {
            Action::Get => (Some(Told::Found(found.clone())), *rev),
            Action::CompareAndSwap { .. } => (Some(Told::Swapped), *rev),
            _ => (Some(Told::Done), *rev),
        },
    };
    // A read of a revision comes right after the write that made it.
    let witness =
        rev.map(|rev| rev.saturating_mul(2).saturating_add(u64::from(action == Action::Get)));
    let returned = operation.ended.zip(told).map(|(ended, told)| (ended.line, told));
    let called = operation.called.line;
    Some(Item { place, operation: linearizable::Operation { called, returned, action, witness } })
}

/// Two writes, one after the other, whose revisions say otherwise.
fn revisions(history: &History, items: &[Item]) -> Option<[Item; 2]> {
    let mut writes: Vec<(u64, &Item)> = Vec::new();
    for item in items {
        if let Outcome::Ok { rev: Some(rev), .. } = history.operations[item.place].outcome
            && item.operation.action != Action::Get
        {
            writes.push((rev, item));
        }
    }
    let returned = |item: &Item| item.operation.returned.as_ref().map_or(u64::MAX, |(at, _)| *at);
    let mut ended = writes.clone();
    ended.sort_by_key(|(_, item)| returned(item));
    let mut ended = ended.into_iter().peekable();
    let mut highest: Option<(u64, &Item)> = None;
    for (rev, item) in writes {
        while let Some(before) = ended.next_if(|(_, item2)| returned(item2) < item.operation.called)
        {
            highest = highest.filter(|highest| highest.0 >= before.0).or(Some(before));
        }
        // A delete of nothing changes nothing, and need not make a revision.
        let least = rev.saturating_add(u64::from(item.operation.action == Action::Delete));
        if let Some((_, before)) = highest.filter(|highest| highest.0 >= least) {
            return Some([before.clone(), item.clone()]);
        }
    }
    None
}

/// Whether a contradiction says: this was acknowledged, and later reads lack it.
fn is_lost(history: &History, places: &[usize], part: &[Item]) -> bool {
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
        match &operation.outcome {
            Outcome::Ok { found, .. } if operation.call == Call::Read && is_later => {
                shows(&lost.operation.action, found, false)
            }
            _ => false,
        }
    });
    // If anything else was written meanwhile, it may only have been overwritten.
    let meanwhile = |place: &usize| {
        let operation = &history.operations[*place];
        matches!(operation.outcome, Outcome::Ok { .. })
            && operation.call != Call::Read
            && operation.called.line < *read_at
            && operation.ended.is_some_and(|ended| ended.line > lost.operation.called)
    };
    let is_told = |place: &usize| part.iter().any(|item| item.place == *place);
    let disturbed = places.iter().any(|place| meanwhile(place) && !is_told(place));
    writes.iter().all(acknowledged) && was_there && !seen_later && !disturbed
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

//! A contradiction, told to people: numbered, in the order in which things began, in plain words.

use bytes::Bytes;

use super::cells::ALIVE;
use super::history::{Call, Change, Deed, Found, History, Kind, Moment, Operation, Outcome, Step};
use super::judge::{Expiry, Property};
use super::register::{self, Action};
use super::shrink::Item;

/// What happened, one operation a line, and why that cannot be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Story {
    pub lines: Vec<String>,
    pub why: String,
}

/// Operations that are told; of a contradiction that could not be made small, the last ones.
const MAX_TOLD: usize = 20;
/// Characters of a value that are shown.
const MAX_SHOWN: usize = 40;

/// An operation, as far as a contradiction needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// Its place in the history; after the last, the end of a lease.
    pub place: usize,
    pub called: u64,
    /// `None`: what it was told is not needed, or came after all the rest.
    pub ended: Option<u64>,
}

impl Told {
    /// The operation as it stands in a history.
    pub fn whole(history: &History, place: usize) -> Told {
        let operation = &history.operations[place];
        let ended = operation.ended.filter(|_| operation.outcome != Outcome::Unknown);
        Told { place, called: operation.called.line, ended: ended.map(|ended| ended.line) }
    }
}

/// Tells a contradiction; with `names`, of which key each operation is.
pub fn tell(
    history: &History,
    expiries: &[Expiry],
    part: &[Told],
    names: bool,
    why: String,
) -> Story {
    let skipped = part.len().saturating_sub(MAX_TOLD);
    let mut lines = Vec::new();
    if skipped > 0 {
        lines.push(format!("({skipped} operations before these are not shown)"));
    }
    let told = &part[skipped..];
    for (at, one) in told.iter().enumerate() {
        let number = skipped + at + 1;
        let when = relation(skipped, &told[..at], one);
        let what = match history.operations.get(one.place) {
            Some(operation) => sentence(history, operation, one.ended.is_some(), names),
            None => expiries
                .get(one.place - history.operations.len())
                .map_or_else(String::new, |expiry| end_of_lease(history, expiry)),
        };
        lines.push(format!("{number}. {when}{what}"));
    }
    Story { lines, why }
}

/// How a call lies to those that are told before it.
fn relation(skipped: usize, before: &[Told], one: &Told) -> String {
    let has_ended = |other: &Told| other.ended.is_some_and(|at| at < one.called);
    let ended: Vec<String> = (skipped + 1..)
        .zip(before)
        .filter(|(_, other)| has_ended(other))
        .map(|(number, _)| number.to_string())
        .collect();
    match (before.len(), ended.len()) {
        (0, _) => String::new(),
        (all, ended) if all == ended => "after that, ".to_owned(),
        (_, 0) => "meanwhile, ".to_owned(),
        _ => format!("after {} had ended, ", ended.join(", ")),
    }
}

fn sentence(history: &History, operation: &Operation, answered: bool, names: bool) -> String {
    let who = match operation.node {
        Some(node) => format!("process {} (at node {node})", operation.process),
        None => format!("process {}", operation.process),
    };
    let what = deed(history, operation, names);
    let called = moment(operation.called);
    let ended = operation.ended.map_or_else(String::new, moment);
    let rev = operation.outcome.rev().map_or_else(String::new, |rev| format!(" (revision {rev})"));
    let told = match &operation.outcome {
        Outcome::Unknown => "and never learned what became of it".to_owned(),
        _ if !answered => "and had no answer yet".to_owned(),
        Outcome::Mismatch => match operation.call {
            Call::KeepAlive | Call::Revoke => format!("and was told {ended} that it is gone"),
            _ => format!("and was told {ended} that it was something else"),
        },
        Outcome::Failed => format!("and was told {ended} that it had failed"),
        Outcome::Ok { found, .. } => match found {
            Found::Value(found) => format!("and was told {}{rev} {ended}", shown_value(found)),
            Found::Values(found) if !found.is_empty() => {
                let told = listed(found.iter().map(shown_value), ", ");
                format!("and was told {told}{rev} {ended}")
            }
            Found::Changes { changes, upto } => {
                format!("and was told {} up to revision {upto} {ended}", seen(history, changes))
            }
            _ => format!("and was told ok{rev} {ended}"),
        },
    };
    format!("{who} {what} {called} {told}")
}

/// What somebody wanted.
fn deed(history: &History, operation: &Operation, names: bool) -> String {
    let key = history.keys[operation.key].to_string();
    let of = |what: &str| if names { format!("{what} {key}") } else { what.to_owned() };
    let to = if names { format!(" to {key}") } else { String::new() };
    let attached =
        operation.lease.map_or_else(String::new, |lease| format!(" with {}", history.keys[lease]));
    match &operation.call {
        Call::Read => of("read"),
        Call::Write(value) => format!("wrote {}{to}{attached}", text(value)),
        Call::Append(more) => format!("appended {}{to}{attached}", text(more)),
        Call::Delete => format!("deleted {}", if names { &key } else { "the key" }),
        Call::Cas { old, new } => {
            let verb = if operation.outcome.is_ok() { "changed" } else { "tried to change" };
            let what = if names { format!(" {key} from") } else { String::new() };
            format!("{verb}{what} {} into {} (cas){attached}", shown_value(old), shown_value(new))
        }
        Call::Txn(steps) => {
            let step = |step: &Step| {
                let key = &history.keys[step.key];
                match &step.deed {
                    Deed::Check(expected) => format!("check {key} for {}", shown_value(expected)),
                    Deed::Read => format!("read {key}"),
                    Deed::Write(value) => format!("write {} to {key}", text(value)),
                    Deed::Append(more) => format!("append {} to {key}", text(more)),
                    Deed::Delete => format!("delete {key}"),
                }
            };
            format!("began a transaction ({})", listed(steps.iter().map(step), "; "))
        }
        Call::Grant(life) => format!("asked for {key} of {life:?}"),
        Call::KeepAlive => format!("wanted to keep {key} alive"),
        Call::Revoke => format!("wanted to revoke {key}"),
        Call::Acquire(holder) => format!("wanted lock {key} for {}{attached}", text(holder)),
        Call::Release(holder) => format!("wanted to release lock {key} of {}", text(holder)),
        Call::Watch { from } => format!("began a {key} from revision {from}"),
    }
}

/// The first of them, and how many more there are.
fn listed(all: impl Iterator<Item = String>, between: &str) -> String {
    let mut all = all;
    let shown: Vec<String> = all.by_ref().take(MAX_TOLD).collect();
    let more = all.count();
    let rest = if more > 0 { format!("{between}and {more} more") } else { String::new() };
    shown.join(between) + &rest
}

fn seen(history: &History, changes: &[Change]) -> String {
    /// Changes that are shown, the last ones.
    const MAX_SEEN: usize = 6;
    let skipped = changes.len().saturating_sub(MAX_SEEN);
    let change = |it: &Change| {
        format!("{} {} = {}", it.revision, history.keys[it.key], shown_value(&it.value))
    };
    let shown: Vec<String> = changes[skipped..].iter().map(change).collect();
    match (changes.is_empty(), skipped) {
        (true, _) => "nothing".to_owned(),
        (_, 0) => format!("[{}]", shown.join("; ")),
        _ => format!("[{skipped} more; {}]", shown.join("; ")),
    }
}

fn end_of_lease(history: &History, expiry: &Expiry) -> String {
    let Expiry { lease, from, life } = expiry;
    if from.time.is_none() {
        return format!(
            "{} may have ended at any time from line {} on, since nobody says when",
            history.keys[*lease], from.line
        );
    }
    format!(
        "{} may have ended from {} on, {life:?} after it was last kept alive",
        history.keys[*lease],
        moment(*from).trim_start_matches("at ")
    )
}

fn moment(moment: Moment) -> String {
    let line = moment.line;
    match moment.time {
        // Nanoseconds, told in whole ones of the seventh digit at most: people compare them.
        Some(time) => {
            let seconds = format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000);
            let keep = seconds.trim_end_matches('0').len().max(seconds.len() - 6);
            format!("at {} s (line {line})", &seconds[..keep])
        }
        None => format!("on line {line}"),
    }
}

fn text(value: &Bytes) -> String {
    let text = String::from_utf8_lossy(value);
    let count = text.chars().count();
    if count <= MAX_SHOWN {
        return format!("`{}`", text.escape_debug());
    }
    // What tells long values apart is mostly at their end: appends are.
    let head: String = text.chars().take(MAX_SHOWN / 2).collect();
    let tail: String = text.chars().skip(count - MAX_SHOWN / 2).collect();
    format!("`{}…{}` ({count} characters)", head.escape_debug(), tail.escape_debug())
}

/// A value, as people are shown it.
pub fn shown_value(value: &Option<Bytes>) -> String {
    value.as_ref().map_or_else(|| "nothing".to_owned(), text)
}

/// Why what was done to one key cannot be.
pub fn why_not(history: &History, key: usize, property: Property, part: &[Item]) -> String {
    match (property, part) {
        (Property::Durability, _) => "What was acknowledged is not there when it is read \
            afterwards, and nobody ever sees it again: it is lost."
            .to_owned(),
        (Property::Locks, [_, _, ..]) if are_two_holders(history, part) => format!(
            "There is no order of these in which nobody holds the lock {} while another does.",
            history.keys[key]
        ),
        (_, [only]) => alone(history, key, only),
        _ => "There is no order of these, each at one moment between \
            its call and its answer, that explains what they were told."
            .to_owned(),
    }
}

/// Whether two were told that they hold the lock.
fn are_two_holders(history: &History, part: &[Item]) -> bool {
    let operations = part.iter().filter_map(|item| history.operations.get(item.place));
    let holds = |it: &&Operation| matches!(it.call, Call::Acquire(_)) && it.outcome.is_ok();
    operations.filter(holds).count() >= 2
}

/// Why an operation contradicts itself.
fn alone(history: &History, key: usize, item: &Item) -> String {
    let needed = match (&item.operation.action, &item.operation.returned) {
        (_, Some((_, register::Told::Found(value)))) => value,
        (Action::CompareAndSwap { expected, .. }, Some((_, register::Told::Swapped))) => expected,
        _ => return "No value of the key explains this answer.".to_owned(),
    };
    let shown = shown_value(needed);
    let mut writers = history.operations.iter().filter(|it| writes(it, key, needed));
    match writers.next() {
        _ if history.keys[key].kind == Kind::Lease => "It was never granted.".to_owned(),
        None => format!("Nobody ever wrote {shown}."),
        Some(writer) if matches!(writer.outcome, Outcome::Failed | Outcome::Mismatch) => format!(
            "{shown} comes from a {} of process {} (line {}), which was told that it had failed.",
            writer.call.name(),
            writer.process,
            writer.called.line,
        ),
        Some(writer) => format!(
            "{shown} comes from a {} of process {} that began on line {}, after this had ended.",
            writer.call.name(),
            writer.process,
            writer.called.line,
        ),
    }
}

/// Whether an operation wants a key to have this value.
fn writes(operation: &Operation, key: usize, needed: &Option<Bytes>) -> bool {
    let written = match &operation.call {
        Call::Txn(steps) => {
            return steps.iter().any(|step| match &step.deed {
                Deed::Write(value) | Deed::Append(value) => {
                    step.key == key && Some(value) == needed.as_ref()
                }
                _ => false,
            });
        }
        Call::Write(value) | Call::Append(value) | Call::Acquire(value) => Some(value),
        Call::Cas { new, .. } => new.as_ref(),
        Call::Grant(_) => Some(&ALIVE),
        _ => None,
    };
    operation.key == key && written.is_some() && written == needed.as_ref()
}

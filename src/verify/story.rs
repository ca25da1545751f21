//! A contradiction, told to people: numbered, in the order in which things began, in plain words.

use bytes::Bytes;

use super::history::{Call, History, Moment, Operation, Outcome};
use super::judge::Property;
use super::register::{Action, Told};
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

/// Tells a contradiction.
pub fn tell(history: &History, property: Property, part: &[Item]) -> Story {
    let skipped = part.len().saturating_sub(MAX_TOLD);
    let mut lines = Vec::new();
    if skipped > 0 {
        lines.push(format!("({skipped} operations before these are not shown)"));
    }
    let told = &part[skipped..];
    for (at, item) in told.iter().enumerate() {
        let number = skipped + at + 1;
        let when = relation(skipped, &told[..at], item);
        let operation = &history.operations[item.place];
        lines.push(format!("{number}. {when}{}", sentence(operation, item)));
    }
    Story { lines, why: why(history, property, part) }
}

/// How a call lies to those that are told before it.
fn relation(skipped: usize, before: &[Item], item: &Item) -> String {
    let has_ended = |other: &Item| {
        other.operation.returned.as_ref().is_some_and(|(at, _)| *at < item.operation.called)
    };
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

fn sentence(operation: &Operation, item: &Item) -> String {
    let who = match operation.node {
        Some(node) => format!("process {} (at node {node})", operation.process),
        None => format!("process {}", operation.process),
    };
    let called = moment(operation.called);
    let ended = operation.ended.map_or_else(String::new, moment);
    let what = match (&operation.call, &operation.outcome) {
        (Call::Read, _) => "read".to_owned(),
        (Call::Write(value), _) => format!("wrote {}", text(value)),
        (Call::Append(more), _) => format!("appended {}", text(more)),
        (Call::Delete, _) => "deleted the key".to_owned(),
        (Call::Cas { old, new }, Outcome::Ok { .. }) => {
            format!("changed {} into {} (cas)", value(old), value(new))
        }
        (Call::Cas { old, new }, _) => {
            format!("tried to change {} into {} (cas)", value(old), value(new))
        }
    };
    let rev = match operation.outcome {
        Outcome::Ok { rev: Some(rev), .. } => format!(" (revision {rev})"),
        _ => String::new(),
    };
    let told = match &item.operation.returned {
        Some((_, Told::Found(found))) => format!("and was told {}{rev} {ended}", value(found)),
        Some((_, Told::Mismatch)) => format!("and was told {ended} that it was something else"),
        Some(_) => format!("and was told ok{rev} {ended}"),
        None if operation.outcome == Outcome::Unknown => {
            "and never learned what became of it".to_owned()
        }
        None => "and had no answer yet".to_owned(),
    };
    format!("{who} {what} {called} {told}")
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

fn value(value: &Option<Bytes>) -> String {
    value.as_ref().map_or_else(|| "nothing".to_owned(), text)
}

/// Why it cannot be.
fn why(history: &History, property: Property, part: &[Item]) -> String {
    match (property, part) {
        (Property::Revisions, _) => {
            "The second began after the first had ended, and its revision is not higher.".to_owned()
        }
        (Property::Durability, _) => "What was acknowledged is not there when it is read \
            afterwards, and nobody ever sees it again: it is lost."
            .to_owned(),
        (Property::Linearizability, [only]) => alone(history, only),
        (Property::Linearizability, _) => "There is no order of these, each at one moment between \
            its call and its answer, that explains what they were told."
            .to_owned(),
    }
}

/// Why an operation contradicts itself.
fn alone(history: &History, item: &Item) -> String {
    let needed = match (&item.operation.action, &item.operation.returned) {
        (_, Some((_, Told::Found(value)))) => value,
        (Action::CompareAndSwap { expected, .. }, Some((_, Told::Swapped))) => expected,
        _ => return "No value of the key explains this answer.".to_owned(),
    };
    let key = history.operations[item.place].key;
    let wrote = |operation: &&Operation| {
        let written = match &operation.call {
            Call::Write(value) | Call::Append(value) => Some(value),
            Call::Cas { new, .. } => new.as_ref(),
            Call::Read | Call::Delete => None,
        };
        operation.key == key && written.is_some() && written == needed.as_ref()
    };
    let mut writers = history.operations.iter().filter(wrote);
    let shown = value(needed);
    match writers.next() {
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

//! From lines to operations; what makes no sense is refused with the line's number.

use std::collections::BTreeMap;

use thiserror::Error;

use super::call::{asked, attached, repeats, told};
use super::{
    Call, Deed, Event, FUNCTIONS, History, Key, MAX_LINE, MAX_OPERATIONS, Moment, Operation,
    Outcome, Type,
};

/// A line that cannot be taken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {why}")]
pub struct BadLine {
    /// From 1.
    pub line: u64,
    pub why: String,
}

/// Takes a history line by line.
#[derive(Debug, Default)]
pub struct Reader {
    history: History,
    places: BTreeMap<Key, usize>,
    processes: BTreeMap<u64, Process>,
    /// The lines on which leases were asked for, by their places.
    granted: BTreeMap<usize, u64>,
    line: u64,
    time: Option<u64>,
}

/// What a process is about.
#[derive(Debug)]
enum Process {
    /// It can begin something.
    Idle,
    /// The place of what it began.
    Busy(usize),
    /// An operation of its ended in `info`, on this line.
    Gone(u64),
}

impl Reader {
    /// Takes the next line, without its end. An empty one means nothing.
    pub fn line(&mut self, text: &[u8]) -> Result<(), BadLine> {
        self.line += 1;
        self.take(text).map_err(|why| BadLine { line: self.line, why })
    }

    /// The history; what is under way stays unknown.
    pub fn finish(self) -> History {
        self.history
    }

    fn take(&mut self, text: &[u8]) -> Result<(), String> {
        if text.len() > MAX_LINE {
            return Err(format!("it is longer than {MAX_LINE} bytes"));
        }
        if text.trim_ascii().is_empty() {
            return Ok(());
        }
        let event: Event = serde_json::from_slice(text).map_err(|error| not_json(&error))?;
        if !FUNCTIONS.contains(&event.f.as_str()) {
            let known = FUNCTIONS.join(", ");
            return Err(format!("`{}` is no function that is known: {known}", event.f));
        }
        if let (Some(before), Some(now)) = (self.time, event.time)
            && now < before
        {
            return Err(format!("time goes back, from {before} to {now}"));
        }
        self.time = event.time.or(self.time);
        match event.kind {
            Type::Invoke => self.invoke(event),
            _ => self.complete(event),
        }
    }

    fn invoke(&mut self, event: Event) -> Result<(), String> {
        let number = event.process;
        let process = self.processes.entry(number).or_insert(Process::Idle);
        match process {
            Process::Idle => {}
            Process::Busy(place) => {
                let operation = &self.history.operations[*place];
                return Err(format!(
                    "process {number} begins a {}, and its {} of line {} has not ended",
                    event.f,
                    operation.call.name(),
                    operation.called.line,
                ));
            }
            Process::Gone(line) => {
                return Err(format!(
                    "process {number} goes on, and its operation ended in `info` on line {line}: \
                     whoever goes on after that needs a new number"
                ));
            }
        }
        let place = self.history.operations.len();
        if place == MAX_OPERATIONS {
            return Err(format!("these are more than {MAX_OPERATIONS} operations"));
        }
        let places = &mut |key| place_of(key, &mut self.places, &mut self.history.keys);
        let (key, call) = asked(&event, places)?;
        let lease = attached(&event, &call, places)?;
        if let Call::Grant(_) = call
            && let Some(line) = self.granted.insert(key, self.line)
        {
            return Err(format!(
                "this lease was granted on line {line} already: another one needs a new name"
            ));
        }
        *process = Process::Busy(place);
        self.history.operations.push(Operation {
            process: number,
            node: event.node,
            key,
            lease,
            call,
            called: Moment { line: self.line, time: event.time },
            outcome: Outcome::Unknown,
            ended: None,
        });
        Ok(())
    }

    fn complete(&mut self, event: Event) -> Result<(), String> {
        let number = event.process;
        let Some(process @ &mut Process::Busy(place)) = self.processes.get_mut(&number) else {
            return Err(format!("process {number} ends a {} that it never began", event.f));
        };
        let History { keys, operations } = &mut self.history;
        let operation = &mut operations[place];
        let began = operation.call.name();
        // The name; what kind of thing it is of follows from the function.
        let same_key = event.key.is_none() || event.key.as_ref() == Some(&keys[operation.key].name);
        if began != event.f || !(same_key || began == "txn") {
            return Err(format!(
                "process {number} ends a {}, and what it began on line {} is a {}",
                about(&event.f, event.key.as_deref()),
                operation.called.line,
                about(began, Some(&keys[operation.key].name)),
            ));
        }
        let places = &mut |key| place_of(key, &mut self.places, keys);
        if !repeats(&event, &operation.call, places)? {
            let line = operation.called.line;
            return Err(format!("the value is not that of the invocation on line {line}"));
        }
        operation.outcome = match event.kind {
            Type::Ok => {
                Outcome::Ok { found: told(&event, &operation.call, places)?, rev: event.rev }
            }
            Type::Fail if event.error.as_deref() == Some("mismatch") => match operation.call {
                Call::Txn(ref steps) if !matches!(steps[0].deed, Deed::Check(_)) => {
                    return Err("a txn without a check cannot be a mismatch".to_owned());
                }
                Call::Cas { .. }
                | Call::Txn(_)
                | Call::KeepAlive
                | Call::Revoke
                | Call::Release(_) => Outcome::Mismatch,
                _ => Outcome::Failed,
            },
            Type::Fail => Outcome::Failed,
            Type::Info | Type::Invoke => Outcome::Unknown,
        };
        if let (Call::Grant(_), Outcome::Failed) = (&operation.call, &operation.outcome) {
            self.granted.remove(&operation.key);
        }
        operation.ended = Some(Moment { line: self.line, time: event.time });
        operation.node = operation.node.or(event.node);
        *process = match event.kind {
            Type::Info => Process::Gone(self.line),
            _ => Process::Idle,
        };
        Ok(())
    }
}

/// Where something stands among the keys; something new comes to their end.
fn place_of(key: Key, places: &mut BTreeMap<Key, usize>, keys: &mut Vec<Key>) -> usize {
    if let Some(place) = places.get(&key) {
        return *place;
    }
    keys.push(key.clone());
    places.insert(key, keys.len() - 1);
    keys.len() - 1
}

/// A function, and what it is about.
fn about(f: &str, key: Option<&str>) -> String {
    match key {
        Some(key) if f != "txn" => format!("{f} of `{key}`"),
        _ => f.to_owned(),
    }
}

/// What is wrong with a line, by its column: it stands on line 1 of itself.
fn not_json(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let why = text.split(" at line ").next().unwrap_or(&text);
    match error.is_data() {
        true => format!("{why} (column {})", error.column()),
        false => format!("this is no JSON: {why} (column {})", error.column()),
    }
}

//! From lines to operations; what makes no sense is refused with the line's number.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;
use thiserror::Error;

use super::{
    Call, Event, FUNCTIONS, History, MAX_LINE, MAX_OPERATIONS, Moment, Operation, Outcome, Type,
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
    keys: BTreeMap<String, usize>,
    processes: BTreeMap<u64, Process>,
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
        let call = call(&event)?;
        *process = Process::Busy(place);
        let keys = &mut self.history.keys;
        let key = *self.keys.entry(event.key).or_insert_with_key(|key| {
            keys.push(key.clone());
            keys.len() - 1
        });
        self.history.operations.push(Operation {
            process: number,
            node: event.node,
            key,
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
        let operation = &mut self.history.operations[place];
        let began = (operation.call.name(), &self.history.keys[operation.key]);
        if began != (event.f.as_str(), &event.key) {
            return Err(format!(
                "process {number} ends a {} of `{}`, and what it began on line {} is a {} of `{}`",
                event.f, event.key, operation.called.line, began.0, began.1,
            ));
        }
        // A value that is repeated is the same; one of a read is what it found.
        let reads = operation.call == Call::Read;
        if !reads && event.value.is_some() && call(&event)? != operation.call {
            let line = operation.called.line;
            return Err(format!("the value is not that of the invocation on line {line}"));
        }
        operation.outcome = match event.kind {
            Type::Ok if reads => Outcome::Ok { found: found(&event)?, rev: event.rev },
            Type::Ok => Outcome::Ok { found: None, rev: event.rev },
            Type::Fail => match (&operation.call, event.error.as_deref()) {
                (Call::Cas { .. }, Some("mismatch")) => Outcome::Mismatch,
                _ => Outcome::Failed,
            },
            Type::Info | Type::Invoke => Outcome::Unknown,
        };
        operation.ended = Some(Moment { line: self.line, time: event.time });
        operation.node = operation.node.or(event.node);
        *process = match event.kind {
            Type::Info => Process::Gone(self.line),
            _ => Process::Idle,
        };
        Ok(())
    }
}

/// What an invocation asks for.
fn call(event: &Event) -> Result<Call, String> {
    match (event.f.as_str(), &event.value) {
        ("write", Some(Value::String(value))) => Ok(Call::Write(bytes(value))),
        ("append", Some(Value::String(value))) => Ok(Call::Append(bytes(value))),
        ("write" | "append", _) => {
            Err(format!("a {} needs a \"value\", and it is a string", event.f))
        }
        ("cas", Some(Value::Array(pair))) if pair.len() == 2 => {
            let value = |value: &Value| {
                optional(value).ok_or("of a cas, old and new are strings or null".to_owned())
            };
            Ok(Call::Cas { old: value(&pair[0])?, new: value(&pair[1])? })
        }
        ("cas", _) => Err("a cas needs a \"value\", and it is [old, new]".to_owned()),
        ("delete", _) => Ok(Call::Delete),
        _ => Ok(Call::Read),
    }
}

/// What a read found.
fn found(event: &Event) -> Result<Option<Bytes>, String> {
    let value = event.value.as_ref().and_then(optional);
    value.ok_or_else(|| {
        "a read that is ok needs a \"value\": the string that it found, or null".to_owned()
    })
}

/// A string, or `null`; nothing if it is neither.
fn optional(value: &Value) -> Option<Option<Bytes>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(bytes(text))),
        _ => None,
    }
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
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

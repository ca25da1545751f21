//! The report: one page of HTML that needs nothing else.
//!
//! The page is a frame (`report.html`), a program that draws (`report.js`) and the data, as JSON.
//! The program puts data on the page as text only; and so that no value of a history can end the
//! element that the data stands in, each `<` is written as JSON's `\u003c`.
//!
//! A browser draws some ten thousand operations at ease. Of more, those are drawn that tell
//! something, and a sample of the rest; the page says what was left out.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::statistics::{Curves, Statistics};
use super::verdict::{About, Expectation, Judgement, Record, Verdict};
use super::workload::Workload;
use crate::observe::VERSION;
use crate::verify::history::{Call, FUNCTIONS, Found, History, Operation, Outcome};
use crate::verify::judge::{Judged, Subject, Violation};

const FRAME: &str = include_str!("report.html");
const PROGRAM: &str = include_str!("report.js");

/// Operations that are drawn.
const MAX_DRAWN: usize = 20_000;
/// One that took longer than this tells something.
const SLOW: u64 = 100_000_000;
/// Characters of a value that are shown.
const MAX_SHOWN: usize = 60;
/// Contradictions that are told.
const MAX_TOLD: usize = 10;

#[derive(Serialize)]
struct Data<'a> {
    verdict: Verdict,
    seed: u64,
    began_unix_millis: u64,
    build: &'static str,
    cluster: &'a About,
    workload: &'a Workload,
    allowed_faults: &'a [String],
    expectations: &'a [Expectation],
    keys_judged: usize,
    statistics: &'a Statistics,
    curves: &'a Curves,
    /// Where the timeline ends; seconds.
    end: f64,
    lanes: Vec<String>,
    operations: Drawn,
    injuries: Vec<Value>,
    leaderships: Vec<Value>,
    violations: Vec<Told<'a>>,
    history: Value,
    check_again: String,
}

/// The operations that are drawn.
#[derive(Serialize)]
struct Drawn {
    /// Of the history.
    count: usize,
    /// In words; empty if nothing is.
    left_out: String,
    functions: [&'static str; FUNCTIONS.len()],
    keys: Vec<String>,
    /// Lane, process, function, outcome, beginning and end (microseconds; -1: never), key, node,
    /// line, value, whether it is part of a contradiction (0, 1).
    rows: Vec<Value>,
}

#[derive(Serialize)]
struct Told<'a> {
    key: String,
    property: &'static str,
    story: &'a [String],
    why: &'a str,
    /// The time that it covers; seconds.
    span: Option<(f64, f64)>,
}

/// The whole page. `path` is where the history lies.
pub fn html(record: &Record, judgement: &Judgement, statistics: &Statistics, path: &str) -> String {
    let data = data(record, judgement, statistics, path);
    // Names, numbers and text: there is nothing that JSON could not say.
    let json = serde_json::to_string(&data).unwrap_or_default().replace('<', "\\u003c");
    let (before, after) = FRAME.split_once("/*DATA*/").unwrap_or((FRAME, ""));
    let (between, end) = after.split_once("/*SCRIPT*/").unwrap_or((after, ""));
    [before, &json, between, PROGRAM, end].concat()
}

fn data<'a>(
    record: &'a Record,
    judgement: &'a Judgement,
    statistics: &'a Statistics,
    path: &str,
) -> Data<'a> {
    let history = record.history();
    let violations = violations(judgement);
    let part: BTreeSet<usize> =
        violations.iter().flat_map(|(_, it)| it.part.iter().copied()).collect();
    let injury = |it: &super::Injury| {
        let (begun, ended) = (seconds(it.begun), seconds(it.ended));
        json!({ "kind": it.kind, "what": it.what, "begun": begun, "ended": ended,
                "refused": it.refused })
    };
    let leadership = |it: &super::Leadership| {
        let since = seconds(it.since);
        json!({ "since": since, "leader": it.leader, "term": it.term })
    };
    Data {
        verdict: judgement.verdict,
        seed: record.seed,
        began_unix_millis: record.began_unix_millis,
        build: VERSION,
        cluster: &record.about,
        workload: &record.workload,
        allowed_faults: &record.faults,
        expectations: &record.expectations,
        keys_judged: history.keys.len(),
        statistics,
        curves: &statistics.curves,
        end: seconds(end(history).max(record.worked.as_nanos() as u64)),
        lanes: lanes(record),
        operations: drawn(record, &part),
        injuries: record.injuries.iter().map(injury).collect(),
        leaderships: record.leaderships.iter().map(leadership).collect(),
        violations: violations.iter().map(|(subject, it)| told(history, subject, it)).collect(),
        history: json!({ "path": path, "lines": record.recording.lines,
                         "xxh3": record.recording.hash }),
        check_again: format!("kvctl check {path}"),
    }
}

/// The violated keys that are told.
fn violations(judgement: &Judgement) -> Vec<(&Subject, &Violation)> {
    let violated = judgement.subjects.iter().filter_map(|subject| match &subject.verdict {
        Judged::Violated(violation) => Some((subject, &**violation)),
        _ => None,
    });
    violated.take(MAX_TOLD).collect()
}

fn told<'a>(history: &History, subject: &Subject, violation: &'a Violation) -> Told<'a> {
    let operations = || violation.part.iter().map(|place| &history.operations[*place]);
    let began = operations().filter_map(|it| it.called.time).min();
    let ended = operations().filter_map(|it| it.ended?.time).max();
    Told {
        key: subject.name(history),
        property: violation.property.name(),
        story: &violation.story.lines,
        why: &violation.story.why,
        span: began.zip(ended).map(|(began, ended)| (seconds(began), seconds(ended))),
    }
}

/// Who does something: the clients, the onlookers, and then whoever reads at the end.
fn lanes(record: &Record) -> Vec<String> {
    let clients = u64::from(record.workload.clients);
    let readers = clients + record.onlookers;
    let lane = |lane| match lane {
        client if client < clients => format!("client {client}"),
        onlooker if onlooker < readers => format!("onlooker {}", onlooker - clients + 1),
        reader => format!("final reads {}", reader - readers + 1),
    };
    (0..record.lanes).map(lane).collect()
}

fn drawn(record: &Record, part: &BTreeSet<usize>) -> Drawn {
    let history = record.history();
    let count = history.operations.len();
    let telling = |(place, operation): &(usize, &Operation)| {
        part.contains(place)
            || !matches!(operation.outcome, Outcome::Ok { .. })
            || is_slow(operation)
    };
    let all = || history.operations.iter().enumerate();
    let important = all().filter(telling).count();
    // Half of what is drawn may be what tells something, all of which is drawn if it fits.
    let each = |count: usize, room: usize| count.div_ceil(room.max(1)).max(1);
    let each_telling = each(important, MAX_DRAWN / 2);
    let room = MAX_DRAWN - (important / each_telling).min(MAX_DRAWN / 2);
    let each_other = each(count - important, room);
    let (mut tells, mut others) = (0, 0);
    let mut rows = Vec::new();
    for (place, operation) in all() {
        let (counter, each) = match telling(&(place, operation)) {
            true => (&mut tells, each_telling),
            false => (&mut others, each_other),
        };
        *counter += 1;
        if part.contains(&place) || (*counter - 1) % each == 0 {
            rows.push(row(operation, record.lanes, part.contains(&place)));
        }
    }
    let left_out = match (each_telling, each_other) {
        (1, 1) => String::new(),
        (1, other) => format!(
            "All that failed, stayed unknown or took longer than 100 ms are among them; of the \
             rest, one of {other}."
        ),
        (telling, other) => format!(
            "Of those that failed, stayed unknown or took longer than 100 ms, one of {telling}; \
             of the rest, one of {other}."
        ),
    };
    let keys = history.keys.iter().map(ToString::to_string).collect();
    Drawn { count, left_out, functions: FUNCTIONS, keys, rows }
}

fn is_slow(operation: &Operation) -> bool {
    if matches!(operation.call, Call::Watch { .. }) {
        return false;
    }
    let ended = operation.ended.and_then(|ended| ended.time);
    let took = ended.zip(operation.called.time).map(|(end, called)| end.saturating_sub(called));
    took.is_none_or(|took| took > SLOW)
}

fn row(operation: &Operation, lanes: u64, is_told: bool) -> Value {
    let f = FUNCTIONS.iter().position(|name| *name == operation.call.name());
    let outcome = match operation.outcome {
        Outcome::Ok { .. } => 0,
        Outcome::Failed => 1,
        Outcome::Mismatch => 2,
        Outcome::Unknown => 3,
    };
    let micros = |nanos: u64| nanos / 1_000;
    let ended = operation.ended.and_then(|ended| ended.time);
    // Of one that is unknown, the end is when its client gave up.
    let ended = ended.map_or(json!(-1), |nanos| json!(micros(nanos)));
    json!([
        operation.process % lanes.max(1),
        operation.process,
        f,
        outcome,
        micros(operation.called.time.unwrap_or_default()),
        ended,
        operation.key,
        operation.node,
        operation.called.line,
        value(operation),
        u8::from(is_told),
    ])
}

/// What was written, or found.
fn value(operation: &Operation) -> String {
    let some = |value: &Option<Bytes>| value.as_ref().map_or("nothing".to_owned(), text);
    match (&operation.call, &operation.outcome) {
        (_, Outcome::Ok { found: Found::Value(found), .. }) => format!("found {}", some(found)),
        (Call::Watch { from }, Outcome::Ok { found: Found::Changes { changes, upto }, .. }) => {
            format!("{} events from revision {from} to {upto}", changes.len())
        }
        (Call::Watch { from }, _) => format!("from revision {from}"),
        (Call::Txn(steps), _) => {
            let steps: Vec<&str> = steps.iter().map(|step| step.deed.name()).collect();
            steps.join(", ")
        }
        (Call::Grant(life), _) => format!("granted for {} s", life.as_secs()),
        (Call::KeepAlive, _) => "kept alive".to_owned(),
        (Call::Revoke, _) => "revoked".to_owned(),
        (Call::Acquire(holder), _) => format!("acquired by {}", text(holder)),
        (Call::Release(holder), _) => format!("released by {}", text(holder)),
        (Call::Write(value) | Call::Append(value), _) => text(value),
        (Call::Cas { old, new }, _) => format!("{} → {}", some(old), some(new)),
        _ => String::new(),
    }
}

/// The end of a long value tells more than its beginning: appends are there.
fn text(value: &Bytes) -> String {
    let text = String::from_utf8_lossy(value);
    let skipped = text.chars().count().saturating_sub(MAX_SHOWN);
    let shown: String = text.chars().skip(skipped).collect();
    if skipped > 0 { format!("…{shown}") } else { shown }
}

/// The last moment of a history.
fn end(history: &History) -> u64 {
    let ends = history.operations.iter().filter_map(|it| it.ended.unwrap_or(it.called).time);
    ends.max().unwrap_or_default()
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

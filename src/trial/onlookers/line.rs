//! The lines in which an onlooker says what it was told.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::etcd_client::{self, event_revision, is_delete};
use crate::trial::recorder::text;
use crate::trial::tape::Tape;
use crate::types::{NodeId, Revision};
use crate::verify::history::{Event, Type};

/// A line says what was told in so long, or sooner if it gets long.
const AGE: Duration = Duration::from_secs(1);
/// Bytes of keys and values; the bound of a line is 16 times as much.
const BYTES: usize = 64 << 10;

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aim {
    pub name: String,
    pub is_prefix: bool,
    /// `None`: from now on.
    pub start: Option<Revision>,
}

/// What one watch was told, line by line.
pub struct Lines {
    tape: Tape,
    process: u64,
    aim: Aim,
    node: Option<u64>,
    line: Option<Line>,
}

/// What it was told since the last line.
struct Line {
    /// The first revision that it covers.
    from: Revision,
    /// The newest that it tells of.
    last: Revision,
    events: Vec<Value>,
    bytes: usize,
    began: Instant,
}

impl Lines {
    pub fn new(tape: &Tape, process: u64, aim: &Aim) -> Lines {
        Lines { tape: tape.clone(), process, aim: aim.clone(), node: None, line: None }
    }

    /// The watch stands, at this node, and everything from a revision on will be told: what was
    /// begun before goes on.
    pub fn stands(&mut self, from: Revision, node: Option<NodeId>) {
        self.node = node.map(|node| node.0);
        if self.line.is_none() {
            self.open(from);
        }
    }

    /// It was told these. Nothing may be left out of a line: it ends between two revisions.
    pub fn told(&mut self, events: &[etcd_client::Event]) {
        for event in events {
            let at = event_revision(event);
            if let Some(line) = &self.line
                && line.bytes >= BYTES
                && line.last < at
            {
                let next = Revision(line.last.0 + 1);
                self.close(next);
                self.open(next);
            }
            let (Some(line), Some(kv)) = (&mut self.line, &event.kv) else { continue };
            let value = if is_delete(event) { Value::Null } else { text(Some(&kv.value)) };
            line.events.push(json!([at.0, String::from_utf8_lossy(&kv.key), value]));
            line.bytes += kv.key.len() + kv.value.len();
            line.last = at;
        }
    }

    /// All before `next` has been told: if the line is old, another takes its place.
    pub fn came_to(&mut self, next: Revision) {
        if self.line.as_ref().is_some_and(|line| line.began.elapsed() >= AGE && line.from < next) {
            self.close(next);
            self.open(next);
        }
    }

    /// All before `next` has been told, and the watch ends. `None`: it never stood.
    pub fn close(&mut self, next: impl Into<Option<Revision>>) {
        let (Some(line), Some(next)) = (self.line.take(), next.into()) else { return };
        let value = json!({ "events": line.events, "upto": next.0.saturating_sub(1) });
        self.tape.note(self.event(Type::Ok, value));
    }

    fn open(&mut self, from: Revision) {
        let value = match self.aim.is_prefix {
            true => json!({ "from": from.0, "prefix": true }),
            false => json!({ "from": from.0 }),
        };
        self.tape.note(self.event(Type::Invoke, value));
        let (events, began) = (Vec::new(), Instant::now());
        self.line = Some(Line { from, last: Revision(0), events, bytes: 0, began });
    }

    fn event(&self, kind: Type, value: Value) -> Event {
        Event {
            process: self.process,
            kind,
            f: "watch".to_owned(),
            key: Some(self.aim.name.clone()),
            value: Some(value),
            lease: None,
            time: None,
            node: self.node,
            rev: None,
            error: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::etcd_client::KeyValue;
    use crate::trial::recorder::{Asked, Ended};
    use crate::trial::wish::Wish;
    use crate::trial::workload::Kind;
    use crate::verify::history::{Call, Found, Outcome};
    use crate::verify::judge::{Judged, Limits, Property, judge};

    /// Ten writes, and an onlooker that is told of all but one; what the judge says.
    fn judged(left_out: Option<u64>) -> Vec<Judged> {
        let tape = Tape::start(2, None);
        let aim = Aim { name: "t/".to_owned(), is_prefix: true, start: None };
        let mut lines = Lines::new(&tape, tape.process(1), &aim);
        lines.stands(Revision(2), Some(NodeId(1)));
        for revision in 2..12u64 {
            let value = Bytes::from(format!("v{revision}"));
            let wish = Wish::of(Kind::Register, "t/a", Call::Write(value.clone()));
            let asked = Asked { process: 0, node: 1, wish };
            tape.invoke(&asked);
            let outcome = Outcome::Ok { found: Found::Nothing, rev: Some(revision) };
            tape.complete(&asked, &Ended { outcome, error: None });
            let kv = KeyValue {
                key: "t/a".into(),
                value,
                mod_revision: revision as i64,
                ..Default::default()
            };
            let event = etcd_client::Event { kv: Some(kv), ..Default::default() };
            if left_out != Some(revision) {
                lines.told(&[event]);
            }
        }
        lines.close(Revision(12));
        let recording = tape.finish().unwrap();
        assert_eq!(recording.trouble, None);
        let limits = Limits { steps: 100_000, go_on: &mut |_| true };
        judge(&recording.history, limits).into_iter().map(|it| it.verdict).collect()
    }

    #[test]
    fn what_is_written_down_is_what_was_told_and_one_event_too_few_is_found() {
        assert!(judged(None).iter().all(|it| *it == Judged::Valid));
        let is_watches = |it: &Judged| match it {
            Judged::Violated(violation) => violation.property == Property::Watches,
            _ => false,
        };
        for revision in [2, 7, 11] {
            assert_eq!(judged(Some(revision)).iter().filter(|it| is_watches(it)).count(), 1);
        }
    }

    #[test]
    fn a_long_line_ends_between_two_revisions_and_nothing_is_lost() {
        let tape = Tape::start(1, None);
        let aim = Aim { name: "t/".to_owned(), is_prefix: true, start: None };
        let mut lines = Lines::new(&tape, 0, &aim);
        lines.stands(Revision(2), None);
        let event = |key: &str, revision| {
            let kv = KeyValue {
                key: Bytes::from(key.to_owned()),
                value: vec![b'x'; BYTES / 2].into(),
                mod_revision: revision,
                ..Default::default()
            };
            etcd_client::Event { kv: Some(kv), ..Default::default() }
        };
        let all: Vec<_> =
            (2..8).flat_map(|revision| [event("t/a", revision), event("t/b", revision)]).collect();
        lines.told(&all);
        lines.close(Revision(10));
        let history = tape.finish().unwrap().history;
        let mut next = 2;
        let mut count = 0;
        for operation in &history.operations {
            let Outcome::Ok { found: Found::Changes { changes, upto }, .. } = &operation.outcome
            else {
                panic!("{operation:?}")
            };
            assert_eq!(operation.call, Call::Watch { from: next });
            count += changes.len();
            next = upto + 1;
        }
        assert_eq!((history.operations.len(), count, next), (6, 12, 10));
    }
}

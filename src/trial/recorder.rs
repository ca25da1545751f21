//! What happened, as lines of a history: written, hashed and understood as they come.
//!
//! What is judged is what stands in the file: each line is read back by the same
//! [`Reader`] that would read the file, so that `kvctl check` on it cannot say anything else.

use std::collections::BTreeSet;
use std::io::Write;

use bytes::Bytes;
use serde_json::{Value, json};
use xxhash_rust::xxh3::Xxh3;

use super::wish::Wish;
use super::workload::Kind;
use crate::verify::history::{Call, Deed, Event, Found, History, Outcome, Reader, Step, Type};

/// How an operation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    pub outcome: Outcome,
    /// Why it is not done; for people.
    pub error: Option<String>,
}

/// Which operation of whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub process: u64,
    /// The node that was asked.
    pub node: u64,
    pub wish: Wish,
}

/// How much was seen so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub begun: u64,
    pub ok: u64,
    /// Certainly without effect; swaps that found something else are among them.
    pub failed: u64,
    pub unknown: u64,
    /// Writes acknowledged.
    pub writes: u64,
    /// When a write was last acknowledged, in nanoseconds.
    pub acknowledged: Option<u64>,
}

/// A history as it comes to be.
pub struct Recorder {
    reader: Reader,
    hash: Xxh3,
    lines: u64,
    out: Option<Box<dyn Write>>,
    /// Why it is of no use any more.
    trouble: Option<String>,
    progress: Progress,
    keys: BTreeSet<String>,
}

/// A whole history, and what identifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recording {
    pub history: History,
    /// XXH3 (64 bits) of the lines, hexadecimal.
    pub hash: String,
    pub lines: u64,
    /// Why it is not whole, if it is not.
    pub trouble: Option<String>,
}

impl Recorder {
    /// Writes to `out` as well.
    pub fn new(out: Option<Box<dyn Write>>) -> Recorder {
        Recorder {
            reader: Reader::default(),
            hash: Xxh3::new(),
            lines: 0,
            out,
            trouble: None,
            progress: Progress::default(),
            keys: BTreeSet::new(),
        }
    }

    /// Something is about to be asked.
    pub fn invoke(&mut self, now: u64, asked: &Asked) {
        self.progress.begun += 1;
        // The name of a service's lock is no key.
        let is_key = asked.wish.kind != Kind::LockService;
        for key in asked.wish.keys.iter().filter(|_| is_key) {
            if !self.keys.contains(key) {
                self.keys.insert(key.clone());
            }
        }
        let event = Event { value: argument(&asked.wish), ..event(now, Type::Invoke, asked) };
        self.take(&event);
    }

    /// The answer has come, or will not.
    pub fn complete(&mut self, now: u64, asked: &Asked, ended: &Ended) {
        let (kind, counter) = match ended.outcome {
            Outcome::Ok { .. } => (Type::Ok, &mut self.progress.ok),
            Outcome::Failed | Outcome::Mismatch => (Type::Fail, &mut self.progress.failed),
            Outcome::Unknown => (Type::Info, &mut self.progress.unknown),
        };
        *counter += 1;
        let mut event = event(now, kind, asked);
        event.error.clone_from(&ended.error);
        match &ended.outcome {
            Outcome::Ok { found, rev } => {
                event.rev = *rev;
                event.value = answer(&asked.wish, found);
                if !asked.wish.call.only_looks() {
                    self.progress.acknowledged = Some(now);
                    self.progress.writes += 1;
                }
            }
            Outcome::Mismatch => event.error = Some("mismatch".to_owned()),
            Outcome::Failed | Outcome::Unknown => {}
        }
        self.take(&event);
    }

    /// A line that somebody else made: an onlooker's, who asks nobody.
    pub fn note(&mut self, event: &Event) {
        self.take(event);
    }

    fn take(&mut self, event: &Event) {
        let line = event.to_line();
        self.lines += 1;
        self.hash.update(line.as_bytes());
        if let Some(out) = &mut self.out
            && let Err(error) = out.write_all(line.as_bytes())
        {
            self.trouble.get_or_insert(format!("the history cannot be written: {error}"));
            self.out = None;
        }
        if let Err(bad) = self.reader.line(line.trim_end().as_bytes()) {
            self.trouble.get_or_insert(format!("the history makes no sense: {bad}"));
        }
    }

    /// Every key that was asked for.
    pub fn keys(&self) -> &BTreeSet<String> {
        &self.keys
    }

    pub fn progress(&self) -> Progress {
        self.progress
    }

    /// Why the history is not whole, if it is not. What is in it is true all the same: what is
    /// missing at its end counts as unknown.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The whole; what is under way stays unknown.
    pub fn finish(mut self) -> Recording {
        if let Some(Err(error)) = self.out.as_mut().map(|out| out.flush()) {
            self.trouble.get_or_insert(format!("the history cannot be written: {error}"));
        }
        Recording {
            history: self.reader.finish(),
            hash: format!("{:016x}", self.hash.digest()),
            lines: self.lines,
            trouble: self.trouble,
        }
    }
}

fn event(now: u64, kind: Type, asked: &Asked) -> Event {
    let Asked { process, node, wish } = asked;
    let lease = || wish.lease.map(|lease| lease.to_string());
    let (key, lease) = match &wish.call {
        Call::Txn(_) => (None, None),
        Call::Grant(_) | Call::KeepAlive | Call::Revoke => (lease(), None),
        Call::Release(_) => (Some(wish.key().to_owned()), None),
        _ => (Some(wish.key().to_owned()), lease()),
    };
    Event {
        process: *process,
        kind,
        f: wish.call.name().to_owned(),
        key,
        value: None,
        lease,
        time: Some(now),
        node: Some(*node),
        rev: None,
        error: None,
    }
}

/// What an invocation says.
fn argument(wish: &Wish) -> Option<Value> {
    match &wish.call {
        // Nobody is asked to watch: that is noted.
        Call::Read | Call::Delete | Call::Watch { .. } => None,
        Call::Write(value) | Call::Append(value) => Some(text(Some(value))),
        Call::Cas { old, new } => Some(json!([text(old.as_ref()), text(new.as_ref())])),
        Call::Txn(steps) => Some(transaction(&wish.keys, steps, None)),
        Call::Grant(life) => Some(json!(["grant", life.as_millis() as u64])),
        Call::KeepAlive => Some(json!(["keep-alive"])),
        Call::Revoke => Some(json!(["revoke"])),
        Call::Acquire(holder) => Some(json!(["acquire", text(Some(holder))])),
        Call::Release(holder) => Some(json!(["release", text(Some(holder))])),
    }
}

/// What the end of something that is done says besides.
fn answer(wish: &Wish, found: &Found) -> Option<Value> {
    match (&wish.call, found) {
        (_, Found::Value(value)) => Some(text(value.as_ref())),
        (_, Found::Life(life)) => Some(json!(["grant", life.as_millis() as u64])),
        (Call::Txn(steps), Found::Values(values)) => {
            Some(transaction(&wish.keys, steps, Some(values)))
        }
        _ => None,
    }
}

/// The steps of a transaction, with what its reads found if that is known.
fn transaction(keys: &[String], steps: &[Step], found: Option<&[Option<Bytes>]>) -> Value {
    let mut found = found.into_iter().flatten();
    let step = |Step { key, deed }: &Step| {
        let key = &keys[*key];
        match deed {
            Deed::Check(value) => json!(["check", key, text(value.as_ref())]),
            Deed::Read => match found.next() {
                Some(value) => json!(["read", key, text(value.as_ref())]),
                None => json!(["read", key]),
            },
            Deed::Write(value) => json!(["write", key, text(Some(value))]),
            Deed::Append(value) => json!(["append", key, text(Some(value))]),
            Deed::Delete => json!(["delete", key]),
        }
    };
    steps.iter().map(step).collect()
}

/// All values of a trial are text; what is not comes from nobody, and stays so.
pub(super) fn text(value: Option<&Bytes>) -> Value {
    value.map_or(Value::Null, |value| String::from_utf8_lossy(value).into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::types::LeaseId;

    fn asked(process: u64, call: Call) -> Asked {
        Asked { process, node: 2, wish: Wish::of(Kind::Register, "k", call) }
    }

    fn done(rev: u64) -> Ended {
        Ended { outcome: Outcome::Ok { found: Found::Nothing, rev: Some(rev) }, error: None }
    }

    fn ok(found: Option<&str>, rev: u64) -> Ended {
        let found = Found::Value(found.map(|text| Bytes::from(text.to_owned())));
        Ended { outcome: Outcome::Ok { found, rev: Some(rev) }, error: None }
    }

    #[test]
    fn every_call_and_every_outcome_is_read_back_as_it_was() {
        let (a, b) = (Bytes::from("a"), Bytes::from("b"));
        let swap = Call::Cas { old: None, new: Some(b.clone()) };
        let unknown = Ended { outcome: Outcome::Unknown, error: Some("lost".into()) };
        let failed = Ended { outcome: Outcome::Failed, error: Some("nobody leads".into()) };
        let mismatch = Ended { outcome: Outcome::Mismatch, error: None };
        let steps = [
            (asked(1, Call::Write(a.clone())), done(2)),
            (asked(1, Call::Read), ok(Some("a"), 2)),
            (asked(1, Call::Read), ok(None, 3)),
            (asked(1, swap.clone()), mismatch),
            (asked(1, Call::Append(b)), failed),
            (asked(1, Call::Delete), unknown.clone()),
            (asked(2, swap), unknown),
        ];
        let mut recorder = Recorder::new(None);
        for (now, (asked, ended)) in steps.iter().enumerate() {
            recorder.invoke(2 * now as u64, asked);
            recorder.complete(2 * now as u64 + 1, asked, ended);
        }
        let progress = recorder.progress();
        assert_eq!((progress.begun, progress.ok, progress.failed, progress.unknown), (7, 3, 2, 2));
        assert_eq!(progress.acknowledged, Some(1));
        let recording = recorder.finish();
        assert_eq!((recording.lines, recording.trouble), (14, None));
        for (operation, (asked, ended)) in recording.history.operations.iter().zip(&steps) {
            assert_eq!((&operation.call, &operation.outcome), (&asked.wish.call, &ended.outcome));
            assert_eq!((operation.process, operation.node), (asked.process, Some(2)));
        }
    }

    #[test]
    fn transactions_leases_and_locks_are_read_back_with_their_names() {
        let keys = ["a", "b"].map(str::to_owned).to_vec();
        let value = |text: &'static str| Some(Bytes::from(text));
        let steps = vec![
            Step { key: 1, deed: Deed::Check(None) },
            Step { key: 0, deed: Deed::Read },
            Step { key: 1, deed: Deed::Append("[1.1]".into()) },
            Step { key: 1, deed: Deed::Read },
            Step { key: 0, deed: Deed::Delete },
        ];
        let of = |call| Wish { kind: Kind::Lease, keys: keys.clone(), lease: None, call };
        let under = |call| Wish { lease: Some(LeaseId(5)), ..of(call) };
        let found = Found::Values(vec![None, value("[1.1]")]);
        let life = Duration::from_secs(3);
        let ok = |found| Outcome::Ok { found, rev: Some(3) };
        let nothing = || Found::Nothing;
        let all = [
            (of(Call::Txn(steps)), ok(found), "b", None),
            (under(Call::Grant(life - Duration::from_secs(1))), ok(Found::Life(life)), "5", None),
            (under(Call::Write("x".into())), ok(nothing()), "a", Some("5")),
            (under(Call::KeepAlive), ok(nothing()), "5", None),
            (under(Call::Acquire("1.2".into())), ok(nothing()), "a", Some("5")),
            (under(Call::Release("1.2".into())), Outcome::Mismatch, "a", None),
            (under(Call::Revoke), Outcome::Mismatch, "5", None),
        ];
        let mut recorder = Recorder::new(None);
        for (now, (wish, outcome, ..)) in all.iter().enumerate() {
            let asked = Asked { process: 1, node: 2, wish: wish.clone() };
            recorder.invoke(2 * now as u64, &asked);
            let ended = Ended { outcome: outcome.clone(), error: None };
            recorder.complete(2 * now as u64 + 1, &asked, &ended);
        }
        assert_eq!(recorder.progress().writes, 4, "to keep alive is no write");
        let recording = recorder.finish();
        assert_eq!(recording.trouble, None);
        let History { keys, operations } = &recording.history;
        for (operation, (wish, outcome, key, lease)) in operations.iter().zip(&all) {
            assert_eq!((operation.call.name(), &operation.outcome), (wish.call.name(), outcome));
            assert_eq!(keys[operation.key].name, *key);
            assert_eq!(operation.lease.map(|place| keys[place].name.as_str()), *lease);
        }
    }

    #[test]
    fn a_history_that_cannot_be_written_is_known_not_to_be_whole() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut recorder = Recorder::new(Some(Box::new(Full)));
        recorder.invoke(1, &asked(1, Call::Read));
        recorder.complete(2, &asked(1, Call::Read), &ok(None, 1));
        assert!(recorder.trouble().unwrap().contains("cannot be written"));
        // It is in memory.
        let recording = recorder.finish();
        assert_eq!((recording.history.operations.len(), recording.lines), (1, 2));
        assert!(recording.trouble.is_some());
    }
}

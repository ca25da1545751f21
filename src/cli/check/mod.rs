//! `kvctl check`: what a recorded history proves.
//!
//! The work is [`verify`](crate::verify)'s; here the file is read, the clock looked at, and the
//! verdict printed. The search runs in a thread of its own: it would hold up the progress.

pub mod tell;

use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::spawn_blocking;

use super::Global;
use super::failure::{Exit, Failure, Outcome};
use super::interrupt::Interrupt;
use super::output::Progress;
use super::units;
use crate::verify::history::{History, Kind, MAX_LINE, Reader};
use crate::verify::judge::{Judged, Limits, Subject, judge};

/// Is a recorded history linearizable?
///
/// Reads what clients did and were told, as JSON Lines, and looks for an order of the operations,
/// each at one moment between its call and its answer, that explains every answer. If there is
/// none, the smallest contradictory part is told. Transactions, leases and locks are judged with
/// the keys that they touch; watches by the revisions of what they were told.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl check history.jsonl
  kvctl check - < history.jsonl
  kvctl check history.jsonl --timeout 10m --junit report.xml
  kvctl check history.jsonl -o json

A line of a history, and its answer:
  {\"process\":3,\"type\":\"invoke\",\"f\":\"write\",\"key\":\"k\",\"value\":\"a\",\"time\":12}
  {\"process\":3,\"type\":\"ok\",\"f\":\"write\",\"key\":\"k\",\"time\":19,\"rev\":7}
type: invoke, and then ok, fail (certainly no effect) or info (nobody knows; the process ends).
Lines stand in the order in which things happened; time (nanoseconds), node and rev (the store's
revision, in an ok) may be left out. null is absent. f, and its value:
  read    in the ok: what was found         write   a string
  delete  none                              append  a string, added to the end
  cas     [old, new]
  txn     without a key, a list of steps: [\"check\",KEY,VALUE] first, then [\"read\",KEY],
          [\"write\",KEY,STRING], [\"append\",KEY,STRING], [\"delete\",KEY]; in the ok each read
          with what it found: [\"read\",KEY,VALUE]
  lease   [\"grant\",MILLISECONDS], [\"keep-alive\"] or [\"revoke\"]; the key is its name.
          A write, cas, append or lock with \"lease\":NAME attaches its key to it
  lock    [\"acquire\",HOLDER] or [\"release\",HOLDER]; the rev of an acquire is its fencing token.
          The key is a key of the store, or the name of a service's lock, which no watch covers
  watch   {\"from\":REVISION,\"prefix\":BOOL}; in the ok {\"events\":[[REVISION,KEY,VALUE],...],
          \"upto\":REVISION}: all that it was told of these revisions
What was not as a cas, a check, a keep-alive, a revoke or a release wanted it is fail with
\"error\":\"mismatch\". A lease is granted once.
The whole format: cargo doc, kvraft::verify::history.

Exit codes: 0 valid, 4 violation, 5 unknown (out of time or steps), 2 the history makes no sense.

JSON fields: schema_version, verdict (valid, violation, unknown), operations: f, ok, fail, mismatch,
info; keys, keys_valid, keys_violated, keys_unknown, seconds, unknown: key, why (steps, stopped);
violations: key (or keys that were judged together), property (linearizability, durability,
revisions, transactions, leases, locks, watches), story, why, part: process, f, line (of its call),
ended_line")]
pub struct Check {
    /// The history; `-` reads standard input
    #[arg(value_name = "HISTORY")]
    pub file: PathBuf,
    /// Stop after so long; keys that are not judged by then are unknown
    #[arg(long, default_value = "60s", value_name = "TIME",
          value_parser = units::parse_positive_duration)]
    pub timeout: Duration,
    /// Steps of the search for each key, or keys that are judged together; each takes some 64 bytes
    #[arg(long, default_value_t = 10_000_000, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub max_steps: u64,
    /// Write the verdict as JUnit XML, too: a test case for each property and violated key
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
}

/// What became of a history.
pub struct Checked<'a> {
    pub history: &'a History,
    pub subjects: &'a [Subject],
    pub elapsed: Duration,
}

pub async fn run(global: &Global, command: Check) -> Outcome {
    let began = Instant::now();
    let file = command.file.clone();
    let history = aside(move || read(&file)).await??;
    let done = Arc::new(AtomicUsize::new(0));
    let stop = Arc::new(AtomicBool::new(false));
    let deadline = began + command.timeout;
    let (steps, is_done, is_stopped) = (command.max_steps, Arc::clone(&done), Arc::clone(&stop));
    let total = history.keys.len() as u64;
    let work = aside(move || {
        let mut go_on = |keys| {
            is_done.store(keys, Ordering::Relaxed);
            Instant::now() < deadline && !is_stopped.load(Ordering::Relaxed)
        };
        let subjects = judge(&history, Limits { steps, go_on: &mut go_on });
        (history, subjects)
    });
    tokio::pin!(work);
    let progress = Progress::count("checking keys", total);
    let mut interrupt = Interrupt::new()?;
    let mut interrupted = false;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let (history, subjects) = loop {
        tokio::select! {
            judged = &mut work => break judged?,
            _ = tick.tick() => progress.position(done.load(Ordering::Relaxed) as u64),
            () = interrupt.wait() => {
                interrupted = true;
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    drop(progress);
    if interrupted {
        return Err(Failure::new(Exit::Interrupted, "interrupted"));
    }
    let checked = Checked { history: &history, subjects: &subjects, elapsed: began.elapsed() };
    if let Some(path) = &command.junit {
        tell::write_junit(&tell::junit("kvctl check", &checked), path)?;
    }
    tell::verdict(global, &checked)?;
    Ok(checked.exit())
}

impl Checked<'_> {
    /// The keys of all subjects of which it is so.
    fn count(&self, is: impl Fn(&Judged) -> bool) -> usize {
        let subjects = self.subjects.iter().filter(|subject| is(&subject.verdict));
        subjects.map(|subject| subject.keys.len()).sum()
    }

    /// The keys of subjects that are valid: of watches, or of all others.
    fn valid(&self, of_watches: bool) -> usize {
        let is_watch = |key: &usize| matches!(self.history.keys[*key].kind, Kind::Watched { .. });
        let valid = self.subjects.iter().filter(|it| it.verdict == Judged::Valid);
        valid.flat_map(|it| &it.keys).filter(|key| is_watch(key) == of_watches).count()
    }

    fn violated(&self) -> usize {
        self.count(|judged| matches!(judged, Judged::Violated(_)))
    }

    fn unknown(&self) -> usize {
        self.count(|judged| matches!(judged, Judged::Unknown(_)))
    }

    /// One key is enough for a violation, whatever the others are; what is unknown is never valid.
    fn exit(&self) -> u8 {
        match (self.violated(), self.unknown()) {
            (0, 0) => 0,
            (0, _) => Exit::Undecided as u8,
            _ => Exit::Violated as u8,
        }
    }
}

/// Does something long in a thread of its own.
pub async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Failure> {
    let done = spawn_blocking(work).await;
    done.map_err(|error| Failure::failed(format!("the check itself failed: {error}")))
}

/// Reads a history; of a line that never ends, no more than a line may have.
fn read(path: &Path) -> Result<History, Failure> {
    let is_stdin = path.as_os_str() == "-";
    let name = match is_stdin {
        true => "standard input".to_owned(),
        false => path.display().to_string(),
    };
    let cannot = |error: io::Error| Failure::usage(format!("cannot read {name}: {error}"));
    let input: Box<dyn Read> = match is_stdin {
        true => Box::new(io::stdin()),
        false => Box::new(std::fs::File::open(path).map_err(cannot)?),
    };
    let mut input = BufReader::with_capacity(256 << 10, input);
    let mut reader = Reader::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let most = MAX_LINE as u64 + 2;
        if (&mut input).take(most).read_until(b'\n', &mut line).map_err(cannot)? == 0 {
            return Ok(reader.finish());
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        reader.line(text).map_err(|bad| Failure::usage(format!("{name}, {bad}")))?;
    }
}

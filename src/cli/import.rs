//! `kvctl import`: loads JSON Lines.
//!
//! # The rule
//!
//! Many puts are under way at once; each is one write of the client's session, so a leader that
//! dies meanwhile loses nothing and doubles nothing. Two lines with the same key are never under
//! way together: the later one waits, and so wins, as in the file.
//!
//! When a line is bad, all lines before it have been handed to the cluster, and none after it; they
//! are waited for, and what is said then is exact: so many are loaded.

mod lines;

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::io::{AsyncBufRead, BufReader};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

use super::Global;
use super::failure::{Exit, Failure, Outcome};
use super::interrupt::Interrupt;
use super::output::{self, Format, Progress};
use super::reach::{self, Cluster, Reach};
use super::units::{parse_positive_duration, short_duration};
use crate::client::{ClientError, Options};
use crate::config::Address;
use crate::observe::trace;
use lines::Lines;

/// Load records from a file of JSON Lines
///
/// Each line is {"key": …, "value": …}, or with key_b64 and value_b64 in base64. A leader that is
/// lost meanwhile makes it wait, and neither loses nor doubles a record. Loading the same file
/// again is harmless.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl import data.jsonl
  gzip -dc data.jsonl.gz | kvctl import -
  kvctl import data.jsonl --prefix copy/ --rate 300
  kvctl import data.jsonl --on-error skip

JSON fields: schema_version, loaded, skipped (bad lines), lines, bytes, seconds, complete")]
pub struct Import {
    /// The file; `-` reads standard input
    pub file: PathBuf,
    /// Put this in front of every key
    #[arg(long, default_value = "", hide_default_value = true)]
    pub prefix: String,
    /// At most so many records a second
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// What to do about a bad line
    #[arg(long, value_enum, default_value_t = OnError::Stop)]
    pub on_error: OnError,
    /// How many records may be under way at once
    #[arg(long, default_value_t = 64, value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=512))]
    pub in_flight: u16,
    /// Nodes to talk to, separated by commas [default: those of --name, else KVRAFT_ENDPOINTS in
    /// the environment, else those of the default cluster]
    #[arg(long, value_delimiter = ',', value_name = "ADDRESS")]
    pub endpoints: Vec<Address>,
    /// Give up when a record is not taken for so long
    #[arg(long, default_value = "30s", value_name = "TIME", value_parser = parse_positive_duration)]
    pub timeout: Duration,
}

/// What to do about a line that is no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum OnError {
    /// Stop there; the lines before it are loaded
    Stop,
    /// Name it on standard error and go on
    Skip,
}

/// What was done; what `-o json` prints.
#[derive(Debug, Default, Serialize)]
struct Done {
    loaded: u64,
    skipped: u64,
    lines: u64,
    bytes: u64,
    seconds: f64,
    complete: bool,
}

pub async fn run(global: &Global, command: Import) -> Outcome {
    let reach = Reach { endpoints: command.endpoints.clone(), timeout: command.timeout };
    let options = Options {
        timeout: command.timeout,
        max_in_flight: command.in_flight.into(),
        ..Options::default()
    };
    // The file first: a name misspelt should not wait for a cluster.
    let from_stdin = command.file.as_os_str() == "-";
    let (input, total): (Box<dyn AsyncBufRead + Unpin>, Option<u64>) = if from_stdin {
        (Box::new(BufReader::new(tokio::io::stdin())), None)
    } else {
        let cannot = |error| {
            let file = command.file.display();
            Failure::new(Exit::Usage, format!("cannot read {file}: {error}"))
        };
        let file = tokio::fs::File::open(&command.file).await.map_err(cannot)?;
        let metadata = file.metadata().await.map_err(cannot)?;
        if metadata.is_dir() {
            let file = command.file.display();
            return Err(Failure::usage(format!("cannot read {file}: it is a directory")));
        }
        let length = metadata.is_file().then_some(metadata.len());
        (Box::new(BufReader::with_capacity(256 << 10, file)), length)
    };
    let cluster = reach::connect_with(global, &reach, None, options).await?;
    let began = Instant::now();
    let mut import = Importing {
        progress: Progress::bytes("importing", total),
        cluster: &cluster,
        lines: Lines::new(input),
        command: &command,
        done: Done::default(),
    };
    let ended = import.run().await;
    let Importing { mut done, progress, .. } = import;
    drop(progress);
    done.seconds = began.elapsed().as_secs_f64();
    done.complete = ended.is_ok();
    report(global, &done)?;
    ended.map(|()| 0)
}

fn report(global: &Global, done: &Done) -> Result<(), Failure> {
    match global.output {
        Format::Json => output::json(done),
        Format::Table | Format::Name => {
            let rate = done.loaded as f64 / done.seconds.max(0.001);
            let skipped = match done.skipped {
                0 => String::new(),
                1 => ", 1 bad line skipped".to_owned(),
                skipped => format!(", {skipped} bad lines skipped"),
            };
            let records = if done.loaded == 1 { "record" } else { "records" };
            output::line(format!(
                "loaded {} {records} in {} ({rate:.0}/s){skipped}",
                done.loaded,
                short_duration(Duration::from_secs_f64(done.seconds)),
            ))
        }
    }
}

struct Importing<'a, R> {
    cluster: &'a Cluster<'a>,
    lines: Lines<R>,
    command: &'a Import,
    progress: Progress,
    done: Done,
}

/// A put that ended.
struct Ended {
    line: u64,
    key: Bytes,
    bytes: usize,
    result: Result<(), ClientError>,
}

impl<R: AsyncBufRead + Unpin> Importing<'_, R> {
    async fn run(&mut self) -> Result<(), Failure> {
        // Tasks, not futures polled from here: they go on while this loop waits for its next line.
        let mut under_way = JoinSet::new();
        let mut keys = HashSet::new();
        let mut stop = self.feed(&mut under_way, &mut keys).await;
        // What is under way is waited for: each put ends by its own deadline.
        while let Some(ended) = under_way.join_next().await {
            let ended = self.ended(&mut keys, ended).await;
            stop = stop.and(ended);
        }
        stop.map_err(|failure| self.told(failure))
    }

    /// Hands line after line to the cluster, to the end of the file or to the first failure.
    async fn feed(
        &mut self,
        under_way: &mut JoinSet<Ended>,
        keys: &mut HashSet<Bytes>,
    ) -> Result<(), Failure> {
        let mut interrupt = Interrupt::new()?;
        let interrupted = || Failure::new(Exit::Interrupted, "interrupted");
        let began = Instant::now();
        let mut taken = 0_u32;
        loop {
            let line = tokio::select! {
                line = self.lines.next() => line,
                () = interrupt.wait() => return Err(interrupted()),
            };
            let Some(line) = line.map_err(|error| {
                Failure::failed(format!("cannot read {}: {error}", self.source()))
            })?
            else {
                return Ok(());
            };
            self.done.lines = line.number;
            let pair = match line.pair {
                Ok(Some(pair)) => pair,
                Ok(None) => continue,
                Err(why) => {
                    self.bad_line(line.number, &why)?;
                    continue;
                }
            };
            let key: Bytes = [self.command.prefix.as_bytes(), &pair.key].concat().into();
            let due = self.command.rate.map(|rate| began + Duration::from_secs(1) * taken / rate);
            taken = taken.saturating_add(1);
            loop {
                let full = under_way.len() >= self.command.in_flight.into();
                let early = due.is_some_and(|due| Instant::now() < due);
                if !full && !early && !keys.contains(&key) {
                    break;
                }
                tokio::select! {
                    Some(ended) = under_way.join_next() => self.ended(keys, ended).await?,
                    () = sleep_until(due.unwrap_or(began)), if early => {}
                    () = interrupt.wait() => return Err(interrupted()),
                }
            }
            keys.insert(key.clone());
            let client = self.cluster.client.clone();
            let putting = async move {
                let bytes = key.len() + pair.value.len();
                let result = client.put(key.clone(), pair.value).await.map(drop);
                Ended { line: line.number, key, bytes, result }
            };
            under_way.spawn_local(trace::within(trace::current(), putting));
        }
    }

    async fn ended(
        &mut self,
        keys: &mut HashSet<Bytes>,
        ended: Result<Ended, JoinError>,
    ) -> Result<(), Failure> {
        let Ended { line, key, bytes, result } =
            ended.map_err(|error| Failure::failed(format!("a put failed: {error}")))?;
        keys.remove(&key);
        match result {
            Ok(()) => {
                self.done.loaded += 1;
                self.done.bytes += bytes as u64;
                self.progress.position(self.lines.position());
                self.progress.message(format!("{} records", self.done.loaded));
                Ok(())
            }
            Err(ClientError::Invalid(why)) => self.bad_line(line, &why),
            Err(error) => {
                Err(self.cluster.explain(error).await.while_doing(format!("line {line}")))
            }
        }
    }

    fn bad_line(&mut self, number: u64, why: &str) -> Result<(), Failure> {
        let line = format!("line {number} of {}: {why}", self.source());
        if self.command.on_error == OnError::Stop {
            return Err(Failure::failed(line)
                .next("mend the line, or go on past bad ones with --on-error skip"));
        }
        self.done.skipped += 1;
        output::warn(format!("{line}; skipped"));
        Ok(())
    }

    /// The file, as messages name it.
    fn source(&self) -> String {
        match self.command.file.as_os_str() == "-" {
            true => "standard input".to_owned(),
            false => self.command.file.display().to_string(),
        }
    }

    /// Says what was loaded before it went wrong.
    fn told(&self, mut failure: Failure) -> Failure {
        let Done { loaded, lines, .. } = self.done;
        failure.message.push_str(&format!(
            "\n       loaded so far: {loaded} records, of the first {lines} lines (to load them \
             again is harmless)"
        ));
        failure
    }
}

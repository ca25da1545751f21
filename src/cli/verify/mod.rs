//! `kvctl verify`: clients, faults, and what that proves.
//!
//! The work is [`trial`](crate::trial)'s and [`verify`](crate::verify)'s; here it is decided where
//! files lie, when it is over, and what is printed.

pub mod keeper;
pub mod places;
pub mod tell;

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use self::keeper::Keeper;
use self::places::{Files, Places};
use super::check::{Checked, aside, tell as checked};
use super::failure::{Exit, Failure, Outcome};
use super::interrupt::Interrupt;
use super::output::{self, Progress};
use super::units;
use super::{Global, cluster, reach};
use crate::control::Judged;
use crate::scenario::Held;
use crate::supervisor::launch::{self, Start, Until};
use crate::trial::nemesis::table::{self, Row};
use crate::trial::{
    Judgement, Kind, Reads, Record, Setup, Statistics, Trial, TrialError, Verdict, Workload, report,
};
use crate::verify::judge::{self, Limits};

/// Break the cluster at random while clients use it, and prove what held
///
/// Concurrent clients read, write, swap and append through every node, by the native protocol, and
/// use transactions, leases and locks by etcd's API; onlookers watch all that. Each writes down
/// what it asked for and what it was told. Meanwhile faults come and go, drawn from the seed; each
/// ends by itself, even if this command is killed. Then the cluster must recover, leases must end,
/// every watch must have come to the last revision, every key is read through every node, the
/// replicas are compared, and the history is judged: is there an order that explains every answer?
/// Ctrl-C heals, and judges what there is; a second one leaves. The keys verify/… stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl verify
  kvctl verify --duration 5m --seed 7 --report report.html --history history.jsonl
  kvctl verify --faults partition,kill,disk --workloads cas --clients 20
  kvctl verify --faults none --rate 5000 -o json
  kvctl verify --duration 10s --reads stale     stale reads are not linearizable: see it told

Workloads: register (reads, writes), cas (compare-and-swap) and multi-key (appends, deletes) by the
native protocol; by etcd's API txn (transactions over some keys), lease (keys that go with their
leases, which are kept alive, revoked, or left to end), lock (locks under leases, by transactions;
some holders die) and lock-service (the same by etcd's service for locks, where clients wait for
their turn); watch (two watches at each node, of what the others do); all.

Faults: partition, isolate, one-way, rings, bridge, cut, stall, delay, loss, dup, reorder, rate,
pause, kill, terminate, crash-loop, slow-cpu, memory, clock, disk, corrupt (see kvctl chaos --help),
power-cut (disks forget what is not synced, and all are killed); all, none.

Without --history and --report both are written to the cluster's directory (verify/…), where those
of the last five runs are kept. `kvctl check HISTORY` judges a history again.

Exit codes: 0 valid; 4 a contradiction, or an expectation that was broken (no recovery, a lease that
nobody keeps alive and that does not end, a watch that does not come to the end, a final read
without an answer, replicas that differ, two leaders of a term); 5 unknown (out of time or steps, or
the cluster is gone).

JSON fields: schema_version, verdict (valid, violation, unknown), interrupted, seed, workload:
clients, kinds, rate, keys, operations_per_key, timeout_millis, reads, read_percent;
allowed_faults, cluster:
name, nodes, transport, durability, build; build (of kvctl), began_unix_millis, seconds,
operations: f, ok, fail, mismatch, info; final_reads, ops_per_second, latency_seconds: p50 p99 max;
longest_gap (without an acknowledged write): seconds, began_seconds; watches (null without any):
watches, events, interruptions, compactions, longest_silence_seconds; faults: kind, injected,
refused, silence_seconds, recovery_seconds: median max; leaders: leaderships, first_term, last_term,
leaderless_seconds, nodes: node, seconds; casualties: leader_changes, node_starts,
snapshots_installed (at least: what a process installed right before it died is not known),
snapshots_installed_under_watches (at a node where a watch stood meanwhile); expectations: name,
held (yes, no, unknown), detail; check: as in kvctl check; history: path, lines, xxh3; report,
check_again")]
pub struct Verify {
    /// How long clients and faults are at work
    #[arg(long, default_value = "60s", value_name = "TIME",
          value_parser = units::parse_positive_duration)]
    pub duration: Duration,
    /// Kinds of faults to inject
    #[arg(long, default_value = "all", value_delimiter = ',', value_name = "KIND,…")]
    pub faults: Vec<String>,
    /// How many clients work at the same time
    #[arg(long, default_value_t = 10, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub clients: u32,
    /// What they do
    #[arg(long, default_value = "all", value_delimiter = ',', value_name = "KIND,…")]
    pub workloads: Vec<String>,
    /// Operations a second that they begin, all together, at most
    #[arg(long, default_value_t = 500, value_name = "N",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub rate: u32,
    /// How they read
    #[arg(long, value_enum, default_value_t = Freshness::Linearizable)]
    pub reads: Freshness,
    /// Draws faults and operations [default: a new one each time, which is printed]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub files: Files,
    /// Write the verdict as JUnit XML, too
    #[arg(long, value_name = "FILE")]
    pub junit: Option<PathBuf>,
    /// Stop judging after so long; keys that are not judged by then are unknown
    #[arg(long, default_value = "5m", value_name = "TIME",
          value_parser = units::parse_positive_duration)]
    pub check_timeout: Duration,
    /// Do it to a protected cluster, too: faults take away its majority now and then
    #[arg(long)]
    pub yes: bool,
}

/// How clients read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Freshness {
    Linearizable,
    /// A replica's state as it is, possibly old: a violation, and meant to be one
    Stale,
}

/// For a cluster to be ready before the trial begins.
const PATIENCE: Duration = Duration::from_secs(10);
/// Steps of the search for each key, as in `kvctl check`.
const MAX_STEPS: u64 = 10_000_000;

impl Verify {
    fn workload(&self) -> Result<Workload, Failure> {
        let workload = Workload {
            clients: self.clients,
            kinds: self.kinds()?,
            rate: self.rate,
            reads: match self.reads {
                Freshness::Linearizable => Reads::Linearizable,
                Freshness::Stale => Reads::Stale,
            },
            ..Workload::default()
        };
        workload.validate().map_err(Failure::usage)?;
        Ok(workload)
    }

    fn kinds(&self) -> Result<Vec<Kind>, Failure> {
        match self.workloads.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["all"] => Ok(Kind::ALL.to_vec()),
            ref names => names
                .iter()
                .map(|name| name.parse())
                .collect::<Result<_, _>>()
                .map_err(Failure::usage),
        }
    }

    fn rows(&self) -> Result<Vec<&'static Row>, Failure> {
        match self.faults.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["all"] => Ok(table::TABLE.iter().collect()),
            ["none"] => Ok(Vec::new()),
            ref names => names.iter().map(|name| row(name)).collect(),
        }
    }
}

fn row(name: &str) -> Result<&'static Row, Failure> {
    table::row(name).ok_or_else(|| {
        let known: Vec<_> = table::TABLE.iter().map(|row| row.name).collect();
        let known = known.join(", ");
        Failure::usage(format!("`{name}` is no kind of fault: there are {known}; all, none"))
    })
}

pub async fn run(global: &Global, command: Verify) -> Outcome {
    let (rows, workload) = (command.rows()?, command.workload()?);
    let directory = reach::directory(global)?;
    let supervisor = cluster::supervisor(global).await?;
    launch::wait(&supervisor, Until::Ready, PATIENCE, |_| {}).await.map_err(Failure::from)?;
    let seed = command.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let places = Places::choose(&command.files, &places::of_cluster(&directory), seed)?;
    output::note(format!("seed {seed}, history in {}", places.history.display()));
    let mut interrupt = Interrupt::new()?;
    let history = BufWriter::with_capacity(256 << 10, places.claim()?);
    command.junit.iter().try_for_each(|path| places::create(path).map(drop))?;
    let setup = Setup {
        seed,
        workload,
        faults: rows,
        supervisor: directory.supervisor_address(),
        yes: command.yes,
        history: Some(Box::new(history) as Box<dyn Write>),
    };
    let mut trial = Trial::start(setup).await?;
    let mut keeper = Keeper::new(&directory, Start::default());
    let interrupted = watch(&mut trial, command.duration, &mut keeper, &mut interrupt).await;
    let record = finish(trial, &mut interrupt, &places).await?;
    let (record, judgement, took) = judge(record, command.check_timeout, &mut interrupt).await?;
    let statistics = Statistics::of(&record);
    let path = places.history.display().to_string();
    places::write(&places.report, &report::html(&record, &judgement, &statistics, &path))?;
    let checked =
        Checked { history: record.history(), subjects: &judgement.subjects, elapsed: took };
    if let Some(path) = &command.junit {
        checked::write_junit(&tell::junit(&checked, &record, &statistics), path)?;
    }
    let told = tell::Told {
        record: &record,
        verdict: judgement.verdict,
        statistics: &statistics,
        checked,
        places: &places,
        interrupted,
    };
    told.print(global)?;
    // For the cluster's history and metrics; one that is gone has neither.
    if let Ok(supervisor) = cluster::supervisor(global).await
        && let Err(error) = supervisor.judged(&judged(&record, &judgement)).await
    {
        output::warn(format!("the cluster's history does not hold the verdict: {error}"));
    }
    Ok(match judgement.verdict {
        Verdict::Valid => 0,
        Verdict::Violation => Exit::Violated as u8,
        Verdict::Unknown => Exit::Undecided as u8,
    })
}

/// The verdict as the supervisor is told it.
fn judged(record: &Record, judgement: &Judgement) -> Judged {
    let mut violations = BTreeMap::<String, u64>::new();
    for subject in &judgement.subjects {
        if let judge::Judged::Violated(violation) = &subject.verdict {
            *violations.entry(violation.property.name().to_owned()).or_default() += 1;
        }
    }
    let broken = record.expectations.iter().filter(|it| it.held == Held::No).count() as u64;
    if broken > 0 {
        violations.insert("expectation".to_owned(), broken);
    }
    Judged {
        verdict: judgement.verdict.name().to_owned(),
        seed: record.seed,
        operations: record.history().operations.len() as u64,
        violations,
    }
}

/// Looks on until the time is over, or the cluster gone; true if somebody wanted it to end before.
async fn watch(
    trial: &mut Trial,
    duration: Duration,
    keeper: &mut Keeper<'_>,
    interrupt: &mut Interrupt,
) -> bool {
    let progress = Progress::spinner("");
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = interrupt.signalled() => return true,
        }
        let elapsed = trial.elapsed();
        if elapsed >= duration || trial.trouble().is_some() || !keeper.look().await {
            return false;
        }
        progress.message(tell::progress(trial, elapsed, duration));
    }
}

/// Heals first of all; after that, whoever wants to leave may.
async fn finish(
    mut trial: Trial,
    interrupt: &mut Interrupt,
    places: &Places,
) -> Result<Record, Failure> {
    let _progress =
        Progress::spinner("the faults are healed; every key is read through every node");
    // What cannot be healed ends by itself; the record will say so.
    let _ = trial.heal().await;
    tokio::select! {
        record = trial.finish() => Ok(record?),
        () = interrupt.signalled() => Err(left(places)),
    }
}

/// Judges the history, in a thread of its own.
pub async fn judge(
    record: Record,
    timeout: Duration,
    interrupt: &mut Interrupt,
) -> Result<(Record, Judgement, Duration), Failure> {
    let began = Instant::now();
    let done = Arc::new(AtomicUsize::new(0));
    let progress = Progress::count("checking keys", record.history().keys.len() as u64);
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let (is_done, is_stopped) = (Arc::clone(&done), Arc::clone(&stop));
    let work = aside(move || {
        let mut go_on = |keys| {
            is_done.store(keys, Ordering::Relaxed);
            began.elapsed() < timeout && !is_stopped.load(Ordering::Relaxed)
        };
        let judgement = record.judge(Limits { steps: MAX_STEPS, go_on: &mut go_on });
        (record, judgement, began.elapsed())
    });
    tokio::pin!(work);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            judged = &mut work => return judged,
            _ = tick.tick() => progress.position(done.load(Ordering::Relaxed) as u64),
            // What is not judged by now stays unknown.
            () = interrupt.signalled() => stop.store(true, Ordering::Relaxed),
        }
    }
}

/// Somebody does not wait for the end.
pub fn left(places: &Places) -> Failure {
    let what = "interrupted; no fault is begun any more (kvctl chaos status), nothing was judged";
    Failure::new(Exit::Interrupted, what)
        .next(format!("judge what was recorded: kvctl check {}", places.history.display()))
}

impl From<TrialError> for Failure {
    fn from(error: TrialError) -> Failure {
        match error {
            TrialError::Control(error) => error.into(),
            TrialError::Invalid(why) => Failure::usage(why),
            TrialError::NotNow(_) | TrialError::Recording(_) => Failure::failed(error.to_string()),
        }
    }
}

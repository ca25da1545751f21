//! Threads that live lives, one at a time each, until there are no more seeds or nobody wants them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::cli::failure::Failure;
use crate::cli::interrupt::Interrupt;
use crate::cli::output::Progress;
use crate::scenario::{Finding, Held};
use crate::sim::{self, Coverage, Plan, Report, Schedule};

/// What a run of seeds came to.
#[derive(Debug, Default)]
pub struct Totals {
    pub seeds: u64,
    pub steps: u64,
    pub lived: Duration,
    pub elapsed: Duration,
    pub acknowledged: u64,
    pub undecided: u64,
    pub coverage: Coverage,
    pub violations: Vec<Report>,
    /// Of each expectation of a scenario: in how many lives it held, and in how many it was judged.
    pub findings: Vec<(Finding, u64, u64)>,
    pub interrupted: bool,
}

/// The name of the threads in which a panic is a finding, not an accident.
const THREAD: &str = "sim";

/// Lets panics in simulated nodes pass without a word: they are reported as what they are.
pub fn quiet_panics() {
    let loud = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        if std::thread::current().name() != Some(THREAD) {
            loud(info);
        }
    }));
}

/// Lives every seed of `seeds`; with `until_broken`, stops at the first that breaks something.
/// Seeds are begun in order, so that whatever is found is among the first.
pub async fn run(
    seeds: Range<u64>,
    plan: &Plan,
    jobs: usize,
    what: &str,
    until_broken: bool,
) -> Result<Totals, Failure> {
    let began = Instant::now();
    let total = seeds.end - seeds.start;
    let next = Arc::new(AtomicU64::new(seeds.start));
    let stop = Arc::new(AtomicBool::new(false));
    let (sender, mut reports) = mpsc::channel::<Report>(256);
    let mut threads = Vec::new();
    for _ in 0..jobs.clamp(1, total.clamp(1, 512) as usize) {
        let (next, stop, sender, plan) =
            (Arc::clone(&next), Arc::clone(&stop), sender.clone(), plan.clone());
        let end = seeds.end;
        let work = move || {
            while !stop.load(Ordering::Relaxed) {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= end || sender.blocking_send(sim::run(seed, &plan)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name(THREAD.into()).spawn(work);
        threads.push(thread.map_err(|e| Failure::failed(format!("cannot start a thread: {e}")))?);
    }
    drop(sender);
    let mut interrupt = Interrupt::new()?;
    let progress = Progress::count(what, total);
    let mut totals = Totals::default();
    loop {
        tokio::select! {
            report = reports.recv() => match report {
                Some(report) => totals.add(report),
                None => break,
            },
            () = interrupt.wait() => {
                totals.interrupted = true;
                stop.store(true, Ordering::Relaxed);
            }
        }
        if until_broken && !totals.violations.is_empty() {
            stop.store(true, Ordering::Relaxed);
        }
        let rate = totals.seeds as f64 / began.elapsed().as_secs_f64().max(1e-9);
        progress.position(totals.seeds);
        progress.message(format!("{rate:.0} seeds/s, {} failed", totals.violations.len()));
    }
    drop(progress);
    for thread in threads {
        // Whatever a life does is caught within it.
        let _ = thread.join();
    }
    totals.elapsed = began.elapsed();
    totals.violations.sort_by_key(|report| report.seed);
    Ok(totals)
}

impl Totals {
    fn add(&mut self, report: Report) {
        self.seeds += 1;
        self.steps += report.steps;
        self.lived += report.lived;
        self.acknowledged += report.acknowledged;
        self.undecided += report.undecided;
        self.coverage += &report.coverage;
        for (place, finding) in report.findings.iter().enumerate() {
            if self.findings.len() <= place {
                self.findings.push((finding.clone(), 0, 0));
            }
            let (_, held, judged) = &mut self.findings[place];
            *held += u64::from(finding.held == Held::Yes);
            *judged += u64::from(finding.held != Held::Unknown);
        }
        if report.broken.is_some() && self.violations.len() < MAX_VIOLATIONS {
            self.violations.push(report);
        }
    }
}

/// More failures than anybody looks at.
const MAX_VIOLATIONS: usize = 1_000;

/// Does something long in a thread of its own.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    let task = spawn_blocking(|| {
        std::thread::Builder::new().name(THREAD.into()).spawn(work).map(|thread| thread.join())
    });
    match task.await {
        Ok(Ok(Ok(done))) => Ok(done),
        Ok(Err(error)) => Err(Failure::failed(format!("cannot start a thread: {error}"))),
        Ok(Ok(Err(_))) | Err(_) => Err(Failure::failed("the simulator itself failed")),
    }
}

/// Lives one life.
pub async fn live(schedule: Schedule, told: bool) -> Result<Report, Failure> {
    aside(move || sim::live(schedule, told)).await
}

/// Makes a failure small.
pub async fn shrink(schedule: Schedule) -> Result<Option<(Schedule, Report)>, Failure> {
    let progress = Progress::count("making it small", sim::shrink::MAX_LIVES as u64);
    let (sender, mut lives) = mpsc::unbounded_channel();
    let work = aside(move || {
        sim::shrink(schedule, &mut |lives| {
            // Nobody listens only if the command has ended.
            let _ = sender.send(lives);
        })
    });
    tokio::pin!(work);
    loop {
        tokio::select! {
            done = &mut work => return done,
            Some(lived) = lives.recv() => progress.position(lived as u64),
        }
    }
}

//! A closed loop of clients, for measuring.
//!
//! Each client has one operation under way and starts the next when it is answered, as most
//! programs do; so the rate shows what the store sustains, and the latencies what a caller sees.
//! What is driven is a [`Target`], so that other stores can be measured by the same loop.
//!
//! # What can go wrong
//!
//! - *The measuring machine is the measured one.* All clients are tasks of one thread, share a few
//!   connections, and their values are made once.
//! - *The last operations distort.* Operations that are under way when time is over are waited for:
//!   their latencies count, so that one that hangs is seen, but they do not count for the rate,
//!   which is over the time asked for.
//! - *A store that fails fast looks fast.* Errors are counted apart, never as operations.

use std::cell::RefCell;
use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use hdrhistogram::Histogram;
use tokio::time::{Instant, sleep};

use super::{Client, ClientError};
use crate::replica::Consistency;
use crate::types::Random;

/// The longest latency that can be told from longer ones, in microseconds.
const LATENCY_MAX: u64 = 120_000_000;
/// After an error a client waits so long.
const ERROR_PAUSE: Duration = Duration::from_millis(10);
/// Puts under way while keys are written before the reads that want them.
const FILL_IN_FLIGHT: usize = 64;

/// A store that can be driven.
pub trait Target {
    /// Sets `key` to `value`.
    fn put(&self, key: Bytes, value: Bytes) -> impl Future<Output = Result<(), String>>;
    /// Reads `key`; with `stale`, in the store's cheapest manner.
    fn get(&self, key: Bytes, stale: bool) -> impl Future<Output = Result<(), String>>;
}

impl Target for Client {
    async fn put(&self, key: Bytes, value: Bytes) -> Result<(), String> {
        Client::put(self, key, value).await.map(drop).map_err(text)
    }

    async fn get(&self, key: Bytes, stale: bool) -> Result<(), String> {
        let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
        Client::get(self, key, consistency).await.map(drop).map_err(text)
    }
}

fn text(error: ClientError) -> String {
    error.to_string()
}

/// What the clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    Put,
    Get,
    StaleGet,
    /// Half puts, half linearizable gets.
    Mixed,
}

/// How much of it.
#[derive(Clone, Debug)]
pub struct Workload {
    pub mix: Mix,
    pub clients: usize,
    pub value_bytes: usize,
    /// Keys are drawn evenly from so many.
    pub keys: u64,
    /// Operations in this time are made and not counted…
    pub warm_up: Duration,
    /// …and in this time they are.
    pub duration: Duration,
    /// Of the keys drawn.
    pub seed: u64,
}

/// What was measured.
#[derive(Clone, Debug)]
pub struct Report {
    /// Operations that ended well within the time.
    pub operations: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    pub duration: Duration,
    /// In microseconds, of all that ended well.
    pub latency: Histogram<u64>,
    /// In microseconds, between one good end and the next, whichever clients they belong to: how
    /// long the system as a whole was silent.
    pub gaps: Histogram<u64>,
}

impl Report {
    /// Operations per second.
    pub fn rate(&self) -> f64 {
        self.operations as f64 / self.duration.as_secs_f64()
    }

    /// The latency that a share of `quantile` (0 to 1) of the operations did not exceed.
    pub fn latency_at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.latency.value_at_quantile(quantile))
    }

    /// The silence that a share of `quantile` (0 to 1) of the gaps did not exceed.
    pub fn gap_at(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.gaps.value_at_quantile(quantile))
    }
}

/// The key of number `index`.
pub fn key(index: u64) -> Bytes {
    format!("bench/{index:012}").into()
}

/// A value of `size` bytes that does not compress.
pub fn value(size: usize) -> Bytes {
    let mut random = Random::from_seed(size as u64);
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        bytes.extend_from_slice(&random.bits().to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}

/// Writes every key once, so that reads find something.
pub async fn fill<T: Target>(targets: &[T], workload: &Workload) -> Result<(), String> {
    let value = value(workload.value_bytes);
    let mut under_way = FuturesUnordered::new();
    for (index, target) in (0..workload.keys).zip(targets.iter().cycle()) {
        if under_way.len() >= FILL_IN_FLIGHT
            && let Some(ended) = under_way.next().await
        {
            ended?;
        }
        under_way.push(target.put(key(index), value.clone()));
    }
    while let Some(ended) = under_way.next().await {
        ended?;
    }
    Ok(())
}

struct Tally {
    report: Report,
    /// Operations are counted from here…
    begin: Instant,
    /// …to here.
    end: Instant,
    /// When the last one ended well.
    last: Option<Instant>,
}

/// Runs `workload` against `targets` (the clients are spread over them evenly).
pub async fn run<T: Target>(targets: &[T], workload: &Workload) -> Report {
    let value = value(workload.value_bytes);
    drive(targets, workload, async |target: &T, _, random: &mut Random| {
        let key = key(random.below(workload.keys.max(1)));
        match workload.mix {
            Mix::Put => target.put(key, value.clone()).await,
            Mix::Get => target.get(key, false).await,
            Mix::StaleGet => target.get(key, true).await,
            Mix::Mixed if random.chance(0.5) => target.put(key, value.clone()).await,
            Mix::Mixed => target.get(key, false).await,
        }
    })
    .await
}

/// Runs `workload`, except that its clients do what `operate` does: it is told the client's number,
/// from 0, and draws keys from what is random in that client.
pub async fn drive<T>(
    targets: &[T],
    workload: &Workload,
    operate: impl AsyncFn(&T, usize, &mut Random) -> Result<(), String>,
) -> Report {
    let begin = Instant::now() + workload.warm_up;
    let report = Report {
        operations: 0,
        errors: 0,
        first_error: None,
        duration: workload.duration,
        latency: histogram(),
        gaps: histogram(),
    };
    let end = begin + workload.duration;
    let tally = RefCell::new(Tally { report, begin, end, last: None });
    let mut clients: FuturesUnordered<_> = (0..workload.clients)
        .zip(targets.iter().cycle())
        .map(|(number, target)| client(target, number, workload.seed, &operate, &tally))
        .collect();
    while clients.next().await.is_some() {}
    drop(clients);
    tally.into_inner().report
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_MAX, 3)
        .unwrap_or_else(|error| unreachable!("the bounds are constants: {error}"))
}

/// One client: operation after operation until time is over.
async fn client<T>(
    target: &T,
    number: usize,
    seed: u64,
    operate: &impl AsyncFn(&T, usize, &mut Random) -> Result<(), String>,
    tally: &RefCell<Tally>,
) {
    let seed = seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut random = Random::from_seed(seed);
    let end = tally.borrow().end;
    loop {
        let began = Instant::now();
        if began >= end {
            return;
        }
        let result = operate(target, number, &mut random).await;
        let failed = result.is_err();
        tally.borrow_mut().record(began, result);
        if failed {
            sleep(ERROR_PAUSE).await;
        }
    }
}

impl Tally {
    fn record(&mut self, began: Instant, result: Result<(), String>) {
        let now = Instant::now();
        if now < self.begin {
            return;
        }
        match result {
            Ok(()) => {
                if now <= self.end {
                    self.report.operations += 1;
                }
                let micros = now.duration_since(began).as_micros() as u64;
                self.report.latency.saturating_record(micros.max(1));
                if let Some(last) = self.last.replace(now) {
                    let micros = now.duration_since(last).as_micros() as u64;
                    self.report.gaps.saturating_record(micros.max(1));
                }
            }
            Err(error) => {
                self.report.errors += 1;
                self.report.first_error.get_or_insert(error);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Answers after a fixed time; every tenth put fails.
    #[derive(Default)]
    struct Fake {
        puts: Cell<u64>,
        gets: Cell<u64>,
    }

    impl Target for Fake {
        async fn put(&self, _: Bytes, value: Bytes) -> Result<(), String> {
            assert_eq!(value.len(), 100);
            sleep(Duration::from_millis(10)).await;
            self.puts.set(self.puts.get() + 1);
            if self.puts.get().is_multiple_of(10) { Err("tenth".into()) } else { Ok(()) }
        }

        async fn get(&self, _: Bytes, stale: bool) -> Result<(), String> {
            assert!(!stale);
            sleep(Duration::from_millis(2)).await;
            self.gets.set(self.gets.get() + 1);
            Ok(())
        }
    }

    fn workload(mix: Mix) -> Workload {
        Workload {
            mix,
            clients: 4,
            value_bytes: 100,
            keys: 50,
            warm_up: Duration::from_millis(500),
            duration: Duration::from_secs(10),
            seed: 1,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn rate_latency_and_errors_are_those_of_the_target() {
        let report = run(&[Fake::default(), Fake::default()], &workload(Mix::Put)).await;
        // Four clients, ten milliseconds a put (and ten more after each error).
        assert!((300.0..400.0).contains(&report.rate()), "{}", report.rate());
        assert_eq!(report.latency_at(0.5), Duration::from_millis(10).max(report.latency_at(0.01)));
        assert!(report.gap_at(1.0) <= Duration::from_millis(21), "{:?}", report.gap_at(1.0));
        assert!((report.errors as f64 / report.operations as f64 - 1.0 / 9.0).abs() < 0.01);
        assert_eq!(report.first_error.as_deref(), Some("tenth"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_mixed_load_is_half_puts_and_half_gets() {
        let targets = [Fake::default()];
        run(&targets, &workload(Mix::Mixed)).await;
        let (puts, gets) = (targets[0].puts.get() as f64, targets[0].gets.get() as f64);
        assert!((0.9..1.1).contains(&(puts / gets)), "{puts} puts, {gets} gets");
    }
}

//! Figures of a trial: how fast, how long silent, how soon back.
//!
//! What counts as alive is an acknowledged write: it needs a leader and a majority. Two times are
//! told of each fault. Its *silence* is the longest time without an acknowledged write of which
//! some part falls into the fault: what it did. Its *recovery* is the time from its end to the next
//! acknowledged write: how soon all was well again. Of a fault that takes nothing away, both are
//! about the time between two writes.

use std::collections::BTreeMap;

use serde::Serialize;

use super::casualties::Toll;
use super::onlookers::Seen;
use super::verdict::Record;
use crate::verify::history::{Call, Count, History, Operation, Outcome};

/// Points that a curve has at most.
const BUCKETS: u64 = 300;
/// The shortest time that a point of a curve stands for.
const LEAST_BUCKET: u64 = 100_000_000;

/// All figures. Times are seconds since the beginning.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// While the clients worked.
    pub seconds: f64,
    pub operations: Vec<Count>,
    /// Reads that came after that, through every node; they are among the operations.
    pub final_reads: u64,
    pub ops_per_second: f64,
    pub latency_seconds: Latency,
    /// The longest time without an acknowledged write.
    pub longest_gap: Gap,
    /// What watches were told, if there were any.
    pub watches: Option<Seen>,
    pub faults: Vec<OfKind>,
    pub leaders: Leaders,
    /// What befell the nodes.
    pub casualties: Toll,
    #[serde(skip)]
    pub curves: Curves,
}

/// Of operations that ended in `ok`, from the call to the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
    pub max: f64,
}

/// A time in which no write was acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Gap {
    pub seconds: f64,
    pub began_seconds: f64,
}

/// Faults of one kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfKind {
    pub kind: String,
    pub injected: usize,
    pub refused: usize,
    pub silence_seconds: Spread,
    pub recovery_seconds: Spread,
}

/// A middle and a worst. `None`: there was nothing to measure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    pub median: Option<f64>,
    pub max: Option<f64>,
}

/// Who led.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Leaders {
    /// Leaderships that were seen: of a node, in a term.
    pub leaderships: usize,
    pub first_term: u64,
    pub last_term: u64,
    pub leaderless_seconds: f64,
    pub nodes: Vec<Led>,
}

/// How long a node led.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Led {
    pub node: u64,
    pub seconds: f64,
}

/// What happened in each stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Curves {
    /// Length of a stretch.
    pub bucket_seconds: f64,
    /// Operations a second that ended in it.
    pub reads: Vec<f64>,
    pub writes: Vec<f64>,
    pub failed: Vec<f64>,
    pub unknown: Vec<f64>,
    /// Milliseconds; `None`: nothing ended well.
    pub p50: Vec<Option<f64>>,
    pub p99: Vec<Option<f64>>,
}

/// When writes were acknowledged.
struct Acknowledgements {
    times: Vec<u64>,
    /// With the beginning and the end of the time that is looked at: edges of a silence, too.
    edges: Vec<u64>,
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn span(operation: &Operation) -> Option<(u64, u64)> {
    let called = operation.called.time?;
    Some((called, operation.ended?.time?))
}

/// When an operation ended well, and whether it was a write. Of a watch, nobody waits for the end.
fn done(operation: &Operation) -> Option<(u64, u64, bool)> {
    let (called, ended) = span(operation)?;
    let is_done = operation.outcome.is_ok() && !is_watch(operation);
    is_done.then_some((called, ended, !operation.call.only_looks()))
}

fn is_watch(operation: &Operation) -> bool {
    matches!(operation.call, Call::Watch { .. })
}

impl Acknowledgements {
    fn of(history: &History, worked: u64) -> Acknowledgements {
        let writes = history.operations.iter().filter_map(done).filter(|(.., is_write)| *is_write);
        let mut times: Vec<u64> = writes.map(|(_, ended, _)| ended).collect();
        times.sort_unstable();
        let end = times.last().map_or(worked, |last| worked.max(*last));
        let edges = std::iter::once(0).chain(times.iter().copied()).chain([end]).collect();
        Acknowledgements { times, edges }
    }

    fn longest(&self) -> Gap {
        let gaps = self.edges.windows(2).map(|pair| (pair[1] - pair[0], pair[0]));
        let (length, began) = gaps.max_by_key(|(length, _)| *length).unwrap_or_default();
        Gap { seconds: seconds(length), began_seconds: seconds(began) }
    }

    /// The longest silence that touches this time.
    fn silence(&self, begun: u64, ended: u64) -> Option<f64> {
        let first = self.edges.partition_point(|time| *time <= begun).saturating_sub(1);
        let last = self.edges.partition_point(|time| *time < ended);
        let touched = self.edges.get(first..=last.min(self.edges.len() - 1))?;
        touched.windows(2).map(|pair| pair[1] - pair[0]).max().map(seconds)
    }

    /// From `ended` to the next acknowledgement.
    fn recovery(&self, ended: u64) -> Option<f64> {
        let next = self.times.partition_point(|time| *time < ended);
        self.times.get(next).map(|time| seconds(time - ended))
    }
}

impl Spread {
    fn of(values: impl IntoIterator<Item = Option<f64>>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().flatten().collect();
        values.sort_by(f64::total_cmp);
        Spread { median: values.get(values.len() / 2).copied(), max: values.last().copied() }
    }
}

/// The value below which a share of the sorted `values` lies.
fn quantile(values: &[u64], share: f64) -> Option<u64> {
    let place = (values.len() as f64 * share) as usize;
    values.get(place.min(values.len().saturating_sub(1))).copied()
}

impl Statistics {
    pub fn of(record: &Record) -> Statistics {
        let history = record.history();
        let worked = record.worked.as_nanos() as u64;
        let acknowledged = Acknowledgements::of(history, worked);
        let is_final = |operation: &&Operation| {
            operation.called.time.is_some_and(|at| at > worked) && operation.call == Call::Read
        };
        let operations = &history.operations;
        let in_time =
            |(called, ended, _): (u64, u64, bool)| (called <= worked).then_some(ended - called);
        let mut latencies: Vec<u64> =
            operations.iter().filter_map(done).filter_map(in_time).collect();
        latencies.sort_unstable();
        let at = |share| quantile(&latencies, share).map_or(0.0, seconds);
        let stands = record.seen.as_ref().map_or(&[][..], |seen| &seen.stands);
        Statistics {
            seconds: record.worked.as_secs_f64(),
            operations: history.counts(),
            final_reads: operations.iter().filter(is_final).count() as u64,
            ops_per_second: latencies.len() as f64 / record.worked.as_secs_f64().max(1e-9),
            latency_seconds: Latency { p50: at(0.5), p99: at(0.99), max: at(1.0) },
            longest_gap: acknowledged.longest(),
            watches: record.seen.clone(),
            faults: faults(record, &acknowledged),
            leaders: leaders(record, worked),
            casualties: record.casualties.toll(stands),
            curves: curves(history, worked),
        }
    }

    /// Faults that were injected, of all kinds.
    pub fn injected(&self) -> usize {
        self.faults.iter().map(|of| of.injected).sum()
    }
}

fn faults(record: &Record, acknowledged: &Acknowledgements) -> Vec<OfKind> {
    let mut kinds: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for injury in &record.injuries {
        kinds.entry(&injury.kind).or_default().push(injury);
    }
    let kinds = kinds.into_iter().map(|(kind, injuries)| {
        let injected: Vec<_> = injuries.iter().filter(|it| it.refused.is_none()).collect();
        let silence = injected.iter().map(|it| acknowledged.silence(it.begun, it.ended));
        let recovery = injected.iter().map(|it| acknowledged.recovery(it.ended));
        OfKind {
            kind: kind.to_owned(),
            injected: injected.len(),
            refused: injuries.len() - injected.len(),
            silence_seconds: Spread::of(silence),
            recovery_seconds: Spread::of(recovery),
        }
    });
    kinds.collect()
}

fn leaders(record: &Record, worked: u64) -> Leaders {
    let seen = &record.leaderships;
    let mut nodes: BTreeMap<u64, u64> = BTreeMap::new();
    let mut leaderless = 0;
    for (place, leadership) in seen.iter().enumerate() {
        let until = seen.get(place + 1).map_or(worked, |next| next.since).min(worked);
        let time = until.saturating_sub(leadership.since);
        match leadership.leader {
            Some(node) => *nodes.entry(node.0).or_default() += time,
            None => leaderless += time,
        }
    }
    let mut terms: Vec<_> =
        seen.iter().filter_map(|it| it.leader.map(|leader| (it.term, leader))).collect();
    terms.sort_unstable();
    terms.dedup();
    Leaders {
        leaderships: terms.len(),
        first_term: terms.first().map_or(0, |(term, _)| *term),
        last_term: terms.last().map_or(0, |(term, _)| *term),
        leaderless_seconds: seconds(leaderless),
        nodes: nodes.into_iter().map(|(node, led)| Led { node, seconds: seconds(led) }).collect(),
    }
}

fn curves(history: &History, worked: u64) -> Curves {
    let bucket = worked.div_ceil(BUCKETS).max(LEAST_BUCKET);
    let count = worked.div_ceil(bucket).max(1) as usize;
    let mut curves = Curves { bucket_seconds: seconds(bucket), ..Curves::default() };
    let empty = || vec![0.0; count];
    (curves.reads, curves.writes) = (empty(), empty());
    (curves.failed, curves.unknown) = (empty(), empty());
    let mut latencies = vec![Vec::new(); count];
    let one = 1.0 / seconds(bucket);
    for operation in &history.operations {
        let Some((called, ended)) = span(operation) else { continue };
        let place = (ended / bucket) as usize;
        if called > worked || place >= count || is_watch(operation) {
            continue;
        }
        match (&operation.outcome, &operation.call) {
            (Outcome::Ok { .. }, call) if call.only_looks() => curves.reads[place] += one,
            (Outcome::Ok { .. }, _) => curves.writes[place] += one,
            // It was answered, and rightly so.
            (Outcome::Mismatch, _) => continue,
            (Outcome::Failed, _) => curves.failed[place] += one,
            (Outcome::Unknown, _) => curves.unknown[place] += one,
        }
        if matches!(operation.outcome, Outcome::Ok { .. }) {
            latencies[place].push(ended - called);
        }
    }
    for latencies in &mut latencies {
        latencies.sort_unstable();
        let at = |share| quantile(latencies, share).map(|nanos| nanos as f64 / 1e6);
        curves.p50.push(at(0.5));
        curves.p99.push(at(0.99));
    }
    curves
}

//! Clients' requests, counted and timed as they are answered.

use std::time::Duration;

use prometheus::{Histogram, IntCounter};

use crate::control::Served;
use crate::kv::Answer;
use crate::observe::{LATENCY_BUCKETS, MetricError, Registry};
use crate::replica::{Refused, Response};

/// What a client asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Write,
    Read,
    StaleRead,
    Lease,
    /// It could not be read.
    Invalid,
}

const KINDS: [&str; 5] = ["write", "read", "stale_read", "lease", "invalid"];

const OUTCOMES: [&str; 10] = [
    "ok",
    "unknown",
    "no_leader",
    "busy",
    "invalid",
    "no_space",
    "timed_out",
    "stopping",
    "disagreement",
    "repairing",
];

/// Where `ok` stands among them.
const OK: usize = 0;

fn outcome(response: &Response) -> usize {
    match response {
        Response::Written(_) | Response::Answer(_) | Response::Member(_) => OK,
        Response::Unknown(_) => 1,
        Response::Refused { why, .. } => match why {
            Refused::NoLeader { .. } => 2,
            Refused::Busy { .. } => 3,
            Refused::Invalid => 4,
            Refused::NoSpace => 5,
            Refused::TimedOut => 6,
            Refused::Stopping => 7,
            Refused::Disagreement => 8,
            Refused::Repairing => 9,
        },
    }
}

/// Clients' requests.
#[derive(Debug)]
pub struct ClientMetrics {
    requests: Vec<Vec<IntCounter>>,
    durations: Vec<Histogram>,
}

impl ClientMetrics {
    pub fn new(registry: &Registry) -> Result<ClientMetrics, MetricError> {
        let requests = registry.counters(
            "kvraft_client_requests_total",
            "Requests of clients that were answered, by kind and outcome.",
            &["kind", "outcome"],
        )?;
        let durations = registry.histograms(
            "kvraft_client_request_duration_seconds",
            "From a client's request to its answer.",
            &["kind"],
            &LATENCY_BUCKETS,
        )?;
        Ok(ClientMetrics {
            requests: KINDS
                .iter()
                .map(|kind| OUTCOMES.map(|it| requests.with_label_values(&[kind, it])).into())
                .collect(),
            durations: KINDS.map(|kind| durations.with_label_values(&[kind])).into(),
        })
    }

    /// A request was answered.
    pub fn answered(&self, kind: Kind, response: &Response, took: Duration) {
        self.ended(kind, outcome(response), took);
    }

    /// A query was answered, or not.
    pub fn looked(&self, kind: Kind, looked: &Result<Option<Answer>, Response>, took: Duration) {
        self.ended(kind, looked.as_ref().map_or_else(outcome, |_| OK), took);
    }

    /// Requests that were answered as asked: reads, writes; and those that were not.
    pub fn served(&self) -> Served {
        let ok = |kind: Kind| self.requests[kind as usize][OK].get();
        let asked = [Kind::Write, Kind::Read, Kind::StaleRead, Kind::Lease];
        let failed = asked.iter().flat_map(|kind| &self.requests[*kind as usize][OK + 1..]);
        Served {
            reads: ok(Kind::Read) + ok(Kind::StaleRead),
            writes: ok(Kind::Write),
            failed: failed.map(IntCounter::get).sum(),
            ..Served::default()
        }
    }

    fn ended(&self, kind: Kind, outcome: usize, took: Duration) {
        self.requests[kind as usize][outcome].inc();
        self.durations[kind as usize].observe(took.as_secs_f64());
    }
}

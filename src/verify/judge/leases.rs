//! When leases may have ended by themselves.
//!
//! A lease that nobody keeps alive ends at some moment, and nobody is told. So for each lease a
//! history has one more operation of unknown outcome, its *end*, which may take effect from a
//! certain moment on, or never. A lease lives for its time after it was last kept alive, and the
//! store counts from when it was asked at the earliest: so that moment is the last call of an
//! acknowledged keep-alive (or the grant's), plus the lease's time. Whatever was attached to the
//! lease and is gone before that is missed too early.
//!
//! Moments are the client's: what is judged is the promise to it. Where a grant or a keep-alive has
//! no time, the lease may end at once.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::verify::cells::{ALIVE, Cells, Step};
use crate::verify::history::{Call, Found, History, Moment, Outcome};
use crate::verify::linearizable;

/// A lease that may end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Its place among the keys.
    pub lease: usize,
    /// From this moment on.
    pub from: Moment,
    /// After it was granted, or kept alive.
    pub life: Duration,
}

impl Expiry {
    /// As the search takes it.
    pub fn operation(&self) -> Cells {
        let lease = self.lease;
        linearizable::Operation {
            called: self.from.line,
            returned: None,
            action: vec![Step::Look { cell: lease, value: Some(ALIVE) }, Step::End { lease }],
            witness: None,
        }
    }
}

/// What is known of a lease.
#[derive(Clone, Copy, Default)]
struct Life {
    life: Option<Duration>,
    /// The moment until which it lives at least; `None`: some line lacks its time.
    until: Option<u64>,
    timeless: bool,
    /// Of its first grant.
    granted: u64,
}

/// The ends of all leases that may have ended within the history.
pub fn expiries(history: &History) -> Vec<Expiry> {
    let mut lives: BTreeMap<usize, Life> = BTreeMap::new();
    for operation in &history.operations {
        let granted = match (&operation.call, &operation.outcome) {
            (Call::Grant(_), Outcome::Ok { found: Found::Life(life), .. })
            | (Call::Grant(life), Outcome::Ok { .. } | Outcome::Unknown) => Some(*life),
            (Call::KeepAlive, Outcome::Ok { .. }) => None,
            _ => continue,
        };
        let lease = lives.entry(operation.key).or_default();
        if let Some(life) = granted {
            lease.life.get_or_insert_with(|| {
                lease.granted = operation.called.line;
                life
            });
        }
        match (operation.called.time, lease.life) {
            (Some(time), Some(life)) => {
                let until = time.saturating_add(u64::try_from(life.as_nanos()).unwrap_or(u64::MAX));
                lease.until = lease.until.max(Some(until));
            }
            _ => lease.timeless = true,
        }
    }
    if lives.is_empty() {
        return Vec::new();
    }
    let moments = moments(history);
    let expiry = |(lease, life): (usize, Life)| {
        let until = life.until.filter(|_| !life.timeless);
        let from = match until {
            None => Moment { line: life.granted, time: None },
            Some(until) => {
                // A line without a time may be later than the last one before it that has one.
                let before = moments.partition_point(|moment| moment.time < Some(until));
                let line = before.checked_sub(1).map_or(life.granted, |at| moments[at].line + 1);
                Moment { line, time: Some(until) }
            }
        };
        Some(Expiry { lease, from, life: life.life? })
    };
    lives.into_iter().filter_map(expiry).collect()
}

/// All moments that have a time, in order.
fn moments(history: &History) -> Vec<Moment> {
    let both = history.operations.iter().flat_map(|it| [Some(it.called), it.ended]);
    let mut moments: Vec<Moment> = both.flatten().filter(|moment| moment.time.is_some()).collect();
    moments.sort_unstable();
    moments
}

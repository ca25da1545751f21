//! Which leases may live, and which of them nothing is promised of any more.
//!
//! # The problem
//!
//! A lease's time is measured by the leader's clock. One that runs fast, or jumps ahead, ends
//! leases too early for whoever holds them, and that is no fault of the store: no store can tell.
//! A history judges lives by the clients' clock, and knows nothing of faults.
//!
//! # The rule
//!
//! Whoever upsets a clock says so *before* it does, and when it is over. In the history, each lease
//! that may live meanwhile gets one more operation, a revocation whose outcome is unknown: from
//! then on it may end at any moment, or not. Of all other leases the whole promise is judged.

use std::collections::BTreeMap;
use std::time::Duration;

use super::recorder::{Asked, Ended};
use crate::types::LeaseId;
use crate::verify::history::{Call, Event, Found, Outcome, Type};

/// One lease.
#[derive(Clone, Copy, Debug)]
struct Life {
    time: Duration,
    /// It may live until then, if no clock is wrong: nanoseconds.
    until: u64,
    in_doubt: bool,
}

/// All leases of a trial that may live.
#[derive(Debug, Default)]
pub struct Lives {
    lives: BTreeMap<LeaseId, Life>,
    /// Faults that upset clocks now.
    upsets: u32,
}

impl Lives {
    /// Something is asked for; the lease that is in doubt from now on.
    pub fn invoke(&mut self, now: u64, asked: &Asked) -> Option<LeaseId> {
        let lease = asked.wish.lease?;
        match asked.wish.call {
            Call::Grant(time) => {
                self.lives.insert(lease, Life { time, until: later(now, time), in_doubt: false });
            }
            Call::KeepAlive => {
                let life = self.lives.get_mut(&lease)?;
                life.until = later(now, life.time);
            }
            _ => return None,
        }
        let life = self.lives.get_mut(&lease)?;
        let is_new = self.upsets > 0 && !std::mem::replace(&mut life.in_doubt, true);
        is_new.then_some(lease)
    }

    /// It has ended.
    pub fn complete(&mut self, now: u64, asked: &Asked, ended: &Ended) {
        let Some(lease) = asked.wish.lease else { return };
        match (&asked.wish.call, &ended.outcome) {
            (Call::Grant(_), Outcome::Ok { found: Found::Life(time), .. }) => {
                if let Some(life) = self.lives.get_mut(&lease) {
                    (life.time, life.until) = (*time, later(now, *time));
                }
            }
            (Call::Grant(_), Outcome::Failed)
            | (Call::Revoke, Outcome::Ok { .. })
            | (Call::KeepAlive | Call::Revoke, Outcome::Mismatch) => {
                self.lives.remove(&lease);
            }
            _ => {}
        }
    }

    /// A clock is about to be upset; the leases that are in doubt from now on.
    pub fn upset(&mut self, now: u64) -> Vec<LeaseId> {
        self.upsets += 1;
        self.lives.retain(|_, life| life.until >= now);
        let sure = self.lives.iter_mut().filter(|(_, life)| !life.in_doubt);
        let doubt = |(lease, life): (&LeaseId, &mut Life)| {
            life.in_doubt = true;
            *lease
        };
        sure.map(doubt).collect()
    }

    /// It is as it was.
    pub fn calm(&mut self) {
        self.upsets = self.upsets.saturating_sub(1);
    }
}

fn later(now: u64, time: Duration) -> u64 {
    now.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX))
}

/// The lines that say so of a lease, by a process of which nobody hears again.
pub fn doubt(process: u64, lease: LeaseId) -> [Event; 2] {
    let event = |kind, error| Event {
        process,
        kind,
        f: "lease".to_owned(),
        key: Some(lease.to_string()),
        value: Some(serde_json::json!(["revoke"])),
        lease: None,
        time: None,
        node: None,
        rev: None,
        error,
    };
    let why = "a clock is upset: from now on it may end at any moment".to_owned();
    [event(Type::Invoke, None), event(Type::Info, Some(why))]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::trial::tape::Tape;
    use crate::trial::wish::Wish;
    use crate::trial::workload::Kind;
    use crate::verify::judge::{Judged, Limits, judge};

    /// A lease of an hour that is gone at once; what the judge says.
    fn judged(upset: impl FnOnce(&Tape), upset_before: bool) -> Vec<Judged> {
        let tape = Tape::start(1, None);
        let act = |call: Call, outcome: Outcome| {
            let wish = Wish::of(Kind::Lease, "k", call).with_lease(LeaseId(5));
            let asked = Asked { process: 0, node: 1, wish };
            tape.invoke(&asked);
            tape.complete(&asked, &Ended { outcome, error: None });
        };
        let hour = Duration::from_secs(3_600);
        let granted = Outcome::Ok { found: Found::Life(hour), rev: None };
        // A process's number that the recorder knows.
        let _ = tape.process(0);
        if upset_before {
            upset(&tape);
            act(Call::Grant(hour), granted);
        } else {
            act(Call::Grant(hour), granted);
            upset(&tape);
        }
        act(Call::KeepAlive, Outcome::Mismatch);
        let recording = tape.finish().unwrap();
        assert_eq!(recording.trouble, None);
        let limits = Limits { steps: 100_000, go_on: &mut |_| true };
        judge(&recording.history, limits).into_iter().map(|it| it.verdict).collect()
    }

    #[test]
    fn a_lease_that_ends_too_early_is_found_unless_a_clock_was_upset() {
        let is_valid = |all: &[Judged]| all.iter().all(|it| *it == Judged::Valid);
        let forever = |tape: &Tape| std::mem::forget(tape.upset());
        let over = |tape: &Tape| drop(tape.upset());
        assert!(!is_valid(&judged(|_| {}, false)));
        assert!(is_valid(&judged(forever, false)) && is_valid(&judged(over, false)));
        assert!(is_valid(&judged(forever, true)));
        assert!(!is_valid(&judged(over, true)), "clocks are right again");
    }
}

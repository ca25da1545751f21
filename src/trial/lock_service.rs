//! A lock by etcd's service for it (`v3lockpb.Lock`), and what is known of it afterwards.
//!
//! # How it stands in a history
//!
//! As any lock does: acquired by a holder with a lease, released by that holder. The service keeps
//! a key for each who holds it or waits, beneath the lock's name, and whose was created first holds
//! it: so the fencing token is that key's create revision. Those who wait came one after the other,
//! and so do their tokens.
//!
//! # What can go wrong
//!
//! - *Whoever waits may wait for ever.* So it gives up after a while. The server cleans up after
//!   it, later or never, and meanwhile its turn may come: the outcome is unknown, and the lock may
//!   be its until its lease is over.
//! - *An unlock does not say whether there was anything to unlock.* The key goes by an unlock or
//!   with its lease, and the answer is the same. If the lease lives on after the answer, it was the
//!   unlock; else nobody knows.

use std::time::Duration;

use bytes::Bytes;
use tokio::time::timeout;

use super::etcd::{ok, went_wrong};
use super::recorder::Ended;
use crate::etcd_client::{Client, pb};
use crate::types::LeaseId;
use crate::verify::history::{Found, Outcome};

/// So long a client waits for its turn: a part of the shortest lease, which nobody keeps alive
/// meanwhile.
const PATIENCE: Duration = Duration::from_millis(500);

/// Waits for the turn of `lease`.
pub async fn acquire(client: &Client, name: Bytes, lease: LeaseId) -> Ended {
    let key = match timeout(PATIENCE, client.lock(name, lease)).await {
        Ok(Ok(key)) => key,
        Ok(Err(error)) => return went_wrong(&error),
        Err(_) => return unknown("its turn did not come in time"),
    };
    // The lease may have ended since, and then the lock is held no more, and has no token.
    let request = pb::RangeRequest { key, ..Default::default() };
    let found = client.range(request).await.ok().and_then(|answer| answer.kvs.into_iter().next());
    let token = found.and_then(|kv| u64::try_from(kv.create_revision).ok());
    Ended { outcome: ok(Found::Nothing, token), error: None }
}

/// Gives the lock up.
pub async fn release(client: &Client, name: Bytes, lease: LeaseId) -> Ended {
    if let Err(error) = client.unlock(key(&name, lease)).await {
        return went_wrong(&error);
    }
    match client.lease_ttl(lease, false).await {
        Ok(Some(_)) => Ended { outcome: ok(Found::Nothing, None), error: None },
        _ => unknown("it was unlocked; perhaps its lease had ended before"),
    }
}

/// Whose turn it is not, or is, with this lease: as all have it who speak etcd's API.
fn key(name: &Bytes, lease: LeaseId) -> Bytes {
    [name, format!("/{:x}", lease.0).as_bytes()].concat().into()
}

fn unknown(why: &str) -> Ended {
    Ended { outcome: Outcome::Unknown, error: Some(why.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::recorder::Asked;
    use crate::trial::tape::Tape;
    use crate::trial::wish::Wish;
    use crate::trial::workload::Kind;
    use crate::verify::history::Call;
    use crate::verify::judge::{Judged, Limits, Property, judge};

    /// What clients with leases of an hour are told of one lock, each a process; what is violated.
    fn violated(told: &[(u64, Told)]) -> Option<Property> {
        let tape = Tape::start(9, None);
        let mut asked = std::collections::BTreeMap::new();
        for process in [1, 2] {
            let life = Duration::from_secs(3_600);
            let granted = ok(Found::Life(life), None);
            one(&tape, process, Call::Grant(life), granted);
        }
        for (process, told) in told {
            let holder = || Bytes::from(format!("holder {process}"));
            let wish = |call| {
                let wish = Wish::of(Kind::LockService, "door", call).with_lease(LeaseId(*process));
                Asked { process: *process, node: 1, wish }
            };
            match told {
                Told::Waits => {
                    asked.insert(process, wish(Call::Acquire(holder())));
                    tape.invoke(&asked[process]);
                }
                Told::Has(token) => {
                    let outcome = ok(Found::Nothing, Some(*token));
                    tape.complete(&asked[process], &Ended { outcome, error: None });
                }
                Told::GivesUp => tape.complete(&asked[process], &unknown("late")),
                Told::Leaves => {
                    one(&tape, *process, Call::Release(holder()), ok(Found::Nothing, None));
                }
                Told::Revokes => one(&tape, process + 2, Call::Revoke, ok(Found::Nothing, None)),
            }
        }
        let recording = tape.finish().unwrap();
        assert_eq!(recording.trouble, None);
        let limits = Limits { steps: 100_000, go_on: &mut |_| true };
        let judged = judge(&recording.history, limits);
        judged.into_iter().find_map(|it| match it.verdict {
            Judged::Violated(violation) => Some(violation.property),
            _ => None,
        })
    }

    enum Told {
        Waits,
        Has(u64),
        GivesUp,
        Leaves,
        /// By another process: its own is gone.
        Revokes,
    }

    fn one(tape: &Tape, process: u64, call: Call, outcome: Outcome) {
        let lease = LeaseId(if call == Call::Revoke { process - 2 } else { process });
        let wish = Wish::of(Kind::LockService, "door", call).with_lease(lease);
        let asked = Asked { process, node: 1, wish };
        tape.invoke(&asked);
        tape.complete(&asked, &Ended { outcome, error: None });
    }

    #[test]
    fn a_service_that_lets_two_in_is_found() {
        use Told::*;
        let both = [(1, Waits), (2, Waits), (1, Has(5)), (2, Has(6))];
        assert_eq!(violated(&both), Some(Property::Locks));
        let by_turns = [(1, Waits), (2, Waits), (1, Has(5)), (1, Leaves), (2, Has(6)), (2, Leaves)];
        assert_eq!(violated(&by_turns), None);
        // Who came later had its turn first, and each was alone.
        let jumped = [(1, Waits), (2, Waits), (2, Has(6)), (2, Leaves), (1, Has(5)), (1, Leaves)];
        assert_eq!(violated(&jumped), Some(Property::Locks));
    }

    #[test]
    fn whoever_gave_up_may_hold_it_until_its_lease_is_over() {
        use Told::*;
        let never_had_it = [(1, Waits), (1, GivesUp), (2, Waits), (2, Has(6))];
        assert_eq!(violated(&never_had_it), None);
        let both = [(1, Waits), (1, Has(5)), (2, Waits), (2, GivesUp), (2, Revokes), (1, Leaves)];
        assert_eq!(violated(&both), None);
        // With its lease's end it was another's, whatever the answer to an unlock says.
        let after = [(1, Waits), (1, Has(5)), (1, Revokes), (2, Waits), (2, Has(6)), (1, Leaves)];
        assert_eq!(violated(&after), Some(Property::Locks));
    }

    #[test]
    fn the_key_of_a_lease_is_that_which_everybody_has_for_it() {
        assert_eq!(key(&"door".into(), LeaseId(0x7fab)), Bytes::from("door/7fab"));
    }
}

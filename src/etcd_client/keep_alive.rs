//! A lease that is kept alive.
//!
//! # The problem
//! Who holds a lock under a lease may act on it only for as long as the lease lasts, and nobody
//! tells when it does not: the server that would say so may be out of reach.
//!
//! # The rule
//! A lease lasts for its TTL from when a renewal *was sent* that was answered: no server ends it
//! before. Each third of that it is renewed, at whichever endpoint answers. It counts as lost once
//! a server says that it is gone, and already some seconds before it may have ended for all that is
//! known here, so that there is time to stop what rests on it.
//!
//! # Caveat
//! A process that is itself stopped, or a machine that sleeps, counts no time. What must be safe
//! even then checks a fencing token where it writes.

use std::fmt;
use std::time::Duration;

use futures::channel::mpsc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::{Status, Streaming};

use super::call::{Method, Tries};
use super::error::{self, Fate, Kind};
use super::lease::{Granted, seconds_of};
use super::{Client, Error, pb};
use crate::types::LeaseId;

const KEEP_ALIVE: Method = Method::read("/etcdserverpb.Lease/LeaseKeepAlive").with_leader(true);

/// So long before it may have ended a lease counts as lost, but not more than a quarter of it.
const MARGIN: Duration = Duration::from_secs(2);

/// How long one renewal may take, and the pause after one that failed.
const RENEWAL_LIMIT: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(100);

/// Why a lease cannot be relied on any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The server says that there is no such lease.
    Gone,
    /// It was not renewed for so long that it may end any moment; what the last try ended with.
    NotRenewed(String),
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Lost::Gone => f.write_str("its lease has ended or was revoked"),
            Lost::NotRenewed(why) => {
                write!(f, "its lease could not be renewed and may end any moment: {why}")
            }
        }
    }
}

/// A lease that is kept alive until this is dropped; then it is left to end by itself.
#[derive(Debug)]
pub struct KeepAlive {
    task: JoinHandle<()>,
    renewed: watch::Receiver<Renewed>,
}

/// How it stands.
#[derive(Clone, Debug)]
enum Renewed {
    /// For how long it lasts, as of the last renewal.
    Alive(Duration),
    Lost(Lost),
}

impl Drop for KeepAlive {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl KeepAlive {
    pub(super) fn start(client: Client, lease: Granted) -> KeepAlive {
        let (told, renewed) = watch::channel(Renewed::Alive(lease.ttl));
        let task = tokio::task::spawn_local(async move {
            let lost = keep(&client, lease, &told).await;
            told.send_replace(Renewed::Lost(lost));
        });
        KeepAlive { task, renewed }
    }

    /// Returns when the lease is lost, and why.
    pub async fn lost(&self) -> Lost {
        let mut renewed = self.renewed.clone();
        let state = renewed.wait_for(|state| matches!(state, Renewed::Lost(_))).await;
        match state.as_deref() {
            Ok(Renewed::Lost(lost)) => lost.clone(),
            _ => Lost::NotRenewed("nobody renews it any more".to_owned()),
        }
    }

    /// Returns when it was renewed again, with the TTL that holds from then, or when it is lost.
    pub async fn renewed(&mut self) -> Result<Duration, Lost> {
        let stopped = Lost::NotRenewed("nobody renews it any more".to_owned());
        if let Renewed::Lost(lost) = &*self.renewed.borrow_and_update() {
            return Err(lost.clone());
        }
        self.renewed.changed().await.map_err(|_| stopped)?;
        match &*self.renewed.borrow_and_update() {
            Renewed::Alive(ttl) => Ok(*ttl),
            Renewed::Lost(lost) => Err(lost.clone()),
        }
    }
}

/// When a lease that was asked for then has to be renewed, and when it counts as lost.
fn moments(asked_at: Instant, ttl: Duration) -> (Instant, Instant) {
    (asked_at + ttl / 3, asked_at + ttl - MARGIN.min(ttl / 4))
}

async fn keep(client: &Client, lease: Granted, told: &watch::Sender<Renewed>) -> Lost {
    let (mut renew_at, mut lost_at) = moments(lease.asked_at, lease.ttl);
    let mut why = "no renewal was answered".to_owned();
    let mut stream = None;
    loop {
        sleep_until(renew_at.min(lost_at)).await;
        if Instant::now() >= lost_at {
            return Lost::NotRenewed(why);
        }
        let sent_at = Instant::now();
        let end = lost_at.min(sent_at + RENEWAL_LIMIT);
        let renewed = timeout_at(end, renew(client, lease.id, &mut stream)).await;
        match renewed.unwrap_or_else(|_| Err("it did not answer in time".to_owned())) {
            Ok(ttl) if ttl.is_zero() => return Lost::Gone,
            Ok(ttl) => {
                (renew_at, lost_at) = moments(sent_at, ttl);
                told.send_replace(Renewed::Alive(ttl));
            }
            Err(failed) => {
                let endpoint = client.pool.pick().name.clone();
                why = format!("{endpoint}: {failed}");
                client.pool.failed(&endpoint);
                stream = None;
                renew_at = Instant::now() + PAUSE;
            }
        }
    }
}

/// A standing stream of renewals.
struct Renewals {
    requests: mpsc::Sender<pb::LeaseKeepAliveRequest>,
    answers: Streaming<pb::LeaseKeepAliveResponse>,
}

/// Renews once: what the server says that it lasts for; zero: there is no such lease.
async fn renew(
    client: &Client,
    id: LeaseId,
    stream: &mut Option<Renewals>,
) -> Result<Duration, String> {
    let request = pb::LeaseKeepAliveRequest { id: id.0 as i64 };
    let mut standing = match stream.take() {
        Some(mut standing) => {
            standing.requests.try_send(request).map_err(|error| error.to_string())?;
            standing
        }
        None => open(client, request).await.map_err(|status| error::words(&status))?,
    };
    match standing.answers.message().await {
        Ok(Some(answer)) => {
            *stream = Some(standing);
            Ok(seconds_of(answer.ttl))
        }
        Ok(None) => Err("the server ended the stream".to_owned()),
        Err(status) => Err(error::words(&status)),
    }
}

async fn open(client: &Client, first: pb::LeaseKeepAliveRequest) -> Result<Renewals, Status> {
    let (mut requests, outgoing) = mpsc::channel(1);
    requests.try_send(first).map_err(|error| Status::internal(error.to_string()))?;
    let place = client.pool.pick().clone();
    let answers = client.stream(&place, KEEP_ALIVE, outgoing).await?;
    Ok(Renewals { requests, answers })
}

impl Client {
    /// Renews a lease once: for how long it lasts now; `None`: there is no such lease.
    pub async fn lease_keep_alive_once(&self, id: LeaseId) -> Result<Option<Duration>, Error> {
        let mut tries = Tries::new(self.options.timeout);
        loop {
            let place = self.pool.pick().clone();
            let renewed = async {
                let mut open = open(self, pb::LeaseKeepAliveRequest { id: id.0 as i64 }).await?;
                let answer = timeout_at(Instant::now() + RENEWAL_LIMIT, open.answers.message());
                let late = |_| Status::deadline_exceeded("it did not answer in time");
                let answer = answer.await.map_err(late)??;
                answer.ok_or_else(|| Status::unavailable("the server ended the stream"))
            };
            match renewed.await {
                Ok(answer) if answer.ttl <= 0 => return Ok(None),
                Ok(answer) => return Ok(Some(seconds_of(answer.ttl))),
                Err(status) if error::fate(&status) == Fate::Refused => {
                    return Err(tries.error(Kind::Refused, &place.name, &status));
                }
                Err(status) => {
                    self.pool.failed(&place.name);
                    if !tries.pause().await {
                        return Err(tries.error(Kind::Unavailable, &place.name, &status));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_lease_is_renewed_twice_before_it_counts_as_lost_and_lost_before_it_ends() {
        let now = Instant::now();
        for seconds in [2, 3, 10, 3_600] {
            let ttl = Duration::from_secs(seconds);
            let (renew, lost) = moments(now, ttl);
            assert!(renew - now <= ttl / 3);
            assert!(lost - now >= ttl * 3 / 4 && lost < now + ttl, "{seconds}");
        }
    }
}

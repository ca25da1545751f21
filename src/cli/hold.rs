//! What is held under a lease of one's own, for as long as this process lives: a lock, a leadership.
//!
//! # What can go wrong
//!
//! - *The process dies.* Nobody renews the lease, and what it holds is free after its time.
//! - *The node that is asked dies while others are waited for.* Whether it has got us the lock is
//!   unknown, and it may still take it back when it comes to itself. So that lease is given up, with
//!   everything under it, and another one begins at the end of the queue.

use std::time::Duration;

use tokio::time::sleep;

use super::etcd::Etcd;
use super::failure::{Exit, Failure};
use super::interrupt::Interrupt;
use super::output;
use crate::etcd_client::{Code, Error, Granted, KeepAlive, Kind, Lost};
use crate::types::LeaseId;

/// Before another try.
const PAUSE: Duration = Duration::from_millis(500);

/// A lease that is kept alive, and what it is for.
pub struct Hold<'a> {
    etcd: &'a Etcd<'a>,
    lease: Granted,
    kept: KeepAlive,
}

/// Takes something under a lease of its own: `attempt` asks for it, and waits for its turn.
pub async fn take<'a, T>(
    etcd: &'a Etcd<'a>,
    ttl: Duration,
    interrupt: &mut Interrupt,
    attempt: impl AsyncFn(LeaseId) -> Result<T, Error>,
) -> Result<(Hold<'a>, T), Failure> {
    loop {
        let hold = Hold::begin(etcd, ttl).await?;
        let taken = tokio::select! {
            taken = attempt(hold.lease.id) => taken.map_err(Trouble::Call),
            lost = hold.kept.lost() => Err(Trouble::Lost(lost)),
            () = interrupt.signalled() => {
                hold.release().await;
                return Err(Failure::new(Exit::Interrupted, "interrupted before it was had"));
            }
        };
        let trouble = match taken {
            Ok(taken) => return Ok((hold, taken)),
            Err(trouble) => trouble,
        };
        hold.release().await;
        match trouble {
            Trouble::Call(error) if error.kind == Kind::Refused => {
                return Err(etcd.explain(error).await);
            }
            Trouble::Call(error) => output::warn(format!("{error}; waiting anew")),
            Trouble::Lost(lost) => output::warn(format!("{lost}; waiting anew")),
        }
        tokio::select! {
            () = sleep(PAUSE) => {}
            () = interrupt.signalled() => {
                return Err(Failure::new(Exit::Interrupted, "interrupted before it was had"));
            }
        }
    }
}

enum Trouble {
    Call(Error),
    Lost(Lost),
}

impl<'a> Hold<'a> {
    async fn begin(etcd: &'a Etcd<'a>, ttl: Duration) -> Result<Hold<'a>, Failure> {
        let lease = match etcd.client.lease_grant(ttl, LeaseId(0)).await {
            Ok(lease) => lease,
            Err(error) => return Err(etcd.explain(error).await),
        };
        Ok(Hold { etcd, lease, kept: etcd.client.lease_keep_alive(&lease) })
    }

    pub fn lease(&self) -> LeaseId {
        self.lease.id
    }

    /// Returns when it cannot be relied on any more, some seconds before anybody else can have it.
    pub async fn lost(&self) -> Lost {
        self.kept.lost().await
    }

    /// Gives it up, so that the next one need not wait for the lease to end.
    pub async fn release(self) {
        let Hold { etcd, lease, kept } = self;
        drop(kept);
        match etcd.client.lease_revoke(lease.id).await {
            Ok(()) => {}
            // It has ended by itself.
            Err(error) if error.code == Code::NotFound => {}
            Err(error) => output::warn(format!(
                "it could not be given up: {error}; it is free after {} s at the latest",
                lease.ttl.as_secs()
            )),
        }
    }
}

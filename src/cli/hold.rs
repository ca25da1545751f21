//! What is held under a lease of one's own while this process lives: a lock, a leadership.
//!
//! # What can go wrong
//!
//! - *The process dies.* Nobody renews the lease, and what it holds is free after its time.
//! - *The node that is asked dies while others are waited for.* Whether it has got us the lock is
//!   unknown, and it may still take it back when it comes to itself. So that lease is given up,
//!   with everything under it, and another one begins at the end of the queue.

use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use super::Global;
use super::bytes::{Encoding, JsonKey, show_lease};
use super::etcd::Etcd;
use super::failure::{Exit, Failure, Outcome};
use super::interrupt::Interrupt;
use super::output::{self, Format};
use crate::etcd_client::{Code, Error, Granted, KeepAlive, Kind, Lost};
use crate::types::{LeaseId, Revision};

/// Before another try.
const PAUSE: Duration = Duration::from_millis(500);

/// A lease that is kept alive, and what it is for.
pub struct Hold<'a> {
    etcd: &'a Etcd<'a>,
    lease: Granted,
    kept: KeepAlive,
}

/// What `-o json` prints of it.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    key: JsonKey<'a>,
    fencing_token: Revision,
    lease: String,
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

    /// Prints the key that stands for what is held; people read it behind `held`: `locked as …`.
    pub fn print(
        &self,
        global: &Global,
        encoding: Encoding,
        held: &str,
        key: &[u8],
        fencing_token: Revision,
    ) -> Result<(), Failure> {
        let shown = encoding.show(key);
        match global.output {
            Format::Json => {
                let (key, lease) = (JsonKey(key), show_lease(self.lease.id));
                output::json_line(&Printed { key, fencing_token, lease })
            }
            Format::Name => output::line(shown),
            Format::Table => output::line(format!("{held} {shown}, fencing token {fencing_token}")),
        }
    }

    /// Waits for Ctrl-C. That it was lost before is said as `lost`, and then why.
    pub async fn until_interrupted(&self, interrupt: &mut Interrupt, lost: &str) -> Outcome {
        tokio::select! {
            () = interrupt.signalled() => Ok(0),
            why = self.lost() => Err(Failure::failed(format!("{lost}: {why}"))),
        }
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

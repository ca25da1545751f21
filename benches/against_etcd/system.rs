//! What the two have in common, as far as a benchmark cares.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use kvraft::client::load::Target;
use kvraft::retention::Retention;

/// A store that also swaps.
pub trait Swap {
    /// Sets `key` to `value` if it was changed last at the revision `since` (0: if it is not
    /// there): the new revision, or else the one at which it was changed.
    fn swap(
        &self,
        key: Bytes,
        since: u64,
        value: Bytes,
    ) -> impl Future<Output = Result<Result<u64, u64>, String>>;
}

/// A running cluster. Dropped, it ends at once and leaves no process; its data goes with the
/// directory it was started in.
pub trait System: Sized {
    const NAME: &'static str;
    /// One of the connections that clients share.
    type Connection: Target + Swap;

    /// Starts a new cluster under `place`; returns once it has acknowledged a write.
    async fn start(members: usize, place: &Path) -> Result<Self>;

    /// The same, and of the past it keeps so much and no more.
    async fn start_keeping(members: usize, place: &Path, kept: Retention) -> Result<Self>;

    /// How long [`System::start`] took from the first spawned process to the acknowledgement.
    fn started_in(&self) -> Duration;

    /// Connections for so many clients, spread over the members.
    async fn connections(&self, clients: usize) -> Result<Vec<Self::Connection>>;

    /// The processes of its nodes.
    async fn pids(&self) -> Result<Vec<u32>>;

    /// Kills the leader with SIGKILL, and measures until a write issued after that is
    /// acknowledged. Returns when the killed member is back.
    async fn fail_over(&mut self) -> Result<Duration>;

    async fn stop(self) -> Result<()>;

    /// Resident bytes of each node.
    async fn memory(&self) -> Result<Vec<u64>> {
        self.pids()
            .await?
            .into_iter()
            .map(|pid| Ok(kvraft::observe::Figures::of_process(pid)?.resident_bytes))
            .collect()
    }
}

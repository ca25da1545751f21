//! Sees to it that there is a supervisor for as long as a run lasts.
//!
//! A supervisor that is killed is started again by the next command, and adopts the nodes. A run is
//! one command for minutes, and it counts on faults that end: so it looks by itself, now and then,
//! and starts another even if the run's own faults have just killed every node.

use std::time::Duration;

use tokio::time::Instant;

use crate::cli::output;
use crate::config::ClusterDirectory;
use crate::supervisor::launch::{self, LaunchError, Start};

/// Between two looks.
const GLANCE: Duration = Duration::from_secs(1);

/// Looks after a cluster's supervisor.
pub struct Keeper<'d> {
    directory: &'d ClusterDirectory,
    how: Start,
    next: Instant,
}

impl<'d> Keeper<'d> {
    /// `how`: a new supervisor is started like the one before it.
    pub fn new(directory: &'d ClusterDirectory, how: Start) -> Keeper<'d> {
        Keeper { directory, how, next: Instant::now() + GLANCE }
    }

    /// Looks when it is time, and returns. False: as of [`Keeper::look`]. May be dropped.
    pub async fn keep(&mut self) -> bool {
        tokio::time::sleep_until(self.next).await;
        self.look().await
    }

    /// Looks, if it is time. False: the cluster was taken down.
    pub async fn look(&mut self) -> bool {
        if Instant::now() < self.next {
            return true;
        }
        let kept = launch::connect_or_resume(self.directory, &self.how).await;
        self.next = Instant::now() + GLANCE;
        match kept {
            Ok((_, false)) => true,
            Ok((_, true)) => {
                output::note("the supervisor was gone; a new one looks after the nodes");
                true
            }
            Err(LaunchError::NotRunning { .. } | LaunchError::NoSuchCluster { .. }) => {
                output::warn("the cluster was taken down meanwhile");
                false
            }
            Err(error) => {
                output::warn(format!("the supervisor is gone, and no other starts: {error}"));
                true
            }
        }
    }
}

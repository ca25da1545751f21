//! What happened to this node in its group, told in its log as it happens.
//!
//! The consensus core speaks to nobody: it is told events, and returns what is to be done. So it is
//! looked at from outside after every turn: where it stood before, where it stands now, and what
//! the difference means.

use crate::consensus::Role;
use crate::observe::log::Standing;
use crate::replica::Place;

/// Tells of a node's way through elections, conflicts and snapshots.
#[derive(Debug)]
pub struct Chronicle {
    standing: Standing,
    last: Option<Place>,
}

impl Chronicle {
    /// Of a node that has just started; `standing` is kept up to date for all of its lines.
    pub fn new(standing: Standing) -> Chronicle {
        Chronicle { standing, last: None }
    }

    /// The node stands there now; `None`: nowhere, for it repairs its log.
    pub fn turn(&mut self, now: Option<Place>) {
        if now == self.last {
            return;
        }
        if let Some(now) = now {
            self.standing.set(now.term, now.commit_index);
            if let Some(before) = self.last {
                tell(&before, &now);
            }
        }
        self.last = now;
    }
}

fn tell(before: &Place, now: &Place) {
    let (term, index) = (now.term, now.last_index);
    if now.role != before.role {
        match now.role {
            Role::PreCandidate => {
                tracing::info!(%term, %index, "hears no leader: asks whether it could be elected");
            }
            Role::Candidate => tracing::info!(%term, %index, "stands for election"),
            Role::Leader => tracing::info!(%term, %index, "leads"),
            Role::Follower if before.role == Role::Leader => {
                tracing::warn!(%term, %index, "leads no longer");
            }
            Role::Learner => tracing::info!(%term, %index, "is a member without a vote"),
            Role::Follower if before.role == Role::Learner => {
                tracing::info!(%term, %index, "has a vote");
            }
            Role::Follower => {}
        }
    }
    if now.leader != before.leader && now.role != Role::Leader {
        match now.leader {
            Some(leader) => tracing::info!(%term, %index, %leader, "follows a leader"),
            None if !now.role.is_candidate() => tracing::info!(%term, %index, "knows no leader"),
            None => {}
        }
    }
    if now.snapshots_installed > before.snapshots_installed {
        tracing::info!(%term, index = %now.snapshot_index, "installed a snapshot");
    } else if now.snapshot_index > before.snapshot_index {
        tracing::info!(%term, index = %now.snapshot_index, "took a snapshot");
    }
    if now.removals > before.removals
        && let Some((first, last)) = now.removed
    {
        tracing::warn!(
            %term,
            %index,
            "entries {first} to {last} were never committed, are not the leader's, and are gone"
        );
    }
}

//! The explorations that fit into a test run.

use crate::runs::{crashes, disorder, growth, loss, membership, pre_vote, reads, snapshots};
use crate::{explore, holds};

#[test]
fn crashes_that_lose_what_was_not_synced() {
    holds(crashes(1, 1, 1));
    holds(crashes(2, 0, 1));
}

#[test]
fn loss_on_links_that_keep_their_order() {
    holds(loss(1, 1, 1, 1));
    holds(loss(2, 0, 1, 1));
}

#[test]
fn duplication_with_reordering() {
    holds(disorder(1, 1));
    holds(disorder(2, 0));
}

#[test]
fn a_membership_that_shrinks() {
    holds(membership(2, 0, 1));
}

#[test]
fn a_membership_that_grows() {
    holds(growth(1, 0, 1));
}

#[test]
fn snapshots_and_compaction() {
    holds(snapshots(1, 1, 1, 1));
    holds(snapshots(2, 1, 1, 0));
}

#[test]
fn reads_at_leaders_and_followers() {
    holds(reads(2, 0, 1));
}

#[test]
fn elections_by_pre_vote() {
    holds(pre_vote(2, 0, 0, 0));
}

/// An exploration that stops early looks like one that found nothing. So the numbers of one small
/// run stand here: whoever changes what a core does, or what a run may do, sees by how much.
#[test]
fn a_small_exploration_has_so_many_states() {
    let (report, _) = explore(disorder(1, 0));
    let counts = (report.states, report.depth, report.exhausted);
    assert_eq!(counts, (80, 11, true));
}

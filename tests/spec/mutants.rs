//! Bugs put back: each must be found, and by the property that it breaks.
//!
//! `cargo test --release --test spec mutant -- --nocapture` tells the stories.

use kvraft::museum::{Bug, Bugs};

use crate::bounds::Bounds;
use crate::explore::explore;
use crate::runs::{crashes, disorder, figure_8, loss, membership, pre_vote, reads};
use crate::story;

/// With `bug`, `property` breaks within `bounds`; without it, the core does not notice.
fn breaks(bug: Bug, property: &str, mut bounds: Bounds) {
    bounds.setup.bugs = Bugs::only(bug);
    bounds.setup.harm_only = true;
    let (report, mut lab) = explore(bounds);
    println!("{bug}: {}", report.line());
    let finding = report.finding.unwrap_or_else(|| panic!("{bug} was not found"));
    println!("{}", story::tell(&mut lab, &finding));
    let found = &finding.broken.property;
    assert!(found.starts_with(property), "{bug} breaks {property}, and this was {found}");
}

#[test]
fn mutant_vote_before_disk() {
    breaks(Bug::VoteBeforeDisk, "Election Safety", crashes(2, 0, 1));
}

#[test]
fn mutant_forgotten_term() {
    breaks(Bug::ForgottenTerm, "Election Safety", crashes(2, 0, 1));
}

#[test]
fn mutant_commit_past_match() {
    breaks(Bug::CommitPastMatch, "State Machine Safety", loss(2, 0, 1, 1));
}

#[test]
fn mutant_short_append_truncates() {
    breaks(Bug::ShortAppendTruncates, "Leader Completeness", disorder(2, 1));
}

#[test]
fn mutant_read_before_noop() {
    breaks(Bug::ReadBeforeNoop, "No stale read", reads(2, 0, 1));
}

#[test]
fn mutant_joint_ignores_old() {
    breaks(Bug::JointIgnoresOld, "Leader Completeness", membership(2, 0, 1));
}

/// From a past in which two leaders each wrote to their own log alone: the first half of the
/// figure. From nothing it takes four elections, see below.
#[test]
fn mutant_figure_8_from_its_middle() {
    breaks(Bug::CommitOldTerm, "Leader Completeness", figure_8(2, 0, Some("2,2||3")));
}

/// The whole figure, from an empty log.
#[test]
#[ignore = "takes minutes: make soak"]
fn full_mutant_figure_8() {
    breaks(Bug::CommitOldTerm, "Leader Completeness", figure_8(4, 1, None));
}

/// It takes three elections in one term, a lost message and a repeated one.
#[test]
#[ignore = "takes minutes in a debug build: make soak"]
fn full_mutant_step_down_clears_vote() {
    breaks(Bug::StepDownClearsVote, "Election Safety", pre_vote(3, 0, 1, 1));
}

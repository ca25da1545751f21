//! Safety: when an entry is committed (§5.4), and what must never be seen to happen.
//!
//! # The problem
//! A leader must decide when an entry is *committed*: on so many disks that every future leader
//! has it. Only then may it be applied, and its client told.
//!
//! # What can go wrong
//! "It is on a majority" is not enough. The story of figure 8, with five servers; each row is a
//! log, as the terms of its entries; `L` leads, and `X` is down:
//!
//! ```text
//!          (a)         (b)         (c)             (d)       or else  (e)
//!   S1   1 2   L     1 2   X     1 2 4   L       1 2 4 X            1 2 4  L
//!   S2   1 2         1 2         1 2             1 3                1 2 4
//!   S3   1           1           1 2             1 3                1 2 4
//!   S4   1           1           1               1 3                1
//!   S5   1           1 3   L     1 3   X         1 3   L            1 3
//! ```
//!
//! 1. (a) S1 leads term 2 and gets entry 2 onto S2 only, then crashes.
//! 2. (b) S5 wins term 3 (S3, S4 and itself vote), appends another entry 2, and crashes.
//! 3. (c) S1 is back, wins term 4, appends an entry of that term, and copies its *old* entry 2, of
//!    term 2, to S3. It is on a majority now: S1, S2, S3. Say that S1 calls it committed, and tells
//!    its client.
//! 4. (d) S1 crashes. S5 can win term 5: its last entry is of term 3, and so newer than S2's, S3's
//!    and S4's last, of terms 2, 2 and 1. It overwrites entry 2 on all of them, and on S1 when that
//!    is back. What the client was told is gone.
//!
//! So why may a leader not commit an old term's entry by counting? Because voters compare the
//! *terms* of last entries. An entry of an old term, on however many servers, does not keep a
//! server with an entry of a later term from winning; and such a server may exist that nobody has
//! heard of.
//!
//! # The rule
//! A leader commits by counting only entries of *its own* term. (e) Once its entry of term 4 is on
//! a majority, no server that lacks it can win any more:
//!
//! - A candidate needs a majority's votes. One of those voters has the entry, and so votes only for
//!   a log whose last entry is of term 4 or later.
//! - If it is of term 4, the candidate's log is at least as long as the voter's, and both got those
//!   entries from the one leader of term 4: the candidate has the entry.
//! - If it is of a later term, some leader of that term made it. The first leader after term 4 won
//!   by the point above, so it had the entry; whoever takes entries of it takes that one before
//!   them, and so on from leader to leader (the induction of §5.4.3).
//!
//! And with it everything before it is committed too (Log Matching). That is why a new leader's
//! first act is a no-op: it need not wait for a client to finish what an earlier leader began.
//!
//! From that follows **Leader Completeness** (figure 3): an entry that was once committed is in the
//! log of every later leader; and from that **State Machine Safety**: no two servers apply
//! different entries at the same index.
//!
//! # Caveats
//! A leader's own copy counts when it is on the leader's own disk, not earlier. It may commit an
//! entry that its own disk does not have yet, if a majority of others does. Everything that rests
//! on majorities must mean the same ones: that is the next chapter.
//!
//! # When the rule is removed
//! `figure_8` shows the rule at work, step by step; `museum_figure_8` is the same with the rule
//! removed, and ends with `BROKEN: Leader Completeness`. To watch it go wrong in a whole cluster,
//! found by chance, made small and told: `kvctl sim --bug figure-8`.

use super::quorum;
use super::state::Raft;
use crate::consensus::{Checkpoint, Role};
use crate::museum::Bug;
use crate::types::{Instant, LogIndex, NodeId};

/// The rule.
impl Raft {
    /// Commits what a quorum has, if the rule allows (figure 2, last rule for leaders).
    pub(super) fn advance_commit(&mut self, now: Instant) {
        let Some(leader) = self.leading() else { return };
        let durable_on = |id: NodeId| match leader.progress.get(&id) {
            Some(progress) => progress.match_index,
            None if id == self.id() => self.durability.index,
            None => LogIndex(0),
        };
        let reached = quorum::reached(self.log.configuration(), durable_on);
        let own = self.log.term(reached) == Some(self.term()) || self.has(Bug::CommitOldTerm);
        if reached > self.commit_index && own {
            self.commit_up_to(reached);
            self.start_round(now);
            self.go_on_changing(now);
        }
    }

    /// Everything up to `index` is committed.
    pub(super) fn commit_up_to(&mut self, index: LogIndex) {
        if index > self.commit_index {
            self.commit_index = index;
            self.apply_committed();
        }
    }
}

/// What must hold of a state, cheap enough for production.
pub(super) fn assert_state(raft: &Raft) {
    let last = raft.log.last_index();
    assert!(raft.commit_index <= last, "committed entries are in the log");
    assert!(raft.applying.applied <= raft.applying.handed);
    assert!(raft.applying.handed <= raft.commit_index, "only committed entries are applied");
    assert!(raft.durability.index <= last, "what is durable is in the log");
    let snapshot = raft.log.snapshot().index;
    assert!(snapshot <= raft.applying.applied, "a snapshot holds only what is applied");
    assert!(raft.log.first_index() <= snapshot.next(), "what is gone, a snapshot covers");
    assert!(raft.log.last_term() <= raft.term(), "no entry is of a term to come");
    assert!(raft.draft.is_none() && raft.effects.is_empty(), "a step hands out all its effects");
    if let Some(leader) = raft.leading() {
        let id = raft.id();
        assert_eq!(raft.hard_state.voted_for, Some(id), "a leader voted for itself");
        for progress in leader.progress.values() {
            assert!(progress.match_index < progress.next_index);
            assert!(progress.next_index <= last.next());
            assert!(progress.match_index <= last, "a follower has no more than its leader");
        }
    }
}

/// What must hold of every step.
pub(super) fn assert_step(before: &Checkpoint, raft: &Raft) {
    let (term, vote) = (raft.term(), raft.hard_state.voted_for);
    assert!(term >= before.term, "terms never go back");
    assert!(raft.commit_index >= before.commit_index, "committed is for ever");
    assert!(raft.applying.applied >= before.applied_index);
    if term == before.term && before.voted_for.is_some() {
        assert_eq!(vote, before.voted_for, "one vote a term (Election Safety, figure 3)");
    }
    if term == before.term && before.role != Role::Leader {
        assert!(
            raft.role() != Role::Leader || before.role == Role::Candidate,
            "a term's leader was its candidate"
        );
    }
    if term == before.term && before.role == Role::Leader {
        assert!(
            raft.log.last_index() >= before.last_index,
            "a leader never removes an entry (Leader Append-Only, figure 3)"
        );
    }
}

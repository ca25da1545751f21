//! Canonical: which cores a model checker may take for the same.
//!
//! # The problem
//! An exhaustive exploration ends only if states meet again. Two cores that will behave alike for
//! ever must not differ because one was stepped a millisecond later, has drawn one random number
//! more, or has written to its disk once more often.
//!
//! # What can go wrong
//! Take for the same what is not, and a bug hides behind the state that was visited first.
//!
//! # The rule
//! - **Time.** The core only ever *compares* moments. With [`canonical`](Raft::canonical) after
//!   every step, an explorer knows three moments, and each comparison falls as they say:
//!
//!   | told at | what has come due |
//!   |---|---|
//!   | [`NOW`] | a heartbeat, a request's repetition; nothing is overdue, everyone was heard |
//!   | [`LATE`] | besides: what was sent and not answered is overdue; a transfer fails |
//!   | [`FAR`] | besides: time-outs; a leader has not heard from anyone for too long |
//!
//!   Nobody is ever loyal to a leader, so every vote that a clock could allow is allowed. Some
//!   clocks make each choice, and safety rests on none of them: but for leases, which an explorer
//!   must leave out.
//! - **Randomness** decides deadlines, and nothing else: gone with them.
//! - **Writes** are numbered only to be compared with one another: counted from the last one done.
//! - **Statistics** (how many elections) decide nothing.
//!
//! # Caveats
//! An explorer must renumber what it keeps itself: the writes under way and the messages that wait
//! for them.

use super::progress::State;
use super::state::{Leader, Raft, RoleState};
use crate::types::{Instant, Random, Seq};

/// When everything happens, unless it is late.
pub const NOW: Instant = Instant::from_millis(1_000_000);
/// When what was not answered is overdue.
pub const LATE: Instant = Instant::from_millis(2_000_000);
/// When patience ends.
pub const FAR: Instant = Instant::from_millis(3_000_000);

impl Raft {
    /// This core without what cannot matter, and the number that its writes are counted from now.
    ///
    /// # Panics
    /// With leases, whose safety rests on what this forgets.
    pub fn canonical(mut self) -> (Raft, Seq) {
        assert!(self.config.lease.is_none(), "a lease rests on clocks");
        self.random = Random::from_seed(0);
        self.elections_started = 0;
        self.elections_won = 0;
        self.loyal_until = Instant::default();
        match &mut self.role {
            RoleState::Follower { deadline, .. } => *deadline = FAR,
            RoleState::PreCandidate { retry, deadline, .. }
            | RoleState::Candidate { retry, deadline, .. } => (*retry, *deadline) = (NOW, FAR),
            RoleState::Leader(leader) => leader.forget_time(),
        }
        if let Some(question) = &mut self.questions.open {
            question.again_at = NOW;
        }
        let done = self.durability.done;
        let count = |seq: &mut Seq| *seq = Seq(seq.0.saturating_sub(done.0));
        let durability = &mut self.durability;
        count(&mut durability.asked);
        count(&mut durability.done);
        count(&mut durability.hard_state);
        durability.pending.iter_mut().for_each(|write| count(&mut write.0));
        self.compactions.iter_mut().for_each(|wait| count(&mut wait.0));
        (self, done)
    }
}

impl Leader {
    fn forget_time(&mut self) {
        self.since = LATE;
        self.heartbeat_due = NOW;
        if let Some(transfer) = &mut self.transfer {
            transfer.deadline = LATE;
        }
        for progress in self.progress.values_mut() {
            progress.last_heard = progress.last_heard.map(|_| LATE);
            progress.catching_up.since = NOW;
            progress.patience = 1;
            match &mut progress.state {
                State::Probe { .. } => {}
                State::Replicate(in_flight) => in_flight.since = NOW,
                State::Snapshot(sending) => sending.since = NOW,
            }
        }
    }
}

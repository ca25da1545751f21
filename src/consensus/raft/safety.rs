//! Safety: when an entry is committed (§5.4), and what must never be seen to happen.
//!
//! # The problem
//! A leader must decide when an entry is *committed*: on so many disks that every future leader
//! has it. Only then may it be applied, and its client told.
//!
//! # What can go wrong
//! "It is on a majority" is not enough. The story of figure 8, with five servers:
//! 1. S1 leads term 2 and gets entry 2 onto S2 only, then crashes.
//! 2. S5 wins term 3 (S3, S4 vote for it), appends another entry 2, and crashes.
//! 3. S1 wins term 4 and copies its *old* entry 2, of term 2, to S3. It is on a majority now.
//! 4. S1 crashes. S5 can win term 5: its last entry is of term 3, newer than S2's, S3's and S4's
//!    last. It overwrites entry 2 everywhere. What was on a majority is gone.
//!
//! # The rule
//! A leader commits by counting only entries of *its own* term. Once one of those is on a
//! majority, no server that lacks it can win any more (its last entry is of an older term), and
//! with it everything before it is committed too. That is why a new leader's first act is a no-op:
//! it need not wait for a client to finish what an earlier leader began.
//!
//! # Caveats
//! A leader's own copy counts when it is on the leader's own disk, not earlier. It may commit an
//! entry that its own disk does not have yet, if a majority of others does.

use super::message::{AppendResult, Message};
use super::quorum;
use super::state::{Applying, Raft};
use crate::consensus::{Consensus, Effect, Entry, Role, Status};
use crate::types::{LogIndex, NodeId, Term};

/// Terms and indexes from other servers end here, far beyond what any cluster will see, so that
/// arithmetic on them cannot overflow.
const LARGEST: u64 = 1 << 62;

/// The rule.
impl Raft {
    /// Commits what a quorum has, if the rule allows (figure 2, last rule for leaders).
    pub(super) fn advance_commit(&mut self, now: crate::types::Instant) {
        let Some(leader) = self.leading() else { return };
        let durable_on = |id: NodeId| match leader.progress.get(&id) {
            Some(progress) => progress.match_index,
            None if id == self.id() => self.durability.index,
            None => LogIndex(0),
        };
        let reached = quorum::reached(self.log.configuration(), durable_on);
        if reached > self.commit_index && self.log.term(reached) == Some(self.term()) {
            self.commit_up_to(reached);
            self.start_round(now);
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

/// Committed entries go to the state machine, in order, as fast as it takes them.
impl Raft {
    pub(super) fn apply_committed(&mut self) {
        while self.applying.handed < self.commit_index
            && self.applying.bytes < self.config.max_applying_bytes
            && !self.applying.reading
        {
            let from = self.applying.handed.next();
            let max_bytes = self.config.max_applying_bytes - self.applying.bytes;
            if from < self.log.cached_from() {
                self.applying.reading = true;
                let to = self.commit_index.min(self.log.cached_from().previous());
                let max_bytes = max_bytes.min(self.config.max_message_bytes);
                self.effect(Effect::ReadLog { from, to, max_bytes });
            } else {
                let entries = self.log.slice(from, self.commit_index, max_bytes);
                self.hand_over(entries);
            }
        }
    }

    fn hand_over(&mut self, entries: Vec<Entry>) {
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        // An entry counts for at least one byte, so that empty ones are bounded too.
        let bytes = entries.iter().map(|entry| entry.size() + 1).sum();
        let Applying { handed, batches, bytes: total, .. } = &mut self.applying;
        *handed = last;
        batches.push_back((last, bytes));
        *total += bytes;
        self.effect(Effect::Apply { entries, proof: () });
    }

    /// The disk has read entries; perhaps for the state machine.
    pub(super) fn log_read_for_applying(&mut self, from: LogIndex, entries: &[Entry]) {
        if self.applying.reading && from == self.applying.handed.next() {
            self.applying.reading = false;
            let committed = entries.iter().take_while(|e| e.index <= self.commit_index);
            self.hand_over(committed.cloned().collect());
            self.apply_committed();
        }
    }

    /// The state machine has applied everything up to `index`.
    pub(super) fn applied(&mut self, index: LogIndex) {
        assert!(index <= self.applying.handed, "applied what was never handed over");
        let applying = &mut self.applying;
        applying.applied = applying.applied.max(index);
        while let Some((_, bytes)) = applying.batches.pop_front_if(|batch| batch.0 <= index) {
            applying.bytes -= bytes;
        }
        if let Some(leader) = self.leading_mut() {
            while let Some((_, bytes)) = leader.proposed.pop_front_if(|batch| batch.0 <= index) {
                leader.proposed_bytes -= bytes;
            }
        }
        self.apply_committed();
        self.shrink_cache();
    }

    /// What is applied and durable is needed only for followers a little behind.
    pub(super) fn shrink_cache(&mut self) {
        let keep_from = self.applying.applied.min(self.durability.index).next();
        self.log.shrink_cache(keep_from, self.config.cache_bytes);
    }
}

/// What no correct member sends. It is refused before anything changes.
pub(super) fn check_message(raft: &Raft, from: NodeId, message: &Message) -> Result<(), String> {
    let within = |what: &str, value: u64| match value {
        0..=LARGEST => Ok(()),
        _ => Err(format!("{what} {value} is out of range")),
    };
    if from == raft.id() || from == NodeId(0) {
        return Err(format!("a message claims to come from node {from}"));
    }
    within("term", message.term().0)?;
    match message {
        Message::RequestVote { term, last_log_index, last_log_term, .. } => {
            within("last log index", last_log_index.0)?;
            ordered("last log term", *last_log_term, *term)
        }
        Message::RequestVoteReply { .. } => Ok(()),

        Message::AppendEntries { term, prev_log_index, prev_log_term, entries, .. } => {
            within("previous log index", prev_log_index.0)?;
            ordered("previous log term", *prev_log_term, *term)?;
            let mut previous = (*prev_log_index, *prev_log_term);
            for entry in entries {
                if entry.index != previous.0.next() || entry.term < previous.1 {
                    return Err(format!("entry {} does not follow {}", entry.index, previous.0));
                }
                previous = (entry.index, entry.term);
            }
            ordered("an entry's term", previous.1, *term)?;
            check_against_log(raft, from, *term, (*prev_log_index, *prev_log_term), entries)
        }
        Message::AppendEntriesReply { term, result, .. } => {
            let (AppendResult::Matched(index) | AppendResult::Conflict { index, .. }) = *result;
            within("index", index.0)?;
            let matched = matches!(result, AppendResult::Matched(_));
            let leads = raft.leading().is_some() && *term == raft.term();
            if leads && matched && index > raft.log.last_index() {
                return Err(format!("it acknowledges entry {index}, which does not exist"));
            }
            Ok(())
        }
        _ => Err("not understood yet".into()),
    }
}

/// An AppendEntries that no leader of its term can have sent, given what this server knows.
fn check_against_log(
    raft: &Raft,
    from: NodeId,
    term: Term,
    previous: (LogIndex, Term),
    entries: &[Entry],
) -> Result<(), String> {
    if term < raft.term() {
        return Ok(());
    }
    let other_leader = raft.leader().filter(|leader| *leader != from);
    if let Some(leader) = other_leader.filter(|_| term == raft.term()) {
        return Err(format!("node {leader} leads term {term}, and {from} claims to"));
    }
    let positions = entries.iter().map(|entry| (entry.index, entry.term));
    for (index, its_term) in std::iter::once(previous).chain(positions) {
        let ours = raft.log.term(index);
        if index <= raft.commit_index && ours.is_some_and(|ours| ours != its_term) {
            return Err(format!("it contradicts committed entry {index}"));
        }
    }
    Ok(())
}

fn ordered(what: &str, earlier: Term, later: Term) -> Result<(), String> {
    if earlier <= later { Ok(()) } else { Err(format!("{what} {earlier} is after term {later}")) }
}

/// What must hold of a state, cheap enough for production.
pub(super) fn assert_state(raft: &Raft) {
    let last = raft.log.last_index();
    assert!(raft.commit_index <= last, "committed entries are in the log");
    assert!(raft.applying.applied <= raft.applying.handed);
    assert!(raft.applying.handed <= raft.commit_index, "only committed entries are applied");
    assert!(raft.durability.index <= last, "what is durable is in the log");
    assert!(raft.log.last_term() <= raft.term(), "no entry is of a term to come");
    assert!(raft.draft.is_none() && raft.effects.is_empty(), "a step hands out all its effects");
    if let Some(leader) = raft.leading() {
        let id = raft.id();
        assert_eq!(raft.hard_state.voted_for, Some(id), "a leader voted for itself");
        for progress in leader.progress.values() {
            assert!(progress.match_index < progress.next_index);
            assert!(progress.match_index <= last, "a follower has no more than its leader");
        }
    }
}

/// What must hold of every step.
pub(super) fn assert_step(before: &Status, raft: &Raft) {
    let (term, vote) = (raft.term(), raft.hard_state.voted_for);
    assert!(term >= before.term, "terms never go back");
    assert!(raft.commit_index >= before.commit_index, "committed is for ever");
    assert!(raft.applying.applied >= before.applied_index);
    if term == before.term && before.voted_for.is_some() {
        assert_eq!(vote, before.voted_for, "one vote a term (Election Safety, figure 3)");
    }
    if term == before.term && before.role == Role::Leader {
        assert_eq!(raft.role(), Role::Leader, "only a newer term ends a leadership");
        assert!(
            raft.log.last_index() >= before.last_index,
            "a leader never removes an entry (Leader Append-Only, figure 3)"
        );
    }
}

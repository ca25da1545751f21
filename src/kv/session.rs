//! Exactly once: telling a retry from a new write (dissertation §6.3).
//!
//! # The problem
//!
//! 1. A client sends "add my order"; the leader replicates it, applies it, and dies before it
//!    answers.
//! 2. The client hears nothing. It cannot know whether the write took effect, so it asks another
//!    node for the same again.
//! 3. Now the command stands in the log twice, and without a memory it is applied twice.
//!
//! # The rule
//!
//! A client draws 128 random bits, its session, and numbers its writes. The state machine keeps,
//! for each session, the results that the client has not yet acknowledged. A number that is among
//! them gets the old answer; one at or below the acknowledged mark is refused ([`StaleSequence`]:
//! the client has that answer already); any other is new, in whatever order the numbers arrive. All
//! of this is replicated state: every replica remembers the same, so a retry may go anywhere.
//!
//! # Memory, and why forgetting is safe
//!
//! There is no end of clients, so sessions are forgotten, the least recently used first, by the
//! index of their last command: no clock, hence alike on every replica. The danger: the session
//! comes back after it was forgotten, looks new, and an old retry is applied a second time. So an
//! unknown session must prove that it is new. Its commands say at which applied index it was
//! opened, and the table has a **floor**: the largest last-used index of all sessions that it ever
//! forgot. A session opened below the floor is refused ([`SessionExpired`]).
//!
//! - *No forgotten session gets in.* It was opened at A; its first command came later, at an index
//!   above A; so its last-used index is above A, and the floor is at least that.
//! - *New sessions do get in.* The floor lies as far back as the least recently used sessions do,
//!   thousands of sessions ago; a client would have to open its session and then wait that long.
//!   (With the index *of the eviction* as floor, two clients that open a session at the same time
//!   on a full table would shut each other out.)
//!
//! A session that lets too many results pile up is refused ([`SessionFull`]). A refusal says
//! "certainly no effect", and it must stay true when a second copy of the refused command comes by
//! later, when there is room again. So the session remembers the highest number that it refused,
//! and never afterwards applies one at or below it. The client goes on with higher numbers.
//!
//! *What nobody uses any more* goes too, from the state machine's [version](super::version) 2 on:
//! a session that was not used for so many entries of the log. It is forgotten like any other, so
//! the floor rises with it and the argument above holds: it was used last at an index at or below
//! the floor, and opened before.
//!
//! # Cost
//!
//! Two ordered maps, O(log n) each; a clone is O(1). A session's results are a short queue, by
//! number; a client that acknowledges as it goes has as many as it has requests under way.
//!
//! [`StaleSequence`]: Refusal::StaleSequence
//! [`SessionExpired`]: Refusal::SessionExpired
//! [`SessionFull`]: Refusal::SessionFull

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use imbl::OrdMap;

use super::hash::{self, Digest};
use super::limits::{ITEM_OVERHEAD_BYTES, RESPONSE_OVERHEAD_BYTES, SESSION_LIMITS, SessionLimits};
use super::{
    Effect, KeyValue, Outcome, Refusal, ResponseOp, SessionId, SessionStamp, TransactionResult,
};
use crate::types::LogIndex;

/// All sessions. A clone costs O(1) and shares everything until one side changes.
#[derive(Clone, Debug)]
pub struct Sessions {
    by_id: OrdMap<SessionId, Arc<Session>>,
    /// Every session once, by its last-used index; no two share one.
    by_use: OrdMap<LogIndex, SessionId>,
    /// The largest last-used index of any session that was forgotten.
    floor: LogIndex,
    /// The sum of every session's.
    kept_bytes: usize,
    /// The sum of the hashes of every session and every result.
    digest: Digest,
    limits: SessionLimits,
}

/// What is remembered of one session.
#[derive(Clone, Debug)]
struct Session {
    /// The index of its last command, whatever became of that.
    last_used: LogIndex,
    /// The client has the results up to here.
    acknowledged: u64,
    /// The highest number that was refused because the session was full.
    full: u64,
    /// By number, ascending; all above `acknowledged`.
    results: VecDeque<(u64, Outcome)>,
    kept_bytes: usize,
}

/// A session without its results, as a snapshot holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionMark {
    pub id: SessionId,
    pub last_used: LogIndex,
    pub acknowledged: u64,
    pub full: u64,
}

/// What to do with a command of a session.
enum Verdict {
    Apply,
    Repeat(Outcome),
    Refuse(Refusal),
}

/// What keeping a result costs in memory.
pub fn result_bytes(outcome: &Outcome) -> usize {
    const RESULT: usize = 128;
    match &outcome.effect {
        Effect::Unchanged { found: Some(found) } => RESULT + found.key.len() + found.value.len(),
        Effect::Transaction(result) => RESULT + transaction_bytes(result),
        _ => RESULT,
    }
}

fn transaction_bytes(result: &TransactionResult) -> usize {
    let of_items = |items: &[KeyValue]| -> usize {
        items.iter().map(|kv| kv.key.len() + kv.value.len() + ITEM_OVERHEAD_BYTES).sum()
    };
    let of_response = |response: &ResponseOp| match response {
        ResponseOp::Range { items, .. } => of_items(items),
        ResponseOp::Put { prev } => of_items(prev.as_slice()),
        ResponseOp::DeleteRange { prev, .. } => of_items(prev),
        ResponseOp::Transaction(inner) => transaction_bytes(inner),
    };
    result.responses.iter().map(|it| RESPONSE_OVERHEAD_BYTES + of_response(it)).sum()
}

impl Default for Sessions {
    /// None yet.
    fn default() -> Sessions {
        Sessions {
            by_id: OrdMap::new(),
            by_use: OrdMap::new(),
            floor: LogIndex(0),
            kept_bytes: 0,
            digest: Digest::default(),
            limits: SESSION_LIMITS,
        }
    }
}

impl Sessions {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.by_id.len()
    }

    pub fn floor(&self) -> LogIndex {
        self.floor
    }

    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Calls `apply` if the command at `index` is new, and remembers what it returned; otherwise
    /// says what became of it before, or why it is refused.
    pub fn once(
        &mut self,
        index: LogIndex,
        stamp: &SessionStamp,
        apply: impl FnOnce() -> Outcome,
    ) -> Result<Outcome, Refusal> {
        if !self.by_id.contains_key(&stamp.id) {
            self.open(index, stamp)?;
        }
        let (digest, kept, limits) = (&mut self.digest, &mut self.kept_bytes, self.limits);
        let slot = self.by_id.get_mut(&stamp.id).expect("it was known, or was opened just now");
        let session = Arc::make_mut(slot);
        digest.remove(session.hash(stamp.id));
        *kept -= session.kept_bytes;
        self.by_use.remove(&session.last_used);
        self.by_use.insert(index, stamp.id);
        session.last_used = index;
        session.acknowledge(stamp, digest);
        let result = match session.judge(stamp.sequence, limits) {
            Verdict::Repeat(outcome) => Ok(outcome),
            Verdict::Refuse(refusal) => Err(refusal),
            Verdict::Apply => {
                let outcome = apply();
                session.keep(stamp.id, stamp.sequence, outcome.clone(), digest);
                Ok(outcome)
            }
        };
        digest.add(session.hash(stamp.id));
        *kept += session.kept_bytes;
        // The session at hand is the most recently used one, and its own limit is below the total.
        while self.kept_bytes > limits.total_bytes && self.by_id.len() > 1 {
            self.forget_oldest();
        }
        result
    }

    /// Takes in a session that is not known, if it is certainly new.
    fn open(&mut self, index: LogIndex, stamp: &SessionStamp) -> Result<(), Refusal> {
        // Nobody can have seen this very entry applied before it was written. Such a session comes
        // from another cluster's life, and its commands could not be told from forgotten ones.
        let possible = stamp.opened_at < index;
        if stamp.opened_at < self.floor || !possible {
            return Err(Refusal::SessionExpired);
        }
        while self.by_id.len() >= self.limits.sessions {
            self.forget_oldest();
        }
        let session = Session {
            last_used: index,
            acknowledged: 0,
            full: 0,
            results: VecDeque::new(),
            kept_bytes: 0,
        };
        self.digest.add(session.hash(stamp.id));
        self.by_use.insert(index, stamp.id);
        self.by_id.insert(stamp.id, Arc::new(session));
        Ok(())
    }

    /// Forgets the sessions that were not used for too many entries before `index`.
    pub fn expire(&mut self, index: LogIndex) {
        let idle = self.limits.idle_entries;
        while self.by_use.get_min().is_some_and(|(used, _)| used.distance_to(index) > idle) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some(&(last_used, id)) = self.by_use.get_min() else { return };
        self.by_use.remove(&last_used);
        self.floor = self.floor.max(last_used);
        let Some(session) = self.by_id.remove(&id) else { return };
        self.kept_bytes -= session.kept_bytes;
        self.digest.remove(session.hash(id));
        for (sequence, outcome) in &session.results {
            self.digest.remove(hash::of_result(id, *sequence, outcome));
        }
    }

    /// The digest computed afresh, in time proportional to all that is kept.
    pub fn recompute_digest(&self) -> Digest {
        let mut digest = Digest::default();
        for (id, session) in &self.by_id {
            digest.add(session.hash(*id));
            for (sequence, outcome) in &session.results {
                digest.add(hash::of_result(*id, *sequence, outcome));
            }
        }
        digest
    }

    /// None yet, and no more than `limits` allow.
    pub fn with_limits(limits: SessionLimits) -> Sessions {
        Sessions { limits, ..Sessions::default() }
    }

    /// The sessions from `id` on, or all, in order, each with its results in order.
    pub fn from(
        &self,
        id: Option<SessionId>,
    ) -> impl Iterator<Item = (SessionMark, impl Iterator<Item = &(u64, Outcome)>)> {
        let lower = id.map_or(Bound::Unbounded, Bound::Included);
        self.by_id.range((lower, Bound::Unbounded)).map(|(id, session)| {
            let Session { last_used, acknowledged, full, .. } = **session;
            (SessionMark { id: *id, last_used, acknowledged, full }, session.results.iter())
        })
    }

    /// None yet, and the floor as it was, to be filled from a snapshot.
    pub fn restoring(limits: SessionLimits, floor: LogIndex) -> Sessions {
        Sessions { floor, ..Sessions::with_limits(limits) }
    }

    /// Puts back a session that was there when `applied` was applied. It must come after all that
    /// are there, in order.
    pub fn restore(&mut self, mark: SessionMark, applied: LogIndex) -> Result<(), &'static str> {
        let SessionMark { id, last_used, acknowledged, full } = mark;
        if id.0 == 0 || self.by_id.get_max().is_some_and(|(last, _)| *last >= id) {
            return Err("the sessions are out of order");
        }
        if self.by_id.len() >= self.limits.sessions {
            return Err("there are more sessions than this cluster's limits allow");
        }
        let known = self.by_use.contains_key(&last_used);
        if last_used == LogIndex(0) || last_used > applied || known {
            return Err("a session was used last when it cannot have been");
        }
        let results = VecDeque::new();
        let session = Session { last_used, acknowledged, full, results, kept_bytes: 0 };
        self.digest.add(session.hash(id));
        self.by_use.insert(last_used, id);
        self.by_id.insert(id, Arc::new(session));
        Ok(())
    }

    /// Puts back a result of the session that was restored last, after its others.
    pub fn restore_result(&mut self, sequence: u64, outcome: Outcome) -> Result<(), &'static str> {
        let Some(id) = self.by_id.get_max().map(|(id, _)| *id) else {
            return Err("a result belongs to no session");
        };
        let Some(slot) = self.by_id.get_mut(&id) else {
            return Err("a result belongs to no session");
        };
        let session = Arc::make_mut(slot);
        let last = session.results.back().map_or(session.acknowledged, |(last, _)| *last);
        if sequence <= last {
            return Err("a session's results are out of order");
        }
        if session.results.len() >= self.limits.results
            || session.kept_bytes >= self.limits.session_bytes
        {
            return Err("a session keeps more results than this cluster's limits allow");
        }
        self.kept_bytes += result_bytes(&outcome);
        session.keep(id, sequence, outcome, &mut self.digest);
        Ok(())
    }

    /// Panics if the parts contradict each other.
    #[cfg(test)]
    pub fn check(&self) {
        assert_eq!(self.by_id.len(), self.by_use.len());
        for (last_used, id) in &self.by_use {
            let session = &self.by_id[id];
            assert_eq!(session.last_used, *last_used);
            let results = &session.results;
            assert!(results.iter().zip(results.iter().skip(1)).all(|(a, b)| a.0 < b.0));
            assert!(results.iter().all(|(sequence, _)| *sequence > session.acknowledged));
            let bytes: usize = results.iter().map(|(_, outcome)| result_bytes(outcome)).sum();
            assert_eq!(bytes, session.kept_bytes);
            assert!(results.len() <= self.limits.results);
        }
        let bytes: usize = self.by_id.values().map(|session| session.kept_bytes).sum();
        assert_eq!(bytes, self.kept_bytes);
        assert!(self.by_id.len() <= self.limits.sessions);
        assert!(bytes <= self.limits.total_bytes || self.by_id.len() == 1);
    }
}

impl Session {
    fn hash(&self, id: SessionId) -> u128 {
        hash::of_session(id, self.last_used, self.acknowledged, self.full)
    }

    /// Drops the results that the client has.
    fn acknowledge(&mut self, stamp: &SessionStamp, digest: &mut Digest) {
        self.acknowledged = self.acknowledged.max(stamp.acknowledged);
        while let Some((sequence, outcome)) = self.results.front() {
            if *sequence > self.acknowledged {
                break;
            }
            self.kept_bytes -= result_bytes(outcome);
            digest.remove(hash::of_result(stamp.id, *sequence, outcome));
            self.results.pop_front();
        }
        // A burst must not hold its memory for as long as the session lives.
        const SMALL: usize = 16;
        if self.results.capacity() > SMALL && self.results.len() < self.results.capacity() / 4 {
            self.results.shrink_to(self.results.len() * 2);
        }
    }

    fn judge(&mut self, sequence: u64, limits: SessionLimits) -> Verdict {
        if sequence <= self.acknowledged {
            return Verdict::Refuse(Refusal::StaleSequence);
        }
        if let Ok(position) = self.position(sequence) {
            return Verdict::Repeat(self.results[position].1.clone());
        }
        let room = self.results.len() < limits.results && self.kept_bytes < limits.session_bytes;
        if !room {
            self.full = self.full.max(sequence);
        }
        if sequence <= self.full {
            return Verdict::Refuse(Refusal::SessionFull);
        }
        Verdict::Apply
    }

    fn keep(&mut self, id: SessionId, sequence: u64, outcome: Outcome, digest: &mut Digest) {
        digest.add(hash::of_result(id, sequence, &outcome));
        self.kept_bytes += result_bytes(&outcome);
        let position = self.position(sequence).unwrap_or_else(|position| position);
        self.results.insert(position, (sequence, outcome));
    }

    /// Where the result of `sequence` is, or where it belongs.
    fn position(&self, sequence: u64) -> Result<usize, usize> {
        self.results.binary_search_by_key(&sequence, |(sequence, _)| *sequence)
    }
}

//! Exactly-once writes (dissertation §6.3).
//!
//! A write whose answer was lost must be sent again, and must not be applied again. So a client
//! opens a *session* under an identity of 128 random bits and numbers its writes; the replicas
//! keep each result under (session, sequence) and answer a repetition from it. They cannot keep
//! results for ever: with every write the client says up to which sequence it needs none any more.
//!
//! # What can go wrong
//!
//! 1. One slow write holds the mark back while thousands behind it finish, and the replicas'
//!    memory of the session overflows. Hence the *window*: no new write starts more than
//!    [`WINDOW`] ahead of the mark.
//! 2. A caller gives up (drops the future, runs into its deadline). Nobody will repeat that write,
//!    so its sequence counts as finished: otherwise the mark would stand still for ever. This is
//!    safe, and more: once a later write carried the mark past it, a copy of the abandoned write
//!    that still lingers somewhere is refused as stale instead of surprising everybody.
//! 3. The replicas drop the session (at most 10,000 are kept). A write that was never sent may
//!    simply go into a new session; for one that may have been applied, the answer is gone, and
//!    its outcome is unknown.

use std::collections::BTreeSet;

use crate::kv::{SessionId, SessionStamp};
use crate::types::LogIndex;

/// How far a sequence may run ahead of the acknowledged mark. The replicas keep 1,024 results.
pub(super) const WINDOW: u64 = 1_000;

/// One session's numbering.
#[derive(Debug)]
pub(super) struct Session {
    id: SessionId,
    opened_at: LogIndex,
    /// The sequence of the next write.
    next: u64,
    /// Every sequence up to here is finished.
    acknowledged: u64,
    /// Finished sequences past the mark.
    finished: BTreeSet<u64>,
}

impl Session {
    /// A session that no replica has heard of; `opened_at` is the applied index that some replica
    /// has just told.
    pub(super) fn open(opened_at: LogIndex) -> Session {
        let id = SessionId(rand::random::<u128>().max(1));
        Session { id, opened_at, next: 1, acknowledged: 0, finished: BTreeSet::new() }
    }

    pub(super) fn id(&self) -> SessionId {
        self.id
    }

    /// Whether another write may start.
    pub(super) fn has_room(&self) -> bool {
        self.next - self.acknowledged <= WINDOW
    }

    /// Numbers a write.
    pub(super) fn begin(&mut self) -> SessionStamp {
        let sequence = self.next;
        self.next += 1;
        SessionStamp {
            id: self.id,
            sequence,
            acknowledged: self.acknowledged,
            opened_at: self.opened_at,
        }
    }

    /// The write `sequence` of session `id` will not be sent again.
    pub(super) fn finish(&mut self, id: SessionId, sequence: u64) {
        if id != self.id {
            return; // of a session that has been given up since
        }
        self.finished.insert(sequence);
        while self.finished.remove(&(self.acknowledged + 1)) {
            self.acknowledged += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_moves_only_over_a_gapless_prefix() {
        let mut session = Session::open(LogIndex(7));
        let stamps: Vec<SessionStamp> = (0..4).map(|_| session.begin()).collect();
        assert_eq!(stamps.iter().map(|s| s.sequence).collect::<Vec<_>>(), [1, 2, 3, 4]);
        assert!(stamps.iter().all(|s| s.acknowledged == 0 && s.opened_at == LogIndex(7)));
        session.finish(session.id(), 2);
        session.finish(session.id(), 3);
        assert_eq!(session.begin().acknowledged, 0);
        session.finish(session.id(), 1);
        assert_eq!(session.begin().acknowledged, 3);
    }

    #[test]
    fn one_slow_write_stops_the_others_before_the_replicas_memory_overflows() {
        let mut session = Session::open(LogIndex(0));
        let slow = session.begin();
        while session.has_room() {
            let stamp = session.begin();
            session.finish(stamp.id, stamp.sequence);
        }
        assert_eq!(session.begin().sequence, WINDOW + 1);
        session.finish(slow.id, slow.sequence);
        assert!(session.has_room());
        assert_eq!(session.begin().acknowledged, WINDOW);
    }

    #[test]
    fn a_write_of_an_older_session_does_not_move_the_mark() {
        let mut session = Session::open(LogIndex(0));
        session.begin();
        session.finish(SessionId(session.id().0 ^ 2), 1);
        assert_eq!(session.begin().acknowledged, 0);
    }
}

//! The state machine as the replica drives it: one entry after another, none twice, none left out.

use super::hash;
use super::session::Sessions;
use super::store::Store;
use super::{Answer, Command, DecodeError, Effect, Outcome, Query, Refusal};
use crate::types::{LogIndex, Revision};

/// The replicated state. Cloning it costs O(1): a snapshot is a clone, and writes go on.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    applied: LogIndex,
    store: Store,
    sessions: Sessions,
}

impl Machine {
    /// The state before the first entry of the log.
    pub fn new() -> Machine {
        Machine::default()
    }

    /// Applies the command at `index`. It cannot fail, and depends on nothing but the state and
    /// the bytes: what makes no sense is refused, alike on every replica.
    ///
    /// # Panics
    ///
    /// If `index` is not the next one: an entry was lost or applied twice, and there is no safe way
    /// on.
    pub fn apply(&mut self, index: LogIndex, command: &[u8]) -> Outcome {
        self.advance(index);
        let result = match understand(command) {
            Err(refusal) => Err(refusal),
            Ok(Command { session: None, operation }) => Ok(self.store.operate(operation)),
            Ok(Command { session: Some(stamp), operation }) => {
                self.sessions.once(index, &stamp, || self.store.operate(operation))
            }
        };
        result.unwrap_or_else(|refusal| Outcome {
            revision: self.store.revision(),
            effect: Effect::Refused(refusal),
        })
    }

    /// Takes note of an entry at `index` that does not concern the state machine: a leader's no-op,
    /// a configuration.
    ///
    /// # Panics
    ///
    /// If `index` is not the next one, as in [`Machine::apply`].
    pub fn skip(&mut self, index: LogIndex) {
        self.advance(index);
    }

    fn advance(&mut self, index: LogIndex) {
        assert_eq!(
            index,
            self.applied.next(),
            "entries must be applied one after another, and the last one was {}",
            self.applied
        );
        self.applied = index;
    }

    /// Answers a query from the state as it is. A query that is not [valid](Query::validate) finds
    /// nothing.
    pub fn query(&self, query: &Query) -> Answer {
        self.store.query(query)
    }

    /// The revision of the key space.
    pub fn revision(&self) -> Revision {
        self.store.revision()
    }

    /// How many keys there are.
    pub fn keys(&self) -> u64 {
        self.store.count() as u64
    }

    /// Bytes of all keys and values.
    pub fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// How many client sessions are remembered.
    pub fn sessions(&self) -> u64 {
        self.sessions.count() as u64
    }

    /// The last entry that was applied or skipped; zero before the first.
    pub fn applied_index(&self) -> LogIndex {
        self.applied
    }

    /// One number for the whole replicated state, sessions included: see [`hash`]. Replicas must
    /// agree on it at the same applied index.
    pub fn state_hash(&self) -> u128 {
        let mut digest = self.store.digest();
        digest.add(self.sessions.digest().value());
        digest.add(hash::of_counters(self.store.revision(), self.sessions.floor()));
        digest.value()
    }

    /// The same number, computed from scratch in time proportional to the state: what
    /// [`Machine::state_hash`] must equal, or this replica's memory is damaged.
    pub fn recompute_state_hash(&self) -> u128 {
        let mut digest = self.store.recompute_digest();
        digest.add(self.sessions.recompute_digest().value());
        digest.add(hash::of_counters(self.store.revision(), self.sessions.floor()));
        digest.value()
    }

    #[cfg(test)]
    pub(super) fn with_limits(limits: super::limits::SessionLimits) -> Machine {
        Machine { sessions: Sessions::with_limits(limits), ..Machine::new() }
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (&Store, &Sessions) {
        (&self.store, &self.sessions)
    }
}

/// The command that the bytes of an entry stand for, or why it is refused.
fn understand(bytes: &[u8]) -> Result<Command, Refusal> {
    let command = Command::decode(bytes).map_err(|error| match error {
        // A kind that this version does not know was written by a newer client.
        DecodeError::UnknownVersion { .. } | DecodeError::UnknownKind { .. } => {
            Refusal::UnknownVersion
        }
        DecodeError::Malformed { .. } | DecodeError::TooLarge { .. } => Refusal::Malformed,
    })?;
    command.validate().map_err(|_| Refusal::Malformed)?;
    Ok(command)
}

//! The state machine as the replica drives it: one entry after another, none twice, none left out.

use std::cell::Cell;
use std::collections::BTreeSet;

use bytes::Bytes;

use super::hash;
use super::limits::{
    MAX_ANSWER_PAYLOAD_BYTES, SMALL_QUERY_VISITS, STORED_ITEM_BYTES, STORED_LEASE_BYTES,
};
use super::limits::{SESSION_LIMITS, SessionLimits};
use super::restore::Restore;
use super::roster::Roster;
use super::session::Sessions;
use super::snapshot::MachineSnapshot;
use super::store::{History, Store};
use super::version::{
    FIRST_VERSION, IDLE_SESSIONS_EXPIRE, KEYS_HAVE_A_PAST, LATEST_VERSION, MEMBERS_ARE_KNOWN,
};
use super::{
    Answer, Change, Command, DecodeError, Effect, KeyValue, LeaseStatus, Operation, Outcome,
    Patience, Query, Refusal,
};
use crate::museum::{Bug, Bugs};
use crate::types::{LeaseId, LogIndex, NodeId, Revision};

/// The replicated state. Cloning it costs O(1): a snapshot is a clone, and writes go on.
#[derive(Clone, Debug)]
pub struct Machine {
    pub(super) applied: LogIndex,
    pub(super) version: u16,
    pub(super) store: Store,
    pub(super) sessions: Sessions,
    pub(super) roster: Roster,
    /// A raise that this program does not know was applied: what is here is not the state any more.
    outgrown: Option<u16>,
    options: MachineOptions,
}

/// What a program brings to the machine; none of it is state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineOptions {
    /// The newest [`version`](super::version) that it knows.
    pub supports: u16,
    /// All replicas of a cluster must agree on them.
    pub sessions: SessionLimits,
    /// For the simulator: a bug put back. See [`museum`](crate::museum).
    pub bugs: Bugs,
    /// Whose replica this is, for a bug that makes replicas differ. Nothing else may look at it.
    pub replica: u64,
}

impl Default for MachineOptions {
    fn default() -> MachineOptions {
        let (supports, sessions) = (LATEST_VERSION, SESSION_LIMITS);
        MachineOptions { supports, sessions, bugs: Bugs::none(), replica: 0 }
    }
}

impl Default for Machine {
    fn default() -> Machine {
        Machine::new()
    }
}

impl Machine {
    /// The state before the first entry of the log.
    pub fn new() -> Machine {
        Machine::with(MachineOptions::default())
    }

    /// The same, of a program that knows versions up to `version`.
    pub fn supporting(version: u16) -> Machine {
        Machine::with(MachineOptions { supports: version, ..MachineOptions::default() })
    }

    /// The same, of a program with these options.
    pub fn with(options: MachineOptions) -> Machine {
        Machine {
            applied: LogIndex(0),
            version: FIRST_VERSION,
            store: Store::default(),
            sessions: Sessions::with_limits(options.sessions),
            roster: Roster::default(),
            outgrown: None,
            options,
        }
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
        let result = match understand(command, self.version) {
            Err(refusal) => Err(refusal),
            Ok(Command { operation: Operation::RaiseVersion { to }, .. }) => self.raise(to),
            Ok(Command { session: Some(stamp), operation }) if !self.has(Bug::NoSessions) => {
                let (store, roster) = (&mut self.store, &mut self.roster);
                self.sessions.once(index, &stamp, || operate(store, roster, operation))
            }
            Ok(Command { operation, .. }) => {
                Ok(operate(&mut self.store, &mut self.roster, operation))
            }
        };
        if self.has(Bug::DivergentApply)
            && self.options.replica % 2 == 1
            && index.0.is_multiple_of(16)
        {
            self.store.consume_revision();
        }
        result.unwrap_or_else(|refusal| Outcome {
            revision: self.store.revision(),
            effect: Effect::Refused(refusal),
        })
    }

    fn has(&self, bug: Bug) -> bool {
        self.options.bugs.has(bug)
    }

    fn raise(&mut self, to: u16) -> Result<Outcome, Refusal> {
        if self.version.checked_add(1) != Some(to) {
            return Err(Refusal::UnknownVersion);
        }
        if to > self.options.supports {
            self.outgrown.get_or_insert(to);
        }
        self.version = to;
        self.expire_sessions();
        if to == KEYS_HAVE_A_PAST {
            self.store.keep_history();
        }
        if to == MEMBERS_ARE_KNOWN {
            self.store.clear_marks();
        }
        let revision = self.store.revision();
        Ok(Outcome { revision, effect: Effect::Raised { version: to } })
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

    /// As of the last entry, these are the members, and `voters` of them have their votes. To be
    /// said after each entry that changes it, and after the raise that brings
    /// [`MEMBERS_ARE_KNOWN`]: it is a function of the log, so all replicas hear the same.
    pub fn know_members(&mut self, members: &BTreeSet<NodeId>, voters: &BTreeSet<NodeId>) {
        if self.version >= MEMBERS_ARE_KNOWN {
            self.roster.know(members, voters);
        }
    }

    fn advance(&mut self, index: LogIndex) {
        assert_eq!(
            index,
            self.applied.next(),
            "entries must be applied one after another, and the last one was {}",
            self.applied
        );
        self.applied = index;
        self.expire_sessions();
        self.store.sweep();
    }

    fn expire_sessions(&mut self) {
        if self.version >= IDLE_SESSIONS_EXPIRE {
            self.sessions.expire(self.applied);
        }
    }

    /// Answers a query from the state as it is. A query that is not [valid](Query::validate) finds
    /// nothing.
    pub fn query(&self, query: &Query) -> Answer {
        self.store.query(query, MAX_ANSWER_PAYLOAD_BYTES, &|| true)
    }

    /// The same, if it looks at no more than [`SMALL_QUERY_VISITS`] keys and leaves nothing out for
    /// want of room; `None`: it would, and what was done was in vain.
    pub fn query_small(&self, query: &Query) -> Option<Answer> {
        let left = Cell::new(Some(SMALL_QUERY_VISITS));
        let go_on = || {
            left.set(left.get().and_then(|left| left.checked_sub(1)));
            left.get().is_some()
        };
        let answer = self.store.query(query, MAX_ANSWER_PAYLOAD_BYTES, &go_on);
        (left.get().is_some() && !query.is_cut_by(&answer)).then_some(answer)
    }

    /// The same, but a range is answered whole, however large it is. That may take seconds, so ask
    /// a copy, and elsewhere than where the machine is driven.
    pub fn query_whole(&self, query: &Query, patience: Patience) -> Answer {
        self.store.query(query, usize::MAX, patience)
    }

    /// Every change from `from` on that was made so far, in order: what a watch tells. Refused if
    /// not all of them are kept any more.
    pub fn changes(&self, from: Revision) -> Result<impl Iterator<Item = Change> + '_, Refusal> {
        self.store.changes((from, 0))
    }

    /// The same, from the change of number `sub` of that revision on: a transaction may have made
    /// more changes than anybody wants to take at once.
    pub fn changes_from(
        &self,
        revision: Revision,
        sub: u32,
    ) -> Result<impl Iterator<Item = Change> + '_, Refusal> {
        self.store.changes((revision, sub))
    }

    /// The same, of one who was told all before and is only a little late: refused not as soon as
    /// they are compacted, but when the first of them is really gone.
    pub fn changes_left(
        &self,
        revision: Revision,
        sub: u32,
    ) -> Result<impl Iterator<Item = Change> + '_, Refusal> {
        self.store.changes_left((revision, sub))
    }

    /// What the changed key was right before, if it was there and that is still known.
    pub fn previous(&self, change: &Change) -> Option<KeyValue> {
        self.store.previous(change)
    }

    /// The state as it is now, to be written down while writes go on. It costs O(1).
    pub fn snapshot(&self) -> MachineSnapshot {
        MachineSnapshot::of(self.clone())
    }

    /// The way back: a machine with this one's options, from the parts of a snapshot.
    pub fn restore(&self) -> Restore {
        Restore::with(self.options)
    }

    /// The state machine's version, part of the state: see [`version`](super::version).
    pub fn version(&self) -> u16 {
        self.version
    }

    /// The newest version that this program knows.
    pub fn supports(&self) -> u16 {
        self.options.supports
    }

    pub(super) fn session_limits(&self) -> SessionLimits {
        self.options.sessions
    }

    /// The version that the log raised the machine to and that this program does not know. Its
    /// replica must answer nobody any more, and stop.
    pub fn outgrown(&self) -> Option<u16> {
        self.outgrown
    }

    /// The revision of the key space.
    pub fn revision(&self) -> Revision {
        self.store.revision()
    }

    /// How many keys there are.
    pub fn keys(&self) -> u64 {
        self.store.count() as u64
    }

    /// What was before this revision can neither be read nor watched; zero: all can.
    pub fn compacted_revision(&self) -> Revision {
        self.store.history().map_or(Revision(0), History::compacted)
    }

    /// At which revision history was compacted last, if it ever was, or begins. Zero is a revision
    /// that somebody named.
    pub fn last_compaction(&self) -> Option<Revision> {
        self.store.history().and_then(History::last_compaction)
    }

    /// Whether compaction left something that the next entries sweep.
    pub fn has_rubbish(&self) -> bool {
        self.store.history().is_some_and(History::has_rubbish)
    }

    /// How many leases there are.
    pub fn leases(&self) -> u64 {
        self.store.leases().count()
    }

    /// What is known of a lease, its keys aside.
    pub fn lease(&self, id: LeaseId) -> Option<LeaseStatus> {
        self.store.leases().get(id).map(|lease| lease.status(id))
    }

    /// All leases by their ids, without their keys.
    pub fn all_leases(&self) -> impl Iterator<Item = LeaseStatus> + '_ {
        self.store.leases().after(LeaseId(0)).map(|(id, lease)| lease.status(*id))
    }

    /// Bytes of all keys and values that are not the latest any more.
    pub fn past_bytes(&self) -> u64 {
        self.store.history().map_or(0, History::bytes)
    }

    /// Bytes of all keys and values as they stand.
    pub fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// What is stored, in bytes, as a quota counts it: keys and values as they stand and as they
    /// were, with [`STORED_ITEM_BYTES`] for each version, and [`STORED_LEASE_BYTES`] for each
    /// lease. Sessions have bounds of their own.
    pub fn size(&self) -> u64 {
        let past = self.store.history().map_or(0, |history| history.counts().1);
        let overhead = (self.keys() + past) * STORED_ITEM_BYTES;
        self.bytes() + self.past_bytes() + overhead + self.leases() * STORED_LEASE_BYTES
    }

    /// The members as clients are told of them, and the alarms.
    pub fn roster(&self) -> &Roster {
        &self.roster
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
        self.sum(self.store.digest(), self.sessions.digest(), self.roster.digest())
    }

    /// The same number, computed from scratch in time proportional to the state: what
    /// [`Machine::state_hash`] must equal, or this replica's memory is damaged.
    pub fn recompute_state_hash(&self) -> u128 {
        let (store, sessions) = (self.store.recompute_digest(), self.sessions.recompute_digest());
        self.sum(store, sessions, self.roster.recompute_digest())
    }

    /// One number for the keys as they stand, and nothing else: equal on every replica at the same
    /// revision, whatever was compacted.
    pub fn keys_hash(&self) -> u128 {
        self.store.keys_digest().value()
    }

    /// The same of at most `limit` keys from `start` on, as they were at `revision`: summed up over
    /// all of them, it is what [`Machine::keys_hash`] was then. And the key to go on with, if there
    /// are more. Refused as a read would be.
    pub fn hash_of_keys_at(
        &self,
        revision: Revision,
        start: &Bytes,
        limit: usize,
    ) -> Result<(u128, Option<Bytes>), Refusal> {
        let mut digest = hash::Digest::default();
        let mut items = self.store.items_at(revision, start)?;
        items.by_ref().take(limit).for_each(|item| digest.add(hash::of_item(&item.kv)));
        Ok((digest.value(), items.next().map(|item| item.kv.key.clone())))
    }

    fn sum(&self, keys: hash::Digest, sessions: hash::Digest, roster: hash::Digest) -> u128 {
        let mut digest = keys;
        digest.add(sessions.value());
        digest.add(roster.value());
        digest.add(hash::of_counters(self.store.revision(), self.sessions.floor()));
        digest.add(hash::of_version(self.version));
        digest.value()
    }

    #[cfg(test)]
    pub(super) fn with_limits(sessions: SessionLimits) -> Machine {
        Machine::with(MachineOptions { sessions, ..MachineOptions::default() })
    }

    #[cfg(test)]
    pub(super) fn parts(&self) -> (&Store, &Sessions) {
        (&self.store, &self.sessions)
    }
}

/// Does what a valid operation says, if no alarm forbids it.
fn operate(store: &mut Store, roster: &mut Roster, operation: Operation) -> Outcome {
    let done = match operation {
        Operation::Alarm(order) => roster.order(order),
        Operation::Announce(announcement) => roster.announce(announcement),
        Operation::Enlist { node } => roster.enlist(node),
        operation => match roster.refuses(&operation) {
            Some(refusal) => Err(refusal),
            None => return store.operate(operation),
        },
    };
    Outcome { revision: store.revision(), effect: done.unwrap_or_else(Effect::Refused) }
}

/// The command that the bytes of an entry stand for, or why a machine of `version` refuses it.
fn understand(bytes: &[u8], version: u16) -> Result<Command, Refusal> {
    let command = Command::decode_for(bytes, version).map_err(|error| match error {
        // A kind that this version does not know was written by a newer client.
        DecodeError::UnknownVersion { .. } | DecodeError::UnknownKind { .. } => {
            Refusal::UnknownVersion
        }
        DecodeError::Malformed { .. } | DecodeError::TooLarge { .. } => Refusal::Malformed,
    })?;
    command.validate().map_err(|_| Refusal::Malformed)?;
    Ok(command)
}

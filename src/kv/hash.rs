//! One number that stands for the whole replicated state.
//!
//! # The problem
//!
//! Replicas that applied the same log must hold the same state. If a bug, a bad bit or a version
//! that counts differently breaks that, nothing notices: each replica goes on answering, and they
//! contradict each other. Comparing whole states is too dear; comparing one number at the same
//! index is not.
//!
//! # The rule
//!
//! Every item of the state (a key with its value and its numbers, a version of the past, a change,
//! a lease, a session, a result that a session keeps, an alarm, a member, the counters) is hashed
//! alone by XXH3, 128 bits, and the state's hash is the sum of them all, modulo 2¹²⁸. A sum does
//! not depend on order and can be undone: changing one key subtracts its old hash and adds the new
//! one, whatever the size of the store. Every item begins with a tag of its kind and has a fixed
//! number of words, strings and versions entering as their own hashes, so no two different items
//! look alike.
//!
//! XXH3 is defined byte for byte and the words are little-endian: the number is the same on every
//! machine, and across versions of this program.
//!
//! # Caveats
//!
//! It detects accidents. Somebody who chooses values freely can make two states of equal sum (the
//! generalised birthday attack), so it is no proof between parties that distrust each other. And
//! equal hashes at *different* indexes say nothing: a no-op, say, does not change the state.

use xxhash_rust::xxh3::xxh3_128;

use super::roster::Member;
use super::snapshot::records;
use super::{Alarm, Effect, KeyValue, Outcome, SessionId};
use crate::types::{LeaseId, LogIndex, NodeId, Revision};

/// A sum of hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest(u128);

impl Digest {
    /// Counts an item in.
    pub fn add(&mut self, item: u128) {
        self.0 = self.0.wrapping_add(item);
    }

    /// Takes an item out that was counted in before.
    pub fn remove(&mut self, item: u128) {
        self.0 = self.0.wrapping_sub(item);
    }

    /// The sum.
    pub fn value(self) -> u128 {
        self.0
    }
}

/// What kind of item is hashed: its first word. Never renumbered.
#[repr(u64)]
enum Tag {
    Key = 1,
    Session = 2,
    Result = 3,
    Counters = 4,
    Version = 5,
    LeasedKey = 6,
    Change = 7,
    Past = 8,
    Compacted = 9,
    Lease = 10,
    LastMember = 11,
    Alarm = 12,
    Member = 13,
}

/// A version of a key. One without a lease has no word for it, because programs that knew no leases
/// hash it so, and must agree with those that do.
pub fn of_item(item: &KeyValue) -> u128 {
    let [key_high, key_low] = halves(xxh3_128(&item.key));
    let [value_high, value_low] = halves(xxh3_128(&item.value));
    let words = [key_high, key_low, value_high, value_low];
    let numbers = [item.create_revision.0, item.mod_revision.0, item.version];
    let ([a, b, c, d], [e, f, g]) = (words, numbers);
    match item.lease.0 {
        0 => of_words([Tag::Key as u64, a, b, c, d, e, f, g]),
        lease => of_words([Tag::LeasedKey as u64, a, b, c, d, e, f, g, lease]),
    }
}

/// A change in the log: the version whose hash is `item`, or the deletion, was the change of number
/// `sub` of its revision.
pub fn of_change(item: u128, sub: u32) -> u128 {
    let [high, low] = halves(item);
    of_words([Tag::Change as u64, high, low, u64::from(sub)])
}

/// The version whose hash is `item`, or the deletion, is in the past.
pub fn of_past(item: u128) -> u128 {
    let [high, low] = halves(item);
    of_words([Tag::Past as u64, high, low])
}

/// Where history begins; `None`: with the first change.
pub fn of_compacted(revision: Option<Revision>) -> u128 {
    let (known, revision) = (revision.is_some(), revision.unwrap_or_default());
    of_words([Tag::Compacted as u64, u64::from(known), revision.0])
}

/// A lease without its keys, each of which names it.
pub fn of_lease(id: LeaseId, granted: u64, remaining: u64) -> u128 {
    of_words([Tag::Lease as u64, id.0, granted, remaining])
}

/// The highest number that a member ever had. Zero, of a machine that was told of none, has no
/// word.
pub fn of_last_member(id: NodeId) -> u128 {
    if id.0 == 0 { 0 } else { of_words([Tag::LastMember as u64, id.0]) }
}

/// An alarm that is on.
pub fn of_alarm(Alarm { member, kind }: Alarm) -> u128 {
    of_words([Tag::Alarm as u64, member.0, kind as u64])
}

/// What is known of a member.
pub fn of_member(id: NodeId, member: &Member) -> u128 {
    let mut said = Vec::new();
    records::put_member(&mut said, id, member);
    let [high, low] = halves(xxh3_128(&said));
    of_words([Tag::Member as u64, high, low])
}

/// A session without its results.
pub fn of_session(id: SessionId, last_used: LogIndex, acknowledged: u64, full: u64) -> u128 {
    let [high, low] = halves(id.0);
    of_words([Tag::Session as u64, high, low, last_used.0, acknowledged, full])
}

/// A result that a session keeps.
pub fn of_result(id: SessionId, sequence: u64, outcome: &Outcome) -> u128 {
    let [high, low] = halves(id.0);
    let (kind, [a, b]) = match &outcome.effect {
        Effect::Put { existed } => (1, [u64::from(*existed), 0]),
        Effect::Deleted { existed } => (2, [u64::from(*existed), 0]),
        Effect::Swapped => (3, [0, 0]),
        Effect::Unchanged { found: None } => (4, [0, 0]),
        Effect::Unchanged { found: Some(found) } => (5, halves(of_item(found))),
        Effect::Refused(refusal) => (6, [u64::from(refusal.number()), 0]),
        Effect::Raised { version } => (7, [u64::from(*version), 0]),
        Effect::Transaction(result) => (8, halves(xxh3_128(&records::of_result(result)))),
        Effect::Compacted => (9, [0, 0]),
        Effect::LeaseGranted => (10, [0, 0]),
        Effect::LeaseRevoked { deleted } => (11, [*deleted, 0]),
        Effect::LeasesCheckpointed => (12, [0, 0]),
        Effect::Alarm { alarm: None } => (13, [0, 0]),
        Effect::Alarm { alarm: Some(alarm) } => (13, [alarm.member.0, alarm.kind as u64]),
        Effect::Announced => (14, [0, 0]),
        Effect::Enlisted => (15, [0, 0]),
    };
    of_words([Tag::Result as u64, high, low, sequence, outcome.revision.0, kind, a, b])
}

/// The numbers that the state has only one of.
pub fn of_counters(revision: Revision, eviction_floor: LogIndex) -> u128 {
    of_words([Tag::Counters as u64, revision.0, eviction_floor.0])
}

/// The state machine's version. The first one has no word of its own, because programs that knew no
/// other hash without it, and must agree with those that do.
pub fn of_version(version: u16) -> u128 {
    if version <= 1 { 0 } else { of_words([Tag::Version as u64, u64::from(version)]) }
}

fn of_words<const N: usize>(words: [u64; N]) -> u128 {
    xxh3_128(words.map(u64::to_le_bytes).as_flattened())
}

fn halves(hash: u128) -> [u64; 2] {
    [(hash >> 64) as u64, hash as u64]
}

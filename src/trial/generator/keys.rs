//! The keys in use, shared by all clients of a trial.
//!
//! # Ties
//!
//! Keys that are changed together can only be judged together, and that is dear: some hundred
//! operations with a dozen of unknown outcome are judged in a moment, a thousand with fifty perhaps
//! never. So keys that transactions, leases or a lock tie together form a *group*, which is left
//! alone as a whole, and the sooner the more of it is in doubt.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::trial::recorder::Ended;
use crate::trial::wish::Wish;
use crate::trial::workload::{Kind, Workload};
use crate::types::{LeaseId, Random};
use crate::verify::history::{Call, Deed, Found, Outcome};

/// Operations on a group, at most.
const TIED: u32 = 300;
/// Operations on a group whose outcome is unknown, at most.
const DOUBTS: u32 = 12;
/// Leases of a trial, at most; one more would share a name with the first.
const LEASES: u64 = 1 << 21;

/// All keys, and the leases' names.
#[derive(Debug)]
pub struct Keys {
    prefix: String,
    operations_per_key: u32,
    slots: Vec<Slot>,
    leases: Range<u64>,
}

/// A place for groups of keys of one kind, one after the other. Most groups are one key.
#[derive(Debug)]
pub(super) struct Slot {
    kind: Kind,
    pub(super) keys: Vec<String>,
    /// What was last heard of their values: what a compare-and-swap expects.
    pub(super) heard: Vec<Option<Bytes>>,
    /// The lease that its keys are attached to now.
    pub(super) living: Option<Living>,
    /// How many groups stood here before.
    generation: u32,
    used: u32,
    doubts: u32,
}

/// A lease that is thought to live.
#[derive(Clone, Copy, Debug)]
pub(super) struct Living {
    pub(super) id: LeaseId,
    /// How often it will still be kept alive.
    pub(super) renewals: u64,
    /// Whether it is revoked after that, or left to end.
    pub(super) revoked: bool,
}

/// How the locks of the service begin, in a trial whose keys begin with `prefix`. They are apart:
/// the keys beneath a lock's name are the service's own, and no history says what they must be.
pub fn beneath_locks(prefix: &str) -> String {
    format!("lock-service/{prefix}")
}

/// The names of the leases of a trial that began then: nobody else's are among them.
pub fn leases(began_unix_millis: u64) -> Range<u64> {
    // Milliseconds take 41 bits until the year 2039, and etcd's own choice is positive, too.
    let first = began_unix_millis.saturating_mul(LEASES);
    first..first.saturating_add(LEASES)
}

impl Keys {
    /// Keys that begin with `prefix` and leases from `leases`, which no trial has used before.
    pub fn new(prefix: &str, leases: Range<u64>, workload: &Workload) -> Keys {
        let mut keys = Keys {
            prefix: prefix.to_owned(),
            operations_per_key: workload.operations_per_key,
            slots: Vec::new(),
            leases,
        };
        for kind in workload.kinds.iter().filter(|kind| **kind != Kind::Watch) {
            for _ in 0..workload.keys {
                let group = keys.group(*kind, keys.slots.len(), 0);
                keys.slots.push(group);
            }
        }
        keys
    }

    fn group(&self, kind: Kind, place: usize, generation: u32) -> Slot {
        let parts: &[&str] = match kind {
            Kind::Transaction => &["/a", "/b", "/c"],
            Kind::Lease => &["/a", "/b"],
            _ => &[""],
        };
        let prefix = match kind {
            Kind::LockService => beneath_locks(&self.prefix),
            _ => self.prefix.clone(),
        };
        let name = |part: &&str| format!("{prefix}{kind}-{place}.{generation}{part}");
        Slot {
            kind,
            keys: parts.iter().map(name).collect(),
            heard: vec![None; parts.len()],
            living: None,
            generation,
            used: 0,
            doubts: 0,
        }
    }

    /// A group of `kind`, which has its time before it.
    pub(super) fn draw(&mut self, kind: Kind, random: &mut Random) -> &mut Slot {
        let places: Vec<usize> =
            (0..self.slots.len()).filter(|place| self.slots[*place].kind == kind).collect();
        // A generator has only kinds that the keys were made for.
        let place = places[random.below(places.len() as u64) as usize];
        self.use_up(place);
        &mut self.slots[place]
    }

    /// One more operation on the group at `place`, or on the one that takes its place.
    fn use_up(&mut self, place: usize) {
        let slot = &self.slots[place];
        let most = match slot.kind.is_etcd() {
            true => self.operations_per_key.min(TIED),
            false => self.operations_per_key,
        };
        let is_dear = slot.kind.is_etcd() && slot.doubts >= DOUBTS;
        if slot.used >= most || is_dear {
            self.slots[place] = self.group(slot.kind, place, slot.generation + 1);
        }
        self.slots[place].used += 1;
    }

    /// One more operation on the group of this key, if that is still in use and has its time
    /// before it.
    pub(super) fn stay(&mut self, key: &str) -> bool {
        let Some(place) = self.slots.iter().position(|slot| slot.keys.iter().any(|it| it == key))
        else {
            return false;
        };
        self.use_up(place);
        self.slots[place].keys.iter().any(|it| it == key)
    }

    /// A name for a lease that nobody has asked for.
    pub(super) fn lease(&mut self) -> LeaseId {
        LeaseId(self.leases.next().unwrap_or(self.leases.end))
    }

    /// A prefix of those in use, or one of them: what can be watched.
    pub fn aim(&self, random: &mut Random) -> (String, bool) {
        let slots: Vec<&Slot> =
            self.slots.iter().filter(|slot| slot.kind != Kind::LockService).collect();
        // Who watches has another kind beside that.
        let slot = slots[random.below(slots.len() as u64) as usize];
        let key = &slot.keys[random.below(slot.keys.len() as u64) as usize];
        match random.below(3) {
            0 => (format!("{}{}-", self.prefix, slot.kind), true),
            1 => (slot.keys[0].trim_end_matches("/a").to_owned(), true),
            _ => (key.clone(), false),
        }
    }

    /// Something has ended.
    pub fn ended(&mut self, wish: &Wish, ended: &Ended) {
        let Some(slot) =
            self.slots.iter_mut().find(|slot| slot.keys.iter().any(|it| it == wish.key()))
        else {
            return;
        };
        slot.doubts += u32::from(ended.outcome == Outcome::Unknown);
        if wish.kind == Kind::Lease {
            slot.lease_ended(wish, ended);
        }
        let Outcome::Ok { found, .. } = &ended.outcome else { return };
        for (key, value) in left(wish, found) {
            if let Some(place) = slot.keys.iter().position(|it| it == key) {
                slot.heard[place] = value;
            }
        }
    }
}

impl Slot {
    /// What became of something that was wanted of the living lease.
    fn lease_ended(&mut self, wish: &Wish, ended: &Ended) {
        let Some(living) = self.living.filter(|living| Some(living.id) == wish.lease) else {
            return;
        };
        let is_gone = match (&wish.call, &ended.outcome) {
            (Call::Grant(_), Outcome::Failed) => true,
            (Call::KeepAlive, Outcome::Mismatch) => true,
            (Call::Revoke, outcome) => *outcome != Outcome::Failed,
            (_, Outcome::Failed) => is_lease_gone(ended),
            _ => false,
        };
        self.living = Some(living).filter(|_| !is_gone);
    }
}

/// Whether it failed because its lease is not there.
pub(super) fn is_lease_gone(ended: &Ended) -> bool {
    let says = |what| ended.error.as_ref().is_some_and(|error| error.contains(what));
    says("requested lease not found") || says("session is expired")
}

/// How long a lease is asked for.
pub(super) fn life(random: &mut Random) -> Duration {
    Duration::from_secs(2 + random.below(3))
}

/// What something that is done left, or found, under which keys.
fn left<'w>(wish: &'w Wish, found: &Found) -> Vec<(&'w str, Option<Bytes>)> {
    let one = |value: Option<Bytes>| vec![(wish.key(), value)];
    match (&wish.call, found) {
        (Call::Read, Found::Value(found)) => one(found.clone()),
        (Call::Write(value) | Call::Acquire(value), _) => one(Some(value.clone())),
        (Call::Cas { new, .. }, _) => one(new.clone()),
        (Call::Delete | Call::Release(_), _) => one(None),
        (Call::Txn(steps), Found::Values(values)) => {
            let mut values = values.iter();
            let left = steps.iter().filter_map(|step| {
                let value = match &step.deed {
                    Deed::Read => values.next()?.clone(),
                    Deed::Write(value) => Some(value.clone()),
                    Deed::Delete => None,
                    // Of what was there before, somebody else may say.
                    Deed::Check(_) | Deed::Append(_) => return None,
                };
                Some((wish.keys.get(step.key)?.as_str(), value))
            });
            left.collect()
        }
        _ => Vec::new(),
    }
}

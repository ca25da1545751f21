//! What each client wants next: drawn from the seed.
//!
//! Every value is written once in a trial, so that a read tells which write it saw. A key is used
//! by all clients for some hundred operations, and then another takes its place: a write whose fate
//! is unknown may take effect at any time from then on, and a checker has to think of each such
//! moment. Left alone, the key is read once more at the end.

use bytes::Bytes;

use super::workload::{Kind, Workload};
use crate::types::Random;
use crate::verify::history::Call;

/// The keys in use, shared by all clients of a trial.
#[derive(Debug)]
pub struct Keys {
    prefix: String,
    operations_per_key: u32,
    slots: Vec<Slot>,
}

/// A place for keys of one kind, one after the other.
#[derive(Debug)]
struct Slot {
    kind: Kind,
    key: String,
    /// How many keys stood here before.
    generation: u32,
    used: u32,
    /// What was last heard of its value: what a compare-and-swap expects.
    heard: Option<Bytes>,
}

/// What one client wants.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    client: u32,
    made: u64,
    kinds: Vec<Kind>,
    read_percent: u64,
}

impl Keys {
    /// Keys that begin with `prefix`, which no trial has used before.
    pub fn new(prefix: &str, workload: &Workload) -> Keys {
        let slot = |kind| Slot { kind, key: String::new(), generation: 0, used: 0, heard: None };
        let mut keys = Keys {
            prefix: prefix.to_owned(),
            operations_per_key: workload.operations_per_key,
            slots: Vec::new(),
        };
        for kind in &workload.kinds {
            keys.slots.extend((0..workload.keys).map(|_| slot(*kind)));
        }
        for place in 0..keys.slots.len() {
            keys.slots[place].key = keys.name(place);
        }
        keys
    }

    fn name(&self, place: usize) -> String {
        let Slot { kind, generation, .. } = &self.slots[place];
        format!("{}{kind}-{place}.{generation}", self.prefix)
    }

    /// A key of `kind`, and what was last heard of its value.
    fn draw(&mut self, kind: Kind, random: &mut Random) -> (String, Option<Bytes>) {
        let places: Vec<usize> =
            (0..self.slots.len()).filter(|place| self.slots[*place].kind == kind).collect();
        // A generator has only kinds that the keys were made for.
        let place = places[random.below(places.len() as u64) as usize];
        if self.slots[place].used >= self.operations_per_key {
            self.slots[place].generation += 1;
            let key = self.name(place);
            let slot = &mut self.slots[place];
            (slot.key, slot.used, slot.heard) = (key, 0, None);
        }
        let slot = &mut self.slots[place];
        slot.used += 1;
        (slot.key.clone(), slot.heard.clone())
    }

    /// Somebody was told the value of `key`.
    pub fn heard(&mut self, key: &str, value: Option<Bytes>) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.key == key) {
            slot.heard = value;
        }
    }
}

impl Generator {
    /// What the client of number `client` wants.
    pub fn new(seed: u64, client: u32, workload: &Workload) -> Generator {
        let mut random = Random::from_seed(seed);
        let own = random.bits().wrapping_add(u64::from(client));
        let random = Random::from_seed(Random::from_seed(own).bits());
        Generator {
            random,
            client,
            made: 0,
            kinds: workload.kinds.clone(),
            read_percent: workload.read_percent,
        }
    }

    /// The next operation, and the key that it is for.
    pub fn next(&mut self, keys: &mut Keys) -> (String, Call) {
        let kind = self.kinds[self.random.below(self.kinds.len() as u64) as usize];
        let (key, heard) = keys.draw(kind, &mut self.random);
        self.made += 1;
        let (client, made) = (self.client, self.made);
        let fresh = Bytes::from(format!("{client}.{made}"));
        let percent = self.random.below(100);
        let call = match kind {
            Kind::Register if percent < self.read_percent => Call::Read,
            Kind::Register => Call::Write(fresh),
            Kind::CompareAndSwap if percent < 25 => Call::Read,
            Kind::CompareAndSwap if percent < 40 => Call::Write(fresh),
            Kind::CompareAndSwap => Call::Cas { old: heard, new: Some(fresh) },
            Kind::MultiKey if percent < 45 => Call::Read,
            Kind::MultiKey if percent < 48 => Call::Delete,
            // In brackets, none is a part of another.
            Kind::MultiKey => Call::Append(format!("[{client}.{made}]").into()),
        };
        (key, call)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn drawn(seed: u64, client: u32, count: usize) -> Vec<(String, Call)> {
        let workload = Workload::default();
        let mut keys = Keys::new("t/", &workload);
        let mut generator = Generator::new(seed, client, &workload);
        (0..count).map(|_| generator.next(&mut keys)).collect()
    }

    #[test]
    fn a_seed_gives_the_same_wishes_and_each_client_its_own() {
        assert_eq!(drawn(1, 0, 100), drawn(1, 0, 100));
        assert_ne!(drawn(1, 0, 100), drawn(2, 0, 100));
        let calls = |client| -> Vec<_> {
            drawn(1, client, 100).into_iter().map(|(key, call)| (key, call.name())).collect()
        };
        assert_ne!(calls(0), calls(1));
    }

    #[test]
    fn a_key_is_left_alone_after_its_time_and_no_value_comes_twice() {
        let workload = Workload { operations_per_key: 10, ..Workload::default() };
        let mut keys = Keys::new("t/", &workload);
        let mut generator = Generator::new(7, 3, &workload);
        let mut uses = std::collections::BTreeMap::new();
        let mut values = BTreeSet::new();
        for _ in 0..5_000 {
            let (key, call) = generator.next(&mut keys);
            assert!(key.starts_with("t/"));
            *uses.entry(key).or_insert(0) += 1;
            let value = match call {
                Call::Write(value) | Call::Append(value) => Some(value),
                Call::Cas { new, .. } => new,
                _ => None,
            };
            assert!(value.is_none_or(|value| values.insert(value)));
        }
        assert!(uses.len() >= 500 && uses.values().all(|used| *used <= 10), "{}", uses.len());
    }

    #[test]
    fn a_swap_expects_what_was_last_heard_and_nothing_of_an_older_key() {
        let workload = Workload {
            kinds: vec![Kind::CompareAndSwap],
            keys: 1,
            operations_per_key: 20,
            ..Workload::default()
        };
        let mut keys = Keys::new("t/", &workload);
        let mut generator = Generator::new(7, 0, &workload);
        let value = Some(Bytes::from("x"));
        for _ in 0..20 {
            let (key, call) = generator.next(&mut keys);
            assert!(!matches!(call, Call::Cas { old, .. } if old.is_some()));
            keys.heard("t/cas-0.9", value.clone());
            assert_eq!(key, "t/cas-0.0");
        }
        let (key, _) = generator.next(&mut keys);
        assert_eq!(key, "t/cas-0.1");
        keys.heard(&key, value.clone());
        let swaps: Vec<_> = (0..19)
            .filter_map(|_| match generator.next(&mut keys).1 {
                Call::Cas { old, .. } => Some(old),
                _ => None,
            })
            .collect();
        assert!(!swaps.is_empty() && swaps.iter().all(|old| *old == value));
    }
}

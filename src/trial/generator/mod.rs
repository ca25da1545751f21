//! What each client wants next: drawn from the seed.
//!
//! Every value is written once in a trial, so that a read tells which write it saw. A key is used
//! by all clients for some hundred operations, and then another takes its place: a write whose fate
//! is unknown may take effect at any time from then on, and a checker has to think of each such
//! moment. Left alone, the key is read once more at the end.

mod keys;
mod leases;
mod locks;
mod transactions;

use bytes::Bytes;

pub use self::keys::{Keys, beneath_locks, leases};
use self::locks::Holding;
use super::recorder::Ended;
use super::wish::Wish;
use super::workload::{Kind, Workload};
use crate::types::Random;
use crate::verify::history::{Call, Outcome};

/// What one client wants.
#[derive(Debug)]
pub struct Generator {
    random: Random,
    client: u32,
    made: u64,
    kinds: Vec<Kind>,
    read_percent: u64,
    /// The lease and the lock that it holds.
    holding: Option<Holding>,
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
            kinds: workload.kinds.iter().copied().filter(|kind| *kind != Kind::Watch).collect(),
            read_percent: workload.read_percent,
            holding: None,
        }
    }

    /// The next operation.
    pub fn next(&mut self, keys: &mut Keys) -> Wish {
        let kind = self.kinds[self.random.below(self.kinds.len() as u64) as usize];
        self.made += 1;
        let (client, made) = (self.client, self.made);
        let fresh = Bytes::from(format!("{client}.{made}"));
        match kind {
            Kind::Transaction => transactions::wish(keys, &mut self.random, &fresh),
            Kind::Lease => leases::wish(keys, &mut self.random, fresh),
            Kind::Lock | Kind::LockService => {
                locks::wish(kind, &mut self.holding, keys, &mut self.random, fresh)
            }
            _ => self.of_one_key(kind, keys, fresh),
        }
    }

    fn of_one_key(&mut self, kind: Kind, keys: &mut Keys, fresh: Bytes) -> Wish {
        let slot = keys.draw(kind, &mut self.random);
        let percent = self.random.below(100);
        let call = match kind {
            Kind::CompareAndSwap if percent < 25 => Call::Read,
            Kind::CompareAndSwap if percent < 40 => Call::Write(fresh),
            Kind::CompareAndSwap => Call::Cas { old: slot.heard[0].clone(), new: Some(fresh) },
            Kind::MultiKey if percent < 45 => Call::Read,
            Kind::MultiKey if percent < 48 => Call::Delete,
            Kind::MultiKey => Call::Append(piece(&fresh)),
            _ if percent < self.read_percent => Call::Read,
            _ => Call::Write(fresh),
        };
        Wish::of(kind, &slot.keys[0], call)
    }

    /// What it wanted has ended.
    pub fn ended(&mut self, keys: &mut Keys, wish: &Wish, ended: &Ended) {
        keys.ended(wish, ended);
        if ended.outcome == Outcome::Unknown {
            // Whoever takes its place knows nothing of what it held.
            self.holding = self.holding.take().and_then(|held| locks::given_up(held, wish));
        } else if matches!(wish.kind, Kind::Lock | Kind::LockService) {
            locks::ended(&mut self.holding, wish, ended);
        }
    }
}

/// What is appended: in brackets, none is a part of another.
fn piece(fresh: &Bytes) -> Bytes {
    [b"[", &fresh[..], b"]"].concat().into()
}

#[cfg(test)]
mod tests;

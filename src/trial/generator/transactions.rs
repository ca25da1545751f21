//! Transactions over the keys of a group.
//!
//! Two writes of one key in one transaction are refused, here as by the store: all else comes as it
//! is drawn. Half of what is checked is what was last heard, so that checks hold now and then.

use bytes::Bytes;

use super::keys::Keys;
use super::piece;
use crate::trial::wish::Wish;
use crate::trial::workload::Kind;
use crate::types::Random;
use crate::verify::history::{Call, Deed, Step};

/// Steps of a transaction.
const STEPS: std::ops::Range<u64> = 2..5;

pub(super) fn wish(keys: &mut Keys, random: &mut Random, fresh: &Bytes) -> Wish {
    let slot = keys.draw(Kind::Transaction, random);
    let count = STEPS.start + random.below(STEPS.end - STEPS.start);
    let place = |random: &mut Random| random.below(slot.keys.len() as u64) as usize;
    // What only looks, looks everywhere: no write may be seen on one key and missed on another.
    if random.chance(0.25) {
        let steps = (0..slot.keys.len()).map(|key| Step { key, deed: Deed::Read }).collect();
        return whole(&slot.keys, steps);
    }
    let mut steps = Vec::new();
    if random.chance(0.4) {
        let key = place(random);
        steps.push(Step { key, deed: Deed::Check(slot.heard[key].clone()) });
    }
    // Each key is written once, in an order that is drawn.
    let mut unwritten: Vec<usize> = (0..slot.keys.len()).collect();
    while (steps.len() as u64) < count {
        let percent = random.below(100);
        let step = match unwritten.is_empty() || percent < 30 {
            true => Step { key: place(random), deed: Deed::Read },
            false => {
                let key = unwritten.swap_remove(random.below(unwritten.len() as u64) as usize);
                // Of one transaction, several keys may get the same: no key gets it twice.
                let deed = match percent {
                    0..75 => Deed::Write(fresh.clone()),
                    75..88 => Deed::Append(piece(fresh)),
                    _ => Deed::Delete,
                };
                Step { key, deed }
            }
        };
        steps.push(step);
    }
    whole(&slot.keys, steps)
}

fn whole(keys: &[String], steps: Vec<Step>) -> Wish {
    let call = Call::Txn(steps);
    Wish { kind: Kind::Transaction, keys: keys.to_vec(), lease: None, call }
}

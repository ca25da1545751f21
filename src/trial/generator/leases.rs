//! Leases, and the keys that hang on them.
//!
//! The clients share a group's lease: whoever comes keeps it alive, attaches keys to it, swaps what
//! is attached, reads. Each is kept alive some times, and then revoked, or left to end by itself;
//! when somebody was told that it is gone, another is asked for. Now and then a key is written
//! without it, and stays.

use bytes::Bytes;

use super::keys::{Keys, Living, life};
use crate::trial::wish::Wish;
use crate::trial::workload::Kind;
use crate::types::Random;
use crate::verify::history::Call;

/// Keep-alives of a lease, at most.
const RENEWALS: u64 = 20;

pub(super) fn wish(keys: &mut Keys, random: &mut Random, fresh: Bytes) -> Wish {
    let new = keys.lease();
    let slot = keys.draw(Kind::Lease, random);
    let place = random.below(slot.keys.len() as u64) as usize;
    let one = |call| Wish::of(Kind::Lease, &slot.keys[place], call);
    let all = |id, call| Wish { kind: Kind::Lease, keys: slot.keys.clone(), lease: Some(id), call };
    let Some(living) = &mut slot.living else {
        let (renewals, revoked) = (random.below(RENEWALS), random.chance(0.4));
        slot.living = Some(Living { id: new, renewals, revoked });
        return all(new, Call::Grant(life(random)));
    };
    let id = living.id;
    match random.below(100) {
        // It is left to end, and all look whether its keys do.
        0..25 if living.renewals == 0 && !living.revoked => one(Call::Read),
        0..25 if living.renewals == 0 => all(id, Call::Revoke),
        0..25 => {
            living.renewals -= 1;
            all(id, Call::KeepAlive)
        }
        25..45 => one(Call::Write(fresh)).with_lease(id),
        45..58 => {
            let call = Call::Cas { old: slot.heard[place].clone(), new: Some(fresh) };
            one(call).with_lease(id)
        }
        58..61 => one(Call::Write(fresh)),
        61..64 => one(Call::Delete),
        _ => one(Call::Read),
    }
}

//! Locks, each wanted by several.
//!
//! A client takes a lease first, then tries to get the lock until it has it, keeps its lease alive
//! while it holds it, and gives it up; with the lease it may try again. Sometimes it forgets all
//! that, as if it had died: then the lock is nobody's until the lease has ended.
//!
//! It has one lock at a time, by transactions or by the service. By the service it tries once: if
//! its turn does not come in time, nobody knows whether it will, and its lease is revoked.

use bytes::Bytes;

use super::keys::{Keys, is_lease_gone, life};
use crate::trial::recorder::Ended;
use crate::trial::wish::Wish;
use crate::trial::workload::Kind;
use crate::types::{LeaseId, Random};
use crate::verify::history::{Call, Outcome};

/// What a client holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Holding {
    /// How it gets it.
    kind: Kind,
    key: String,
    lease: LeaseId,
    /// The name under which it holds the lock.
    holder: Option<Bytes>,
    /// It gives its lease back next.
    leaves: bool,
}

pub(super) fn wish(
    kind: Kind,
    holding: &mut Option<Holding>,
    keys: &mut Keys,
    random: &mut Random,
    fresh: Bytes,
) -> Wish {
    // It dies; or its lock is not used any more. Its lease ends by itself.
    if random.chance(0.03) || holding.as_ref().is_some_and(|held| !keys.stay(&held.key)) {
        *holding = None;
    }
    let Some(held) = holding else {
        let lease = keys.lease();
        let key = keys.draw(kind, random).keys[0].clone();
        *holding = Some(Holding { kind, key: key.clone(), lease, holder: None, leaves: false });
        return Wish::of(kind, &key, Call::Grant(life(random))).with_lease(lease);
    };
    let kind = held.kind;
    let one = |call| Wish::of(kind, &held.key, call);
    let percent = random.below(100);
    match &held.holder {
        _ if held.leaves => one(Call::Revoke).with_lease(held.lease),
        // Of a lock of the service there is nothing to read.
        _ if percent < 20 && kind == Kind::Lock => one(Call::Read),
        None if percent < 30 => one(Call::KeepAlive).with_lease(held.lease),
        None => one(Call::Acquire(fresh)).with_lease(held.lease),
        Some(_) if percent < 60 => one(Call::KeepAlive).with_lease(held.lease),
        Some(holder) => {
            held.leaves = random.chance(0.3);
            one(Call::Release(holder.clone())).with_lease(held.lease)
        }
    }
}

/// What is known, by whoever goes on, of what was held when the outcome of `wish` became unknown.
pub(super) fn given_up(held: Holding, wish: &Wish) -> Option<Holding> {
    let waited = wish.kind == Kind::LockService && matches!(wish.call, Call::Acquire(_));
    waited.then_some(Holding { leaves: true, ..held })
}

pub(super) fn ended(holding: &mut Option<Holding>, wish: &Wish, ended: &Ended) {
    let Some(held) = holding else { return };
    let is_ok = ended.outcome.is_ok();
    let is_gone = match &wish.call {
        Call::Grant(_) => !is_ok,
        Call::KeepAlive => ended.outcome == Outcome::Mismatch,
        Call::Revoke => ended.outcome != Outcome::Failed,
        Call::Acquire(_) => is_lease_gone(ended),
        _ => false,
    };
    match &wish.call {
        _ if is_gone => *holding = None,
        Call::Acquire(holder) if is_ok => held.holder = Some(holder.clone()),
        Call::Release(_) if is_ok || ended.outcome == Outcome::Mismatch => held.holder = None,
        _ => {}
    }
}

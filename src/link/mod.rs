//! What may go wrong between two nodes, on purpose: the fault policy of one directed link.
//!
//! Everything that node i sends to node j goes through one [`Link`], at the sender. So a policy for
//! i→j covers votes, entries, replies and relayed requests alike, and nothing sneaks past a
//! partition. The real node and a simulator run this same code: it has no clock, no thread and no
//! randomness but the seeds it is given. Time comes in as a value.
//!
//! ```text
//!            ┌─────┐  ┌──────┐  ┌───────────┐  ┌──────┐  ┌───────┐  ┌─────────┐  ┌───────┐
//!  admit ──┬►│ cut ├─►│ loss ├─►│ duplicate ├─►│ rate ├─►│ delay ├─►│ reorder ├─►│ queue ├─► due
//!          │ └──┬──┘  └──┬───┘  └───────────┘  └──────┘  └───────┘  └─────────┘  └───────┘
//!          │    ▼        ▼        two go on    when has   when does  does another  if there is
//!          │  gone     gone                    it left?   it come?   overtake it?  room; a stall
//!          │                                                                     keeps all here
//!          │
//!          └─────────── the empty policy: straight through, one branch ───────────────────►
//! ```
//!
//! Each fault is a small file that does one thing, in the manner of toxiproxy's toxics, and each
//! has a generator of its own: to take a fault out of a scenario, or to put one in, does not change
//! what those before it do to the same messages. So a scenario that fails can be made smaller.
//!
//! # Rules
//!
//! - *Order.* Messages of a [`Class`] leave in the order they came, whatever delay, jitter and rate
//!   say, as on the stream sockets below: only [`reorder`] lets one overtake another.
//! - *Heartbeats do not wait behind bulk.* [`Class::Control`] has the right of way on a link of
//!   limited rate ([`rate`]) and its own room in the queue: a slow link must look slow, not dead.
//! - *Bounded.* The queue holds so many messages and bytes of each class ([`Bounds`]); when it is
//!   full the **newest** is dropped. What was dropped must be sent again in any case, and a
//!   receiver can use the entries before a gap but not those behind it.
//! - *A change of policy takes effect at once.* A cut drops what is on its way; any other change
//!   lets it arrive now, in order.
//!
//! # Caveats
//!
//! Faults are drawn for each *message*, not for packets or bytes. A duplicated message is a copy
//! in memory: whoever receives it must tell it from the first, or must not mind. Counters count
//! only what faults did: a link without them costs one branch and counts nothing.

pub mod cut;
pub mod delay;
pub mod duplicate;
pub mod loss;
mod policy;
mod queue;
pub mod rate;
pub mod reorder;
pub mod stall;

#[cfg(test)]
mod tests;

pub use policy::{Distribution, InvalidPolicy, MAX_DELAY, Policy};
pub use queue::{Bounds, Room};

use self::delay::Delay;
use self::duplicate::Duplicate;
use self::loss::Loss;
use self::queue::Queue;
use self::rate::Rate;
use self::reorder::Reorder;
use crate::types::{Instant, Random};

/// How urgent a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Small, and others wait for it: heartbeats, votes, replies.
    Control,
    /// What carries data.
    Bulk,
}

/// What the faults of a link did since it was made. Only ever grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Counters {
    /// Dropped by a cut, on arrival or on their way.
    pub cut: u64,
    /// Dropped by loss.
    pub lost: u64,
    /// Dropped because the queue was full.
    pub overflowed: u64,
    /// Sent a second time.
    pub duplicated: u64,
    /// Kept waiting by rate, delay, reordering or a stall.
    pub delayed: u64,
    /// Held back so that others overtake.
    pub reordered: u64,
}

impl Counters {
    /// Each with its word.
    pub fn by_effect(&self) -> [(&'static str, u64); 6] {
        let Counters { cut, lost, overflowed, duplicated, delayed, reordered } = *self;
        [
            ("cut", cut),
            ("lost", lost),
            ("overflowed", overflowed),
            ("duplicated", duplicated),
            ("delayed", delayed),
            ("reordered", reordered),
        ]
    }
}

/// A policy at work on one directed link, and the messages it holds.
#[derive(Clone, Debug)]
pub struct Link<M> {
    /// Nothing is in force and nothing waits. The only thing that a healthy link looks at.
    clear: bool,
    policy: Policy,
    loss: Loss,
    duplicate: Duplicate,
    rate: Rate,
    delay: Delay,
    reorder: Reorder,
    queue: Queue<M>,
    counters: Counters,
}

impl<M: Clone> Link<M> {
    /// A link without faults. Whatever faults it is given later are drawn from `random`.
    pub fn new(random: Random) -> Link<M> {
        Link::with_bounds(random, Bounds::default())
    }

    /// A link whose queue holds no more than `bounds`.
    pub fn with_bounds(mut random: Random, bounds: Bounds) -> Link<M> {
        let mut own = || Random::from_seed(random.bits());
        Link {
            clear: true,
            policy: Policy::default(),
            loss: Loss::new(own()),
            duplicate: Duplicate::new(own()),
            rate: Rate::default(),
            delay: Delay::new(own()),
            reorder: Reorder::new(own()),
            queue: Queue::new(bounds),
            counters: Counters::default(),
        }
    }

    /// Puts `policy` in force, instead of the one before. What is on its way under the old one is
    /// dropped if the new one cuts, and otherwise arrives now; but the policy that is in force
    /// already changes nothing.
    pub fn set_policy(&mut self, policy: Policy, now: Instant) -> Result<(), InvalidPolicy> {
        policy.validate()?;
        if policy == self.policy {
            return Ok(());
        }
        if policy.cut {
            self.counters.cut += self.queue.clear();
        } else {
            self.queue.release(now);
        }
        self.rate = Rate::default();
        self.policy = policy;
        self.look();
        Ok(())
    }

    /// Hands in a message of `size` bytes. `Some`: it leaves now. `None`: it was dropped, or it
    /// waits, and [`Link::due`] will hand it out; so will its copy, if it was duplicated.
    #[inline]
    pub fn admit(&mut self, message: M, class: Class, size: usize, now: Instant) -> Option<M> {
        if self.clear {
            return Some(message);
        }
        self.pass_faults(message, class, size, now)
    }

    fn pass_faults(&mut self, message: M, class: Class, size: usize, now: Instant) -> Option<M> {
        if cut::cuts(&self.policy) {
            self.counters.cut += 1;
            return None;
        }
        if self.loss.loses(&self.policy) {
            self.counters.lost += 1;
            return None;
        }
        let copy = self.duplicate.doubles(&self.policy).then(|| message.clone());
        let leaving = self.carry(message, class, size, now);
        if let Some(copy) = copy {
            self.counters.duplicated += 1;
            if let Some(at) = self.leaves_at(class, size, now) {
                self.hold(copy, class, size, at, now);
            }
        }
        self.look();
        leaving
    }

    /// Gives the message back if nothing keeps it.
    fn carry(&mut self, message: M, class: Class, size: usize, now: Instant) -> Option<M> {
        let at = self.leaves_at(class, size, now)?;
        if at <= now && !self.queue.is_due(now) && !stall::stalls(&self.policy) {
            return Some(message);
        }
        self.hold(message, class, size, at, now);
        None
    }

    /// When a message that is handed in now leaves; never, if there is no room for it to wait.
    /// That comes first: a message that is dropped must not take its share of the rate, or the line
    /// would be taken for ever longer by what never passes it.
    fn leaves_at(&mut self, class: Class, size: usize, now: Instant) -> Option<Instant> {
        if !self.queue.has_room_for(class, size) {
            self.counters.overflowed += 1;
            return None;
        }
        let sent = self.rate.sent_at(&self.policy, class, size, now);
        let arrives = self.queue.in_order(class, sent + self.delay.draw(&self.policy));
        let hold = self.reorder.holds_back(&self.policy);
        self.counters.reordered += u64::from(hold.is_some());
        Some(arrives + hold.unwrap_or_default())
    }

    fn hold(&mut self, message: M, class: Class, size: usize, at: Instant, now: Instant) {
        self.counters.delayed += u64::from(at > now || stall::stalls(&self.policy));
        self.queue.push(message, class, size, at);
    }

    /// Takes out what leaves by `now`, in order.
    pub fn due(&mut self, now: Instant) -> impl Iterator<Item = M> {
        std::iter::from_fn(move || {
            if stall::stalls(&self.policy) {
                return None;
            }
            let message = self.queue.pop(now);
            self.look();
            message
        })
    }

    /// When [`Link::due`] has something next, if nothing is handed in before.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.queue.next().filter(|_| !stall::stalls(&self.policy))
    }

    /// The policy in force.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// What the faults did so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Messages and bytes that wait.
    pub fn waiting(&self) -> Room {
        self.queue.held()
    }

    /// Looks whether anything is in force or waits.
    fn look(&mut self) {
        self.clear = self.policy.is_empty() && self.queue.next().is_none();
    }
}

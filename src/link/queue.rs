//! The messages that wait, by the moment they leave.
//!
//! Two classes share one order of time but not one room: control messages are few and small, and
//! a queue that is full of entries must not turn them away.
//!
//! When there is no room the newest message is dropped, as a router does. Dropping the oldest would
//! be worse: its receiver can use the entries *before* a gap, and none behind it.

use std::collections::BTreeMap;

use super::Class;
use crate::types::Instant;

/// How much may wait, of each class. One message may wait whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    pub control: Room,
    pub bulk: Room,
}

/// A number of messages, and their bytes as the caller counts them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    pub messages: usize,
    pub bytes: usize,
}

impl Default for Bounds {
    /// For bulk, twice what a leader has under way to one follower at most.
    fn default() -> Bounds {
        Bounds {
            control: Room { messages: 4096, bytes: 1 << 20 },
            bulk: Room { messages: 8192, bytes: 16 << 20 },
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Queue<M> {
    /// By the moment of leaving; among equals, by the order of arrival.
    waiting: BTreeMap<(Instant, u64), Waiting<M>>,
    arrivals: u64,
    control: Lane,
    bulk: Lane,
}

#[derive(Clone, Debug)]
struct Waiting<M> {
    message: M,
    class: Class,
    size: usize,
}

/// What is kept for each class.
#[derive(Clone, Debug)]
struct Lane {
    bounds: Room,
    held: Room,
    /// No message of the class leaves before this, unless it is to overtake.
    last: Instant,
}

impl Lane {
    fn new(bounds: Room) -> Lane {
        Lane { bounds, held: Room::default(), last: Instant::default() }
    }

    fn has_room_for(&self, size: usize) -> bool {
        let fits = self.held.messages < self.bounds.messages
            && self.held.bytes.saturating_add(size) <= self.bounds.bytes;
        fits || self.held.messages == 0
    }
}

impl<M> Queue<M> {
    pub fn new(bounds: Bounds) -> Queue<M> {
        Queue {
            waiting: BTreeMap::new(),
            arrivals: 0,
            control: Lane::new(bounds.control),
            bulk: Lane::new(bounds.bulk),
        }
    }

    fn lane(&mut self, class: Class) -> &mut Lane {
        match class {
            Class::Control => &mut self.control,
            Class::Bulk => &mut self.bulk,
        }
    }

    /// The moment at which a message leaves that would arrive at `at`, behind those of its class.
    pub fn in_order(&mut self, class: Class, at: Instant) -> Instant {
        let lane = self.lane(class);
        lane.last = lane.last.max(at);
        lane.last
    }

    /// Whether one more message may wait.
    pub fn has_room_for(&mut self, class: Class, size: usize) -> bool {
        self.lane(class).has_room_for(size)
    }

    /// Lets a message wait until `at`. The caller has seen that there is room for it.
    pub fn push(&mut self, message: M, class: Class, size: usize, at: Instant) {
        let held = &mut self.lane(class).held;
        held.messages += 1;
        held.bytes = held.bytes.saturating_add(size);
        self.arrivals += 1;
        self.waiting.insert((at, self.arrivals), Waiting { message, class, size });
    }

    /// Takes out the first message, if it leaves by `now`.
    pub fn pop(&mut self, now: Instant) -> Option<M> {
        let first = self.waiting.first_entry().filter(|first| first.key().0 <= now)?;
        let Waiting { message, class, size } = first.remove();
        let held = &mut self.lane(class).held;
        held.messages -= 1;
        held.bytes = held.bytes.saturating_sub(size);
        Some(message)
    }

    /// Whether something leaves by `now`.
    pub fn is_due(&self, now: Instant) -> bool {
        self.next().is_some_and(|at| at <= now)
    }

    /// When the first one leaves.
    pub fn next(&self) -> Option<Instant> {
        self.waiting.first_key_value().map(|((at, _), _)| *at)
    }

    /// Lets everything leave now, in its order.
    pub fn release(&mut self, now: Instant) {
        let waiting = std::mem::take(&mut self.waiting);
        self.waiting = waiting
            .into_values()
            .zip(self.arrivals + 1..)
            .map(|(waiting, arrival)| ((now, arrival), waiting))
            .collect();
        self.arrivals += self.waiting.len() as u64;
        self.control.last = now;
        self.bulk.last = now;
    }

    /// Drops everything; how many messages that were.
    pub fn clear(&mut self) -> u64 {
        let dropped = self.waiting.len() as u64;
        self.waiting.clear();
        for lane in [&mut self.control, &mut self.bulk] {
            *lane = Lane::new(lane.bounds);
        }
        dropped
    }

    /// What waits, of both classes.
    pub fn held(&self) -> Room {
        Room {
            messages: self.waiting.len(),
            bytes: self.control.held.bytes.saturating_add(self.bulk.held.bytes),
        }
    }
}

//! The words that every layer shares: identities, positions and time.
//!
//! Each is a type of its own, so that a term can never be passed where an index is meant, and
//! none of them carries behaviour beyond the arithmetic that its meaning allows.

mod trace;

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use trace::TraceContext;

/// Declares a number with an identity of its own.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

number! {
    /// A member of the cluster. Never reused: a node that lost its data comes back under a new one.
    /// Zero is nobody, and is refused wherever it arrives from outside.
    NodeId(u64)
}

number! {
    /// Raft's logical clock: at most one leader in each term (paper §5.1). Zero is "before the
    /// first election".
    Term(u64)
}

number! {
    /// The position of an entry in the log. The first entry is 1; zero is "before the log".
    LogIndex(u64)
}

number! {
    /// The version of the whole key space, etcd's word. It starts at 1 for the empty store, and
    /// only changes to keys consume it.
    Revision(u64)
}

number! {
    /// A lease's name, drawn by whoever asks for the lease. Zero is "no lease". etcd's are signed;
    /// these are the same bits.
    LeaseId(u64)
}

number! {
    /// Which cluster: drawn at random when it is created, written in every segment and sent with
    /// every batch between nodes, so that two clusters can never mix.
    ClusterId(u64)
}

number! {
    /// Numbers the writes that a consensus core asks for, in order, from 1 after each start.
    Seq(u64)
}

number! {
    /// The caller's name for a request it has handed down; it comes back with the answer. Unique
    /// within one life of a node.
    Ticket(u64)
}

impl Term {
    /// The term after this one.
    pub fn next(self) -> Term {
        Term(self.0 + 1)
    }
}

impl LogIndex {
    /// The position after this one.
    pub fn next(self) -> LogIndex {
        LogIndex(self.0 + 1)
    }

    /// The position before this one; before the log there is nothing more.
    pub fn previous(self) -> LogIndex {
        LogIndex(self.0.saturating_sub(1))
    }

    /// How many entries lie in `self..other`; none if `other` is not after `self`.
    pub fn distance_to(self, other: LogIndex) -> u64 {
        other.0.saturating_sub(self.0)
    }
}

impl Add<u64> for LogIndex {
    type Output = LogIndex;
    fn add(self, entries: u64) -> LogIndex {
        LogIndex(self.0 + entries)
    }
}

impl Seq {
    /// The number after this one.
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}

/// A moment on one node's own monotonic clock, as the time since that node's own origin.
///
/// The deterministic layers are *told* the time; they never ask. Moments of different nodes are
/// not comparable, and none survives a restart.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Instant(pub Duration);

impl Instant {
    /// A moment `millis` milliseconds after the origin.
    pub const fn from_millis(millis: u64) -> Instant {
        Instant(Duration::from_millis(millis))
    }

    /// How long ago `earlier` was; zero if it lies ahead.
    pub fn since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;
    fn add(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_add(duration))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;
    fn sub(self, duration: Duration) -> Instant {
        Instant(self.0.saturating_sub(duration))
    }
}

impl fmt::Display for Instant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}ms", self.0.as_millis())
    }
}

/// A seeded generator (SplitMix64, Steele et al. 2014).
///
/// Ours although crates abound, because a core must be a value that can be cloned *without*
/// forking the sequence, compared and hashed, and because a recorded seed must give the same
/// sequence after any upgrade of a dependency.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed`.
    pub fn from_seed(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; `bound` must not be zero. The bias is below 2⁻³² for the bounds
    /// used here (milliseconds, counts).
    pub fn below(&mut self, bound: u64) -> u64 {
        debug_assert!(bound > 0);
        self.bits() % bound
    }

    /// A duration in `range`, to the microsecond.
    pub fn duration(&mut self, range: std::ops::Range<Duration>) -> Duration {
        let width = range.end.saturating_sub(range.start).as_micros() as u64;
        range.start + Duration::from_micros(self.below(width.max(1)))
    }

    /// True with probability `p` (0 never, 1 always).
    pub fn chance(&mut self, p: f64) -> bool {
        p > 0.0 && (self.bits() >> 11) as f64 * (1.0 / (1u64 << 53) as f64) < p
    }
}

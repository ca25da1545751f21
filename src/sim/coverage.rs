//! What happened in a life, counted: a kind of event that never happened was never tested.

use std::ops::AddAssign;

/// Declares the kinds.
macro_rules! kinds {
    ($($name:ident $words:literal,)*) => {
        /// A kind of event.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Seen { $(#[doc = $words] $name,)* }

        impl Seen {
            /// All of them.
            pub const ALL: &'static [Seen] = &[$(Seen::$name,)*];

            /// In words, for the table.
            pub fn words(self) -> &'static str {
                match self { $(Seen::$name => $words,)* }
            }
        }
    };
}

kinds! {
    Election "candidacies",
    Leader "leaders elected",
    LeaderReplaced "leaders replaced while they believed to lead",
    Truncation "logs truncated",
    Crash "crashes",
    Restart "restarts",
    TornTail "torn tails cut at a restart",
    LostTail "restarts with less than was asked to be written",
    PowerCut "power cuts of all nodes",
    Pause "pauses",
    Partition "partitions",
    OneWay "links cut one way",
    Lost "messages lost",
    Duplicated "messages doubled",
    Reordered "messages overtaken",
    CutMessage "messages dropped by a cut",
    SlowDisk "slow disks",
    FullDisk "full disks",
    NoSpace "writes refused for want of space",
    FailedSync "nodes stopped by a failed sync",
    ClockFault "clocks that drift or jump",
    Campaign "candidacies out of turn",
    Write "writes acknowledged",
    Swap "compare-and-swaps that found what they wanted",
    NoSwap "compare-and-swaps that did not",
    Read "linearizable reads",
    StaleRead "stale reads",
    Unknown "outcomes unknown to a client",
    Retry "writes tried again",
    Repeated "retries found to be applied already",
    Refused "requests refused",
    Relayed "requests handed on to a leader",
    LogRead "entries read back from the disk",
}

/// Counts, by kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage([u64; Seen::ALL.len()]);

impl Default for Coverage {
    fn default() -> Coverage {
        Coverage([0; Seen::ALL.len()])
    }
}

impl Coverage {
    /// Counts one.
    pub fn count(&mut self, kind: Seen) {
        self.add(kind, 1);
    }

    /// Counts many.
    pub fn add(&mut self, kind: Seen, count: u64) {
        self.0[kind as usize] += count;
    }

    /// How often it happened.
    pub fn of(&self, kind: Seen) -> u64 {
        self.0[kind as usize]
    }

    /// All kinds with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (Seen, u64)> + '_ {
        Seen::ALL.iter().map(|kind| (*kind, self.of(*kind)))
    }
}

impl AddAssign<&Coverage> for Coverage {
    fn add_assign(&mut self, other: &Coverage) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}

//! What happened in a life, counted: a kind of event that never happened was never tested.

use std::ops::AddAssign;

use crate::consensus::raft::Message;

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
    PreVote "pre-votes asked for",
    StepDown "leaders that stepped down in their own term",
    TransferBegun "leaderships handed over",
    JointChange "joint changes of membership begun",
    ChangeDone "changes of membership completed",
    Joined "nodes that joined",
    Promoted "learners promoted",
    Demoted "voters demoted",
    Removed "members removed",
    LeaderRemoved "leaders removed or demoted",
    Rotten "nodes that refuse to start from a damaged disk",
    Damaged "nodes that find their log damaged",
    Repaired "logs repaired by others",
    Wiped "nodes that lost their disk",
    Upgraded "nodes started with a newer program",
    SnapshotTaken "snapshots taken",
    SnapshotSent "parts of snapshots sent",
    SnapshotInstalled "snapshots installed",
    LogDiscarded "logs replaced by a snapshot",
    Compacted "logs compacted",
    OrderDone "errands of operators done",
    OrderRefused "errands of operators refused",
    OrderUnknown "errands of operators of unknown outcome",
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
    FollowerRead "questions of followers how far to read",
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

impl Coverage {
    /// Counts a message that leaves, if it says something rare.
    pub fn count_message(&mut self, message: &Message) {
        match message {
            Message::RequestVote { .. } => self.count(Seen::Election),
            Message::PreVote { .. } => self.count(Seen::PreVote),
            Message::TimeoutNow { .. } => self.count(Seen::TransferBegun),
            Message::InstallSnapshot { .. } => self.count(Seen::SnapshotSent),
            Message::ReadIndex { .. } => self.count(Seen::FollowerRead),
            _ => {}
        }
    }
}

impl AddAssign<&Coverage> for Coverage {
    fn add_assign(&mut self, other: &Coverage) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, count)| *sum += count);
    }
}

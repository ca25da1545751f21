//! The bug museum: bugs that real Raft systems have had, each behind a switch that puts it back.
//!
//! # Why put bugs in on purpose
//! A checker that has never caught anything proves nothing. So each bug of the museum can be put
//! back into the *real* code, at the very line whose rule it breaks, and the simulator must find
//! it; and a learner can watch what the rule is for (`kvctl sim --bug figure-8`).
//!
//! # Why no node can have one
//! A switch is a value in the options that a core, a log or a replica is made with. Only the
//! simulator and tests ever make such a value other than [`Bugs::none`]: `tests/layering.rs` reads
//! every other room's source and refuses the name [`Bug`] outside the few that honour it, and
//! `kvnode` builds its options with none. The exception has to be compiled: with
//! `--features museum`, made to see whether `kvctl verify` catches it on a living cluster, a node
//! takes the bug that `KVRAFT_BUG` names (`node/museum.rs`).

mod texts;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
pub use texts::{Text, text};

/// Declares the exhibits.
macro_rules! exhibits {
    ($($(#[$doc:meta])* $name:ident = $number:literal $slug:literal,)*) => {
        /// One bug, after `number` in the project's list of known bugs.
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        pub enum Bug {
            $($(#[$doc])* $name,)*
        }

        impl Bug {
            /// All of them.
            pub const ALL: &'static [Bug] = &[$(Bug::$name,)*];

            /// Its name on the command line.
            pub fn slug(self) -> &'static str {
                match self { $(Bug::$name => $slug,)* }
            }

            /// Its number in the list of known bugs.
            pub fn number(self) -> u32 {
                match self { $(Bug::$name => $number,)* }
            }
        }
    };
}

exhibits! {
    /// A leader commits an entry of an older term because a majority has it (paper §5.4.2).
    CommitOldTerm = 1 "figure-8",
    /// The membership changes one server at a time, before the term's first commit.
    SingleServerChange = 2 "single-server-change",
    /// A new leader serves reads before its no-op is committed.
    ReadBeforeNoop = 3 "read-before-noop",
    /// A follower commits up to the leader's commit index, past what it has matched.
    CommitPastMatch = 4 "commit-past-match",
    /// An AppendEntries truncates whatever lies behind its last entry, conflict or not.
    ShortAppendTruncates = 5 "short-append-truncates",
    /// A vote leaves before it is on disk.
    VoteBeforeDisk = 6 "vote-before-disk",
    /// Term and vote are not written down at all.
    ForgottenTerm = 7 "forgotten-term",
    /// A candidate that steps down within its term forgets its vote.
    StepDownClearsVote = 8 "step-down-clears-vote",
    /// A leader that hears nobody goes on believing that it leads.
    NoCheckQuorum = 9 "no-check-quorum",
    /// A pre-vote raises terms like a vote.
    PreVoteRaisesTerm = 10 "pre-vote-raises-term",
    /// Who hears no leader stands for election at once, without asking whether it could win.
    NoPreVote = 32 "no-pre-vote",
    /// A lease is counted from the answer to a heartbeat instead of its sending.
    LeaseFromAnswer = 12 "lease-from-answer",
    /// A failed sync is tried again and believed.
    SyncRetried = 13 "sync-retried",
    /// Entries are acknowledged before they are on disk.
    AckBeforeDisk = 14 "ack-before-disk",
    /// Damage in the middle of the log is cut like a torn tail.
    CorruptionCut = 15 "corruption-cut",
    /// A snapshot claims to cover one entry more than the state that it holds.
    SnapshotAheadOfState = 16 "snapshot-ahead-of-state",
    /// A received snapshot leaves the log's conflicting suffix in place.
    SnapshotKeepsSuffix = 17 "snapshot-keeps-suffix",
    /// An old snapshot that arrives late takes the state back.
    OldSnapshotInstalled = 29 "old-snapshot-installed",
    /// The log is compacted past the snapshot that is durable.
    CompactionGap = 18 "compaction-gap",
    /// A server that does not know that it was promoted refuses to vote.
    LearnerRefusesVote = 19 "learner-refuses-vote",
    /// A node that lost its disk comes back under its old id, and votes again.
    WipedNodeReturns = 20 "wiped-node-returns",
    /// A transfer goes to a target that lacks entries, and takes proposals meanwhile.
    TransferToLagging = 21 "transfer-to-lagging",
    /// A truncation takes back only one of two configurations.
    TruncationKeepsConfiguration = 22 "truncation-keeps-configuration",
    /// A joint change counts only the new majority.
    JointIgnoresOld = 30 "joint-ignores-old",
    /// A leader answers reads without asking whether it still leads.
    UnconfirmedReads = 31 "unconfirmed-reads",
    /// A retried write is applied again.
    NoSessions = 27 "no-sessions",
    /// Replicas differ in what a command does.
    DivergentApply = 28 "divergent-apply",
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.slug())
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(text: &str) -> Result<Bug, String> {
        Bug::ALL.iter().copied().find(|bug| bug.slug() == text).ok_or_else(|| {
            let known: Vec<_> = Bug::ALL.iter().map(|bug| bug.slug()).collect();
            format!("the museum has no `{text}`; it has {}", known.join(", "))
        })
    }
}

/// Which bug is in force: none, or one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Bugs(Option<Bug>);

impl Bugs {
    /// The program as it is meant to be.
    pub const fn none() -> Bugs {
        Bugs(None)
    }

    /// With one bug put back.
    pub const fn only(bug: Bug) -> Bugs {
        Bugs(Some(bug))
    }

    /// Whether `bug` is in force.
    pub fn has(self, bug: Bug) -> bool {
        self.0 == Some(bug)
    }
}

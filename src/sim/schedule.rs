//! A life, written down before it is lived: what goes wrong, when, and what clients do meanwhile.
//!
//! Everything that chance decides about a life is drawn at its beginning, as a list. So a life that
//! went wrong can be lived again with pieces of the list left out: that is how a failure is made
//! small (`shrink`). Each fault is complete in itself (it ends by itself), so that any may be left
//! out. Whom a fault meets is said in words (`the leader`) and resolved when it begins.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::link::Policy;
use crate::museum::Bugs;
use crate::scenario::Scenario;
use crate::types::NodeId;

/// The whole of a life. The same schedule gives the same life, to the last bit.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Decides what the lists do not: latencies, time-outs, what is lost.
    pub seed: u64,
    /// Nodes that the cluster is born with.
    pub nodes: u64,
    /// Nodes that may join it later.
    pub spares: u64,
    /// How long the hostility lasts.
    pub duration: Duration,
    pub setting: Setting,
    pub faults: Vec<Fault>,
    pub clients: Vec<ClientPlan>,
    /// What is done instead of faults by chance.
    pub scenario: Option<Arc<Scenario>>,
}

/// What stays the same throughout a life.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// What every link is like when nothing is wrong with it.
    pub network: Policy,
    /// How long a disk takes for one operation.
    pub disk: Range<Duration>,
    pub segment_bytes: u64,
    pub cache_bytes: usize,
    pub max_message_bytes: usize,
    /// Messages on their way to one follower.
    pub max_in_flight: usize,
    /// Keys that the clients share.
    pub keys: u64,
    /// Values are so long, about.
    pub value_bytes: usize,
    /// About so many bytes of commands between two snapshots.
    pub snapshot_log_bytes: u64,
    pub snapshot_chunk_bytes: usize,
    /// Entries that stay behind a snapshot.
    pub keep_entries: u64,
    /// The replicas themselves compare their states at multiples of this index.
    pub hash_every: u64,
    /// Leaders serve reads by a lease.
    pub lease: bool,
    /// The nodes begin with a program that knows only the first version of the state machine.
    pub old_programs: bool,
    /// Syncs do nothing: for the test of the tests.
    pub lying_disks: bool,
    /// The bug that is put back.
    pub bugs: Bugs,
    /// Broken rules count at once, not only the harm that comes of them: see
    /// [`Properties`](super::properties::Properties).
    pub strict: bool,
}

/// What one client is like.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientPlan {
    /// Tells its random choices from those of others.
    pub seed: u64,
    /// Tries again what is unknown, under a session.
    pub session: bool,
    /// Between the end of an operation and the next.
    pub pause: Range<Duration>,
    /// How long a node may take to answer.
    pub timeout: Duration,
    /// The share of reads among its operations.
    pub reads: f64,
    /// The share of stale ones among those.
    pub stale: f64,
    /// It stops after so many operations.
    pub operations: u64,
}

/// One thing that goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    pub when: When,
    pub lasts: Duration,
    pub what: What,
}

/// When a fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    At(Duration),
    /// So long after the `nth` time that somebody became leader.
    AfterElection {
        nth: u64,
        wait: Duration,
    },
}

/// Whom a fault meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    Node(NodeId),
    /// Whoever leads in the newest term when the fault begins.
    Leader,
    /// The nth of the others.
    Follower(u64),
}

/// What a crash takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// Only the process died.
    Nothing,
    /// All that was not synced.
    Unsynced,
    /// Some of it: writes are torn.
    Some,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// It dies, and comes back when the fault ends.
    Crash {
        target: Target,
        loss: Loss,
    },
    /// All die at once.
    PowerCut {
        loss: Loss,
    },
    /// It stands still, and does not know.
    Pause {
        target: Target,
    },
    /// These on one side, the others on the other.
    Split {
        group: Vec<NodeId>,
    },
    /// Nothing reaches it, nothing leaves it…
    Isolate {
        target: Target,
    },
    /// …or only one of the two.
    Deafen {
        target: Target,
    },
    Mute {
        target: Target,
    },
    /// One link, one way or both.
    Cut {
        from: Target,
        to: Target,
        both: bool,
    },
    /// Each talks to two neighbours only.
    Ring,
    /// All links are like this.
    Noise {
        policy: Policy,
    },
    /// The links from and to this one are like this.
    NoiseAround {
        target: Target,
        policy: Policy,
    },
    SlowDisk {
        target: Target,
        latency: Range<Duration>,
    },
    FullDisk {
        target: Target,
    },
    /// A sync fails: the node must stop.
    FailedSync {
        target: Target,
    },
    /// Its clock runs at this rate.
    Drift {
        target: Target,
        rate: f64,
    },
    /// Its clock jumps ahead.
    Jump {
        target: Target,
        by: Duration,
    },
    /// It stands for election, whatever it knows.
    Campaign {
        target: Target,
    },
    /// It crashes, and something that was durable is not what it was. Once a life at most.
    Rot {
        target: Target,
        place: f64,
    },
    /// It crashes, and its disk is empty. Once a life at most.
    Wipe {
        target: Target,
    },
    /// It comes back with a newer program.
    Upgrade {
        target: Target,
    },
    /// An operator asks the leader for something.
    Operator(Errand),
}

/// What an operator wants. Whom it concerns is found when it is asked, from what the leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Errand {
    /// A node that is no member yet is to be one, without a vote.
    AddLearner,
    /// The nth learner is to vote.
    Promote { nth: u64 },
    /// A voter is to be a learner.
    Demote { target: Target },
    /// A member is to go.
    Remove { target: Target },
    /// A learner is to vote in the place of a voter, who goes.
    Replace { target: Target },
    /// Another is to lead.
    Transfer { to: Option<Target> },
    /// A snapshot is to be taken, by this one.
    Snapshot { target: Target },
}

impl What {
    /// Whether it has an end of its own, or only a moment.
    pub fn lasts(&self) -> bool {
        !matches!(self, What::Campaign { .. } | What::Jump { .. } | What::Operator(_))
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Node(id) => write!(f, "node {id}"),
            Target::Leader => f.write_str("the leader"),
            Target::Follower(nth) => write!(f, "follower {nth}"),
        }
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            When::At(at) => write!(f, "at {:.3} s", at.as_secs_f64()),
            When::AfterElection { nth, wait } => {
                write!(f, "{:.1} ms after election {nth}", wait.as_secs_f64() * 1e3)
            }
        }
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = |loss: &Loss| match loss {
            Loss::Nothing => "its disk keeps everything",
            Loss::Unsynced => "its disk loses what was not synced",
            Loss::Some => "its disk loses some of what was not synced",
        };
        match self {
            What::Crash { target, loss: lost } => write!(f, "{target} crashes, {}", loss(lost)),
            What::PowerCut { loss: lost } => {
                write!(f, "every node crashes; of each, {}", loss(lost))
            }
            What::Pause { target } => write!(f, "{target} stands still"),
            What::Split { group } => {
                let ids: Vec<_> = group.iter().map(NodeId::to_string).collect();
                let (s, are) = if ids.len() == 1 { ("", "is") } else { ("s", "are") };
                write!(f, "node{s} {} {are} cut off from the others", ids.join(","))
            }
            What::Isolate { target } => write!(f, "{target} is cut off"),
            What::Deafen { target } => write!(f, "nothing reaches {target}"),
            What::Mute { target } => write!(f, "nothing leaves {target}"),
            What::Cut { from, to, both: true } => write!(f, "{from} and {to} are cut off"),
            What::Cut { from, to, both: false } => write!(f, "{from} does not reach {to}"),
            What::Ring => f.write_str("each node reaches two neighbours only"),
            What::Noise { policy } => write!(f, "every link {}", noise(policy)),
            What::NoiseAround { target, policy } => {
                write!(f, "each link of {target} {}", noise(policy))
            }
            What::SlowDisk { target, latency } => {
                write!(f, "the disk of {target} takes {latency:?}")
            }
            What::FullDisk { target } => write!(f, "the disk of {target} is full"),
            What::FailedSync { target } => write!(f, "the disk of {target} fails to sync"),
            What::Drift { target, rate } => write!(f, "the clock of {target} runs at {rate:.2}"),
            What::Jump { target, by } => write!(f, "the clock of {target} jumps ahead by {by:?}"),
            What::Campaign { target } => write!(f, "{target} stands for election"),
            What::Rot { target, .. } => write!(f, "the disk of {target} rots"),
            What::Wipe { target } => write!(f, "{target} loses its disk"),
            What::Upgrade { target } => write!(f, "{target} is started with a newer program"),
            What::Operator(errand) => write!(f, "an operator wants {errand}"),
        }
    }
}

impl fmt::Display for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Errand::AddLearner => f.write_str("another node to join as a learner"),
            Errand::Promote { .. } => f.write_str("a learner to become a voter"),
            Errand::Demote { target } => write!(f, "{target} to become a learner"),
            Errand::Remove { target } => write!(f, "{target} to be removed"),
            Errand::Replace { target } => write!(f, "a learner to take the place of {target}"),
            Errand::Transfer { to: Some(to) } => write!(f, "{to} to take over the leadership"),
            Errand::Transfer { to: None } => {
                f.write_str("somebody else to take over the leadership")
            }
            Errand::Snapshot { target } => write!(f, "{target} to take a snapshot"),
        }
    }
}

/// What a noisy link does, in words.
fn noise(policy: &Policy) -> String {
    let mut words = Vec::new();
    let percent = |p: f64| format!("{:.0} %", p * 100.0);
    if policy.loss > 0.0 {
        words.push(format!("loses {}", percent(policy.loss)));
    }
    if policy.duplicate > 0.0 {
        words.push(format!("doubles {}", percent(policy.duplicate)));
    }
    if policy.reorder > 0.0 {
        let (share, hold) = (percent(policy.reorder), policy.reorder_hold);
        words.push(format!("holds {share} back for {hold:?}"));
    }
    if !policy.delay.is_zero() {
        words.push(format!("takes {:?} ± {:?}", policy.delay, policy.jitter));
    }
    match words.is_empty() {
        true => "is as good as ever".to_owned(),
        false => words.join(", "),
    }
}

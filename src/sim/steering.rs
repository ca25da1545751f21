//! For each exhibit of the museum: where its bug is looked for, and how long.
//!
//! # An honest bias
//! Some bugs need circumstances that chance alone produces once in a million lives: figure 8 needs
//! four elections in a row, each cut short at the right moment. A plan for such a bug says which
//! faults there are and when; everything else is still drawn from the seed. The bias is part of the
//! exhibit, and what it says is shown with it: a bug that is only found with it is a bug that tests
//! by chance alone do not find.
//!
//! The same plan without the bug must find nothing: `kvctl sim --bugs` sees to that, and so, for a
//! few, does `tests/sim.rs`.

use std::sync::Arc;
use std::time::Duration;

use super::flavour::{Bias, Kind, Plan};
use super::scripts::Script;
use crate::museum::{Bug, Bugs};
use crate::scenario::{self, Source};

/// Where a bug is looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Steering {
    pub plan: Plan,
    /// The bug must be caught within so many seeds.
    pub seeds: u64,
    /// The bias in words; empty: none.
    pub bias: &'static str,
}

/// How `bug` is hunted.
pub fn steering(bug: Bug) -> Steering {
    let by_chance =
        Plan { duration: Duration::from_secs(10), bugs: Bugs::only(bug), ..Plan::default() };
    let (seeds, bias, words) = biased(bug);
    let nodes = if bias.script == Some(Script::Rivals) { (5, 5) } else { by_chance.nodes };
    let plan = match bug {
        Bug::NoPreVote => half_dead_leader(by_chance),
        _ => Plan { nodes, bias, ..by_chance },
    };
    Steering { plan, seeds, bias: words }
}

/// No property of figure 3 is broken by an election too many: it takes somebody to expect none. So
/// the bug is looked for in the scenario in which nobody may be elected, as on a living cluster.
fn half_dead_leader(plan: Plan) -> Plan {
    let name = "ops/scenarios/half-dead-leader.toml";
    let text = include_str!("../../ops/scenarios/half-dead-leader.toml");
    match scenario::read(Source { name, text }) {
        Ok(scenario) => Plan {
            nodes: (scenario.nodes, scenario.nodes),
            duration: scenario.lasts,
            scenario: Some(Arc::new(scenario)),
            ..plan
        },
        // It is linted by a test. Without it, the bug would not be caught, which is seen.
        Err(_) => plan,
    }
}

/// Crashes and cuts, as many as an election lasts.
const ELECTIONS: &[Kind] = &[Kind::Crash, Kind::PowerCut, Kind::Partition];
const NETWORK: &[Kind] = &[Kind::Noise, Kind::Partition, Kind::Crash];
const MEMBERS: &[Kind] = &[Kind::Membership, Kind::Partition, Kind::Crash];
const SNAPSHOTS: &[Kind] = &[Kind::Snapshot, Kind::Partition, Kind::Crash, Kind::Noise];

fn biased(bug: Bug) -> (u64, Bias, &'static str) {
    let only = |kinds, rate| Bias { kinds, rate: Some(rate), ..Bias::default() };
    match bug {
        Bug::CommitOldTerm => (
            100,
            Bias { script: Some(Script::Rivals), idle: 20.0, snapshots: true, ..Bias::default() },
            "two nodes of five are elected in turn, and each crashes within milliseconds; each \
             entry travels alone; there are few writes, and many snapshots, so that a node that \
             starts again has soon applied what is committed",
        ),
        Bug::VoteBeforeDisk | Bug::StepDownClearsVote | Bug::ForgottenTerm => (
            500,
            Bias { after_election: 0.3, ..only(ELECTIONS, 3.0) },
            "many elections, and crashes around them",
        ),
        Bug::AckBeforeDisk | Bug::SyncRetried => (
            300,
            only(&[Kind::Crash, Kind::PowerCut, Kind::FailedSync], 2.0),
            "crashes, power cuts and failing syncs only",
        ),
        Bug::ShortAppendTruncates | Bug::CommitPastMatch => {
            (500, only(NETWORK, 2.0), "networks that double, delay and reorder")
        }
        Bug::ReadBeforeNoop => (
            500,
            only(&[Kind::Crash, Kind::Partition, Kind::Pause], 2.0),
            "leaders that change often",
        ),
        Bug::UnconfirmedReads => (
            300,
            only(&[Kind::Partition, Kind::OneWay, Kind::Pause], 2.0),
            "leaders that are cut off or paused",
        ),
        Bug::NoCheckQuorum => {
            (300, only(&[Kind::Partition, Kind::OneWay], 1.0), "partitions, of one way or of both")
        }
        Bug::PreVoteRaisesTerm => {
            (300, only(&[Kind::Partition, Kind::OneWay, Kind::Crash], 1.0), "partitions")
        }
        Bug::NoPreVote => (
            20,
            Bias::default(),
            "the scenario half-dead-leader: the link between a leader and one follower is cut, and \
             mended",
        ),
        Bug::LeaseFromAnswer => (
            500,
            Bias { script: Some(Script::FarLeader), ..Bias::default() },
            "leases are on; a leader is far away when it can send no more, and another is elected \
             as soon as nobody is loyal to it",
        ),
        Bug::SingleServerChange | Bug::JointIgnoresOld | Bug::TruncationKeepsConfiguration => (
            2_000,
            Bias { after_election: 0.4, ..only(MEMBERS, 4.0) },
            "members change all the time, and leaders are cut off",
        ),
        Bug::LearnerRefusesVote => {
            (1_000, only(MEMBERS, 3.0), "members change all the time, and leaders are cut off")
        }
        Bug::TransferToLagging => (
            300,
            only(&[Kind::Transfer, Kind::Noise, Kind::Disk, Kind::Partition], 2.0),
            "leaders hand over all the time, in a slow network",
        ),
        Bug::SnapshotAheadOfState | Bug::CompactionGap => (
            500,
            Bias {
                snapshots: true,
                ..only(&[Kind::Snapshot, Kind::Crash, Kind::PowerCut, Kind::Disk], 2.0)
            },
            "snapshots all the time, and crashes",
        ),
        Bug::SnapshotKeepsSuffix | Bug::OldSnapshotInstalled => (
            1_000,
            Bias { snapshots: true, after_election: 0.3, ..only(SNAPSHOTS, 3.0) },
            "snapshots all the time, leaders that are cut off, and networks that double and delay",
        ),
        Bug::CorruptionCut => (300, only(&[Kind::Rot, Kind::Crash], 1.0), "disks that rot"),
        Bug::WipedNodeReturns => {
            (1_000, only(&[Kind::Wipe, Kind::Crash, Kind::Partition], 2.0), "disks that are lost")
        }
        Bug::NoSessions | Bug::DivergentApply => (500, Bias::default(), ""),
    }
}

//! From a seed to a schedule: swarm testing (Groce et al. 2012).
//!
//! # The problem
//! If every life had every kind of fault, most would look alike: a cluster that is cut, crashed and
//! slowed all the time never gets as far as the state in which one more fault would hurt. Faults
//! mask each other.
//!
//! # The rule
//! Each seed draws a *flavour*: which kinds of fault there are in this life, how many, how the
//! network and the disks are, what the clients do. A bias ([`Bias`]) narrows what may be drawn, for
//! a bug that needs rare circumstances; it is stated with the exhibit that uses it.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::schedule::{ClientPlan, Errand, Fault, Loss, Schedule, Setting, Target, What, When};
use super::scripts::Script;
use crate::link::{Distribution, Policy};
use crate::museum::Bugs;
use crate::scenario::Scenario;
use crate::types::{NodeId, Random};

/// What a run of seeds has in common.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The smallest and the largest cluster.
    pub nodes: (u64, u64),
    /// How long each life is hostile.
    pub duration: Duration,
    /// Off, for lives without hostility.
    pub faults: bool,
    pub bugs: Bugs,
    pub lying_disks: bool,
    pub bias: Bias,
    /// This, instead of faults by chance.
    pub scenario: Option<Arc<Scenario>>,
}

impl Default for Plan {
    /// Three to seven nodes and half a minute.
    fn default() -> Plan {
        Plan {
            nodes: (3, 7),
            duration: Duration::from_secs(30),
            faults: true,
            bugs: Bugs::none(),
            lying_disks: false,
            bias: Bias::default(),
            scenario: None,
        }
    }
}

/// What is made likelier than by chance alone. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bias {
    /// Only these kinds of fault, each of them always. Empty: any.
    pub kinds: &'static [Kind],
    /// So many faults a second instead of the usual.
    pub rate: Option<f64>,
    /// The share of faults that come right after an election, and meet its winner or others.
    pub after_election: f64,
    /// The operations of clients are so many times rarer.
    pub idle: f64,
    /// Snapshots are taken all the time, and nothing stays behind them.
    pub snapshots: bool,
    /// Instead of faults by chance: these, in an order that chance would not find.
    pub script: Option<Script>,
}

/// The kinds of fault that a flavour turns on or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Crash,
    PowerCut,
    Pause,
    Partition,
    OneWay,
    Noise,
    Disk,
    FullDisk,
    FailedSync,
    Clock,
    Campaign,
    Membership,
    Transfer,
    Snapshot,
    Upgrade,
    Rot,
    Wipe,
}

/// All of them.
pub const KINDS: &[Kind] = &[
    Kind::Crash,
    Kind::PowerCut,
    Kind::Pause,
    Kind::Partition,
    Kind::OneWay,
    Kind::Noise,
    Kind::Disk,
    Kind::FullDisk,
    Kind::FailedSync,
    Kind::Clock,
    Kind::Campaign,
    Kind::Membership,
    Kind::Transfer,
    Kind::Snapshot,
    Kind::Upgrade,
    Kind::Rot,
    Kind::Wipe,
];

/// Milliseconds, for short.
const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The life that belongs to `seed`.
pub fn schedule(seed: u64, plan: &Plan) -> Schedule {
    // Neighbouring seeds must not give similar lives.
    let mut random = Random::from_seed(seed ^ 0x5eed_0f11_fe00_0000);
    let random = &mut random;
    random.bits();
    if let Some(scenario) = &plan.scenario {
        return performance(seed, plan, random, scenario);
    }
    let (least, most) = plan.nodes;
    let nodes = least + random.below(most.max(least) - least + 1);
    let kinds = if plan.faults { kinds(random, plan) } else { Vec::new() };
    let has = |kind| kinds.contains(&kind);
    let spares = if has(Kind::Membership) { 1 + random.below(4) } else { 0 };
    let mut setting = setting(random, plan);
    // A lease rests on clocks that keep their bound.
    setting.lease = !has(Kind::Clock) && random.chance(0.4);
    if plan.bias.snapshots {
        setting.snapshot_log_bytes = 1_000;
        setting.keep_entries = 0;
    }
    setting.old_programs = has(Kind::Upgrade);
    let faults = match plan.bias.script {
        Some(script) => script.faults(random, plan.duration, nodes, &mut setting),
        None => faults(random, plan, nodes, &kinds),
    };
    let clients = clients(random, plan);
    let duration = plan.duration;
    Schedule { seed, nodes, spares, duration, setting, faults, clients, scenario: None }
}

/// The life in which a scenario is performed: its steps and clients, in circumstances by chance.
fn performance(seed: u64, plan: &Plan, random: &mut Random, scenario: &Arc<Scenario>) -> Schedule {
    let workload = &scenario.workload;
    let delay = Duration::from_micros([50, 200, 1_000][random.below(3) as usize]);
    let fast = Duration::from_micros(50)..Duration::from_micros(500);
    // What goes wrong is the scenario's to say: machines that are sound, and keep up with the load.
    let setting = Setting {
        network: Policy { delay, jitter: delay / 2, ..Policy::default() },
        disk: [fast, ms(1)..ms(3)][random.below(2) as usize].clone(),
        // A follower takes a message only if half a segment has room for it.
        segment_bytes: 64 << 10,
        max_message_bytes: 10_000,
        max_in_flight: 8,
        keys: workload.keys,
        value_bytes: 100,
        snapshot_log_bytes: [20_000, 64 << 20][random.below(2) as usize],
        snapshot_chunk_bytes: [5_000, 100_000][random.below(2) as usize],
        keep_entries: [10, 10_000][random.below(2) as usize],
        lease: scenario.lease,
        ..setting(random, plan)
    };
    let client = |place| ClientPlan {
        seed: random.bits(),
        // Half of them: who has a session asks for the same again until it is done, and is no use
        // to an expectation meanwhile.
        session: place % 2 == 0,
        pause: workload.pause / 2..workload.pause * 3 / 2,
        timeout: workload.timeout,
        reads: workload.reads,
        stale: 0.0,
        operations: u64::MAX,
    };
    Schedule {
        seed,
        nodes: scenario.nodes,
        spares: scenario.joins(),
        duration: scenario.lasts,
        setting,
        faults: Vec::new(),
        clients: (0..workload.clients).map(client).collect(),
        scenario: Some(Arc::clone(scenario)),
    }
}

fn setting(random: &mut Random, plan: &Plan) -> Setting {
    let delays = [100, 300, 1_000, 5_000];
    let delay = Duration::from_micros(delays[random.below(4) as usize]);
    let distribution = match random.below(3) {
        0 => Distribution::Normal,
        1 => Distribution::LongTail,
        _ => Distribution::Uniform,
    };
    let network = Policy { delay, jitter: delay / 2, distribution, ..Policy::default() };
    let fast = Duration::from_micros(50)..Duration::from_micros(500);
    let disks = [fast, ms(1)..ms(3), ms(1)..ms(25)];
    let value_bytes = [0, 100, 700, 2_500][random.below(4) as usize];
    // A message that holds less than one value makes catching up take longer than anybody waits.
    let messages = match value_bytes {
        0..=100 => [600, 1_700, 5_000],
        101..=1_000 => [5_000; 3],
        _ => [10_000; 3],
    };
    let disk = random.below(3);
    Setting {
        network,
        disk: disks[disk as usize].clone(),
        // A follower takes a message only if half a segment has room for it.
        segment_bytes: 24 << (10 + random.below(2)),
        cache_bytes: [200, 4_000, 1 << 20][random.below(3) as usize],
        max_message_bytes: messages[random.below(3) as usize],
        max_in_flight: [1, 2, 8][random.below(3) as usize],
        keys: 1 + random.below(6),
        value_bytes,
        snapshot_log_bytes: [1_000, 10_000, 64 << 20][random.below(3) as usize],
        snapshot_chunk_bytes: [200, 2_000, 100_000][random.below(3) as usize],
        keep_entries: [0, 10, 10_000][random.below(3) as usize],
        hash_every: [1, 16, 1024][random.below(3) as usize],
        lease: false,
        old_programs: false,
        lying_disks: plan.lying_disks,
        bugs: plan.bugs,
        strict: plan.bugs == Bugs::none() && !plan.lying_disks,
    }
}

fn clients(random: &mut Random, plan: &Plan) -> Vec<ClientPlan> {
    let idle = if plan.bias.idle > 0.0 { plan.bias.idle } else { 1.0 };
    let busy = [5, 50, 300][random.below(3) as usize];
    let longest = ms(busy).mul_f64(idle).max(ms(1));
    let count = 1 + random.below(5);
    let client = |_| ClientPlan {
        seed: random.bits(),
        session: random.chance(0.7),
        pause: longest / 5..longest * (1 + random.below(4) as u32),
        timeout: ms([200, 500, 2_000][random.below(3) as usize]),
        reads: [0.2, 0.5, 0.8][random.below(3) as usize],
        stale: [0.0, 0.3][random.below(2) as usize],
        operations: 400,
    };
    (0..count).map(client).collect()
}

fn kinds(random: &mut Random, plan: &Plan) -> Vec<Kind> {
    let mut kinds: Vec<Kind> = match plan.bias.kinds {
        [] => KINDS.iter().copied().filter(|_| random.chance(0.35)).collect(),
        kinds => kinds.to_vec(),
    };
    // A node that is gone for good is the most that may be missing.
    let gone = |kind: &Kind| matches!(kind, Kind::Rot | Kind::Wipe);
    if plan.nodes.0 < 3 || kinds.contains(&Kind::Membership) && plan.bias.kinds.is_empty() {
        kinds.retain(|kind| !gone(kind));
    }
    if kinds.is_empty() {
        kinds.push(Kind::Crash);
    }
    kinds
}

fn faults(random: &mut Random, plan: &Plan, nodes: u64, kinds: &[Kind]) -> Vec<Fault> {
    if kinds.is_empty() {
        return Vec::new();
    }
    let seconds = plan.duration.as_secs_f64();
    let usual = [0.1, 0.5, 1.0, 2.0][random.below(4) as usize];
    let count = (plan.bias.rate.unwrap_or(usual) * seconds).ceil() as u64;
    let mut elections = 0;
    let mut faults: Vec<Fault> = (0..count)
        .map(|_| {
            let kind = kinds[random.below(kinds.len() as u64) as usize];
            let what = what(random, kind, nodes);
            let when = if random.chance(plan.bias.after_election) {
                elections += u64::from(elections == 0 || random.chance(0.6));
                When::AfterElection { nth: elections, wait: random.duration(ms(0)..ms(30)) }
            } else {
                When::At(random.duration(ms(0)..plan.duration))
            };
            Fault { when, lasts: lasts(random), what }
        })
        .collect();
    faults.sort_by_key(|fault| match fault.when {
        When::At(at) => (at, 0),
        When::AfterElection { nth, wait } => (wait, nth),
    });
    faults
}

/// Mostly about as long as elections take, sometimes much shorter or longer.
fn lasts(random: &mut Random) -> Duration {
    let spans: [Range<Duration>; 4] =
        [ms(1)..ms(50), ms(50)..ms(600), ms(300)..ms(2_000), ms(1_000)..ms(8_000)];
    let span = spans[random.below(4) as usize].clone();
    random.duration(span)
}

fn target(random: &mut Random, nodes: u64) -> Target {
    match random.below(10) {
        0..4 => Target::Leader,
        4..6 => Target::Follower(random.below(nodes)),
        _ => Target::Node(NodeId(1 + random.below(nodes))),
    }
}

fn loss(random: &mut Random) -> Loss {
    match random.below(5) {
        0 => Loss::Nothing,
        1 => Loss::Unsynced,
        _ => Loss::Some,
    }
}

fn what(random: &mut Random, kind: Kind, nodes: u64) -> What {
    let target = target(random, nodes);
    match kind {
        Kind::Crash => What::Crash { target, loss: loss(random) },
        Kind::PowerCut => What::PowerCut { loss: loss(random) },
        Kind::Pause => What::Pause { target },
        Kind::Partition => match random.below(4) {
            0 => What::Isolate { target: Target::Leader },
            1 => What::Isolate { target },
            2 if nodes > 2 => What::Ring,
            _ => {
                let mut group: Vec<NodeId> = (1..=nodes).map(NodeId).collect();
                group.retain(|_| random.chance(0.5));
                What::Split { group }
            }
        },
        Kind::OneWay => match random.below(4) {
            0 => What::Deafen { target },
            1 => What::Mute { target },
            _ => {
                let to = Target::Node(NodeId(1 + random.below(nodes)));
                What::Cut { from: target, to, both: random.chance(0.3) }
            }
        },
        Kind::Noise => {
            let policy = noise(random);
            if random.chance(0.5) {
                What::Noise { policy }
            } else {
                What::NoiseAround { target, policy }
            }
        }
        Kind::Disk => {
            let slow = ms([10, 50, 300][random.below(3) as usize]);
            What::SlowDisk { target, latency: slow / 4..slow }
        }
        Kind::FullDisk => What::FullDisk { target },
        Kind::FailedSync => What::FailedSync { target },
        Kind::Clock if random.chance(0.7) => {
            let rate = [0.5, 0.9, 1.1, 2.0, 4.0][random.below(5) as usize];
            What::Drift { target, rate }
        }
        Kind::Clock => What::Jump { target, by: random.duration(ms(20)..ms(5_000)) },
        Kind::Campaign => What::Campaign { target },
        Kind::Upgrade => What::Upgrade { target },
        Kind::Rot => What::Rot { target, place: random.below(1000) as f64 / 1000.0 },
        Kind::Wipe => What::Wipe { target },
        Kind::Membership => What::Operator(membership(random, target)),
        Kind::Transfer => {
            let to = random.chance(0.7).then_some(Target::Follower(random.below(nodes)));
            What::Operator(Errand::Transfer { to })
        }
        Kind::Snapshot => What::Operator(Errand::Snapshot { target }),
    }
}

fn membership(random: &mut Random, target: Target) -> Errand {
    match random.below(10) {
        0..3 => Errand::AddLearner,
        3..6 => Errand::Promote { nth: random.below(4) },
        6 => Errand::Demote { target },
        7 => Errand::Replace { target },
        _ => Errand::Remove { target },
    }
}

fn noise(random: &mut Random) -> Policy {
    let mut policy = Policy::default();
    let share = [0.01, 0.1, 0.4][random.below(3) as usize];
    if random.chance(0.5) {
        policy.loss = share;
    }
    if random.chance(0.5) {
        policy.duplicate = share;
    }
    if random.chance(0.5) {
        policy.reorder = share;
        policy.reorder_hold = ms([1, 10, 100, 1_000][random.below(4) as usize]);
    }
    if random.chance(0.4) {
        policy.delay = ms([5, 30, 120][random.below(3) as usize]);
        policy.jitter = policy.delay / 2;
        policy.distribution = Distribution::LongTail;
    }
    policy
}

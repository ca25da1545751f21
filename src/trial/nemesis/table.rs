//! The kinds of faults that a nemesis knows: one row each.
//!
//! A row says nothing of *when*; that is the [plan](super::plan)'s. Roles are left as roles: who
//! leads is looked up by the supervisor when the fault begins, so that the same seed aims at the
//! same role in every run.

use std::time::Duration;

use crate::chaos::{ClockFault, LinkWish, Links, NodeFault, Who, Wish};
use crate::link::Policy;
use crate::storage::Trouble;
use crate::types::{NodeId, Random};

/// A kind of fault.
#[derive(Debug)]
pub struct Row {
    /// As `--faults` names it; mostly, `kvctl chaos` too.
    pub name: &'static str,
    /// In a smaller cluster it makes no sense.
    pub least_nodes: usize,
    /// What to ask for, drawn by chance.
    pub draw: fn(&mut Random, &[NodeId]) -> Wish,
    /// What is in force already when it begins, and as long as it lasts.
    pub under: Option<fn(&mut Random) -> Wish>,
}

impl Row {
    const fn new(
        name: &'static str,
        least_nodes: usize,
        draw: fn(&mut Random, &[NodeId]) -> Wish,
    ) -> Row {
        Row { name, least_nodes, draw, under: None }
    }
}

/// All of them.
pub static TABLE: &[Row] = &[
    Row::new("partition", 2, partition),
    Row::new("isolate", 2, isolate),
    Row::new("one-way", 2, one_way),
    Row::new("rings", 4, |_, _| Wish::Rings),
    Row::new("bridge", 3, bridge),
    Row::new("cut", 2, cut),
    Row::new("stall", 2, stall),
    Row::new("delay", 2, delay),
    Row::new("loss", 2, loss),
    Row::new("dup", 2, dup),
    Row::new("reorder", 2, reorder),
    Row::new("rate", 2, rate),
    Row::new("pause", 1, pause),
    Row::new("kill", 1, kill),
    Row::new("terminate", 1, terminate),
    Row::new("crash-loop", 1, crash_loop),
    Row::new("slow-cpu", 1, slow_cpu),
    Row::new("memory", 1, memory),
    Row::new("clock", 1, clock),
    Row::new("disk", 1, disk),
    Row { under: Some(forgetful), ..Row::new("power-cut", 1, power_cut) },
    // The others have the entry: alone, a node could not repair it.
    Row::new("corrupt", 3, corrupt),
];

/// The row of this name.
pub fn row(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}

fn one_of(random: &mut Random, nodes: &[NodeId]) -> Who {
    Who::Node(nodes[random.below(nodes.len() as u64) as usize])
}

/// The leader as often as all others together: most of what can go wrong goes wrong there.
fn leader_or_one(random: &mut Random, nodes: &[NodeId]) -> Who {
    if random.chance(0.5) { Who::Leader } else { one_of(random, nodes) }
}

fn partition(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let group = match random.below(3) {
        0 => vec![Who::Leader],
        1 => vec![Who::Majority],
        // A minority that nobody foresees, perhaps with the leader in it.
        _ => {
            let mut rest = nodes.to_vec();
            let count = 1 + random.below((nodes.len() as u64 / 2).max(1));
            let mut draw = || Who::Node(rest.swap_remove(random.below(rest.len() as u64) as usize));
            (0..count).map(|_| draw()).collect()
        }
    };
    Wish::Partition { groups: vec![group] }
}

fn isolate(random: &mut Random, nodes: &[NodeId]) -> Wish {
    Wish::Isolate { nodes: vec![leader_or_one(random, nodes)] }
}

fn one_way(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let (from, to) = match random.below(3) {
        0 => (Who::Leader, Who::Followers),
        1 => (Who::Followers, Who::Leader),
        _ => (one_of(random, nodes), Who::All),
    };
    Wish::OneWay { from: vec![from], to: vec![to] }
}

fn bridge(random: &mut Random, nodes: &[NodeId]) -> Wish {
    Wish::Bridge { node: leader_or_one(random, nodes) }
}

/// All links, those of the leader, or those of one node.
fn links(random: &mut Random, nodes: &[NodeId]) -> Links {
    let from = match random.below(3) {
        0 => return Links::All,
        1 => Who::Leader,
        _ => one_of(random, nodes),
    };
    Links::These(vec![LinkWish { from, to: Who::All, both: random.chance(0.5) }])
}

/// The link between two, or one direction of it.
fn one_link(random: &mut Random, nodes: &[NodeId]) -> Links {
    let at = random.below(nodes.len() as u64) as usize;
    let step = 1 + random.below(nodes.len() as u64 - 1) as usize;
    let (from, to) = (nodes[at], nodes[(at + step) % nodes.len()]);
    let (from, to) = (Who::Node(from), Who::Node(to));
    Links::These(vec![LinkWish { from, to, both: random.chance(0.5) }])
}

fn cut(random: &mut Random, nodes: &[NodeId]) -> Wish {
    Wish::Link { links: one_link(random, nodes), policy: Policy::cut() }
}

fn stall(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let policy = Policy { stall: true, ..Policy::default() };
    Wish::Link { links: links(random, nodes), policy }
}

fn delay(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let millis = |random: &mut Random, most| Duration::from_millis(1 + random.below(most));
    let (delay, jitter) = (millis(random, 120), millis(random, 60));
    let policy = Policy { delay, jitter: jitter.min(delay), ..Policy::default() };
    Wish::Link { links: links(random, nodes), policy }
}

fn share(random: &mut Random, most: u64) -> f64 {
    (1 + random.below(most)) as f64 / 100.0
}

fn loss(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let policy = Policy { loss: share(random, 50), ..Policy::default() };
    Wish::Link { links: links(random, nodes), policy }
}

fn dup(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let policy = Policy { duplicate: share(random, 100), ..Policy::default() };
    Wish::Link { links: links(random, nodes), policy }
}

fn reorder(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let reorder_hold = Duration::from_millis(1 + random.below(50));
    let policy = Policy { reorder: share(random, 100), reorder_hold, ..Policy::default() };
    Wish::Link { links: links(random, nodes), policy }
}

fn rate(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let rate = Some(2_000 + random.below(60_000));
    let policy = Policy { rate, ..Policy::default() };
    Wish::Link { links: links(random, nodes), policy }
}

fn on(who: Who, fault: NodeFault) -> Wish {
    Wish::Node { nodes: vec![who], fault }
}

/// One node, mostly; now and then several.
fn some(random: &mut Random, nodes: &[NodeId], several: Who) -> Who {
    if random.chance(0.2) { several } else { leader_or_one(random, nodes) }
}

fn pause(random: &mut Random, nodes: &[NodeId]) -> Wish {
    on(some(random, nodes, Who::Minority), NodeFault::Pause)
}

/// All of them at the same time, too: what was acknowledged is on disks.
fn kill(random: &mut Random, nodes: &[NodeId]) -> Wish {
    on(some(random, nodes, Who::All), NodeFault::Kill)
}

/// Everybody dies at once, or most do, and what was not on disk is gone.
fn power_cut(random: &mut Random, _: &[NodeId]) -> Wish {
    let who = if random.chance(0.7) { Who::All } else { Who::Majority };
    on(who, NodeFault::Kill)
}

/// Slow as well: whoever acknowledges before its disk has it has much to lose then.
fn forgetful(random: &mut Random) -> Wish {
    let (delay_millis, torn) = (random.below(50), random.chance(0.5));
    let forgets = Trouble { lose_unsynced: true, torn, delay_millis, ..Trouble::default() };
    on(Who::All, NodeFault::Disk(forgets))
}

fn terminate(random: &mut Random, nodes: &[NodeId]) -> Wish {
    on(some(random, nodes, Who::Majority), NodeFault::Terminate)
}

fn crash_loop(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let every_millis = 100 + random.below(600);
    on(leader_or_one(random, nodes), NodeFault::CrashLoop { every_millis })
}

fn slow_cpu(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let share = 0.04 + share(random, 50);
    on(some(random, nodes, Who::All), NodeFault::SlowCpu { share })
}

/// Some of it is enough for a node, and some is not.
fn memory(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let bytes = (1 + random.below(64)) << 20;
    on(leader_or_one(random, nodes), NodeFault::Memory { bytes })
}

fn clock(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let millis = 50 + random.below(2_000);
    let fault = match random.below(5) {
        0 => ClockFault::Jump { millis: millis as i64 },
        1 => ClockFault::Jump { millis: -(millis as i64) },
        2 => ClockFault::Drift { rate: 0.25 * (1 + random.below(16)) as f64 },
        3 => ClockFault::Stop,
        _ => ClockFault::Strobe { millis, every_millis: 20 + random.below(300) },
    };
    on(some(random, nodes, Who::Minority), NodeFault::Clock(fault))
}

fn disk(random: &mut Random, nodes: &[NodeId]) -> Wish {
    let well = Trouble::default();
    let trouble = match random.below(7) {
        0 => Trouble { delay_millis: 1 + random.below(80), ..well },
        1 => Trouble { full: true, ..well },
        2 => Trouble { read_errors: share(random, 100), ..well },
        3 => Trouble { write_errors: share(random, 20), ..well },
        4 => Trouble { sync_error: true, ..well },
        // These show when the node is killed meanwhile.
        5 => Trouble { lose_unsynced: true, ..well },
        _ => Trouble { torn: true, ..well },
    };
    on(some(random, nodes, Who::Minority), NodeFault::Disk(trouble))
}

fn corrupt(random: &mut Random, nodes: &[NodeId]) -> Wish {
    on(leader_or_one(random, nodes), NodeFault::Corrupt { segment: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::{FaultId, Injection, View};

    #[test]
    fn whatever_is_drawn_can_be_injected() {
        for count in 3..=7 {
            let nodes: Vec<NodeId> = (1..=count).map(NodeId).collect();
            let all = nodes.iter().copied().collect::<std::collections::BTreeSet<_>>();
            let voters = all.clone();
            let view = View { voters, all, leader: Some(NodeId(2)), ..View::default() };
            for row in TABLE.iter().filter(|row| row.least_nodes <= nodes.len()) {
                let mut random = Random::from_seed(count);
                for _ in 0..200 {
                    let under = row.under.map(|under| under(&mut random));
                    let wish = (row.draw)(&mut random, &nodes);
                    for wish in under.into_iter().chain([wish]) {
                        let (flap, duration_millis) = (None, Some(1));
                        let by = "a test".to_owned();
                        let injection = Injection { wish, flap, duration_millis, by, blind: false };
                        let begun = injection.clone().begin(FaultId(1), &view, 0);
                        assert!(begun.is_ok(), "{}: {injection:?}: {begun:?}", row.name);
                    }
                }
            }
        }
    }
}

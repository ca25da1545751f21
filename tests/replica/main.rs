//! Whole replicas, the real core, log and state machine, in a small virtual world: messages are
//! delayed, reordered and lost, disks forget what was not synced, nodes crash and restart, and
//! clients retry. Afterwards every acknowledged write must be there, once.
//!
//! `REPLICA_SEED=7 cargo test --test replica` replays one life, `1000..3000` runs as many.

mod calm;
mod clients;
mod leases;
mod orders;
mod past;
mod repair;
mod stories;
mod world;

use kvraft::replica::{OrderResult, Refused, Response};
use kvraft::types::{NodeId, Random};
use world::World;

struct Totals {
    acknowledged: u64,
    crashes: u64,
    relayed: u64,
    snapshots: u64,
    installed: u64,
    orders_done: u64,
    orders_not_done: u64,
}

/// Some hostile seconds, then peace; what happened, or what broke.
fn live(seed: u64) -> Result<Totals, String> {
    let mut random = Random::from_seed(seed);
    let size = 3 + 2 * random.below(2);
    let mut world = World::new(size, &mut random)?;
    for _ in 0..3_000 {
        world.hostile_step(&mut random)?;
    }
    world.peace(&mut random)?;
    world.check()?;
    Ok(Totals {
        acknowledged: world.clients.acknowledged(),
        crashes: world.crashes,
        relayed: world.relayed(),
        snapshots: world.total(|counters| counters.snapshots_taken),
        installed: world.total(|counters| counters.snapshots_installed),
        orders_done: world.orders.values().filter(|o| matches!(o, OrderResult::Done(_))).count()
            as u64,
        orders_not_done: world
            .orders
            .values()
            .filter(|o| !matches!(o, OrderResult::Done(_)))
            .count() as u64,
    })
}

/// One life that was asked for, `7`, or many, `1000..3000`, in the variable of this name.
fn seeds(name: &str) -> Option<std::ops::Range<u64>> {
    let asked = std::env::var(name).ok()?;
    let (first, end) = match asked.split_once("..") {
        Some((first, end)) => (first.parse().ok()?, end.parse().ok()?),
        None => (asked.parse().ok()?, asked.parse::<u64>().ok()? + 1),
    };
    Some(first..end)
}

#[test]
fn acknowledged_writes_survive_whatever_happens() {
    let seeds = seeds("REPLICA_SEED").unwrap_or(0..150);
    let few = seeds.end - seeds.start < 100;
    let mut sums = [0; 7];
    for seed in seeds {
        match std::panic::catch_unwind(|| live(seed)) {
            Ok(Ok(totals)) => {
                let Totals { acknowledged, crashes, relayed, .. } = totals;
                let Totals { snapshots, installed, orders_done, orders_not_done, .. } = totals;
                let all = [
                    acknowledged,
                    crashes,
                    relayed,
                    snapshots,
                    installed,
                    orders_done,
                    orders_not_done,
                ];
                sums.iter_mut().zip(all).for_each(|(sum, more)| *sum += more);
            }
            Ok(Err(error)) => panic!("REPLICA_SEED={seed}: {error}"),
            Err(_) => panic!("REPLICA_SEED={seed} replays what is printed above"),
        }
    }
    assert!(
        few || sums.iter().all(|sum| *sum > 30),
        "a quiet world proves nothing: writes, crashes, relayed, snapshots taken, snapshots \
         installed, orders done and not done: {sums:?}"
    );
}

/// The same world on disks whose syncs do nothing: the check must notice.
#[test]
fn a_missing_sync_is_noticed() {
    let noticed = (0..60u64).any(|seed| {
        std::panic::catch_unwind(|| {
            let mut random = Random::from_seed(seed);
            let mut world = World::new(3, &mut random)?;
            world.ignore_syncs();
            for _ in 0..2_000 {
                world.hostile_step(&mut random)?;
            }
            // All lose their power at once, in mid-write.
            for id in (1..=3).map(NodeId) {
                world.crash(id, &mut random);
            }
            world.peace(&mut random)?;
            world.check()
        })
        .unwrap_or_else(|_| Err("an invariant broke".into()))
        .is_err()
    });
    assert!(noticed, "sixty lives without a single sync, and nothing was missed");
}

/// A full disk: writes are refused as such, reads are served, nothing is lost, and when there is
/// space again writes go on.
#[test]
fn a_full_disk_refuses_writes_and_recovers() {
    let mut random = Random::from_seed(1);
    let mut world = World::new(1, &mut random).expect("it starts");
    let put = |world: &mut World| world.ask_alone(clients::put(&[b'v'; 400]));
    assert!(matches!(put(&mut world), Response::Written(_)));
    world.set_disk_full(true);
    let mut written = 1;
    let refused = loop {
        match put(&mut world) {
            Response::Written(_) => written += 1,
            Response::Refused { why: Refused::Busy { .. }, .. } => {}
            other => break other,
        }
        assert!(written < 1000, "a disk without space takes everything");
    };
    assert!(matches!(refused, Response::Refused { why: Refused::NoSpace, .. }), "{refused:?}");
    let Response::Answer(answer) = world.ask_alone(clients::get()) else {
        panic!("a full disk does not keep anybody from reading");
    };
    let answer = kvraft::kv::Answer::decode(&answer).expect("our own answer");
    assert_eq!(answer.items[0].version, written, "what was acknowledged is there");
    world.set_disk_full(false);
    let again = (0..1000).find(|_| matches!(put(&mut world), Response::Written(_)));
    assert!(again.is_some(), "there is space again, and writes are still refused");
}

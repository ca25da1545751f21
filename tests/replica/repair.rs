//! Disks that rot: damaged logs are made whole by the others before their nodes take part.

use std::collections::BTreeSet;

use kvraft::replica::{Order, OrderResult, Refused, Response};
use kvraft::storage::{Identity, LogOptions, MemoryDisk, SegmentLog};
use kvraft::types::{LogIndex, NodeId, Random};

use crate::clients;
use crate::world::{CLUSTER, World};

type Told = Result<(), String>;

/// Which entries of `node`'s log are damaged; `None` if it would refuse to start.
fn damaged(disk: &MemoryDisk, node: NodeId) -> Option<BTreeSet<LogIndex>> {
    let copy = disk.fork();
    copy.set_stepped(false);
    let identity = Identity { cluster: CLUSTER, node };
    let (log, recovered, _) =
        SegmentLog::open_damaged(copy, identity, LogOptions::default()).ok()?;
    let damaged: BTreeSet<_> = log.damaged().iter().map(|damaged| damaged.index).collect();
    (!recovered.configurations.is_empty() || damaged.is_empty()).then_some(damaged)
}

/// Flips bits of `node`'s segments until some entries are damaged that `fits` accepts; which.
fn rot(
    world: &World,
    node: NodeId,
    random: &mut Random,
    fits: impl Fn(&BTreeSet<LogIndex>) -> bool,
) -> Option<BTreeSet<LogIndex>> {
    let disk = &world.nodes[&node].disk;
    for _ in 0..3_000 {
        let copy = disk.fork();
        let files: Vec<_> =
            copy.files().into_iter().filter(|(name, _)| name.ends_with(".seg")).collect();
        let (name, bytes) = &files[random.below(files.len() as u64) as usize];
        let (at, bit) = (random.below(bytes.len() as u64), random.below(8) as u32);
        copy.flip_bit(name, at, bit);
        if let Some(found) = damaged(&copy, node)
            && !found.is_empty()
            && fits(&found)
        {
            disk.flip_bit(name, at, bit);
            return Some(found);
        }
    }
    None
}

/// A cluster whose logs hold everything since the first entry.
fn cluster(size: u64, seed: u64, writes: u64) -> Result<(World, Random), String> {
    let mut random = Random::from_seed(seed);
    let mut world = World::new(size, &mut random)?;
    world.snapshot_log_bytes = u64::MAX;
    restart(&mut world, &mut random, |_, _| ())?;
    world.leader(&mut random)?;
    world.write(&mut random, writes)?;
    world.peace(&mut random)?;
    // Long enough for every log to prove its last group durable.
    let _ = world.calm(&mut random, 100, |_| false);
    Ok((world, random))
}

/// All stop, something happens to their disks, and all start again.
fn restart(
    world: &mut World,
    random: &mut Random,
    meanwhile: impl FnOnce(&mut World, &mut Random),
) -> Told {
    for id in world.ids() {
        world.crash(id, random);
    }
    meanwhile(world, random);
    for id in world.ids() {
        world.start(id, random)?;
    }
    Ok(())
}

#[test]
fn a_cluster_whose_every_voter_is_damaged_somewhere_else_heals_and_loses_nothing() -> Told {
    let mut repaired = 0;
    for seed in 0..30 {
        let size = 3 + 2 * (seed % 2);
        let (mut world, mut random) = cluster(size, seed, 60)?;
        let mut all = BTreeSet::new();
        restart(&mut world, &mut random, |world, random| {
            for id in world.ids() {
                let fits = |found: &BTreeSet<LogIndex>| found.is_disjoint(&all);
                let found = rot(world, id, random, fits).unwrap_or_default();
                all.extend(found);
            }
        })?;
        repaired += all.len();
        world.leader(&mut random).map_err(|why| format!("seed {seed}: {why}"))?;
        world.peace(&mut random).map_err(|why| format!("seed {seed}: {why}"))?;
        world.check()?;
    }
    assert!(repaired > 100, "only {repaired} entries were damaged");
    Ok(())
}

#[test]
fn what_was_never_committed_is_cut() -> Told {
    let mut cut = 0;
    for seed in 0..10 {
        let (mut world, mut random) = cluster(3, seed, 20)?;
        let leader = world.leader(&mut random)?;
        let committed = world.status(leader).map(|status| status.consensus.commit_index);
        // Alone, it takes writes that nobody else ever sees.
        for id in world.ids().into_iter().filter(|id| *id != leader) {
            world.crash(id, &mut random);
        }
        for value in 0..20u8 {
            let _ = world.order_write(leader, clients::put(&[value; 50]));
            let _ = world.calm(&mut random, 2, |_| false);
        }
        let last = world.status(leader).map(|status| status.consensus.durable_index);
        assert!(last > committed, "they are in its log");
        let committed = committed.unwrap_or_default();
        restart(&mut world, &mut random, |world, random| {
            let uncommitted = |found: &BTreeSet<LogIndex>| found.iter().all(|i| *i > committed);
            cut += usize::from(rot(world, leader, random, uncommitted).is_some());
        })?;
        world.leader(&mut random)?;
        world.peace(&mut random)?;
        world.check()?;
    }
    assert!(cut >= 5, "only {cut} logs were damaged there");
    Ok(())
}

/// Two of three have lost the same entry. It may have been committed: nobody may decide.
#[test]
fn what_a_majority_has_lost_is_waited_for_and_said() -> Told {
    let (mut world, mut random) = cluster(3, 3, 30)?;
    let lost = LogIndex(12);
    restart(&mut world, &mut random, |world, random| {
        for id in world.ids() {
            rot(world, id, random, |found| found.contains(&lost)).expect("it can be hit");
        }
    })?;
    let _ = world.calm(&mut random, 200, |_| false);
    for id in world.ids() {
        let repair = world.status(id).and_then(|status| status.repair).ok_or("it repairs")?;
        assert!(repair.waits_for.contains("repairs its log"), "{}", repair.waits_for);
        let response = world.ask(&mut random, id, clients::get())?;
        let Response::Refused { why, .. } = response else { panic!("{response:?}") };
        assert_eq!(why, Refused::Repairing);
        let ticket = world.order(id, Order::TakeSnapshot)?;
        let result = world.outcome(&mut random, ticket)?;
        assert!(matches!(result, OrderResult::Refused { .. }), "{result:?}");
    }
    Ok(())
}

/// The entry was committed by the two that have lost it; the third never had it.
#[test]
fn one_that_lacks_it_does_not_decide() -> Told {
    let (mut world, mut random) = cluster(3, 4, 20)?;
    let leader = world.leader(&mut random)?;
    let behind = NodeId(leader.0 % 3 + 1);
    world.crash(behind, &mut random);
    let lost = LogIndex(4 + world.status(leader).map_or(0, |status| status.consensus.last_index.0));
    world.write(&mut random, 20)?;
    let _ = world.calm(&mut random, 100, |_| false);
    let both: Vec<_> = world.ids().into_iter().filter(|id| *id != behind).collect();
    restart(&mut world, &mut random, |world, random| {
        for id in &both {
            rot(world, *id, random, |found| found.first() == Some(&lost)).expect("it can be hit");
        }
    })?;
    let _ = world.calm(&mut random, 200, |_| false);
    for id in both {
        let repair = world.status(id).and_then(|status| status.repair).ok_or("it repairs")?;
        assert_eq!(repair.first, lost, "it was committed, and must not be cut");
    }
    Ok(())
}

/// While one node repairs, the others go on, and a repair comes through all the same.
#[test]
fn a_repair_goes_on_while_others_write() -> Told {
    for seed in 0..10 {
        let (mut world, mut random) = cluster(3, seed, 40)?;
        let node = NodeId(1 + seed % 3);
        world.crash(node, &mut random);
        rot(&world, node, &mut random, |_| true).ok_or("nothing can be hit")?;
        world.write(&mut random, 10)?;
        world.start(node, &mut random)?;
        world.write(&mut random, 10)?;
        world.peace(&mut random)?;
        world.check()?;
    }
    Ok(())
}

/// All others have compacted what is damaged: a snapshot of theirs stands for it.
#[test]
fn what_others_have_compacted_comes_as_a_snapshot() -> Told {
    let mut tried = 0;
    for seed in 0..20 {
        let (mut world, mut random) = cluster(3, seed, 40)?;
        let node = NodeId(1 + seed % 3);
        world.crash(node, &mut random);
        let early = |found: &BTreeSet<LogIndex>| found.last().is_some_and(|last| last.0 < 12);
        let Some(found) = rot(&world, node, &mut random, early) else { continue };
        let others: Vec<_> = world.ids().into_iter().filter(|id| *id != node).collect();
        let has_it = |world: &World, id| {
            world.status(id).is_none_or(|it| Some(&it.log.first_index) <= found.last())
        };
        while others.iter().any(|id| has_it(&world, *id)) {
            world.write(&mut random, 40)?;
            for id in &others {
                let ticket = world.order(*id, Order::TakeSnapshot)?;
                let result = world.outcome(&mut random, ticket)?;
                assert!(matches!(result, OrderResult::Done(_)), "{result:?}");
            }
        }
        tried += 1;
        world.start(node, &mut random)?;
        assert!(world.status(node).is_some_and(|status| status.repair.is_some()));
        world.write(&mut random, 10)?;
        world.peace(&mut random).map_err(|why| format!("seed {seed}: {why}"))?;
        world.check()?;
    }
    assert!(tried > 10, "{tried}");
    Ok(())
}

//! The past: that it is compacted by itself, and that what is left of it is swept.

use std::time::Duration;

use kvraft::kv::{Command, Effect, Operation, Outcome, PutRequest, RequestOp, Transaction};
use kvraft::replica::{Refused, Replica, Request, Response};
use kvraft::types::{LogIndex, NodeId, Random, Revision};

use crate::clients;
use crate::world::World;

type Told = Result<(), String>;

/// The replicas' states are of the newest version, which keeps a past.
fn world_with_a_past(size: u64, seed: u64) -> Result<(World, Random), String> {
    let mut random = Random::from_seed(seed);
    let mut world = World::new(size, &mut random)?;
    let has_past = |world: &World| {
        let mut versions = world.ids().into_iter().filter_map(|id| world.status(id));
        versions.all(|status| status.machine_version == status.machine_supports)
    };
    world.calm(&mut random, 3000, has_past)?;
    Ok((world, random))
}

fn write(operation: Operation) -> Request {
    Request::Write { command: Command { session: None, operation }.encode() }
}

/// A transaction that changes so many keys.
fn changes(count: u32) -> Request {
    let put = |number| {
        let key = format!("many-{number}").into();
        RequestOp::Put(PutRequest { key, ..PutRequest::default() })
    };
    let success = (0..count).map(put).collect();
    write(Operation::Transaction(Transaction { success, ..Transaction::default() }))
}

fn compact(revision: Revision) -> Request {
    write(Operation::Compact { revision })
}

fn is_compacted(response: &Response) -> bool {
    let Response::Written(outcome) = response else { return false };
    Outcome::decode(outcome).is_ok_and(|outcome| outcome.effect == Effect::Compacted)
}

/// Those that have something left to sweep.
fn with_rubbish(world: &World) -> usize {
    let replicas = world.nodes.values().filter_map(|node| node.replica.as_ref());
    replicas.map(Replica::machine).filter(|machine| machine.has_rubbish()).count()
}

fn last_index(world: &World, id: NodeId) -> Option<LogIndex> {
    world.status(id).map(|status| status.consensus.last_index)
}

/// The leader compacts what is older than is kept, and everybody's past is the same.
#[test]
fn the_past_is_forgotten_by_itself() -> Told {
    let (mut world, mut random) = world_with_a_past(3, 10)?;
    let before = world.status(NodeId(1)).map(|status| status.revision.0);
    world.write(&mut random, 120)?;
    world.peace(&mut random)?;
    for status in world.ids().into_iter().filter_map(|id| world.status(id)) {
        let (revision, compacted) = (status.revision.0, status.compacted_revision.0);
        assert!(Some(compacted) > before, "{compacted} of {revision}, since {before:?}");
        // 64 more than are kept, and what was on its way meanwhile.
        assert!((20..100).contains(&(revision - compacted)), "{compacted} of {revision}");
    }
    Ok(())
}

/// What is compacted is swept, although nobody asks for anything; then it is quiet.
#[test]
fn an_idle_cluster_goes_on_sweeping() -> Told {
    let (mut world, mut random) = world_with_a_past(3, 11)?;
    let leader = world.leader(&mut random)?;
    for _ in 0..30 {
        world.ask(&mut random, leader, changes(30))?;
    }
    let now = world.status(leader).map(|status| status.revision).ok_or("it is up")?;
    let compacted = world.ask(&mut random, leader, compact(now))?;
    assert!(is_compacted(&compacted), "{compacted:?}");
    world.idle(&mut random, Duration::from_millis(500))?;
    assert_eq!(with_rubbish(&world), 3, "what is left is more than a few entries sweep");
    world.idle(&mut random, Duration::from_secs(30))?;
    assert_eq!(with_rubbish(&world), 0);
    let quiet = last_index(&world, leader);
    world.idle(&mut random, Duration::from_secs(10))?;
    assert_eq!(last_index(&world, leader), quiet, "there is nothing to propose any more");
    world.check()
}

/// What the cluster proposes by itself leaves the reserve to what keeps it going.
#[test]
fn on_a_full_disk_nothing_is_swept() -> Told {
    let (mut world, mut random) = world_with_a_past(1, 12)?;
    let alone = NodeId(1);
    for _ in 0..80 {
        world.ask_alone(changes(60));
    }
    let now = world.status(alone).map(|status| status.revision).ok_or("it is up")?;
    assert!(is_compacted(&world.ask_alone(compact(now))));
    world.set_disk_full(true);
    // Each that is still taken sweeps a little. In the end there is no room even for a small one.
    for size in [4000, 400, 40, 1] {
        let full = (0..60).any(|_| {
            let response = world.ask_alone(clients::put(&b"v".repeat(size)));
            matches!(response, Response::Refused { why: Refused::NoSpace, .. })
        });
        assert!(full, "a disk without space takes everything");
    }
    assert_eq!(with_rubbish(&world), 1, "there is more than that");
    let last = last_index(&world, alone).ok_or("it is up")?;
    world.idle(&mut random, Duration::from_secs(20))?;
    // What it proposes is shorter than any client's write; but it is not one a second.
    let grown = last_index(&world, alone).map(|index| index.0 - last.0);
    assert!(grown <= Some(3), "{grown:?} entries");
    world.set_disk_full(false);
    world.idle(&mut random, Duration::from_secs(120))?;
    assert_eq!(with_rubbish(&world), 0, "there is room again");
    Ok(())
}

//! One thing at a time: snapshots, orders, disagreement, upgrades.

use std::collections::BTreeSet;

use kvraft::consensus::{Change, Role};
use kvraft::kv::version::LATEST_VERSION;
use kvraft::museum::{Bug, Bugs};
use kvraft::replica::{Order, OrderResult, Refused, Response};
use kvraft::types::{LogIndex, NodeId, Random};

use crate::clients;
use crate::world::World;

type Told = Result<(), String>;

fn world(size: u64, seed: u64) -> Result<(World, Random), String> {
    let mut random = Random::from_seed(seed);
    Ok((World::new(size, &mut random)?, random))
}

fn is_done(result: &OrderResult) -> bool {
    matches!(result, OrderResult::Done(_))
}

#[test]
fn an_operator_s_snapshot_lets_the_log_be_forgotten() -> Told {
    let (mut world, mut random) = world(3, 1)?;
    world.write(&mut random, 10)?;
    for id in world.ids() {
        let applied = world.status(id).map(|status| status.machine_applied);
        let ticket = world.order(id, Order::TakeSnapshot)?;
        let result = world.outcome(&mut random, ticket)?;
        assert!(is_done(&result), "{result:?}");
        world.calm(&mut random, 100, |world| {
            let status = world.status(id);
            status.is_some_and(|s| s.consensus.first_index.0 + 5 > s.snapshot_index.0)
        })?;
        let covered = world.status(id).map(|status| status.snapshot_index);
        assert!(covered >= applied && covered > Some(LogIndex(0)));
        // Nothing was written since on this node: the answer comes at once.
        world.peace(&mut random)?;
        let ticket = world.order(id, Order::TakeSnapshot)?;
        assert!(is_done(&world.outcome(&mut random, ticket)?));
    }
    world.peace(&mut random)?;
    world.check()
}

#[test]
fn a_restart_goes_on_from_the_snapshot() -> Told {
    let (mut world, mut random) = world(3, 2)?;
    world.write(&mut random, 100)?;
    world.peace(&mut random)?;
    let hash = world.status(NodeId(1)).map(|status| status.state_hash);
    for id in world.ids() {
        world.crash(id, &mut random);
    }
    for id in world.ids() {
        world.start(id, &mut random)?;
        let status = world.status(id).ok_or("it is up")?;
        assert!(status.snapshot_index > LogIndex(20), "it has a snapshot");
        assert!(status.machine_applied >= status.snapshot_index, "and begins with it");
    }
    world.leader(&mut random)?;
    world.peace(&mut random)?;
    assert!(hash.is_some());
    world.check()
}

/// A follower that was down for long gets the snapshot; and whenever it or the leader dies on the
/// way, the next try succeeds.
#[test]
fn a_follower_far_behind_gets_the_snapshot_whoever_dies_meanwhile() -> Told {
    let mut installed = 0;
    for seed in 0..40 {
        let (mut world, mut random) = world(3, seed)?;
        let leader = world.leader(&mut random)?;
        let late = NodeId(leader.0 % 3 + 1);
        world.crash(late, &mut random);
        world.write(&mut random, 150)?;
        world.start(late, &mut random)?;
        // Somewhere between the first chunk and the last entry.
        let steps = random.below(25) as u32;
        let _ = world.calm(&mut random, steps, |_| false);
        let victim = if random.chance(0.7) { late } else { leader };
        world.crash(victim, &mut random);
        world.peace(&mut random)?;
        world.check()?;
        installed += world.total(|counters| counters.snapshots_installed);
    }
    assert!(installed >= 40, "only {installed} installed");
    Ok(())
}

#[test]
fn members_change_and_the_operator_hears_what_is_now() -> Told {
    let (mut world, mut random) = world(5, 3)?;
    let leader = world.leader(&mut random)?;
    let node = NodeId(leader.0 % 5 + 1);
    let change = |change| Order::ChangeMembership { changes: vec![change] };
    let ticket = world.order(node, change(Change::Demote { node }))?;
    let OrderResult::Refused { leader: Some(named), message } =
        world.outcome(&mut random, ticket)?
    else {
        panic!("a follower changes no members");
    };
    assert!(named == leader && message.contains("ask it"), "{message}");

    let ticket = world.order(leader, change(Change::Demote { node }))?;
    let second = world.order(leader, change(Change::Promote { node }))?;
    let result = world.outcome(&mut random, ticket)?;
    let OrderResult::Done(members) = &result else { panic!("{result:?}") };
    assert!(members.ends_with(&format!("learners: {node}")), "{members}");
    let result = world.outcome(&mut random, second)?;
    assert!(matches!(result, OrderResult::Refused { .. }), "one after the other: {result:?}");
    world.calm(&mut random, 100, |world| {
        world.status(node).is_some_and(|status| status.consensus.role == Role::Learner)
    })?;

    let ticket = world.order(leader, Order::Transfer { to: Some(node) })?;
    let result = world.outcome(&mut random, ticket)?;
    assert!(matches!(result, OrderResult::Refused { .. }), "a learner cannot lead: {result:?}");
    let ticket = world.order(leader, change(Change::Promote { node }))?;
    let result = world.outcome(&mut random, ticket)?;
    assert!(is_done(&result), "{result:?}");
    world.peace(&mut random)?;
    world.check()
}

#[test]
fn the_leadership_goes_where_it_is_wanted() -> Told {
    let (mut world, mut random) = world(3, 4)?;
    for _ in 0..6 {
        let leader = world.leader(&mut random)?;
        world.write(&mut random, 3)?;
        let to = NodeId(leader.0 % 3 + 1);
        let ticket = world.order(leader, Order::Transfer { to: Some(to) })?;
        let result = world.outcome(&mut random, ticket)?;
        assert!(is_done(&result), "{result:?}");
        assert_eq!(world.leader(&mut random)?, to);
    }
    world.peace(&mut random)?;
    world.check()
}

/// A leader that hands over holds what comes. Who is answered meanwhile must not be told that the
/// write went nowhere, for it is taken when nobody takes over.
#[test]
fn a_write_that_is_held_during_a_transfer_is_not_refused() -> Told {
    let (mut world, mut random) = world(3, 10)?;
    let leader = world.leader(&mut random)?;
    world.write(&mut random, 3)?;
    let dead = NodeId(leader.0 % 3 + 1);
    world.crash(dead, &mut random);
    let applied = world.status(leader).map(|status| status.revision);
    world.order(leader, Order::Transfer { to: Some(dead) })?;
    let brief = std::time::Duration::from_millis(20);
    let response = world.ask_within(&mut random, leader, clients::put(b"held"), brief)?;
    assert!(matches!(response, Response::Unknown(_)), "{response:?}");
    world.calm(&mut random, 200, |world| {
        world.status(leader).map(|status| status.revision) > applied
    })
}

/// The others need not wait for a time-out to notice that their leader is gone.
#[test]
fn a_leader_that_stops_hands_over_first() -> Told {
    let (mut world, mut random) = world(3, 5)?;
    let leader = world.leader(&mut random)?;
    world.write(&mut random, 3)?;
    world.stop(leader)?;
    assert!(world.is_handing_over(leader));
    // Sooner than any time-out.
    world.calm(&mut random, 20, |world| !world.is_handing_over(leader))?;
    let next = world.leader(&mut random)?;
    assert_ne!(next, leader);
    let response = world.ask(&mut random, leader, clients::put(b"too late"))?;
    let Response::Refused { why, .. } = response else { panic!("{response:?}") };
    assert_eq!(why, Refused::Stopping);
    Ok(())
}

#[test]
fn a_replica_in_the_minority_stops_and_says_why() -> Told {
    let (mut world, mut random) = world(3, 6)?;
    diverge(&mut world, &mut random)?;
    // Two of three have odd numbers, and are wrong together.
    let error = world.write(&mut random, 200).expect_err("node 2 must notice");
    assert!(error.contains("node 2: at index") && error.contains("this node is wrong"), "{error}");
    Ok(())
}

#[test]
fn without_a_majority_nothing_is_written_any_more_and_reads_go_on() -> Told {
    let (mut world, mut random) = world(2, 7)?;
    diverge(&mut world, &mut random)?;
    let _ = world.write(&mut random, 200);
    for id in world.ids() {
        let alarmed = world.status(id).and_then(|status| status.disagreed_at);
        assert!(alarmed.is_some(), "node {id} raises the alarm");
        let response = world.ask(&mut random, id, clients::put(b"no"))?;
        let Response::Refused { why, message } = response else { panic!("{response:?}") };
        assert_eq!(why, Refused::Disagreement);
        assert!(message.contains("an operator"), "{message}");
        let response = world.ask(&mut random, id, clients::get())?;
        assert!(matches!(response, Response::Answer(_)), "{response:?}");
    }
    Ok(())
}

/// Every replica starts again with a bug by which odd numbers differ from even ones.
fn diverge(world: &mut World, random: &mut Random) -> Told {
    world.bugs = Bugs::only(Bug::DivergentApply);
    world.compare = false;
    for id in world.ids() {
        world.crash(id, random);
        world.start(id, random)?;
    }
    Ok(())
}

/// The versions in force.
fn versions(world: &World) -> BTreeSet<u16> {
    let status = world.ids().into_iter().filter_map(|id| world.status(id));
    status.map(|status| status.machine_version).collect()
}

/// Nobody who speaks to a new cluster is to meet an old version of it.
#[test]
fn a_new_cluster_is_at_the_latest_version_at_once() -> Told {
    let (mut world, mut random) = world(5, 8)?;
    world.calm(&mut random, 1000, |world| {
        let mut status = world.ids().into_iter().filter_map(|id| world.status(id));
        status.any(|status| status.consensus.role == Role::Leader)
    })?;
    world.calm(&mut random, 20, |world| versions(world) == [LATEST_VERSION].into())
}

#[test]
fn the_version_is_raised_when_every_program_knows_it_and_not_before() -> Told {
    let (mut world, mut random) = world(3, 8)?;
    let old = NodeId(2);
    world.crash(old, &mut random);
    world.exchange_program(old, 1);
    world.start(old, &mut random)?;
    let raised = world.calm(&mut random, 2000, |world| versions(world).contains(&2));
    assert!(raised.is_err(), "ten seconds, and an old program is among them");
    world.crash(old, &mut random);
    world.exchange_program(old, 2);
    world.start(old, &mut random)?;
    world.calm(&mut random, 1000, |world| versions(world) == [2].into())?;
    world.write(&mut random, 5)?;
    // Whoever comes back with the old program finds a state that it does not know.
    world.crash(old, &mut random);
    world.exchange_program(old, 1);
    let ends = world.start(old, &mut random).and_then(|()| world.write(&mut random, 5));
    let error = ends.expect_err("it must not go on");
    assert!(error.contains("version 2"), "{error}");
    Ok(())
}

/// Reads are answered wherever they are asked, without a detour for the answer.
#[test]
fn a_follower_serves_linearizable_reads_itself() -> Told {
    let (mut world, mut random) = world(3, 9)?;
    let leader = world.leader(&mut random)?;
    world.write(&mut random, 5)?;
    let relayed = world.total(|counters| counters.relayed);
    for id in world.ids() {
        let response = world.ask(&mut random, id, clients::get())?;
        assert!(matches!(response, Response::Answer(_)), "{leader}: {response:?}");
    }
    assert_eq!(world.total(|counters| counters.relayed), relayed);
    Ok(())
}

/// Each bug of this room, put back, must be caught by somebody.
#[test]
fn the_museum_s_bugs_are_noticed() {
    for bug in [Bug::NoSessions, Bug::SnapshotAheadOfState, Bug::DivergentApply] {
        let noticed = (0..60u64).find(|seed| {
            let life = || {
                let mut random = Random::from_seed(*seed);
                let mut world = World::new(3, &mut random)?;
                world.bugs = Bugs::only(bug);
                for id in world.ids() {
                    world.crash(id, &mut random);
                    world.start(id, &mut random)?;
                }
                for _ in 0..2_000 {
                    world.hostile_step(&mut random)?;
                }
                world.peace(&mut random)?;
                world.check()
            };
            let lived = std::panic::catch_unwind(life);
            lived.unwrap_or_else(|_| Err("an invariant broke".into())).is_err()
        });
        assert!(noticed.is_some(), "sixty lives with {bug}, and nobody noticed");
    }
}

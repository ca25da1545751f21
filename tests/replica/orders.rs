//! What goes to the leader, wherever it is asked: clients' orders, and keep-alives.

use std::time::Duration;

use kvraft::kv::{Command, Operation};
use kvraft::replica::{Event, LeaseAsk, MemberOrder, MemberResult, Request, Response};
use kvraft::types::{LeaseId, NodeId, Random, Ticket};

use crate::world::World;

/// Three replicas whose states are of the newest version.
fn newest(seed: u64) -> Result<(World, Random), String> {
    let mut random = Random::from_seed(seed);
    let mut world = World::new(3, &mut random)?;
    world.calm(&mut random, 3000, |world| {
        let mut versions = world.ids().into_iter().filter_map(|id| world.status(id));
        versions.all(|status| status.machine_version == status.machine_supports)
    })?;
    Ok((world, random))
}

/// That a member is where it is already is only true if a majority says so: whoever says it may
/// lead no more.
#[test]
fn what_is_so_already_is_confirmed_all_the_same() -> Result<(), String> {
    let (mut world, mut random) = newest(31)?;
    let leader = world.leader(&mut random)?;
    let (node, address) = (NodeId(1), "unix:/new".to_owned());
    let update = Request::Member(MemberOrder::Update { node, address });
    let done = Response::Member(MemberResult::Done { node });
    for _ in ["it moves", "it is there"] {
        assert_eq!(world.ask(&mut random, leader, update.clone())?, done);
    }
    let others = world.ids().into_iter().filter(|id| *id != leader);
    others.for_each(|id| world.crash(id, &mut random));
    let brief = Duration::from_millis(20);
    let response = world.ask_within(&mut random, leader, update, brief)?;
    assert!(matches!(response, Response::Refused { .. } | Response::Unknown(_)), "{response:?}");
    Ok(())
}

/// A leader that was started anew, and leads again before anybody else did, knows nothing of what
/// it was asked before.
#[test]
fn who_leads_again_after_a_restart_is_asked_again() -> Result<(), String> {
    let (mut world, mut random) = newest(32)?;
    let leader = world.leader(&mut random)?;
    let (id, ask) = (LeaseId(7), LeaseAsk::KeepAlive);
    let grant = Command { session: None, operation: Operation::LeaseGrant { id, ttl: 60 } };
    world.ask(&mut random, leader, Request::Write { command: grant.encode() })?;
    let other = NodeId(leader.0 % 3 + 1);
    world.network.clear();
    let (ticket, timeout) = (Ticket(u64::MAX - 1), Duration::from_secs(5));
    let request = Request::Lease { id, ask };
    world.turn(other, Event::Client { ticket, request, timeout, trace: None })?;
    world.network.clear();
    world.crash(leader, &mut random);
    world.start(leader, &mut random)?;
    world.turn(leader, Event::Campaign)?;
    world.calm(&mut random, 100, |world| world.alone.is_some())?;
    let answer = world.alone.take();
    assert!(matches!(answer, Some(Response::Answer(_))), "{answer:?}");
    assert_eq!(world.leader(&mut random)?, leader, "or it was not about that");
    Ok(())
}

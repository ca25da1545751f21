//! What clients of etcd order of the membership.

use std::time::Duration;

use kvraft::replica::{MemberOrder, MemberResult, Request, Response};
use kvraft::types::{NodeId, Random};

use crate::world::World;

/// That a member is where it is already is only true if a majority says so: whoever says it may
/// lead no more.
#[test]
fn what_is_so_already_is_confirmed_all_the_same() -> Result<(), String> {
    let mut random = Random::from_seed(31);
    let mut world = World::new(3, &mut random)?;
    world.calm(&mut random, 3000, |world| {
        let mut versions = world.ids().into_iter().filter_map(|id| world.status(id));
        versions.all(|status| status.machine_version == status.machine_supports)
    })?;
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

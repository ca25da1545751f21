//! What a leader says to an order, as etcd's members would.

use super::*;
use crate::kv::Announcement;
use crate::kv::Machine;
use crate::kv::version::LATEST_VERSION;
use crate::types::LogIndex;

/// A cluster as its leader, node 1, sees it.
struct Scene {
    configuration: Configuration,
    machine: Machine,
    membership: Membership,
    now: Instant,
}

impl Scene {
    /// All have voted and been in reach for long.
    fn of(voters: &[u64], learners: &[u64]) -> Scene {
        let set = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        let all = voters.iter().chain(learners);
        let configuration = Configuration {
            voters: set(voters),
            learners: set(learners),
            addresses: all.map(|id| (NodeId(*id), format!("unix:/{id}"))).collect(),
            ..Configuration::default()
        };
        let mut machine = Machine::new();
        (2..=LATEST_VERSION).for_each(|to| apply(&mut machine, Operation::RaiseVersion { to }));
        let membership = Membership::starting_at(Instant::default(), Duration::from_millis(50));
        let mut scene = Scene { configuration, machine, membership, now: Instant::default() };
        voters.iter().chain(learners).for_each(|id| scene.start(*id));
        scene.pass(10_000, &[]);
        scene
    }

    /// Time goes by, and these are not heard meanwhile.
    fn pass(&mut self, millis: u64, silent: &[u64]) {
        let end = self.now + Duration::from_millis(millis);
        while self.now < end {
            self.now = self.now + Duration::from_millis(100);
            for id in self.configuration.members() {
                if !silent.contains(&id.0) {
                    self.membership.heard(self.now, id);
                }
            }
        }
    }

    fn start(&mut self, id: u64) {
        let (node, client_urls) = (NodeId(id), Vec::new());
        let it = Announcement { node, name: format!("node-{id}"), client_urls };
        apply(&mut self.machine, Operation::Announce(it));
    }

    fn judge(&self, order: &MemberOrder) -> Result<Plan, MemberRefusal> {
        let view = View {
            now: self.now,
            own: NodeId(1),
            configuration: &self.configuration,
            roster: self.machine.roster(),
            reach: &self.membership.reach,
            in_reach: self.membership.in_reach,
        };
        view.judge(order)
    }

    fn add(&self, address: &str, learner: bool) -> Result<Plan, MemberRefusal> {
        self.judge(&MemberOrder::Add { address: address.into(), learner })
    }

    fn remove(&self, id: u64) -> Option<MemberRefusal> {
        self.judge(&MemberOrder::Remove { node: NodeId(id) }).err()
    }
}

fn apply(machine: &mut Machine, operation: Operation) {
    let index: LogIndex = machine.applied_index().next();
    machine.apply(index, &Command { session: None, operation }.encode());
}

#[test]
fn a_new_member_gets_a_number_that_nobody_had_and_begins_as_a_learner() {
    let mut scene = Scene::of(&[1, 2, 3], &[]);
    let members = [1, 2, 3, 9].map(NodeId).into();
    scene.machine.know_members(&members, &members);
    let plan = scene.add("unix:/new", false).unwrap();
    let address = "unix:/new".to_owned();
    let change = Some(Change::AddLearner { node: NodeId(10), address });
    assert_eq!(plan, Plan { node: NodeId(10), change, enlist: true });
    assert!(!scene.add("unix:/new", true).unwrap().enlist);
}

#[test]
fn nobody_is_added_while_another_is_out_of_reach_or_was_lately() {
    let mut scene = Scene::of(&[1, 2, 3], &[]);
    scene.pass(2_000, &[3]);
    for learner in [false, true] {
        assert_eq!(scene.add("unix:/new", learner), Err(MemberRefusal::Unhealthy));
    }
    scene.pass(4_000, &[]);
    assert_eq!(scene.add("unix:/new", false), Err(MemberRefusal::Unhealthy), "not for long");
    scene.pass(1_500, &[]);
    assert!(scene.add("unix:/new", false).is_ok());
}

#[test]
fn a_second_is_added_only_when_the_first_was_started() {
    let mut scene = Scene::of(&[1], &[]);
    assert!(scene.add("unix:/2", false).is_ok(), "the only member may");
    scene.configuration.learners.insert(NodeId(2));
    scene.configuration.addresses.insert(NodeId(2), "unix:/2".into());
    apply(&mut scene.machine, Operation::Enlist { node: NodeId(2) });
    assert_eq!(scene.add("unix:/3", false), Err(MemberRefusal::NotEnoughStarted));
    scene.start(2);
    scene.pass(6_000, &[]);
    assert!(scene.add("unix:/3", false).is_ok());
}

#[test]
fn addresses_and_learners_are_counted() {
    let mut scene = Scene::of(&[1, 2, 3], &[4]);
    assert_eq!(scene.add("unix:/2", false), Err(MemberRefusal::AddressExists));
    assert_eq!(scene.add("unix:/4", false), Err(MemberRefusal::AddressExists));
    assert_eq!(scene.add("unix:/5", true), Err(MemberRefusal::TooManyLearners));
    let mut unstarted = Scene::of(&[1, 2, 3], &[]);
    unstarted.configuration.learners.insert(NodeId(4));
    unstarted.configuration.addresses.insert(NodeId(4), "unix:/4".into());
    assert_eq!(unstarted.add("unix:/4", true), Err(MemberRefusal::AddressExists));
    // One that is to vote is no learner.
    apply(&mut scene.machine, Operation::Enlist { node: NodeId(4) });
    assert!(scene.add("unix:/5", true).is_ok());
    let many: Vec<u64> = (1..=31).collect();
    assert_eq!(Scene::of(&many, &[]).add("unix:/x", false), Err(MemberRefusal::TooManyMembers));
}

#[test]
fn whoever_is_needed_is_not_removed() {
    let mut scene = Scene::of(&[1, 2, 3], &[4]);
    for id in 1..=4 {
        assert_eq!(scene.remove(id), None);
    }
    assert_eq!(scene.remove(7), Some(MemberRefusal::NotFound));
    scene.pass(3_000, &[3]);
    assert_eq!(scene.remove(2), Some(MemberRefusal::Unhealthy), "two are needed of two");
    assert_eq!(scene.remove(3), None, "it is no part of what works");
    assert_eq!(scene.remove(4), None, "learners never are");
    assert_eq!(Scene::of(&[1], &[]).remove(1), Some(MemberRefusal::NotEnoughStarted));
    let mut fresh = Scene::of(&[1], &[]);
    fresh.configuration.voters.insert(NodeId(2));
    assert_eq!(fresh.remove(1), Some(MemberRefusal::NotEnoughStarted));
}

#[test]
fn only_a_learner_in_reach_is_promoted() {
    let mut scene = Scene::of(&[1, 2, 3], &[4]);
    let promote = |scene: &Scene, id| scene.judge(&MemberOrder::Promote { node: NodeId(id) });
    assert_eq!(promote(&scene, 9), Err(MemberRefusal::NotFound));
    assert_eq!(promote(&scene, 1), Err(MemberRefusal::NotLearner));
    let node = NodeId(4);
    assert_eq!(promote(&scene, 4), Ok(Plan::of(node, Some(Change::Promote { node }))));
    scene.pass(2_000, &[4]);
    assert_eq!(promote(&scene, 4), Err(MemberRefusal::NotCaughtUp));
}

#[test]
fn a_member_moves_to_an_address_that_nobody_has() {
    let scene = Scene::of(&[1, 2], &[]);
    let update = |node: u64, address: &str| {
        let (node, address) = (NodeId(node), address.to_owned());
        scene.judge(&MemberOrder::Update { node, address })
    };
    assert_eq!(update(9, "unix:/9"), Err(MemberRefusal::NotFound));
    assert_eq!(update(2, "unix:/1"), Err(MemberRefusal::AddressExists));
    assert_eq!(update(2, "unix:/2"), Ok(Plan::of(NodeId(2), None)), "it is there already");
    let (node, address) = (NodeId(2), "unix:/new".to_owned());
    assert_eq!(
        update(2, "unix:/new"),
        Ok(Plan::of(node, Some(Change::Relocate { node, address })))
    );
}

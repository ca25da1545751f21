//! Hostile lives by the thousand: whatever is lost, doubled, reordered, cut or crashed, the
//! properties of figure 3 hold after every step, no read is stale, and once the hostility ends the
//! group makes progress.
//!
//! `RAFT_SEED=7 cargo test --test raft chance` replays one life.

use std::error::Error;

use kvraft::consensus::Change;
use kvraft::museum::{Bug, Bugs};
use kvraft::types::{NodeId, Random, Ticket};

use crate::group::{Group, Setup};

const STEPS: u64 = 600;

/// One hostile life, and then peace.
struct Life {
    group: Group,
    random: Random,
    ticket: u64,
    nodes: Vec<NodeId>,
}

impl Life {
    fn of(seed: u64, bugs: Bugs) -> Result<Life, Box<dyn Error>> {
        let mut random = Random::from_seed(seed);
        let size = 3 + random.below(3);
        let setup = Setup {
            disks_by_hand: true,
            leases: random.chance(0.5),
            keep_entries: random.below(4),
            bugs,
            ..Setup::default()
        };
        let group = Group::new(size, setup, None)?;
        let nodes = group.node_ids();
        Ok(Life { group, random, ticket: 0, nodes })
    }

    fn somebody(&mut self) -> NodeId {
        let place = self.random.below(self.nodes.len() as u64) as usize;
        self.nodes[place]
    }

    fn ticket(&mut self) -> Ticket {
        self.ticket += 1;
        Ticket(self.ticket)
    }

    fn hostile_step(&mut self) -> Result<(), Box<dyn Error>> {
        let id = self.somebody();
        match self.random.below(100) {
            0..45 => self.deliver_any()?,
            45..70 => drop(self.group.persist_one(id)?),
            70..71 => self.group.snapshot(id)?,
            71..72 => self.change_members(id)?,
            72..73 => {
                let (ticket, to) = (self.ticket(), self.somebody());
                let at = self.group.leader().unwrap_or(id);
                self.group.transfer(at, ticket, Some(to))?;
            }
            73..78 => {
                let ticket = self.ticket();
                let at = self.group.leader().unwrap_or(id);
                self.group.propose(at, ticket, &format!("c{ticket}"))?;
            }
            78..83 => {
                // Everyone is asked, so that whoever wrongly believes to lead is asked as well.
                for id in self.nodes.clone() {
                    let ticket = self.ticket();
                    self.group.read(id, ticket)?;
                }
            }
            83..90 => self.group.elapse(10 + 10 * self.random.below(8))?,
            90..92 => {
                let other = self.somebody();
                self.group.duplicate(id, other);
            }
            92..94 => {
                let other = self.somebody();
                self.group.drop_link(id, other);
            }
            94..95 => self.group.campaign(id)?,
            95..97 if self.group.is_up(id) => self.group.crash(id)?,
            95..97 => self.group.restart(id)?,
            97..98 => {
                let cut = 1 + self.random.below(self.nodes.len() as u64 - 1);
                let words = |ids: &[NodeId]| {
                    ids.iter().map(NodeId::to_string).collect::<Vec<_>>().join(",")
                };
                let (some, others) = self.nodes.split_at(cut as usize);
                self.group.partition(&format!("{}|{}", words(some), words(others)))?;
            }
            _ => self.group.heal(),
        }
        Ok(())
    }

    /// The leader, or who is asked in its stead, is to change the members, mostly by one.
    fn change_members(&mut self, id: NodeId) -> Result<(), Box<dyn Error>> {
        let ticket = self.ticket();
        let at = self.group.leader().unwrap_or(id);
        let node = self.somebody();
        let change = match self.random.below(4) {
            0 if self.nodes.len() < 7 => {
                let node = NodeId(self.nodes.len() as u64 + 1);
                self.nodes.push(node);
                self.group.join(node);
                Change::AddLearner { node, address: String::new() }
            }
            0 => Change::AddLearner { node, address: String::new() },
            1 => Change::Promote { node },
            2 => Change::Demote { node },
            _ => Change::Remove { node },
        };
        let other = Change::Remove { node: self.somebody() };
        let changes = if self.random.chance(0.2) { vec![change, other] } else { vec![change] };
        self.group.change(at, ticket, changes)
    }

    /// Any message under way may come next: the network keeps no order.
    fn deliver_any(&mut self) -> Result<(), Box<dyn Error>> {
        match self.group.messages() as u64 {
            0 => Ok(()),
            // Mostly the oldest, or nothing would ever come of anything.
            n if self.random.chance(0.2) => self.group.deliver_at(self.random.below(n) as usize),
            _ => self.group.deliver_at(0),
        }
    }

    /// Everybody is up and connected, and every disk works: a command must reach everyone.
    fn peace(&mut self) -> Result<(), Box<dyn Error>> {
        self.group.heal();
        for id in self.nodes.clone() {
            if !self.group.is_up(id) {
                self.group.restart(id)?;
            }
        }
        let before = self.group.last_applied();
        for round in 0..400 {
            for id in self.nodes.clone() {
                self.group.persist(id)?;
            }
            self.group.deliver_all()?;
            self.group.elapse(10)?;
            if round % 40 == 0
                && let Some(leader) = self.group.leader()
            {
                let ticket = self.ticket();
                self.group.propose(leader, ticket, "peace")?;
            }
            if self.group.applied_by_all_members() > before {
                return Ok(());
            }
        }
        Err("four seconds of peace, and nobody got on".into())
    }
}

fn live(seed: u64, bugs: Bugs) -> Result<[u64; 4], Box<dyn Error>> {
    let mut life = Life::of(seed, bugs)?;
    for _ in 0..STEPS {
        life.hostile_step()?;
        life.group.told();
    }
    life.peace()?;
    let Group { served, installed, changed, .. } = life.group;
    Ok([life.group.last_applied().0, served, installed, changed])
}

#[test]
fn chance_finds_no_broken_promise() {
    let seeds = match std::env::var("RAFT_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..1_000u64,
    };
    let mut totals = [0; 4];
    for seed in seeds {
        let outcome = std::panic::catch_unwind(|| {
            live(seed, Bugs::none()).map_err(|error| error.to_string())
        });
        match outcome {
            Ok(Ok(counts)) => totals.iter_mut().zip(counts).for_each(|(sum, n)| *sum += n),
            Ok(Err(error)) => panic!("RAFT_SEED={seed}: {error}"),
            Err(_) => panic!("RAFT_SEED={seed} replays what is printed above"),
        }
    }
    // A hostile world in which nothing ever happened would prove nothing.
    assert!(
        totals.iter().all(|total| *total > 0),
        "entries applied, reads served, snapshots installed, memberships changed: {totals:?}"
    );
}

/// Lives that catch the bugs of the museum which this test is good at. (For the others it takes
/// whole replicas, or steering: they are the simulator's.)
#[test]
fn chance_catches_bugs_that_are_put_back() {
    let within = [
        (Bug::StepDownClearsVote, 50),
        (Bug::ForgottenTerm, 150),
        (Bug::ReadBeforeNoop, 300),
        (Bug::SingleServerChange, 400),
    ];
    for (bug, lives) in within {
        let caught = (0..lives).any(|seed| {
            let life = std::panic::catch_unwind(|| live(seed, Bugs::only(bug)).is_err());
            life.unwrap_or(true)
        });
        assert!(caught, "{lives} lives with {bug}, and nothing was noticed");
    }
}

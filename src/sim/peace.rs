//! Peace: the faults end, and the cluster must get on.
//!
//! First a majority alone, drawn from the seed, with everyone else down: no node is needed. Then
//! all: a write through every one of them is acknowledged, and they become equal.

use std::collections::BTreeSet;
use std::time::Duration;

use super::node::Node;
use super::properties::{Broken, Checked, progress};
use super::schedule::Loss;
use super::world::{Happening, World};
use crate::consensus::{Configuration, Consensus};
use crate::types::{NodeId, Random};

/// Whether those who are left can decide.
fn has_quorum(configuration: &Configuration, left: &BTreeSet<NodeId>) -> bool {
    [&configuration.voters, &configuration.outgoing]
        .into_iter()
        .all(|voters| voters.is_empty() || voters.intersection(left).count() > voters.len() / 2)
}

/// How long a healed cluster may take.
const BOUND: Duration = Duration::from_secs(60);

impl World {
    /// Ends the hostility, and demands progress.
    pub fn heal(&mut self) -> Checked {
        self.story.tell(self.now, || "— the faults end".to_owned());
        self.clients.closing = true;
        self.make_peace()?;
        for place in 0..self.nodes.len() {
            self.start(place)?;
        }
        self.run_until("every damaged log is repaired", |world| {
            world.nodes.iter().all(|node| !node.repairing)
        })?;
        let down = self.minority();
        let ids: Vec<_> = down.iter().map(|place| self.nodes[*place].id.to_string()).collect();
        if !ids.is_empty() {
            self.story.tell(self.now, || {
                format!("— the rest must get on without {}, who may crash for good", ids.join(", "))
            });
        }
        for place in &down {
            self.nodes[*place].held_down += 1;
            self.crash(*place, Loss::Nothing);
        }
        self.settle("a leader, and no change of membership under way (a majority alone)")?;
        let up = self.live_members();
        self.probe(&up, "a majority alone")?;
        for place in &down {
            self.nodes[*place].held_down -= 1;
            self.start(*place)?;
        }
        self.settle("a leader, and no change of membership under way (everyone)")?;
        let all = self.live_members();
        self.probe(&all, "everyone")?;
        self.run_until("everyone is equal", |world| world.are_equal())
    }

    /// As many as a majority can do without, whatever configuration anybody has in force.
    fn minority(&self) -> Vec<usize> {
        let mut random = Random::from_seed(self.schedule.seed ^ 0xacce_55ed);
        let cores = self.nodes.iter().filter_map(Node::core);
        let mut known: Vec<Configuration> = cores.map(|core| core.status().configuration).collect();
        known.push(self.members.1.clone());
        let takes_part = |node: &&Node| node.core().is_some();
        let mut left: BTreeSet<NodeId> =
            self.nodes.iter().filter(takes_part).map(|node| node.id).collect();
        let mut places: Vec<usize> = (0..self.nodes.len()).collect();
        let mut down = Vec::new();
        while !places.is_empty() {
            let place = places.swap_remove(random.below(places.len() as u64) as usize);
            let id = self.nodes[place].id;
            if left.remove(&id) {
                match known.iter().all(|configuration| has_quorum(configuration, &left)) {
                    true => down.push(place),
                    false => drop(left.insert(id)),
                }
            }
        }
        down
    }

    /// A leader is there, and what it has as its configuration is committed.
    fn settle(&mut self, what: &str) -> Checked {
        let mut turns = 0;
        self.run_until(what, |world| {
            turns += 1;
            let place = world.leader();
            let node = &world.nodes[place];
            let Some(core) = node.core().filter(|_| node.leads && turns % 32 == 0) else {
                return false;
            };
            let status = core.status();
            status.configuration.outgoing.is_empty() && status.configuration == world.members.1
        })
    }

    /// Members that are up.
    fn live_members(&self) -> Vec<usize> {
        let members = self.members.1.members();
        let is_live = |place: &usize| {
            let node = &self.nodes[*place];
            node.is_up() && members.contains(&node.id)
        };
        (0..self.nodes.len()).filter(is_live).collect()
    }

    /// A write through each of these is acknowledged.
    fn probe(&mut self, places: &[usize], who: &str) -> Checked {
        let keys = self.schedule.setting.keys;
        let probers: Vec<usize> =
            places.iter().map(|place| self.clients.add_prober(*place, keys)).collect();
        for client in &probers {
            self.arrange(self.now, Happening::Client { client: *client });
        }
        let what = format!("a write through every live node is acknowledged ({who})");
        self.run_until(&what, |world| probers.iter().all(|client| world.clients.is_done(*client)))
    }

    pub fn run_until(&mut self, what: &str, done: impl FnMut(&mut World) -> bool) -> Checked {
        let until = self.now + BOUND;
        if self.run(until, done)? {
            return Ok(());
        }
        let how = format!("{BOUND:?} of peace, and not yet: {what}\n{}", self.describe());
        Err(Broken { rule: &progress::RULE, how })
    }

    /// All have applied the same, and hold nothing else.
    fn are_equal(&mut self) -> bool {
        let committed = self.properties.committed();
        let members = self.live_members();
        self.clients.are_idle()
            && members.iter().all(|place| {
                let node = &self.nodes[*place];
                let applied = node.replica.as_ref().map(|r| r.machine().applied_index());
                let held = self.properties.mirror(node.id).map(|m| m.held.tail().index);
                applied == Some(committed) && held == Some(committed)
            })
    }

    /// One line a node.
    pub fn describe(&self) -> String {
        let line = |node: &Node| match node.core() {
            None if node.repairing => {
                let repair = node.replica.as_ref().and_then(|replica| replica.status().repair);
                format!("  {}", repair.map(|repair| repair.waits_for).unwrap_or_default())
            }
            None => format!("  node {} is down", node.id),
            Some(core) => {
                let c = core.status();
                format!(
                    "  node {} {} term {} leader {} last {}/{} durable {} commit {} applied {}",
                    node.id,
                    c.role,
                    c.term,
                    c.leader.map_or("none".into(), |id| id.to_string()),
                    c.last_index,
                    c.last_term,
                    c.durable_index,
                    c.commit_index,
                    c.applied_index,
                )
            }
        };
        self.nodes.iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

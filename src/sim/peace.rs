//! Peace: the faults end, and the cluster must get on.
//!
//! First a majority alone, drawn from the seed, with everyone else down: no node is needed. Then
//! all: a write through every one of them is acknowledged, and they become equal.

use std::time::Duration;

use super::properties::{Broken, Checked, progress};
use super::schedule::Loss;
use super::world::{Happening, World};
use crate::consensus::Consensus;
use crate::types::Random;

/// How long a healed cluster may take.
const BOUND: Duration = Duration::from_secs(30);

impl World {
    /// Ends the hostility, and demands progress.
    pub fn heal(&mut self) -> Checked {
        self.story.tell(self.now, || "— the faults end".to_owned());
        self.clients.closing = true;
        self.make_peace()?;
        let down = self.minority();
        for place in &down {
            self.nodes[*place].held_down += 1;
            self.crash(*place, Loss::Nothing);
        }
        for place in 0..self.nodes.len() {
            self.start(place)?;
        }
        let up: Vec<usize> = (0..self.nodes.len()).filter(|p| !down.contains(p)).collect();
        self.probe(&up, "a majority alone")?;
        for place in &down {
            self.nodes[*place].held_down -= 1;
            self.start(*place)?;
        }
        let all: Vec<usize> = (0..self.nodes.len()).collect();
        self.probe(&all, "everyone")?;
        self.run_until("everyone is equal", |world| world.are_equal())
    }

    /// As many as a majority can do without.
    fn minority(&self) -> Vec<usize> {
        let size = self.nodes.len();
        let mut random = Random::from_seed(self.schedule.seed ^ 0xacce_55ed);
        let mut places: Vec<usize> = (0..size).collect();
        while places.len() > (size - 1) / 2 {
            places.swap_remove(random.below(places.len() as u64) as usize);
        }
        places
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

    fn run_until(&mut self, what: &str, done: impl FnMut(&mut World) -> bool) -> Checked {
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
        self.clients.are_idle()
            && self.nodes.iter().all(|node| {
                let applied = node.replica.as_ref().map(|r| r.machine().applied_index());
                let held = self.properties.mirror(node.id).map(|m| m.held.tail().index);
                applied == Some(committed) && held == Some(committed)
            })
    }

    /// One line a node.
    pub fn describe(&self) -> String {
        let line = |node: &super::node::Node| match &node.replica {
            None => format!("  node {} is down", node.id),
            Some(replica) => {
                let c = replica.core().status();
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

//! Orders: what operators do, who ask again until it is done.

use std::time::Duration;

use super::{RESTART, Stage};
use crate::chaos::Who;
use crate::scenario::deed::{Deed, Order};
use crate::sim::properties::{Broken, Checked};
use crate::sim::schedule::{Errand, Target};
use crate::sim::world::{Happening, World};
use crate::types::NodeId;

/// Before an operator asks again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// What takes more than one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    Transfer { from: Option<NodeId>, to: Option<NodeId> },
    Join { node: NodeId, learner: bool },
    Promote { node: NodeId },
    Remove { node: NodeId },
}

impl World {
    pub(super) fn order(
        &mut self,
        stage: &mut Stage,
        order: &Order,
    ) -> Result<Option<String>, Broken> {
        let view = self.view();
        let places = |whos: &[Who]| -> Result<Vec<usize>, String> {
            let nodes = view.resolve_all(whos)?;
            Ok(nodes.into_iter().map(|id| (id.0 - 1) as usize).collect())
        };
        let one = |who: Who| -> Result<NodeId, String> {
            let nodes = view.resolve_all(&[who])?;
            nodes.into_iter().next().ok_or_else(|| format!("nobody is {who}"))
        };
        let planned: Result<(), String> = match order {
            Order::Kill { nodes } | Order::Restart { nodes } => places(nodes).map(|places| {
                for place in places {
                    self.crash(place, self.loss(place));
                    self.arrange(self.now + RESTART, Happening::Start { node: place });
                }
            }),
            Order::Stop { nodes } => places(nodes).map(|places| {
                for place in places {
                    if stage.stopped.insert(place) {
                        self.nodes[place].held_down += 1;
                        self.crash(place, self.loss(place));
                    }
                }
            }),
            Order::Start { nodes } => match places(nodes) {
                Ok(places) => {
                    for place in places {
                        if stage.stopped.remove(&place) {
                            self.nodes[place].held_down -= 1;
                            self.start(place)?;
                        }
                    }
                    Ok(())
                }
                Err(why) => Err(why),
            },
            Order::Transfer { to } => to.map(one).transpose().map(|to| {
                let chore = Chore::Transfer { from: view.leader, to };
                stage.chores.push((chore, self.now));
            }),
            Order::Add { learner } => {
                let joined = stage.chores_of_joining();
                let node = NodeId(stage.scenario.nodes + joined + 1);
                stage.chores.push((Chore::Join { node, learner: *learner }, self.now));
                Ok(())
            }
            Order::Promote { node } => {
                one(*node).map(|node| stage.chores.push((Chore::Promote { node }, self.now)))
            }
            Order::Remove { node } => {
                one(*node).map(|node| stage.chores.push((Chore::Remove { node }, self.now)))
            }
            Order::Snapshot => {
                for id in view.all {
                    self.run_errand(Errand::Snapshot { target: Target::Node(id) })?;
                }
                Ok(())
            }
        };
        Ok(planned.err())
    }

    /// Operators ask again for what is not done.
    pub(super) fn do_chores(&mut self, stage: &mut Stage) -> Checked {
        let now = self.now;
        for (chore, ask) in std::mem::take(&mut stage.chores) {
            let wanted = self.wanted(chore);
            let ask = match wanted {
                Some(errand) if ask <= now => {
                    self.run_errand(errand)?;
                    now + ASK_AGAIN
                }
                Some(_) => ask,
                None => continue,
            };
            stage.chores.push((chore, ask));
        }
        Ok(())
    }

    /// The next errand of a chore; nothing, if it is done.
    fn wanted(&self, chore: Chore) -> Option<Errand> {
        let members = &self.members.1;
        let promote = |node: NodeId| {
            let nth = members.learners.iter().position(|learner| *learner == node);
            nth.map(|nth| Errand::Promote { nth: nth as u64 })
        };
        match chore {
            Chore::Transfer { from, to } => {
                let leader = self.leading();
                let is_done = if to.is_some() { leader == to } else { leader != from };
                (!is_done).then_some(Errand::Transfer { to: to.map(Target::Node) })
            }
            Chore::Join { node, .. } if !members.members().contains(&node) => {
                Some(Errand::AddLearner)
            }
            Chore::Join { node, learner: false } | Chore::Promote { node } => promote(node),
            Chore::Join { .. } => None,
            Chore::Remove { node } => members
                .members()
                .contains(&node)
                .then_some(Errand::Remove { target: Target::Node(node) }),
        }
    }
}

impl Stage {
    /// How many joins have been begun.
    fn chores_of_joining(&self) -> u64 {
        let adds = self.scenario.steps.iter().zip(&self.timeline.steps);
        let begun = adds.filter(|(step, (begun, _))| {
            begun.is_some() && matches!(step.deed, Deed::Order(Order::Add { .. }))
        });
        begun.count() as u64
    }
}

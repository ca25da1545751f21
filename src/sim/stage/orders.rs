//! Orders: what operators do, who ask again until it is done.

use std::time::Duration;

use super::{RESTART, Stage};
use crate::chaos::{NodeFault, Who};
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

/// What is next for a chore.
enum Next {
    Done,
    /// Something else has to happen before.
    Wait,
    Ask(Errand),
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
                    self.wake_by_hand(stage, place);
                    self.arrange(self.now + RESTART, Happening::Start { node: place });
                }
            }),
            Order::Stop { nodes } => places(nodes).map(|places| {
                for place in places {
                    if stage.stopped.insert(place) {
                        self.nodes[place].held_down += 1;
                        self.crash(place, self.loss(place));
                        self.wake_by_hand(stage, place);
                    }
                }
            }),
            Order::Start { nodes } => match places(nodes) {
                Ok(places) => {
                    for place in places {
                        let by_faults = self.takes_over(stage, place, NodeFault::keeps_down);
                        let by_hand = u32::from(stage.stopped.remove(&place));
                        if by_faults + by_hand > 0 {
                            self.nodes[place].held_down -= by_faults + by_hand;
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

    /// A process that is gone does not stand still.
    fn wake_by_hand(&mut self, stage: &mut Stage, place: usize) {
        let pauses = self.takes_over(stage, place, |fault| *fault == NodeFault::Pause);
        self.nodes[place].paused -= pauses;
    }

    /// Operators ask again for what is not done.
    pub(super) fn do_chores(&mut self, stage: &mut Stage) -> Checked {
        let now = self.now;
        for (chore, ask) in std::mem::take(&mut stage.chores) {
            let ask = match self.wanted(chore) {
                Next::Done => continue,
                Next::Ask(errand) if ask <= now => {
                    self.run_errand(errand)?;
                    now + ASK_AGAIN
                }
                Next::Ask(_) | Next::Wait => ask,
            };
            stage.chores.push((chore, ask));
        }
        Ok(())
    }

    /// What is next for a chore.
    fn wanted(&self, chore: Chore) -> Next {
        let members = &self.members.1;
        let promote = |node: NodeId| match members.learners.iter().position(|it| *it == node) {
            Some(nth) => Next::Ask(Errand::Promote { nth: nth as u64 }),
            None if members.voters.contains(&node) => Next::Done,
            // It is only just joining.
            None => Next::Wait,
        };
        let unless = |is_done: bool, errand| if is_done { Next::Done } else { Next::Ask(errand) };
        match chore {
            Chore::Transfer { from, to } => {
                let leader = self.leading();
                let is_done = if to.is_some() { leader == to } else { leader != from };
                unless(is_done, Errand::Transfer { to: to.map(Target::Node) })
            }
            Chore::Join { node, .. } if !members.members().contains(&node) => {
                Next::Ask(Errand::AddLearner)
            }
            Chore::Join { node, learner: false } | Chore::Promote { node } => promote(node),
            Chore::Join { .. } => Next::Done,
            Chore::Remove { node } => {
                let is_gone = !members.members().contains(&node);
                unless(is_gone, Errand::Remove { target: Target::Node(node) })
            }
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

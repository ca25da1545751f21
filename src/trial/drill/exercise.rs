//! What can go wrong in a drill, and what mends it.

use std::time::Duration;

use crate::chaos::{LinkWish, Links, NodeFault, Who, Wish};
use crate::link::Policy;
use crate::storage::Trouble;

/// What mends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// Nodes that are away are started, or go on.
    Node,
    /// It lies outside of what the cluster can do: the network, a disk, a clock. `chaos heal` plays
    /// whoever mends those.
    Heal,
}

/// One kind of trouble.
#[derive(Debug)]
pub struct Exercise {
    pub name: &'static str,
    /// What happened, told afterwards.
    pub what: &'static str,
    pub remedy: Remedy,
    /// What to do about it, told afterwards.
    pub lesson: &'static str,
    /// What to ask for; a follower is given to be the one concerned, if one is.
    pub wish: fn(Who) -> Wish,
}

fn on(who: Who, fault: NodeFault) -> Wish {
    Wish::Node { nodes: vec![who], fault }
}

fn of_leader(policy: Policy) -> Wish {
    let (from, to) = (Who::Leader, Who::All);
    Wish::Link { links: Links::These(vec![LinkWish { from, to, both: true }]), policy }
}

/// All of them.
pub const EXERCISES: &[Exercise] = &[
    Exercise {
        name: "dead-follower",
        what: "a follower was killed and did not come back",
        remedy: Remedy::Node,
        lesson: "kvctl node start N: nobody notices a dead follower until the next one dies",
        wish: |follower| on(follower, NodeFault::Kill),
    },
    Exercise {
        name: "dead-leader",
        what: "the leader was killed and did not come back",
        remedy: Remedy::Node,
        lesson: "kvctl node start N: the others elected a leader within a second, and have one \
                 vote less to lose",
        wish: |_| on(Who::Leader, NodeFault::Kill),
    },
    Exercise {
        name: "frozen-leader",
        what: "the leader's process stood still, with its sockets open",
        remedy: Remedy::Node,
        lesson: "kvctl node resume N: a process that lives is not one that works",
        wish: |_| on(Who::Leader, NodeFault::Pause),
    },
    Exercise {
        name: "lost-majority",
        what: "a majority was killed and did not come back",
        remedy: Remedy::Node,
        lesson: "kvctl node start N, for enough of them: as long as their disks are there, this is \
                 an outage and no loss. kvctl cluster recover would have lost writes",
        wish: |_| on(Who::Majority, NodeFault::Kill),
    },
    Exercise {
        name: "rotten-log",
        what: "a follower died, and a bit of its log flipped while it was down",
        remedy: Remedy::Node,
        lesson: "kvctl node start N: it asks the others for what it lost before it takes part",
        wish: |follower| on(follower, NodeFault::Corrupt { segment: None }),
    },
    Exercise {
        name: "cut-off-leader",
        what: "the network cut the leader off",
        remedy: Remedy::Heal,
        lesson: "the network has to be mended (kvctl chaos heal, here); the majority went on",
        wish: |_| Wish::Isolate { nodes: vec![Who::Leader] },
    },
    Exercise {
        name: "deaf-leader",
        what: "what the followers sent did not reach the leader",
        remedy: Remedy::Heal,
        lesson: "the network has to be mended (kvctl chaos heal, here); half a connection is none",
        wish: |_| Wish::OneWay { from: vec![Who::Followers], to: vec![Who::Leader] },
    },
    Exercise {
        name: "slow-network",
        what: "messages to and from the leader took a fifth of a second longer",
        remedy: Remedy::Heal,
        lesson: "the network has to be mended (kvctl chaos heal, here); every write waits for it",
        wish: |_| of_leader(Policy { delay: Duration::from_millis(100), ..Policy::default() }),
    },
    Exercise {
        name: "lossy-network",
        what: "every third message to and from the leader was lost",
        remedy: Remedy::Heal,
        lesson: "the network has to be mended (kvctl chaos heal, here)",
        wish: |_| of_leader(Policy { loss: 0.33, ..Policy::default() }),
    },
    Exercise {
        name: "full-disk",
        what: "the leader's disk was full",
        remedy: Remedy::Heal,
        lesson: "room has to be made (kvctl chaos heal, here); kvctl leader transfer lets another \
                 one lead meanwhile",
        wish: |_| on(Who::Leader, NodeFault::Disk(Trouble { full: true, ..Trouble::default() })),
    },
    Exercise {
        name: "slow-disks",
        what: "every disk took a tenth of a second longer for each operation",
        remedy: Remedy::Heal,
        lesson: "the disks have to be mended (kvctl chaos heal, here)",
        wish: |_| {
            on(Who::All, NodeFault::Disk(Trouble { delay_millis: 100, ..Trouble::default() }))
        },
    },
];

/// The exercise of this name.
pub fn exercise(name: &str) -> Option<&'static Exercise> {
    EXERCISES.iter().find(|it| it.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::{FaultId, Injection, View};
    use crate::types::NodeId;

    #[test]
    fn every_exercise_can_be_begun_and_is_hidden() {
        let all: std::collections::BTreeSet<_> = (1..=5).map(NodeId).collect();
        let view = View { voters: all.clone(), all, leader: Some(NodeId(2)), ..View::default() };
        for it in EXERCISES {
            assert_eq!(exercise(it.name).map(|found| found.what), Some(it.what));
            let wish = (it.wish)(Who::Node(NodeId(4)));
            let by = "a drill".to_owned();
            let injection = Injection { wish, flap: None, duration_millis: None, by, blind: true };
            let fault = injection.begin(FaultId(1), &view, 0).unwrap();
            let shown = fault.shown();
            assert_eq!(shown.to_string(), "something");
            assert!(shown.links.is_empty() && shown.nodes.is_empty() && shown.policy.is_empty());
            let mends_nodes = it.remedy == Remedy::Node;
            assert_eq!(mends_nodes, !fault.taken_away().is_empty(), "{}", it.name);
        }
    }
}

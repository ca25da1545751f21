//! The explorations: one dimension of adversary each.

use kvraft::consensus::Change;
use kvraft::types::NodeId;

use crate::bounds::{Bounds, Elections, Network};
use crate::node::Setup;
use crate::world::Left;

pub fn crashes(elections: u8, proposals: u8, crashes: u8) -> Bounds {
    Bounds {
        setup: Setup { slow_disks: true, ..Setup::default() },
        left: Left { elections, proposals, crashes, ..Left::default() },
        ..Bounds::new("crashes")
    }
}

pub fn loss(elections: u8, proposals: u8, losses: u8, repeats: u8) -> Bounds {
    let left = Left { elections, proposals, losses, repeats, ..Left::default() };
    Bounds { left, ..Bounds::new("loss") }
}

pub fn disorder(elections: u8, proposals: u8) -> Bounds {
    let left = Left { elections, proposals, ..Left::default() };
    Bounds { network: Network::Anything, left, ..Bounds::new("duplication, reordering") }
}

pub fn membership(elections: u8, proposals: u8, changes: u8) -> Bounds {
    let left = Left { elections, proposals, changes, ..Left::default() };
    let remove = |node| Change::Remove { node: NodeId(node) };
    // The leader alone is to remain, or to go.
    let menu = vec![vec![remove(2), remove(3)], vec![remove(1)]];
    Bounds { left, menu, ..Bounds::new("membership, shrinking") }
}

/// A fourth node joins, gets a vote, and another loses its own.
pub fn growth(elections: u8, proposals: u8, changes: u8) -> Bounds {
    let left = Left { elections, proposals, changes, ..Left::default() };
    let node = NodeId(4);
    let menu = vec![
        vec![Change::AddLearner { node, address: String::new() }],
        vec![Change::Promote { node }, Change::Demote { node: NodeId(1) }],
    ];
    Bounds { left, menu, spare: 1, ..Bounds::new("membership, growing") }
}

pub fn snapshots(elections: u8, proposals: u8, snapshots: u8, repeats: u8) -> Bounds {
    let left = Left { elections, proposals, snapshots, repeats, ..Left::default() };
    Bounds { left, ..Bounds::new("snapshots") }
}

pub fn reads(elections: u8, proposals: u8, reads: u8) -> Bounds {
    let left = Left { elections, proposals, reads, ..Left::default() };
    Bounds { left, follower_reads: true, ..Bounds::new("reads") }
}

pub fn pre_vote(elections: u8, proposals: u8, losses: u8, repeats: u8) -> Bounds {
    let left = Left { elections, proposals, losses, repeats, ..Left::default() };
    Bounds { left, elections: Elections::ByTimeOut, ..Bounds::new("pre-vote") }
}

/// Commands travel alone, so that an old entry can reach a majority before its leader's own.
pub fn figure_8(elections: u8, proposals: u8, logs: Option<&'static str>) -> Bounds {
    let left = Left { elections, proposals, ..Left::default() };
    let setup = Setup { max_message_bytes: Some(1), ..Setup::default() };
    Bounds { left, setup, logs, ..Bounds::new("figure 8") }
}

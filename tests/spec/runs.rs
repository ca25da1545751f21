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
    let menu = vec![vec![Change::Remove { node: NodeId(2) }, Change::Remove { node: NodeId(3) }]];
    Bounds { left, menu, ..Bounds::new("membership") }
}

pub fn snapshots(elections: u8, proposals: u8, snapshots: u8, repeats: u8) -> Bounds {
    let left = Left { elections, proposals, snapshots, repeats, ..Left::default() };
    Bounds { left, ..Bounds::new("snapshots") }
}

pub fn reads(elections: u8, proposals: u8, reads: u8) -> Bounds {
    let left = Left { elections, proposals, reads, ..Left::default() };
    Bounds { left, ..Bounds::new("reads") }
}

pub fn pre_vote(elections: u8, proposals: u8) -> Bounds {
    let left = Left { elections, proposals, ..Left::default() };
    Bounds { left, elections: Elections::ByTimeOut, ..Bounds::new("pre-vote") }
}

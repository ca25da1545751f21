//! How far an exploration goes, and what its adversary may do.

use kvraft::consensus::Change;

use crate::node::Setup;
use crate::world::Left;

/// What the network does to messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// Each link keeps their order, as one connection does. They take as long as they like.
    InOrder,
    /// They overtake each other, and each arrives as often as it likes, or never: what was once
    /// sent may arrive at any time from then on.
    Anything,
}

/// How elections begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Elections {
    /// Without a pre-vote: safety must not need one, and there are fewer messages.
    OnRequest,
    /// By a time-out, with a pre-vote.
    ByTimeOut,
}

#[derive(Clone, Debug)]
pub struct Bounds {
    pub name: &'static str,
    /// They are members from the beginning…
    pub voters: u64,
    /// …and these have an empty disk.
    pub spare: u64,
    pub setup: Setup,
    pub network: Network,
    pub elections: Elections,
    pub left: Left,
    /// Followers are asked to read as well.
    pub follower_reads: bool,
    /// Changes of membership that may be asked for.
    pub menu: Vec<Vec<Change>>,
    /// A past: for each voter the terms of its entries after the first, such as `2,2||3`.
    pub logs: Option<&'static str>,
    /// So many states are enough.
    pub max_states: usize,
}

impl Bounds {
    /// Three nodes, a network that keeps the order, and nothing that may happen.
    pub fn new(name: &'static str) -> Bounds {
        Bounds {
            name,
            voters: 3,
            spare: 0,
            setup: Setup::default(),
            network: Network::InOrder,
            elections: Elections::OnRequest,
            left: Left::default(),
            follower_reads: false,
            menu: Vec::new(),
            logs: None,
            max_states: usize::MAX,
        }
    }

    /// Whether nothing tells one node from another at the beginning.
    pub fn is_symmetric(&self) -> bool {
        self.spare == 0 && self.menu.is_empty() && self.logs.is_none()
    }
}

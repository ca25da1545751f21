//! Nodes by their numbers, or by what they are.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::types::NodeId;

/// A node, or all that are something when the fault begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Who {
    Node(NodeId),
    Leader,
    /// Everybody but the leader.
    Followers,
    /// The smallest majority of the voters: the leader, and then the lowest numbers.
    Majority,
    /// Everybody else.
    Minority,
    All,
}

const ROLES: &[(&str, Who)] = &[
    ("leader", Who::Leader),
    ("followers", Who::Followers),
    ("majority", Who::Majority),
    ("minority", Who::Minority),
    ("all", Who::All),
];

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match ROLES.iter().find(|(_, who)| who == self) {
            Some((word, _)) => f.write_str(word),
            None => match self {
                Who::Node(id) => write!(f, "{id}"),
                _ => unreachable!("every role has its word"),
            },
        }
    }
}

impl FromStr for Who {
    type Err = String;

    fn from_str(text: &str) -> Result<Who, String> {
        if let Some((_, who)) = ROLES.iter().find(|(word, _)| *word == text) {
            return Ok(*who);
        }
        match text.parse::<u64>() {
            Ok(0) => Err("nodes are numbered from 1".to_owned()),
            Ok(id) => Ok(Who::Node(NodeId(id))),
            Err(_) => {
                let roles: Vec<_> = ROLES.iter().map(|(word, _)| *word).collect();
                Err(format!("`{text}` is no node: write its number, or {}", roles.join(", ")))
            }
        }
    }
}

impl TryFrom<String> for Who {
    type Error = String;

    fn try_from(text: String) -> Result<Who, String> {
        text.parse()
    }
}

impl From<Who> for String {
    fn from(who: Who) -> String {
        who.to_string()
    }
}

//! The kinds that faults are told by where only a few words will do: as labels of metrics.
//!
//! They are the words that faults are asked for by, of `kvctl chaos` and of scenarios: `disk full`
//! is `disk-full`.

use crate::link::Policy;
use crate::storage::Trouble;

use super::{Fault, NodeFault, Wish};

/// What can be wrong with links. One fault may be several of them.
pub const LINK_KINDS: [&str; 12] = [
    "partition",
    "isolate",
    "one-way",
    "rings",
    "bridge",
    "cut",
    "stall",
    "loss",
    "dup",
    "rate",
    "delay",
    "reorder",
];

/// What can be wrong with nodes.
pub const NODE_KINDS: [&str; 15] = [
    "pause",
    "kill",
    "terminate",
    "crash-loop",
    "slow-cpu",
    "memory",
    "clock",
    "disk-slow",
    "disk-full",
    "disk-read-errors",
    "disk-write-errors",
    "disk-sync-error",
    "disk-forget",
    "disk-tear",
    "corrupt",
];

/// Of a fault that is not told: a drill.
pub const HIDDEN: &str = "hidden";

impl Fault {
    /// What is wrong.
    pub fn kinds(&self) -> Vec<&'static str> {
        match &self.wish {
            Wish::Partition { .. } => vec!["partition"],
            Wish::Isolate { .. } => vec!["isolate"],
            Wish::OneWay { .. } => vec!["one-way"],
            Wish::Rings => vec!["rings"],
            Wish::Bridge { .. } => vec!["bridge"],
            Wish::Link { policy, .. } => of_policy(policy),
            Wish::Node { fault, .. } => of_node(fault),
            Wish::Hidden => vec![HIDDEN],
        }
    }

    /// With what: nodes by their numbers, links as `FROM:TO`.
    pub fn targets(&self) -> Vec<String> {
        let links = self.links.iter().map(|(from, to)| format!("{from}:{to}"));
        self.nodes.iter().map(ToString::to_string).chain(links).collect()
    }
}

fn those(kinds: &[(&'static str, bool)]) -> Vec<&'static str> {
    kinds.iter().filter(|(_, is)| *is).map(|(kind, _)| *kind).collect()
}

fn of_policy(policy: &Policy) -> Vec<&'static str> {
    those(&[
        ("cut", policy.cut),
        ("stall", policy.stall),
        ("loss", policy.loss > 0.0),
        ("dup", policy.duplicate > 0.0),
        ("rate", policy.rate.is_some()),
        ("delay", !policy.delay.is_zero() || !policy.jitter.is_zero()),
        ("reorder", policy.reorder > 0.0),
    ])
}

fn of_node(fault: &NodeFault) -> Vec<&'static str> {
    match fault {
        NodeFault::Pause => vec!["pause"],
        NodeFault::Kill => vec!["kill"],
        NodeFault::Terminate => vec!["terminate"],
        NodeFault::CrashLoop { .. } => vec!["crash-loop"],
        NodeFault::SlowCpu { .. } => vec!["slow-cpu"],
        NodeFault::Memory { .. } => vec!["memory"],
        NodeFault::Clock(_) => vec!["clock"],
        NodeFault::Disk(trouble) => of_disk(trouble),
        NodeFault::Corrupt { .. } => vec!["corrupt"],
    }
}

fn of_disk(trouble: &Trouble) -> Vec<&'static str> {
    those(&[
        ("disk-slow", trouble.delay_millis > 0 || trouble.jitter_millis > 0),
        ("disk-full", trouble.full),
        ("disk-read-errors", trouble.read_errors > 0.0),
        ("disk-write-errors", trouble.write_errors > 0.0),
        ("disk-sync-error", trouble.sync_error),
        ("disk-forget", trouble.lose_unsynced && !trouble.torn),
        ("disk-tear", trouble.lose_unsynced && trouble.torn),
    ])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_kind_that_a_fault_can_be_told_by_is_listed() {
        let policy = Policy {
            cut: true,
            stall: true,
            loss: 0.1,
            duplicate: 0.1,
            rate: Some(1),
            delay: Duration::from_millis(1),
            reorder: 0.1,
            ..Policy::default()
        };
        assert_eq!(of_policy(&policy), LINK_KINDS[5..]);
        let trouble = Trouble {
            delay_millis: 1,
            full: true,
            read_errors: 0.1,
            write_errors: 0.1,
            sync_error: true,
            lose_unsynced: true,
            ..Trouble::default()
        };
        assert_eq!(of_disk(&trouble), NODE_KINDS[7..13]);
        let torn = Trouble { lose_unsynced: true, torn: true, ..Trouble::default() };
        assert_eq!(of_disk(&torn), NODE_KINDS[13..14]);
        let of_nodes = [NodeFault::Pause, NodeFault::Corrupt { segment: None }];
        assert!(of_nodes.iter().flat_map(of_node).all(|kind| NODE_KINDS.contains(&kind)));
    }
}

//! Majorities: the one idea that everything in Raft leans on.
//!
//! Any two majorities of the same voters share a member. Whatever one majority was told, some
//! member of any later majority knows: that is why an elected leader has every committed entry
//! (§5.4), and why a read confirmed by a majority cannot be stale (§8).
//!
//! During a change of membership there are two sets of voters, and a majority of *each* is needed
//! (joint consensus, §6). Outside a change the outgoing set is empty and asks for nothing.

use std::collections::BTreeSet;

use crate::consensus::Configuration;
use crate::types::NodeId;

/// Whether those for whom `has` holds form a majority of `voters`. No voters, no objection.
fn majority(voters: &BTreeSet<NodeId>, has: &impl Fn(NodeId) -> bool) -> bool {
    voters.is_empty() || voters.iter().filter(|id| has(**id)).count() > voters.len() / 2
}

/// Whether those for whom `has` holds form a quorum.
pub fn quorum(configuration: &Configuration, has: impl Fn(NodeId) -> bool) -> bool {
    !configuration.voters.is_empty()
        && majority(&configuration.voters, &has)
        && majority(&configuration.outgoing, &has)
}

/// The largest value that a quorum has reached, where each member has reached `value(member)`.
pub fn reached<T: Ord + Default>(configuration: &Configuration, value: impl Fn(NodeId) -> T) -> T {
    let by_majority = |voters: &BTreeSet<NodeId>| {
        let mut values: Vec<T> = voters.iter().map(|id| value(*id)).collect();
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.into_iter().nth(voters.len() / 2)
    };
    match (by_majority(&configuration.voters), by_majority(&configuration.outgoing)) {
        (Some(new), Some(old)) => new.min(old),
        (Some(new), None) => new,
        (None, _) => T::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(voters: &[u64], outgoing: &[u64]) -> Configuration {
        Configuration {
            voters: voters.iter().map(|id| NodeId(*id)).collect(),
            outgoing: outgoing.iter().map(|id| NodeId(*id)).collect(),
            ..Configuration::default()
        }
    }

    #[test]
    fn a_quorum_is_more_than_half() {
        for (voters, enough) in [(1, 1), (2, 2), (3, 2), (4, 3), (5, 3)] {
            let configuration = configuration(&(1..=voters).collect::<Vec<_>>(), &[]);
            assert!(quorum(&configuration, |id| id.0 <= enough), "{enough} of {voters}");
            assert!(!quorum(&configuration, |id| id.0 < enough), "{enough} - 1 of {voters}");
        }
    }

    #[test]
    fn nobody_is_no_quorum() {
        assert!(!quorum(&configuration(&[], &[]), |_| true));
        assert_eq!(reached(&configuration(&[], &[]), |id| id.0), 0);
    }

    #[test]
    fn a_joint_change_needs_both_majorities() {
        let joint = configuration(&[1, 2, 3], &[3, 4, 5]);
        assert!(!quorum(&joint, |id| id.0 <= 3));
        assert!(!quorum(&joint, |id| id.0 >= 3));
        assert!(quorum(&joint, |id| (2..=4).contains(&id.0)));
    }

    #[test]
    fn what_a_quorum_reached_is_the_median_from_above() {
        let five = configuration(&[1, 2, 3, 4, 5], &[]);
        assert_eq!(reached(&five, |id| id.0 * 10), 30);
        let four = configuration(&[1, 2, 3, 4], &[]);
        assert_eq!(reached(&four, |id| id.0 * 10), 20);
        let joint = configuration(&[1, 2, 3], &[3, 4, 5]);
        assert_eq!(reached(&joint, |id| id.0 * 10), 20);
    }
}

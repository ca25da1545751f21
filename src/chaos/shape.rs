//! Which links each kind of partition cuts.
//!
//! A cut link is a pair (from, to): what is cut in both directions is there twice.

use std::collections::BTreeSet;

use super::Directed;
use crate::types::NodeId;

type Nodes = BTreeSet<NodeId>;
type Cut = BTreeSet<Directed>;

/// Every link between two of `groups`. Whoever stands in none of them forms one more.
pub fn partition(groups: &[Nodes], all: &Nodes) -> Cut {
    let rest: Nodes =
        all.iter().filter(|id| !groups.iter().any(|group| group.contains(id))).copied().collect();
    let groups: Vec<&Nodes> = groups.iter().chain([&rest]).collect();
    let mut cut = Cut::new();
    for (at, here) in groups.iter().enumerate() {
        for there in &groups[at + 1..] {
            cut.extend(both_ways(here, there));
        }
    }
    cut
}

/// Every link of each of `nodes`, to each other as well.
pub fn isolate(nodes: &Nodes, all: &Nodes) -> Cut {
    both_ways(nodes, all).collect()
}

/// What `from` sends to `to`; the other direction goes on.
pub fn one_way(from: &Nodes, to: &Nodes) -> Cut {
    let pairs = from.iter().flat_map(|from| to.iter().map(|to| (*from, *to)));
    pairs.filter(|(from, to)| from != to).collect()
}

/// Each node sees a majority, and no two the same one: its neighbours on a ring.
pub fn rings(all: &Nodes) -> Result<Cut, String> {
    let ring: Vec<NodeId> = all.iter().copied().collect();
    let count = ring.len();
    if count < 4 {
        return Err(format!(
            "rings want at least four nodes: among {count}, two majorities are the same or \
             everybody sees everybody"
        ));
    }
    // A majority but for oneself, half of them on each side.
    let reach = (count / 2).div_ceil(2);
    let mut cut = Cut::new();
    for (place, from) in ring.iter().enumerate() {
        for (other, to) in ring.iter().enumerate() {
            let distance = place.abs_diff(other).min(count - place.abs_diff(other));
            if distance > reach {
                cut.insert((*from, *to));
            }
        }
    }
    Ok(cut)
}

/// Two halves that do not see each other, and `bridge`, which sees both.
pub fn bridge(bridge: NodeId, all: &Nodes) -> Result<Cut, String> {
    let rest: Vec<NodeId> = all.iter().copied().filter(|id| *id != bridge).collect();
    if rest.len() < 2 {
        return Err("a bridge wants two sides: at least three nodes".to_owned());
    }
    let (left, right) = rest.split_at(rest.len() / 2);
    let set = |half: &[NodeId]| half.iter().copied().collect::<Nodes>();
    Ok(both_ways(&set(left), &set(right)).collect())
}

fn both_ways(here: &Nodes, there: &Nodes) -> impl Iterator<Item = Directed> {
    one_way(here, there).into_iter().chain(one_way(there, here))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: impl IntoIterator<Item = u64>) -> Nodes {
        ids.into_iter().map(NodeId).collect()
    }

    fn pairs(cut: &Cut) -> Vec<(u64, u64)> {
        cut.iter().map(|(from, to)| (from.0, to.0)).collect()
    }

    /// Whom `from` still reaches, itself included.
    fn sees(cut: &Cut, from: u64, all: &Nodes) -> Nodes {
        all.iter().copied().filter(|to| !cut.contains(&(NodeId(from), *to))).collect()
    }

    #[test]
    fn a_partition_cuts_between_groups_and_whoever_is_left_is_one_more() {
        let all = nodes(1..=5);
        let cut = partition(&[nodes([1, 2])], &all);
        assert_eq!(sees(&cut, 1, &all), nodes([1, 2]));
        assert_eq!(sees(&cut, 4, &all), nodes([3, 4, 5]));
        assert_eq!(cut, partition(&[nodes([1, 2]), nodes([3, 4, 5])], &all));
        let three = partition(&[nodes([1]), nodes([2])], &all);
        assert_eq!(sees(&three, 1, &all), nodes([1]));
        assert_eq!(sees(&three, 5, &all), nodes([3, 4, 5]));
    }

    #[test]
    fn one_direction_is_one_direction() {
        let cut = one_way(&nodes([1]), &nodes([1, 2, 3]));
        assert_eq!(pairs(&cut), [(1, 2), (1, 3)]);
        let alone = isolate(&nodes([1, 2]), &nodes(1..=3));
        assert_eq!(pairs(&alone), [(1, 2), (1, 3), (2, 1), (2, 3), (3, 1), (3, 2)]);
    }

    #[test]
    fn on_a_ring_everybody_sees_a_majority_and_no_two_the_same() {
        for count in 4..=9 {
            let all = nodes(1..=count);
            let cut = rings(&all).unwrap();
            assert!(cut.iter().all(|(from, to)| cut.contains(&(*to, *from))), "both ways");
            let seen: Vec<Nodes> = (1..=count).map(|from| sees(&cut, from, &all)).collect();
            assert!(seen.iter().all(|seen| seen.len() as u64 > count / 2), "{count}: {seen:?}");
            let all_differ = seen.iter().collect::<BTreeSet<_>>().len() == seen.len();
            assert!(all_differ, "{count}: {seen:?}");
        }
        assert!(rings(&nodes(1..=3)).unwrap_err().contains("at least four"));
    }

    #[test]
    fn a_bridge_sees_both_sides() {
        let all = nodes(1..=5);
        let cut = bridge(NodeId(3), &all).unwrap();
        assert_eq!(sees(&cut, 3, &all), all);
        assert_eq!(sees(&cut, 1, &all), nodes([1, 2, 3]));
        assert_eq!(sees(&cut, 5, &all), nodes([3, 4, 5]));
        assert!(bridge(NodeId(1), &nodes([1, 2])).is_err());
    }
}

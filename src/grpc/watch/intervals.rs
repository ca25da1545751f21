//! Values by range, to be found by a key that lies in the range.
//!
//! A treap: a search tree by ranges, and a heap by priorities that are drawn, which keep it flat
//! whatever comes. Each node knows the last end below it, so that a search goes only where
//! something can be found: O(log n) for each range that holds the key, however many do not.
//!
//! It is our own because the crates that were looked at walk over everything that begins before the
//! key (`interavl`), want keys that can be copied bit by bit (`iset`), or are not kept up.

use bytes::Bytes;

use super::range::{Edge, KeyRange};

/// See the [module](self).
pub struct Intervals<V> {
    root: Tree<V>,
}

type Tree<V> = Option<Box<Node<V>>>;

struct Node<V> {
    range: KeyRange,
    value: V,
    priority: u64,
    /// The last end in this subtree.
    last: Edge,
    left: Tree<V>,
    right: Tree<V>,
}

impl<V> Default for Intervals<V> {
    fn default() -> Intervals<V> {
        Intervals { root: None }
    }
}

impl<V> Intervals<V> {
    pub fn get_mut(&mut self, range: &KeyRange) -> Option<&mut V> {
        let mut tree = &mut self.root;
        while let Some(node) = tree {
            tree = match range.cmp(&node.range) {
                std::cmp::Ordering::Less => &mut node.left,
                std::cmp::Ordering::Greater => &mut node.right,
                std::cmp::Ordering::Equal => return Some(&mut node.value),
            };
        }
        None
    }

    /// Puts in a value for a range that has none.
    pub fn insert(&mut self, range: &KeyRange, value: V) {
        let node = Box::new(Node {
            range: range.clone(),
            value,
            priority: rand::random(),
            last: range.end().clone(),
            left: None,
            right: None,
        });
        let (before, behind) = split(self.root.take(), range);
        self.root = merge(merge(before, Some(node)), behind);
    }

    pub fn remove(&mut self, range: &KeyRange) -> Option<V> {
        remove(&mut self.root, range)
    }

    /// The value of every range that holds the key.
    pub fn find<'a>(&'a self, key: &Bytes, mut found: impl FnMut(&'a V)) {
        find(&self.root, &Edge::Key(key.clone()), key, &mut found);
    }

    /// Every value.
    pub fn for_each<'a>(&'a self, mut found: impl FnMut(&'a V)) {
        let mut waiting = vec![&self.root];
        while let Some(tree) = waiting.pop() {
            if let Some(node) = tree {
                found(&node.value);
                waiting.extend([&node.left, &node.right]);
            }
        }
    }
}

impl<V> Node<V> {
    /// Looks again at what is below.
    fn refresh(&mut self) {
        let below = [&self.left, &self.right].into_iter().flatten().map(|node| &node.last);
        if let Some(last) = below.chain([self.range.end()]).max() {
            self.last = last.clone();
        }
    }
}

/// What comes before the range, and the rest.
fn split<V>(tree: Tree<V>, at: &KeyRange) -> (Tree<V>, Tree<V>) {
    let Some(mut node) = tree else { return (None, None) };
    if node.range < *at {
        let (before, behind) = split(node.right.take(), at);
        node.right = before;
        node.refresh();
        (Some(node), behind)
    } else {
        let (before, behind) = split(node.left.take(), at);
        node.left = behind;
        node.refresh();
        (before, Some(node))
    }
}

/// One tree of two, all of the first being before all of the second.
fn merge<V>(before: Tree<V>, behind: Tree<V>) -> Tree<V> {
    match (before, behind) {
        (Some(mut before), Some(mut behind)) => Some(if before.priority > behind.priority {
            before.right = merge(before.right.take(), Some(behind));
            before.refresh();
            before
        } else {
            behind.left = merge(Some(before), behind.left.take());
            behind.refresh();
            behind
        }),
        (before, behind) => before.or(behind),
    }
}

fn remove<V>(tree: &mut Tree<V>, range: &KeyRange) -> Option<V> {
    let node = tree.as_mut()?;
    let removed = match range.cmp(&node.range) {
        std::cmp::Ordering::Less => remove(&mut node.left, range),
        std::cmp::Ordering::Greater => remove(&mut node.right, range),
        std::cmp::Ordering::Equal => {
            let Node { value, left, right, .. } = *tree.take()?;
            *tree = merge(left, right);
            return Some(value);
        }
    };
    node.refresh();
    removed
}

fn find<'a, V>(tree: &'a Tree<V>, at: &Edge, key: &Bytes, found: &mut impl FnMut(&'a V)) {
    let Some(node) = tree else { return };
    if node.last <= *at {
        return;
    }
    find(&node.left, at, key, found);
    if node.range.start() <= key {
        if node.range.contains(key) {
            found(&node.value);
        }
        find(&node.right, at, key, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> Bytes {
        format!("{number:06}").into()
    }

    /// How many nodes a search looks at.
    fn visits<V>(tree: &Tree<V>, at: &Edge, key: &Bytes) -> usize {
        let Some(node) = tree else { return 0 };
        if node.last <= *at {
            return 1;
        }
        let right = node.range.start() <= key;
        1 + visits(&node.left, at, key) + if right { visits(&node.right, at, key) } else { 0 }
    }

    #[test]
    fn a_key_does_not_cost_a_look_at_every_range() {
        const RANGES: usize = 10_000;
        let mut intervals = Intervals::default();
        for number in 0..RANGES {
            let range = KeyRange::of(&name(2 * number), &name(2 * number + 2)).unwrap();
            intervals.insert(&range, number);
        }
        for number in (0..RANGES).step_by(97) {
            let key = name(2 * number + 1);
            let mut found = Vec::new();
            intervals.find(&key, |value| found.push(*value));
            assert_eq!(found, [number]);
            let visits = visits(&intervals.root, &Edge::Key(key.clone()), &key);
            assert!(visits < 200, "{visits} of {RANGES}");
        }
        for number in (0..RANGES).filter(|number| number % 10 != 0) {
            let range = KeyRange::of(&name(2 * number), &name(2 * number + 2)).unwrap();
            assert_eq!(intervals.remove(&range), Some(number));
            assert_eq!(intervals.remove(&range), None);
        }
        let mut left = 0;
        intervals.for_each(|_| left += 1);
        assert_eq!(left, RANGES / 10);
    }
}

//! The states of many cells, each as one number.
//!
//! The search compares and remembers states, so they must be small, and equal states must be one.
//! A state is a binary tree with the cells as its leaves. Each node is kept once (*hash consing*),
//! under the number of its place in a list: two states are the same if their roots' numbers are,
//! and to change a cell makes as many new nodes as the tree is deep.

use std::collections::BTreeMap;

use super::Cell;

/// Nodes at most, some 80 bytes each.
const MAX_NODES: usize = 10_000_000;

/// A state of all cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct State(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Node {
    Leaf(Cell),
    Pair(u32, u32),
}

pub struct States {
    nodes: Vec<Node>,
    places: BTreeMap<Node, u32>,
    /// How deep the trees are.
    depth: u32,
    /// There was no more room: states are missing.
    pub is_full: bool,
}

impl States {
    pub fn of(cells: usize) -> States {
        let depth = cells.next_power_of_two().trailing_zeros();
        States { nodes: Vec::new(), places: BTreeMap::new(), depth, is_full: false }
    }

    /// Each cell as the first one.
    pub fn all(&mut self, cell: Cell) -> State {
        let mut node = self.number(Node::Leaf(cell));
        for _ in 0..self.depth {
            node = self.number(Node::Pair(node, node));
        }
        State(node)
    }

    pub fn get(&self, state: State, cell: usize) -> Cell {
        let mut node = state.0;
        for level in (0..self.depth).rev() {
            if let Node::Pair(left, right) = self.nodes[node as usize] {
                node = if cell >> level & 1 == 0 { left } else { right };
            }
        }
        match self.nodes[node as usize] {
            Node::Leaf(cell) => cell,
            Node::Pair(..) => unreachable!("all leaves are equally deep"),
        }
    }

    pub fn set(&mut self, state: State, cell: usize, to: Cell) -> State {
        State(self.changed(state.0, self.depth, cell, to))
    }

    fn changed(&mut self, node: u32, depth: u32, cell: usize, to: Cell) -> u32 {
        let Node::Pair(left, right) = self.nodes[node as usize] else {
            return self.number(Node::Leaf(to));
        };
        let pair = match cell >> (depth - 1) & 1 {
            0 => Node::Pair(self.changed(left, depth - 1, cell, to), right),
            _ => Node::Pair(left, self.changed(right, depth - 1, cell, to)),
        };
        self.number(pair)
    }

    fn number(&mut self, node: Node) -> u32 {
        let next = self.nodes.len();
        if let Some(place) = self.places.get(&node) {
            return *place;
        }
        if next == MAX_NODES {
            self.is_full = true;
            // Some node that is there: whoever asks looks at `is_full` before they believe it.
            return match node {
                Node::Leaf(_) => 0,
                Node::Pair(left, _) => left,
            };
        }
        self.nodes.push(node);
        self.places.insert(node, next as u32);
        next as u32
    }
}

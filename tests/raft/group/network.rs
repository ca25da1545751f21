//! The network: whatever is under way may be delivered, doubled, held back, lost or swapped.

use std::collections::{BTreeSet, VecDeque};
use std::error::Error;

use kvraft::consensus::Input;
use kvraft::consensus::raft::Message;
use kvraft::types::NodeId;

use super::{Group, Outcome};

impl Group {
    /// Delivers what is under way from `from` to `to` now, in order.
    pub fn deliver(&mut self, from: NodeId, to: NodeId) -> Outcome {
        let (these, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.messages).into_iter().partition(|m| (m.0, m.1) == (from, to));
        self.messages = rest;
        for (from, to, message) in these {
            self.step(to, Input::Receive { from, message })?;
        }
        Ok(())
    }

    /// Delivers until nothing is under way.
    pub fn deliver_all(&mut self) -> Outcome {
        for _ in 0..10_000 {
            let Some((from, to, message)) = self.messages.pop_front() else { return Ok(()) };
            self.step(to, Input::Receive { from, message })?;
        }
        Err("the messages never end".into())
    }

    /// A message that nobody sent.
    pub fn forge(&mut self, from: NodeId, to: NodeId, message: Message) -> Outcome {
        self.step(to, Input::Receive { from, message })
    }

    pub fn duplicate(&mut self, from: NodeId, to: NodeId) {
        let copies: Vec<_> =
            self.messages.iter().filter(|m| (m.0, m.1) == (from, to)).cloned().collect();
        self.messages.extend(copies);
    }

    /// The network holds back what is under way from `from` to `to`, until it is released.
    pub fn hold(&mut self, from: NodeId, to: NodeId) {
        let (these, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.messages).into_iter().partition(|m| (m.0, m.1) == (from, to));
        self.messages = rest;
        self.kept_back.extend(these);
    }

    /// What was held back is under way again.
    pub fn release(&mut self) {
        self.messages.extend(std::mem::take(&mut self.kept_back));
    }

    pub fn drop_all(&mut self) {
        self.messages.clear();
    }

    pub fn drop_link(&mut self, from: NodeId, to: NodeId) {
        self.messages.retain(|m| (m.0, m.1) != (from, to));
    }

    pub fn reverse(&mut self, from: NodeId, to: NodeId) {
        let (mut these, rest): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut self.messages).into_iter().partition(|m| (m.0, m.1) == (from, to));
        these.make_contiguous().reverse();
        self.messages = rest;
        self.messages.extend(these);
    }

    pub fn partition(&mut self, groups: &str) -> Outcome {
        let parse = |group: &str| -> Result<BTreeSet<NodeId>, Box<dyn Error>> {
            group.split(',').map(|id| Ok(NodeId(id.parse()?))).collect()
        };
        self.partition = groups.split('|').map(parse).collect::<Result<_, _>>()?;
        Ok(())
    }

    /// From now on nothing that `from` sends reaches `to`.
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cuts.insert((from, to));
    }

    pub fn heal(&mut self) {
        self.partition.clear();
        self.cuts.clear();
    }

    /// Handles the message that is at `place` in the queue: others stay.
    pub fn deliver_at(&mut self, place: usize) -> Outcome {
        let Some((from, to, message)) = self.messages.remove(place) else { return Ok(()) };
        self.step(to, Input::Receive { from, message })
    }

    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn post(&mut self, from: NodeId, to: NodeId, message: Message) {
        let cut = |group: &BTreeSet<NodeId>| group.contains(&from) != group.contains(&to);
        if !self.partition.iter().any(cut) && !self.cuts.contains(&(from, to)) {
            self.messages.push_back((from, to, message));
        }
    }
}

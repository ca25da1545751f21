//! What a story tells beside what happens: who has which entry, and what a leader counts.
//!
//! A reader of a life wants to see the moment at which it goes wrong. That moment is seldom a
//! message: it is what somebody concludes from one.

use super::properties::mirror::Log;
use super::world::{Letter, World};
use crate::consensus::Consensus;
use crate::consensus::raft::{AppendResult, Message};
use crate::replica::PeerMessage;
use crate::types::NodeId;

/// As many entries of a log as fit on a line.
const SHOWN: usize = 12;

/// Before a log, under what made it worth telling.
const LOG: &str = "               log of ";

impl World {
    /// Whether a message from `from` to `to` says anything new: of the answers to entries, those
    /// that acknowledge more than the one before.
    pub fn is_news(&mut self, from: NodeId, to: NodeId, message: &Letter) -> bool {
        let PeerMessage::Consensus(Message::AppendEntriesReply { term, result, .. }) = message
        else {
            return super::words::is_worth_telling(message);
        };
        match result {
            AppendResult::Matched(index) => {
                let said = (*term, *index);
                self.told.insert((from, to), said).is_none_or(|before| said > before)
            }
            AppendResult::Conflict { .. } => true,
            AppendResult::Stale => false,
        }
    }

    /// A leader has found that more is committed: says what it counted.
    pub fn tell_commit(&mut self, place: usize) {
        let node = &self.nodes[place];
        let Some(core) = node.core().filter(|_| self.story.is_wanted() && node.leads) else {
            return;
        };
        let (id, status) = (node.id, core.status());
        let at = status.commit_index;
        if self.commits.insert(id, at).is_none_or(|before| before >= at) {
            return;
        }
        let own = self.properties.mirror(id).map(|mirror| &mirror.held);
        let (Some(term), chain) = (own.and_then(|log| log.term(at)), own.and_then(|l| l.chain(at)))
        else {
            return;
        };
        let has = |other: &&NodeId| {
            let durable = self.properties.mirror(**other).map(|mirror| &mirror.durable);
            durable.is_some_and(|log| log.chain(at) == chain || log.is_covered(at))
        };
        let voters = &status.configuration.voters;
        let on: Vec<_> = voters.iter().filter(has).map(NodeId::to_string).collect();
        let old = match term == status.term {
            true => "",
            false => ", an entry of an EARLIER term than its own",
        };
        self.story.tell(self.now, || {
            format!("{id} commits {at}/{term}: it is on the disks of {}{old}", on.join(", "))
        });
    }

    /// Everybody's log, as `index/term` of its last entries.
    pub fn tell_logs(&mut self) {
        if !self.story.is_wanted() || self.story.ends_with(LOG) {
            return;
        }
        for place in 0..self.nodes.len() {
            let node = &self.nodes[place];
            let Some(mirror) = self.properties.mirror(node.id).filter(|_| node.born) else {
                continue;
            };
            let (log, down) = match node.is_up() {
                true => (&mirror.held, ""),
                false => (&mirror.durable, "  (down)"),
            };
            self.story.add(format!("{LOG}{}: {}{down}", node.id, entries(log)));
        }
    }
}

fn entries(log: &Log) -> String {
    let last = log.tail().index;
    let mut shown = Vec::new();
    let mut index = last;
    while let Some(term) = log.term(index).filter(|_| shown.len() < SHOWN && index.0 > 0) {
        shown.push(format!("{index}/{term}"));
        index = index.previous();
    }
    let more = if log.term(index).is_some() && index.0 > 0 { "… " } else { "" };
    shown.reverse();
    format!("{more}{}", shown.join(" "))
}

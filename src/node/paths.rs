//! The paths of requests that somebody follows, as this node sees them, for OpenTelemetry.
//!
//! ```text
//!   kvctl put                                                        the client's part
//!    └─ kvraft.write            node 2, a follower                   from its turn to the answer
//!        ├─ kvraft.relay        to the leader and back
//!        └─ kvraft.write        node 1, the leader
//!            ├─ kvraft.append   taken in, and handed to the log
//!            ├─ kvraft.disk     until it is on the leader's own disk
//!            ├─ kvraft.replicate  until a follower has it on its disk, one for each
//!            ├─ kvraft.commit   until a majority had it (paper §5.3)
//!            └─ kvraft.apply    from there until the state machine has answered
//! ```
//!
//! Nothing of that is told by the replica as it goes: after each turn its requests' stages and its
//! water marks (durable, match, commit) are looked at, and what has passed since the last turn
//! happened now. So times are as fine as turns are; a disk or a follower that answers after its
//! client was answered is not told. While nobody follows anything, it costs one look at an empty
//! list a turn.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use crate::consensus::raft::Raft;
use crate::observe::trace::export::{self, Side, Span};
use crate::replica::{Replica, Stage, Traced};
use crate::storage::Disk;
use crate::types::{LogIndex, NodeId, Term, Ticket, TraceContext};

/// See the [module](self).
#[derive(Debug)]
pub struct Paths {
    node: NodeId,
    open: BTreeMap<u64, Path>,
}

/// A request under way, and when it had come how far.
#[derive(Debug)]
struct Path {
    last: Traced,
    began: SystemTime,
    relayed: Option<(NodeId, SystemTime)>,
    proposed: Option<(LogIndex, Term, SystemTime)>,
    durable: Option<SystemTime>,
    replicated: BTreeMap<NodeId, SystemTime>,
    committed: Option<SystemTime>,
    confirming: Option<SystemTime>,
    confirmed: Option<SystemTime>,
}

impl Paths {
    /// Of `node`.
    pub fn new(node: NodeId) -> Paths {
        Paths { node, open: BTreeMap::new() }
    }

    /// After a turn that began then.
    pub fn turn<D: Disk>(&mut self, began: SystemTime, replica: &Replica<Raft, D>) {
        if !export::is_on() {
            return;
        }
        let traced = replica.traced();
        if traced.is_empty() && self.open.is_empty() {
            return;
        }
        let now = SystemTime::now();
        let under_way: BTreeSet<u64> = traced.iter().map(|it| it.own.span).collect();
        for traced in traced {
            let path = self.open.entry(traced.own.span).or_insert_with(|| Path::new(traced, began));
            path.goes_on(traced, now);
        }
        if self.open.values().any(|path| path.proposed.is_some()) {
            let status = replica.status().consensus;
            for path in self.open.values_mut() {
                // In another term another leader's entry may stand there.
                let reached = |mark: LogIndex| {
                    path.proposed.is_some_and(|(at, term, _)| mark >= at && status.term == term)
                };
                let durable = reached(status.durable_index);
                let committed = reached(status.commit_index);
                let has = status.peers.iter().filter(|(_, peer)| reached(peer.match_index));
                let has: Vec<NodeId> = has.map(|(node, _)| *node).collect();
                if durable {
                    path.durable.get_or_insert(now);
                }
                if committed {
                    path.committed.get_or_insert(now);
                }
                for node in has {
                    path.replicated.entry(node).or_insert(now);
                }
            }
        }
        let (node, mut over) = (self.node, Vec::new());
        self.open.retain(|span, path| {
            let goes_on = under_way.contains(span);
            if !goes_on {
                over.extend(path.spans(node, now));
            }
            goes_on
        });
        over.into_iter().for_each(export::tell);
    }
}

impl Path {
    fn new(last: Traced, began: SystemTime) -> Path {
        Path {
            last,
            began,
            relayed: None,
            proposed: None,
            durable: None,
            replicated: BTreeMap::new(),
            committed: None,
            confirming: None,
            confirmed: None,
        }
    }

    fn goes_on(&mut self, traced: Traced, now: SystemTime) {
        match traced.stage {
            Stage::Relayed { to, .. } => _ = self.relayed.get_or_insert((to, now)),
            Stage::Proposed { index, term } => {
                self.proposed.get_or_insert((index, term, now));
            }
            Stage::Confirming => _ = self.confirming.get_or_insert(now),
            Stage::Applying { .. } => _ = self.confirmed.get_or_insert(now),
            Stage::Waiting | Stage::Proposing | Stage::Deciding => {}
        }
        self.last = traced;
    }

    /// All that was seen of it, now that it is answered.
    fn spans(&self, node: NodeId, now: SystemTime) -> Vec<Span> {
        let own = self.last.own;
        let mut spans = Vec::new();
        let mut part = |name, side, from, to, attributes| {
            let own = own.child(spans.len() as u64 + 1);
            spans.push(Span { name, side, parent: Some(self.last.own), own, from, to, attributes });
        };
        if let Some((to, since)) = self.relayed {
            let attributes = vec![("kvraft.node", to.0)];
            part("kvraft.relay", Side::Client, since, now, attributes);
        }
        let mut attributes = vec![("kvraft.node", node.0)];
        if let Some((index, term, since)) = self.proposed {
            let place = [("kvraft.index", index.0), ("kvraft.term", term.0)];
            attributes.extend(place);
            part("kvraft.append", Side::Inside, self.began, since, Vec::new());
            if let Some(durable) = self.durable {
                part("kvraft.disk", Side::Inside, since, durable, vec![("kvraft.node", node.0)]);
            }
            for (node, had) in &self.replicated {
                let attributes = vec![("kvraft.node", node.0)];
                part("kvraft.replicate", Side::Inside, since, *had, attributes);
            }
            if let Some(committed) = self.committed {
                part("kvraft.commit", Side::Inside, since, committed, Vec::new());
                part("kvraft.apply", Side::Inside, committed, now, Vec::new());
            }
        }
        let confirmed = self.confirmed.unwrap_or(now);
        if let Some(since) = self.confirming {
            part("kvraft.confirm", Side::Inside, since, confirmed, Vec::new());
        }
        if self.confirmed.is_some() {
            part("kvraft.apply", Side::Inside, confirmed, now, Vec::new());
        }
        let name = if self.last.is_write { "kvraft.write" } else { "kvraft.read" };
        let (from, to, parent) = (self.began, now, Some(self.last.parent));
        spans.push(Span { name, side: Side::Server, parent, own, from, to, attributes });
        spans
    }
}

/// A linearizable read of etcd's API, which many may share a question to the majority for: from
/// when, and when it was known that what is here is new enough (dissertation §6.4).
pub fn read(node: NodeId, parent: Option<TraceContext>, from: SystemTime, confirmed: SystemTime) {
    let Some(parent) = parent.filter(|parent| parent.sampled && export::is_on()) else { return };
    let own = parent.part_of(node, Ticket(rand::random()));
    let inside = Span {
        name: "kvraft.confirm",
        side: Side::Inside,
        parent: Some(own),
        own: own.child(1),
        from,
        to: confirmed,
        attributes: Vec::new(),
    };
    let attributes = vec![("kvraft.node", node.0)];
    let (name, side, to) = ("kvraft.read", Side::Server, SystemTime::now());
    export::tell(inside);
    export::tell(Span { name, side, parent: Some(parent), own, from, to, attributes });
}

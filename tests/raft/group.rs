//! A group of cores on a table: every message and every write is moved by hand.
//!
//! After each step the core's own invariants are checked, and the safety properties of the paper's
//! figure 3 across the group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;

use bytes::Bytes;
use kvraft::consensus::raft::{HardState, Message, Raft};
use kvraft::consensus::{
    Config, Configuration, Consensus, Effect, Entry, Input, Payload, Persist, Proposal, Role,
    Saved, SnapshotMark,
};
use kvraft::types::{Instant, LogIndex, NodeId, Seq, Term, Ticket};

use crate::words;

type Outcome = Result<(), Box<dyn Error>>;

/// Cores, their disks, and the messages between them.
#[derive(Default)]
pub struct Group {
    now: Instant,
    disks_by_hand: bool,
    nodes: BTreeMap<NodeId, Node>,
    messages: VecDeque<(NodeId, NodeId, Message)>,
    /// Groups that can talk among themselves; none: all can.
    partition: Vec<BTreeSet<NodeId>>,
    told: String,
    /// Who led each term, ever (Election Safety).
    leaders: BTreeMap<Term, NodeId>,
    /// What was ever applied at each index, by anyone (State Machine Safety).
    applied: BTreeMap<LogIndex, Entry>,
    /// What was applied by anyone when each read arrived: no read may miss it.
    read_from: BTreeMap<Ticket, LogIndex>,
    /// Reads served so far, for those who want to be sure that some were.
    pub served: u64,
}

struct Node {
    /// None: crashed.
    raft: Option<Raft>,
    disk: Disk,
    /// Messages that wait for a write.
    held: Vec<(Seq, NodeId, Message)>,
    restarts: u64,
}

/// What a node's disk holds, and what it has been asked to write.
#[derive(Default)]
struct Disk {
    hard_state: HardState,
    log: Vec<Entry>,
    writing: VecDeque<Persist<HardState>>,
}

impl Disk {
    fn finish_one(&mut self) -> Option<Seq> {
        let write = self.writing.pop_front()?;
        if let Some(from) = write.truncate_from {
            self.log.truncate(from.0 as usize - 1);
        }
        self.log.extend(write.entries);
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        Some(write.seq)
    }

    fn saved(&self) -> Saved<Raft> {
        let mut term_runs: Vec<(LogIndex, Term)> = Vec::new();
        let mut configurations = Vec::new();
        for entry in &self.log {
            if term_runs.last().is_none_or(|run| run.1 != entry.term) {
                term_runs.push((entry.index, entry.term));
            }
            if let Payload::Configuration(configuration) = &entry.payload {
                configurations.push((entry.index, configuration.clone()));
            }
        }
        Saved {
            hard_state: self.hard_state.clone(),
            snapshot: SnapshotMark::default(),
            log_start: (LogIndex(0), Term(0)),
            configurations,
            term_runs,
            last_index: LogIndex(self.log.len() as u64),
        }
    }
}

impl Group {
    /// `size` new nodes. `logs` gives them a past: for each node the terms of its entries after the
    /// first, such as `2,2|2|3`.
    pub fn new(
        size: u64,
        disks_by_hand: bool,
        logs: Option<&str>,
    ) -> Result<Group, Box<dyn Error>> {
        let voters: BTreeSet<NodeId> = (1..=size).map(NodeId).collect();
        let configuration = Configuration { voters, ..Configuration::default() };
        let mut group = Group { disks_by_hand, ..Group::default() };
        let logs: Vec<&str> = logs.map(|logs| logs.split('|').collect()).unwrap_or_default();
        for id in 1..=size {
            let payload = Payload::Configuration(configuration.clone());
            let mut log = vec![Entry { term: Term(1), index: LogIndex(1), payload }];
            let past = logs.get(id as usize - 1).copied().unwrap_or_default();
            for term in past.split(',').filter(|term| !term.is_empty()) {
                let index = LogIndex(log.len() as u64 + 1);
                let payload = Payload::Command(Bytes::from(format!("old{index}")));
                log.push(Entry { term: Term(term.parse()?), index, payload });
            }
            let disk = Disk { log, ..Disk::default() };
            let node = Node { raft: None, disk, held: Vec::new(), restarts: 0 };
            group.nodes.insert(NodeId(id), node);
            group.start(NodeId(id));
        }
        Ok(group)
    }

    fn start(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let config = Config::new(id, id.0 * 1000 + node.restarts);
        node.raft = Some(Raft::recover(self.now, config, node.disk.saved()));
    }

    /// What happened since this was last asked.
    pub fn told(&mut self) -> String {
        std::mem::take(&mut self.told)
    }

    fn tell(&mut self, line: String) {
        self.told.push_str(&line);
        self.told.push('\n');
    }

    pub fn campaign(&mut self, id: NodeId) -> Outcome {
        self.step(id, Input::Campaign)
    }

    pub fn propose(&mut self, id: NodeId, ticket: Ticket, command: &str) -> Outcome {
        let command = Bytes::copy_from_slice(command.as_bytes());
        self.step(id, Input::Propose(vec![Proposal { ticket, command }]))
    }

    pub fn read(&mut self, id: NodeId, ticket: Ticket) -> Outcome {
        let applied = self.applied.keys().next_back().copied().unwrap_or_default();
        self.read_from.insert(ticket, applied);
        self.step(id, Input::Read { ticket })
    }

    /// Lets time pass in steps of ten milliseconds; everyone's deadlines come as they fall.
    pub fn elapse(&mut self, millis: u64) -> Outcome {
        for _ in 0..millis / 10 {
            self.now = self.now + std::time::Duration::from_millis(10);
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                let raft = self.nodes[&id].raft.as_ref();
                let due = raft.and_then(Raft::next_deadline).is_some_and(|due| due <= self.now);
                if due {
                    self.step(id, Input::Elapsed)?;
                }
            }
        }
        Ok(())
    }

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

    pub fn heal(&mut self) {
        self.partition.clear();
    }

    /// The disk of `id` finishes everything it was asked to write.
    pub fn persist(&mut self, id: NodeId) -> Outcome {
        while self.persist_one(id)? {}
        Ok(())
    }

    /// The disk of `id` finishes its oldest write, if there is one.
    pub fn persist_one(&mut self, id: NodeId) -> Result<bool, Box<dyn Error>> {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(false) };
        let Some(seq) = node.disk.finish_one() else { return Ok(false) };
        let held = std::mem::take(&mut node.held);
        let (ready, waiting): (Vec<_>, Vec<_>) = held.into_iter().partition(|held| held.0 <= seq);
        node.held = waiting;
        for (_, to, message) in ready {
            self.post(id, to, message);
        }
        self.step(id, Input::Persisted { seq })?;
        Ok(true)
    }

    /// `id` dies, and what its disk had not finished is gone.
    pub fn crash(&mut self, id: NodeId) -> Outcome {
        let node = self.nodes.get_mut(&id).ok_or("no such node")?;
        node.raft = None;
        node.held.clear();
        node.disk.writing.clear();
        Ok(())
    }

    pub fn restart(&mut self, id: NodeId) -> Outcome {
        self.nodes.get_mut(&id).ok_or("no such node")?.restarts += 1;
        self.start(id);
        Ok(())
    }

    /// Handles the message that is at `place` in the queue: others stay.
    pub fn deliver_at(&mut self, place: usize) -> Outcome {
        let Some((from, to, message)) = self.messages.remove(place) else { return Ok(()) };
        self.step(to, Input::Receive { from, message })
    }

    pub fn messages(&self) -> usize {
        self.messages.len()
    }

    pub fn node_ids(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    pub fn is_up(&self, id: NodeId) -> bool {
        self.nodes.get(&id).is_some_and(|node| node.raft.is_some())
    }

    /// Who leads the newest term that has a leader.
    pub fn leader(&self) -> Option<NodeId> {
        let rafts = self.nodes.values().filter_map(|node| node.raft.as_ref());
        let leaders = rafts.map(Raft::status).filter(|status| status.role == Role::Leader);
        leaders.max_by_key(|status| status.term).map(|status| status.id)
    }

    /// How far each node has applied.
    pub fn applied_by_all(&self) -> LogIndex {
        let rafts = self.nodes.values().map(|node| node.raft.as_ref());
        let applied = rafts.map(|raft| raft.map_or(LogIndex(0), |r| r.status().applied_index));
        applied.min().unwrap_or_default()
    }

    pub fn last_applied(&self) -> LogIndex {
        self.applied.keys().next_back().copied().unwrap_or_default()
    }

    fn post(&mut self, from: NodeId, to: NodeId, message: Message) {
        let cut = |group: &BTreeSet<NodeId>| group.contains(&from) != group.contains(&to);
        if !self.partition.iter().any(cut) {
            self.messages.push_back((from, to, message));
        }
    }

    /// Steps a core, checks that it kept its promises, and does what it asks.
    fn step(&mut self, id: NodeId, input: Input<Raft>) -> Outcome {
        let now = self.now;
        let node = self.nodes.get_mut(&id).ok_or("no such node")?;
        let Some(raft) = &mut node.raft else { return Ok(()) };
        let (before, checkpoint) = (raft.status(), raft.checkpoint());
        let mut twin = raft.clone();
        let effects = raft.step(now, input.clone());
        assert_eq!(twin.step(now, input), effects, "a core is deterministic");
        assert!(twin == *raft);
        raft.assert_invariants(&checkpoint);
        let after = raft.status();
        if (before.role, before.term) != (after.role, after.term) {
            self.tell(format!("{id} is {} of term {}", after.role, after.term));
        }
        if after.role == Role::Leader {
            let leader = *self.leaders.entry(after.term).or_insert(id);
            assert_eq!(leader, id, "one leader a term (Election Safety)");
        }
        for effect in effects {
            self.carry_out(id, effect)?;
        }
        self.assert_log_matching();
        Ok(())
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect<Raft>) -> Outcome {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        match effect {
            Effect::Persist(write) => {
                node.disk.writing.push_back(write);
                if !self.disks_by_hand {
                    self.persist(id)?;
                }
            }
            Effect::Send { to, message, after } => {
                let durable = node
                    .disk
                    .writing
                    .front()
                    .is_none_or(|first| after.is_none_or(|after| after < first.seq));
                match after {
                    Some(seq) if !durable => node.held.push((seq, to, message)),
                    _ => self.post(id, to, message),
                }
            }
            Effect::Apply { entries, .. } => {
                let words: Vec<_> = entries.iter().map(words::entry).collect();
                let index = entries.last().map(|entry| entry.index).ok_or("applies nothing")?;
                for entry in entries {
                    let known = self.applied.entry(entry.index).or_insert(entry.clone());
                    assert_eq!(*known, entry, "all apply the same (State Machine Safety)");
                }
                self.tell(format!("{id} applies {}", words.join(", ")));
                self.step(id, Input::Applied { index })?;
            }
            Effect::ReadLog { from, to, .. } => {
                // What is being written can be read as well.
                let mut log = node.disk.log.clone();
                for write in &node.disk.writing {
                    log.truncate(write.truncate_from.map_or(log.len(), |from| from.0 as usize - 1));
                    log.extend(write.entries.iter().cloned());
                }
                let entries = log[from.0 as usize - 1..to.0 as usize].to_vec();
                self.step(id, Input::LogRead { from, entries })?;
            }
            Effect::Accepted { ticket, index, term } => {
                self.tell(format!("{id} takes request {ticket} as entry {index}/{term}"));
            }
            Effect::ServeRead { ticket, at } => {
                assert!(at >= self.read_from[&ticket], "read {ticket} is stale");
                self.served += 1;
                self.tell(format!("{id} serves read {ticket} at {at}"));
            }
            Effect::Refuse { ticket, why } => {
                self.tell(format!("{id} refuses request {ticket}: {why:?}"));
            }
            Effect::ReadSnapshot { .. }
            | Effect::WriteSnapshot { .. }
            | Effect::InstallSnapshot { .. }
            | Effect::Compact { .. } => {}
            Effect::PeerRejected { from, why } => {
                self.tell(format!("{id} rejects a message of {from}: {why}"));
            }
        }
        Ok(())
    }

    /// If two logs hold an entry of the same index and term, they are equal up to it (figure 3).
    fn assert_log_matching(&self) {
        let logs: Vec<&Vec<Entry>> = self.nodes.values().map(|node| &node.disk.log).collect();
        for (i, a) in logs.iter().enumerate() {
            for b in &logs[i + 1..] {
                let agree = a.iter().zip(b.iter()).rposition(|(a, b)| a.term == b.term);
                if let Some(last) = agree {
                    assert_eq!(a[..=last], b[..=last], "Log Matching");
                }
            }
        }
    }

    /// One line a node.
    pub fn tell_status(&mut self) {
        let lines: Vec<String> = self.nodes.iter().map(|(id, node)| status(*id, node)).collect();
        for line in lines {
            self.tell(line);
        }
    }

    pub fn tell_messages(&mut self) {
        let lines: Vec<String> = self
            .messages
            .iter()
            .map(|(from, to, message)| format!("{from} → {to}: {}", words::message(message)))
            .collect();
        for line in lines {
            self.tell(line);
        }
    }
}

fn status(id: NodeId, node: &Node) -> String {
    let terms: Vec<_> = node.disk.log.iter().map(|entry| entry.term.to_string()).collect();
    let log = terms.join(" ");
    let Some(raft) = &node.raft else { return format!("{id} crashed    disk [{log}]") };
    let status = raft.status();
    let vote = status.voted_for.map_or("-".to_owned(), |id| id.to_string());
    let role = status.role.to_string();
    format!(
        "{id} {role:9}  term {} vote {vote}  last {} commit {}  disk [{log}]",
        status.term, status.last_index, status.commit_index
    )
}

//! A group of cores on a table: every message and every write is moved by hand.
//!
//! After each step the core's own invariants are checked, and the safety properties of the paper's
//! figure 3 across the group.

mod network;
mod properties;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::error::Error;

use bytes::Bytes;
use kvraft::consensus::raft::{HardState, Message, Raft};
use kvraft::consensus::{
    Change, Config, Configuration, Consensus, Effect, Entry, Input, Lease, Payload, Persist,
    Proposal, Role, SnapshotMark,
};
use kvraft::museum::Bugs;
use kvraft::types::{Instant, LogIndex, NodeId, Seq, Term, Ticket};

use crate::disk::{Disk, Log, Received};
use crate::words;

type Outcome = Result<(), Box<dyn Error>>;

/// How the cores of a group are set up.
#[derive(Clone, Copy, Default)]
pub struct Setup {
    /// Writes wait until somebody says that they are done.
    pub disks_by_hand: bool,
    /// Reads may rest on leases.
    pub leases: bool,
    /// Entries that stay in the log although a snapshot covers them.
    pub keep_entries: u64,
    /// Bytes of a snapshot in one message; none: ten.
    pub chunk: Option<usize>,
    pub bugs: Bugs,
}

/// Cores, their disks, and the messages between them.
#[derive(Default)]
pub struct Group {
    now: Instant,
    setup: Setup,
    nodes: BTreeMap<NodeId, Node>,
    messages: VecDeque<(NodeId, NodeId, Message)>,
    /// What the network keeps for later.
    kept_back: Vec<(NodeId, NodeId, Message)>,
    /// Groups that can talk among themselves; none: all can.
    partition: Vec<BTreeSet<NodeId>>,
    /// Links that carry nothing, one way each.
    cuts: BTreeSet<(NodeId, NodeId)>,
    told: String,
    /// Who led each term, ever (Election Safety).
    leaders: BTreeMap<Term, NodeId>,
    /// What was ever applied at each index, by anyone (State Machine Safety).
    applied: BTreeMap<LogIndex, Entry>,
    /// The snapshots that anyone took, ever.
    snapshots: BTreeMap<LogIndex, SnapshotMark>,
    /// What was applied by anyone when each read arrived: no read may miss it.
    read_from: BTreeMap<Ticket, LogIndex>,
    /// Reads served so far, for those who want to be sure that some were.
    pub served: u64,
    /// Snapshots installed so far, likewise, and changes of membership that ended.
    pub installed: u64,
    pub changed: u64,
}

struct Node {
    /// None: crashed.
    raft: Option<Raft>,
    disk: Disk,
    /// Messages that wait for a write.
    held: Vec<(Seq, NodeId, Message)>,
    restarts: u64,
}

impl Group {
    /// `size` new nodes. `logs` gives them a past: for each node the terms of its entries after the
    /// first, such as `2,2|2|3`.
    pub fn new(size: u64, setup: Setup, logs: Option<&str>) -> Result<Group, Box<dyn Error>> {
        let voters: BTreeSet<NodeId> = (1..=size).map(NodeId).collect();
        let configuration = Configuration { voters, ..Configuration::default() };
        let mut group = Group { setup, ..Group::default() };
        let logs: Vec<&str> = logs.map(|logs| logs.split('|').collect()).unwrap_or_default();
        for id in 1..=size {
            let payload = Payload::Configuration(configuration.clone());
            let mut log = vec![Entry { term: Term(1), index: LogIndex(1), payload }];
            let past = logs.get(id as usize - 1).copied().unwrap_or_default();
            for term in past.split(',').filter(|term| !term.is_empty()) {
                let index = LogIndex(log.len() as u64 + 1);
                let payload = Payload::Command(Bytes::from(format!("old{index}-t{term}")));
                log.push(Entry { term: Term(term.parse()?), index, payload });
            }
            let log = Log { entries: log, ..Log::default() };
            group.add(NodeId(id), Disk { log, ..Disk::default() });
        }
        Ok(group)
    }

    fn add(&mut self, id: NodeId, disk: Disk) {
        self.nodes.insert(id, Node { raft: None, disk, held: Vec::new(), restarts: 0 });
        self.start(id);
    }

    /// A new node with an empty disk, which waits for a leader to find it.
    pub fn join(&mut self, id: NodeId) {
        self.add(id, Disk::default());
    }

    fn start(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Setup { leases, keep_entries, chunk, bugs, .. } = self.setup;
        let clock_error = std::time::Duration::from_millis(10);
        let config = Config {
            lease: leases.then_some(Lease { clock_error }),
            keep_entries,
            snapshot_chunk_bytes: chunk.unwrap_or(10),
            bugs,
            ..Config::new(id, id.0 * 1000 + node.restarts)
        };
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

    pub fn transfer(&mut self, id: NodeId, ticket: Ticket, to: Option<NodeId>) -> Outcome {
        self.step(id, Input::Transfer { ticket, to })
    }

    pub fn change(&mut self, id: NodeId, ticket: Ticket, changes: Vec<Change>) -> Outcome {
        self.step(id, Input::ChangeMembership { ticket, changes })
    }

    /// `id` takes a snapshot of what it has applied, if it has anything new that is durable.
    pub fn snapshot(&mut self, id: NodeId) -> Outcome {
        let node = self.nodes.get_mut(&id).ok_or("no such node")?;
        let Some(raft) = &node.raft else { return Ok(()) };
        let status = raft.status();
        let index = status.applied_index.min(status.durable_index);
        let log = node.disk.effective_log();
        let Some(term) = log.get(index).map(|e| e.term) else { return Ok(()) };
        if index <= status.snapshot_index {
            return Ok(());
        }
        // The members as of then, as this node's log has them; everyone's must say the same.
        let before = log.entries.iter().filter(|e| e.index <= index);
        let newest = before.rev().find_map(|entry| match &entry.payload {
            Payload::Configuration(configuration) => Some(configuration.clone()),
            _ => None,
        });
        let configuration = newest.unwrap_or_else(|| log.snapshot.configuration.clone());
        let mark = SnapshotMark { index, term, configuration };
        let known = self.snapshots.entry(index).or_insert_with(|| mark.clone());
        assert_eq!(*known, mark, "all take the same snapshot");
        node.disk.snapshots.insert(index, mark);
        self.tell(format!("{id} takes a snapshot of {index}/{term}"));
        self.step(id, Input::SnapshotSaved { index })
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

    /// Time passes, and every message that may arrive does so within ten milliseconds.
    pub fn run(&mut self, millis: u64) -> Outcome {
        for _ in 0..millis / 10 {
            self.elapse(10)?;
            self.deliver_all()?;
        }
        Ok(())
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
        node.disk.crash();
        Ok(())
    }

    pub fn restart(&mut self, id: NodeId) -> Outcome {
        self.nodes.get_mut(&id).ok_or("no such node")?.restarts += 1;
        self.start(id);
        Ok(())
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

    /// How far each member has applied, in the leader's eyes of who they are.
    pub fn applied_by_all_members(&self) -> LogIndex {
        let status = |id: &NodeId| self.nodes.get(id)?.raft.as_ref().map(Raft::status);
        let Some(leader) = self.leader().and_then(|id| status(&id)) else { return LogIndex(0) };
        let members = leader.configuration.members();
        let applied = members.iter().map(|id| status(id).map_or(LogIndex(0), |s| s.applied_index));
        applied.min().unwrap_or_default()
    }

    pub fn last_applied(&self) -> LogIndex {
        self.applied.keys().next_back().copied().unwrap_or_default()
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
        let (committed, members) = (after.commit_index, after.configuration.clone());
        if (before.role, before.term) != (after.role, after.term) {
            self.tell(format!("{id} is {} of term {}", after.role, after.term));
        }
        if after.role == Role::Leader {
            let leader = *self.leaders.entry(after.term).or_insert(id);
            assert_eq!(leader, id, "one leader a term (Election Safety)");
            if before.role != Role::Leader {
                self.assert_leader_completeness(id);
            }
        }
        let removes = |effect: &Effect<Raft>| match effect {
            Effect::Persist(write) => write.truncate_from.is_some() || write.snapshot.is_some(),
            _ => false,
        };
        let removed = effects.iter().any(removes);
        if let Some(Effect::Persist(write)) = effects.first() {
            self.write(id, write.clone());
        }
        if removed {
            self.assert_members_stand_in_the_log(id, &members);
            self.assert_committed_is_in_the_log(id, committed);
        }
        for effect in effects {
            self.carry_out(id, effect)?;
        }
        self.assert_log_matching();
        Ok(())
    }

    fn write(&mut self, id: NodeId, write: Persist<HardState>) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.disk.writing.push_back(write);
        }
    }

    fn carry_out(&mut self, id: NodeId, effect: Effect<Raft>) -> Outcome {
        let Some(node) = self.nodes.get_mut(&id) else { return Ok(()) };
        match effect {
            Effect::Persist(_) if self.setup.disks_by_hand => {}
            Effect::Persist(_) => self.persist(id)?,
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
                    if let Payload::Configuration(configuration) = &entry.payload {
                        self.changed += u64::from(configuration.outgoing.is_empty());
                    }
                    let known = self.applied.entry(entry.index).or_insert(entry.clone());
                    assert_eq!(*known, entry, "all apply the same (State Machine Safety)");
                }
                self.tell(format!("{id} applies {}", words.join(", ")));
                self.step(id, Input::Applied { index })?;
            }
            Effect::ReadLog { from, to, .. } => {
                // What is being written can be read as well.
                let entries = node.disk.effective_log().read(from, to);
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
            Effect::ReadSnapshot { to, index, offset, max_bytes } => {
                let chunk = node.disk.read_snapshot(index, offset, max_bytes);
                self.step(id, Input::SnapshotRead { to, index, offset, chunk })?;
            }
            Effect::WriteSnapshot { index, term, offset, chunk } => {
                let mark = self.snapshots.get(&index).ok_or("nobody took that snapshot")?.clone();
                assert_eq!(mark.term, term);
                let answer = match node.disk.receive(mark.clone(), offset, chunk) {
                    Received::Part { bytes } => Input::SnapshotWritten { index, bytes },
                    Received::Whole => Input::SnapshotReceived { snapshot: mark },
                    Received::Rejected => Input::SnapshotRejected { index },
                };
                self.step(id, answer)?;
            }
            Effect::InstallSnapshot { index } => {
                assert!(node.disk.snapshots.contains_key(&index));
                self.installed += 1;
                self.tell(format!("{id} installs the snapshot of {index}"));
            }
            Effect::Compact { to } => {
                node.disk.compact(to);
                self.tell(format!("{id} forgets entries up to {to}"));
            }
            Effect::PeerRejected { from, why } => {
                self.tell(format!("{id} rejects a message of {from}: {why}"));
            }
        }
        Ok(())
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
    let entries = &node.disk.log.entries;
    let mut terms: Vec<_> = entries.iter().map(|entry| entry.term.to_string()).collect();
    let (start, term) = node.disk.log.start;
    if start > LogIndex(0) {
        terms.insert(0, format!("…{start}/{term}"));
    }
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

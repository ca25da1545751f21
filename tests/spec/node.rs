//! One node: the real core, its disk, and the state machine; and one thing that happens to it.
//!
//! Everything here is a function: the same node to which the same thing happens becomes the same
//! node and says the same. So the explorer asks once and remembers.
//!
//! What happens inside a node without anyone outside noticing happens at once: entries are applied
//! as they are committed, the log is read as it is asked for. With a disk that is instant, writes
//! are done as they are asked for, too; else each is a step of its own, since a crash may come
//! before it.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use bytes::Bytes;
use kvraft::consensus::raft::canonical::NOW;
use kvraft::consensus::raft::{Message, Raft};
use kvraft::consensus::{
    Change, Chunk, Config, Consensus, Effect, Entry, Input, Proposal, Role, SnapshotMark,
};
use kvraft::museum::Bugs;
use kvraft::types::{Instant, LogIndex, NodeId, Seq, Term, Ticket};

use crate::disk::{Disk, Log, Snapshot};

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    pub raft: Raft,
    pub disk: Disk,
    /// Messages that wait for a write.
    pub held: Vec<(Seq, NodeId, Message)>,
    /// All that was applied, in order.
    pub machine: Vec<Entry>,
    /// Counted only where reads are explored, whose questions name the life of their node.
    pub restarts: u64,
}

/// How nodes are set up; the same for all, and for the whole of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Setup {
    /// Each write is a step of its own.
    pub slow_disks: bool,
    /// Commands of more than so many bytes travel alone.
    pub max_message_bytes: Option<usize>,
    pub counts_restarts: bool,
    /// Only the harm that a bug does counts: the core's own invariants are not asked, and a node
    /// that stops itself has done none.
    pub harm_only: bool,
    pub bugs: Bugs,
}

/// What may happen to a node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    Receive {
        from: NodeId,
        message: Message,
    },
    /// Its disk finishes the oldest write.
    Persist,
    /// It loses what is not on its disk, and starts again.
    Crash,
    /// It stands for election.
    Campaign,
    /// Its clock says `NOW`, `LATE` or `FAR`.
    Clock(Instant),
    Propose(u64),
    Read(Ticket),
    Change(Vec<Change>),
    TakeSnapshot,
}

/// What became of it.
#[derive(Clone, Debug)]
pub struct Outcome {
    pub node: Node,
    pub sent: Vec<(NodeId, Message)>,
    pub served: Vec<(Ticket, LogIndex)>,
    pub refused: Vec<Ticket>,
    pub accepted: bool,
    /// A member said what no correct member says, or an invariant of the core's own is broken.
    pub broken: Option<String>,
}

/// What properties judge: the node without how it got there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub id: NodeId,
    pub role: Role,
    pub term: Term,
    /// As the core holds it, on disk or on its way there.
    pub log: Log,
    pub machine: Vec<Entry>,
    /// The disk has something to write.
    pub writes: bool,
    /// It may stand for election.
    pub may_stand: bool,
    /// The term that no crash takes back.
    pub durable_term: Term,
    pub knows_leader: bool,
}

impl Node {
    pub fn new(id: NodeId, setup: &Setup, disk: Disk) -> Node {
        let mut node = Node {
            raft: recover(id, setup, &disk, 0),
            machine: Vec::new(),
            held: Vec::new(),
            disk,
            restarts: 0,
        };
        node.settle();
        node
    }

    pub fn facts(&self) -> Facts {
        let status = self.raft.status();
        Facts {
            id: status.id,
            role: status.role,
            term: status.term,
            log: self.disk.effective_log(),
            machine: self.machine.clone(),
            writes: !self.disk.writing.is_empty(),
            may_stand: !matches!(status.role, Role::Leader | Role::Learner),
            durable_term: self.disk.hard_state.term,
            knows_leader: status.leader.is_some(),
        }
    }

    /// Forgets what cannot matter, and counts writes from the last one done.
    fn settle(&mut self) {
        let placeholder = recover(NodeId(1), &Setup::default(), &Disk::default(), 0);
        let (raft, done) = std::mem::replace(&mut self.raft, placeholder).canonical();
        self.raft = raft;
        self.disk.writing.iter_mut().for_each(|write| write.seq.0 -= done.0);
        self.held.iter_mut().for_each(|held| held.0.0 -= done.0);
    }
}

fn recover(id: NodeId, setup: &Setup, disk: &Disk, life: u64) -> Raft {
    let defaults = Config::new(id, id.0 * 1000 + life);
    let longest = Duration::from_millis(300);
    let config = Config {
        election_timeout: longest..longest,
        max_message_bytes: setup.max_message_bytes.unwrap_or(defaults.max_message_bytes),
        keep_entries: 0,
        bugs: setup.bugs,
        ..defaults
    };
    Raft::recover(NOW, config, disk.saved())
}

/// Snapshots under way between nodes: a chunk holds the place of its snapshot in here.
#[derive(Default)]
pub struct Library(Vec<Arc<Snapshot>>);

impl Library {
    fn chunk(&mut self, snapshot: &Snapshot) -> Chunk {
        let known = self.0.iter().position(|known| **known == *snapshot);
        let place = known.unwrap_or_else(|| {
            self.0.push(Arc::new(snapshot.clone()));
            self.0.len() - 1
        });
        Chunk { data: Bytes::copy_from_slice(&(place as u64).to_le_bytes()), done: true }
    }

    fn snapshot(&self, chunk: &Chunk) -> Option<Arc<Snapshot>> {
        let place = u64::from_le_bytes(chunk.data.as_ref().try_into().ok()?);
        self.0.get(place as usize).cloned()
    }
}

/// What becomes of `node` if `event` happens to it.
pub fn happen(node: &Node, event: &Event, setup: &Setup, library: &mut Library) -> Outcome {
    let mut step = Step {
        outcome: Outcome {
            node: node.clone(),
            sent: Vec::new(),
            served: Vec::new(),
            refused: Vec::new(),
            accepted: false,
            broken: None,
        },
        setup,
        library,
        now: if let Event::Clock(now) = event { *now } else { NOW },
    };
    // A mutant, or a bug of ours, breaks an assertion of the core's: that is a finding.
    quieten();
    QUIET.set(true);
    let lived = catch_unwind(AssertUnwindSafe(|| step.happens(event)));
    QUIET.set(false);
    let Step { mut outcome, .. } = step;
    match lived {
        Ok(()) => outcome.node.settle(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            outcome.broken = Some(text.unwrap_or_else(|| "it panics".into()));
            outcome.node = node.clone();
        }
    }
    outcome
}

thread_local! {
    /// What panics now is a finding, and told as one.
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

fn quieten() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
}

struct Step<'a> {
    outcome: Outcome,
    setup: &'a Setup,
    library: &'a mut Library,
    now: Instant,
}

impl Step<'_> {
    fn happens(&mut self, event: &Event) {
        let node = &mut self.outcome.node;
        match event {
            Event::Receive { from, message } => {
                self.input(Input::Receive { from: *from, message: message.clone() });
            }
            Event::Persist => self.persist_one(),
            Event::Crash => {
                let Node { raft, disk, held, machine, restarts } = node;
                disk.crash();
                held.clear();
                *restarts += u64::from(self.setup.counts_restarts);
                machine.clear();
                if let Some(snapshot) = disk.snapshot(disk.log.mark.index) {
                    machine.clone_from(&snapshot.machine);
                }
                *raft = recover(raft.status().id, self.setup, disk, *restarts);
            }
            Event::Campaign => self.input(Input::Campaign),
            Event::Clock(_) => self.input(Input::Elapsed),
            Event::Propose(n) => {
                let command = Bytes::from(format!("c{n}"));
                let proposal = Proposal { ticket: Ticket(1000 + n), command };
                self.input(Input::Propose(vec![proposal]));
            }
            Event::Read(ticket) => self.input(Input::Read { ticket: *ticket }),
            Event::Change(changes) => {
                let changes = changes.clone();
                self.input(Input::ChangeMembership { ticket: Ticket(2000), changes });
            }
            Event::TakeSnapshot => self.take_snapshot(),
        }
        if !self.setup.slow_disks {
            while !self.outcome.node.disk.writing.is_empty() {
                self.persist_one();
            }
        }
    }

    fn persist_one(&mut self) {
        let node = &mut self.outcome.node;
        let Some(seq) = node.disk.finish_one() else { return };
        let (ready, waiting) = std::mem::take(&mut node.held).into_iter().partition(|h| h.0 <= seq);
        node.held = waiting;
        let ready: Vec<(Seq, NodeId, Message)> = ready;
        self.outcome.sent.extend(ready.into_iter().map(|(_, to, message)| (to, message)));
        self.input(Input::Persisted { seq });
    }

    fn take_snapshot(&mut self) {
        let Node { raft, disk, machine, .. } = &mut self.outcome.node;
        let status = raft.status();
        let index = status.applied_index.min(status.durable_index);
        let log = disk.effective_log();
        let Some(term) = log.get(index).map(|entry| entry.term) else { return };
        if index <= status.snapshot_index {
            return;
        }
        let mark = SnapshotMark { index, term, configuration: log.members_at(index) };
        disk.keep(Snapshot { mark, machine: machine[..index.0 as usize].to_vec() });
        self.input(Input::SnapshotSaved { index });
    }

    fn input(&mut self, input: Input<Raft>) {
        let raft = &mut self.outcome.node.raft;
        let before = raft.checkpoint();
        let effects = raft.step(self.now, input);
        if !self.setup.harm_only {
            raft.assert_invariants(&before);
        }
        for effect in effects {
            self.carry_out(effect);
        }
    }

    fn carry_out(&mut self, effect: Effect<Raft>) {
        let Outcome { node, sent, served, refused, accepted, broken } = &mut self.outcome;
        match effect {
            Effect::Persist(write) => node.disk.writing.push_back(write),
            Effect::Send { to, message, after } => {
                let under_way = node.disk.writing.front().map(|write| write.seq);
                match after {
                    Some(seq) if under_way.is_some_and(|first| first <= seq) => {
                        node.held.push((seq, to, message));
                    }
                    _ => sent.push((to, message)),
                }
            }
            Effect::Apply { entries, .. } => {
                let Some(index) = entries.last().map(|entry| entry.index) else { return };
                node.machine.extend(entries);
                self.input(Input::Applied { index });
            }
            Effect::ReadLog { from, to, .. } => {
                let entries = node.disk.effective_log().read(from, to);
                self.input(Input::LogRead { from, entries });
            }
            Effect::ServeRead { ticket, at } => served.push((ticket, at)),
            Effect::Accepted { .. } => *accepted = true,
            Effect::Refuse { ticket, .. } => refused.push(ticket),
            Effect::ReadSnapshot { to, index, offset, .. } => {
                let snapshot = node.disk.snapshot(index);
                let chunk = snapshot.map(|snapshot| self.library.chunk(snapshot));
                self.input(Input::SnapshotRead { to, index, offset, chunk });
            }
            Effect::WriteSnapshot { index, term, chunk, .. } => {
                let Some(snapshot) = self.library.snapshot(&chunk) else {
                    panic!("a snapshot that nobody took")
                };
                let mark = snapshot.mark.clone();
                assert_eq!((mark.index, mark.term), (index, term));
                node.disk.keep((*snapshot).clone());
                self.input(Input::SnapshotReceived { snapshot: mark });
            }
            Effect::InstallSnapshot { index } => {
                let Some(snapshot) = node.disk.snapshot(index) else {
                    panic!("installs what is not there")
                };
                node.machine = snapshot.machine.clone();
            }
            Effect::Compact { to } => node.disk.compact(to),
            Effect::PeerRejected { from, why } => {
                *broken =
                    Some(format!("it refuses what node {from}, a correct member, says: {why}"));
            }
        }
    }
}

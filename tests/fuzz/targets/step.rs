//! The core's one door: a node among peers that say anything at all.
//!
//! The bytes are a script: what the node is told next, and in what words. Most numbers lie near
//! what the node believes, so that a lie is close enough to the truth to get somewhere: votes in
//! its term, acknowledgements of entries that it has, entries that almost follow.
//!
//! What must hold whatever the peers say: the core never panics, its invariants hold after every
//! step, and what it asks of its disk can be done. (That it keeps its promises to others is not
//! asked: with a majority of liars there are none to keep.)

use std::collections::VecDeque;

use bytes::Bytes;
use kvraft::consensus::raft::{AppendResult, Message, Raft, ReadContext, SnapshotResult};
use kvraft::consensus::{
    Change, Checkpoint, Chunk, Config, Configuration, Consensus, Effect, Entry, Input, Lease,
    Payload, Proposal, Role, SnapshotMark,
};
use kvraft::types::{Instant, LogIndex, NodeId, Term, Ticket};

use super::script::Script;
use crate::disk::{Disk, Log, Snapshot};

pub fn run(data: &[u8]) {
    live(data);
}

/// How far a life got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    pub led: bool,
    pub committed_as_leader: bool,
    pub followed: bool,
    pub truncated: bool,
    pub installed: bool,
    pub compacted: bool,
    pub members_changed: bool,
    pub served: bool,
}

/// Lives as `data` says.
pub fn live(data: &[u8]) -> Reached {
    let mut script = Script(data);
    let mut life = Life::new(&mut script);
    while !script.is_over() {
        life.live(&mut script);
    }
    life.reached
}

/// One node, and what it waits for.
struct Life {
    raft: Raft,
    config: Config,
    disk: Disk,
    now: Instant,
    tickets: u64,
    /// What the disk and the state machine have been asked, oldest first.
    waiting: VecDeque<Effect<Raft>>,
    applied: LogIndex,
    reached: Reached,
}

impl Life {
    fn new(script: &mut Script<'_>) -> Life {
        let options = script.byte();
        let clock_error = std::time::Duration::from_millis(10);
        let config = Config {
            lease: (options & 1 == 1).then_some(Lease { clock_error }),
            keep_entries: u64::from(options >> 1 & 3),
            max_message_bytes: if options & 8 == 0 { 1 << 20 } else { 4 },
            cache_bytes: if options & 16 == 0 { 1 << 20 } else { 0 },
            max_uncommitted_bytes: 64,
            max_pending_reads: 4,
            max_applying_bytes: 32,
            snapshot_chunk_bytes: 8,
            ..Config::new(NodeId(1), options.into())
        };
        let mut disk = Disk::default();
        if options & 32 == 0 {
            let payload = Payload::Configuration(members(0));
            let entries = vec![Entry { term: Term(1), index: LogIndex(1), payload }];
            disk.log = Log { entries, ..Log::default() };
        }
        let now = Instant::from_millis(1000);
        let raft = Raft::recover(now, config.clone(), disk.saved());
        let (waiting, applied) = (VecDeque::new(), LogIndex(0));
        let reached = Reached::default();
        Life { raft, config, disk, now, tickets: 0, waiting, applied, reached }
    }

    fn live(&mut self, script: &mut Script<'_>) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        match script.below(20) {
            0 | 1 => {
                self.now = self.now + std::time::Duration::from_millis(10) * script.byte().into();
                self.input(Input::Elapsed);
            }
            2..=9 => {
                let from = NodeId(script.number(&[2]) & 7);
                let message = self.message(script);
                self.input(Input::Receive { from, message });
            }
            10 => {
                let command = Bytes::copy_from_slice(script.bytes(8));
                self.input(Input::Propose(vec![Proposal { ticket, command }]));
            }
            11 => self.input(Input::Read { ticket }),
            12 => self.input(Input::Campaign),
            13 => {
                let to = script.flag().then(|| NodeId(script.below(5).into()));
                self.input(Input::Transfer { ticket, to });
            }
            14 => {
                let changes = (0..1 + script.below(3)).map(|_| change(script)).collect();
                self.input(Input::ChangeMembership { ticket, changes });
            }
            15 => self.take_snapshot(),
            16 if script.flag() => self.crash(),
            16..=18 => self.persist(),
            _ => self.answer(script),
        }
    }

    fn message(&self, script: &mut Script<'_>) -> Message {
        let status = self.raft.status();
        let (terms, ends) = ([status.term.0, status.last_term.0], self.marks());
        let term = |script: &mut Script<'_>| Term(script.number(&terms));
        let index = |script: &mut Script<'_>| LogIndex(script.number(&ends));
        match script.below(12) {
            0 => Message::PreVote {
                next_term: term(script),
                last_log_index: index(script),
                last_log_term: term(script),
            },
            1 => Message::PreVoteReply {
                term: term(script),
                next_term: term(script),
                granted: script.flag(),
            },
            2 => Message::RequestVote {
                term: term(script),
                last_log_index: index(script),
                last_log_term: term(script),
                transfer: script.flag(),
            },
            3 => Message::RequestVoteReply { term: term(script), granted: script.flag() },
            4 | 5 => {
                let (prev_log_index, prev_log_term) = (index(script), term(script));
                Message::AppendEntries {
                    term: term(script),
                    prev_log_index,
                    prev_log_term,
                    entries: entries(script, prev_log_index, &terms),
                    leader_commit: index(script),
                    round: script.number(&[1]),
                }
            }
            6 => Message::AppendEntriesReply {
                term: term(script),
                round: script.number(&[1]),
                result: match script.flag() {
                    true => AppendResult::Matched(index(script)),
                    false => AppendResult::Conflict {
                        rejected: index(script),
                        term: term(script),
                        index: index(script),
                    },
                },
            },
            7 => Message::InstallSnapshot {
                term: term(script),
                snapshot_index: index(script),
                snapshot_term: term(script),
                offset: script.number(&[8]),
                data: Bytes::copy_from_slice(script.bytes(12)),
                done: script.flag(),
            },
            8 => Message::InstallSnapshotReply {
                term: term(script),
                snapshot_index: index(script),
                result: match script.flag() {
                    true => SnapshotResult::Installed,
                    false => SnapshotResult::Received { bytes: script.number(&[8]) },
                },
            },
            9 => Message::TimeoutNow { term: term(script) },
            10 => Message::ReadIndex { term: term(script), context: context(script) },
            _ => Message::ReadIndexReply {
                term: term(script),
                context: context(script),
                at: index(script),
            },
        }
    }

    /// Indexes that mean something to the node.
    fn marks(&self) -> [u64; 4] {
        let status = self.raft.status();
        let indexes = [status.last_index, status.commit_index, status.first_index];
        let [last, commit, first] = indexes.map(|index| index.0);
        [last, commit, first, status.snapshot_index.0]
    }

    fn input(&mut self, input: Input<Raft>) {
        let before = self.raft.checkpoint();
        let effects = self.raft.step(self.now, input);
        self.raft.assert_invariants(&before);
        let _ = (self.raft.next_deadline(), self.raft.snapshots_in_use());
        self.look(&before);
        for effect in effects {
            match effect {
                Effect::Persist(write) => {
                    self.reached.truncated |= write.truncate_from.is_some();
                    self.disk.writing.push_back(write);
                    // What it asks for can be done.
                    self.disk.effective_log();
                }
                Effect::Send { message, after, .. } => {
                    let _ = Raft::log_bytes(&message);
                    let asked = self.disk.writing.back().map_or(after, |write| Some(write.seq));
                    assert!(after <= asked, "a message waits for a write that nobody asked for");
                }
                Effect::Apply { ref entries, .. } => {
                    for entry in entries {
                        assert_eq!(entry.index, self.applied.next(), "applied in order");
                        self.applied = entry.index;
                    }
                    self.waiting.push_back(effect);
                }
                Effect::InstallSnapshot { index } => {
                    assert!(self.disk.snapshot(index).is_some(), "installs what is there");
                    self.applied = index;
                    self.reached.installed = true;
                    self.waiting.retain(|waits| !matches!(waits, Effect::Apply { .. }));
                }
                Effect::Compact { to } => {
                    self.reached.compacted = true;
                    self.disk.compact(to);
                }
                Effect::ReadLog { .. }
                | Effect::ReadSnapshot { .. }
                | Effect::WriteSnapshot { .. } => self.waiting.push_back(effect),
                Effect::ServeRead { .. } => self.reached.served = true,
                Effect::Accepted { .. } | Effect::Refuse { .. } | Effect::PeerRejected { .. } => {}
            }
        }
    }

    /// Notes what this step brought about.
    fn look(&mut self, before: &Checkpoint) {
        let (status, reached) = (self.raft.status(), &mut self.reached);
        let leads = status.role == Role::Leader;
        reached.led |= leads;
        reached.committed_as_leader |= leads && status.commit_index > before.commit_index;
        reached.members_changed |= leads && !status.configuration.outgoing.is_empty();
        reached.followed |= !leads && status.last_index > before.last_index;
    }

    fn persist(&mut self) {
        if let Some(seq) = self.disk.finish_one() {
            self.input(Input::Persisted { seq });
        }
    }

    /// The oldest request to the disk, or to the state machine, is answered.
    fn answer(&mut self, script: &mut Script<'_>) {
        match self.waiting.pop_front() {
            Some(Effect::Apply { entries, .. }) => {
                let last = entries.last().map(|entry| entry.index);
                last.into_iter().for_each(|index| self.input(Input::Applied { index }));
            }
            Some(Effect::ReadLog { from, to, .. }) => {
                let entries = self.disk.effective_log().read(from, to);
                self.input(Input::LogRead { from, entries });
            }
            Some(Effect::ReadSnapshot { to, index, offset, max_bytes }) => {
                let chunk = self.disk.snapshot(index).map(|_| {
                    let rest = 20_u64.saturating_sub(offset).min(max_bytes as u64) as usize;
                    Chunk { data: vec![0; rest].into(), done: offset + rest as u64 >= 20 }
                });
                self.input(Input::SnapshotRead { to, index, offset, chunk });
            }
            Some(Effect::WriteSnapshot { index, term, offset, chunk }) => {
                let bytes = offset + chunk.data.len() as u64;
                let answer = match (chunk.done, script.below(4)) {
                    (false, _) => Input::SnapshotWritten { index, bytes },
                    (true, 0) => Input::SnapshotRejected { index },
                    (true, choice) => {
                        let configuration = members(choice);
                        let snapshot = SnapshotMark { index, term, configuration };
                        let kept = Snapshot { mark: snapshot.clone(), machine: Vec::new() };
                        self.disk.keep(kept);
                        Input::SnapshotReceived { snapshot }
                    }
                };
                self.input(answer);
            }
            _ => {}
        }
    }

    fn take_snapshot(&mut self) {
        let status = self.raft.status();
        let index = status.applied_index.min(status.durable_index);
        let log = self.disk.effective_log();
        let Some(term) = log.get(index).map(|entry| entry.term) else { return };
        if index > status.snapshot_index {
            let mark = SnapshotMark { index, term, configuration: log.members_at(index) };
            self.disk.keep(Snapshot { mark, machine: Vec::new() });
            self.input(Input::SnapshotSaved { index });
        }
    }

    fn crash(&mut self) {
        self.disk.crash();
        self.waiting.clear();
        self.applied = self.disk.log.mark.index;
        self.raft = Raft::recover(self.now, self.config.clone(), self.disk.saved());
    }
}

/// Three voters; or others, among them nobody at all.
fn members(choice: u8) -> Configuration {
    let ids = |ids: &[u64]| ids.iter().copied().map(NodeId).collect();
    let (voters, outgoing, learners) = match choice % 6 {
        0 | 1 => (ids(&[1, 2, 3]), ids(&[]), ids(&[])),
        2 => (ids(&[]), ids(&[]), ids(&[])),
        3 => (ids(&[2, 3]), ids(&[1, 2]), ids(&[4])),
        4 => (ids(&[1]), ids(&[]), ids(&[2])),
        _ => (ids(&[2]), ids(&[]), ids(&[1])),
    };
    Configuration { voters, outgoing, learners, ..Configuration::default() }
}

fn entries(script: &mut Script<'_>, previous: LogIndex, terms: &[u64]) -> Vec<Entry> {
    let mut index = previous;
    (0..script.below(5))
        .map(|_| {
            let follows = LogIndex(index.0.wrapping_add(1));
            index = if script.below(16) == 0 { LogIndex(script.number(&[])) } else { follows };
            let payload = match script.below(4) {
                0 => Payload::Noop,
                1 => Payload::Configuration(members(script.byte())),
                _ => Payload::Command(Bytes::copy_from_slice(script.bytes(6))),
            };
            Entry { term: Term(script.number(terms)), index, payload }
        })
        .collect()
}

fn context(script: &mut Script<'_>) -> ReadContext {
    ReadContext { incarnation: script.byte().into(), counter: script.number(&[1]) }
}

fn change(script: &mut Script<'_>) -> Change {
    let node = NodeId(script.below(6).into());
    match script.below(4) {
        0 => Change::AddLearner { node, address: String::new() },
        1 => Change::Promote { node },
        2 => Change::Demote { node },
        _ => Change::Remove { node },
    }
}

/// An election won and an entry committed; an entry from a leader; a snapshot received.
pub fn samples() -> Vec<Vec<u8>> {
    let wins = vec![0, 12, 16, 0, 17, 2, 0x12, 3, 0x1a, 1, 17, 10, 1, 7, 17];
    let follows = vec![0, 4, 0x12, 4, 0x1a, 0x1a, 0x22, 1, 3, 0, 0x1a, 0x1a, 0, 17, 19];
    let restores = vec![2, 5, 0x12, 7, 0x22, 0x3a, 0x12, 0, 3, 1, 2, 3, 1, 19, 1, 17, 17];
    vec![vec![0; 8], wins, follows, restores]
}

//! One server, its disk and its state machine; whatever it says is looked at, and what others say
//! is made up.

use std::time::Duration;

use bytes::Bytes;
use kvraft::consensus::raft::{AppendResult, HardState, Message, Raft};
use kvraft::consensus::{
    Change, Config, Configuration, Consensus, Effect, Entry, Input, Payload, Persist, Proposal,
    Refusal, Role, Saved, SnapshotMark, Status,
};
use kvraft::types::{Instant, LogIndex, NodeId, Seq, Term, Ticket};

/// See the [module](self).
pub struct Server {
    pub raft: Raft,
    pub now: Instant,
    /// What its disk holds.
    pub log: Vec<Entry>,
    pub hard_state: HardState,
    /// Writes wait until `persist`.
    pub slow_disk: bool,
    pub writes: Vec<Persist<HardState>>,
    held: Vec<(Seq, NodeId, Message)>,
    said: Vec<(NodeId, Message)>,
    /// What its state machine has applied.
    pub applied: Vec<Entry>,
    pub refused: Vec<(Ticket, Refusal)>,
    /// Reads that may be answered, and from what.
    pub served: Vec<(Ticket, LogIndex)>,
    /// Effects that this little world does nothing about: snapshots, rejections.
    pub others: Vec<Effect<Raft>>,
    tickets: u64,
}

/// Voters 1 to `size`.
pub fn voters(ids: impl IntoIterator<Item = u64>) -> Configuration {
    Configuration { voters: ids.into_iter().map(NodeId).collect(), ..Configuration::default() }
}

/// An entry that says its own place.
pub fn entry(index: u64, term: u64) -> Entry {
    let payload = Payload::Command(Bytes::from(format!("{index}/{term}")));
    Entry { index: LogIndex(index), term: Term(term), payload }
}

pub fn configuration(index: u64, term: u64, configuration: Configuration) -> Entry {
    let payload = Payload::Configuration(configuration);
    Entry { index: LogIndex(index), term: Term(term), payload }
}

/// Server 1 of three, with nothing in its log but who the members are.
pub fn server() -> Server {
    Server::new(3, &[])
}

impl Server {
    /// Server 1 of `size`, whose log holds entries of `terms` after the first.
    pub fn new(size: u64, terms: &[u64]) -> Server {
        let mut log = vec![configuration(1, 1, voters(1..=size))];
        log.extend(terms.iter().zip(2..).map(|(term, index)| entry(index, *term)));
        let hard_state = HardState { term: log[log.len() - 1].term, voted_for: None };
        Server::start(Config::new(NodeId(1), 7), Instant::default(), log, hard_state)
    }

    /// The same of three, which keeps so many entries that a snapshot covers.
    pub fn keeping(keep_entries: u64, terms: &[u64]) -> Server {
        let Server { log, hard_state, now, .. } = Server::new(3, terms);
        let config = Config { keep_entries, ..Config::new(NodeId(1), 7) };
        Server::start(config, now, log, hard_state)
    }

    pub fn start(config: Config, now: Instant, log: Vec<Entry>, hard_state: HardState) -> Server {
        let mut term_runs: Vec<(LogIndex, Term)> = Vec::new();
        let mut configurations = Vec::new();
        for entry in &log {
            if term_runs.last().is_none_or(|run| run.1 != entry.term) {
                term_runs.push((entry.index, entry.term));
            }
            if let Payload::Configuration(configuration) = &entry.payload {
                configurations.push((entry.index, configuration.clone()));
            }
        }
        let saved = Saved {
            hard_state: hard_state.clone(),
            snapshot: SnapshotMark::default(),
            log_start: (LogIndex(0), Term(0)),
            configurations,
            term_runs,
            last_index: log.last().map(|entry| entry.index).unwrap_or_default(),
        };
        let raft = Raft::recover(now, config, saved);
        let (writes, held, said) = (Vec::new(), Vec::new(), Vec::new());
        let (applied, refused, served, others) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let (slow_disk, tickets) = (false, 0);
        Server {
            raft,
            now,
            log,
            hard_state,
            slow_disk,
            writes,
            held,
            said,
            applied,
            refused,
            served,
            others,
            tickets,
        }
    }

    /// It crashes and comes back with what its disk holds.
    pub fn restart(self, config: Config) -> Server {
        Server::start(config, self.now, self.log, self.hard_state)
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Tells the core what happened; what it then says to others, as far as its disk lets it.
    pub fn step(&mut self, input: Input<Raft>) -> Vec<(NodeId, Message)> {
        self.carry_out(input);
        std::mem::take(&mut self.said)
    }

    fn carry_out(&mut self, input: Input<Raft>) {
        let before = self.raft.checkpoint();
        let effects = self.raft.step(self.now, input);
        self.raft.assert_invariants(&before);
        let mut inputs = Vec::new();
        for effect in effects {
            match effect {
                Effect::Persist(write) => self.writes.push(write),
                Effect::Send { to, message, after: None } => self.said.push((to, message)),
                Effect::Send { to, message, after: Some(seq) } => {
                    self.held.push((seq, to, message));
                }
                Effect::Apply { entries, .. } => {
                    let index = entries[entries.len() - 1].index;
                    self.applied.extend(entries);
                    inputs.push(Input::Applied { index });
                }
                Effect::ReadLog { from, to, .. } => {
                    let written = self.writes.iter().flat_map(|write| &write.entries);
                    let all = self.log.iter().chain(written);
                    let entries = all.filter(|e| e.index >= from && e.index <= to).cloned();
                    inputs.push(Input::LogRead { from, entries: entries.collect() });
                }
                Effect::Refuse { ticket, why } => self.refused.push((ticket, why)),
                Effect::ServeRead { ticket, at } => self.served.push((ticket, at)),
                Effect::Accepted { .. } => {}
                other => self.others.push(other),
            }
        }
        if !self.slow_disk {
            self.finish_writes();
        }
        inputs.into_iter().for_each(|input| self.carry_out(input));
    }

    fn finish_writes(&mut self) {
        for write in std::mem::take(&mut self.writes) {
            if write.discard_log {
                self.log.clear();
            }
            if let Some(from) = write.truncate_from {
                self.log.retain(|entry| entry.index < from);
            }
            self.log.extend(write.entries);
            self.hard_state = write.hard_state.unwrap_or(self.hard_state.clone());
            let (ready, held): (Vec<_>, Vec<_>) =
                std::mem::take(&mut self.held).into_iter().partition(|held| held.0 <= write.seq);
            self.held = held;
            self.said.extend(ready.into_iter().map(|(_, to, message)| (to, message)));
            self.carry_out(Input::Persisted { seq: write.seq });
        }
    }

    /// The slow disk finishes; what leaves only now.
    pub fn persist(&mut self) -> Vec<(NodeId, Message)> {
        self.finish_writes();
        std::mem::take(&mut self.said)
    }

    pub fn receive(&mut self, from: u64, message: Message) -> Vec<(NodeId, Message)> {
        self.step(Input::Receive { from: NodeId(from), message })
    }

    /// What it answers to `message`.
    pub fn answer(&mut self, from: u64, message: Message) -> Option<Message> {
        let said = self.receive(from, message);
        said.into_iter().find(|(to, _)| to.0 == from).map(|(_, message)| message)
    }

    /// Lets time pass, deadline by deadline.
    pub fn elapse(&mut self, millis: u64) -> Vec<(NodeId, Message)> {
        let end = self.now + Duration::from_millis(millis);
        while let Some(due) = self.raft.next_deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            self.carry_out(Input::Elapsed);
        }
        self.now = end;
        std::mem::take(&mut self.said)
    }

    pub fn propose(&mut self, command: &str) -> Vec<(NodeId, Message)> {
        let ticket = self.ticket();
        let command = Bytes::copy_from_slice(command.as_bytes());
        self.step(Input::Propose(vec![Proposal { ticket, command }]))
    }

    pub fn read(&mut self) -> Vec<(NodeId, Message)> {
        let ticket = self.ticket();
        self.step(Input::Read { ticket })
    }

    pub fn transfer(&mut self, to: u64) -> Vec<(NodeId, Message)> {
        let ticket = self.ticket();
        self.step(Input::Transfer { ticket, to: Some(NodeId(to)) })
    }

    pub fn change(&mut self, changes: &[Change]) -> Vec<(NodeId, Message)> {
        let (ticket, changes) = (self.ticket(), changes.to_vec());
        self.step(Input::ChangeMembership { ticket, changes })
    }

    /// Its time-out passes, and all others would vote for it: a candidate, and what it asks.
    pub fn stand(&mut self) -> Vec<(NodeId, Message)> {
        while self.role() != Role::PreCandidate {
            self.elapse(10);
        }
        let next_term = self.term() + 1;
        let mut said = Vec::new();
        for id in 2..=5 {
            said.extend(self.receive(id, would_vote(next_term)));
        }
        said
    }

    /// It wins an election: a leader, and what it says first.
    pub fn win(&mut self) -> Vec<(NodeId, Message)> {
        self.stand();
        let term = self.term();
        let mut said = Vec::new();
        for id in 2..=5 {
            said.extend(self.receive(id, vote(term)));
        }
        assert_eq!(self.role(), Role::Leader);
        said
    }

    /// Leads, and has committed the no-op of its term with `id`'s help.
    pub fn lead_with(&mut self, id: u64) {
        self.win();
        let last = self.status().last_index.0;
        self.receive(id, matched(self.term(), last));
        assert_eq!(self.commit(), last);
    }

    pub fn status(&self) -> Status {
        self.raft.status()
    }

    pub fn role(&self) -> Role {
        self.status().role
    }

    pub fn term(&self) -> u64 {
        self.status().term.0
    }

    pub fn commit(&self) -> u64 {
        self.status().commit_index.0
    }

    pub fn last(&self) -> u64 {
        self.status().last_index.0
    }

    /// The terms of its log on disk.
    pub fn terms(&self) -> Vec<u64> {
        self.log.iter().map(|entry| entry.term.0).collect()
    }
}

pub fn would_vote(next_term: u64) -> Message {
    let (term, next_term) = (Term(next_term - 1), Term(next_term));
    Message::PreVoteReply { term, next_term, granted: true }
}

pub fn vote(term: u64) -> Message {
    Message::RequestVoteReply { term: Term(term), granted: true }
}

/// A candidate's request; `last` is index and term of its last entry.
pub fn request_vote(term: u64, last: (u64, u64)) -> Message {
    let (last_log_index, last_log_term) = (LogIndex(last.0), Term(last.1));
    Message::RequestVote { term: Term(term), last_log_index, last_log_term, transfer: false }
}

pub fn pre_vote(next_term: u64, last: (u64, u64)) -> Message {
    let (last_log_index, last_log_term) = (LogIndex(last.0), Term(last.1));
    Message::PreVote { next_term: Term(next_term), last_log_index, last_log_term }
}

/// A leader's entries after `previous` (index and term), and its commit index.
pub fn append(term: u64, previous: (u64, u64), entries: Vec<Entry>, commit: u64) -> Message {
    Message::AppendEntries {
        term: Term(term),
        prev_log_index: LogIndex(previous.0),
        prev_log_term: Term(previous.1),
        entries,
        leader_commit: LogIndex(commit),
        round: 0,
    }
}

pub fn matched(term: u64, index: u64) -> Message {
    confirmed(term, index, 0)
}

pub fn confirmed(term: u64, index: u64, round: u64) -> Message {
    let result = AppendResult::Matched(LogIndex(index));
    Message::AppendEntriesReply { term: Term(term), round, result }
}

/// Whether an answer to AppendEntries says that the logs agree up to `index`.
pub fn says_matched(answer: Option<Message>, index: u64) -> bool {
    let Some(Message::AppendEntriesReply { result, .. }) = answer else { return false };
    result == AppendResult::Matched(LogIndex(index))
}

/// Whether an answer to AppendEntries says that the previous entry is not there.
pub fn says_conflict(answer: Option<Message>) -> bool {
    let Some(Message::AppendEntriesReply { result, .. }) = answer else { return false };
    matches!(result, AppendResult::Conflict { .. })
}

/// Whether an answer to RequestVote is a vote.
pub fn says_yes(answer: Option<Message>) -> bool {
    matches!(answer, Some(Message::RequestVoteReply { granted: true, .. }))
}

/// To whom something was said that `is` so.
pub fn told(said: &[(NodeId, Message)], is: impl Fn(&Message) -> bool) -> Vec<u64> {
    let mut ids: Vec<u64> = said.iter().filter(|(_, m)| is(m)).map(|(to, _)| to.0).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The entries that were sent to `id`.
pub fn entries_to(said: &[(NodeId, Message)], id: u64) -> Vec<Entry> {
    let to_it = said.iter().filter(|(to, _)| to.0 == id);
    to_it
        .flat_map(|(_, message)| match message {
            Message::AppendEntries { entries, .. } => entries.clone(),
            _ => Vec::new(),
        })
        .collect()
}

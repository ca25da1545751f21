//! A node's log as the checkers know it: what was asked of the disk, and what became durable.

use std::collections::VecDeque;
use std::hash::{Hash, Hasher};

use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use crate::consensus::raft::HardState;
use crate::consensus::{Payload, Persist};
use crate::types::{LogIndex, Seq, Term};

/// A hash over an entry and all before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Chain(u64);

impl Chain {
    /// The chain one entry further.
    pub fn then(self, index: LogIndex, term: Term, payload: &Payload) -> Chain {
        let mut hash = self.0;
        for word in [index.0, term.0, digest(payload)] {
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 32;
        }
        Chain(hash)
    }
}

fn digest(payload: &Payload) -> u64 {
    match payload {
        Payload::Noop => 1,
        Payload::Command(bytes) => xxh3_64(bytes),
        Payload::Configuration(configuration) => {
            let mut hasher = Xxh3::new();
            configuration.hash(&mut hasher);
            hasher.finish()
        }
    }
}

/// Where a log ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    pub index: LogIndex,
    pub term: Term,
}

/// A log, without what its entries say.
#[derive(Clone, Debug, Default)]
pub struct Log {
    /// The entry before the first.
    start: Tail,
    start_chain: Chain,
    entries: VecDeque<(Term, Chain)>,
    pub hard: HardState,
}

impl Log {
    /// Where it ends.
    pub fn tail(&self) -> Tail {
        match self.entries.back() {
            Some((term, _)) => {
                Tail { index: self.start.index + self.entries.len() as u64, term: *term }
            }
            None => self.start,
        }
    }

    /// The chain up to `index`, if the log reaches there.
    pub fn chain(&self, index: LogIndex) -> Option<Chain> {
        if index == self.start.index {
            return Some(self.start_chain);
        }
        let place = self.place(index)?;
        self.entries.get(place).map(|entry| entry.1)
    }

    /// The term of the entry at `index`.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.start.index {
            return Some(self.start.term);
        }
        self.entries.get(self.place(index)?).map(|entry| entry.0)
    }

    fn place(&self, index: LogIndex) -> Option<usize> {
        index.0.checked_sub(self.start.index.0 + 1).map(|place| place as usize)
    }

    /// Whether `index` lies before what the log holds: a snapshot covers it.
    pub fn is_covered(&self, index: LogIndex) -> bool {
        index < self.start.index
    }

    fn change(&mut self, change: &Change) {
        if let Some((tail, chain)) = change.replaced_by {
            *self =
                Log { start: tail, start_chain: chain, hard: self.hard.clone(), ..Log::default() };
        }
        if let Some(from) = change.truncate_from {
            let keep = self.start.index.next().distance_to(from) as usize;
            self.entries.truncate(keep);
        }
        self.entries.extend(&change.entries);
        if let Some(hard) = &change.hard {
            self.hard = hard.clone();
        }
    }
}

/// One write.
#[derive(Clone, Debug)]
struct Change {
    seq: Seq,
    hard: Option<HardState>,
    /// A snapshot takes the place of the whole log.
    replaced_by: Option<(Tail, Chain)>,
    truncate_from: Option<LogIndex>,
    /// The entry before its first.
    after: LogIndex,
    entries: Vec<(Term, Chain)>,
}

/// Both lengths of a node's log.
#[derive(Clone, Debug, Default)]
pub struct Mirror {
    /// With everything that was asked for.
    pub held: Log,
    /// What surely survives a crash.
    pub durable: Log,
    /// The writes between the two.
    pending: VecDeque<Change>,
    /// The term that the node leads.
    pub leads: Option<Term>,
    /// The last entry that its state machine has applied since it started.
    pub applied: LogIndex,
}

impl Mirror {
    /// A log of one entry, which every member is born with.
    pub fn born(first: &Payload) -> Mirror {
        let mut log = Log::default();
        let chain = Chain::default().then(LogIndex(1), Term(1), first);
        log.entries.push_back((Term(1), chain));
        Mirror { held: log.clone(), durable: log, ..Mirror::default() }
    }

    /// A write was asked for. `snapshot` is the chain up to the snapshot in it, if it has one.
    pub fn asked(&mut self, persist: &Persist<HardState>, snapshot: Option<Chain>) {
        let mark = persist.snapshot.as_ref().filter(|_| persist.discard_log);
        let replaced_by = mark.map(|mark| {
            let tail = Tail { index: mark.index, term: mark.term };
            (tail, snapshot.unwrap_or_default())
        });
        let before = match (persist.entries.first(), persist.truncate_from) {
            (Some(first), _) => first.index.previous(),
            (None, Some(from)) => from.previous(),
            (None, None) => self.held.tail().index,
        };
        let mut chain = match replaced_by {
            Some((tail, chain)) if tail.index == before => chain,
            _ => self.held.chain(before).unwrap_or_default(),
        };
        let seen = persist.entries.iter().map(|entry| {
            chain = chain.then(entry.index, entry.term, &entry.payload);
            (entry.term, chain)
        });
        let change = Change {
            seq: persist.seq,
            hard: persist.hard_state.clone(),
            replaced_by,
            truncate_from: persist.truncate_from,
            after: before,
            entries: seen.collect(),
        };
        self.held.change(&change);
        self.pending.push_back(change);
    }

    /// Writes up to `seq` are durable.
    pub fn durable(&mut self, seq: Seq) {
        while let Some(change) = self.pending.pop_front_if(|change| change.seq <= seq) {
            self.durable.change(&change);
        }
    }

    /// A repair has put a snapshot of what was committed in the place of the log.
    pub fn replace(&mut self, tail: Tail, chain: Chain) {
        let hard = self.durable.hard.clone();
        self.durable = Log { start: tail, start_chain: chain, hard, ..Log::default() };
        self.held = self.durable.clone();
        self.pending.clear();
    }

    /// A repair has cut the log to `tail`, whichever of the writes under way had reached the disk.
    pub fn cut(&mut self, tail: Tail) {
        for log in [&mut self.durable, &mut self.held] {
            let kept = log.start.index.distance_to(tail.index) as usize;
            log.entries.truncate(kept);
        }
        for change in &mut self.pending {
            change.entries.truncate(change.after.distance_to(tail.index) as usize);
        }
    }

    /// After a crash, the disk holds what was durable and perhaps some of what was asked for after
    /// that, in order and each write wholly. Says how many writes are missing, if it is so.
    pub fn recover(&mut self, found: impl Fn(&Log) -> bool) -> Option<usize> {
        self.applied = LogIndex(0);
        self.leads = None;
        let mut log = self.durable.clone();
        let mut kept = found(&log).then(|| (0, log.clone()));
        for (written, change) in self.pending.iter().enumerate() {
            log.change(change);
            if found(&log) {
                kept = Some((written + 1, log.clone()));
            }
        }
        let (written, log) = kept?;
        let lost = self.pending.len() - written;
        self.held = log.clone();
        self.durable = log;
        self.pending.clear();
        Some(lost)
    }
}

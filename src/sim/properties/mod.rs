//! What must always hold: one property a file, named after the paper's figure 3 and what follows
//! from it, each looked at after every step.
//!
//! # How a check stays cheap
//! A replica notes what changes in its log and its state machine ([`Observation`]), and a property
//! looks at that alone. Each property is about *real* state: what was handed to the disk, what was
//! found on it after a crash, which messages left, what was applied.
//!
//! One trick makes most of them constant-time. An entry's `Chain` is a hash over it and all
//! entries before it. Two logs that have the same chain at an index are equal up to there.
//!
//! `tests/spec/properties` says the same of whole states, in the paper's own words, for the few
//! states that can be looked at that way: all that the core can reach within small bounds. A bug
//! that only one of the two judges sees is a bug of the other.
//!
//! # Rule or harm
//! Some rules (a vote is on disk before it leaves) can be broken without harm for a long time. In
//! an honest run ([`strict`](super::Setting::strict)) the rule itself is checked, and a breach is
//! found at once. When a bug is put back on purpose, only its harm counts, because harm is what an
//! exhibit is to show.

pub mod check_quorum;
pub mod durability;
pub mod election_safety;
pub mod exactly_once;
pub mod expectation;
pub mod leader_append_only;
pub mod leader_completeness;
pub mod linearizability;
pub mod log_matching;
pub mod mirror;
pub mod pre_vote;
pub mod progress;
pub mod replica_equality;
pub mod soundness;
pub mod state_machine_safety;
pub mod transfer;

use std::collections::BTreeMap;

use crate::consensus::raft::{AppendResult, HardState, Message, Raft};
use crate::consensus::{Configuration, Payload, Status};
use crate::replica::Observation;
use crate::types::{LogIndex, NodeId, Term};

use mirror::{Mirror, Tail};

/// A property, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    pub name: &'static str,
    /// Where it stands.
    pub section: &'static str,
    /// What it says.
    pub says: &'static str,
}

/// A property was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    pub rule: &'static Rule,
    /// By whom, and how.
    pub how: String,
}

/// What every check returns.
pub type Checked = Result<(), Broken>;

impl Rule {
    fn broken(&'static self, how: impl Into<String>) -> Checked {
        Err(Broken { rule: self, how: how.into() })
    }
}

/// All properties of one life.
#[derive(Debug)]
pub struct Properties {
    strict: bool,
    mirrors: BTreeMap<NodeId, Mirror>,
    election_safety: election_safety::ElectionSafety,
    log_matching: log_matching::LogMatching,
    committed: state_machine_safety::Committed,
    durability: durability::Promises,
    exactly_once: exactly_once::ExactlyOnce,
    replica_equality: replica_equality::ReplicaEquality,
}

impl Properties {
    /// For a cluster that is born with `initial`.
    pub fn new(strict: bool) -> Properties {
        Properties {
            strict,
            mirrors: BTreeMap::new(),
            election_safety: Default::default(),
            log_matching: Default::default(),
            committed: Default::default(),
            durability: Default::default(),
            exactly_once: Default::default(),
            replica_equality: Default::default(),
        }
    }

    /// A node is created, with a log of one entry.
    pub fn created(&mut self, id: NodeId, initial: &Configuration) {
        let payload = Payload::Configuration(initial.clone());
        self.mirrors.insert(id, Mirror::born(&payload));
    }

    /// A node is created that will join, with an empty log.
    pub fn created_empty(&mut self, id: NodeId) {
        self.mirrors.insert(id, Mirror::default());
    }

    /// A node begins again with an empty log, as if it had never promised anything.
    pub fn wiped(&mut self, id: NodeId) {
        self.created_empty(id);
        self.durability.forget(id);
    }

    /// A leader tells another to stand for election.
    pub fn hands_over(&mut self, id: NodeId, to: NodeId) -> Checked {
        match (self.mirrors.get(&id), self.mirrors.get(&to)) {
            (Some(leader), Some(target)) => transfer::hands_over((id, leader), (to, target)),
            _ => Ok(()),
        }
    }

    /// A node starts, for the first time or after a crash, and this is how it stands; `repaired`:
    /// after others have repaired its log. Says how many writes it had asked for and does not have.
    pub fn started(&mut self, status: &Status, repaired: bool) -> Result<usize, Broken> {
        let Some(mirror) = self.mirrors.get_mut(&status.id) else { return Ok(0) };
        let hard = HardState { term: status.term, voted_for: status.voted_for };
        let tail = Tail { index: status.last_index, term: status.last_term };
        let covered = status.snapshot_index;
        if let Some(chain) = self.committed.chain(covered)
            && repaired
            && covered == tail.index
            && mirror.durable.chain(covered) != Some(chain)
        {
            // A snapshot stands in the place of the log.
            mirror.replace(tail, chain);
            self.durability.forget(status.id);
        } else if repaired && mirror.held.tail().index > tail.index {
            self.committed.is_not_cut(status.id, mirror, tail)?;
            self.durability.repaired(status.id, mirror, tail);
        }
        let lost = durability::recovered(status.id, mirror, tail, &hard)?;
        mirror.applied = status.applied_index;
        self.committed.starts_from(status.id, status.applied_index);
        self.durability.survived(status.id, mirror)?;
        Ok(lost)
    }

    /// A change in a node's log or state machine.
    pub fn observe(&mut self, id: NodeId, observation: &Observation<Raft>) -> Checked {
        let Some(mirror) = self.mirrors.get_mut(&id) else { return Ok(()) };
        match observation {
            Observation::Asked(persist) => {
                leader_append_only::check(id, mirror, persist)?;
                self.durability.asked(id, mirror, persist);
                self.committed.is_not_removed(id, persist)?;
                let snapshot = persist.snapshot.as_ref().map(|mark| mark.index);
                let chain = snapshot.and_then(|index| self.committed.chain(index));
                log_matching::follows_snapshot(id, mirror, persist, chain)?;
                mirror.asked(persist, chain);
                self.log_matching.appended(id, mirror, persist)
            }
            Observation::Durable(seq) => {
                mirror.durable(*seq);
                Ok(())
            }
            Observation::ReadLog { .. }
            | Observation::SnapshotSaved { .. }
            | Observation::Compacted { .. } => Ok(()),
            Observation::Installed { index } => self.committed.installed(id, mirror, *index),
            Observation::Applied { index, term, payload, outcome } => {
                let new = self.committed.applied(id, mirror, (*index, *term), payload)?;
                match (new, payload, outcome) {
                    (true, Payload::Command(command), Some(outcome)) => {
                        self.exactly_once.applied(*index, command, outcome)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// A message leaves a node.
    pub fn sends(&mut self, id: NodeId, to: NodeId, message: &Message) -> Checked {
        let Some(mirror) = self.mirrors.get(&id) else { return Ok(()) };
        match message {
            Message::RequestVoteReply { term, granted: true } => {
                if self.strict {
                    durability::vote_is_durable(id, mirror, *term, to)?;
                }
                self.election_safety.votes(id, *term, to)
            }
            Message::AppendEntriesReply { result: AppendResult::Matched(index), .. } => {
                if self.strict {
                    durability::entry_is_durable(id, mirror, *index)?;
                }
                self.durability.promised(id, mirror, *index);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A node has become leader.
    pub fn leads(&mut self, id: NodeId, term: Term) -> Checked {
        self.election_safety.leads(id, term)?;
        let Some(mirror) = self.mirrors.get_mut(&id) else { return Ok(()) };
        mirror.leads = Some(term);
        leader_completeness::check(id, term, mirror, &self.committed)
    }

    /// A node does not lead any more, or is gone.
    pub fn follows(&mut self, id: NodeId) {
        if let Some(mirror) = self.mirrors.get_mut(&id) {
            mirror.leads = None;
        }
    }

    /// A node has applied everything up to `index`, and has this state now.
    pub fn state(&mut self, id: NodeId, index: LogIndex, hash: u128) -> Checked {
        self.replica_equality.state(id, index, hash)
    }

    /// Retries that were answered from memory.
    pub fn repeated(&self) -> u64 {
        self.exactly_once.repeated
    }

    /// Entries known to be committed.
    pub fn committed(&self) -> LogIndex {
        self.committed.last()
    }

    /// A node's log as it was handed to the disk.
    pub fn mirror(&self, id: NodeId) -> Option<&Mirror> {
        self.mirrors.get(&id)
    }
}

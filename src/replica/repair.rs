//! Repair before voting: a log whose entries are damaged is made whole by its peers (protocol-aware
//! recovery, Alagappan et al., FAST '18).
//!
//! # The problem
//! A disk rots. An entry in the middle of a node's log cannot be read any more; others have it.
//! Both simple answers are wrong. To cut the log there, like a torn tail, forgets entries that the
//! node has acknowledged: with its vote, others may then be elected that lack what was committed.
//! To refuse to start loses the cluster when every node is damaged somewhere, although together
//! they have everything.
//!
//! # The rule
//! The log says which entries are damaged, by index and mostly by term; these are stored twice.
//! Until it is whole, the node makes no core: it votes for nobody, acknowledges nothing, and serves
//! no client. It asks every member for each damaged entry, and every member answers from its own
//! log, also one that repairs its own, as far as that is undamaged:
//!
//! - *Here it is*: an entry of the right index and term is the same entry (Log Matching). One
//!   answer is enough, whoever gave it.
//! - *Lacking*: the log is undamaged there, and ends before it or has an entry of another term.
//!   When a majority of the voters lacks the entry, it was never committed, for a majority would
//!   have it; then it goes, and all after it. The first damaged entry decides, because the members
//!   as of then are known for certain; during a joint change it is the new members that count, by
//!   whom the change's last entry is committed.
//! - *Cannot tell*: damaged there as well. It counts for nothing.
//! - *Compacted*: a snapshot covers the entry there, so it was committed. Who has it in its log
//!   supplies it; if nobody does, the snapshot itself is [fetched](super::fetch) and stands for it.
//!
//! Why may an answer be old? An entry that is committed is held by a majority from then on, this
//! node perhaps among them; so at no later time can a majority of others lack it. And nobody can
//! commit it meanwhile on this node's word: it takes no part.
//!
//! If the damaged entry's *term* is not known either, no single answer will do, for the answer may
//! be another leader's entry. Then a majority of the voters must have the very same entry there,
//! and also, right before it, the entry that is before it here: so it continues this log, and what
//! was here before, if it was another, was not committed.
//!
//! Before the very first entry nobody is a member: it is the configuration that the cluster was
//! founded with, in every founder's log from the beginning. So it was committed at once, nobody can
//! have another, and it is never cut; a majority of those whom it names (or whom the first
//! configuration names that is legible here) must supply the same.
//!
//! # Caveats
//! If too many are damaged at the same place, nobody can decide. The node says so and waits; an
//! operator may bring it back without its data, under a new id.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::marker::PhantomData;
use std::time::Duration;

use super::fetch::Fetch;
use super::running::Running;
use super::supply::{Asked, Lending, MAX_READS, after_reading, before_reading};
use super::{
    Event, Fatal, Options, OrderResult, Output, PeerMessage, Refused, RepairStatus, RepairVerdict,
    ReplicaStatus, Response,
};
use crate::consensus::{Configuration, Consensus, Entry, SnapshotMark};
use crate::storage::{Damaged, Disk, LogError, LogEvent, Recovered, SegmentLog};
use crate::types::{Instant, LogIndex, NodeId, Term};

/// Between two times that everybody is asked.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// Damaged entries asked for at once.
const ASK_AT_ONCE: usize = 32;

/// A replica whose log is damaged. It takes no part.
pub struct Repairing<C: Consensus, D: Disk> {
    id: NodeId,
    options: Options,
    pub(super) log: SegmentLog<D>,
    /// Where the log begins, and the configuration in force there.
    pub(super) snapshot: SnapshotMark,
    pub(super) configurations: Vec<(LogIndex, Configuration)>,
    pub(super) log_start: (LogIndex, Term),
    pub(super) term_runs: Vec<(LogIndex, Term)>,
    /// The terms of entries that were repaired.
    pub(super) repaired: BTreeMap<LogIndex, Term>,
    /// What each member says of each entry that it was asked for.
    pub(super) said: BTreeMap<LogIndex, BTreeMap<NodeId, RepairVerdict>>,
    next_ask: Instant,
    reads: VecDeque<Asked>,
    lending: Lending,
    pub(super) fetch: Fetch,
    pub(super) outputs: Vec<Output<C::Message>>,
    failure: Option<Fatal>,
    core: PhantomData<C>,
}

/// What may be done about the first damaged entry.
enum Decision {
    Heal(Entry),
    Cut,
    Wait,
}

impl<C: Consensus, D: Disk> Repairing<C, D> {
    /// Begins to repair `log`.
    ///
    /// # Errors
    /// If not even the members are known: then there is nobody to ask.
    pub fn begin(
        now: Instant,
        options: Options,
        log: SegmentLog<D>,
        recovered: Recovered,
    ) -> Result<Self, LogError> {
        let Recovered { snapshot, configurations, log_start, term_runs, .. } = recovered;
        let lending = Lending::new(options.consensus.snapshot_chunk_bytes);
        let mut repairing = Repairing {
            id: options.consensus.id,
            options,
            log,
            snapshot,
            configurations,
            log_start,
            term_runs,
            repaired: BTreeMap::new(),
            said: BTreeMap::new(),
            next_ask: now,
            reads: VecDeque::new(),
            lending,
            fetch: Fetch::default(),
            outputs: Vec::new(),
            failure: None,
            core: PhantomData,
        };
        if repairing.newest_configuration().voters.is_empty() {
            // Healing says what is missing, and changes nothing.
            return match repairing.log.heal() {
                Err(error) => Err(error),
                Ok((log, recovered)) => Repairing::begin(now, repairing.options, log, recovered),
            };
        }
        let configuration = repairing.newest_configuration().clone();
        repairing.outputs.push(Output::Configuration(configuration));
        Ok(repairing)
    }

    pub(super) fn newest_configuration(&self) -> &Configuration {
        self.configurations.last().map_or(&self.snapshot.configuration, |(_, c)| c)
    }

    /// In force right before `index`.
    fn configuration_before(&self, index: LogIndex) -> &Configuration {
        let before = self.configurations.partition_point(|(at, _)| *at < index);
        self.configurations[..before].last().map_or(&self.snapshot.configuration, |(_, c)| c)
    }

    /// All that were members at any time that the log tells of, but this node.
    pub(super) fn peers(&self) -> BTreeSet<NodeId> {
        let all = self.configurations.iter().flat_map(|(_, c)| c.members());
        let mut peers: BTreeSet<_> = all.chain(self.snapshot.configuration.members()).collect();
        peers.remove(&self.id);
        peers
    }

    /// The term of an entry that is not damaged (any more).
    fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.log_start.0 {
            return Some(self.log_start.1);
        }
        let known = self.repaired.get(&index).copied();
        known.or_else(|| {
            let runs = self.term_runs.partition_point(|(at, _)| *at <= index);
            Some(self.term_runs[..runs].last()?.1)
        })
    }

    /// Nothing is missing any more.
    pub fn is_whole(&self) -> bool {
        self.log.damaged().is_empty()
    }

    /// The log is whole: from here on the replica takes part.
    ///
    /// # Errors
    /// If the whole log cannot be written.
    pub fn take_part(self, now: Instant) -> Result<Running<C, D>, Fatal> {
        let (log, recovered) = self.log.heal()?;
        Ok(Running::start(now, self.options, log, recovered)?)
    }

    pub fn handle(&mut self, now: Instant, event: Event<C::Message>) {
        match event {
            Event::Elapsed if self.next_ask <= now => self.ask(now),
            Event::Elapsed | Event::Disk => self.poll_log(now),
            Event::Peer { from, message } => self.peer_says(from, message),
            Event::Client { ticket, .. } => {
                let response = self.refusal();
                self.outputs.push(Output::Reply { ticket, response });
            }
            Event::Order { ticket, .. } => {
                let message = self.waits_for();
                let result = OrderResult::Refused { leader: None, message };
                self.outputs.push(Output::OrderDone { ticket, result });
            }
            Event::Forget { .. } | Event::Campaign | Event::Stop => {}
        }
    }

    pub fn finish_turn(&mut self, now: Instant) -> Result<Vec<Output<C::Message>>, Fatal> {
        if self.next_ask <= now {
            self.ask(now);
        }
        match self.failure.take() {
            Some(fatal) => Err(fatal),
            None => Ok(std::mem::take(&mut self.outputs)),
        }
    }

    pub fn next_deadline(&self) -> Option<Instant> {
        [Some(self.next_ask), self.log.next_deadline()].into_iter().flatten().min()
    }

    pub fn status(&self) -> ReplicaStatus {
        let mut status = ReplicaStatus::nothing();
        let log = self.log.status();
        status.consensus.id = self.id;
        status.consensus.configuration = self.newest_configuration().clone();
        status.consensus.first_index = log.first_index;
        status.consensus.last_index = log.last_index;
        status.consensus.snapshot_index = self.snapshot.index;
        status.snapshot_index = self.snapshot.index;
        status.machine_supports = self.options.machine.supports;
        status.log = log;
        let damaged = self.log.damaged();
        status.repair = damaged.first().map(|first| RepairStatus {
            missing: damaged.len(),
            first: first.index,
            waits_for: self.waits_for(),
        });
        status
    }

    fn refusal(&self) -> Response {
        Response::Refused { why: Refused::Repairing, message: self.waits_for() }
    }

    /// What it waits for, for people.
    fn waits_for(&self) -> String {
        let damaged = self.log.damaged();
        let Some(first) = damaged.first() else {
            return format!("node {} has just repaired its log: try again", self.id);
        };
        let (count, index, file, offset) = (damaged.len(), first.index, &first.file, first.offset);
        let what = format!(
            "node {} repairs its log before it takes part again: {count} entries are damaged, the \
             first at index {index} ({file}, offset {offset})",
            self.id
        );
        match self.fetch.progress() {
            Some((peer, of, bytes)) => format!(
                "{what}; others have compacted that part of their logs: the snapshot of {of} comes \
                 from node {peer}, {bytes} bytes so far"
            ),
            None => format!("{what}; it asks the other members for them: are they up?"),
        }
    }

    fn ask(&mut self, now: Instant) {
        self.next_ask = now + ASK_EVERY;
        let mut questions = Vec::new();
        for Damaged { index, term, .. } in self.log.damaged().into_iter().take(ASK_AT_ONCE) {
            questions.push((index, term));
            if term.is_none() {
                questions.push((index.previous(), self.term_at(index.previous())));
            }
        }
        self.fetch_what_is_compacted();
        for to in self.peers() {
            for (index, term) in &questions {
                let message = PeerMessage::RepairRequest { index: *index, term: *term };
                self.outputs.push(Output::Send { to, message });
            }
        }
    }

    fn peer_says(&mut self, from: NodeId, message: PeerMessage<C::Message>) {
        match message {
            PeerMessage::RepairRequest { index, term } => self.asked(from, index, term),
            PeerMessage::RepairReply { index, verdict } => self.told(from, index, verdict),
            PeerMessage::SnapshotRequest { covers, snapshot, offset } => {
                let asked = (covers, snapshot, offset);
                self.lending.asked(&mut self.log, from, asked);
            }
            PeerMessage::SnapshotReply { index, term, offset, chunk } => {
                self.part_comes(from, (index, term), offset, chunk);
            }
            PeerMessage::Relay { ticket, request, .. } => {
                // An earlier life of this node may have taken a write.
                let response = match request.is_write() {
                    true => Response::Unknown(format!(
                        "the leader that the write was handed to, node {}, has restarted since",
                        self.id
                    )),
                    false => self.refusal(),
                };
                let message = PeerMessage::RelayReply { ticket, response };
                self.outputs.push(Output::Send { to: from, message });
            }
            // It has no part in this.
            PeerMessage::Consensus(_)
            | PeerMessage::RelayReply { .. }
            | PeerMessage::StateHash { .. }
            | PeerMessage::Supports { .. } => {}
        }
    }

    /// A peer is damaged as well, and asks what is here.
    fn asked(&mut self, by: NodeId, index: LogIndex, term: Option<Term>) {
        let asked = Asked { by, index, term };
        let log = self.log.status();
        let range = (log.first_index, log.last_index);
        let damaged = self.log.damaged().iter().any(|damaged| damaged.index == index);
        let verdict = match before_reading(asked, range, self.snapshot.index) {
            None if damaged => Some(RepairVerdict::CannotTell { compacted_to: LogIndex(0) }),
            verdict => verdict,
        };
        match verdict {
            Some(verdict) => {
                let message = PeerMessage::RepairReply { index, verdict };
                self.outputs.push(Output::Send { to: by, message });
            }
            None if self.reads.len() < MAX_READS => {
                self.reads.push_back(asked);
                self.log.read(index, index, 0);
            }
            None => {}
        }
    }

    fn poll_log(&mut self, now: Instant) {
        let events = match self.log.poll(now) {
            Ok(events) => events,
            Err(error) => {
                self.failure.get_or_insert(error.into());
                return;
            }
        };
        for event in events {
            let found = match event {
                LogEvent::Read { entries, .. } => entries.into_iter().next(),
                LogEvent::ReadFailed { .. } => None,
                LogEvent::SnapshotBytes { to, index, offset, chunk } => {
                    let (lent, part) = ((to, index, offset), chunk.as_ref());
                    self.lending.read(&self.log, lent, part, &mut self.outputs);
                    continue;
                }
                LogEvent::SnapshotWritten { index, bytes } => {
                    self.part_is_written(index, bytes);
                    continue;
                }
                LogEvent::SnapshotReceived { snapshot } => {
                    self.adopt(snapshot);
                    continue;
                }
                LogEvent::SnapshotRejected { .. } => {
                    self.fetch.over();
                    continue;
                }
                _ => continue,
            };
            if let Some(asked) = self.reads.pop_front() {
                let (to, index) = (asked.by, asked.index);
                let message =
                    PeerMessage::RepairReply { index, verdict: after_reading(asked, found) };
                self.outputs.push(Output::Send { to, message });
            }
        }
    }

    /// A peer says what it has.
    fn told(&mut self, from: NodeId, index: LogIndex, verdict: RepairVerdict) {
        if !self.peers().contains(&from) {
            return;
        }
        if let RepairVerdict::Entry(entry) = &verdict
            && entry.index != index
        {
            let why = format!("it supplies entry {} for {index}", entry.index);
            self.outputs.push(Output::PeerRejected { from, why });
            return;
        }
        let asked = self.log.damaged().into_iter().take(ASK_AT_ONCE + 1).collect::<Vec<_>>();
        let wanted = asked.iter().any(|d| d.index == index || d.index.previous() == index);
        if !wanted {
            return;
        }
        self.said.entry(index).or_default().insert(from, verdict);
        self.repair_known_terms(from, index);
        self.decide();
    }

    /// An entry whose term is known needs one answer.
    fn repair_known_terms(&mut self, from: NodeId, index: LogIndex) {
        let damaged = self.log.damaged();
        let Some(term) = damaged.iter().find(|d| d.index == index).and_then(|d| d.term) else {
            return;
        };
        let verdict = self.said.get(&index).and_then(|said| said.get(&from));
        if let Some(RepairVerdict::Entry(entry)) = verdict
            && entry.term == term
        {
            let entry = entry.clone();
            self.supply(entry);
        }
    }

    fn supply(&mut self, entry: Entry) {
        let (index, term) = (entry.index, entry.term);
        match self.log.repair(entry) {
            Ok(()) => {
                self.repaired.insert(index, term);
                self.said.remove(&index);
            }
            Err(why) => {
                // Whoever said so will be asked again.
                self.said.remove(&index);
                self.outputs.push(Output::PeerRejected { from: self.id, why });
            }
        }
    }

    /// Does what is certain about the first damaged entry, and the next.
    fn decide(&mut self) {
        while let Some(first) = self.log.damaged().first() {
            let index = first.index;
            match self.decision(first) {
                Decision::Heal(entry) => self.supply(entry),
                Decision::Cut => {
                    if let Err(why) = self.log.cut_from(index) {
                        self.outputs.push(Output::PeerRejected { from: self.id, why });
                        return;
                    }
                    self.said.clear();
                    self.configurations.retain(|(at, _)| *at < index);
                }
                Decision::Wait => return,
            }
        }
    }

    fn decision(&self, first: &Damaged) -> Decision {
        let index = first.index;
        let Some(said) = self.said.get(&index) else { return Decision::Wait };
        let before = &self.configuration_before(index).voters;
        let is_founding = before.is_empty();
        let founders = self.configurations.first().map(|(_, founding)| &founding.voters);
        let voters = founders.filter(|_| is_founding).unwrap_or(before);
        let majority = voters.len() / 2 + 1;
        let of_voters = || said.iter().filter(|(peer, _)| voters.contains(peer));
        let lacking = of_voters().filter(|(_, v)| **v == RepairVerdict::Lacks).count();
        if lacking >= majority && !is_founding {
            return Decision::Cut;
        }
        if first.term.is_some() {
            return Decision::Wait;
        }
        // The term is not known: a majority must have the same, continuing this log.
        let before = index.previous();
        let continues = |peer: &NodeId| {
            let said = self.said.get(&before).and_then(|said| said.get(peer));
            let compacted = matches!(said, Some(RepairVerdict::CannotTell { compacted_to })
                if *compacted_to >= before && before > LogIndex(0));
            before == LogIndex(0)
                || compacted
                || matches!(said, Some(RepairVerdict::Entry(entry))
                if Some(entry.term) == self.term_at(before))
        };
        let mut same: BTreeMap<Term, (usize, &Entry)> = BTreeMap::new();
        for (peer, verdict) in of_voters() {
            if let RepairVerdict::Entry(entry) = verdict
                && continues(peer)
            {
                same.entry(entry.term).or_insert((0, entry)).0 += 1;
            }
        }
        match same.into_values().find(|(count, _)| *count >= majority) {
            Some((_, entry)) => Decision::Heal(entry.clone()),
            None => Decision::Wait,
        }
    }
}

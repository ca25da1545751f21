//! Replication: how the leader makes other logs equal to its own (§5.3).
//!
//! # The problem
//! Clients' commands arrive at the leader. They must stand in every server's log, in one order,
//! though messages are lost, doubled, late and out of order, and though some logs hold entries of
//! leaders past that nobody else has.
//!
//! # What can go wrong
//! - A follower takes entries after a gap, or after an entry that is not the leader's. So each
//!   message names the entry right before its own, by index and term, and a follower that does not
//!   have exactly that one refuses. By induction, two logs that agree on one entry's term agree on
//!   everything before it (Log Matching, figure 3).
//! - A late message shortens a log:
//!   1. The leader sends entries 4–5, then 4–7; the network swaps them.
//!   2. The follower takes 4–7 and acknowledges. Entry 7 becomes committed.
//!   3. 4–5 arrives. If the follower cut its log to what the message holds, 6–7 would be gone.
//!
//!   So only an entry that *conflicts* (same index, other term) is removed, with all after it.
//! - Searching for the place of agreement one entry at a time takes for ever. So a refusal says
//!   which term the follower has there and where that term begins, and the leader skips it whole.
//! - A follower commits what it does not have: the leader's commit index may lie past what this
//!   message has shown to agree. So a follower goes no further than that.
//! - An acknowledgement outruns the disk. So it waits for the write that holds the entries.
//!
//! # The rule
//! The leader appends, and sends to all at once, while its own disk writes as well (dissertation
//! §10.2.1). It repeats without end until each follower has everything. A follower checks the
//! previous entry, removes what conflicts, appends what is new, and answers how far its log is
//! equal *and durable*. The leader never removes or changes an entry of its own (Leader
//! Append-Only, figure 3).
//!
//! ```text
//!   index      1   2   3   4   5   6        S1 leads term 6, and asks: do you have 6/6?
//!   S1         1   1   4   4   6   6
//!   S2         1   1   4   4                "my log ends before 5"       → S1 asks for 4/4: yes
//!   S3         1   1   2   2   2   3        "I have term 3 there, since 6"
//!                                           → S1 knows no term 3, asks for 5/6
//!                                           "I have term 2 there, since 3"
//!                                           → S1 asks for 2/1: yes. 3 to 6 go, S1's come
//! ```
//!
//! # Caveats
//! A heartbeat must not wait for a slow disk, or the leader would seem to lose its followers
//! whenever their disks are busy. So an empty message is answered at once, with what is durable by
//! then. It asks about `match_index`, which the follower surely has, so that it may overtake the
//! entries in flight without seeming to reveal a gap.
//!
//! The answer to a leader whose term is over says so and nothing else:
//! 1. S1 leads term 4. Its heartbeat of round 7 to S2 is late.
//! 2. S1 loses its leadership, and wins term 5 with S2's vote. Its rounds begin anew.
//! 3. The heartbeat of term 4 arrives at S2, which refuses it, in term 5. If it echoed the round,
//!    S1 would take it for S2's word that it still follows in round 7 of term 5, and serve stale
//!    reads for a long time ([`reads`](super::reads)).
//!
//! What is compacted away was committed, and so is equal everywhere. A follower therefore takes a
//! previous entry before the beginning of its log for one that matches; and a leader that has none
//! to name, since it is compacted, sends a heartbeat "after entry 0", and the follower a snapshot
//! ([`snapshot`](super::snapshot)).
//!
//! # When the rule is removed
//! - The place of agreement: `a_diverged_follower_is_repaired` (figure 7).
//! - Only conflicts are removed: `a_late_short_append_removes_nothing`;
//!   `museum_short_append_truncates` loses a committed entry.
//! - No further than what agrees: `museum_commit_past_match` applies what was never committed.
//! - Acknowledgements wait: `an_acknowledgement_waits_for_the_disk`, and yet
//!   `a_heartbeat_does_not_wait_for_the_disk`. The museum's `ack-before-disk` is the simulator's.
//! - Without end: `lost_messages_are_sent_again`.

use std::collections::{BTreeMap, VecDeque};

use super::log::Log;
use super::message::{AppendResult, Message};
use super::progress::{Progress, State};
use super::reads::Reads;
use super::state::{Leader, Raft, RoleState};
use crate::consensus::{Config, Consensus, Effect, Entry, Payload, Proposal, Refusal};
use crate::museum::Bug;
use crate::types::{Instant, LogIndex, NodeId, Term, Ticket};

/// A follower far behind gets messages of a quarter of the size, and four times as many: while one
/// is read from the leader's disk, another is on its way, a third is written and a fourth applied;
/// and no single one keeps the leader from its clients for long.
const CATCH_UP_PARTS: usize = 4;

/// The leader's side.
impl Raft {
    /// Takes over: opens the term with a no-op (§8) and tells everyone.
    pub(super) fn lead(&mut self, now: Instant) {
        let first_of_term = self.log.last_index().next();
        let progress: BTreeMap<NodeId, Progress> =
            self.others().into_iter().map(|id| (id, Progress::new(now, first_of_term))).collect();
        self.elections_won += 1;
        // Whatever a leader of the past was sending: a leader's log comes from nobody.
        self.receiving = None;
        self.role = RoleState::Leader(Box::new(Leader {
            since: now,
            progress,
            first_of_term,
            heartbeat_due: now + self.config.heartbeat_interval,
            reads: Reads::default(),
            proposed: VecDeque::new(),
            proposed_bytes: 0,
            transfer: None,
        }));
        self.append(Entry { term: self.term(), index: first_of_term, payload: Payload::Noop });
        self.replicate(now);
    }

    /// Appends clients' commands, in order.
    pub(super) fn propose(&mut self, now: Instant, proposals: Vec<Proposal>) {
        let before = self.log.last_index();
        let mut batch_bytes = 0;
        for proposal in proposals {
            let (ticket, size) = (proposal.ticket, proposal.command.len());
            match self.take(proposal) {
                Ok(true) => batch_bytes += size,
                Ok(false) => {}
                Err(why) => self.refuse(ticket, why),
            }
        }
        let last = self.log.last_index();
        if let Some(leader) = self.leading_mut().filter(|_| last > before) {
            leader.proposed.push_back((last, batch_bytes));
            self.replicate(now);
        }
    }

    /// Takes one command: whether it stands in the log now, or is held during a transfer.
    fn take(&mut self, Proposal { ticket, command }: Proposal) -> Result<bool, Refusal> {
        let (limit, size) = (self.config.max_uncommitted_bytes, command.len());
        let regardless = self.has(Bug::TransferToLagging);
        let known = self.leader();
        let Some(leader) = self.leading_mut() else {
            return Err(Refusal::NotLeader { leader: known });
        };
        if let Some(transfer) = leader.transfer.as_mut().filter(|_| !regardless) {
            transfer.hold(Proposal { ticket, command }, limit)?;
            return Ok(false);
        }
        if leader.proposed_bytes + size > limit {
            return Err(Refusal::Busy);
        }
        leader.proposed_bytes += size;
        self.append_next(ticket, Payload::Command(command));
        Ok(true)
    }

    /// Appends an entry of this leader's, and says where it stands.
    pub(super) fn append_next(&mut self, ticket: Ticket, payload: Payload) {
        let (term, index) = (self.term(), self.log.last_index().next());
        self.append(Entry { term, index, payload });
        self.effect(Effect::Accepted { ticket, index, term });
    }

    /// Sends every follower what it lacks, as far as its window allows.
    pub(super) fn replicate(&mut self, now: Instant) {
        for id in self.others() {
            self.replicate_to(now, id);
        }
    }

    /// Sends `id` what it lacks, as far as its window allows.
    pub(super) fn replicate_to(&mut self, now: Instant, id: NodeId) {
        while self.send_next(now, id) {}
    }

    /// Sends `id` one message of entries, or asks the disk for them. Whether it may go on.
    fn send_next(&mut self, now: Instant, id: NodeId) -> bool {
        let header = Header::of(self);
        let Raft { role: RoleState::Leader(leader), log, effects, config, .. } = self else {
            return false;
        };
        let Some(progress) = leader.progress.get_mut(&id) else { return false };
        let next = progress.next_index;
        let last = log.last_index();
        let far_behind = next < log.cached_from();
        let parts = if far_behind { CATCH_UP_PARTS } else { 1 };
        match &progress.state {
            State::Snapshot(_) => return false,
            State::Probe { sent: true } => return false,
            State::Probe { .. } | State::Replicate(_) if next < log.first_index() => {
                self.begin_snapshot(now, id);
                return false;
            }
            State::Probe { sent: false } => {}
            State::Replicate(_) if next > last => return false,
            State::Replicate(_) if window_is_full(config, progress, parts) => return false,
            State::Replicate(_) if far_behind => {
                if progress.reading_from.is_none() {
                    progress.reading_from = Some(next);
                    let to = log.cached_from().previous();
                    let max_bytes = config.max_message_bytes / CATCH_UP_PARTS;
                    effects.push(Effect::ReadLog { from: next, to, max_bytes });
                }
                return false;
            }
            State::Replicate(_) => {}
        }
        let entries = log.slice(next, last, config.max_message_bytes);
        send_entries(now, log, effects, (id, progress), header, entries)
    }

    /// The disk has read entries that were not cached: for a follower, or for the state machine.
    pub(super) fn log_read(&mut self, now: Instant, from: LogIndex, mut entries: Vec<Entry>) {
        // They may have been removed since they were asked for.
        // (The term of the last one removed is still known, and must not let it pass.)
        let first = self.log.first_index();
        let there = |e: &&Entry| e.index >= first && self.log.term(e.index) == Some(e.term);
        let still = entries.iter().take_while(there).count();
        entries.truncate(still);
        self.log_read_for_applying(from, &entries);
        for id in self.others() {
            let header = Header::of(self);
            let Raft { role: RoleState::Leader(leader), log, effects, config, .. } = self else {
                return;
            };
            let Some(progress) = leader.progress.get_mut(&id) else { continue };
            if progress.reading_from != Some(from) {
                continue;
            }
            progress.reading_from = None;
            let replicating = matches!(progress.state, State::Replicate(_));
            let wanted = replicating && progress.next_index == from && !entries.is_empty();
            if wanted && !window_is_full(config, progress, CATCH_UP_PARTS) {
                send_entries(now, log, effects, (id, progress), header, entries.clone());
            }
            self.replicate_to(now, id);
        }
    }

    /// The time has come to be heard of, and to look after messages that nobody answered.
    pub(super) fn heartbeat(&mut self, now: Instant) {
        let Config { heartbeat_interval, election_timeout, .. } = &self.config;
        let (due, timeout) = (now + *heartbeat_interval, election_timeout.end);
        self.check_quorum(now);
        self.look_after_transfer(now);
        self.look_after_snapshots(now);
        let Some(leader) = self.leading_mut() else { return };
        leader.heartbeat_due = due;
        for progress in leader.progress.values_mut() {
            progress.give_up_overdue(now, timeout);
        }
        self.begin_lease_round(now);
        self.send_heartbeats();
    }

    /// Asserts leadership, and asks everyone to confirm the newest round of reads.
    pub(super) fn send_heartbeats(&mut self) {
        let header = Header::of(self);
        let Raft { role: RoleState::Leader(leader), log, effects, .. } = self else { return };
        for (id, progress) in &leader.progress {
            let previous = match progress.state {
                State::Probe { .. } => progress.next_index.previous(),
                State::Replicate(_) | State::Snapshot(_) => progress.match_index,
            };
            let message = header.append_entries(log, previous, Vec::new());
            effects.push(Effect::Send { to: *id, message, after: None });
        }
    }

    /// A follower answers (figure 2, rules for leaders).
    pub(super) fn append_entries_reply(
        &mut self,
        now: Instant,
        from: NodeId,
        term: Term,
        round: u64,
        result: AppendResult,
    ) {
        if term < self.term() {
            return;
        }
        let limit = self.config.election_timeout.end;
        let Raft { role: RoleState::Leader(leader), log, .. } = self else { return };
        let Some(progress) = leader.progress.get_mut(&from) else { return };
        progress.last_heard = Some(now);
        progress.acknowledged_round = progress.acknowledged_round.max(round);
        match result {
            AppendResult::Matched(index) => {
                progress.matched(now, index, limit);
                progress.count_rounds(now, log.last_index(), limit);
            }
            AppendResult::Stale => {}
            AppendResult::Conflict { rejected, term, index } => {
                // An answer to a question that is no longer open changes nothing.
                let open = match progress.state {
                    State::Probe { .. } => rejected == progress.next_index.previous(),
                    State::Replicate(_) => rejected > progress.match_index,
                    State::Snapshot(_) => false,
                };
                if open {
                    progress.probe_from(agreement_hint(log, rejected, term, index));
                }
            }
        }
        self.advance_commit(now);
        self.confirm_reads(now);
        self.replicate_to(now, from);
        self.tell_successor(from);
    }
}

/// The follower's side.
impl Raft {
    /// A leader replicates, or asserts itself (figure 2, AppendEntries RPC, receiver).
    pub(super) fn append_entries(&mut self, now: Instant, from: NodeId, message: Message) {
        let Message::AppendEntries {
            term,
            prev_log_index,
            prev_log_term,
            entries,
            leader_commit,
            round,
            ..
        } = message
        else {
            return;
        };
        let reply = |raft: &Raft, result| {
            let term = raft.term();
            Message::AppendEntriesReply { term, round, result }
        };
        if term < self.term() {
            // Its time is over; this server's term in the reply tells it so.
            let stale = Message::AppendEntriesReply {
                term: self.term(),
                round: 0,
                result: AppendResult::Stale,
            };
            self.send_durably(from, stale, None);
            return;
        }
        self.follow(now, term, Some(from));
        let compacted = prev_log_index < self.log.first_index().previous();
        if !compacted && self.log.term(prev_log_index) != Some(prev_log_term) {
            let refusal = self.conflict_at(prev_log_index);
            self.send_durably(from, reply(self, refusal), None);
            return;
        }
        let matched = prev_log_index + entries.len() as u64;
        let is_heartbeat = entries.is_empty();
        self.take_entries(matched, entries);
        let known = if self.has(Bug::CommitPastMatch) { self.log.last_index() } else { matched };
        self.commit_up_to(leader_commit.min(known));
        if is_heartbeat {
            let durable = AppendResult::Matched(matched.min(self.durability.index));
            self.send_durably(from, reply(self, durable), None);
        } else {
            let awaited = self.durability.awaited_for(matched);
            self.send_durably(from, reply(self, AppendResult::Matched(matched)), awaited);
        }
    }

    /// Removes what conflicts with `entries` and appends what is new of them.
    fn take_entries(&mut self, matched: LogIndex, entries: Vec<Entry>) {
        let first_index = self.log.first_index();
        let has = |e: &&Entry| e.index < first_index || self.log.term(e.index) == Some(e.term);
        let known = entries.iter().take_while(has).count();
        let shortened = matched.next().max(self.commit_index.next());
        if self.has(Bug::ShortAppendTruncates)
            && !entries.is_empty()
            && known == entries.len()
            && shortened <= self.log.last_index()
        {
            self.truncate_from(shortened);
            return;
        }
        let Some(first) = entries.get(known) else { return };
        if first.index <= self.log.last_index() {
            self.truncate_from(first.index);
        }
        for entry in entries.into_iter().skip(known) {
            self.append(entry);
        }
    }

    /// What a follower says of a previous entry that it does not have (end of §5.3).
    fn conflict_at(&self, rejected: LogIndex) -> AppendResult {
        match self.log.term(rejected) {
            Some(term) => {
                let index = self.log.first_index_of_term_at(rejected);
                AppendResult::Conflict { rejected, term, index }
            }
            None => {
                let index = self.log.last_index().next();
                AppendResult::Conflict { rejected, term: Term(0), index }
            }
        }
    }
}

/// What every AppendEntries of a leader says alike.
#[derive(Clone, Copy)]
struct Header {
    term: Term,
    leader_commit: LogIndex,
    round: u64,
}

impl Header {
    fn of(raft: &Raft) -> Header {
        let round = raft.leading().map_or(0, |leader| leader.reads.newest_round());
        Header { term: raft.term(), leader_commit: raft.commit_index, round }
    }

    fn append_entries(self, log: &Log, previous: LogIndex, entries: Vec<Entry>) -> Message {
        let Header { term, leader_commit, round } = self;
        // Compacted: any server has what is before the log.
        let (prev_log_index, prev_log_term) =
            log.term(previous).map_or_else(Default::default, |term| (previous, term));
        Message::AppendEntries {
            term,
            prev_log_index,
            prev_log_term,
            entries,
            leader_commit,
            round,
        }
    }
}

/// Sends `entries`, which begin at the follower's next index, and notes it. Whether more may
/// follow.
fn send_entries(
    now: Instant,
    log: &Log,
    effects: &mut Vec<Effect<Raft>>,
    (id, progress): (NodeId, &mut Progress),
    header: Header,
    entries: Vec<Entry>,
) -> bool {
    let previous = progress.next_index.previous();
    let bytes = entries.iter().map(Entry::size).sum();
    let last = entries.last().map(|entry| entry.index);
    let message = header.append_entries(log, previous, entries);
    effects.push(Effect::Send { to: id, message, after: None });
    match (&mut progress.state, last) {
        (State::Probe { sent }, _) => {
            *sent = true;
            false
        }
        (State::Replicate(in_flight), Some(last)) => {
            in_flight.push(now, last, bytes);
            progress.next_index = last.next();
            true
        }
        (State::Replicate(_), None) | (State::Snapshot(_), _) => false,
    }
}

/// Whether another message must wait, when messages are but one of so many `parts` of a full one.
fn window_is_full(config: &Config, progress: &Progress, parts: usize) -> bool {
    let Config { max_in_flight_messages, max_in_flight_bytes, .. } = config;
    match &progress.state {
        State::Probe { sent } => *sent,
        State::Replicate(f) => f.is_full(max_in_flight_messages * parts, *max_in_flight_bytes),
        State::Snapshot(_) => true,
    }
}

/// Where to look next for the place where the logs agree (end of §5.3).
///
/// The follower has `term` at `rejected`, from `index` on (or its log ends before `index`). If the
/// leader has entries of that term, the logs may agree up to its last one; else the follower's
/// whole run of that term must go.
fn agreement_hint(log: &Log, rejected: LogIndex, term: Term, index: LogIndex) -> LogIndex {
    let next = match log.last_index_of_term(term) {
        Some(last) if term > Term(0) => last.next(),
        _ => index,
    };
    // Never forward, so that the search ends. Before the log's beginning: a snapshot is needed.
    next.min(rejected).max(LogIndex(1))
}

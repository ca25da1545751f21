//! Between the core and the world: what happened goes in, and what it wants done is done.

use std::collections::VecDeque;

use super::running::MAX_SAMPLES;
use super::supply::Reader;
use super::{Fatal, Observation, Output, PeerMessage, Running, pending};
use crate::consensus::{Consensus, Effect, Entry, Input, Payload, Persist};
use crate::kv::{self, version::MEMBERS_ARE_KNOWN};
use crate::museum::Bug;
use crate::storage::{Disk, LogEvent};
use crate::types::{Instant, LogIndex, Seq};

impl<C: Consensus, D: Disk> Running<C, D> {
    /// Collects what the disk has done.
    pub(super) fn poll_log(&mut self, now: Instant) {
        let events = match self.log.poll(now) {
            Ok(events) => events,
            Err(error) => {
                self.failure.get_or_insert(error.into());
                return;
            }
        };
        for event in events {
            self.log_says(now, event);
        }
    }

    fn log_says(&mut self, now: Instant, event: LogEvent) {
        match event {
            LogEvent::Durable(seq) => {
                self.note(|| Observation::Durable(seq));
                self.step(now, Input::Persisted { seq });
                self.release(seq);
            }
            LogEvent::Read { from, entries } => self.log_read(now, from, entries),
            LogEvent::ReadFailed { from } => self.log_read(now, from, Vec::new()),
            LogEvent::SnapshotPartWritten => self.snapshot_part_written(),
            LogEvent::SnapshotSaved { index } => {
                self.note(|| Observation::SnapshotSaved { index });
                self.snapshot_saved(now, index);
            }
            LogEvent::SnapshotFailed { index, why } => self.snapshot_failed(now, index, &why),
            LogEvent::SnapshotBytes { to, index, offset, chunk } => {
                let (lent, part) = ((to, index, offset), chunk.as_ref());
                if self.lending.read(&self.log, lent, part, &mut self.outputs) {
                    return;
                }
                self.step(now, Input::SnapshotRead { to, index, offset, chunk });
            }
            LogEvent::SnapshotWritten { index, bytes } => {
                self.step(now, Input::SnapshotWritten { index, bytes });
            }
            LogEvent::SnapshotReceived { snapshot } => {
                self.received = Some(snapshot.clone());
                self.step(now, Input::SnapshotReceived { snapshot });
            }
            LogEvent::SnapshotRejected { index, .. } => {
                self.counters.snapshots_failed += 1;
                self.step(now, Input::SnapshotRejected { index });
            }
            LogEvent::SnapshotPart { index, at, part, next } => {
                self.part_read(now, index, at, part, next);
            }
        }
    }

    fn log_read(&mut self, now: Instant, from: LogIndex, entries: Vec<Entry>) {
        match self.reads.pop_front() {
            Some(Reader::Peer(asked)) => self.repair_read(asked, entries.into_iter().next()),
            Some(Reader::Core) | None => self.step(now, Input::LogRead { from, entries }),
        }
    }

    /// Sends what waited for `seq`.
    fn release(&mut self, seq: Seq) {
        while let Some(first) = self.held.first_entry().filter(|entry| *entry.key() <= seq) {
            for (to, message) in first.remove() {
                self.outputs.push(Output::Send { to, message: PeerMessage::Consensus(message) });
            }
        }
    }

    /// Steps the core, and does what it says until it has nothing more to say.
    pub(super) fn step(&mut self, now: Instant, input: Input<C>) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            if let Some(recorder) = &mut self.recorder {
                recorder.before(&self.core, now, &input);
            }
            let before = self.core.checkpoint();
            let effects = self.core.step(now, input);
            self.core.assert_invariants(&before);
            if let Some(recorder) = &mut self.recorder {
                recorder.after(&effects);
            }
            if self.first_led.is_none() && self.core.leader() == Some(self.id) {
                self.first_led = Some(self.core.checkpoint().term);
            }
            for effect in effects {
                inputs.extend(self.carry_out(now, effect));
            }
        }
    }

    /// Does one thing that the core wants done; the input that answers it, if that is known now.
    fn carry_out(&mut self, now: Instant, effect: Effect<C>) -> Option<Input<C>> {
        match effect {
            Effect::Persist(persist) => self.persist(&persist),
            Effect::Send { to, message, after: Some(seq) } => {
                self.held.entry(seq).or_default().push((to, message));
            }
            Effect::Send { to, message, after: None } => {
                self.outputs.push(Output::Send { to, message: PeerMessage::Consensus(message) });
            }
            Effect::Apply { entries, .. } => {
                let index = self.apply(now, entries)?;
                return Some(Input::Applied { index });
            }
            Effect::ReadLog { from, to, max_bytes } => {
                self.note(|| Observation::ReadLog { from });
                self.reads.push_back(Reader::Core);
                self.log.read(from, to, max_bytes);
            }
            Effect::Accepted { ticket, index, term } if self.orders.knows(ticket) => {
                self.orders.begun(ticket, index, term);
            }
            Effect::Accepted { ticket, index, term } => {
                self.counters.proposals_accepted += 1;
                self.leases.accepted(ticket, index);
                self.pending.advance(ticket, pending::Stage::Proposed { index, term });
            }
            Effect::ServeRead { ticket, at } => self.read_confirmed(now, ticket, at),
            Effect::Refuse { ticket, why } if self.orders.knows(ticket) => {
                self.order_refused(now, ticket, why);
            }
            Effect::Refuse { ticket, why } => self.core_refused(now, ticket, why),
            Effect::ReadSnapshot { to, index, offset, max_bytes } => {
                self.log.read_snapshot(to, index, offset, max_bytes);
            }
            Effect::WriteSnapshot { index, term, offset, chunk } => {
                self.log.receive_snapshot(index, term, offset, chunk);
            }
            Effect::InstallSnapshot { index } => self.install_snapshot(index),
            Effect::Compact { to } => {
                self.note(|| Observation::Compacted { to });
                self.compact(to);
            }
            Effect::PeerRejected { from, why } => {
                self.counters.peers_rejected += 1;
                self.outputs.push(Output::PeerRejected { from, why });
            }
        }
        None
    }

    fn persist(&mut self, persist: &Persist<C::HardState>) {
        self.note(|| Observation::Asked(persist.clone()));
        if let Some(first) = persist.truncate_from {
            self.counters.removals += 1;
            self.removed = Some((first, self.log.status().last_index));
        }
        self.log.append(persist);
        let changes = |entry: &Entry| matches!(entry.payload, Payload::Configuration(_));
        if persist.truncate_from.is_some()
            || persist.snapshot.is_some()
            || persist.entries.iter().any(changes)
        {
            let configuration = self.core.status().configuration;
            if configuration != self.announced {
                self.announced = configuration.clone();
                self.outputs.push(Output::Configuration(configuration));
            }
        }
    }

    /// Applies committed entries, answers those who wait for them, and says how far it came. While
    /// a snapshot is being installed, they wait.
    pub(super) fn apply(&mut self, now: Instant, entries: Vec<Entry>) -> Option<LogIndex> {
        if let Some(installing) = &mut self.installing {
            installing.keep(entries);
            return None;
        }
        let last = entries.last()?.index;
        let begun = self.stopwatch.map(|time| time());
        for entry in entries {
            self.apply_one(now, entry);
            if let Some(to) = self.machine.outgrown() {
                let supports = self.machine.supports();
                self.failure.get_or_insert(Fatal::Outgrown { to, supports });
                return None;
            }
        }
        if let (Some(time), Some(begun)) = (self.stopwatch, begun)
            && self.samples.applies.len() < MAX_SAMPLES
        {
            self.samples.applies.push(time().saturating_sub(begun));
        }
        self.answer_reads_up_to(now, last);
        Some(last)
    }

    fn apply_one(&mut self, now: Instant, entry: Entry) {
        self.counters.entries_applied += 1;
        self.snapshots.count(entry.size());
        if self.bugs.has(Bug::SnapshotAheadOfState) {
            self.snapshots.remember(self.machine.clone());
        }
        let Entry { index, term, payload } = entry;
        self.applied_term = term;
        let outcome = match &payload {
            Payload::Command(command) => Some(self.machine.apply(index, command)),
            Payload::Noop | Payload::Configuration(_) => {
                self.machine.skip(index);
                None
            }
        };
        self.note(|| {
            let (payload, outcome) = (payload.clone(), outcome.clone());
            Observation::Applied { index, term, payload, outcome }
        });
        if let (Payload::Command(command), Some(outcome)) = (&payload, &outcome) {
            self.lease_applied(now, (index, term), command, outcome);
        }
        if let Payload::Configuration(configuration) = &payload {
            self.applied_configuration = configuration.clone();
        }
        let raised = Some(kv::Effect::Raised { version: MEMBERS_ARE_KNOWN });
        let changes = matches!(payload, Payload::Configuration(_));
        if changes || outcome.as_ref().map(|outcome| &outcome.effect) == raised.as_ref() {
            let configuration = &self.applied_configuration;
            self.machine.know_members(&configuration.members(), &configuration.voters);
        }
        self.entry_applied(now, index, term, outcome);
        match payload {
            Payload::Configuration(configuration) => {
                self.order_applied(index, term, Some(&configuration));
            }
            Payload::Command(_) | Payload::Noop => self.order_applied(index, term, None),
        }
        if self.agreement.is_due(index) {
            self.tell_state(index);
        }
    }

    pub(super) fn answer_reads_up_to(&mut self, now: Instant, applied: LogIndex) {
        for ticket in self.pending.answerable(applied) {
            self.answer_read(now, ticket);
        }
    }
}

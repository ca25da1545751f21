//! Leases: that they end, and when.
//!
//! # The problem
//! A lease ends when its time is over, and no entry of the log knows what time it is. Somebody must
//! say that it is over, and whoever says it may be wrong: a leader that was stopped for a while,
//! and does not know yet that another leads, has not heard of the keep-alives that the other took.
//!
//! # The rule
//! The leader keeps each lease's [deadline](super::deadlines), on its own clock. It begins with the
//! first entry of its term that it applies: by then it knows of all that earlier leaders left, and
//! gives every lease its whole time anew; or what a checkpoint says is left. When a deadline is
//! past, it has its leadership confirmed, as for a read, and proposes to revoke the lease.
//!
//! A keep-alive is acknowledged by a leader that was confirmed after it came, and counts from then:
//! see [`keep_alive`](super::keep_alive). No lease ends before its time has passed since the *call*
//! of the last keep-alive that was acknowledged. Why, if
//!
//! - *the same leader* acknowledged it: its deadline moved first. If it had proposed the end
//!   before, the keep-alive is not acknowledged until it is known what came of the proposal, and
//!   then as too late.
//! - *an earlier leader* did, of term 4, say, and this one leads term 5: the quorum that confirmed
//!   term 4 after the call, and the one that elected the leader of term 5, have a server in common.
//!   It confirmed first, for in term 5 it would have refused. So the call is older than the
//!   leadership, with which every lease began anew.
//! - *a later leader* did, of term 6: it serves nobody before it has applied an entry of its own
//!   term. A revocation that term 5 proposed stands before that entry, or nowhere at all: so it was
//!   applied and the lease was gone, or it never will be.
//!
//! # Another of the same name
//! A client may revoke a lease and grant another one by the same name, while an expiry is under
//! way:
//! 1. A client's revocation of lease 7 stands in the log, and is not applied.
//! 2. Its time is over. The leader proposes to revoke it, too.
//! 3. A grant of lease 7 came in between.
//!
//! Then the second revocation would end a lease that has only begun. So a client's revocation
//! counts like the leader's own: while one is under way, no other is proposed; and it is certain
//! whether one is under way, because the core says of each proposal whether it is in the log.
//!
//! # Checkpoints
//! Where leaders change often, a lease of an hour that begins anew with each would never end. So
//! what has more than five minutes left is noted every five minutes
//! ([`LeaseCheckpoint`](Operation::LeaseCheckpoint)), many in one entry. The note is struck out
//! before a keep-alive is acknowledged, or the next leader would believe it.
//!
//! # Caveats
//! Deadlines rest on the leader's clock: if it runs twice as fast as the client's, a lease lasts
//! half as long. After a change of leader a lease ends later than it needs, by its whole time or by
//! [`NOTE_EVERY`](super::deadlines::NOTE_EVERY). No more than a thousand leases a second end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Running;
use super::deadlines::Deadlines;
use crate::consensus::{Consensus, Input};
use crate::kv::{AlarmKind, Command, Effect, LeaseCheckpoint, Operation, Outcome};
use crate::storage::Disk;
use crate::types::{Instant, LeaseId, LogIndex, Revision, Term, Ticket};

/// So many leases may end at once, and then again after this pause: a thousand a second, as etcd's.
const END_AT_ONCE: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// With so many ends under way, no more are proposed.
const MAX_ENDING: usize = 1000;

/// When the log has no room, or this node is stopping: until the next try.
const LONG_PAUSE: Duration = Duration::from_secs(1);

/// Leases in one checkpoint; etcd's.
const MAX_NOTES: usize = 1000;

/// What a leader knows of its leases; of all others, nothing.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    /// In which this replica leads.
    term: Option<Term>,
    /// Once all that earlier leaders left is applied.
    pub(super) deadlines: Option<Deadlines>,
    /// Leases whose time is over, and how far their end is.
    expiry: Expiry,
    /// When to propose the next ends, the next notes, and anything at all.
    ends_from: Instant,
    notes_from: Instant,
    tries_from: Instant,
    /// Proposed, and perhaps not in the log.
    proposed: BTreeMap<Ticket, UnderWay>,
    /// In the log, and not applied.
    logged: BTreeMap<LogIndex, UnderWay>,
    /// How many revocations of a lease are under way, a client's among them.
    pub(super) ending: BTreeMap<LeaseId, u32>,
    pub(super) noting: BTreeMap<LeaseId, Noting>,
    /// Their notes are to be struck out.
    pub(super) to_strike: BTreeSet<LeaseId>,
    /// Keep-alives that wait for what becomes of their lease.
    pub(super) waiting: BTreeMap<LeaseId, Vec<Ticket>>,
    /// Leases of which something became.
    decided: BTreeSet<LeaseId>,
}

/// How far the end of what is over has come.
#[derive(Clone, Debug, Default)]
enum Expiry {
    #[default]
    Nothing,
    /// For a quorum to confirm that this replica leads.
    Confirming { ticket: Ticket, leases: Vec<LeaseId> },
    /// It does. Keep-alives that came before are dealt with once this is applied.
    Confirmed { at: LogIndex, leases: Vec<LeaseId> },
}

/// A proposal that concerns leases.
#[derive(Clone, Debug)]
enum UnderWay {
    End { id: LeaseId, expired: bool },
    Note(Vec<LeaseId>),
}

/// Checkpoints of a lease that are under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Noting {
    count: u32,
    /// Whether the last of them strikes out what was noted before.
    pub strikes_out: bool,
}

impl Leases {
    /// A proposal got into the log.
    pub fn accepted(&mut self, ticket: Ticket, index: LogIndex) {
        if let Some(under_way) = self.proposed.remove(&ticket) {
            self.logged.insert(index, under_way);
        }
    }

    fn begin_end(&mut self, ticket: Ticket, id: LeaseId, expired: bool) {
        self.proposed.insert(ticket, UnderWay::End { id, expired });
        *self.ending.entry(id).or_default() += 1;
        if let Some(deadlines) = &mut self.deadlines {
            deadlines.set_ending(id, true);
        }
    }

    fn begin_note(&mut self, ticket: Ticket, ids: Vec<LeaseId>, strikes_out: bool) {
        for id in &ids {
            let noting = self.noting.entry(*id).or_default();
            (noting.count, noting.strikes_out) = (noting.count + 1, strikes_out);
        }
        self.proposed.insert(ticket, UnderWay::Note(ids));
    }

    /// A proposal was applied, or never will be. Those who wait learn of it at the end of the turn.
    fn is_over(&mut self, under_way: &UnderWay) {
        match under_way {
            UnderWay::End { id, .. } => {
                let left = self.ending.get(id).map_or(0, |count| count - 1);
                match left {
                    0 => drop(self.ending.remove(id)),
                    _ => drop(self.ending.insert(*id, left)),
                }
                if let Some(deadlines) = self.deadlines.as_mut().filter(|_| left == 0) {
                    deadlines.set_ending(*id, false);
                }
                self.decided.insert(*id);
            }
            UnderWay::Note(ids) => {
                for id in ids {
                    let noting = self.noting.get(id).copied().unwrap_or_default();
                    match noting.count.saturating_sub(1) {
                        0 => drop(self.noting.remove(id)),
                        count => drop(self.noting.insert(*id, Noting { count, ..noting })),
                    }
                    self.decided.insert(*id);
                }
            }
        }
    }
}

impl<C: Consensus, D: Disk> Running<C, D> {
    /// When this replica wants to look after its leases, if it leads.
    pub(super) fn leases_deadline(&self) -> Option<Instant> {
        let Leases { deadlines, expiry, ends_from, notes_from, tries_from, .. } = &self.leases;
        let deadlines = deadlines.as_ref()?;
        let is_idle = matches!(expiry, Expiry::Nothing);
        let end = deadlines.next_end().filter(|_| is_idle).map(|end| end.max(*ends_from));
        let note = deadlines.next_note().map(|note| note.max(*notes_from));
        [end, note].into_iter().flatten().min().map(|next| next.max(*tries_from))
    }

    /// Ends what is over and notes what lasts, if this replica leads; and answers those who waited.
    pub(super) fn look_after_leases(&mut self, now: Instant) {
        if !self.counts_leases(now) {
            return;
        }
        self.answer_decided(now);
        if now < self.leases.tries_from {
            return;
        }
        self.confirm_for_expiry(now);
        self.expire(now);
        self.strike_out(now);
        self.note_leases(now);
    }

    /// Whether this replica leads and knows all leases: then it has counted until now.
    pub(super) fn counts_leases(&mut self, now: Instant) -> bool {
        let leads = self.core.leader() == Some(self.id);
        let term = leads.then(|| self.core.checkpoint().term);
        if self.leases.term != term {
            let Leases { waiting, .. } =
                std::mem::replace(&mut self.leases, Leases { term, ..Leases::default() });
            for ticket in waiting.into_values().flatten() {
                self.ask_the_next_leader(ticket);
            }
        }
        if !leads {
            return false;
        }
        if let Some(deadlines) = &mut self.leases.deadlines {
            deadlines.pass(now);
            return true;
        }
        if self.installing.is_some() || Some(self.applied_term) != term {
            return false;
        }
        let mut deadlines = Deadlines::starting_at(now);
        for lease in self.machine.all_leases() {
            let left = if lease.remaining > 0 { lease.remaining } else { lease.granted };
            deadlines.renew(lease.id, Duration::from_secs(left));
        }
        self.leases.ending.keys().for_each(|id| deadlines.set_ending(*id, true));
        self.leases.deadlines = Some(deadlines);
        true
    }

    /// This replica leads, and proposes a client's revocation.
    pub(super) fn client_revokes(&mut self, now: Instant, ticket: Ticket, id: LeaseId) {
        self.counts_leases(now);
        self.leases.begin_end(ticket, id, false);
    }

    /// The core would not take something of `ticket`; whether it was of this replica's own.
    pub(super) fn lease_refused(&mut self, now: Instant, ticket: Ticket) -> bool {
        if matches!(self.leases.expiry, Expiry::Confirming { ticket: it, .. } if it == ticket) {
            self.leases.expiry = Expiry::Nothing;
            self.leases.ends_from = now + PAUSE;
            return true;
        }
        let Some(under_way) = self.leases.proposed.remove(&ticket) else { return false };
        self.leases.is_over(&under_way);
        self.leases.ends_from = now + PAUSE;
        !matches!(under_way, UnderWay::End { expired: false, .. })
    }

    /// A quorum has confirmed something for `ticket`; whether it was for an expiry.
    pub(super) fn expiry_confirmed(&mut self, ticket: Ticket, at: LogIndex) -> bool {
        match &mut self.leases.expiry {
            Expiry::Confirming { ticket: it, leases } if *it == ticket => {
                let leases = std::mem::take(leases);
                self.leases.expiry = Expiry::Confirmed { at, leases };
                true
            }
            _ => false,
        }
    }

    /// Has the leadership confirmed, if anything is over.
    fn confirm_for_expiry(&mut self, now: Instant) {
        let Leases { deadlines, expiry, ending, ends_from, .. } = &self.leases;
        let is_idle = matches!(expiry, Expiry::Nothing) && now >= *ends_from;
        let Some(deadlines) = deadlines.as_ref().filter(|_| is_idle) else { return };
        let leases: Vec<_> = deadlines.over().take(END_AT_ONCE).collect();
        if leases.is_empty() {
            return;
        }
        if ending.len() > MAX_ENDING {
            self.leases.ends_from = now + PAUSE;
            return;
        }
        // No lease ends while that is refused.
        if self.machine.roster().is_raised(AlarmKind::Corrupt) {
            self.leases.ends_from = now + LONG_PAUSE;
            return;
        }
        let ticket = self.pending.draw();
        self.leases.expiry = Expiry::Confirming { ticket, leases };
        self.step(now, Input::Read { ticket });
    }

    /// Proposes the end of what is over, and of what was not renewed since.
    fn expire(&mut self, now: Instant) {
        let Expiry::Confirmed { at, leases } = &mut self.leases.expiry else { return };
        if self.machine.applied_index() < *at {
            return;
        }
        let leases = std::mem::take(leases);
        self.leases.expiry = Expiry::Nothing;
        self.leases.ends_from = now + PAUSE;
        for id in leases {
            if !self.leases.deadlines.as_ref().is_some_and(|deadlines| deadlines.is_over(id)) {
                continue;
            }
            match self.propose_of_itself(Operation::LeaseRevoke { id }) {
                Some(ticket) => self.leases.begin_end(ticket, id, true),
                None => {
                    self.leases.tries_from = now + LONG_PAUSE;
                    return;
                }
            }
        }
    }

    /// Strikes out what was noted of leases that are kept alive.
    fn strike_out(&mut self, now: Instant) {
        let to_strike = self.leases.to_strike.iter().take(MAX_NOTES);
        let ids: Vec<_> = to_strike.copied().collect();
        if ids.is_empty() {
            return;
        }
        let struck = ids.iter().map(|id| LeaseCheckpoint { id: *id, remaining: 0 }).collect();
        match self.propose_of_itself(Operation::LeaseCheckpoint(struck)) {
            Some(ticket) => {
                for id in &ids {
                    self.leases.to_strike.remove(id);
                }
                self.leases.begin_note(ticket, ids, true);
            }
            None => self.leases.tries_from = now + LONG_PAUSE,
        }
    }

    /// Notes what long leases have left.
    fn note_leases(&mut self, now: Instant) {
        let is_time = now >= self.leases.notes_from;
        let Some(deadlines) = self.leases.deadlines.as_mut().filter(|_| is_time) else { return };
        let notes = deadlines.take_notes(MAX_NOTES);
        if notes.is_empty() {
            return;
        }
        let ids = notes.iter().map(|note| note.id).collect();
        match self.propose_of_itself(Operation::LeaseCheckpoint(notes)) {
            Some(ticket) => {
                self.leases.begin_note(ticket, ids, false);
                self.leases.notes_from = now + PAUSE;
            }
            None => self.leases.tries_from = now + LONG_PAUSE,
        }
    }

    /// The entry at `index` is applied: perhaps it concerns a lease.
    pub(super) fn lease_applied(
        &mut self,
        now: Instant,
        (index, term): (LogIndex, Term),
        command: &[u8],
        outcome: &Outcome,
    ) {
        self.counters.leases_granted += u64::from(outcome.effect == Effect::LeaseGranted);
        let is_revoked = matches!(outcome.effect, Effect::LeaseRevoked { .. });
        self.counters.leases_revoked += u64::from(is_revoked);
        if self.leases.term != Some(term) {
            return;
        }
        if let Some(under_way) = self.leases.logged.remove(&index) {
            self.leases.is_over(&under_way);
            if let UnderWay::End { id, expired } = under_way {
                self.counters.leases_expired += u64::from(expired && is_revoked);
                let is_gone = self.machine.lease(id).is_none();
                if let Some(deadlines) = self.leases.deadlines.as_mut().filter(|_| is_gone) {
                    deadlines.forget(id);
                }
            }
        }
        if outcome.effect == Effect::LeaseGranted
            && let Ok(Command { operation: Operation::LeaseGrant { id, .. }, .. }) =
                Command::decode(command)
            && let Some(lease) = self.machine.lease(id)
            && let Some(deadlines) = &mut self.leases.deadlines
        {
            deadlines.pass(now);
            deadlines.renew(id, Duration::from_secs(lease.granted));
        }
    }

    /// Answers the keep-alives that waited for what became of their lease.
    fn answer_decided(&mut self, now: Instant) {
        for id in std::mem::take(&mut self.leases.decided) {
            for ticket in self.leases.waiting.remove(&id).unwrap_or_default() {
                self.answer_about_lease(now, ticket);
            }
        }
    }

    /// All leases as this replica knows them, and the revision of its state: the first to end
    /// first, if it leads; else by their names.
    pub fn leases(&self) -> (Revision, Vec<LeaseId>) {
        let leases = match &self.leases.deadlines {
            Some(deadlines) => deadlines.in_order(),
            None => self.machine.all_leases().map(|lease| lease.id).collect(),
        };
        (self.machine.revision(), leases)
    }
}

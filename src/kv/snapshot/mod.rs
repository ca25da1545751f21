//! The state as parts, to be written down or sent, and to be made a machine of again.
//!
//! # The problem
//!
//! A state of gigabytes must leave a replica that goes on applying, and arrive at one that believes
//! nothing: a part may be damaged, missing, doubled, or of another snapshot.
//!
//! # The rule
//!
//! A [`MachineSnapshot`] is a clone of the machine, which costs O(1), and walks it part by part, as
//! fast as somebody takes the parts. Equal states give equal parts on every replica. A
//! [`Restore`](super::Restore) takes the parts in their order, refuses what is not the next one,
//! and hands out a machine only if its hash, summed up afresh from all that came, is the one that
//! the snapshot's end names.
//!
//! # The form
//!
//! Not Cap'n Proto but plain numbers, little-endian: there is one way to write a state, every bit
//! means something, and a gigabyte is read as fast as it is hashed. It only ever grows: a new kind
//! of record or a new form gets a new number, and what a program does not know it refuses.
//!
//! ```text
//! part     checksum u64 (XXH3 of the rest) · position u64 (from 0) · kind u8 · body
//! 1 head   form u16 (1 to 3) · version u16 of the machine · applied u64 · revision u64 · floor u64
//!          · keys u64 · sessions u64                                  the first part, once
//!          form 2: · was compacted u8 (0, 1) · at u64 · leases u64 · past u64 · changes u64
//!          form 3: · last member u64 · alarms u64 · members u64
//! 9 roster records, in one part: alarms ascending by member and kind, then members by number:
//!          1 u8 · member u64 · kind u8                                         an alarm that is on
//!          2 u8 · number u64 · is to vote u8 · name · addresses u32, each a string
//! 6 leases records, ascending by id: id u64 · granted u64 · remaining u64
//! 2 keys   records, ascending by key, none twice:
//!          create u64 · mod u64 · version u64 · from form 2 on: lease u64
//!          · key (length u32, bytes) · value (the same)
//! 7 past   records as under keys, ascending by key and mod; of a deletion, all but key and mod
//!          are zero or empty
//! 8 changes   records, ascending by revision and number in it:
//!          kind u8 · revision u64 · number u32 · kind 1 deletion, 2 of a version that is among
//!          keys or past: key · 3 of one that is not: a record as under keys
//! 3 sessions  records; sessions ascending by id, each followed by its results by number:
//!          1 u8 · id u128 · last used u64 · acknowledged u64 · full u64        a session
//!          2 u8 · number u64 · revision u64 · effect u8 · …                    its result
//!          effect: 1 put, 2 deleted: existed u8 · 3 swapped · 4 unchanged, nothing found
//!                  · 5 unchanged: a record as under keys
//!          form 2: 6 transaction: succeeded u8 · responses u32, each: kind u8,
//!                    1 range: more u8 · count u64 · items · 2 put: items (none, one)
//!                    · 3 delete: deleted u64 · items · 4 a transaction in it, the same
//!                    items: count u32, records as under keys
//!                  · 7 refused: number u8 · 8 compacted · 9 granted · 10 revoked: deleted u64
//!                  · 11 checkpointed
//!          form 3: 12 alarm: member u64 · kind u8 (0 none) · 13 announced · 14 enlisted
//! 4 end    state hash u128                                            the last part, once
//! 5 piece  last u8 (0, 1) · bytes       of a part too long for one; together: kind u8 · body
//! ```
//!
//! The kinds of parts come in the order in which they stand here, each as often as needed. A
//! machine of a [version](super::version) before 3 is written in form 1, so that the programs that
//! know no more can read it; of version 3 in form 2; from then on in form 3.
//!
//! A part is closed when the next record would make it longer than wished; a record that is longer
//! by itself has a part of its own, in pieces if it is longer than any part may be. A part of the
//! past is closed when so many keys have been looked at, too, and may hold nothing then.

pub(super) mod records;

use std::collections::VecDeque;

use bytes::{BufMut, Bytes};
use xxhash_rust::xxh3::xxh3_64;

use super::store::{History, Position};
use super::version::{KEYS_HAVE_A_PAST, MEMBERS_ARE_KNOWN};
use super::{KeyValue, Machine, SessionId};
use crate::types::{LeaseId, LogIndex, Revision};
use records::{
    LEASE_BYTES, MEMBER, RAISED, SESSION, SESSION_BYTES, SHORTEST_RESULT_BYTES, change_bytes,
    item_bytes, put_alarm, put_change, put_item, put_member, put_result,
};

/// Bytes of a part, unless a single record is longer.
pub const PART_BYTES: usize = 512 << 10;

/// Bytes of a part at most: what the log on disk takes.
pub const MAX_PART_BYTES: usize = 1 << 20;

/// The newest form described above.
pub const FORM: u16 = FORM_WITH_ROSTER;

/// Of a machine whose keys have no past.
pub(super) const FORM_WITHOUT_HISTORY: u16 = 1;

/// Of a machine whose keys have one. What exists only there is always written so, whatever forms
/// come later: a session's result is hashed as these bytes.
pub(super) const FORM_WITH_HISTORY: u16 = 2;

/// Of a machine that knows its members.
pub(super) const FORM_WITH_ROSTER: u16 = 3;

/// Keys that are looked at for one part of the past: most may have none, and to make a part must
/// not take long.
pub(super) const KEYS_FOR_PAST: usize = 16 << 10;

/// Before a part's body.
pub(super) const PART_HEADER: usize = 8 + 8 + 1;

pub(super) const HEAD: u8 = 1;
pub(super) const KEYS: u8 = 2;
pub(super) const SESSIONS: u8 = 3;
pub(super) const END: u8 = 4;
pub(super) const PIECE: u8 = 5;
pub(super) const LEASES: u8 = 6;
pub(super) const PAST: u8 = 7;
pub(super) const CHANGES: u8 = 8;
pub(super) const ROSTER: u8 = 9;

/// Why parts do not make a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("part {part} of the snapshot is damaged: {why}")]
    Damaged { part: u64, why: &'static str },
    #[error("part {found} of the snapshot came where part {wanted} belongs")]
    OutOfOrder { wanted: u64, found: u64 },
    #[error(
        "the snapshot is of form {found}; this program reads forms up to {FORM}: it was written by \
         a newer one"
    )]
    UnknownForm { found: u16 },
    #[error(
        "the snapshot's state machine is of version {found}, and this program knows versions up \
         to {supports}: install a newer program"
    )]
    UnknownVersion { found: u16, supports: u16 },
    #[error("the snapshot ends after {parts} parts, before it is complete")]
    Incomplete { parts: u64 },
    #[error("the snapshot's state has the hash {computed:032x}, and should have {named:032x}")]
    WrongState { named: u128, computed: u128 },
}

/// The state at one applied index, as an iterator of parts. The last part says that it is the last.
#[derive(Clone, Debug)]
pub struct MachineSnapshot {
    machine: Machine,
    part_bytes: usize,
    position: u64,
    next: Next,
    /// Of a part that was too long.
    pieces: VecDeque<Bytes>,
}

/// Where the next part begins.
#[derive(Clone, Debug)]
enum Next {
    Head,
    Roster,
    /// After this lease.
    Leases(LeaseId),
    /// After this key.
    Keys(Option<Bytes>),
    /// After this version of this key.
    Past(Option<(Bytes, Revision)>),
    /// After this one.
    Changes(Option<Position>),
    /// In the middle of this session, after the result of this number; or at the first session.
    Sessions(Option<(SessionId, Option<u64>)>),
    End,
    Nothing,
}

impl MachineSnapshot {
    pub(super) fn of(machine: Machine) -> MachineSnapshot {
        let (position, next, pieces) = (0, Next::Head, VecDeque::new());
        MachineSnapshot { machine, part_bytes: PART_BYTES, position, next, pieces }
    }

    /// The same, in parts of another length.
    pub fn in_parts_of(self, part_bytes: usize) -> MachineSnapshot {
        MachineSnapshot { part_bytes: part_bytes.min(MAX_PART_BYTES), ..self }
    }

    /// The last entry that the state has applied.
    pub fn applied_index(&self) -> LogIndex {
        self.machine.applied
    }

    fn part(&mut self, kind: u8, body: &mut Vec<u8>) -> Bytes {
        if body.len() > MAX_PART_BYTES {
            body[PART_HEADER - 1] = kind;
            return self.cut(&body[PART_HEADER - 1..]);
        }
        body[8..16].copy_from_slice(&self.position.to_le_bytes());
        body[16] = kind;
        let checksum = xxh3_64(&body[8..]);
        body[..8].copy_from_slice(&checksum.to_le_bytes());
        self.position += 1;
        std::mem::take(body).into()
    }

    /// Cuts what is too long for one part; the first piece of it.
    fn cut(&mut self, whole: &[u8]) -> Bytes {
        const PIECE_BYTES: usize = MAX_PART_BYTES - PART_HEADER - 1;
        let count = whole.len().div_ceil(PIECE_BYTES);
        for (place, bytes) in whole.chunks(PIECE_BYTES).enumerate() {
            let mut body = empty_part();
            body.put_u8(u8::from(place + 1 == count));
            body.put_slice(bytes);
            let piece = self.part(PIECE, &mut body);
            self.pieces.push_back(piece);
        }
        self.pieces.pop_front().unwrap_or_default()
    }

    fn form(&self) -> u16 {
        match self.machine.version {
            ..KEYS_HAVE_A_PAST => FORM_WITHOUT_HISTORY,
            KEYS_HAVE_A_PAST..MEMBERS_ARE_KNOWN => FORM_WITH_HISTORY,
            MEMBERS_ARE_KNOWN.. => FORM_WITH_ROSTER,
        }
    }

    fn head(&mut self) -> Bytes {
        let machine = &self.machine;
        let mut body = empty_part();
        body.put_u16_le(self.form());
        body.put_u16_le(machine.version);
        body.put_u64_le(machine.applied.0);
        body.put_u64_le(machine.store.revision().0);
        body.put_u64_le(machine.sessions.floor().0);
        body.put_u64_le(machine.keys());
        body.put_u64_le(machine.sessions());
        self.next = Next::Keys(None);
        if self.form() > FORM_WITHOUT_HISTORY {
            let (changes, past) = machine.store.history().map_or((0, 0), History::counts);
            body.put_u8(u8::from(machine.last_compaction().is_some()));
            body.put_u64_le(machine.compacted_revision().0);
            body.put_u64_le(machine.leases());
            body.put_u64_le(past);
            body.put_u64_le(changes);
            self.next = Next::Leases(LeaseId(0));
        }
        if self.form() >= FORM_WITH_ROSTER {
            let (alarms, members) = machine.roster.counts();
            body.put_u64_le(machine.roster.last_member().0);
            body.put_u64_le(alarms);
            body.put_u64_le(members);
            self.next = Next::Roster;
        }
        self.part(HEAD, &mut body)
    }

    /// The alarms and the members, all in one: they are few and small. Nothing if there are none.
    fn roster(&mut self) -> Option<Bytes> {
        let mut body = empty_part();
        for alarm in self.machine.roster.alarms() {
            body.put_u8(RAISED);
            put_alarm(&mut body, Some(alarm));
        }
        for (id, member) in self.machine.roster.members() {
            body.put_u8(MEMBER);
            put_member(&mut body, id, member);
        }
        self.next = Next::Leases(LeaseId(0));
        (body.len() > PART_HEADER).then(|| self.part(ROSTER, &mut body))
    }

    /// The leases after `after`, as many as fit; nothing if there are none.
    fn leases(&mut self, after: LeaseId) -> Option<Bytes> {
        let (mut body, mut last) = (empty_part(), None);
        for (id, lease) in self.machine.store.leases().after(after) {
            if last.is_some() && body.len() + LEASE_BYTES > self.part_bytes {
                break;
            }
            body.put_u64_le(id.0);
            body.put_u64_le(lease.granted);
            body.put_u64_le(lease.remaining);
            last = Some(*id);
        }
        self.next = last.map_or(Next::Keys(None), Next::Leases);
        last.map(|_| self.part(LEASES, &mut body))
    }

    /// The keys after `after`, as many as fit; nothing if there are none.
    fn keys(&mut self, after: Option<Bytes>) -> Option<Bytes> {
        let mut body = empty_part();
        let keys = self.machine.store.after(after.as_deref());
        let last = self.fill(&mut body, keys).map(|item| item.key.clone());
        self.next = match last {
            Some(_) => Next::Keys(last),
            None if self.form() > FORM_WITHOUT_HISTORY => Next::Past(None),
            None => Next::Sessions(None),
        };
        (body.len() > PART_HEADER).then(|| self.part(KEYS, &mut body))
    }

    /// The versions of the past after `after`, as many as fit; nothing if there are none.
    fn past(&mut self, after: Option<(Bytes, Revision)>) -> Option<Bytes> {
        let (mut body, mut last, mut keys, form) = (empty_part(), None, 0, self.form());
        for (key, item) in self.machine.store.past_after(after) {
            let Some(item) = item else {
                keys += 1;
                if keys == KEYS_FOR_PAST {
                    last = Some((key, Revision(u64::MAX)));
                    break;
                }
                continue;
            };
            if last.is_some() && body.len() + item_bytes(&item.kv, form) > self.part_bytes {
                break;
            }
            put_item(&mut body, &item.kv, form);
            last = Some((key, item.kv.mod_revision));
        }
        let last = last.map(|(key, revision)| (Bytes::copy_from_slice(key), revision));
        let is_all = last.is_none();
        self.next = last.map_or(Next::Changes(None), |last| Next::Past(Some(last)));
        (!is_all).then(|| self.part(PAST, &mut body))
    }

    /// Writes as many of the items as fit; the last of them.
    fn fill<'a>(
        &self,
        body: &mut Vec<u8>,
        items: impl Iterator<Item = &'a KeyValue>,
    ) -> Option<&'a KeyValue> {
        let (mut last, form) = (None, self.form());
        for item in items {
            if last.is_some() && body.len() + item_bytes(item, form) > self.part_bytes {
                break;
            }
            put_item(body, item, form);
            last = Some(item);
        }
        last
    }

    /// The changes after `after`, as many as fit; nothing if there are none.
    fn changes(&mut self, after: Option<Position>) -> Option<Bytes> {
        let (mut body, mut last) = (empty_part(), None);
        let store = &self.machine.store;
        for (at, item) in store.history().into_iter().flat_map(|it| it.log_after(after)) {
            if last.is_some() && body.len() + change_bytes(item) > self.part_bytes {
                break;
            }
            put_change(&mut body, *at, item, store.is_known(item));
            last = Some(*at);
        }
        self.next = last.map_or(Next::Sessions(None), |last| Next::Changes(Some(last)));
        last.map(|_| self.part(CHANGES, &mut body))
    }

    /// The sessions and results after `after`, as many as fit; nothing if there are none.
    fn sessions(&mut self, after: Option<(SessionId, Option<u64>)>) -> Option<Bytes> {
        let (mut body, mut last, limit) = (empty_part(), after, self.part_bytes);
        let form = self.form();
        let full = |body: &[u8], more: usize| body.len() > PART_HEADER && body.len() + more > limit;
        'filling: for (mark, results) in self.machine.sessions.from(after.map(|(id, _)| id)) {
            let seen = after.filter(|(id, _)| *id == mark.id);
            if seen.is_none() {
                if full(&body, SESSION_BYTES) {
                    break;
                }
                body.put_u8(SESSION);
                body.put_u128_le(mark.id.0);
                body.put_u64_le(mark.last_used.0);
                body.put_u64_le(mark.acknowledged);
                body.put_u64_le(mark.full);
                last = Some((mark.id, None));
            }
            let written = seen.and_then(|(_, number)| number);
            let rest = results.filter(|(number, _)| written.is_none_or(|to| *number > to));
            for (number, outcome) in rest {
                let mut record = Vec::new();
                put_result(&mut record, *number, outcome, form);
                if full(&body, record.len().max(SHORTEST_RESULT_BYTES)) {
                    break 'filling;
                }
                body.extend_from_slice(&record);
                last = Some((mark.id, Some(*number)));
            }
        }
        if body.len() == PART_HEADER {
            self.next = Next::End;
            return None;
        }
        self.next = Next::Sessions(last);
        Some(self.part(SESSIONS, &mut body))
    }

    fn end(&mut self) -> Bytes {
        let mut body = empty_part();
        body.put_u128_le(self.machine.state_hash());
        self.next = Next::Nothing;
        self.part(END, &mut body)
    }
}

impl Iterator for MachineSnapshot {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(piece) = self.pieces.pop_front() {
            return Some(piece);
        }
        loop {
            let part = match std::mem::replace(&mut self.next, Next::Nothing) {
                Next::Head => Some(self.head()),
                Next::Roster => self.roster(),
                Next::Leases(after) => self.leases(after),
                Next::Keys(after) => self.keys(after),
                Next::Past(after) => self.past(after),
                Next::Changes(after) => self.changes(after),
                Next::Sessions(after) => self.sessions(after),
                Next::End => Some(self.end()),
                Next::Nothing => return None,
            };
            if part.is_some() {
                return part;
            }
        }
    }
}

fn empty_part() -> Vec<u8> {
    vec![0; PART_HEADER]
}

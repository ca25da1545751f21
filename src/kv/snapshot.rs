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
//! 1 head   form u16 (1) · version u16 of the machine · applied u64 · revision u64 · floor u64
//!          · keys u64 · sessions u64                                  the first part, once
//! 2 keys   records, ascending by key, none twice:
//!          create u64 · mod u64 · version u64 · key (length u32, bytes) · value (the same)
//! 3 sessions  records; sessions ascending by id, each followed by its results by number:
//!          1 u8 · id u128 · last used u64 · acknowledged u64 · full u64        a session
//!          2 u8 · number u64 · revision u64 · effect u8 · …                    its result
//!          effect: 1 put, 2 deleted: existed u8 · 3 swapped · 4 unchanged, nothing found
//!                  · 5 unchanged: a record as under keys
//! 4 end    state hash u128                                            the last part, once
//! 5 piece  last u8 (0, 1) · bytes       of a part too long for one; together: kind u8 · body
//! ```
//!
//! A part is closed when the next record would make it longer than wished; a record that is longer
//! by itself has a part of its own, in pieces if it is longer than any part may be.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes};
use xxhash_rust::xxh3::xxh3_64;

use super::{Effect, KeyValue, Machine, Outcome, SessionId};
use crate::types::LogIndex;

/// Bytes of a part, unless a single record is longer.
pub const PART_BYTES: usize = 512 << 10;

/// Bytes of a part at most: what the log on disk takes.
pub const MAX_PART_BYTES: usize = 1 << 20;

/// The form described above.
pub const FORM: u16 = 1;

/// Before a part's body.
pub(super) const PART_HEADER: usize = 8 + 8 + 1;

pub(super) const HEAD: u8 = 1;
pub(super) const KEYS: u8 = 2;
pub(super) const SESSIONS: u8 = 3;
pub(super) const END: u8 = 4;
pub(super) const PIECE: u8 = 5;

/// Kinds of records among sessions.
pub(super) const SESSION: u8 = 1;
pub(super) const RESULT: u8 = 2;

/// Kinds of effects that a session keeps.
pub(super) const PUT: u8 = 1;
pub(super) const DELETED: u8 = 2;
pub(super) const SWAPPED: u8 = 3;
pub(super) const NOT_FOUND: u8 = 4;
pub(super) const FOUND: u8 = 5;

/// Why parts do not make a machine.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("part {part} of the snapshot is damaged: {why}")]
    Damaged { part: u64, why: &'static str },
    #[error("part {found} of the snapshot came where part {wanted} belongs")]
    OutOfOrder { wanted: u64, found: u64 },
    #[error(
        "the snapshot is of form {found}; this program reads form {FORM}: it was written by a \
         newer one"
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
    /// After this key.
    Keys(Option<Bytes>),
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

    fn head(&mut self) -> Bytes {
        let machine = &self.machine;
        let mut body = empty_part();
        body.put_u16_le(FORM);
        body.put_u16_le(machine.version);
        body.put_u64_le(machine.applied.0);
        body.put_u64_le(machine.store.revision().0);
        body.put_u64_le(machine.sessions.floor().0);
        body.put_u64_le(machine.keys());
        body.put_u64_le(machine.sessions());
        self.next = Next::Keys(None);
        self.part(HEAD, &mut body)
    }

    /// The keys after `after`, as many as fit; nothing if there are none.
    fn keys(&mut self, after: Option<Bytes>) -> Option<Bytes> {
        let (mut body, mut last) = (empty_part(), None);
        for item in self.machine.store.after(after.as_deref()) {
            if last.is_some() && body.len() + item_bytes(&item) > self.part_bytes {
                break;
            }
            put_item(&mut body, &item);
            last = Some(item.key);
        }
        self.next = match last {
            Some(_) => Next::Keys(last),
            None => Next::Sessions(None),
        };
        (body.len() > PART_HEADER).then(|| self.part(KEYS, &mut body))
    }

    /// The sessions and results after `after`, as many as fit; nothing if there are none.
    fn sessions(&mut self, after: Option<(SessionId, Option<u64>)>) -> Option<Bytes> {
        let (mut body, mut last, limit) = (empty_part(), after, self.part_bytes);
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
                if full(&body, result_bytes(outcome)) {
                    break 'filling;
                }
                put_result(&mut body, *number, outcome);
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
                Next::Keys(after) => self.keys(after),
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

const SESSION_BYTES: usize = 1 + 16 + 3 * 8;

fn empty_part() -> Vec<u8> {
    vec![0; PART_HEADER]
}

fn item_bytes(item: &KeyValue) -> usize {
    3 * 8 + 2 * 4 + item.key.len() + item.value.len()
}

fn result_bytes(outcome: &Outcome) -> usize {
    const RESULT: usize = 1 + 8 + 8 + 1;
    RESULT
        + match &outcome.effect {
            Effect::Unchanged { found: Some(found) } => item_bytes(found),
            _ => 1,
        }
}

fn put_item(body: &mut Vec<u8>, item: &KeyValue) {
    body.put_u64_le(item.create_revision.0);
    body.put_u64_le(item.mod_revision.0);
    body.put_u64_le(item.version);
    // No request is longer than a few megabytes, so no length is cut here.
    for bytes in [&item.key, &item.value] {
        body.put_u32_le(bytes.len() as u32);
        body.put_slice(bytes);
    }
}

fn put_result(body: &mut Vec<u8>, number: u64, outcome: &Outcome) {
    body.put_u8(RESULT);
    body.put_u64_le(number);
    body.put_u64_le(outcome.revision.0);
    match &outcome.effect {
        Effect::Put { existed } => body.put_slice(&[PUT, u8::from(*existed)]),
        Effect::Deleted { existed } => body.put_slice(&[DELETED, u8::from(*existed)]),
        Effect::Swapped => body.put_u8(SWAPPED),
        Effect::Unchanged { found: None } => body.put_u8(NOT_FOUND),
        Effect::Unchanged { found: Some(found) } => {
            body.put_u8(FOUND);
            put_item(body, found);
        }
        // A session keeps what an operation on a key did, and nothing else: see `Machine::apply`.
        Effect::Raised { .. } | Effect::Refused(_) => unreachable!("no session keeps a refusal"),
    }
}

//! From a snapshot's parts to a machine: see [`snapshot`](super::snapshot) for the form and the
//! rule.
//!
//! Nothing that arrives can make it panic or take more memory than it has bytes: every length is
//! checked against what is there, and counts are only compared. An error is final; whoever holds a
//! [`Restore`] drops it then, and the machine that was is untouched, because this is another one.

use bytes::{Buf, Bytes, TryGetError};
use xxhash_rust::xxh3::xxh3_64;

use super::limits::MAX_REQUEST_BYTES;
use super::machine::{Machine, MachineOptions};
use super::session::{SessionMark, Sessions};
use super::snapshot::{
    DELETED, END, FORM, FOUND, HEAD, KEYS, NOT_FOUND, PART_HEADER, PIECE, PUT, RESULT, SESSION,
    SESSIONS, SWAPPED, SnapshotError,
};
use super::store::Store;
use super::version::FIRST_VERSION;
use super::{Effect, KeyValue, Outcome, SessionId};
use crate::types::{LogIndex, Revision};

/// Bytes of a part that came in pieces: a single record, about the largest request.
const MAX_WHOLE_BYTES: usize = MAX_REQUEST_BYTES + 4096;

/// A machine on its way out of a snapshot.
#[derive(Clone, Debug)]
pub struct Restore {
    machine: Machine,
    /// Parts taken so far.
    parts: u64,
    /// Of the part taken last; zero before the first.
    kind: u8,
    /// The pieces of a part that was too long.
    pieces: Vec<u8>,
    keys: u64,
    sessions: u64,
    named: Option<u128>,
    error: Option<SnapshotError>,
}

/// What is wrong with a part, before it is known which it is.
enum Wrong {
    Body(&'static str),
    Whole(SnapshotError),
}

impl From<&'static str> for Wrong {
    fn from(why: &'static str) -> Wrong {
        Wrong::Body(why)
    }
}

impl From<TryGetError> for Wrong {
    fn from(_: TryGetError) -> Wrong {
        Wrong::Body("it is cut short")
    }
}

impl Restore {
    pub(super) fn with(options: MachineOptions) -> Restore {
        Restore {
            machine: Machine::with(options),
            parts: 0,
            kind: 0,
            pieces: Vec::new(),
            keys: 0,
            sessions: 0,
            named: None,
            error: None,
        }
    }

    /// Takes the next part. After an error every later call returns it again.
    pub fn take(&mut self, part: &[u8]) -> Result<(), SnapshotError> {
        if let Some(error) = &self.error {
            return Err(error.clone());
        }
        let taken = self.take_part(part).map_err(|wrong| match wrong {
            Wrong::Body(why) => SnapshotError::Damaged { part: self.parts, why },
            Wrong::Whole(error) => error,
        });
        match &taken {
            Ok(()) => self.parts += 1,
            Err(error) => self.error = Some(error.clone()),
        }
        taken
    }

    /// The machine, if all of it has come and it is the one that was written.
    pub fn finish(self) -> Result<Machine, SnapshotError> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let incomplete = SnapshotError::Incomplete { parts: self.parts };
        let named = self.named.ok_or(incomplete.clone())?;
        if (self.keys, self.sessions) != (self.machine.keys(), self.machine.sessions()) {
            return Err(incomplete);
        }
        // The sums were built up item by item from what came, so this is a recomputation.
        let computed = self.machine.state_hash();
        if computed != named {
            return Err(SnapshotError::WrongState { named, computed });
        }
        Ok(self.machine)
    }

    fn take_part(&mut self, part: &[u8]) -> Result<(), Wrong> {
        if part.len() < PART_HEADER {
            return Err("it is cut short".into());
        }
        let mut rest = part;
        if rest.try_get_u64_le()? != xxh3_64(&part[8..]) {
            return Err("its checksum does not match".into());
        }
        let position = rest.try_get_u64_le()?;
        if position != self.parts {
            let (wanted, found) = (self.parts, position);
            return Err(Wrong::Whole(SnapshotError::OutOfOrder { wanted, found }));
        }
        let kind = rest.try_get_u8()?;
        if kind == PIECE {
            return self.take_piece(rest);
        }
        if !self.pieces.is_empty() {
            return Err("a piece is missing".into());
        }
        self.take_body(kind, rest)
    }

    fn take_piece(&mut self, mut rest: &[u8]) -> Result<(), Wrong> {
        let last = boolean(&mut rest)?;
        if self.pieces.len() + rest.len() > MAX_WHOLE_BYTES {
            return Err("its pieces are longer than any request".into());
        }
        self.pieces.extend_from_slice(rest);
        if !last {
            return Ok(());
        }
        let whole = std::mem::take(&mut self.pieces);
        let (kind, body) = whole.split_first().ok_or("it is cut short")?;
        self.take_body(*kind, body)
    }

    fn take_body(&mut self, kind: u8, mut rest: &[u8]) -> Result<(), Wrong> {
        match (self.kind, kind) {
            (0, HEAD) => self.take_head(&mut rest)?,
            (HEAD | KEYS, KEYS) => self.take_keys(&mut rest)?,
            (HEAD | KEYS | SESSIONS, SESSIONS) => self.take_sessions(&mut rest)?,
            (HEAD | KEYS | SESSIONS, END) => self.named = Some(rest.try_get_u128_le()?),
            _ => return Err("a part of its kind does not belong there".into()),
        }
        if !rest.is_empty() {
            return Err("it is longer than what it holds".into());
        }
        self.kind = kind;
        Ok(())
    }

    fn take_head(&mut self, rest: &mut &[u8]) -> Result<(), Wrong> {
        let form = rest.try_get_u16_le()?;
        if form != FORM {
            return Err(Wrong::Whole(SnapshotError::UnknownForm { found: form }));
        }
        let found = rest.try_get_u16_le()?;
        let supports = self.machine.supports();
        if found < FIRST_VERSION || found > supports {
            return Err(Wrong::Whole(SnapshotError::UnknownVersion { found, supports }));
        }
        self.machine.version = found;
        self.machine.applied = LogIndex(rest.try_get_u64_le()?);
        self.machine.store = Store::restoring(Revision(rest.try_get_u64_le()?));
        let (limits, floor) = (self.machine.session_limits(), LogIndex(rest.try_get_u64_le()?));
        self.machine.sessions = Sessions::restoring(limits, floor);
        self.keys = rest.try_get_u64_le()?;
        self.sessions = rest.try_get_u64_le()?;
        Ok(())
    }

    fn take_keys(&mut self, rest: &mut &[u8]) -> Result<(), Wrong> {
        while !rest.is_empty() {
            let item = item(rest)?;
            self.machine.store.restore(item)?;
        }
        Ok(())
    }

    fn take_sessions(&mut self, rest: &mut &[u8]) -> Result<(), Wrong> {
        let sessions = &mut self.machine.sessions;
        while !rest.is_empty() {
            match rest.try_get_u8()? {
                SESSION => {
                    let mark = SessionMark {
                        id: SessionId(rest.try_get_u128_le()?),
                        last_used: LogIndex(rest.try_get_u64_le()?),
                        acknowledged: rest.try_get_u64_le()?,
                        full: rest.try_get_u64_le()?,
                    };
                    sessions.restore(mark, self.machine.applied)?;
                }
                RESULT => {
                    let number = rest.try_get_u64_le()?;
                    sessions.restore_result(number, outcome(rest)?)?;
                }
                _ => return Err("it holds a record of an unknown kind".into()),
            }
        }
        Ok(())
    }
}

fn item(rest: &mut &[u8]) -> Result<KeyValue, Wrong> {
    Ok(KeyValue {
        create_revision: Revision(rest.try_get_u64_le()?),
        mod_revision: Revision(rest.try_get_u64_le()?),
        version: rest.try_get_u64_le()?,
        key: string(rest)?,
        value: string(rest)?,
    })
}

fn string(rest: &mut &[u8]) -> Result<Bytes, Wrong> {
    let length = rest.try_get_u32_le()? as usize;
    if length > MAX_REQUEST_BYTES {
        return Err("it holds something longer than any request".into());
    }
    let (string, after) = rest.split_at_checked(length).ok_or("it is cut short")?;
    *rest = after;
    Ok(Bytes::copy_from_slice(string))
}

fn outcome(rest: &mut &[u8]) -> Result<Outcome, Wrong> {
    let revision = Revision(rest.try_get_u64_le()?);
    let effect = match rest.try_get_u8()? {
        PUT => Effect::Put { existed: boolean(rest)? },
        DELETED => Effect::Deleted { existed: boolean(rest)? },
        SWAPPED => Effect::Swapped,
        NOT_FOUND => Effect::Unchanged { found: None },
        FOUND => Effect::Unchanged { found: Some(item(rest)?) },
        _ => return Err("it holds a result of an unknown kind".into()),
    };
    Ok(Outcome { revision, effect })
}

fn boolean(rest: &mut &[u8]) -> Result<bool, Wrong> {
    match rest.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err("it holds a yes or no that is neither".into()),
    }
}

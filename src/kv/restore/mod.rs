//! From a snapshot's parts to a machine: see [`snapshot`](super::snapshot) for the form and the
//! rule.
//!
//! Nothing that arrives can make it panic or take more memory than it has bytes: every length is
//! checked against what is there, and counts are only compared. An error is final; whoever holds a
//! [`Restore`] drops it then, and the machine that was is untouched, because this is another one.

mod records;

use bytes::{Buf, TryGetError};
use xxhash_rust::xxh3::xxh3_64;

use super::SessionId;
use super::limits::MAX_OUTCOME_BYTES;
use super::machine::{Machine, MachineOptions};
use super::roster::Roster;
use super::session::{SessionMark, Sessions};
use super::snapshot::records::{MEMBER, RAISED, RESULT, SESSION};
use super::snapshot::{
    CHANGES, END, FORM, FORM_WITH_ROSTER, FORM_WITHOUT_HISTORY, HEAD, KEYS, LEASES, PART_HEADER,
    PAST, PIECE, ROSTER, SESSIONS, SnapshotError,
};
use super::store::{History, Store};
use super::version::{FIRST_VERSION, KEYS_HAVE_A_PAST, MEMBERS_ARE_KNOWN};
use crate::types::{LeaseId, LogIndex, NodeId, Revision};
use records::{alarm, boolean, change, item, member, outcome};

/// Bytes of a part that came in pieces: a single record, at most the largest result.
const MAX_WHOLE_BYTES: usize = MAX_OUTCOME_BYTES + 4096;

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
    form: u16,
    counts: Counts,
    named: Option<u128>,
    error: Option<SnapshotError>,
}

/// How many of everything there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    keys: u64,
    sessions: u64,
    leases: u64,
    past: u64,
    changes: u64,
    alarms: u64,
    members: u64,
}

impl Counts {
    fn of(machine: &Machine) -> Counts {
        let (changes, past) = machine.store.history().map_or((0, 0), History::counts);
        let (keys, sessions, leases) = (machine.keys(), machine.sessions(), machine.leases());
        let (alarms, members) = machine.roster.counts();
        Counts { keys, sessions, leases, past, changes, alarms, members }
    }
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
            form: 0,
            counts: Counts::default(),
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
        if self.counts != Counts::of(&self.machine) {
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
        if !self.may_follow(kind) {
            return Err("a part of its kind does not belong there".into());
        }
        match kind {
            HEAD => self.take_head(&mut rest)?,
            ROSTER => self.take_roster(&mut rest)?,
            LEASES => self.take_leases(&mut rest)?,
            KEYS => self.take_keys(&mut rest)?,
            PAST => self.take_past(&mut rest)?,
            CHANGES => self.take_changes(&mut rest)?,
            SESSIONS => self.take_sessions(&mut rest)?,
            _ => self.named = Some(rest.try_get_u128_le()?),
        }
        if !rest.is_empty() {
            return Err("it is longer than what it holds".into());
        }
        self.kind = kind;
        Ok(())
    }

    /// Whether a part of this kind belongs behind the last one. The first and the last come once,
    /// the roster at most once, and the others as often as they like.
    fn may_follow(&self, kind: u8) -> bool {
        const ORDER: [u8; 8] = [HEAD, ROSTER, LEASES, KEYS, PAST, CHANGES, SESSIONS, END];
        let place = |kind| ORDER.iter().position(|known| *known == kind);
        let of_history = [LEASES, PAST, CHANGES].contains(&kind);
        match (place(self.kind), place(kind)) {
            _ if of_history && self.form <= FORM_WITHOUT_HISTORY => false,
            _ if kind == ROSTER && self.form < FORM_WITH_ROSTER => false,
            (None, Some(next)) => next == 0,
            (Some(last), Some(next)) => next > last || (next == last && (2..7).contains(&next)),
            (_, None) => false,
        }
    }

    fn take_head(&mut self, rest: &mut &[u8]) -> Result<(), Wrong> {
        let form = rest.try_get_u16_le()?;
        if !(FORM_WITHOUT_HISTORY..=FORM).contains(&form) {
            return Err(Wrong::Whole(SnapshotError::UnknownForm { found: form }));
        }
        let found = rest.try_get_u16_le()?;
        let supports = self.machine.supports();
        if found < FIRST_VERSION || found > supports {
            return Err(Wrong::Whole(SnapshotError::UnknownVersion { found, supports }));
        }
        let forms = (form > FORM_WITHOUT_HISTORY, form >= FORM_WITH_ROSTER);
        if (found >= KEYS_HAVE_A_PAST, found >= MEMBERS_ARE_KNOWN) != forms {
            return Err("its form is not that of its version".into());
        }
        self.form = form;
        self.machine.version = found;
        self.machine.applied = LogIndex(rest.try_get_u64_le()?);
        self.machine.store = Store::restoring(Revision(rest.try_get_u64_le()?));
        let (limits, floor) = (self.machine.session_limits(), LogIndex(rest.try_get_u64_le()?));
        self.machine.sessions = Sessions::restoring(limits, floor);
        self.counts.keys = rest.try_get_u64_le()?;
        self.counts.sessions = rest.try_get_u64_le()?;
        if form > FORM_WITHOUT_HISTORY {
            let (was_compacted, at) = (boolean(rest)?, Revision(rest.try_get_u64_le()?));
            if !was_compacted && at.0 != 0 {
                return Err("it was compacted at a revision, and never".into());
            }
            self.machine.store.restore_history(was_compacted.then_some(at))?;
            self.counts.leases = rest.try_get_u64_le()?;
            self.counts.past = rest.try_get_u64_le()?;
            self.counts.changes = rest.try_get_u64_le()?;
        }
        if form >= FORM_WITH_ROSTER {
            self.machine.store.clear_marks();
            self.machine.roster = Roster::restoring(NodeId(rest.try_get_u64_le()?));
            self.counts.alarms = rest.try_get_u64_le()?;
            self.counts.members = rest.try_get_u64_le()?;
        }
        Ok(())
    }

    fn take_roster(&mut self, rest: &mut &[u8]) -> Result<(), Wrong> {
        let roster = &mut self.machine.roster;
        let mut members = 0;
        while !rest.is_empty() {
            match rest.try_get_u8()? {
                RAISED if members == 0 => {
                    let alarm = alarm(rest)?.ok_or("it holds an alarm of no kind")?;
                    roster.restore_alarm(alarm)?;
                }
                MEMBER => {
                    let (id, member) = member(rest)?;
                    roster.restore_member(id, member)?;
                    members += 1;
                }
                _ => return Err("it holds a record of an unknown kind".into()),
            }
        }
        Ok(())
    }

    fn take_leases(&mut self, rest: &mut &[u8]) -> Result<(), Wrong> {
        while !rest.is_empty() {
            let id = LeaseId(rest.try_get_u64_le()?);
            let (granted, remaining) = (rest.try_get_u64_le()?, rest.try_get_u64_le()?);
            self.machine.store.restore_lease(id, granted, remaining)?;
        }
        Ok(())
    }

    fn take_past(&mut self, rest: &mut &[u8]) -> Result<(), Wrong> {
        while !rest.is_empty() {
            let item = item(rest, self.form)?;
            self.machine.store.restore_past(item)?;
        }
        Ok(())
    }

    fn take_changes(&mut self, rest: &mut &[u8]) -> Result<(), Wrong> {
        while !rest.is_empty() {
            let (at, change) = change(rest, self.form)?;
            self.machine.store.restore_change(at, change)?;
        }
        Ok(())
    }

    fn take_keys(&mut self, rest: &mut &[u8]) -> Result<(), Wrong> {
        while !rest.is_empty() {
            let item = item(rest, self.form)?;
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
                    sessions.restore_result(number, outcome(rest, self.form)?)?;
                }
                _ => return Err("it holds a record of an unknown kind".into()),
            }
        }
        Ok(())
    }
}

//! Making a damaged log whole again, before its node votes.
//!
//! [`SegmentLog::open_damaged`] opens a log in which entries cannot be read, for one purpose: to
//! heal. It serves what it has, so that nodes which are damaged at different places heal each
//! other, and it takes no write. For each damaged entry the node asks its peers by index and term:
//! one that has it supplies it ([`SegmentLog::repair`]); if a majority that is undamaged there
//! lacks it, it was never committed, and the log is cut ([`SegmentLog::cut_from`]); if others have
//! compacted it, their snapshot stands for it ([`SegmentLog::adopt_snapshot`]). When nothing
//! is missing, [`SegmentLog::heal`] writes the whole log anew and opens it as any other.
//!
//! # What can go wrong, and the rule
//!
//! The healing itself may be cut short, again and again. So it never touches a segment: the healed
//! log goes into one new segment, beside, and is synced; its *name* is what replaces all the
//! others, at once, for its header says that nothing before it counts. Before, the damaged log is
//! as it was, and repairs so far are forgotten; after, older segments are only litter, which the
//! next start deletes. The old ones are deleted last.
//!
//! Until then repaired entries are kept in memory: about as much as was damaged. Healing is done in
//! one go and blocks; the node takes part in nothing meanwhile.

use crate::consensus::{Entry, SnapshotMark};
use crate::types::{LogIndex, Seq, Term};

use super::contents::Contents;
use super::disk::{Disk, DiskErrorKind, Operation};
use super::error::LogError;
use super::format::{
    GroupEncoder, HEALED_FILE, Salt, SegmentHeader, VERSION, VOID_BEFORE, segment_name,
};
use super::log::{Pending, SegmentLog};
use super::report::{Damaged, Recovered};
use super::writer::{encode, encode_opening};

/// Bytes of entries in one group of a healed log, unless one is larger.
const GROUP: usize = 1 << 20;

impl<D: Disk> SegmentLog<D> {
    /// The entries that are still missing, in order.
    pub fn damaged(&self) -> Vec<Damaged> {
        let covered = self.contents.snapshot.index;
        let missing = self.contents.damaged.range(covered.next()..).map(|(_, damaged)| damaged);
        missing.filter(|damaged| !self.repaired.contains_key(&damaged.index)).cloned().collect()
    }

    /// A peer has supplied a damaged entry. An error says why it cannot be that entry.
    pub fn repair(&mut self, entry: Entry) -> Result<(), String> {
        let index = entry.index;
        let Some(damaged) = self.contents.damaged.get(&index) else {
            return Err(format!("entry {index} is not damaged"));
        };
        if let Some(term) = damaged.term.filter(|term| *term != entry.term) {
            return Err(format!("entry {index} had term {term}, not {}", entry.term));
        }
        let least = self.contents.term_at(index);
        let following = self.contents.term_at(index.next());
        if least.is_some_and(|term| entry.term < term)
            || following.is_some_and(|term| entry.term > term && !self.is_damaged(index.next()))
        {
            return Err(format!("entry {index} cannot have term {}", entry.term));
        }
        self.repaired.insert(index, entry);
        Ok(())
    }

    fn is_damaged(&self, index: LogIndex) -> bool {
        self.contents.damaged.contains_key(&index)
    }

    /// Entries from `index` on, of which one is damaged, were never committed: they go. An error
    /// says why that cannot be.
    pub fn cut_from(&mut self, index: LogIndex) -> Result<(), String> {
        if !self.contents.damaged.keys().any(|damaged| *damaged >= index) {
            return Err(format!("no entry from {index} on is damaged"));
        }
        self.contents.truncate(index)?;
        self.last_index = self.contents.last_index;
        self.repaired.split_off(&index);
        Ok(())
    }

    /// The snapshot of `mark` was received: it stands for every entry up to its own, damaged or
    /// not. What follows stays if the log has the snapshot's last entry; otherwise the log told
    /// another story than what was committed, and goes (paper, figure 13).
    ///
    /// If that entry is damaged, and its term with it, what follows decides. An entry of an earlier
    /// term than the snapshot's cannot follow it. One of the same or a later term comes from a
    /// leader that had the snapshot's entry; or it was never committed and never will be, and then
    /// a leader replaces it like any other (§5.4.2 and figure 8). An error says why nothing can be
    /// decided.
    pub fn adopt_snapshot(&mut self, mark: &SnapshotMark) -> Result<(), String> {
        if self.snapshot_term(mark.index) != Some(mark.term) {
            return Err(format!("there is no snapshot of {} here", mark.index));
        }
        self.contents.check_mark(mark)?;
        let (at, last) = (mark.index, self.contents.last_index);
        let has_it = match self.known_term(at) {
            _ if at > last => false,
            Some(term) => term == mark.term,
            None if at == last => false,
            None => {
                let next = at.next();
                let term = self.known_term(next).ok_or_else(|| {
                    format!("the terms of entries {at} and {next} are damaged with them")
                })?;
                term >= mark.term
            }
        };
        if has_it {
            if self.is_damaged(at) {
                self.contents.forget_entries(at);
            }
            self.contents.mark(mark.clone())?;
            self.contents.forget_damage_that_is_covered();
        } else {
            self.contents.discard(mark.clone())?;
        }
        self.repaired.retain(|index, _| has_it && *index > at);
        self.last_index = self.contents.last_index;
        Ok(())
    }

    /// The term of an entry, if that is certain.
    fn known_term(&self, index: LogIndex) -> Option<Term> {
        match self.contents.damaged.get(&index) {
            None => self.contents.term_at(index),
            Some(damaged) => self.repaired.get(&index).map(|entry| entry.term).or(damaged.term),
        }
    }

    /// From which entry on the terms are known, and where they change after it.
    pub fn terms(&self) -> ((LogIndex, Term), Vec<(LogIndex, Term)>) {
        self.contents.terms()
    }

    /// Writes the log anew, whole, and opens it. What was repaired and cut is durable then.
    ///
    /// # Errors
    /// If entries are still missing, if what was supplied does not fit together, or if the disk
    /// fails or is full. The damaged log is as it was then.
    pub fn heal(mut self) -> Result<(SegmentLog<D>, Recovered), LogError> {
        if let Some(damaged) = self.damaged().into_iter().next() {
            return Err(corrupt(
                &damaged.file,
                damaged.offset,
                damaged.index,
                "it is still missing",
            ));
        }
        let old: Vec<String> = self.segments.values().map(|segment| segment.name.clone()).collect();
        let name = self.write_healed()?;
        self.disk.execute(Operation::Rename { from: HEALED_FILE.to_owned(), to: name })?;
        self.disk.execute(Operation::SyncDirectory)?;
        for file in old {
            self.disk.execute(Operation::Delete { file })?;
        }
        self.disk.execute(Operation::SyncDirectory)?;
        let SegmentLog { disk, identity, options, .. } = self;
        SegmentLog::open(disk, identity, options)
    }

    /// Writes and syncs the healed log under its temporary name; the name it is to have.
    fn write_healed(&mut self) -> Result<String, LogError> {
        let file = HEALED_FILE.to_owned();
        match self.disk.execute(Operation::Delete { file: file.clone() }) {
            Err(error) if error.kind != DiskErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        self.disk.execute(Operation::Create { file: file.clone(), size: 0 })?;
        // What the snapshot covers is not needed: it was kept for followers a little behind.
        let covered = self.contents.snapshot.index;
        let first_index = self.contents.first_index().max(covered.next());
        let sequence = self.current.sequence + 1;
        let mut healed = Contents::empty(first_index, u64::MAX);
        healed.hard_state = self.contents.hard_state.clone();
        healed.snapshot = self.contents.snapshot.clone();
        let header = SegmentHeader {
            version: VERSION,
            identity: self.identity,
            sequence,
            first_index,
            previous_end: VOID_BEFORE,
        };
        let mut buffer = encode_opening(&header, &healed);
        let salt = Salt::new(self.identity, sequence);
        let (mut offset, last) = (0, self.contents.last_index);
        loop {
            let bytes = std::mem::take(&mut buffer).freeze();
            let length = bytes.len() as u64;
            self.disk.execute(Operation::Write {
                file: file.clone(),
                offset,
                bytes,
                sync: false,
            })?;
            offset += length;
            let done = healed.last_index >= last;
            let entries =
                if done { Vec::new() } else { self.next_whole(healed.last_index.next())? };
            let summary = Some(healed.summary());
            let mut group = GroupEncoder::begin(&mut buffer, salt, offset, summary);
            for entry in entries {
                append_entry(entry, &mut group, &mut healed, sequence)?;
            }
            group.finish();
            if done {
                break;
            }
        }
        // A group of only the mark: it proves those before it.
        let bytes = buffer.freeze();
        self.disk.execute(Operation::Write { file, offset, bytes, sync: true })?;
        Ok(segment_name(sequence, first_index))
    }

    /// Some entries from `from` on, read or repaired.
    fn next_whole(&mut self, from: LogIndex) -> Result<Vec<Entry>, LogError> {
        if let Some(entry) = self.repaired.get(&from) {
            return Ok(vec![entry.clone()]);
        }
        let entries = self.read_now(from, self.contents.last_index, GROUP)?;
        match entries.is_empty() {
            true => Err(corrupt(&self.current.name, 0, from, "it cannot be found any more")),
            false => Ok(entries),
        }
    }
}

fn append_entry(
    entry: Entry,
    group: &mut GroupEncoder<'_>,
    healed: &mut Contents,
    sequence: u64,
) -> Result<(), LogError> {
    let goes_back = healed.term_at(healed.last_index).is_some_and(|term| entry.term < term);
    if entry.index != healed.last_index.next() || goes_back {
        let what = "what was supplied for damaged entries does not continue what is before";
        return Err(corrupt(HEALED_FILE, group.offset(), entry.index, what));
    }
    let pending = Pending { entries: vec![entry], ..Pending::nothing(Seq(0)) };
    encode(&pending, group, healed, sequence);
    Ok(())
}

fn corrupt(file: &str, offset: u64, index: LogIndex, what: &str) -> LogError {
    LogError::Corrupt { file: file.to_owned(), offset, index, what: what.to_owned() }
}

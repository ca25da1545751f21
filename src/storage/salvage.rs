//! Damage that is localised instead of refused: which entries, exactly, cannot be read.
//!
//! # The problem
//!
//! One rotten sector in a log of a gigabyte costs a node its vote, and three of them, on three
//! nodes, cost a cluster its data, although each entry is whole on two of them (Alagappan et al.,
//! "Protocol-Aware Recovery for Consensus-Based Storage", FAST'18). To fetch an entry from another
//! node, one must know that it is missing, and its index and term; and just that was in the
//! sector that is gone.
//!
//! # The rule
//!
//! The mark of each group sums up the log as it stood before the group
//! ([`Summary`]). So behind a damaged stretch stands what the log amounted
//! to at its end:
//!
//! ```text
//!   … entry 6 (term 2) │ entry 7, ▒▒▒▒▒▒▒, entry 9 (2), ▒▒▒▒▒▒▒▒▒▒ │ mark: last 11, term 3 │ …
//!                          └ valid  └ 8, and of term 2    └ 10 (term 2 or 3), 11 (term 3)
//! ```
//!
//! The valid records of the stretch count as ever. An index between two of them, or between the
//! last of them and the summary's, is a damaged entry. Its term is certain where its neighbours
//! have the same; the last one's is the summary's.
//!
//! # What else may lie in the stretch
//!
//! * A truncation: the summary counts them, and says where the newest began. One that is lost is
//!   made up for, too early rather than too late: entries that it may have left in place count as
//!   damaged, and will be fetched. Of two that are lost, one is unknown: refused.
//! * A hard state: the summary has its checksum. A node that lost its newest never votes under
//!   this id again: refused, unless a newer one follows, be it the one that the next segment opens
//!   with.
//! * A snapshot's mark: the summary has its index. Refused.
//!
//! An opening group repeats what the segment before amounts to, so where there is one before, it
//! is not needed. Damage in a header, or in the opening group of the oldest segment, is refused as
//! ever, and so is damage in the last group
//! but one if the last group's mark is damaged too: nothing says what they held. Segments of
//! version 1 have no summaries.

use super::contents::Contents;
use super::error::LogError;
use super::format::{RecordKind, Summary};
use super::replay::Source;
use super::report::Damaged;
use super::scan::Record;
use crate::types::{LogIndex, Term};

/// A stretch of a segment that is not in order.
pub struct Region {
    pub file: String,
    pub sequence: u64,
    /// Where the damage begins, and what is wrong there.
    pub offset: u64,
    pub what: String,
    /// What is in order in it.
    pub records: Vec<Record>,
}

/// A hard state that is not the newest.
struct LostHardState {
    file: String,
    offset: u64,
    /// What there was before it.
    stale: u32,
}

/// What recovery has lost so far.
#[derive(Default)]
pub struct Losses {
    /// Whether damage is put up with.
    pub tolerate: bool,
    /// Whether there was any.
    pub found: bool,
    /// No mark behind it was read yet.
    pending: Option<Region>,
    hard_state: Option<LostHardState>,
}

impl Losses {
    pub fn new(tolerate: bool) -> Losses {
        Losses { tolerate, ..Losses::default() }
    }

    /// Whether what was lost last is not known yet.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Notes a damaged stretch; one right behind another continues it.
    pub fn add(&mut self, region: Region) {
        self.found = true;
        match &mut self.pending {
            Some(pending) => pending.records.extend(region.records),
            None => self.pending = Some(region),
        }
    }

    /// The next mark is in order: what it says of the log before it.
    pub fn meet(
        &mut self,
        source: Source<'_>,
        offset: u64,
        contents: &mut Contents,
        summary: Option<Summary>,
    ) -> Result<(), LogError> {
        if let Some(region) = self.pending.take() {
            let refuse = |what: &str| region.refuse(contents, what);
            let Some(summary) = summary else { return Err(refuse("nothing says what it held")) };
            let stale = contents.summary().hard_state;
            reconcile(contents, &region, summary)?;
            if contents.summary().hard_state != summary.hard_state {
                let (file, offset) = (region.file, region.offset);
                self.hard_state = Some(LostHardState { file, offset, stale });
            }
            return Ok(());
        }
        let Some(mut said) = summary else { return Ok(()) };
        let known = contents.summary();
        if self.hard_state.as_ref().is_some_and(|lost| lost.stale == known.hard_state) {
            said.hard_state = known.hard_state;
        }
        if said.last_term == Term(0) || known.last_term == Term(0) {
            said.last_term = known.last_term;
        }
        match said == known {
            true => Ok(()),
            false => Err(source.corrupt(
                contents,
                offset,
                "the mark of a group tells of another log than the records before it",
            )),
        }
    }

    /// The hard state that a segment opens with, if it replaces one that was lost.
    pub fn replaces_hard_state(&mut self) -> bool {
        self.hard_state.take().is_some()
    }

    /// Everything was read.
    pub fn finish(&self, contents: &Contents) -> Result<(), LogError> {
        if let Some(region) = &self.pending {
            return Err(region.refuse(contents, "nothing behind it says what it held"));
        }
        let stale = |lost: &&LostHardState| lost.stale == contents.summary().hard_state;
        if let Some(lost) = self.hard_state.as_ref().filter(stale) {
            return Err(LogError::Corrupt {
                file: lost.file.clone(),
                offset: lost.offset,
                index: contents.last_index.next(),
                what: "the newest hard state was there, and there is no other copy".to_owned(),
            });
        }
        Ok(())
    }
}

impl Region {
    fn source(&self) -> Source<'_> {
        Source { file: &self.file, sequence: self.sequence }
    }

    fn refuse(&self, contents: &Contents, why: &str) -> LogError {
        self.source().corrupt(contents, self.offset, &format!("{}, and {why}", self.what))
    }

    /// Entries up to `to` are damaged; the one behind them has the term `next`. With `last`, that
    /// is the term of entry `to` itself.
    fn fill(
        &self,
        contents: &mut Contents,
        to: LogIndex,
        next: Term,
        last: bool,
    ) -> Result<(), String> {
        while contents.last_index < to {
            let index = contents.last_index.next();
            let before = contents.term_at(contents.last_index);
            let certain = (last && index == to) || before == Some(next);
            let term = Some(next).filter(|term| certain && *term > Term(0));
            let least = term.or(before).unwrap_or(contents.snapshot.term);
            let (file, offset) = (self.file.clone(), self.offset);
            contents.push_damaged(Damaged { index, term, file, offset }, least)?;
        }
        Ok(())
    }
}

/// Brings the log from where the damaged stretch begins to where its end is summed up.
fn reconcile(contents: &mut Contents, region: &Region, summary: Summary) -> Result<(), LogError> {
    let is_truncation = |record: &&Record| record.kind == RecordKind::Truncation;
    let here = region.records.iter().filter(is_truncation).count() as u32;
    let lost = summary.truncations.checked_sub(contents.summary().truncations + here);
    let newest = summary.truncated_from;
    let newest_is_here =
        region.records.iter().rfind(is_truncation).map(|r| r.index) == Some(newest);
    let mut lost = match lost {
        Some(0) => false,
        Some(1) if !newest_is_here => true,
        _ => return Err(region.refuse(contents, "a truncation that is lost with it is unknown")),
    };
    for record in &region.records {
        contents.interrupt();
        let filled = match record.kind {
            RecordKind::Entry(_) => {
                let mut truncated = Ok(());
                if lost && record.index <= contents.last_index {
                    truncated = contents.truncate(newest);
                    lost = false;
                }
                let before = record.index.previous();
                truncated.and_then(|()| region.fill(contents, before, record.term, false))
            }
            RecordKind::Truncation => {
                region.fill(contents, record.index.previous(), Term(0), false)
            }
            _ => Ok(()),
        };
        filled.map_err(|what| region.refuse(contents, &what))?;
        region.source().apply(contents, record)?;
    }
    contents.interrupt();
    let ended = match lost {
        true => contents.truncate(newest),
        false => Ok(()),
    };
    ended
        .and_then(|()| region.fill(contents, summary.last_index, summary.last_term, true))
        .map_err(|what| region.refuse(contents, &what))?;
    if contents.last_index != summary.last_index || contents.snapshot.index != summary.snapshot {
        return Err(region.refuse(contents, "the mark of a snapshot is lost with it"));
    }
    contents.set_truncations(summary.truncations, newest);
    Ok(())
}

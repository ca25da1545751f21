//! What the log holds, without the entries themselves: enough to recover a core, to open a segment,
//! and to find an entry again.
//!
//! Recovery and the writer feed every record that counts through the same methods, so what is in
//! memory while the node runs is what a restart would find.
//!
//! # Finding an entry
//!
//! The index is sparse: an *anchor* (index, place) about every 64 KiB, so a gigabyte of log costs
//! less than half a megabyte. To find entry `i`, scan from the last anchor at or before `i`.
//!
//! What can go wrong is a truncation. After entries 1–10, "truncate from 5" and new entries 5–8,
//! the segment holds two entries 5, in this order on disk:
//!
//! ```text
//!   1 2 3 4 5 6 7 8 9 10 │truncate 5│ 5' 6' 7' 8'
//!   ▲ anchor 1                        ▲ anchor 5
//! ```
//!
//! The rule: a truncation removes the anchors from its index on, the next entry always gets one,
//! and a scan never goes past the index of the following anchor. So the scan from anchor 1 ends
//! before the dead 5, and nobody ever reads one.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::consensus::{Configuration, SnapshotMark};
use crate::types::{LogIndex, Term};

use super::format::Summary;
use super::report::Damaged;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub sequence: u64,
    pub offset: u64,
}

impl Place {
    /// How far after `begin` it lies, if less than `length` bytes.
    pub fn within(self, begin: Place, length: usize) -> Option<usize> {
        let same = self.sequence == begin.sequence && self.offset >= begin.offset;
        let distance = same.then(|| usize::try_from(self.offset - begin.offset).ok())?;
        distance.filter(|distance| *distance < length)
    }
}

#[derive(Clone, Copy, Debug)]
struct Anchor {
    index: LogIndex,
    place: Place,
}

/// Where to scan for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Scan from here; entries before the wanted one may come first.
    pub place: Place,
    /// From this index on entries lie elsewhere.
    pub end: Option<LogIndex>,
}

/// The state that the log's records amount to.
#[derive(Clone, Debug)]
pub struct Contents {
    pub hard_state: Bytes,
    /// What the newest snapshot covers; zeros and nobody without one.
    pub snapshot: SnapshotMark,
    /// Every configuration entry in the log after what the snapshot covers, ascending.
    pub configurations: Vec<(LogIndex, Configuration)>,
    /// First index and term of each run of entries of the same term; both ascend.
    pub term_runs: Vec<(LogIndex, Term)>,
    pub last_index: LogIndex,
    /// Entries that the log has and that cannot be read. No anchor leads to one.
    pub damaged: BTreeMap<LogIndex, Damaged>,
    /// Truncations in the newest segment, and where the newest began.
    truncations: (u32, LogIndex),
    /// Ascending in index.
    anchors: Vec<Anchor>,
    /// Bytes between anchors.
    spacing: u64,
    /// The next entry needs an anchor: it follows a truncation.
    anchor_next: bool,
}

impl Contents {
    /// A log with nothing in it, whose first entry will be `first`.
    pub fn empty(first: LogIndex, spacing: u64) -> Contents {
        Contents {
            hard_state: Bytes::new(),
            snapshot: SnapshotMark::default(),
            configurations: Vec::new(),
            term_runs: Vec::new(),
            last_index: first.previous(),
            damaged: BTreeMap::new(),
            truncations: (0, LogIndex(0)),
            anchors: Vec::new(),
            spacing,
            anchor_next: true,
        }
    }

    /// Appends an entry that lies at `place`. An error says how it does not follow.
    pub fn push(
        &mut self,
        index: LogIndex,
        term: Term,
        configuration: Option<Configuration>,
        place: Place,
    ) -> Result<(), String> {
        self.follow(index, term)?;
        if let Some(configuration) = configuration {
            self.configurations.push((index, configuration));
        }
        let near = self.anchors.last().is_some_and(|anchor| {
            anchor.place.sequence == place.sequence
                && place.offset - anchor.place.offset < self.spacing
        });
        if self.anchor_next || !near {
            self.anchors.push(Anchor { index, place });
            self.anchor_next = false;
        }
        Ok(())
    }

    /// Appends an entry that cannot be read. Its term is not certain: `term` is the least that it
    /// can be.
    pub fn push_damaged(&mut self, damaged: Damaged, term: Term) -> Result<(), String> {
        self.follow(damaged.index, term)?;
        self.damaged.insert(damaged.index, damaged);
        self.anchor_next = true;
        Ok(())
    }

    /// No scan may pass from what was read so far to what comes next.
    pub fn interrupt(&mut self) {
        self.anchor_next = true;
    }

    fn follow(&mut self, index: LogIndex, term: Term) -> Result<(), String> {
        if index != self.last_index.next() {
            return Err(format!("entry {index} follows entry {}", self.last_index));
        }
        let last_term = self.term_runs.last().map_or(self.snapshot.term, |run| run.1);
        if term < last_term {
            return Err(format!("entry {index} has term {term} after one of term {last_term}"));
        }
        if self.term_runs.last().is_none_or(|run| run.1 != term) {
            self.term_runs.push((index, term));
        }
        self.last_index = index;
        Ok(())
    }

    /// Removes the entries from `from` on. An error says why that is impossible.
    pub fn truncate(&mut self, from: LogIndex) -> Result<(), String> {
        if from <= self.snapshot.index {
            return Err(format!(
                "a truncation from {from} on reaches into what the snapshot of {} covers",
                self.snapshot.index
            ));
        }
        if from > self.last_index.next() {
            return Err(format!(
                "a truncation from {from} on, when the last entry is {}",
                self.last_index
            ));
        }
        let keep = |list: &[(LogIndex, _)]| list.partition_point(|item| item.0 < from);
        let runs = keep(&self.term_runs);
        self.term_runs.truncate(runs);
        let configurations = self.configurations.partition_point(|item| item.0 < from);
        self.configurations.truncate(configurations);
        let anchors = self.anchors.partition_point(|anchor| anchor.index < from);
        self.anchors.truncate(anchors);
        self.damaged.split_off(&from);
        self.anchor_next = true;
        self.last_index = from.previous();
        self.truncations = (self.truncations.0 + 1, from);
        Ok(())
    }

    /// A snapshot covers the log up to its index from now on, and the log has its last entry: all
    /// stays. An error says why that is impossible.
    pub fn mark(&mut self, mark: SnapshotMark) -> Result<(), String> {
        self.check_mark(&mark)?;
        if mark.index > self.last_index {
            return Err(format!(
                "a mark of a snapshot of {}, when the last entry is {}",
                mark.index, self.last_index
            ));
        }
        if let Some(term) = self.term_at(mark.index).filter(|term| *term != mark.term) {
            return Err(format!(
                "a mark of a snapshot of {} of term {}, when that entry has term {term}",
                mark.index, mark.term
            ));
        }
        self.configurations.retain(|(index, _)| *index > mark.index);
        self.snapshot = mark;
        Ok(())
    }

    /// A snapshot stands instead of the log: every entry goes, and the next follows the snapshot.
    pub fn discard(&mut self, mark: SnapshotMark) -> Result<(), String> {
        self.check_mark(&mark)?;
        self.configurations.clear();
        self.term_runs.clear();
        self.anchors.clear();
        self.damaged.clear();
        self.anchor_next = true;
        self.last_index = mark.index;
        self.snapshot = mark;
        Ok(())
    }

    /// The log as it stands, for the mark of the group that comes next.
    pub fn summary(&self) -> Summary {
        Summary {
            last_index: self.last_index,
            last_term: self.term_at(self.last_index).unwrap_or_default(),
            truncations: self.truncations.0,
            truncated_from: self.truncations.1,
            snapshot: self.snapshot.index,
            hard_state: crc32c::crc32c(&self.hard_state),
        }
    }

    /// What comes next lies in a new segment.
    pub fn begin_segment(&mut self) {
        self.truncations = (0, LogIndex(0));
    }

    /// As the mark behind a damaged stretch says.
    pub fn set_truncations(&mut self, count: u32, newest: LogIndex) {
        self.truncations = (count, newest);
    }

    /// The entries up to `to`, which the snapshot covers, are not used any more.
    pub fn forget_entries(&mut self, to: LogIndex) {
        self.anchors.retain(|anchor| anchor.index > to);
        self.damaged = self.damaged.split_off(&to.next());
        self.trim_terms();
    }

    /// Damaged entries that the snapshot covers are not needed: the log begins after them.
    pub fn forget_damage_that_is_covered(&mut self) {
        let covered = self.damaged.range(..=self.snapshot.index).next_back();
        if let Some(last) = covered.map(|(index, _)| *index) {
            self.forget_entries(last);
        }
    }

    /// Whether a mark goes on from the one before. An error says why not.
    pub fn check_mark(&self, mark: &SnapshotMark) -> Result<(), String> {
        if mark.index < self.snapshot.index || mark.term < self.snapshot.term {
            return Err(format!(
                "a mark of a snapshot of {} of term {}, when there is one of {} of term {}",
                mark.index, mark.term, self.snapshot.index, self.snapshot.term
            ));
        }
        Ok(())
    }

    /// The term of entry `index`, if the log has it.
    pub fn term_at(&self, index: LogIndex) -> Option<Term> {
        if index == self.snapshot.index {
            return Some(self.snapshot.term);
        }
        if index > self.last_index {
            return None;
        }
        let after = self.term_runs.partition_point(|run| run.0 <= index);
        self.term_runs[..after].last().map(|run| run.1)
    }

    /// The segments up to `sequence` are gone.
    pub fn forget_segments(&mut self, sequence: u64) {
        self.anchors.retain(|anchor| anchor.place.sequence > sequence);
        self.trim_terms();
    }

    /// Forgets the terms of entries before the first.
    fn trim_terms(&mut self) {
        let first = self.first_index();
        let runs = self.term_runs.partition_point(|run| run.0 <= first);
        self.term_runs.drain(..runs.saturating_sub(1));
        match self.term_runs.first_mut() {
            Some(_) if first > self.last_index => self.term_runs.clear(),
            Some(run) => run.0 = run.0.max(first),
            None => {}
        }
    }

    /// The first entry that lies in a segment after `sequence`, or would.
    pub fn first_index_after(&self, sequence: u64) -> LogIndex {
        let anchor = self.anchors.iter().find(|anchor| anchor.place.sequence > sequence);
        anchor.map_or(self.last_index.next(), |anchor| anchor.index)
    }

    /// From which entry on the terms are known, and the runs after it; see
    /// [`Recovered::log_start`](super::Recovered::log_start).
    pub fn terms(&self) -> ((LogIndex, Term), Vec<(LogIndex, Term)>) {
        let first = self.first_index();
        if first > self.snapshot.index || first > self.last_index {
            return ((self.snapshot.index, self.snapshot.term), self.term_runs.clone());
        }
        if first == LogIndex(1) {
            return ((LogIndex(0), Term(0)), self.term_runs.clone());
        }
        // The term of the entry before the first is not known any more.
        let mut runs = self.term_runs.clone();
        let term = runs.first().map_or(self.snapshot.term, |run| run.1);
        match runs.get(1) {
            Some(second) if second.0 == first.next() => drop(runs.remove(0)),
            None if first == self.last_index => runs.clear(),
            _ => {
                if let Some(run) = runs.first_mut() {
                    run.0 = first.next();
                }
            }
        }
        ((first, term), runs)
    }

    /// Where to find entry `index`; `None` if the log has no such entry.
    pub fn locate(&self, index: LogIndex) -> Option<Span> {
        let after = self.anchors.partition_point(|anchor| anchor.index <= index);
        let anchor = self.anchors[..after].last()?;
        (index <= self.last_index)
            .then(|| Span { place: anchor.place, end: self.anchors.get(after).map(|a| a.index) })
    }

    /// The first entry that can be read.
    pub fn first_index(&self) -> LogIndex {
        let anchored = self.anchors.first().map(|anchor| anchor.index);
        let damaged = self.damaged.keys().next().copied();
        [anchored, damaged].into_iter().flatten().min().unwrap_or(self.last_index.next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Place {
        Place { sequence: 1, offset }
    }

    fn ten_entries(spacing: u64) -> Contents {
        let mut contents = Contents::empty(LogIndex(1), spacing);
        for i in 1..=10 {
            contents.push(LogIndex(i), Term(1 + i / 4), None, at(i * 100)).unwrap();
        }
        contents
    }

    #[test]
    fn a_scan_never_meets_a_dead_entry() {
        let mut contents = ten_entries(9999);
        contents.truncate(LogIndex(5)).unwrap();
        assert_eq!(contents.locate(LogIndex(5)), None);
        for i in 5..=8 {
            contents.push(LogIndex(i), Term(9), None, at(1000 + i * 100)).unwrap();
        }
        // The dead 5, 6… lie after 4 on disk: the scan for 4 must end before 5.
        assert_eq!(
            contents.locate(LogIndex(4)),
            Some(Span { place: at(100), end: Some(LogIndex(5)) })
        );
        assert_eq!(contents.locate(LogIndex(5)).map(|s| s.place), Some(at(1500)));
        assert_eq!(
            contents.term_runs,
            vec![(LogIndex(1), Term(1)), (LogIndex(4), Term(2)), (LogIndex(5), Term(9)),]
        );
    }

    #[test]
    fn the_index_is_sparse() {
        let contents = ten_entries(250);
        assert_eq!(contents.anchors.len(), 4, "{:?}", contents.anchors);
        assert_eq!(contents.locate(LogIndex(3)).map(|s| s.place), Some(at(100)));
        assert_eq!(contents.locate(LogIndex(11)), None);
        assert_eq!(contents.locate(LogIndex(0)), None);
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        let mut contents = ten_entries(250);
        assert!(contents.push(LogIndex(12), Term(3), None, at(2000)).is_err(), "a gap");
        assert!(contents.push(LogIndex(11), Term(2), None, at(2000)).is_err(), "a term goes back");
        assert!(contents.truncate(LogIndex(12)).is_err(), "beyond the end");
        assert!(contents.truncate(LogIndex(0)).is_err(), "the snapshot's");
        assert_eq!(contents.last_index, LogIndex(10));
    }
}

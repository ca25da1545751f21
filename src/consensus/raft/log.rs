//! The log as the core sees it: all terms, and the entries themselves only near the end.
//!
//! Raft compares logs by the *terms* at their indexes, and a leader's term spans many entries, so
//! the terms of a whole log fit in a few runs. The entries are needed for sending and applying,
//! which happens near the end. So this log holds
//!
//! ```text
//!   start         runs: (first index, term) …                                     last
//!      │  ┌────────────┬─────────────────┬──────────────────────────────┬─────────┐
//!      └──┤   term 1   │     term 3      │            term 4            │ term 7  │
//!         └────────────┴─────────────────┴──────────────────────────────┴─────────┘
//!                                ▲               cached entries ├────────────────►
//!                             snapshot
//! ```
//!
//! and for an entry before the cache the core asks its disk
//! ([`Effect::ReadLog`](crate::consensus::Effect::ReadLog)).
//!
//! What lies before `start` is gone: a snapshot covers it (§7). The log usually keeps some entries
//! that the snapshot covers as well, for followers that are only a little behind.
//!
//! Configurations are kept whole, since the newest *in the log* is in force (paper §6), and
//! removing its entry brings the one before it back. A change of membership writes two, so a
//! truncation may take back two at once.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::consensus::{Configuration, Entry, Payload, SnapshotMark};
use crate::types::{LogIndex, Term};

/// The log of one member.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Log {
    /// The entry right before the first that the log holds; zeros before the first of all.
    start: (LogIndex, Term),
    /// The newest snapshot: at or after `start`; zeros without one.
    snapshot: SnapshotMark,
    /// Ascending in both; each run ends where the next begins.
    runs: Vec<(LogIndex, Term)>,
    last_index: LogIndex,
    /// The entries up to `last_index`, without a gap; possibly none.
    cache: VecDeque<Entry>,
    cache_bytes: usize,
    /// Those of entries after the snapshot, ascending.
    configurations: Vec<(LogIndex, Configuration)>,
}

impl Log {
    /// The log as the disk holds it; nothing is cached yet.
    pub fn recover(
        start: (LogIndex, Term),
        snapshot: SnapshotMark,
        mut configurations: Vec<(LogIndex, Configuration)>,
        runs: Vec<(LogIndex, Term)>,
        last_index: LogIndex,
    ) -> Log {
        configurations.retain(|(index, _)| *index > snapshot.index);
        let cache = VecDeque::new();
        Log { start, snapshot, runs, last_index, cache, cache_bytes: 0, configurations }
    }

    /// The first index that the log holds, or would hold.
    pub fn first_index(&self) -> LogIndex {
        self.start.0.next()
    }

    /// The newest snapshot; zeros without one.
    pub fn snapshot(&self) -> &SnapshotMark {
        &self.snapshot
    }

    pub fn last_index(&self) -> LogIndex {
        self.last_index
    }

    pub fn last_term(&self) -> Term {
        self.runs.last().map_or(self.start.1, |run| run.1)
    }

    /// The term of the entry at `index`; `None` if the log does not reach it, at either end.
    pub fn term(&self, index: LogIndex) -> Option<Term> {
        if index == self.start.0 {
            return Some(self.start.1);
        }
        if index < self.start.0 || index > self.last_index {
            return None;
        }
        let run = self.runs.partition_point(|run| run.0 <= index);
        Some(self.runs[run - 1].1)
    }

    /// The first index of the run that `index` belongs to; for a conflict's report (§5.3).
    pub fn first_index_of_term_at(&self, index: LogIndex) -> LogIndex {
        let run = self.runs.partition_point(|run| run.0 <= index);
        if run == 0 { index } else { self.runs[run - 1].0 }
    }

    /// The last index that holds an entry of `term`, if any does.
    pub fn last_index_of_term(&self, term: Term) -> Option<LogIndex> {
        let run = self.runs.iter().position(|run| run.1 == term)?;
        Some(self.runs.get(run + 1).map_or(self.last_index, |next| next.0.previous()))
    }

    /// The configuration in force: the newest in the log, committed or not (§6).
    pub fn configuration(&self) -> &Configuration {
        self.configurations.last().map_or(&self.snapshot.configuration, |(_, it)| it)
    }

    /// Where the configuration in force stands.
    pub fn configuration_index(&self) -> LogIndex {
        self.configurations.last().map_or(self.snapshot.index, |(index, _)| *index)
    }

    /// The configuration before the newest entry of one; the snapshot's, if there is none.
    pub fn configuration_before(&self) -> &Configuration {
        let before = self.configurations.len().saturating_sub(1);
        self.configurations[..before]
            .last()
            .map_or(&self.snapshot.configuration, |(_, configuration)| configuration)
    }

    /// The configuration as of `index`, which must not lie before the snapshot.
    fn configuration_at(&self, index: LogIndex) -> &Configuration {
        let before = self.configurations.partition_point(|(at, _)| *at <= index);
        self.configurations[..before]
            .last()
            .map_or(&self.snapshot.configuration, |(_, configuration)| configuration)
    }

    /// Takes note of a snapshot as of `index`, which the log holds; its mark.
    pub fn cover(&mut self, index: LogIndex) -> SnapshotMark {
        assert!(index > self.snapshot.index, "snapshots never go back");
        let Some(term) = self.term(index) else {
            panic!("broken invariant: a snapshot of entry {index}, which the log does not hold")
        };
        let configuration = self.configuration_at(index).clone();
        self.snapshot = SnapshotMark { index, term, configuration };
        self.configurations.retain(|(at, _)| *at > index);
        self.snapshot.clone()
    }

    /// Forgets the entries up to `to`, which a snapshot covers.
    pub fn compact(&mut self, to: LogIndex) {
        assert!(to <= self.snapshot.index, "only what a snapshot covers is forgotten");
        let Some(term) = self.term(to).filter(|_| to > self.start.0) else { return };
        let next = self.term(to.next());
        self.runs.retain(|run| run.0 > to);
        if let Some(next) = next.filter(|_| self.runs.first().is_none_or(|run| run.0 > to.next())) {
            self.runs.insert(0, (to.next(), next));
        }
        self.start = (to, term);
        while let Some(entry) = self.cache.pop_front_if(|entry| entry.index <= to) {
            self.cache_bytes -= entry.size();
        }
    }

    /// Drops everything: the log goes on right after `snapshot`.
    pub fn reset(&mut self, snapshot: SnapshotMark) {
        assert!(snapshot.index > self.snapshot.index, "snapshots never go back");
        self.start = (snapshot.index, snapshot.term);
        self.last_index = snapshot.index;
        self.runs.clear();
        self.cache.clear();
        self.cache_bytes = 0;
        self.configurations.clear();
        self.snapshot = snapshot;
    }

    /// Appends an entry, which must continue the log.
    pub fn append(&mut self, entry: Entry) {
        assert_eq!(entry.index, self.last_index.next(), "an entry must continue the log");
        assert!(entry.term >= self.last_term(), "terms never decrease along the log");
        if entry.term != self.last_term() || self.runs.is_empty() {
            self.runs.push((entry.index, entry.term));
        }
        if let Payload::Configuration(configuration) = &entry.payload {
            self.configurations.push((entry.index, configuration.clone()));
        }
        self.last_index = entry.index;
        self.cache_bytes += entry.size();
        self.cache.push_back(entry);
    }

    /// Removes every entry from `index` on, and with them the configurations they held, which are
    /// returned.
    pub fn truncate_from(&mut self, index: LogIndex) -> Vec<(LogIndex, Configuration)> {
        assert!(index > self.snapshot.index, "a snapshot is never truncated");
        self.last_index = index.previous().min(self.last_index);
        self.runs.retain(|run| run.0 < index);
        let kept = self.configurations.partition_point(|(at, _)| *at < index);
        let removed = self.configurations.split_off(kept);
        while let Some(entry) = self.cache.pop_back_if(|entry| entry.index >= index) {
            self.cache_bytes -= entry.size();
        }
        removed
    }

    /// For the museum: a configuration that should be gone is in force.
    pub fn keep_configuration(&mut self, kept: (LogIndex, Configuration)) {
        self.configurations.push(kept);
    }

    /// The first index whose entry is in memory; one past the end if none is.
    pub fn cached_from(&self) -> LogIndex {
        self.cache.front().map_or(self.last_index.next(), |entry| entry.index)
    }

    /// Cached entries from `from` up to `to`: as many as fit in `max_bytes`, and at least one.
    /// Empty if `from` is not cached or lies past `to`.
    pub fn slice(&self, from: LogIndex, to: LogIndex, max_bytes: usize) -> Vec<Entry> {
        if from < self.cached_from() {
            return Vec::new();
        }
        let skip = self.cached_from().distance_to(from) as usize;
        let cached = self.cache.range(skip.min(self.cache.len())..);
        take_within(cached.take_while(|entry| entry.index <= to).cloned(), max_bytes)
    }

    /// Forgets cached entries before `keep_from` until no more than `max_bytes` are cached.
    pub fn shrink_cache(&mut self, keep_from: LogIndex, max_bytes: usize) {
        while self.cache_bytes > max_bytes {
            let Some(entry) = self.cache.pop_front_if(|entry| entry.index < keep_from) else {
                return;
            };
            self.cache_bytes -= entry.size();
        }
    }
}

/// The first entries that fit in `max_bytes` of payload, at least one.
pub fn take_within(entries: impl Iterator<Item = Entry>, max_bytes: usize) -> Vec<Entry> {
    let mut bytes = 0;
    let mut taken = Vec::new();
    for entry in entries {
        bytes += entry.size();
        if bytes > max_bytes && !taken.is_empty() {
            break;
        }
        taken.push(entry);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::NodeId;

    fn entry(index: u64, term: u64) -> Entry {
        let payload = Payload::Command(bytes::Bytes::from(vec![0; 10]));
        Entry { term: Term(term), index: LogIndex(index), payload }
    }

    fn log(terms: &[u64]) -> Log {
        let mut log = Log::recover(
            (LogIndex(0), Term(0)),
            SnapshotMark::default(),
            Vec::new(),
            Vec::new(),
            LogIndex(0),
        );
        for (i, term) in terms.iter().enumerate() {
            log.append(entry(i as u64 + 1, *term));
        }
        log
    }

    #[test]
    fn terms_are_found_along_the_runs() {
        let log = log(&[1, 1, 3, 3, 3, 7]);
        let terms: Vec<_> = (0..=7).map(|i| log.term(LogIndex(i)).map(|t| t.0)).collect();
        let expected =
            [Some(0), Some(1), Some(1), Some(3), Some(3), Some(3), Some(7), None].to_vec();
        assert_eq!(terms, expected);
        assert_eq!(log.first_index_of_term_at(LogIndex(5)), LogIndex(3));
        assert_eq!(log.last_index_of_term(Term(3)), Some(LogIndex(5)));
        assert_eq!(log.last_index_of_term(Term(7)), Some(LogIndex(6)));
        assert_eq!(log.last_index_of_term(Term(2)), None);
    }

    #[test]
    fn truncation_forgets_terms_entries_and_configurations() {
        let mut log = log(&[1, 1, 3]);
        let voters = [NodeId(9)].into();
        let configuration = Configuration { voters, ..Configuration::default() };
        let payload = Payload::Configuration(configuration.clone());
        log.append(Entry { term: Term(4), index: LogIndex(4), payload });
        assert_eq!(log.configuration(), &configuration);
        log.truncate_from(LogIndex(3));
        assert_eq!((log.last_index(), log.last_term()), (LogIndex(2), Term(1)));
        assert_eq!(log.configuration(), &Configuration::default());
        assert_eq!(log.slice(LogIndex(1), LogIndex(9), 1000).len(), 2);
        log.append(entry(3, 5));
        assert_eq!(log.term(LogIndex(3)), Some(Term(5)));
    }

    #[test]
    fn compaction_keeps_terms_and_the_configuration() {
        let mut log = log(&[1, 1, 3]);
        let members = |id| Configuration { voters: [NodeId(id)].into(), ..Default::default() };
        for (index, id) in [(4, 7), (5, 8)] {
            let payload = Payload::Configuration(members(id));
            log.append(Entry { term: Term(4), index: LogIndex(index), payload });
        }
        let mark = log.cover(LogIndex(4));
        assert_eq!(
            (mark.index, mark.term, &mark.configuration),
            (LogIndex(4), Term(4), &members(7))
        );
        log.compact(LogIndex(2));
        let terms: Vec<_> = (1..=6).map(|i| log.term(LogIndex(i)).map(|t| t.0)).collect();
        assert_eq!(terms, [None, Some(1), Some(3), Some(4), Some(4), None]);
        log.compact(LogIndex(4));
        assert_eq!((log.first_index(), log.term(LogIndex(5))), (LogIndex(5), Some(Term(4))));
        assert_eq!(log.configuration(), &members(8));
        log.truncate_from(LogIndex(5));
        assert_eq!((log.configuration(), log.last_term()), (&members(7), Term(4)));
        assert_eq!(log.configuration_index(), LogIndex(4));
        log.append(entry(5, 6));
        assert_eq!(log.term(LogIndex(5)), Some(Term(6)));
        log.reset(SnapshotMark { index: LogIndex(9), term: Term(6), configuration: members(9) });
        assert_eq!((log.last_index(), log.last_term()), (LogIndex(9), Term(6)));
        assert_eq!(log.term(LogIndex(5)), None);
    }

    #[test]
    fn two_stacked_configurations_are_taken_back_at_once() {
        let mut log = log(&[1]);
        let members = |id| Configuration { voters: [NodeId(id)].into(), ..Default::default() };
        for (index, id) in [(2, 1), (3, 2), (4, 3)] {
            let payload = Payload::Configuration(members(id));
            log.append(Entry { term: Term(1), index: LogIndex(index), payload });
        }
        log.truncate_from(LogIndex(3));
        assert_eq!(log.configuration(), &members(1));
    }

    #[test]
    fn the_cache_shrinks_only_before_the_mark_and_slices_respect_the_budget() {
        let mut log = log(&[1; 10]);
        log.shrink_cache(LogIndex(4), 0);
        assert_eq!(log.cached_from(), LogIndex(4));
        assert!(log.slice(LogIndex(3), LogIndex(9), 1000).is_empty());
        let two = 2 * (10 + Entry::OVERHEAD);
        assert_eq!(log.slice(LogIndex(4), LogIndex(9), two + 5).len(), 2);
        assert_eq!(log.slice(LogIndex(4), LogIndex(9), 1).len(), 1);
        assert_eq!(log.slice(LogIndex(9), LogIndex(20), two).len(), 2);
        assert!(log.slice(LogIndex(11), LogIndex(20), 1000).is_empty());
    }
}

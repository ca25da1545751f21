//! A model of the log, for tests that crash it.
//!
//! The model is the list of states after each write. Whatever the crash, the log must come back as
//! the state after *some* write: none before the last one reported durable (durability), and none
//! between two writes (atomicity). The snapshot that its mark names must be there, whole. Of what
//! the snapshot covers, entries may be gone or not, but there is never a hole.

use std::collections::{BTreeMap, BTreeSet};

use super::snapshots::parts;
use super::*;
use crate::consensus::{Chunk, SnapshotMark};
use crate::storage::snapshot_format::SnapshotEncoder;

/// One write, and what happens until the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Action {
    pub truncate_back: Option<u64>,
    pub entries: usize,
    pub payload: usize,
    pub configuration: Option<u64>,
    pub hard_state: Option<u64>,
    pub snapshot: Option<Snapshot>,
    /// Operations that the disk performs before the next action.
    pub steps: usize,
    /// The log goes idle.
    pub wait: bool,
}

/// What is done about snapshots after a write.
#[derive(Clone, Copy, Debug)]
pub(super) enum Snapshot {
    /// One is taken of so many entries before the last durable one.
    Take { back: u64 },
    /// One is received, of so many entries before the last durable one: the log has its last.
    ReceiveOld { back: u64 },
    /// One is received, of so many entries after the last: the log is discarded.
    ReceiveNew { ahead: u64 },
}

/// What the log holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct State {
    hard_state: Vec<u8>,
    snapshot: SnapshotMark,
    /// All since the last one that was discarded, compacted or not.
    pub entries: BTreeMap<u64, Entry>,
}

impl State {
    pub fn first() -> State {
        let payload = Payload::Configuration(members(3));
        let entry = Entry { term: Term(1), index: LogIndex(1), payload };
        State { entries: BTreeMap::from([(1, entry)]), ..State::default() }
    }

    fn last(&self) -> u64 {
        self.entries.keys().next_back().map_or(self.snapshot.index.0, |index| *index)
    }

    fn apply(&mut self, persist: &Persist<Hard>) {
        if let Some(mark) = &persist.snapshot {
            self.snapshot = mark.clone();
            if persist.discard_log {
                self.entries.clear();
            }
        }
        if let Some(from) = persist.truncate_from {
            self.entries.split_off(&from.0);
        }
        self.entries.extend(persist.entries.iter().map(|entry| (entry.index.0, entry.clone())));
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state.to_bytes();
        }
    }

    /// The write that `action` means in this state, which must leave entries up to `floor`.
    fn persist(&self, action: &Action, seq: u64, term: u64, floor: u64) -> Persist<Hard> {
        let last = self.last();
        let truncate_from = action
            .truncate_back
            .map(|back| LogIndex((last + 1).saturating_sub(back).max(floor + 1)));
        let first = truncate_from.map_or(last + 1, |from| from.0);
        let entry = |i: usize| {
            let index = LogIndex(first + i as u64);
            let payload = match (action.configuration, i) {
                (Some(count), 0) => Payload::Configuration(members(count)),
                _ if action.payload < 10 => Payload::Noop,
                _ => Payload::Command(vec![seq as u8 ^ i as u8; action.payload].into()),
            };
            Entry { term: Term(term), index, payload }
        };
        Persist {
            hard_state: action.hard_state.map(Hard),
            truncate_from,
            ..entries(seq, (0..action.entries).map(entry).collect())
        }
    }

    /// What a snapshot of `index` would say here.
    fn mark_at(&self, index: u64) -> Option<SnapshotMark> {
        let term = self.entries.get(&index).filter(|_| index > self.snapshot.index.0)?.term;
        let mut configuration = self.snapshot.configuration.clone();
        for (_, entry) in self.entries.range(self.snapshot.index.0 + 1..=index) {
            if let Payload::Configuration(newer) = &entry.payload {
                configuration = newer.clone();
            }
        }
        Some(SnapshotMark { index: LogIndex(index), term, configuration })
    }

    fn matches(&self, recovered: &Recovered, first: u64) -> bool {
        let covered = self.snapshot.index.0;
        let mut term_runs: Vec<(LogIndex, Term)> = Vec::new();
        let log_start = match self.entries.get(&first) {
            Some(entry) if first <= covered && first > 1 => (entry.index, entry.term),
            _ if first == 1 => (LogIndex(0), Term(0)),
            _ => (self.snapshot.index, self.snapshot.term),
        };
        for (_, entry) in self.entries.range(log_start.0.0 + 1..) {
            if term_runs.last().is_none_or(|run| run.1 != entry.term) {
                term_runs.push((entry.index, entry.term));
            }
        }
        let configurations =
            self.entries.range(covered + 1..).filter_map(|(_, entry)| match &entry.payload {
                Payload::Configuration(configuration) => Some((entry.index, configuration.clone())),
                _ => None,
            });
        recovered.hard_state == self.hard_state
            && recovered.snapshot == self.snapshot
            && recovered.last_index == LogIndex(self.last())
            && recovered.log_start == log_start
            && recovered.term_runs == term_runs
            && recovered.configurations == configurations.collect::<Vec<_>>()
    }
}

/// One life of a log: what it was asked to write, and what it reported.
pub(super) struct Life {
    /// After each write; the first is what the life began with.
    pub states: Vec<State>,
    pub durable: u64,
    pub now: Instant,
    term: u64,
    /// The first entry that may be truncated comes after this one: a snapshot has it.
    floor: u64,
    /// Snapshots under way: what they mark when they are there.
    under_way: BTreeMap<LogIndex, SnapshotMark>,
    /// Marks that are not durable: the log is compacted when they are.
    marks: Vec<(u64, LogIndex)>,
    /// What happened, to see that it did.
    pub seen: BTreeSet<&'static str>,
}

impl Life {
    pub fn new(start: State) -> Life {
        Life {
            term: start.entries.values().next_back().map_or(start.snapshot.term, |e| e.term).0,
            floor: start.snapshot.index.0,
            states: vec![start],
            durable: 0,
            now: Instant::default(),
            under_way: BTreeMap::new(),
            marks: Vec::new(),
            seen: BTreeSet::new(),
        }
    }

    fn state(&self) -> &State {
        &self.states[self.states.len() - 1]
    }

    fn append(&mut self, log: &mut SegmentLog<MemoryDisk>, persist: &Persist<Hard>) {
        let mut state = self.state().clone();
        state.apply(persist);
        self.states.push(state);
        log.append(persist);
        log.flush();
    }

    /// Does what a replica does when the log says something.
    fn note(&mut self, log: &mut SegmentLog<MemoryDisk>, events: &[LogEvent]) {
        self.durable = self.durable.max(durable(events).map_or(0, |seq| seq.0));
        for event in events {
            match event {
                LogEvent::SnapshotSaved { index } => self.mark(log, *index, "saved"),
                LogEvent::SnapshotReceived { snapshot } => {
                    self.mark(log, snapshot.index, "received");
                }
                LogEvent::SnapshotFailed { .. } => drop(self.seen.insert("failed")),
                LogEvent::SnapshotRejected { .. } => drop(self.seen.insert("rejected")),
                _ => {}
            }
        }
        while self.marks.first().is_some_and(|(seq, _)| *seq <= self.durable) {
            let (_, index) = self.marks.remove(0);
            let before = log.status().segments;
            // Two entries are kept for those who are slow.
            log.compact(LogIndex(index.0.saturating_sub(2)));
            if log.status().segments < before {
                self.seen.insert("compacted");
            }
            log.retain_snapshots(&BTreeSet::new());
        }
    }

    fn mark(&mut self, log: &mut SegmentLog<MemoryDisk>, index: LogIndex, how: &'static str) {
        let Some(mark) = self.under_way.remove(&index) else { return };
        if index < self.state().snapshot.index {
            return;
        }
        let here = self.state().entries.get(&index.0).is_some_and(|here| here.term == mark.term);
        self.seen.insert(how);
        self.seen.insert(if here { "kept" } else { "discarded" });
        let seq = self.states.len() as u64;
        let persist =
            Persist { snapshot: Some(mark), discard_log: !here, ..entries(seq, Vec::new()) };
        self.marks.push((seq, index));
        self.append(log, &persist);
    }

    fn snapshot(&mut self, log: &mut SegmentLog<MemoryDisk>, what: Snapshot) {
        let durable = &self.states[self.durable as usize];
        let old = |back: u64| {
            let index = durable.last().min(self.state().last()).checked_sub(back)?;
            // What is committed is the same in all states from then on.
            (self.state().entries.get(&index)? == durable.entries.get(&index)?)
                .then(|| self.state().mark_at(index))
                .flatten()
        };
        let mark = match what {
            Snapshot::Take { back } | Snapshot::ReceiveOld { back } => old(back),
            Snapshot::ReceiveNew { ahead } => {
                self.term += 1;
                let newest = self.under_way.keys().next_back().map_or(0, |index| index.0);
                let index = LogIndex(self.state().last().max(newest) + ahead);
                Some(SnapshotMark { index, term: Term(self.term), configuration: members(5) })
            }
        };
        // One that was received of entries to come is what they will be: of an index there are not
        // two that differ.
        let is_one = |it: &SnapshotMark| !self.under_way.contains_key(&it.index);
        let mark = mark.filter(|mark| mark.index.0 > self.floor && is_one(mark));
        let Some(mark) = mark else { return };
        if !matches!(what, Snapshot::ReceiveNew { .. }) {
            self.floor = mark.index.0;
        }
        self.under_way.insert(mark.index, mark.clone());
        match what {
            Snapshot::Take { .. } => {
                log.snapshot_begin(mark.clone());
                for part in parts(mark.index.0) {
                    log.snapshot_write(&part.into());
                }
                log.snapshot_finish();
            }
            _ => receive(log, &mark),
        }
    }

    pub fn run(
        &mut self,
        log: &mut SegmentLog<MemoryDisk>,
        actions: &[Action],
    ) -> Result<(), LogError> {
        for action in actions {
            self.term += u64::from(action.truncate_back.is_some());
            // A snapshot that discarded the log has raised both.
            self.term = self.term.max(self.state().snapshot.term.0);
            self.floor = self.floor.max(self.state().snapshot.index.0);
            let seq = self.states.len() as u64;
            let persist = self.state().persist(action, seq, self.term, self.floor);
            self.append(log, &persist);
            if let Some(what) = action.snapshot {
                self.snapshot(log, what);
            }
            for _ in 0..action.steps {
                log.disk_mut().step();
                let events = log.poll(self.now)?;
                self.note(log, &events);
            }
            if action.wait {
                self.settle(log)?;
            }
        }
        self.settle(log)
    }

    /// Lets time pass until nothing is left to do.
    fn settle(&mut self, log: &mut SegmentLog<MemoryDisk>) -> Result<(), LogError> {
        loop {
            let events = settle(log, self.now)?;
            self.note(log, &events);
            match log.next_deadline() {
                _ if !events.is_empty() => {}
                Some(at) if at > self.now => self.now = at,
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    /// The state that was recovered: it must be one of this life's, and no older than what was
    /// durable. Reads everything.
    pub fn judge(
        &self,
        log: &mut SegmentLog<MemoryDisk>,
        recovered: &Recovered,
    ) -> Result<State, String> {
        let first = log.status().first_index.0;
        let possible = &self.states[self.durable as usize..];
        let found = possible.iter().find(|state| state.matches(recovered, first)).cloned();
        let state = found.ok_or_else(|| {
            format!(
                "write {} of {} was durable, and the log came back from entry {first} on: \
                 {recovered:?}",
                self.durable,
                self.states.len() - 1,
            )
        })?;
        if first > state.snapshot.index.0 + 1 {
            return Err(format!("a hole before entry {first}"));
        }
        let mark = &state.snapshot;
        if mark.index.0 > 0 {
            let mut bytes = Vec::new();
            let mut sink = |part: &[u8]| {
                bytes.extend_from_slice(part);
                Ok(())
            };
            let loaded = log.load_snapshot(mark.index, &mut sink).map_err(|e| e.to_string())?;
            if loaded != *mark || bytes != parts(mark.index.0).concat() {
                return Err(format!("the snapshot of {} is another", mark.index));
            }
        }
        let read = snapshots::read_rest(log);
        let expected = state.entries.range(first..).map(|(_, entry)| entry);
        match expected.eq(&read) {
            true => Ok(state),
            false => Err("what was read back is not what was written".to_owned()),
        }
    }
}

/// A snapshot comes, in chunks.
fn receive(log: &mut SegmentLog<MemoryDisk>, mark: &SnapshotMark) {
    let (mut encoder, header) = SnapshotEncoder::begin(IDENTITY.cluster, mark);
    let mut file = header.to_vec();
    for part in parts(mark.index.0) {
        file.extend_from_slice(&encoder.part(&part));
    }
    file.extend_from_slice(&encoder.end());
    let mut offset = 0;
    for data in file.chunks(700) {
        let done = offset + data.len() == file.len();
        let chunk = Chunk { data: Bytes::copy_from_slice(data), done };
        log.receive_snapshot(mark.index, mark.term, offset as u64, chunk);
        offset += data.len();
    }
}

/// What is done to the disk, and how the log is made.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub crash: Crash,
    pub ignore_syncs: bool,
    pub options: LogOptions,
}

impl Trial {
    pub fn new(crash: Crash) -> Trial {
        Trial { crash, ignore_syncs: false, options: tiny() }
    }

    pub fn open(&self, disk: &MemoryDisk) -> Result<(SegmentLog<MemoryDisk>, Recovered), String> {
        let opened = SegmentLog::open(disk.handle(), IDENTITY, self.options.clone());
        opened.map_err(|error| error.to_string())
    }

    /// Runs `actions`, cuts the power after `steps` steps, recovers, judges; then goes on writing,
    /// and judges again. Returns the steps that were made before the power failed, and what was
    /// seen.
    pub fn crash_at(
        &self,
        actions: &[Action],
        steps: u64,
    ) -> Result<(u64, BTreeSet<&'static str>), String> {
        let disk = new_disk();
        disk.set_ignore_syncs(self.ignore_syncs);
        disk.power_off_after(steps);
        let before = disk.steps();
        let mut life = Life::new(State::first());
        if let Ok((mut log, _)) = self.open(&disk) {
            disk.set_stepped(true);
            life.run(&mut log, actions).map_err(|error| error.to_string())?;
        }
        let made = disk.steps() - before;
        disk.crash(self.crash);
        disk.set_stepped(false);

        // The power fails again while the log recovers.
        disk.power_off_after(steps % 7);
        let _ = self.open(&disk);
        disk.crash(self.crash);
        self.go_on(&disk, &life, actions, steps)?;
        Ok((made, life.seen))
    }

    /// Recovers what `life` has left, judges it, and goes on.
    pub fn go_on(
        &self,
        disk: &MemoryDisk,
        life: &Life,
        actions: &[Action],
        steps: u64,
    ) -> Result<(), String> {
        let (mut log, recovered) = self.open(disk)?;
        let state = life.judge(&mut log, &recovered)?;
        // What recovery has reported is durable, and what it has cut is gone. Half of the time the
        // node goes on at once instead: then all it writes must be as durable as ever.
        drop(log);
        if steps.is_multiple_of(2) {
            disk.crash(Crash::LoseUnsynced);
        }
        let (mut log, again) = self.open(disk)?;
        if again != (Recovered { tear: None, ..recovered }) {
            return Err(format!("recovered again, it is another: {again:?}"));
        }
        let mut life = Life::new(state);
        disk.set_stepped(true);
        // Short, so that what the first life left behind is not simply written again.
        let mut few = actions[..actions.len().min(2)].to_vec();
        if let Some(action) = few.last_mut() {
            action.snapshot = Some(Snapshot::Take { back: 0 });
        }
        life.run(&mut log, &few).map_err(|error| error.to_string())?;
        if life.durable as usize != life.states.len() - 1 {
            return Err(format!("write {} and no other is durable", life.durable));
        }
        drop(log);
        disk.crash(Crash::LoseUnsynced);
        disk.set_stepped(false);
        let (mut log, recovered) = self.open(disk)?;
        if recovered.tear.is_some() {
            return Err(format!("nothing was under way, and yet: {:?}", recovered.tear));
        }
        life.judge(&mut log, &recovered)?;
        Ok(())
    }
}

/// Cuts the power after every step, with every kind of loss; what was seen on the way.
pub(super) fn crash_everywhere(
    actions: &[Action],
    seeds: &[u64],
    change: impl Fn(&mut Trial),
) -> Result<BTreeSet<&'static str>, String> {
    let trial = |crash| {
        let mut trial = Trial::new(crash);
        change(&mut trial);
        trial
    };
    let (total, seen) = trial(Crash::LoseUnsynced).crash_at(actions, u64::MAX / 2)?;
    for steps in 0..=total {
        let kept = seeds.iter().map(|seed| Crash::KeepSome(seed ^ steps << 32));
        for crash in [Crash::LoseUnsynced, Crash::LoseNothing].into_iter().chain(kept) {
            trial(crash)
                .crash_at(actions, steps)
                .map_err(|error| format!("crash {crash:?} after {steps} steps: {error}"))?;
        }
    }
    Ok(seen)
}

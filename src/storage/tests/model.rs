//! Durability against a model: random writes, a crash at every single step, every kind of loss.
//!
//! The model is the list of states after each write. Whatever the crash, the log must come back as
//! the state after *some* write: none before the last one reported durable (durability), and none
//! between two writes (atomicity).

use proptest::prelude::*;

use super::*;

/// One write, and what happens until the next.
#[derive(Clone, Debug)]
struct Action {
    truncate_back: Option<u64>,
    entries: usize,
    payload: usize,
    configuration: Option<u64>,
    hard_state: Option<u64>,
    /// Operations that the disk performs before the next action.
    steps: usize,
    /// The log goes idle.
    wait: bool,
}

fn action() -> impl Strategy<Value = Action> {
    (
        proptest::option::weighted(0.2, 0u64..12),
        0usize..5,
        0usize..220,
        proptest::option::weighted(0.1, 1u64..6),
        proptest::option::weighted(0.3, any::<u64>()),
        0usize..5,
        proptest::bool::weighted(0.15),
    )
        .prop_map(
            |(truncate_back, entries, payload, configuration, hard_state, steps, wait)| Action {
                truncate_back,
                entries,
                payload,
                configuration,
                hard_state,
                steps,
                wait,
            },
        )
}

#[derive(Clone, Debug, Default, PartialEq)]
struct State {
    hard_state: Vec<u8>,
    entries: Vec<Entry>,
}

impl State {
    fn first() -> State {
        let payload = Payload::Configuration(members(3));
        let entry = Entry { term: Term(1), index: LogIndex(1), payload };
        State { hard_state: Vec::new(), entries: vec![entry] }
    }

    fn apply(&mut self, persist: &Persist<Hard>) {
        if let Some(from) = persist.truncate_from {
            self.entries.truncate(from.0 as usize - 1);
        }
        self.entries.extend(persist.entries.iter().cloned());
        if let Some(hard_state) = persist.hard_state {
            self.hard_state = hard_state.to_bytes();
        }
    }

    /// The write that `action` means in this state.
    fn persist(&self, action: &Action, seq: u64, term: u64) -> Persist<Hard> {
        let last = self.entries.len() as u64;
        let truncate_from =
            action.truncate_back.map(|back| LogIndex((last + 1 - back.min(last)).max(1)));
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
            seq: Seq(seq),
            snapshot: None,
            discard_log: false,
            hard_state: action.hard_state.map(Hard),
            truncate_from,
            entries: (0..action.entries).map(entry).collect(),
        }
    }

    fn matches(&self, recovered: &Recovered) -> bool {
        let mut term_runs: Vec<(LogIndex, Term)> = Vec::new();
        let mut configurations = Vec::new();
        for entry in &self.entries {
            if term_runs.last().is_none_or(|run| run.1 != entry.term) {
                term_runs.push((entry.index, entry.term));
            }
            if let Payload::Configuration(configuration) = &entry.payload {
                configurations.push((entry.index, configuration.clone()));
            }
        }
        recovered.hard_state == self.hard_state
            && recovered.last_index == LogIndex(self.entries.len() as u64)
            && recovered.term_runs == term_runs
            && recovered.configurations == configurations
    }
}

/// One life of a log: what it was asked to write, and what it reported.
struct Life {
    /// After each write; the first is what the life began with.
    states: Vec<State>,
    durable: u64,
    now: Instant,
}

impl Life {
    fn new(start: State) -> Life {
        Life { states: vec![start], durable: 0, now: Instant::default() }
    }

    fn note(&mut self, events: &[LogEvent]) {
        self.durable = self.durable.max(durable(events).map_or(0, |seq| seq.0));
    }

    fn run(
        &mut self,
        log: &mut SegmentLog<MemoryDisk>,
        actions: &[Action],
    ) -> Result<(), LogError> {
        let mut term = self.states[0].entries.last().map_or(1, |entry| entry.term.0);
        for action in actions {
            term += u64::from(action.truncate_back.is_some());
            let state = &self.states[self.states.len() - 1];
            let persist = state.persist(action, self.states.len() as u64, term);
            let mut state = state.clone();
            state.apply(&persist);
            self.states.push(state);
            log.append(&persist);
            log.flush();
            for _ in 0..action.steps {
                log.disk_mut().step();
                self.note(&log.poll(self.now)?);
            }
            if action.wait {
                self.now = self.now + Duration::from_millis(150);
                self.note(&settle(log, self.now)?);
            }
        }
        self.note(&settle(log, self.now)?);
        self.now = self.now + Duration::from_millis(150);
        self.note(&settle(log, self.now)?);
        Ok(())
    }

    /// The state that was recovered: it must be one of this life's, and no older than what was
    /// durable.
    fn judge(&self, recovered: &Recovered) -> Result<State, String> {
        let possible = &self.states[self.durable as usize..];
        possible.iter().find(|state| state.matches(recovered)).cloned().ok_or_else(|| {
            format!(
                "write {} of {} was durable, and the log came back with entry {} as its last, \
                 hard state {:?}, tear {:?}",
                self.durable,
                self.states.len() - 1,
                recovered.last_index,
                recovered.hard_state,
                recovered.tear
            )
        })
    }
}

/// Runs `actions`, cuts the power after `steps` steps, recovers, judges; then goes on writing, and
/// judges again. Returns the steps that were made before the power failed.
fn crash_at(
    actions: &[Action],
    steps: u64,
    crash: Crash,
    ignore_syncs: bool,
) -> Result<u64, String> {
    let disk = new_disk();
    disk.set_ignore_syncs(ignore_syncs);
    disk.power_off_after(steps);
    let before = disk.steps();
    let mut life = Life::new(State::first());
    if let Ok((mut log, _)) = open(&disk) {
        disk.set_stepped(true);
        life.run(&mut log, actions).map_err(|error| error.to_string())?;
    }
    let made = disk.steps() - before;
    disk.crash(crash);
    disk.set_stepped(false);

    // The power fails again while the log recovers.
    disk.power_off_after(steps % 5);
    let _ = open(&disk);
    disk.crash(crash);

    let (log, recovered) = open(&disk).map_err(|error| error.to_string())?;
    let state = life.judge(&recovered)?;
    // What recovery has reported is durable, and what it has cut is gone. Half of the time the
    // node goes on at once instead: then all it writes must be as durable as ever.
    drop(log);
    if steps.is_multiple_of(2) {
        disk.crash(Crash::LoseUnsynced);
    }
    let (mut log, again) = open(&disk).map_err(|error| error.to_string())?;
    if again != (Recovered { tear: None, ..recovered }) {
        return Err(format!("recovered again, it is another: {again:?}"));
    }
    let read = read_all(&mut log, Instant::default(), 150).map_err(|error| error.to_string())?;
    if read != state.entries {
        return Err("what was read back is not what was written".to_owned());
    }

    let mut life = Life::new(state);
    disk.set_stepped(true);
    // Short, so that what the first life left behind is not simply written again.
    let few = &actions[..actions.len().min(2)];
    life.run(&mut log, few).map_err(|error| error.to_string())?;
    if life.durable as usize != life.states.len() - 1 {
        return Err(format!("write {} and no other is durable", life.durable));
    }
    disk.crash(Crash::LoseUnsynced);
    disk.set_stepped(false);
    let (_, recovered) = open(&disk).map_err(|error| error.to_string())?;
    if recovered.tear.is_some() {
        return Err(format!("nothing was under way, and yet: {:?}", recovered.tear));
    }
    life.judge(&recovered)?;
    Ok(made)
}

fn crash_everywhere(actions: &[Action], seed: u64, ignore_syncs: bool) -> Result<(), String> {
    let total = crash_at(actions, u64::MAX / 2, Crash::LoseUnsynced, ignore_syncs)?;
    for steps in 0..=total {
        let seeds = [seed, seed ^ 0x5555 ^ steps].map(Crash::KeepSome);
        for crash in [Crash::LoseUnsynced, Crash::LoseNothing].into_iter().chain(seeds) {
            crash_at(actions, steps, crash, ignore_syncs)
                .map_err(|error| format!("crash {crash:?} after {steps} steps: {error}"))?;
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        max_shrink_iters: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_durable_survives_a_crash_at_any_step(
        actions in proptest::collection::vec(action(), 1..14),
        seed in any::<u64>(),
    ) {
        if let Err(error) = crash_everywhere(&actions, seed, false) {
            return Err(TestCaseError::fail(error));
        }
    }
}

/// Twelve ordinary writes.
fn ordinary() -> Vec<Action> {
    let action = |i: u64| Action {
        truncate_back: (i == 7).then_some(3),
        entries: 2,
        payload: 60,
        configuration: (i == 4).then_some(5),
        hard_state: (i.is_multiple_of(3)).then_some(i),
        steps: 3,
        wait: i == 5,
    };
    (0..12).map(action).collect()
}

#[test]
fn the_checker_notices_when_syncs_are_taken_out() {
    assert_eq!(crash_everywhere(&ordinary(), 1, false), Ok(()));
    let error = crash_everywhere(&ordinary(), 1, true).unwrap_err();
    assert!(error.contains("was durable"), "{error}");
}

#[test]
fn a_write_is_durable_wholly_or_not_at_all() {
    // One write of a truncation, entries and a hard state; the crash keeps any part of it.
    let disk = new_disk();
    let (mut log, _) = opened(&disk);
    log.append(&entries(1, (2..=9).map(|i| command(i, 1, vec![1; 80])).collect()));
    settle(&mut log, Instant::from_millis(500)).unwrap();
    disk.set_stepped(true);
    let last = Persist {
        seq: Seq(2),
        snapshot: None,
        discard_log: false,
        hard_state: Some(Hard(7)),
        truncate_from: Some(LogIndex(5)),
        entries: (5..=20).map(|i| command(i, 2, vec![2; 80])).collect(),
    };
    log.append(&last);
    log.flush();
    let mut outcomes = std::collections::BTreeSet::new();
    // Steps until the write itself was performed and its sync was not; another change of segment
    // may come first.
    for _ in 0..12 {
        for seed in 0..40 {
            let copy = disk.fork();
            copy.step();
            copy.crash(Crash::KeepSome(seed));
            copy.set_stepped(false);
            let (_, recovered) = opened(&copy);
            let state = (recovered.last_index.0, recovered.hard_state.len());
            assert!([(9, 0), (20, 8)].contains(&state), "{state:?}");
            outcomes.insert(state);
        }
        disk.step();
        log.poll(Instant::from_millis(500)).unwrap();
    }
    assert_eq!(outcomes.len(), 2, "both were seen");
}

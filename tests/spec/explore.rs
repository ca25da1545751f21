//! The exploration: breadth first, so that the first counterexample is a shortest one.
//!
//! # Why not stateright
//! It is alive and well, and its search would do. But it keeps every state that waits as a value
//! and asks the model for each transition; our states are three cores of some kilobytes each, made
//! of a few thousand parts that return again and again. Numbering the parts makes a state a row of
//! a dozen numbers and a transition a look-up, which is the difference between two million states
//! and two hundred million in the same memory. What is left of a model checker then is this file.
//!
//! # What is kept
//! Of each state that was seen: a hash of 128 bits (two of 10⁹ states share one with a probability
//! below 10⁻²⁰), the state it came from, and which of that one's actions led to it. So a trace is
//! told by acting it out again. Whole rows are kept only for the level under way and the next.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};
use std::time::{Duration, Instant};

use xxhash_rust::xxh3::xxh3_128;

use crate::bounds::Bounds;
use crate::world::{Action, Broken, Lab, World};

/// What an exploration found.
pub struct Report {
    pub name: &'static str,
    pub states: usize,
    pub transitions: u64,
    pub depth: usize,
    /// No state was left out.
    pub exhausted: bool,
    pub finding: Option<Finding>,
    pub took: Duration,
    pub node_states: usize,
    pub messages: usize,
    pub steps: usize,
}

pub struct Finding {
    pub broken: Broken,
    /// From the beginning to the breach.
    pub trace: Vec<Action>,
}

/// A hash is its own hash.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only hashes of 128 bits are hashed")
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = hash as u64;
    }
}

/// One level of the search: rows, each with its length before it.
#[derive(Default)]
struct Level {
    words: Vec<u32>,
    count: usize,
}

struct Search {
    lab: Lab,
    seen: HashSet<u128, BuildHasherDefault<Same>>,
    /// Of each state: the one before it, and the place of the action.
    origins: Vec<(u32, u16)>,
    transitions: u64,
    next: Level,
    row: Vec<u32>,
    bytes: Vec<u8>,
    began: Instant,
}

/// Explores everything within `bounds`, or until a promise is broken.
pub fn explore(bounds: Bounds) -> (Report, Lab) {
    let mut search = Search {
        lab: Lab::new(bounds),
        seen: HashSet::default(),
        origins: Vec::new(),
        transitions: 0,
        next: Level::default(),
        row: Vec::new(),
        bytes: Vec::new(),
        began: Instant::now(),
    };
    let beginning = search.lab.beginning();
    search.note(&beginning, (0, 0));
    let mut depth = 0;
    let mut first = 0;
    let (mut finding, mut exhausted) = (None, true);
    while search.next.count > 0 && finding.is_none() {
        let level = std::mem::take(&mut search.next);
        finding = search.expand(&level, first);
        first += level.count;
        depth += 1;
        if search.origins.len() > search.lab.bounds.max_states {
            exhausted = search.next.count == 0;
            break;
        }
        search.say(depth);
    }
    let finding = finding
        .map(|(broken, state, action)| Finding { trace: search.trace(state, action), broken });
    let Search { lab, seen, transitions, began, .. } = search;
    let report = Report {
        name: lab.bounds.name,
        states: seen.len(),
        transitions,
        depth,
        exhausted: exhausted && finding.is_none(),
        finding,
        took: began.elapsed(),
        node_states: lab.nodes.len(),
        messages: lab.messages.len(),
        steps: lab.steps(),
    };
    (report, lab)
}

impl Search {
    /// Everything that may happen in the states of `level`, whose first is number `first`.
    fn expand(&mut self, level: &Level, first: usize) -> Option<(Broken, usize, Action)> {
        let nodes = (self.lab.bounds.voters + self.lab.bounds.spare) as usize;
        let mut rest = &level.words[..];
        let mut state = first;
        while let [length, tail @ ..] = rest {
            let (row, tail) = tail.split_at(*length as usize);
            rest = tail;
            let world = World::read(row, nodes);
            for (place, action) in self.lab.actions(&world).into_iter().enumerate() {
                self.transitions += 1;
                let (next, broken) = self.lab.act(&world, action);
                let harmless = self.lab.bounds.setup.harm_only;
                if harmless && broken.as_ref().is_some_and(Broken::is_of_core) {
                    continue;
                }
                if let Some(broken) = broken {
                    return Some((broken, state, action));
                }
                if self.note(&next, (state as u32, place as u16))
                    && let Some(broken) = self.lab.judge(&next)
                {
                    return Some((broken, state, action));
                }
            }
            state += 1;
        }
        None
    }

    /// Whether `world` is new.
    fn note(&mut self, world: &World, origin: (u32, u16)) -> bool {
        world.write(&mut self.row);
        self.bytes.clear();
        self.bytes.extend(self.row.iter().flat_map(|word| word.to_le_bytes()));
        if !self.seen.insert(xxh3_128(&self.bytes)) {
            return false;
        }
        self.origins.push(origin);
        self.next.words.push(self.row.len() as u32);
        self.next.words.extend(&self.row);
        self.next.count += 1;
        true
    }

    fn trace(&mut self, state: usize, last: Action) -> Vec<Action> {
        let mut places = Vec::new();
        let mut at = state;
        while at > 0 {
            let (before, place) = self.origins[at];
            places.push(place);
            at = before as usize;
        }
        let mut world = self.lab.beginning();
        let mut trace = Vec::new();
        for place in places.into_iter().rev() {
            let action = self.lab.actions(&world)[place as usize];
            world = self.lab.act(&world, action).0;
            trace.push(action);
        }
        trace.push(last);
        trace
    }

    /// A line now and then, for those who wait.
    fn say(&self, depth: usize) {
        if std::env::var_os("SPEC_VERBOSE").is_some() {
            eprintln!(
                "  {}: depth {depth}, {} states, {} in the next level, {:.0?}",
                self.lab.bounds.name,
                self.seen.len(),
                self.next.count,
                self.began.elapsed()
            );
        }
    }
}

impl Report {
    pub fn line(&self) -> String {
        let verdict = match (&self.finding, self.exhausted) {
            (Some(finding), _) => format!("BROKEN: {}", finding.broken.property),
            (None, true) => "all states".into(),
            (None, false) => "bound reached".into(),
        };
        format!(
            "{:<28} {:>11} states {:>12} transitions  depth {:>3}  {:>7.1} s  {:>6} MiB peak  \
             {} node states, {} messages, core asked {} times  {verdict}",
            self.name,
            self.states,
            self.transitions,
            self.depth,
            self.took.as_secs_f64(),
            peak_memory_mib(),
            self.node_states,
            self.messages,
            self.steps,
        )
    }
}

/// The most that this process ever held.
fn peak_memory_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

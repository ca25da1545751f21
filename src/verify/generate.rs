//! Histories that are right, of any size, from a seed: what a checker is tried on.
//!
//! There is one copy, and clients that ask it. Each operation takes effect at one moment between
//! its call and its return, both drawn by chance, so the history is linearizable by construction.
//! Some outcomes stay unknown: those operations take effect like others, or long after, or never,
//! and their client goes on under a new number.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::history::{Event, Type};
use crate::types::Random;

/// What to draw.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub operations: u64,
    pub clients: u64,
    pub keys: u64,
    /// How many outcomes of a hundred stay unknown.
    pub unknown_percent: u64,
    /// How many operations of a hundred append; half of the rest read.
    pub append_percent: u64,
    /// Whether answers carry the store's revision.
    pub revisions: bool,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            seed: 0,
            operations: 1_000,
            clients: 10,
            keys: 1,
            unknown_percent: 5,
            append_percent: 5,
            revisions: false,
        }
    }
}

/// What happens next, to the client at a place or to the copy.
enum Next {
    Begin(usize),
    Effect { event: Event, ends: Option<(u64, usize)> },
    End { event: Event, client: usize },
}

struct World {
    plan: Plan,
    random: Random,
    /// By time, and then in the order in which they were planned.
    agenda: BTreeMap<(u64, u64), Next>,
    planned: u64,
    begun: u64,
    /// The number of the process that each client is.
    processes: Vec<u64>,
    values: BTreeMap<String, String>,
    revision: u64,
    events: Vec<Event>,
}

/// Draws a history.
pub fn generate(plan: &Plan) -> Vec<Event> {
    let mut world = World {
        random: Random::from_seed(plan.seed),
        agenda: BTreeMap::new(),
        planned: 0,
        begun: 0,
        processes: (0..plan.clients).collect(),
        values: BTreeMap::new(),
        revision: 1,
        events: Vec::new(),
        plan: plan.clone(),
    };
    for client in 0..world.processes.len() {
        let at = world.random.below(1_000);
        world.plan_for(at, Next::Begin(client));
    }
    while let Some(((now, _), next)) = world.agenda.pop_first() {
        match next {
            Next::Begin(client) => world.begin(now, client),
            Next::Effect { mut event, ends } => {
                world.effect(&mut event);
                if let Some((at, client)) = ends {
                    world.plan_for(at, Next::End { event, client });
                }
            }
            Next::End { event, client } => world.end(now, event, client),
        }
    }
    world.events
}

impl World {
    fn plan_for(&mut self, at: u64, next: Next) {
        self.agenda.insert((at, self.planned), next);
        self.planned += 1;
    }

    fn begin(&mut self, now: u64, client: usize) {
        if self.begun == self.plan.operations {
            return;
        }
        self.begun += 1;
        let event = self.draw(now, client);
        self.events.push(event.clone());
        let effect = now + 1 + self.random.below(1_000);
        let end = effect + 1 + self.random.below(1_000);
        if self.random.below(100) >= self.plan.unknown_percent {
            return self.plan_for(effect, Next::Effect { event, ends: Some((end, client)) });
        }
        let info = Event { kind: Type::Info, ..event.clone() };
        self.plan_for(end, Next::End { event: info, client });
        match self.random.below(3) {
            0 => self.plan_for(effect, Next::Effect { event, ends: None }),
            1 => {
                let late = end + self.random.below(100_000);
                self.plan_for(late, Next::Effect { event, ends: None });
            }
            _ => {}
        }
    }

    /// What a client wants.
    fn draw(&mut self, now: u64, client: usize) -> Event {
        let key = format!("k{}", self.random.below(self.plan.keys));
        let fresh = format!("v{};", self.begun);
        let (f, value) = match self.random.below(100) {
            x if x < self.plan.append_percent => ("append", Some(json!(fresh))),
            _ => match self.random.below(20) {
                0..10 => ("read", None),
                10..16 => ("write", Some(json!(fresh))),
                16..19 => ("cas", Some(json!([self.values.get(&key), fresh]))),
                _ => ("delete", None),
            },
        };
        Event {
            process: self.processes[client],
            kind: Type::Invoke,
            f: f.to_owned(),
            key,
            value,
            time: Some(now),
            node: Some(1 + client as u64 % 5),
            rev: None,
            error: None,
        }
    }

    /// The one copy does it, and the event becomes its answer.
    fn effect(&mut self, event: &mut Event) {
        event.kind = Type::Ok;
        let present = self.values.get(&event.key).cloned();
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let argument = event.value.take().unwrap_or_default();
        let after = match event.f.as_str() {
            "read" => {
                event.value = Some(json!(present));
                present.clone()
            }
            "write" => text(&argument),
            "append" => Some(present.clone().unwrap_or_default() + argument.as_str().unwrap_or("")),
            "cas" if text(&argument[0]) == present => text(&argument[1]),
            "cas" => {
                event.kind = Type::Fail;
                event.error = Some("mismatch".to_owned());
                present.clone()
            }
            _ => None,
        };
        self.revision += u64::from(after != present);
        if self.plan.revisions && event.kind == Type::Ok {
            event.rev = Some(self.revision);
        }
        match after {
            Some(value) => self.values.insert(event.key.clone(), value),
            None => self.values.remove(&event.key),
        };
    }

    fn end(&mut self, now: u64, event: Event, client: usize) {
        if event.kind == Type::Info {
            self.processes[client] = self.planned + self.plan.clients;
        }
        self.events.push(Event { time: Some(now), ..event });
        let pause = self.random.below(500);
        self.plan_for(now + 1 + pause, Next::Begin(client));
    }
}

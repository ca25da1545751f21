//! Histories that are right, of any size, from a seed: what a checker is tried on.
//!
//! There is one copy, and clients that ask it. Each operation takes effect at one moment between
//! its call and its return, both drawn by chance, so the history is linearizable by construction.
//! Some outcomes stay unknown: those operations take effect like others, or long after, or never,
//! and their client goes on under a new number.

mod copy;

use std::collections::BTreeMap;

use serde_json::json;

use self::copy::OneCopy;
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
    /// Transactions, leases, locks and watches, too.
    pub everything: bool,
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
            everything: false,
        }
    }
}

/// Nanoseconds by which the copy may end a lease too late.
const LATE: u64 = 1_000_000;

/// What happens next, to the client at a place or to the copy.
enum Next {
    Begin(usize),
    Effect { event: Event, ends: Option<(u64, usize)> },
    End { event: Event, client: usize },
}

struct World {
    plan: Plan,
    /// How long things take, about; nanoseconds. Leases live for milliseconds.
    unit: u64,
    random: Random,
    /// By time, and then in the order in which they were planned.
    agenda: BTreeMap<(u64, u64), Next>,
    planned: u64,
    begun: u64,
    /// The number of the process that each client is.
    processes: Vec<u64>,
    copy: OneCopy,
    /// How many leases each client asked for.
    leases: Vec<u64>,
    events: Vec<Event>,
}

/// Draws a history.
pub fn generate(plan: &Plan) -> Vec<Event> {
    let mut world = World {
        unit: if plan.everything { 1_000_000 } else { 1_000 },
        random: Random::from_seed(plan.seed),
        agenda: BTreeMap::new(),
        planned: 0,
        begun: 0,
        processes: (0..plan.clients).collect(),
        copy: OneCopy::new(),
        leases: vec![0; plan.clients as usize],
        events: Vec::new(),
        plan: plan.clone(),
    };
    for client in 0..world.processes.len() {
        let at = world.random.below(world.unit);
        world.plan_for(at, Next::Begin(client));
    }
    while let Some(((now, _), next)) = world.agenda.pop_first() {
        match next {
            Next::Begin(client) => world.begin(now, client),
            Next::Effect { mut event, ends } => {
                world.effect(now, &mut event);
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
        let effect = now + 1 + self.random.below(self.unit);
        let end = effect + 1 + self.random.below(self.unit);
        if self.random.below(100) >= self.plan.unknown_percent {
            return self.plan_for(effect, Next::Effect { event, ends: Some((end, client)) });
        }
        let info = Event { kind: Type::Info, ..event.clone() };
        self.plan_for(end, Next::End { event: info, client });
        match self.random.below(3) {
            0 => self.plan_for(effect, Next::Effect { event, ends: None }),
            1 => {
                let late = end + self.random.below(100 * self.unit);
                self.plan_for(late, Next::Effect { event, ends: None });
            }
            _ => {}
        }
    }

    /// What a client wants.
    fn draw(&mut self, now: u64, client: usize) -> Event {
        let key = format!("k{}", self.random.below(self.plan.keys));
        let fresh = format!("v{};", self.begun);
        let mut event = Event {
            process: self.processes[client],
            kind: Type::Invoke,
            f: String::new(),
            key: Some(key.clone()),
            value: None,
            lease: None,
            time: Some(now),
            node: Some(1 + client as u64 % 5),
            rev: None,
            error: None,
        };
        if self.plan.everything && self.random.below(2) == 0 {
            self.draw_more(&mut event, client);
            return event;
        }
        let (f, value) = match self.random.below(100) {
            x if x < self.plan.append_percent => ("append", Some(json!(fresh))),
            _ => match self.random.below(20) {
                0..10 => ("read", None),
                10..16 => ("write", Some(json!(fresh))),
                16..19 => ("cas", Some(json!([self.copy.value(&key), fresh]))),
                _ => ("delete", None),
            },
        };
        (event.f, event.value) = (f.to_owned(), value);
        event
    }

    /// Transactions, leases, locks, watches.
    fn draw_more(&mut self, event: &mut Event, client: usize) {
        let key = event.key.clone().unwrap_or_default();
        let other = format!("k{}", self.random.below(self.plan.keys));
        let fresh = format!("v{};", self.begun);
        // Each client has a lease at a time, and sometimes asks for a new one.
        let draw = self.random.below(12);
        self.leases[client] += u64::from(draw < 2);
        let lease = format!("l{client}-{}", self.leases[client]);
        let (f, about, value) = match draw {
            0 | 1 => ("lease", lease, json!(["grant", 1 + self.random.below(20)])),
            2 => ("lease", lease, json!(["keep-alive"])),
            3 => ("lease", lease, json!(["revoke"])),
            4 => {
                event.lease = Some(lease);
                ("write", key, json!(fresh))
            }
            5 => {
                event.lease = Some(lease.clone());
                ("lock", "door".to_owned(), json!(["acquire", lease]))
            }
            6 => ("lock", "door".to_owned(), json!(["release", lease])),
            7 | 8 => {
                let from = 2 + self.random.below(self.copy.revision());
                let prefix = self.random.below(2) == 0;
                let about = if prefix { "k".to_owned() } else { key };
                ("watch", about, json!({ "from": from, "prefix": prefix }))
            }
            _ => {
                let mut steps = vec![json!(["read", other]), json!(["write", key, fresh])];
                match self.random.below(3) {
                    0 => steps.insert(0, json!(["check", key, self.copy.value(&key)])),
                    1 => steps.push(json!(["append", other, fresh])),
                    _ => steps.push(json!(["delete", other])),
                }
                (event.key, event.f, event.value) = (None, "txn".to_owned(), Some(steps.into()));
                return;
            }
        };
        (event.key, event.f, event.value) = (Some(about), f.to_owned(), Some(value));
    }

    /// The one copy does it, and the event becomes its answer.
    fn effect(&mut self, now: u64, event: &mut Event) {
        if self.plan.everything {
            // A little late, as stores are.
            self.copy.expire(now.saturating_sub(self.random.below(LATE)));
        }
        self.copy.act(now, event);
        if self.plan.revisions && event.kind == Type::Ok {
            event.rev = Some(self.copy.revision());
        }
    }

    fn end(&mut self, now: u64, event: Event, client: usize) {
        if event.kind == Type::Info {
            self.processes[client] = self.planned + self.plan.clients;
        }
        self.events.push(Event { time: Some(now), ..event });
        let pause = self.random.below(self.unit / 2);
        self.plan_for(now + 1 + pause, Next::Begin(client));
    }
}

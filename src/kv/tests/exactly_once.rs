//! The promise of sessions, from the outside: honest clients, a network that loses answers and
//! delivers every command any number of times in any order.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::kv::limits::SessionLimits;
use crate::types::Random;

/// A client that knows what it sent and what came back.
struct Client {
    id: u128,
    opened_at: LogIndex,
    sent: u64,
    answered: BTreeSet<u64>,
    expired: bool,
}

impl Client {
    fn acknowledged(&self) -> u64 {
        (1..).take_while(|sequence| self.answered.contains(sequence)).count() as u64
    }
}

/// What became of each (client, sequence), over all its copies.
#[derive(Default)]
struct Fate {
    applied: u32,
    certainly_refused: bool,
}

fn run(seed: u64, limits: SessionLimits) -> BTreeMap<&'static str, u32> {
    let mut random = Random::from_seed(seed);
    let mut machine = Machine::with_limits(limits);
    let mut clients: Vec<Client> = Vec::new();
    let mut network: Vec<(usize, u64, Bytes)> = Vec::new();
    let mut fates: BTreeMap<(u128, u64), Fate> = BTreeMap::new();
    let mut seen = BTreeMap::new();
    for _ in 0..400 {
        if clients.len() < 2 || random.chance(0.05) {
            let (id, opened_at) = (clients.len() as u128 + 1, machine.applied_index());
            let (sent, answered, expired) = (0, BTreeSet::new(), false);
            clients.push(Client { id, opened_at, sent, answered, expired });
        }
        let at = random.below(clients.len() as u64) as usize;
        let client = &mut clients[at];
        if !client.expired && random.chance(0.6) {
            client.sent += 1;
            let value = format!("{}-{}", client.id, client.sent);
            let mut command =
                stamped(client.id, client.sent, client.acknowledged(), put("key", &value));
            command.session.as_mut().unwrap().opened_at = client.opened_at;
            network.push((at, client.sent, command.encode()));
        }
        if network.is_empty() {
            continue;
        }
        // Deliver any command ever sent: late, again, out of order.
        let (from, sequence, command) =
            network[random.below(network.len() as u64) as usize].clone();
        let before = machine.revision();
        let outcome = machine.apply(machine.applied_index().next(), &command);
        let fate = fates.entry((clients[from].id, sequence)).or_default();
        fate.applied += u32::from(machine.revision() > before);
        match refused(&outcome) {
            Some(Refusal::SessionFull) => fate.certainly_refused = true,
            Some(Refusal::SessionExpired) => clients[from].expired = true,
            _ => {}
        }
        let what = match &outcome.effect {
            Effect::Refused(Refusal::SessionExpired) => "expired",
            Effect::Refused(Refusal::SessionFull) => "full",
            Effect::Refused(Refusal::StaleSequence) => "stale",
            Effect::Put { .. } if machine.revision() > before => "applied",
            Effect::Put { .. } => "repeated",
            other => panic!("{other:?}"),
        };
        *seen.entry(what).or_default() += 1;
        if random.chance(0.7) {
            clients[from].answered.insert(sequence);
        }
        assert!(fate.applied <= 1, "seed {seed}: applied twice");
        assert!(
            fate.applied == 0 || !fate.certainly_refused,
            "seed {seed}: refused as certainly without effect, and applied all the same"
        );
    }
    seen
}

#[test]
fn whatever_the_network_does_a_write_happens_at_most_once() {
    let limits = SessionLimits {
        sessions: 3,
        results: 4,
        session_bytes: 2000,
        total_bytes: 4000,
        ..limits::SESSION_LIMITS
    };
    let mut seen: BTreeMap<&str, u32> = BTreeMap::new();
    for seed in 0..150 {
        for (what, count) in run(seed, limits) {
            *seen.entry(what).or_default() += count;
        }
    }
    // The runs are worth something only if everything happened in them.
    for what in ["applied", "repeated", "expired", "full", "stale"] {
        assert!(seen.get(what).is_some_and(|count| *count > 100), "{what}: {seen:?}");
    }
}

#[test]
fn a_retry_gets_the_old_answer_even_after_the_key_has_changed() {
    let mut machine = Machine::new();
    apply(&mut machine, &alone(put("a", "1")));
    let command = stamped(1, 1, 0, swap("a", Expected::Value(bytes("0")), "2"));
    let first = apply(&mut machine, &command);
    apply(&mut machine, &alone(put("a", "0")));
    assert_eq!(apply(&mut machine, &command), first);
    assert_eq!(machine.query(&Query::Get { key: bytes("a") }).items[0].value, "0");
}

#[test]
fn new_clients_get_in_although_the_table_is_full_and_others_come_at_the_same_time() {
    let limits = SessionLimits {
        sessions: 4,
        results: 4,
        session_bytes: 2000,
        total_bytes: 8000,
        ..limits::SESSION_LIMITS
    };
    let mut machine = Machine::with_limits(limits);
    for id in 1..=4 {
        apply(&mut machine, &stamped(id, 1, 0, put("a", "1")));
    }
    // Both look at the applied index before either has written.
    let opened_at = machine.applied_index();
    for id in [5, 6] {
        let mut command = stamped(id, 1, 0, put("a", "2"));
        command.session.as_mut().unwrap().opened_at = opened_at;
        assert_eq!(refused(&apply(&mut machine, &command)), None);
    }
    assert_eq!(machine.sessions(), 4);
    // And those who had to go stay out.
    let outcome = apply(&mut machine, &stamped(1, 1, 0, put("a", "1")));
    assert_eq!(refused(&outcome), Some(Refusal::SessionExpired));
}

#[test]
fn results_that_nobody_acknowledges_are_bounded() {
    let mut machine = Machine::new();
    let results = limits::SESSION_LIMITS.results as u64;
    for sequence in 1..=results {
        let outcome = apply(&mut machine, &stamped(1, sequence, 0, put("a", "1")));
        assert_eq!(refused(&outcome), None);
    }
    let one_more = stamped(1, results + 1, 0, put("a", "1"));
    assert_eq!(refused(&apply(&mut machine, &one_more)), Some(Refusal::SessionFull));
    let acknowledging = stamped(1, results + 2, 10, put("a", "1"));
    assert_eq!(refused(&apply(&mut machine, &acknowledging)), None);
    // It was refused once, and stays refused.
    assert_eq!(refused(&apply(&mut machine, &one_more)), Some(Refusal::SessionFull));
    let acknowledged = stamped(1, 10, 0, put("a", "1"));
    assert_eq!(refused(&apply(&mut machine, &acknowledged)), Some(Refusal::StaleSequence));
}

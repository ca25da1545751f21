//! Which faults come, when, and for how long: from the seed alone.
//!
//! One round is one fault, or two that overlap (and some are made of two parts); then it is calm
//! for a moment, so that what happens after each can be seen. Most are short: five elections fit
//! into a second, and it is beginnings and ends in which things go wrong. Every tenth is long
//! enough for everybody to run into every time-out.

use std::time::Duration;

use super::table::Row;
use crate::chaos::Wish;
use crate::types::{NodeId, Random};

/// A fault that is to come.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// Of this kind, as the table names it.
    pub kind: &'static str,
    pub wish: Wish,
    /// So long after the round began.
    pub after: Duration,
    pub lasts: Duration,
}

/// Faults that belong together, and the calm before them.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    pub calm: Duration,
    pub faults: Vec<Planned>,
}

/// All rounds, without end.
#[derive(Clone, Debug)]
pub struct Plan {
    random: Random,
    rows: Vec<&'static Row>,
    nodes: Vec<NodeId>,
}

const CALM: std::ops::Range<Duration> = Duration::from_millis(100)..Duration::from_millis(400);
const SHORT: std::ops::Range<Duration> = Duration::from_millis(250)..Duration::from_millis(1_200);
const LONG: std::ops::Range<Duration> = Duration::from_millis(2_000)..Duration::from_millis(4_000);
/// How often a fault is a long one.
const IS_LONG: f64 = 0.1;
/// How long before a fault that which it wants to be in force begins.
const BEFORE: std::ops::Range<Duration> = Duration::from_millis(200)..Duration::from_millis(900);
/// How often a second one begins before the first is over.
const OVERLAP: f64 = 0.35;

impl Plan {
    /// Faults of `rows`, as far as they make sense among `nodes`.
    pub fn new(seed: u64, rows: &[&'static Row], nodes: &[NodeId]) -> Plan {
        let rows = rows.iter().copied().filter(|row| row.least_nodes <= nodes.len()).collect();
        let random = Random::from_seed(seed ^ u64::from_le_bytes(*b"nemesis!"));
        Plan { random, rows, nodes: nodes.to_vec() }
    }

    /// A fault, and before it what its row wants to be in force meanwhile.
    fn fault(&mut self, after: Duration) -> Vec<Planned> {
        let row = self.rows[self.random.below(self.rows.len() as u64) as usize];
        let wish = (row.draw)(&mut self.random, &self.nodes);
        let lasts = if self.random.chance(IS_LONG) { LONG } else { SHORT };
        let lasts = whole_millis(self.random.duration(lasts));
        let fault = Planned { kind: row.name, wish, after, lasts };
        match row.under {
            None => vec![fault],
            Some(under) => {
                let before = whole_millis(self.random.duration(BEFORE));
                let wish = under(&mut self.random);
                let under = Planned { wish, lasts: before + lasts, ..fault.clone() };
                vec![under, Planned { after: after + before, ..fault }]
            }
        }
    }
}

impl Iterator for Plan {
    type Item = Round;

    /// Nothing, if nothing may be injected.
    fn next(&mut self) -> Option<Round> {
        if self.rows.is_empty() {
            return None;
        }
        let calm = self.random.duration(CALM);
        let mut faults = self.fault(Duration::ZERO);
        if self.random.chance(OVERLAP) {
            let after = whole_millis(self.random.duration(Duration::ZERO..faults[0].lasts));
            faults.extend(self.fault(after));
        }
        Some(Round { calm, faults })
    }
}

fn whole_millis(time: Duration) -> Duration {
    Duration::from_millis(time.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::table::TABLE;
    use super::*;

    fn plan(seed: u64, nodes: u64) -> Plan {
        let rows: Vec<&Row> = TABLE.iter().collect();
        Plan::new(seed, &rows, &(1..=nodes).map(NodeId).collect::<Vec<_>>())
    }

    #[test]
    fn a_seed_gives_the_same_faults() {
        let rounds = |seed| plan(seed, 5).take(200).collect::<Vec<_>>();
        assert_eq!(rounds(7), rounds(7));
        assert_ne!(rounds(7), rounds(8));
        let seen: BTreeSet<&str> =
            rounds(7).iter().flat_map(|round| &round.faults).map(|fault| fault.kind).collect();
        assert_eq!(seen.len(), TABLE.len(), "every kind comes");
    }

    #[test]
    fn five_minutes_are_two_hundred_faults_and_more() {
        for seed in 0..20 {
            let mut time = Duration::ZERO;
            let mut faults = 0;
            for round in plan(seed, 5) {
                let ends = round.faults.iter().map(|fault| fault.after + fault.lasts);
                time += round.calm + ends.max().unwrap_or_default();
                faults += round.faults.len();
                if time > Duration::from_secs(300) {
                    break;
                }
            }
            // With a reserve for what it takes to inject them.
            assert!(faults >= 240, "seed {seed}: {faults}");
        }
    }

    #[test]
    fn small_clusters_get_what_makes_sense_there_and_no_kinds_no_faults() {
        let kinds: BTreeSet<&str> =
            plan(1, 3).take(300).flat_map(|round| round.faults).map(|fault| fault.kind).collect();
        assert!(!kinds.contains("rings") && kinds.contains("bridge"), "{kinds:?}");
        assert_eq!(Plan::new(1, &[], &[NodeId(1)]).next(), None);
    }
}

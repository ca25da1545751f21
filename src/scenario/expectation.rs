//! What is expected of a cluster, in phrases.

use std::time::Duration;

use super::mistake::Mistake;
use super::moment::parse_count;
use super::words::{Word, phrase};
use crate::types::NodeId;
use crate::units::parse_positive_duration;

/// What clients do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Calls {
    Writes,
    /// Linearizable ones.
    Reads,
}

/// Something that is expected of a span of time: of the whole run, of a step while its fault lasts,
/// or of what comes after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    /// Something called since the span began is answered within this time.
    Resume { calls: Calls, within: Duration },
    /// There is never so long a time without an answer.
    GoOn { calls: Calls, gap: Duration },
    /// Nothing called in the span is answered in it: it is refused, or nobody knows.
    Cease { calls: Calls },
    /// At least so many are answered.
    Some { calls: Calls, least: u64 },
    /// So many elections are won.
    Elections { least: u64, most: u64 },
    /// An election is won within this time.
    NewLeader { within: Duration },
    /// At the end of the span this one leads.
    Leads { node: NodeId },
    /// This one wins no election.
    NotElected { node: NodeId },
    /// Somebody leads, and every member follows closely, within this time.
    Ready { within: Duration },
    /// There are so many voters at the end of the span.
    Voters { count: u64 },
    /// All replicas come to the same state in the end.
    ReplicasEqual,
    /// What clients were told is linearizable, and nothing acknowledged is lost.
    Verdict,
}

#[derive(Clone, Copy)]
enum Kind {
    Resume(Calls),
    GoOn(Calls),
    Cease(Calls),
    Some(Calls),
    NoElection,
    AtMost,
    AtLeast,
    NewLeader,
    Leads,
    NotElected,
    Ready,
    Voters,
    ReplicasEqual,
    Verdict,
}

const PHRASES: &[(&str, Kind)] = &[
    ("writes resume within TIME", Kind::Resume(Calls::Writes)),
    ("reads resume within TIME", Kind::Resume(Calls::Reads)),
    ("writes never stop for TIME", Kind::GoOn(Calls::Writes)),
    ("reads never stop for TIME", Kind::GoOn(Calls::Reads)),
    ("no write is acknowledged", Kind::Cease(Calls::Writes)),
    ("no read is answered", Kind::Cease(Calls::Reads)),
    ("at least N writes", Kind::Some(Calls::Writes)),
    ("at least N reads", Kind::Some(Calls::Reads)),
    ("no election", Kind::NoElection),
    ("at most N elections", Kind::AtMost),
    ("at least N elections", Kind::AtLeast),
    ("a new leader within TIME", Kind::NewLeader),
    ("node NODE leads", Kind::Leads),
    ("node NODE is not elected", Kind::NotElected),
    ("ready within TIME", Kind::Ready),
    ("N voters", Kind::Voters),
    ("all replicas are equal", Kind::ReplicasEqual),
    ("the verdict holds", Kind::Verdict),
];

/// Every phrase that can be expected.
pub fn phrases() -> impl Iterator<Item = &'static str> {
    PHRASES.iter().map(|(phrase, _)| *phrase)
}

/// Reads an expectation.
pub fn parse(text: Word<'_>) -> Result<Expectation, Mistake> {
    let (kind, holes) = phrase(text, "expectation", PHRASES)?;
    let hole = holes.first().copied().unwrap_or(text);
    let time = || hole.parse(parse_positive_duration);
    let count = || hole.parse(parse_count);
    Ok(match kind {
        Kind::Resume(calls) => Expectation::Resume { calls, within: time()? },
        Kind::GoOn(calls) => Expectation::GoOn { calls, gap: time()? },
        Kind::Cease(calls) => Expectation::Cease { calls },
        Kind::Some(calls) => Expectation::Some { calls, least: count()? },
        Kind::NoElection => Expectation::Elections { least: 0, most: 0 },
        Kind::AtMost => Expectation::Elections { least: 0, most: count()? },
        Kind::AtLeast => Expectation::Elections { least: count()?, most: u64::MAX },
        Kind::NewLeader => Expectation::NewLeader { within: time()? },
        Kind::Leads => Expectation::Leads { node: NodeId(count()?) },
        Kind::NotElected => Expectation::NotElected { node: NodeId(count()?) },
        Kind::Ready => Expectation::Ready { within: time()? },
        Kind::Voters => Expectation::Voters { count: count()? },
        Kind::ReplicasEqual => Expectation::ReplicasEqual,
        Kind::Verdict => Expectation::Verdict,
    })
}

impl Expectation {
    /// The calls that it is about.
    pub fn calls(&self) -> Option<Calls> {
        match self {
            Expectation::Resume { calls, .. }
            | Expectation::GoOn { calls, .. }
            | Expectation::Cease { calls }
            | Expectation::Some { calls, .. } => Some(*calls),
            _ => None,
        }
    }

    /// How long after the beginning of its span it may be fulfilled.
    pub fn within(&self) -> Option<Duration> {
        match self {
            Expectation::Resume { within, .. }
            | Expectation::NewLeader { within }
            | Expectation::Ready { within } => Some(*within),
            _ => None,
        }
    }

    /// The node that it names.
    pub fn node(&self) -> Option<NodeId> {
        match self {
            Expectation::Leads { node } | Expectation::NotElected { node } => Some(*node),
            _ => None,
        }
    }

    /// It can be judged of the whole run only.
    pub fn is_of_the_whole(&self) -> bool {
        matches!(self, Expectation::ReplicasEqual | Expectation::Verdict)
    }
}

impl Calls {
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Calls::Writes => ("write", "acknowledged"),
            Calls::Reads => ("read", "answered"),
        }
    }
}

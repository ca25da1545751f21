//! When a step begins.
//!
//! Steps begin in the order in which they stand: each waits for its moment, and its moment counts
//! from when the step before it began (the first one's from the beginning). So a condition is never
//! fulfilled by what an earlier step did.

use std::time::Duration;

use super::mistake::Mistake;
use super::words::{Word, phrase};

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing but the step before it.
    Next,
    /// So long after the beginning of all.
    At(Duration),
    /// Somebody leads, and every member follows closely.
    Ready,
    /// Somebody else leads, or the same in a newer term.
    LeaderChanges,
    /// So many more writes were acknowledged.
    Writes(u64),
    /// Every fault of an earlier step is over.
    FaultsOver,
}

/// When a step begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub condition: Condition,
    /// So long after that.
    pub wait: Duration,
}

/// What can be written behind `when`, in words.
pub const PHRASES: &[(&str, Condition)] = &[
    ("ready", Condition::Ready),
    ("the leader changes", Condition::LeaderChanges),
    ("N writes", Condition::Writes(0)),
    ("the faults are over", Condition::FaultsOver),
];

/// Reads what stands behind `when`.
pub fn parse(text: Word<'_>) -> Result<Condition, Mistake> {
    let (condition, holes) = phrase(text, "condition", PHRASES)?;
    match (condition, holes.first()) {
        (Condition::Writes(_), Some(count)) => Ok(Condition::Writes(count.parse(parse_count)?)),
        _ => Ok(condition),
    }
}

/// Reads a whole number above zero; commas may part its thousands.
pub fn parse_count(text: &str) -> Result<u64, String> {
    let number = text.replace(',', "").parse().ok().filter(|number| *number > 0);
    number.ok_or_else(|| format!("`{text}` is no number: write it in digits, from 1 on"))
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Condition::Next => f.write_str("the step before it"),
            Condition::At(at) => write!(f, "{at:?} after the beginning"),
            Condition::Ready => f.write_str("a leader whom every member follows closely"),
            Condition::LeaderChanges => f.write_str("another leader"),
            Condition::Writes(count) => write!(f, "{count} more writes to be acknowledged"),
            Condition::FaultsOver => f.write_str("the faults of earlier steps to be over"),
        }
    }
}

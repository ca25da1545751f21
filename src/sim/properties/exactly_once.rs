//! Exactly once: a write that a client tried again takes effect once (dissertation §6.3).
//!
//! Why it matters: a client that hears nothing must try again, and then its command stands in the
//! log twice. Without a memory of sessions, an order is placed twice.
//!
//! Checked where entries are applied: two commands of one session and number must have the same
//! outcome, revision included; a second effect would have another revision.

use std::collections::BTreeMap;

use super::{Checked, Rule};
use crate::kv::{Command, Effect, Outcome, SessionId};
use crate::types::LogIndex;

/// The rule.
pub static RULE: Rule = Rule {
    name: "exactly once",
    section: "dissertation, §6.3",
    says: "a command of a session takes effect once, however often it stands in the log",
};

/// What became of each command of each session.
#[derive(Debug, Default)]
pub struct ExactlyOnce {
    outcomes: BTreeMap<(SessionId, u64), (LogIndex, Outcome)>,
    /// Commands that came again and were answered from memory.
    pub repeated: u64,
}

impl ExactlyOnce {
    /// A command was applied for the first time anywhere.
    pub fn applied(&mut self, index: LogIndex, command: &[u8], outcome: &Outcome) -> Checked {
        let Ok(Command { session: Some(stamp), .. }) = Command::decode(command) else {
            return Ok(());
        };
        if matches!(outcome.effect, Effect::Refused(_)) {
            return Ok(());
        }
        let key = (stamp.id, stamp.sequence);
        let Some((first, before)) = self.outcomes.get(&key) else {
            self.outcomes.insert(key, (index, outcome.clone()));
            return Ok(());
        };
        self.repeated += 1;
        if before == outcome {
            return Ok(());
        }
        RULE.broken(format!(
            "command {} of session {:x} took effect at index {first} (revision {}), and again at \
             index {index} (revision {})",
            stamp.sequence, stamp.id.0, before.revision, outcome.revision
        ))
    }
}

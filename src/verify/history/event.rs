//! One line of a history: something began, or ended.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// What a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    /// A process asks for something.
    Invoke,
    /// It was told that it is done.
    Ok,
    /// It certainly had no effect.
    Fail,
    /// Nobody knows: it may take effect at any time from its call on, or never.
    Info,
}

/// A line as it is written; [`Reader`](super::Reader) says which sequences of them make sense.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Whoever does one thing after the other.
    pub process: u64,
    #[serde(rename = "type")]
    pub kind: Type,
    /// The function's name, one of [`FUNCTIONS`](super::FUNCTIONS).
    pub f: String,
    /// What it is about; a transaction names its keys in its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// By the function. `None`: there is no such field.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub value: Option<Value>,
    /// What it writes is attached to this lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<String>,
    /// Nanoseconds since some moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<u64>,
    /// The node that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<u64>,
    /// The store's revision, as its answer said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rev: Option<u64>,
    /// Why it failed; `mismatch` has a meaning, all else is for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

impl Event {
    /// A line of JSON, with its end.
    pub fn to_line(&self) -> String {
        // Names and numbers only: there is nothing that JSON could not say.
        let mut line = serde_json::to_string(self).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// A field that is there, even if it is `null`.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(from).map(Some)
}

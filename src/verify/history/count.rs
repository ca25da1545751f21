//! How many operations of a history ended how.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{FUNCTIONS, History, Outcome};

/// Operations of one function, by what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Count {
    pub f: &'static str,
    pub ok: u64,
    pub fail: u64,
    pub mismatch: u64,
    pub info: u64,
}

impl History {
    /// The operations of each function that occurs, in the order of [`FUNCTIONS`].
    pub fn counts(&self) -> Vec<Count> {
        let mut counts = BTreeMap::new();
        for operation in &self.operations {
            let f = operation.call.name();
            let count = counts.entry(f).or_insert_with(|| Count { f, ..Count::default() });
            let counter = match operation.outcome {
                Outcome::Ok { .. } => &mut count.ok,
                Outcome::Failed => &mut count.fail,
                Outcome::Mismatch => &mut count.mismatch,
                Outcome::Unknown => &mut count.info,
            };
            *counter += 1;
        }
        FUNCTIONS.iter().filter_map(|f| counts.remove(f)).collect()
    }
}

//! Counters of many series that are all known from the start.
//!
//! **The problem.** etcd's own figures of its calls are a series for each method and each code:
//! some nine hundred. The library copies every label of every series for each look, sorts the
//! copies, and writes them out, for numbers most of which are zero for ever.
//!
//! **The rule.** All of a line but its number is made once.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters whose labels never change. Made by [`Registry::table`](super::Registry::table).
#[derive(Debug)]
pub struct Table {
    pub(super) name: String,
    head: String,
    /// What each line begins with, and its number.
    rows: Vec<(String, AtomicU64)>,
}

impl Table {
    /// A table of which each row has a value for each of `labels`.
    pub(super) fn new<const L: usize>(
        name: &str,
        help: &str,
        labels: [&str; L],
        rows: impl IntoIterator<Item = [String; L]>,
    ) -> Table {
        // As the library orders them.
        let mut order: [usize; L] = std::array::from_fn(|at| at);
        order.sort_by_key(|at| labels[*at]);
        let line = |values: [String; L]| {
            let pairs = order.map(|at| format!("{}=\"{}\"", labels[at], escaped(&values[at])));
            (format!("{name}{{{}}} ", pairs.join(",")), AtomicU64::new(0))
        };
        Table {
            name: name.to_owned(),
            head: format!("# HELP {name} {help}\n# TYPE {name} counter\n"),
            rows: rows.into_iter().map(line).collect(),
        }
    }

    /// The count of a row, as it stands somewhere else. A row that is not there is nobody's.
    pub fn set(&self, row: usize, total: u64) {
        if let Some((_, count)) = self.rows.get(row) {
            count.store(total, Ordering::Relaxed);
        }
    }

    pub(super) fn write(&self, text: &mut String) {
        text.push_str(&self.head);
        for (line, count) in &self.rows {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{line}{}", count.load(Ordering::Relaxed));
        }
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

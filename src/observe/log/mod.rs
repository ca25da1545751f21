//! What a program says of itself: one line for each event that is worth knowing.
//!
//! **The problem.** Whoever looks for the cause of something reads the logs of five nodes side by
//! side. So each line must say whose it is and *where in the history* it was said: not only at what
//! time, but in which term, and with how much of the log committed. And a log must never become the
//! harm: a stranger who can cause a line can cause a million.
//!
//! **The rule.**
//! - Code says what happened (`tracing`), and the [`Lines`] that are written add who said it and
//!   its [`Standing`]: node, term, commit index. An event that says one of these is believed.
//! - Text for people, a JSON object a line for programs: the same fields.
//! - Each place in a node's code may say [`BURST`] lines at once and one more every [`REFILL`];
//!   what it wanted to say beyond that is counted, and its next line tells how much that was
//!   (`held_back`). Lines for debugging are not held back: whoever asks for them wants them all;
//!   nor is what the supervisor did, a line for each thing that somebody asked for.
//!
//! **The caveat.** What was held back is told by the place's *next* line. If it never speaks again,
//! nobody hears of it.

mod limit;
mod lines;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

pub use limit::{BURST, REFILL};
pub use lines::Lines;
pub use words::{in_words, readable};

use crate::config::LogFormat;
use crate::types::{LogIndex, NodeId, Term};

/// Where a node stands in its cluster's history, for the lines that it writes. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    node: Option<NodeId>,
    /// Term and commit index; zeros: it does not know yet.
    at: Arc<(AtomicU64, AtomicU64)>,
}

impl Standing {
    /// Of a program that is no node.
    pub fn nowhere() -> Standing {
        Standing::default()
    }

    /// Of `node`, at its start.
    pub fn of(node: NodeId) -> Standing {
        Standing { node: Some(node), at: Arc::default() }
    }

    /// It stands here now.
    pub fn set(&self, term: Term, commit_index: LogIndex) {
        // Lines are for people: that term and index belong together is not worth a lock.
        self.at.0.store(term.0, Ordering::Relaxed);
        self.at.1.store(commit_index.0, Ordering::Relaxed);
    }

    fn is_of_a_node(&self) -> bool {
        self.node.is_some()
    }

    /// What it adds to a line, by name.
    fn fields(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let (term, index) = (self.at.0.load(Ordering::Relaxed), self.at.1.load(Ordering::Relaxed));
        let known = |number: u64| Some(number).filter(|number| *number > 0);
        let fields = [
            ("node", self.node.map(|node| node.0)),
            ("term", known(term)),
            ("commit", known(index)),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// A program's log: what passes `filter` goes to `writer`, a line at once. `colours` if it is a
/// terminal that shows them.
pub fn subscriber<W>(
    format: LogFormat,
    filter: EnvFilter,
    standing: Standing,
    writer: W,
    colours: bool,
) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(colours && format == LogFormat::Text)
        .event_format(Lines::new(format, standing))
        .with_writer(writer);
    tracing_subscriber::registry().with(filter).with(lines)
}

#[cfg(test)]
mod tests;

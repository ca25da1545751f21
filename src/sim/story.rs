//! A life told: one line an event worth knowing.

use std::fmt::Write;

use crate::types::Instant;

/// Lines, if anybody wants them.
#[derive(Debug, Default)]
pub struct Story {
    wanted: bool,
    lines: Vec<String>,
}

/// More lines than anybody reads.
const MAX_LINES: usize = 200_000;

impl Story {
    /// One that is told, or one that is not.
    pub fn new(wanted: bool) -> Story {
        Story { wanted, lines: Vec::new() }
    }

    /// Tells something, if anybody listens.
    pub fn tell(&mut self, now: Instant, says: impl FnOnce() -> String) {
        if self.wanted && self.lines.len() < MAX_LINES {
            let mut line = String::new();
            let _ = write!(line, "{:>10.3} ms  {}", now.0.as_secs_f64() * 1e3, says());
            self.lines.push(line);
        }
    }

    /// Adds a line to what was told last.
    pub fn add(&mut self, line: String) {
        if self.wanted && self.lines.len() < MAX_LINES {
            self.lines.push(line);
        }
    }

    /// Whether the last line begins so.
    pub fn ends_with(&self, begin: &str) -> bool {
        self.lines.last().is_some_and(|line| line.starts_with(begin))
    }

    /// Whether anybody listens.
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// All of it.
    pub fn into_lines(self) -> Vec<String> {
        self.lines
    }
}

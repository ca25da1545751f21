//! The checker against an oracle that tries every order, and against faults that were planted.

mod generated;
mod oracle;
mod planted;
mod reader;

use super::history::{BadLine, History, Reader};
use super::judge::{Judged, Limits, judge};

fn read(text: &str) -> Result<History, BadLine> {
    let mut reader = Reader::default();
    text.lines().try_for_each(|line| reader.line(line.as_bytes()))?;
    Ok(reader.finish())
}

fn judged(history: &History) -> Vec<Judged> {
    judge(history, Limits { steps: 1_000_000, go_on: &mut |_| true })
}

//! The checker against an oracle that tries every order, and against faults that were planted.

mod generated;
mod oracle;
mod planted;
mod planted_together;
mod reader;
mod together;
mod watches;

use super::history::{BadLine, History, Reader};
use super::judge::{Judged, Limits, Subject, judge};

fn read(text: &str) -> Result<History, BadLine> {
    let mut reader = Reader::default();
    text.lines().try_for_each(|line| reader.line(line.as_bytes()))?;
    Ok(reader.finish())
}

fn judged(history: &History) -> Vec<Judged> {
    verdicts(judge(history, Limits { steps: 1_000_000, go_on: &mut |_| true }))
}

fn verdicts(subjects: Vec<Subject>) -> Vec<Judged> {
    subjects.into_iter().map(|subject| subject.verdict).collect()
}

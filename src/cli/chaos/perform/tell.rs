//! What came of a scenario, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use super::Performed;
use crate::cli::Global;
use crate::cli::check::{Checked, tell};
use crate::cli::failure::Failure;
use crate::cli::output::{self, Format};
use crate::cli::units::short_duration;
use crate::cli::verify::tell::held as held_word;
use crate::scenario::Finding;
use crate::trial::performance::Told;
use crate::trial::{Expectation, Verdict};

#[derive(Serialize)]
struct Printed<'a> {
    scenario: &'a str,
    seed: u64,
    verdict: Verdict,
    steps: Vec<Step<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    never_began: Option<NeverBegan<'a>>,
    expectations: &'a [Finding],
    checks: &'a [Expectation],
    told: Vec<Line<'a>>,
    history: serde_json::Value,
    report: String,
}

#[derive(Serialize)]
struct Step<'a> {
    line: usize,
    text: &'a str,
    began_seconds: Option<f64>,
    ended_seconds: Option<f64>,
}

#[derive(Serialize)]
struct NeverBegan<'a> {
    line: usize,
    why: &'a str,
}

#[derive(Serialize)]
struct Line<'a> {
    seconds: f64,
    what: &'a str,
}

/// One thing that happened, as it happens.
pub fn event(global: &Global, (at, what): &Told) -> Result<(), Failure> {
    match global.output {
        Format::Table => output::line(format!("{:>8.3} s  {what}", at.as_secs_f64())),
        Format::Json | Format::Name => Ok(()),
    }
}

/// All that came of it.
pub fn all(global: &Global, performed: &Performed, took: Duration) -> Result<(), Failure> {
    match global.output {
        Format::Json => output::json(&printed(performed)),
        Format::Name => output::line(performed.verdict().name()),
        Format::Table => page(performed, took),
    }
}

fn printed(performed: &Performed) -> Printed<'_> {
    let Performed { scenario, record, timeline, never_began, findings, told, places, .. } =
        performed;
    let steps = scenario.steps.iter().zip(&timeline.steps).map(|(step, (began, ended))| Step {
        line: step.line,
        text: &step.text,
        began_seconds: began.map(|at| at.as_secs_f64()),
        ended_seconds: ended.map(|at| at.as_secs_f64()),
    });
    let never_began = never_began.as_ref().map(|(step, why)| NeverBegan {
        line: scenario.steps.get(*step).map_or(0, |step| step.line),
        why,
    });
    let recording = &record.recording;
    Printed {
        scenario: &scenario.name,
        seed: record.seed,
        verdict: performed.verdict(),
        steps: steps.collect(),
        never_began,
        expectations: findings,
        checks: &record.expectations,
        told: told.iter().map(|(at, what)| Line { seconds: at.as_secs_f64(), what }).collect(),
        history: serde_json::json!({
            "path": places.history.display().to_string(),
            "lines": recording.lines,
            "xxh3": recording.hash,
        }),
        report: places.report.display().to_string(),
    }
}

fn page(performed: &Performed, took: Duration) -> Result<(), Failure> {
    let Performed { scenario, record, judgement, findings, places, never_began, .. } = performed;
    output::line("")?;
    let mut table = output::table(&["line", "expectation", "held", "measured"]);
    for Finding { line, text, held, measured } in findings {
        table.add_row([line.to_string(), text.clone(), held.to_string(), measured.clone()]);
    }
    output::print_table(&mut table)?;
    for Expectation { name, held, detail } in &record.expectations {
        output::line(format!("{name}: {}: {detail}", held_word(*held)))?;
    }
    if let Some((step, why)) = never_began {
        let line = scenario.steps.get(*step).map_or(0, |step| step.line);
        output::line(format!("{}:{line}: this step never began: {why}", scenario.file))?;
    }
    let history = record.history();
    let checked = Checked { history, subjects: &judgement.subjects, elapsed: took };
    tell::stories(&tell::printed(&checked))?;
    output::line(format!("history: {}", places.history.display()))?;
    output::line(format!("report: {}", places.report.display()))?;
    output::line(format!(
        "{}: {} operations on {} keys, {} elections, judged in {}; seed {}",
        performed.verdict().name(),
        history.operations.len(),
        history.keys.len(),
        performed.timeline.elections.len(),
        short_duration(took),
        record.seed,
    ))
}

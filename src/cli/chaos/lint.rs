//! `kvctl chaos lint`, and reading a scenario for whoever runs it.

use std::path::Path;

use serde::Serialize;

use crate::cli::Global;
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::scenario::{Mistake, Scenario, Source, read};
use crate::sim::stage::faults::refusals;

/// Longer than any scenario.
const MAX_BYTES: u64 = 1 << 20;

#[derive(Serialize)]
struct Linted {
    file: String,
    name: Option<String>,
    /// The simulator can perform it.
    simulated: bool,
    mistakes: Vec<Told>,
}

#[derive(Serialize)]
struct Told {
    line: usize,
    column: usize,
    what: String,
    help: Option<String>,
}

pub fn run(global: &Global, command: &super::Lint) -> Outcome {
    let mut linted = Vec::new();
    for path in &command.files {
        let name = path.display().to_string();
        let text = text(path)?;
        let source = Source { name: &name, text: &text };
        let read = read(source);
        let elsewhere = read.as_ref().map(refusals).unwrap_or_default();
        let (scenario, mistakes) = match read {
            Ok(scenario) => (Some(scenario.name), Vec::new()),
            Err(mistakes) => (None, mistakes),
        };
        if global.output == Format::Table {
            match &scenario {
                Some(scenario) if elsewhere.is_empty() => {
                    output::line(format!("{name}: {scenario} makes sense"))?;
                }
                Some(scenario) => {
                    output::line(format!("{name}: {scenario} makes sense, but"))?;
                    output::line(show(source, &elsewhere))?;
                }
                None => output::line(show(source, &mistakes))?,
            }
        }
        let told = |mistake: Mistake| {
            let place = source.place(mistake.at.start);
            let Mistake { what, help, .. } = mistake;
            Told { line: place.line, column: place.column, what, help }
        };
        let mistakes = mistakes.into_iter().map(told).collect();
        let simulated = scenario.is_some() && elsewhere.is_empty();
        linted.push(Linted { file: name.clone(), name: scenario, simulated, mistakes });
    }
    let wrong = |linted: &&Linted| !linted.mistakes.is_empty();
    let is_wrong = linted.iter().any(|it| wrong(&it));
    match global.output {
        Format::Table => {}
        Format::Json => output::json(&serde_json::json!({ "files": linted }))?,
        Format::Name => linted.iter().filter(wrong).try_for_each(|it| output::line(&it.file))?,
    }
    Ok(if is_wrong { Exit::Usage as u8 } else { 0 })
}

/// Reads a scenario that is to be run where `refusals` are refused.
pub fn load(
    path: &Path,
    refusals: impl Fn(&Scenario) -> Vec<Mistake>,
) -> Result<Scenario, Failure> {
    let (name, text) = (path.display().to_string(), text(path)?);
    let source = Source { name: &name, text: &text };
    let refuse = |mistakes: &[Mistake]| {
        Failure::usage(format!("{name} cannot be run\n{}", show(source, mistakes)))
            .next("ops/scenarios/README.md says what can be written")
    };
    let scenario = read(source).map_err(|mistakes| refuse(&mistakes))?;
    match refusals(&scenario).as_slice() {
        [] => Ok(scenario),
        mistakes => Err(refuse(mistakes)),
    }
}

fn text(path: &Path) -> Result<String, Failure> {
    let cannot = |error: &dyn std::fmt::Display| {
        Failure::usage(format!("cannot read {}: {error}", path.display()))
    };
    let length = std::fs::metadata(path).map_err(|error| cannot(&error))?.len();
    if length > MAX_BYTES {
        return Err(cannot(&"it is longer than any scenario"));
    }
    std::fs::read_to_string(path).map_err(|error| cannot(&error))
}

fn show(source: Source<'_>, mistakes: &[Mistake]) -> String {
    let shown: Vec<_> = mistakes.iter().map(|mistake| source.show(mistake)).collect();
    shown.join("\n").trim_end().to_owned()
}

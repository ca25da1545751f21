//! The story and the verdict, for people and for programs.

use std::path::Path;

use serde::Serialize;

use super::story::Story;
use super::verdict::Verdict;
use crate::cli::Global;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Format};
use crate::cli::units::timestamp;

#[derive(Serialize)]
struct Printed<'a> {
    node: u64,
    cluster: u64,
    build: &'a str,
    files: u64,
    lives: u64,
    steps: u64,
    states: u64,
    state: Option<String>,
    from_millis: Option<u64>,
    to_millis: Option<u64>,
    open: bool,
    died: Option<&'a str>,
    missing: Vec<Missing>,
    divergence: Option<Divergence>,
    damaged: Vec<Trouble>,
    skipped: Vec<Trouble>,
    story: Vec<Line<'a>>,
    story_cut: bool,
}

#[derive(Serialize)]
struct Missing {
    before_millis: Option<u64>,
    steps: u64,
}

#[derive(Serialize)]
struct Divergence {
    file: String,
    step: u64,
    after_millis: Option<u64>,
    why: String,
}

#[derive(Serialize)]
struct Trouble {
    file: String,
    why: String,
}

#[derive(Serialize)]
struct Line<'a> {
    at_millis: u64,
    says: &'a str,
}

fn millis(unix: u64) -> u64 {
    unix / 1_000_000
}

fn moment(unix: u64) -> String {
    timestamp(millis(unix))
}

/// `17:03:12.500`, as on every line of a story.
fn time_of_day(unix: u64) -> String {
    let moment = moment(unix);
    moment.split_once('T').map_or(&moment[..], |(_, time)| time.trim_end_matches('Z')).to_owned()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

pub fn verdict(global: &Global, found: &Verdict, story: &Story) -> Result<(), Failure> {
    match global.output {
        Format::Json => output::json(&printed(found, story)),
        Format::Name => output::line(found.header.node.to_string()),
        Format::Table => print(found, story),
    }
}

fn printed<'a>(found: &'a Verdict, story: &'a Story) -> Printed<'a> {
    let trouble = |path: &Path, why: String| Trouble { file: name(path), why };
    Printed {
        node: found.header.node.0,
        cluster: found.header.cluster.0,
        build: &found.header.build,
        files: found.files,
        lives: found.lives,
        steps: found.steps,
        states: found.states,
        state: found.state.map(|state| format!("{:016x}", state.digest)),
        from_millis: found.span.map(|span| millis(span.0)),
        to_millis: found.span.map(|span| millis(span.1)),
        open: found.is_open,
        died: found.died.as_deref(),
        missing: found
            .missing
            .iter()
            .map(|it| Missing { before_millis: it.before.map(millis), steps: it.steps })
            .collect(),
        divergence: found.differs.as_ref().map(|it| Divergence {
            file: name(&it.file),
            step: it.step,
            after_millis: it.after.map(millis),
            why: it.why.to_string(),
        }),
        damaged: found.damaged.iter().map(|(path, why)| trouble(path, why.to_string())).collect(),
        skipped: found.skipped.iter().map(|(path, why)| trouble(path, why.to_string())).collect(),
        story: story
            .lines
            .iter()
            .map(|line| Line { at_millis: millis(line.unix), says: &line.says })
            .collect(),
        story_cut: story.is_cut,
    }
}

fn print(found: &Verdict, story: &Story) -> Result<(), Failure> {
    if story.is_wanted() {
        output::line("What happened (times are UTC; 5/3: the entry at index 5, of term 3):\n")?;
        for line in &story.lines {
            output::line(format!("{}  {}", time_of_day(line.unix), line.says))?;
        }
        match (story.is_cut, story.lines.is_empty()) {
            (true, _) => output::warn("there is more than anybody reads: choose a shorter time"),
            (false, true) => output::line("nothing worth telling; --trace tells all there is")?,
            (false, false) => {}
        }
        output::line("")?;
    }
    for (path, why) in &found.skipped {
        output::warn(format!("{} is left out: {why}", name(path)));
    }
    for missing in &found.missing {
        let before =
            missing.before.map_or_else(String::new, |at| format!(" before {}", moment(at)));
        output::line(format!("{} steps are missing{before}", missing.steps))?;
    }
    for (path, why) in &found.damaged {
        output::line(format!("{}: {why}; what follows in it is not replayed", name(path)))?;
    }
    output::line(words(found))?;
    if let Some(why) = &found.died {
        output::line(format!("the core ended its node, and ends here: {why}"))?;
    }
    match (&found.differs, found.is_open) {
        (Some(it), _) => {
            output::line(format!("step {} of {} differs: {}", it.step, name(&it.file), it.why))
        }
        (None, true) => {
            output::line("the record is open: it is being written, or its node was killed")
        }
        (None, false) => Ok(()),
    }
}

fn words(found: &Verdict) -> String {
    let count = |number: u64, one: &str, many: &str| match number {
        1 => format!("1 {one}"),
        number => format!("{number} {many}"),
    };
    let mut words =
        format!("replayed {} of node {}", count(found.steps, "step", "steps"), found.header.node);
    if found.lives > 1 {
        words += &format!(", in {} lives", found.lives);
    }
    if let Some((from, to)) = found.span {
        words += &format!(", from {} to {}", moment(from), moment(to));
    }
    words += ": every effect the same";
    if let Some(state) = found.state {
        let states = count(found.states, "state", "states");
        words += &format!(", {states} reached, the last with the hash {:016x}", state.digest);
    }
    words
}

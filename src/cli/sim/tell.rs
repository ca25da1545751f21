//! What the simulator found, for people and for programs.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::Sim;
use super::pool::Totals;
use crate::cli::Global;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Format};
use crate::cli::units::short_duration;
use crate::scenario::Finding;
use crate::sim::schedule::When;
use crate::sim::{Plan, Report, Schedule, words};

#[derive(Serialize)]
struct Many<'a> {
    seeds: u64,
    from: u64,
    nodes: Nodes,
    duration_seconds: f64,
    seconds: f64,
    seeds_per_second: f64,
    steps: u64,
    steps_per_second: f64,
    simulated_seconds: f64,
    acknowledged_writes: u64,
    undecided: u64,
    interrupted: bool,
    coverage: BTreeMap<&'static str, u64>,
    violations: Vec<Violation<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    expectations: Vec<Expectation<'a>>,
}

/// An expectation of a scenario, in all lives.
#[derive(Serialize)]
struct Expectation<'a> {
    line: usize,
    text: &'a str,
    held: u64,
    judged: u64,
}

#[derive(Serialize)]
struct Nodes {
    least: u64,
    most: u64,
}

#[derive(Serialize)]
struct Violation<'a> {
    seed: u64,
    nodes: u64,
    property: &'static str,
    section: &'static str,
    says: &'static str,
    how: &'a str,
    at_seconds: f64,
    replay: String,
}

/// The command that lives a life again.
fn replay(seed: u64, plan: &Plan) -> String {
    let usual = Plan::default();
    let mut command = format!("kvctl sim --seed {seed}");
    if let Some(scenario) = &plan.scenario {
        return format!("kvctl sim --scenario {} --seed {seed}", scenario.file);
    }
    if plan.nodes != usual.nodes {
        command += &format!(" --nodes {}..{}", plan.nodes.0, plan.nodes.1);
    }
    if plan.duration != usual.duration {
        command += &format!(" --duration {}ms", plan.duration.as_millis());
    }
    command
}

fn violation<'a>(report: &'a Report, plan: &Plan) -> Option<Violation<'a>> {
    let (broken, at) = report.broken.as_ref()?;
    Some(Violation {
        seed: report.seed,
        nodes: report.nodes,
        property: broken.rule.name,
        section: broken.rule.section,
        says: broken.rule.says,
        how: &broken.how,
        at_seconds: at.0.as_secs_f64(),
        replay: replay(report.seed, plan),
    })
}

pub fn line(text: &str) -> Result<(), Failure> {
    output::line(text)
}

/// Many lives.
pub fn many(global: &Global, command: &Sim, plan: &Plan, totals: &Totals) -> Result<(), Failure> {
    let seconds = totals.elapsed.as_secs_f64().max(1e-9);
    let many = Many {
        seeds: totals.seeds,
        from: command.from,
        nodes: Nodes { least: plan.nodes.0, most: plan.nodes.1 },
        duration_seconds: plan.duration.as_secs_f64(),
        seconds,
        seeds_per_second: totals.seeds as f64 / seconds,
        steps: totals.steps,
        steps_per_second: totals.steps as f64 / seconds,
        simulated_seconds: totals.lived.as_secs_f64(),
        acknowledged_writes: totals.acknowledged,
        undecided: totals.undecided,
        interrupted: totals.interrupted,
        coverage: totals.coverage.iter().map(|(kind, count)| (kind.words(), count)).collect(),
        violations: totals.violations.iter().filter_map(|r| violation(r, plan)).collect(),
        expectations: totals.findings.iter().map(expectation).collect(),
    };
    match global.output {
        Format::Json => return output::json(&many),
        Format::Name => {
            return many.violations.iter().try_for_each(|found| line(&found.seed.to_string()));
        }
        Format::Table => {}
    }
    match &plan.scenario {
        Some(_) => tell_expectations(&many.expectations)?,
        None => tell_coverage(totals)?,
    }
    line(&format!(
        "\n{} seeds in {} ({:.0}/s), {} steps ({:.0} thousand/s), {} simulated, {} writes \
         acknowledged",
        many.seeds,
        short_duration(totals.elapsed),
        many.seeds_per_second,
        many.steps,
        many.steps_per_second / 1e3,
        short_duration(totals.lived),
        many.acknowledged_writes,
    ))?;
    for found in &many.violations {
        tell_violation(found)?;
    }
    warn_of_gaps(totals, plan.scenario.is_none());
    if totals.interrupted {
        let next = command.from + totals.seeds;
        output::warn(format!("interrupted: these are the results so far; --from {next} goes on"));
    }
    match many.violations.len() {
        0 => line("nothing broke"),
        count => line(&format!("{count} seeds failed")),
    }
}

fn tell_coverage(totals: &Totals) -> Result<(), Failure> {
    let mut table = output::table(&["event", "count"]);
    for (kind, count) in totals.coverage.iter() {
        table.add_row([kind.words().to_owned(), count.to_string()]);
    }
    output::print_table(&mut table)
}

fn expectation((finding, held, judged): &(Finding, u64, u64)) -> Expectation<'_> {
    Expectation { line: finding.line, text: &finding.text, held: *held, judged: *judged }
}

fn tell_expectations(expectations: &[Expectation<'_>]) -> Result<(), Failure> {
    let mut table = output::table(&["line", "expectation", "held in"]);
    for Expectation { line, text, held, judged } in expectations {
        let held = format!("{held} of {judged} seeds");
        table.add_row([line.to_string(), (*text).to_owned(), held]);
    }
    output::print_table(&mut table)
}

fn warn_of_gaps(totals: &Totals, by_chance: bool) {
    let never = totals.coverage.iter().filter(|(_, count)| *count == 0);
    let never: Vec<_> = never.map(|(kind, _)| kind.words()).collect();
    if !never.is_empty() && by_chance {
        output::warn(format!("never happened, so never tested: {}", never.join("; ")));
    }
    if totals.undecided > 0 {
        let count = totals.undecided;
        output::warn(format!("{count} histories of a key were too hard to judge within the bound"));
    }
}

fn tell_violation(found: &Violation<'_>) -> Result<(), Failure> {
    line(&format!(
        "\nseed {} ({} nodes), after {:.3} s: {} is broken\n  {}\n  the rule: {} ({})\n  replay: \
         {} --trace    make it small: {} --shrink",
        found.seed,
        found.nodes,
        found.at_seconds,
        found.property,
        found.how,
        found.says,
        found.section,
        found.replay,
        found.replay,
    ))
}

/// One life, with its story if it was asked for.
pub fn one(global: &Global, plan: &Plan, report: &Report) -> Result<(), Failure> {
    let found = violation(report, plan);
    if global.output == Format::Json {
        #[derive(Serialize)]
        struct One<'a> {
            seed: u64,
            nodes: u64,
            steps: u64,
            digest: String,
            acknowledged_writes: u64,
            coverage: BTreeMap<&'static str, u64>,
            violations: Vec<Violation<'a>>,
            #[serde(skip_serializing_if = "<[Finding]>::is_empty")]
            expectations: &'a [Finding],
            story: &'a [String],
        }
        return output::json(&One {
            seed: report.seed,
            nodes: report.nodes,
            steps: report.steps,
            digest: format!("{:016x}", report.digest),
            acknowledged_writes: report.acknowledged,
            coverage: report.coverage.iter().map(|(kind, count)| (kind.words(), count)).collect(),
            violations: found.into_iter().collect(),
            expectations: &report.findings,
            story: &report.story,
        });
    }
    report.story.iter().try_for_each(|told| line(told))?;
    if !report.findings.is_empty() {
        tell_findings(&report.findings)?;
    }
    match found {
        Some(found) => tell_violation(&found),
        None => line(&format!(
            "seed {}: nothing broke in {} steps of {} nodes; {} writes acknowledged (digest \
             {:016x})",
            report.seed, report.steps, report.nodes, report.acknowledged, report.digest
        )),
    }
}

/// What became of the expectations of a scenario, in one life.
fn tell_findings(findings: &[Finding]) -> Result<(), Failure> {
    let mut table = output::table(&["line", "expectation", "held", "measured"]);
    for Finding { text, line, held, measured } in findings {
        table.add_row([line.to_string(), text.clone(), held.to_string(), measured.clone()]);
    }
    output::print_table(&mut table)
}

/// What a life is made of, before its story.
pub fn circumstances(schedule: &Schedule) -> Result<(), Failure> {
    let clients = schedule.clients.len();
    line(&format!("{} nodes, {clients} clients, and these faults:", schedule.nodes))?;
    for fault in &schedule.faults {
        let lasts = match fault.what.lasts() {
            true => format!(", for {}", words::span(fault.lasts)),
            false => String::new(),
        };
        line(&format!("  {}{lasts}: {}", fault.when, fault.what))?;
    }
    line("\nWhat happens (5/3: the entry at index 5, of term 3):\n")
}

/// Fewer lines than this are told from the first on.
const SHORT: usize = 100;

/// How many lines of a story come before its first fault, and a little earlier.
fn quiet_lines(schedule: &Schedule, story: &[String]) -> usize {
    let begins = schedule.faults.iter().map(|fault| match fault.when {
        When::At(at) => at,
        When::AfterElection { .. } => Duration::ZERO,
    });
    let first = begins.min().unwrap_or_default().saturating_sub(Duration::from_millis(100));
    let is_before = |told: &&String| {
        let at = told.trim_start().split(' ').next().and_then(|at| at.parse::<f64>().ok());
        at.is_none_or(|at| at < first.as_secs_f64() * 1e3)
    };
    let quiet = story.iter().take_while(is_before).count();
    if quiet < SHORT { 0 } else { quiet }
}

/// A failure made small: what its circumstances are, what happens, what it breaks.
pub fn small(schedule: &Schedule, report: &Report, whole: bool) -> Result<(), Failure> {
    circumstances(schedule)?;
    let skipped = if whole { 0 } else { quiet_lines(schedule, &report.story) };
    if skipped > 0 {
        line(&format!("  … {skipped} lines before anything goes wrong: --trace tells them too"))?;
    }
    report.story.iter().skip(skipped).try_for_each(|told| line(told))?;
    if let Some((broken, _)) = &report.broken {
        let rule = broken.rule;
        line(&format!("\n{} is broken: {}", rule.name, broken.how))?;
        line(&format!("The rule: {} ({}).", rule.says, rule.section))?;
    }
    Ok(())
}

//! The bug museum: a tour, or one exhibit.

use serde::Serialize;

use super::{Sim, pool, tell};
use crate::cli::Global;
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::museum::{self, Bug, Bugs};
use crate::sim::steering::{Steering, steering};
use crate::sim::{self, Plan};

/// How a hunt ended.
#[derive(Serialize)]
struct Hunt {
    bug: &'static str,
    number: u32,
    caught: bool,
    /// The first seed that caught it.
    seed: Option<u64>,
    /// Seeds lived, that one included.
    tried: u64,
    /// It must be caught within so many.
    within: u64,
    property: Option<&'static str>,
    rule: &'static str,
    section: &'static str,
    /// Seeds lived in the same way without the bug, where that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    honest: Option<u64>,
    /// The first of those in which something broke all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    honest_failure: Option<u64>,
}

/// At least so many lives without the bug.
const HONEST: u64 = 100;

async fn hunt(command: &Sim, bug: Bug, steering: &Steering) -> Result<(Hunt, bool), Failure> {
    let seeds = match command.seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => command.from..command.from.saturating_add(steering.seeds),
    };
    let from = seeds.start;
    let totals = pool::run(seeds, &steering.plan, command.jobs(), bug.slug(), true).await?;
    let text = museum::text(bug);
    let first = totals.violations.first();
    let hunt = Hunt {
        bug: bug.slug(),
        number: bug.number(),
        caught: first.is_some(),
        seed: first.map(|report| report.seed),
        tried: first.map_or(totals.seeds, |report| report.seed - from + 1),
        within: steering.seeds,
        property: first.and_then(|report| report.broken.as_ref()).map(|(b, _)| b.rule.name),
        rule: text.rule,
        section: text.section,
        honest: None,
        honest_failure: None,
    };
    Ok((hunt, totals.interrupted))
}

/// The same lives without the bug, and some more: nothing may break.
async fn without(command: &Sim, hunt: &mut Hunt, steering: &Steering) -> Result<bool, Failure> {
    let plan = Plan { bugs: Bugs::none(), ..steering.plan.clone() };
    let seeds = command.from..command.from.saturating_add(hunt.tried.max(HONEST));
    let what = format!("without {}", hunt.bug);
    let totals = pool::run(seeds, &plan, command.jobs(), &what, true).await?;
    hunt.honest = Some(totals.seeds);
    hunt.honest_failure = totals.violations.first().map(|report| report.seed);
    Ok(totals.interrupted)
}

/// Every exhibit: is it caught, and does nothing break without it?
pub async fn all(global: &Global, command: &Sim) -> Outcome {
    let table = global.output == Format::Table;
    if table {
        output::line(row("BUG", "CAUGHT BY", ["AFTER", "WITHIN", "WITHOUT IT"]))?;
    }
    let mut hunts = Vec::new();
    for bug in Bug::ALL {
        let steering = steering(*bug);
        let (mut hunt, mut interrupted) = hunt(command, *bug, &steering).await?;
        if !interrupted {
            interrupted = without(command, &mut hunt, &steering).await?;
        }
        if interrupted {
            output::warn("interrupted: these are the results so far");
            break;
        }
        match global.output {
            Format::Table => output::line(hunt.row())?,
            Format::Name if hunt.failed() => output::line(hunt.bug)?,
            Format::Name | Format::Json => {}
        }
        hunts.push(hunt);
    }
    if global.output == Format::Json {
        output::json(&serde_json::json!({ "bugs": hunts }))?;
    }
    let failed = hunts.iter().any(Hunt::failed);
    Ok(match (failed, hunts.len() < Bug::ALL.len()) {
        (true, _) => Exit::Violated as u8,
        (false, true) => Exit::Interrupted as u8,
        (false, false) => 0,
    })
}

/// A line of the tour, which is told as it goes: it takes minutes.
fn row(bug: &str, by: &str, [after, within, without]: [&str; 3]) -> String {
    format!("{bug:<32}{by:<25}{after:>6}{within:>8}   {without}")
}

impl Hunt {
    fn failed(&self) -> bool {
        !self.caught || self.honest_failure.is_some()
    }

    fn row(&self) -> String {
        let after = if self.caught { self.tried.to_string() } else { "never".to_owned() };
        let without = match self.honest_failure {
            None => format!("nothing in {}", self.honest.unwrap_or_default()),
            Some(seed) => format!("seed {seed} fails"),
        };
        let numbers = [&*after, &self.within.to_string(), &without];
        row(self.bug, self.property.unwrap_or("-"), numbers)
    }
}

/// One exhibit: what it is, a life in which it does harm, made small and told.
pub async fn one(global: &Global, command: &Sim, bug: Bug) -> Outcome {
    let mut steering = steering(bug);
    if let Some(duration) = command.duration {
        steering.plan.duration = duration;
    }
    let (hunt, interrupted) = hunt(command, bug, &steering).await?;
    if interrupted && !hunt.caught {
        return Ok(Exit::Interrupted as u8);
    }
    let code = if hunt.caught { 0 } else { Exit::Violated as u8 };
    match global.output {
        Format::Table => {}
        Format::Json => {
            output::json(&serde_json::json!({ "bugs": [&hunt] }))?;
            return Ok(code);
        }
        Format::Name => {
            hunt.seed.map_or(Ok(()), |seed| output::line(seed.to_string()))?;
            return Ok(code);
        }
    }
    let text = museum::text(bug);
    output::line(format!("{bug} (bug {} of the list)\n\n{}\n", bug.number(), text.what))?;
    output::line(format!("The rule that it breaks: {} ({}).", text.rule, text.section))?;
    output::line(format!("Seen in: {}.", text.seen))?;
    if !steering.bias.is_empty() {
        output::line(format!("Looked for where it is likely: {}.", steering.bias))?;
    }
    let Some(seed) = hunt.seed else {
        output::line(match command.seed {
            Some(seed) => format!(
                "\nIn the life of seed {seed} it does no harm.\nnext: kvctl sim --bug {bug} (looks \
                 for a life in which it does)"
            ),
            None => format!("\nNot caught within {} seeds.", hunt.tried),
        })?;
        return Ok(code);
    };
    let (tried, within) = (hunt.tried, hunt.within);
    output::line(format!("Caught by seed {seed}, after {tried} of at most {within} seeds.\n"))?;
    match pool::shrink(sim::draw(seed, &steering.plan)).await? {
        Some((schedule, report)) => tell::small(&schedule, &report, command.trace)?,
        None => return Err(Failure::failed("the life that failed does not fail again")),
    }
    let plan = Plan { bugs: Bugs::none(), ..steering.plan.clone() };
    let honest = pool::live(sim::draw(seed, &plan), false).await?;
    if honest.broken.is_none() {
        output::line(format!("\nWithout the bug, seed {seed} breaks nothing."))?;
    }
    Ok(0)
}

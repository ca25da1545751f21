//! The bug museum: a tour, or one exhibit.

use serde::Serialize;

use super::{Sim, pool, tell};
use crate::cli::Global;
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::output::{self, Format};
use crate::museum::{self, Bug};
use crate::sim;
use crate::sim::steering::{Steering, steering};

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
}

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
    };
    Ok((hunt, totals.interrupted))
}

/// Every exhibit: is it caught?
pub async fn all(global: &Global, command: &Sim) -> Outcome {
    let mut hunts = Vec::new();
    for bug in Bug::ALL {
        let (hunt, interrupted) = hunt(command, *bug, &steering(*bug)).await?;
        if interrupted {
            output::warn("interrupted: these are the results so far");
            break;
        }
        hunts.push(hunt);
    }
    let missed = hunts.iter().filter(|hunt| !hunt.caught).count();
    match global.output {
        Format::Json => output::json(&serde_json::json!({ "bugs": hunts }))?,
        Format::Name => {
            for hunt in hunts.iter().filter(|hunt| !hunt.caught) {
                output::line(hunt.bug)?;
            }
        }
        Format::Table => {
            let mut table = output::table(&["bug", "caught by", "after", "within"]);
            for hunt in &hunts {
                let after = match hunt.caught {
                    true => hunt.tried.to_string(),
                    false => "never".to_owned(),
                };
                let by = hunt.property.unwrap_or("-");
                table.add_row([hunt.bug, by, &after, &hunt.within.to_string()]);
            }
            output::print_table(&mut table)?;
        }
    }
    Ok(if missed > 0 { Exit::Violated as u8 } else { 0 })
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
    if global.output != Format::Table {
        output::json(&serde_json::json!({ "bugs": [&hunt] }))?;
        return Ok(if hunt.caught { 0 } else { Exit::Violated as u8 });
    }
    let text = museum::text(bug);
    output::line(format!("{bug} (bug {} of the list)\n\n{}\n", bug.number(), text.what))?;
    output::line(format!("The rule that it breaks: {} ({}).", text.rule, text.section))?;
    output::line(format!("Seen in: {}.", text.seen))?;
    if !steering.bias.is_empty() {
        output::line(format!("Looked for where it is likely: {}.", steering.bias))?;
    }
    let Some(seed) = hunt.seed else {
        output::line(format!("\nNot caught within {} seeds.", hunt.tried))?;
        return Ok(Exit::Violated as u8);
    };
    output::line(format!("Caught after {} seeds (of {} allowed).\n", hunt.tried, hunt.within))?;
    match pool::shrink(sim::draw(seed, &steering.plan)).await? {
        Some((schedule, report)) => tell::small(&schedule, &report)?,
        None => return Err(Failure::failed("the life that failed does not fail again")),
    }
    Ok(0)
}

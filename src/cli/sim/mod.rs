//! `kvctl sim`: lives of simulated clusters, by the thousand.

mod museum;
mod pool;
mod tell;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};

use super::Global;
use super::failure::{Exit, Failure, Outcome};
use super::output::Format;
use super::units;
use crate::museum::Bug;
use crate::sim::Plan;
use crate::sim::stage::faults::refusals;

/// Run whole clusters in a simulated world, and look for broken promises
///
/// Each seed is one life of a cluster: the same code as in a node, in a world in which time,
/// network and disks are simulated and everything that chance decides is drawn from the seed.
/// Nodes crash, disks forget, links lose, clocks drift; after every step Raft's safety properties
/// are checked, and once the faults end the cluster must get on. A seed that fails can be lived
/// again, told as a story, and made small.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl sim                            a thousand lives
  kvctl sim --seeds 20000 --jobs 2
  kvctl sim --seed 7 --trace           one life, told
  kvctl sim --seed 7 --shrink          the smallest life that fails like seed 7
  kvctl sim --scenario ops/scenarios/half-dead-leader.toml --seeds 100
  kvctl sim --bug figure-8             put a famous bug in, and watch what it does
  kvctl sim --bugs                     is every bug of the museum caught, and nothing without it?

Exit codes: 0 nothing broke (with --bug, --bugs: all were caught), 4 something did (or was not),
2 the scenario makes no sense.

JSON fields: schema_version, seeds, from, nodes: least most; duration_seconds, seconds,
seeds_per_second, steps, steps_per_second, simulated_seconds, acknowledged_writes, undecided,
interrupted, coverage (counts by kind of event), violations: seed, nodes, property, section, says,
how, at_seconds, replay. With --scenario: expectations: line, text, held (in so many seeds),
judged; of one seed: line, text, held (yes, no, unknown), measured. With --bugs or --bug: bugs:
bug, number, caught, seed, tried, within, property, rule, section, honest (seeds lived in the same
way without the bug), honest_failure: the first of them that failed")]
pub struct Sim {
    /// How many seeds
    #[arg(long, default_value_t = 1000, value_name = "N",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub from: u64,
    /// Only this seed
    #[arg(long, value_name = "N", conflicts_with_all = ["seeds", "from", "bugs"])]
    pub seed: Option<u64>,
    /// Nodes of a cluster: a number, or a range to draw from
    #[arg(long, default_value = "3..7", value_name = "N..M", value_parser = parse_nodes)]
    pub nodes: (u64, u64),
    /// Perform this scenario instead of faults by chance
    #[arg(long, value_name = "FILE", conflicts_with_all = ["nodes", "duration", "bug", "bugs"])]
    pub scenario: Option<PathBuf>,
    /// Threads
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=512))]
    pub jobs: Option<u16>,
    /// How long each life is hostile, in its own time
    #[arg(long, value_name = "TIME", value_parser = units::parse_positive_duration)]
    pub duration: Option<Duration>,
    /// Tell the life as a story
    #[arg(long)]
    pub trace: bool,
    /// Make the life that fails as small as possible, and tell it
    #[arg(long, conflicts_with = "bug")]
    pub shrink: bool,
    /// Put a bug of the museum in, find a life in which it does harm, make it small, and tell it
    #[arg(long, value_name = "BUG", value_parser = bug_parser(),
          conflicts_with_all = ["seeds", "nodes", "bugs"])]
    pub bug: Option<Bug>,
    /// Put each bug of the museum in, and see whether it is caught
    #[arg(long, conflicts_with_all = ["seeds", "nodes"])]
    pub bugs: bool,
}

/// The bugs of the museum, by their names.
fn bug_parser() -> impl TypedValueParser<Value = Bug> {
    let names = Bug::ALL.iter().map(|bug| bug.slug());
    PossibleValuesParser::new(names).try_map(|name| name.parse::<Bug>())
}

/// Reads `5`, `3..7` or `3-7`.
fn parse_nodes(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("`{text}` is no number of nodes: write `5` or `3..7`");
    let (least, most) = text.split_once("..").or(text.split_once('-')).unwrap_or((text, text));
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| wrong());
    let (least, most) = (number(least)?, number(most.trim_start_matches('='))?);
    if least < 1 || most > 31 || least > most {
        return Err(format!("{text}: a cluster has 1 to 31 nodes, the smaller number first"));
    }
    Ok((least, most))
}

impl Sim {
    fn jobs(&self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.map_or(cores, usize::from)
    }

    fn plan(&self) -> Result<Plan, Failure> {
        let usual = Plan::default();
        if let Some(path) = &self.scenario {
            let scenario = crate::cli::chaos::load(path, refusals)?;
            let (nodes, duration) = ((scenario.nodes, scenario.nodes), scenario.lasts);
            return Ok(Plan { nodes, duration, scenario: Some(Arc::new(scenario)), ..usual });
        }
        let duration = self.duration.unwrap_or(usual.duration);
        Ok(Plan { nodes: self.nodes, duration, ..usual })
    }
}

pub async fn run(global: &Global, command: Sim) -> Outcome {
    let is_one = command.seed.is_some() || command.bug.is_some();
    if (command.trace || command.shrink) && !is_one {
        return Err(Failure::usage("--trace and --shrink are for one life: which? (--seed N)"));
    }
    pool::quiet_panics();
    if command.bugs {
        return museum::all(global, &command).await;
    }
    if let Some(bug) = command.bug {
        return museum::one(global, &command, bug).await;
    }
    match command.seed {
        Some(seed) => one(global, &command, seed).await,
        None => many(global, &command).await,
    }
}

/// One life.
async fn one(global: &Global, command: &Sim, seed: u64) -> Outcome {
    let plan = command.plan()?;
    if command.shrink {
        let schedule = crate::sim::draw(seed, &plan);
        let Some((schedule, report)) = pool::shrink(schedule).await? else {
            tell::line(&format!("seed {seed}: nothing breaks, so there is nothing to make small"))?;
            return Ok(0);
        };
        tell::small(&schedule, &report, command.trace)?;
        return Ok(Exit::Violated as u8);
    }
    let trace = command.trace;
    let schedule = crate::sim::draw(seed, &plan);
    if trace && global.output == Format::Table {
        tell::circumstances(&schedule)?;
    }
    let report = pool::live(schedule, trace).await?;
    let failed = report.broken.is_some();
    tell::one(global, &plan, &report)?;
    Ok(if failed { Exit::Violated as u8 } else { 0 })
}

/// Many lives.
async fn many(global: &Global, command: &Sim) -> Outcome {
    let plan = command.plan()?;
    let Some(last) = command.from.checked_add(command.seeds) else {
        return Err(Failure::usage("there are no seeds beyond 2⁶⁴"));
    };
    let what = format!("{} seeds", command.seeds);
    let totals = pool::run(command.from..last, &plan, command.jobs(), &what, false).await?;
    tell::many(global, command, &plan, &totals)?;
    Ok(match (totals.violations.is_empty(), totals.interrupted) {
        (false, _) => Exit::Violated as u8,
        (true, true) => Exit::Interrupted as u8,
        (true, false) => 0,
    })
}

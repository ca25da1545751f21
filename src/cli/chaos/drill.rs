//! `kvctl chaos drill`: something goes wrong, and nobody says what.

use std::io::{BufWriter, IsTerminal};
use std::pin::pin;
use std::time::Duration;

use serde::Serialize;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::cli::check::aside;
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::interrupt::Interrupt;
use crate::cli::output::{self, Format, Progress};
use crate::cli::units::{self, short_duration};
use crate::cli::verify;
use crate::cli::verify::keeper::Keeper;
use crate::cli::verify::places::{self, Files, Places};
use crate::cli::{Global, reach};
use crate::scenario::Held;
use crate::supervisor::launch::Start;
use crate::trial::drill::exercise::{EXERCISES, Exercise, exercise};
use crate::trial::drill::{Drill, Plan, Score, call_off, may_begin};
use crate::trial::statistics::Gap;
use crate::trial::{Record, Statistics, Verdict, report};
use crate::types::Random;
use crate::verify::judge::{Judged, Limits};

/// Rehearse a failure: something goes wrong, you mend it, and are told how it went
///
/// Clients begin to work, and within --within something goes wrong. No status says what. Mend it
/// from another terminal with the cluster's ordinary commands; what lies outside of the cluster
/// (the network, a disk) is mended by `kvctl chaos heal`. Press Enter here as soon as you have
/// noticed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos drill
  kvctl chaos drill --within 5m --patience 30m     while you do something else
  kvctl chaos drill --exercise lost-majority       one that you know, to learn the commands

Exit codes: 0 mended, and nothing was lost; 4 not mended in time, or acknowledged writes are gone;
5 the history could not be judged.

JSON fields: schema_version, exercise, what, fault, lesson, noticed_seconds, mended_seconds (null:
not in time), deeds: time_millis, node, what, helped; needless, seed, acknowledged_writes,
refused_writes, unknown_writes, longest_gap: seconds, began_seconds; verdict (valid, violation,
unknown), violated_keys, history, report")]
pub struct DrillCommand {
    /// It goes wrong within this time
    #[arg(long, default_value = "30s", value_name = "TIME",
          value_parser = units::parse_positive_duration)]
    pub within: Duration,
    /// How long you have to mend it
    #[arg(long, default_value = "10m", value_name = "TIME",
          value_parser = units::parse_positive_duration)]
    pub patience: Duration,
    /// What goes wrong [default: anything]
    #[arg(long, value_name = "NAME", value_parser = names())]
    pub exercise: Option<String>,
    /// Draws what goes wrong, and when [default: a new one each time]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub files: Files,
    /// On a protected cluster, too
    #[arg(long)]
    pub yes: bool,
}

fn names() -> clap::builder::PossibleValuesParser {
    EXERCISES.iter().map(|exercise| exercise.name).collect::<Vec<_>>().into()
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    #[serde(flatten)]
    score: &'a Score,
    seed: u64,
    #[serde(flatten)]
    cost: Cost,
    history: String,
    report: String,
}

/// What clients noticed.
#[derive(Serialize)]
struct Cost {
    acknowledged_writes: u64,
    refused_writes: u64,
    unknown_writes: u64,
    longest_gap: Gap,
    verdict: Verdict,
    /// Keys whose history contradicts itself: something that was acknowledged is gone, or worse.
    violated_keys: usize,
}

pub async fn run(global: &Global, command: DrillCommand) -> Outcome {
    let seed = command.seed.unwrap_or_else(|| rand::random::<u32>().into());
    let directory = reach::directory(global)?;
    // So that the supervisor runs, and an old one is told apart.
    may_begin(&crate::cli::cluster::supervisor(global).await?).await?;
    let places = Places::choose(&command.files, &places::of_cluster(&directory), seed)?;
    let supervisor = directory.supervisor_address();
    let history = BufWriter::with_capacity(256 << 10, places.claim()?);
    let plan = Plan {
        exercise: chosen(&command, seed),
        seed,
        within: command.within,
        patience: command.patience,
        supervisor: supervisor.clone(),
        yes: command.yes,
        history: Some(Box::new(history)),
    };
    let mut interrupt = Interrupt::new()?;
    output::note(format!(
        "a drill: something goes wrong within {}; find out what, and mend it from another terminal \
         within {}{}",
        short_duration(command.within),
        short_duration(command.patience),
        if std::io::stdin().is_terminal() { "; press Enter as soon as you notice" } else { "" }
    ));
    let mut keeper = Keeper::new(&directory, Start::default());
    let mut drill = {
        let _progress = Progress::spinner("clients are at work; all is well so far");
        let mut beginning = pin!(Drill::begin(plan));
        loop {
            tokio::select! {
                begun = &mut beginning => break begun?,
                // Whether the cluster is gone, the beginning itself will notice.
                _ = keeper.keep() => {}
                () = interrupt.signalled() => {
                    // It may have begun just now.
                    call_off(&supervisor).await?;
                    return Err(Failure::new(Exit::Interrupted, "interrupted before it was told"));
                }
            }
        }
    };
    let mended = look_on(&mut drill, &mut keeper, &mut interrupt).await?;
    let (score, trial, injury) = drill.end(mended).await;
    let mut record = {
        let _progress = Progress::spinner("it is over; every key is read through every node");
        tokio::select! {
            record = trial.finish() => record?,
            () = interrupt.signalled() => return Err(verify::left(&places)),
        }
    };
    record.injuries.push(injury);
    let path = places.history.display().to_string();
    let (record, cost, html) = aside(move || {
        let (cost, html) = cost(&record, &path);
        (record, cost, html)
    })
    .await?;
    places::write(&places.report, &html)?;
    let code = match cost.verdict {
        Verdict::Valid if mended => 0,
        Verdict::Unknown if mended => Exit::Undecided as u8,
        _ => Exit::Violated as u8,
    };
    match global.output {
        Format::Json => output::json(&Printed {
            score: &score,
            seed,
            cost,
            history: places.history.display().to_string(),
            report: places.report.display().to_string(),
        })?,
        Format::Name => output::line(score.exercise)?,
        Format::Table => {
            tell(&score, &cost, &record)?;
            output::line(format!("\nhistory: {}", places.history.display()))?;
            output::line(format!("report: {}", places.report.display()))?;
        }
    }
    Ok(code)
}

fn chosen(command: &DrillCommand, seed: u64) -> &'static Exercise {
    let named = command.exercise.as_deref().and_then(exercise);
    let drawn = Random::from_seed(seed).below(EXERCISES.len() as u64) as usize;
    named.unwrap_or(&EXERCISES[drawn])
}

/// True if it is mended; false if time is over, or whoever began it gives up.
async fn look_on(
    drill: &mut Drill,
    keeper: &mut Keeper<'_>,
    interrupt: &mut Interrupt,
) -> Result<bool, Failure> {
    let _progress = Progress::spinner("the drill is under way");
    // Enter is waited for only where somebody can press it: a closed input is no sign.
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut listens = std::io::stdin().is_terminal();
    loop {
        tokio::select! {
            mended = drill.watch() => return Ok(mended),
            there = keeper.keep() => if !there { return Ok(false) },
            line = lines.next_line(), if listens => {
                listens = matches!(line, Ok(Some(_)));
                drill.notice();
            }
            () = interrupt.signalled() => return Ok(false),
        }
    }
}

/// What clients noticed. Takes a while: not for an event loop.
fn cost(record: &Record, history: &str) -> (Cost, String) {
    /// Steps of the search for each key, as in `kvctl check`.
    const MAX_STEPS: u64 = 10_000_000;
    let judgement = record.judge(Limits { steps: MAX_STEPS, go_on: &mut |_| true });
    let statistics = Statistics::of(record);
    let writes = || statistics.operations.iter().filter(|count| count.f != "read");
    let violated = judgement.subjects.iter();
    let violated = violated.filter(|it| matches!(it.verdict, Judged::Violated(_)));
    let cost = Cost {
        acknowledged_writes: writes().map(|count| count.ok).sum(),
        refused_writes: writes().map(|count| count.fail).sum(),
        unknown_writes: writes().map(|count| count.info).sum(),
        longest_gap: statistics.longest_gap,
        verdict: judgement.verdict,
        violated_keys: violated.count(),
    };
    (cost, report::html(record, &judgement, &statistics, history))
}

fn tell(score: &Score, cost: &Cost, record: &Record) -> Result<(), Failure> {
    let time = |seconds: f64| short_duration(Duration::from_secs_f64(seconds));
    let or = |seconds: Option<f64>, none: &str| seconds.map_or(none.to_owned(), time);
    let mut rows = vec![
        ("what happened", format!("{} ({})", score.what, score.fault)),
        ("noticed after", or(score.noticed_seconds, "nobody did anything")),
        ("mended after", or(score.mended_seconds, "not in time")),
        (
            "writes",
            format!(
                "{} acknowledged, {} refused, {} in doubt; longest silence {}",
                cost.acknowledged_writes,
                cost.refused_writes,
                cost.unknown_writes,
                time(cost.longest_gap.seconds)
            ),
        ),
    ];
    let lost = match (cost.verdict, cost.violated_keys) {
        (Verdict::Valid, _) => "nothing that was acknowledged is gone".to_owned(),
        (_, 0) => record
            .expectations
            .iter()
            .find(|it| it.held == Held::No)
            .map_or("could not be judged".to_owned(), |it| format!("{}: {}", it.name, it.detail)),
        (_, keys) => format!("{keys} keys contradict what clients were told"),
    };
    rows.push(("lost", lost));
    let needless: Vec<_> =
        score.deeds.iter().filter(|deed| !deed.helped).map(|deed| deed.what.as_str()).collect();
    rows.push((
        "needless",
        match needless.is_empty() {
            true => "nothing".to_owned(),
            false => format!("{}: {}", needless.len(), needless.join("; ")),
        },
    ));
    rows.push(("what mends it", score.lesson.to_owned()));
    let wide = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    rows.iter().try_for_each(|(name, words)| output::line(format!("{name:wide$}  {words}")))
}

//! `kvctl chaos run`: a scenario, on a living cluster.
//!
//! The steps are [`trial::performance`](crate::trial::performance)'s, the clients and the verdict
//! those of `kvctl verify`, the expectations [`scenario`](crate::scenario)'s. Here it is decided on
//! which cluster, and what is printed.

mod tell;

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::load;
use crate::cli::cluster::{self, ThrowAway};
use crate::cli::failure::{Exit, Failure, Outcome};
use crate::cli::interrupt::Interrupt;
use crate::cli::verify;
use crate::cli::verify::keeper::Keeper;
use crate::cli::verify::places::{self, Files, Places};
use crate::cli::{Global, reach};
use crate::config::{ClusterConfig, ClusterDirectory, Home};
use crate::control::SupervisorClient;
use crate::scenario::lint::check_cluster;
use crate::scenario::{Finding, Held, Scenario, Timeline, judge};
use crate::supervisor::launch::{self, Start, Until};
use crate::trial::finish::Concluded;
use crate::trial::performance::{GLANCE, Told};
use crate::trial::verdict::{About, Unmet};
use crate::trial::{
    Expectation, Judgement, Kind, Load, Performance, Record, Site, Statistics, Tape, Verdict,
    Watch, Workload, finish, report,
};
use crate::types::NodeId;
use crate::verify::judge::Judged;

/// Run a scenario on a living cluster: its steps, its clients, and what it expects
///
/// Clients use the cluster through every node, and write down what they were told; meanwhile the
/// steps are taken, each as it is told here. Every fault has an end, in the nodes themselves, even
/// if this command is killed; Ctrl-C heals. At the end the cluster must recover, every key is read
/// through every node, the replicas are compared and the history is judged, and then what the
/// scenario expects, with what was measured. The same file runs in the simulator: kvctl sim
/// --scenario FILE. The keys scenario/… stay.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl chaos run ops/scenarios/half-dead-leader.toml --up
  kvctl chaos run ops/scenarios/paused-leader.toml --report report.html
  kvctl chaos run ops/scenarios/rings.toml --up -o json | jq .expectations

Without --history and --report both are written to the cluster's directory (verify/…), with --up to
.verify/… beside all clusters; those of the last five runs are kept.

Exit codes: 0 all is as expected; 4 an expectation was broken, a step never began, or the history is
contradictory; 5 something could not be judged; 2 the scenario makes no sense here.

JSON fields: schema_version, scenario, seed, verdict (valid, violation, unknown), steps: line, text,
began_seconds, ended_seconds; never_began: line, why; expectations: line, text, held (yes, no,
unknown), measured; checks: name, held, detail (as in kvctl verify); told: seconds, what; history:
path, lines, xxh3; report")]
pub struct Run {
    /// The scenario
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Start a cluster for it, and take it down with all its data when it is over
    #[arg(long)]
    pub up: bool,
    /// What chance decides [default: as the scenario says]
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub files: Files,
    /// Do it to a protected cluster, too
    #[arg(long)]
    pub yes: bool,
}

/// For a cluster to be ready before it begins.
const PATIENCE: Duration = Duration::from_secs(30);
/// For the history to be judged.
const CHECK: Duration = Duration::from_secs(120);
/// What a cluster is told of its clocks if leaders are to serve reads by a lease.
const CLOCK_ERROR_MILLIS: u64 = 5;

pub async fn run(global: &Global, command: Run) -> Outcome {
    let mut interrupt = Interrupt::new()?;
    let scenario = load(&command.file, |_| Vec::new())?;
    if !command.up {
        let directory = reach::directory(global)?;
        let running = cluster::supervisor(global).await;
        let hint = "or have one started for it alone: kvctl chaos run FILE --up";
        let supervisor = running.map_err(|failure| failure.next(hint))?;
        let status = supervisor.status().await?;
        let nodes: BTreeSet<NodeId> = status.nodes.iter().map(|state| state.node).collect();
        let fits = |scenario: &Scenario| check_cluster(scenario, &nodes);
        let scenario = load(&command.file, fits).map_err(|failure| failure.next(hint))?;
        lease(&scenario, &directory)?;
        launch::wait(&supervisor, Until::Ready, PATIENCE, |_| {}).await?;
        let (runs, how) = (places::of_cluster(&directory), Start::default());
        let there = There { directory: &directory, how, runs };
        return perform(global, &command, scenario, there, &mut interrupt).await;
    }
    let nodes = scenario.nodes as u32;
    let mut config = ClusterConfig::new(global.name.clone(), nodes);
    config.timings.lease_clock_error_millis = scenario.lease.then_some(CLOCK_ERROR_MILLIS);
    let cluster = ThrowAway::new(&config)?;
    let started = tokio::select! {
        started = cluster.start(nodes, PATIENCE) => started,
        () = interrupt.signalled() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    let ended = match started {
        Ok(_) => {
            let runs = places::of_throw_away(&Home::from_environment()?);
            let there = There { directory: &cluster.directory, how: ThrowAway::how(), runs };
            perform(global, &command, scenario, there, &mut interrupt).await
        }
        Err(failure) => Err(failure),
    };
    cluster.end(ended).await
}

/// Where it is performed.
struct There<'c> {
    directory: &'c ClusterDirectory,
    /// How its supervisor is started, if it has to be once more.
    how: Start,
    /// Where the files of runs lie.
    runs: PathBuf,
}

/// Leaders serve reads by a lease only if the cluster was made so.
fn lease(scenario: &Scenario, directory: &ClusterDirectory) -> Result<(), Failure> {
    let config = ClusterConfig::read(&directory.cluster_toml())?;
    match scenario.lease && config.timings.lease_clock_error_millis.is_none() {
        false => Ok(()),
        true => Err(Failure::usage(format!(
            "{} wants reads by a lease, and this cluster has none",
            scenario.file
        ))
        .next("set `lease_clock_error_millis` in its cluster.toml, or let --up start one")),
    }
}

/// Whatever came of a scenario.
pub struct Performed {
    scenario: Arc<Scenario>,
    record: Record,
    judgement: Judgement,
    timeline: Timeline,
    /// The step that never began, and why.
    never_began: Option<(usize, String)>,
    findings: Vec<Finding>,
    told: Vec<Told>,
    places: Places,
}

impl Performed {
    /// One broken expectation is enough; what is unknown is never valid.
    fn verdict(&self) -> Verdict {
        let any = |held| self.findings.iter().any(|finding| finding.held == held);
        match self.judgement.verdict {
            Verdict::Violation => Verdict::Violation,
            _ if any(Held::No) || self.never_began.is_some() => Verdict::Violation,
            Verdict::Unknown => Verdict::Unknown,
            Verdict::Valid if any(Held::Unknown) => Verdict::Unknown,
            Verdict::Valid => Verdict::Valid,
        }
    }
}

fn workload(scenario: &Scenario) -> Workload {
    let wanted = &scenario.workload;
    let rate = wanted.clients as f64 / wanted.pause.as_secs_f64().max(1e-6);
    Workload {
        clients: wanted.clients as u32,
        kinds: vec![Kind::Register],
        rate: (rate as u32).max(1),
        keys: wanted.keys as u32,
        timeout_millis: (wanted.timeout.as_millis() as u64).max(1),
        // Some is not none, and most is not all.
        read_percent: match wanted.reads {
            all if all <= 0.0 || all >= 1.0 => (all * 100.0) as u64,
            some => ((some * 100.0).round() as u64).clamp(1, 99),
        },
        ..Workload::default()
    }
}

async fn perform(
    global: &Global,
    command: &Run,
    scenario: Scenario,
    there: There<'_>,
    interrupt: &mut Interrupt,
) -> Outcome {
    let There { directory, how, runs } = there;
    let scenario = Arc::new(scenario);
    let seed = command.seed.unwrap_or(scenario.seed);
    let places = Places::choose(&command.files, &runs, seed)?;
    let supervisor = directory.supervisor_address();
    let status = SupervisorClient::connect(&supervisor).await?.status().await?;
    let nodes = Site::running(&status);
    let workload = workload(&scenario);
    workload.validate().map_err(Failure::usage)?;
    let history = BufWriter::with_capacity(256 << 10, places.claim()?);
    // Whoever joins meanwhile is read through at the end, too.
    let readers = nodes.len() as u64 + scenario.joins();
    let (clients, onlookers) = Load::lanes(&workload, &nodes);
    let lanes = clients + onlookers + readers;
    let tape = Tape::start(lanes, Some(Box::new(history) as Box<dyn Write>));
    let prefix = format!("scenario/{}/", tape.began_unix_millis());
    let watch = Watch::start(&supervisor, &tape);
    let load = Load::start(&workload, seed, &prefix, &nodes, &tape);
    let mut performance = Performance::start(&scenario, &supervisor, command.yes, &tape).await?;
    let mut told = Vec::new();
    let mut keeper = Keeper::new(directory, how);
    let interrupted = drive(global, &mut performance, &mut told, &mut keeper, interrupt).await?;
    let healing = healing(&mut performance, &mut told).await;
    if interrupted {
        return Err(Failure::new(
            Exit::Interrupted,
            match healing {
                None => "interrupted; its faults are healed",
                Some(_) => "interrupted; its faults end by themselves",
            },
        ));
    }
    let Concluded { worked, expectations, seen } = tokio::select! {
        it = finish::conclude(&supervisor, &nodes, load, &tape, &watch) => it,
        () = interrupt.signalled() => return Err(verify::left(&places)),
    };
    let recording = tape.finish().map_err(Failure::failed)?;
    let whole = finish::is_whole(&recording);
    let record = Record {
        seed,
        faults: vec![format!("scenario {}", scenario.name)],
        about: About::of(&status),
        began_unix_millis: tape.began_unix_millis(),
        worked,
        lanes,
        onlookers,
        seen,
        expectations: healing.into_iter().chain(expectations).chain(whole).collect(),
        recording,
        injuries: performance.injuries(),
        leaderships: watch.seen(),
        casualties: watch.casualties(),
        workload,
    };
    let (record, judgement, took) = verify::judge(record, CHECK, interrupt).await?;
    let performed = conclude(scenario, record, judgement, performance, told, places);
    let statistics = Statistics::of(&performed.record);
    let path = performed.places.history.display().to_string();
    let html = report::html(&performed.record, &performed.judgement, &statistics, &path);
    places::write(&performed.places.report, &html)?;
    tell::all(global, &performed, took)?;
    Ok(match performed.verdict() {
        Verdict::Valid => 0,
        Verdict::Violation => Exit::Violated as u8,
        Verdict::Unknown => Exit::Undecided as u8,
    })
}

/// Takes the steps until it is over, or the cluster gone; true if somebody wanted it to end before.
async fn drive(
    global: &Global,
    performance: &mut Performance,
    told: &mut Vec<Told>,
    keeper: &mut Keeper<'_>,
    interrupt: &mut Interrupt,
) -> Result<bool, Failure> {
    let mut tick = tokio::time::interval(GLANCE);
    while !performance.is_over() && keeper.look().await {
        tokio::select! {
            _ = tick.tick() => {}
            () = interrupt.signalled() => return Ok(true),
        }
        for event in performance.glance().await {
            tell::event(global, &event)?;
            told.push(event);
        }
    }
    Ok(false)
}

/// Ends what is in force, and starts what was stopped; said only if it cannot be.
async fn healing(performance: &mut Performance, told: &mut Vec<Told>) -> Option<Expectation> {
    let now = performance.elapsed();
    match performance.end().await {
        Ok(refused) => {
            told.extend(refused.into_iter().map(|why| (now, why)));
            None
        }
        Err(error) => Some(Expectation::new("healing", Err(Unmet::from(error)))),
    }
}

fn conclude(
    scenario: Arc<Scenario>,
    record: Record,
    judgement: Judgement,
    performance: Performance,
    told: Vec<Told>,
    places: Places,
) -> Performed {
    let (mut timeline, never_began) = performance.timeline(record.history());
    let any = |is: fn(&Judged) -> bool| judgement.subjects.iter().any(|it| is(&it.verdict));
    timeline.verdict = match any(|it| matches!(it, Judged::Violated(_))) {
        true => Some(false),
        false => (!any(|it| matches!(it, Judged::Unknown(_)))).then_some(true),
    };
    let equal = record.expectations.iter().find(|it| it.name == finish::EQUAL);
    timeline.replicas_equal = equal.and_then(|it| match it.held {
        Held::Yes => Some(true),
        Held::No => Some(false),
        Held::Unknown => None,
    });
    let findings = judge(&scenario, &timeline);
    Performed { scenario, record, judgement, timeline, never_began, findings, told, places }
}

//! The verdict on one page of the terminal, as JSON, and as JUnit XML.

use std::time::Duration;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use super::Places;
use crate::cli::Global;
use crate::cli::check::{Checked, tell};
use crate::cli::failure::Failure;
use crate::cli::output::{self, Format};
use crate::cli::units::{short_duration, timestamp};
use crate::observe::VERSION;
use crate::scenario::Held;
use crate::trial::casualties::Toll;
use crate::trial::statistics::{OfKind, Spread};
use crate::trial::verdict::About;
use crate::trial::{Expectation, Record, Statistics, Trial, Verdict, Workload};
use crate::verify::history::Count;

/// All that is told.
pub struct Told<'a> {
    pub record: &'a Record,
    pub verdict: Verdict,
    pub statistics: &'a Statistics,
    pub checked: Checked<'a>,
    pub places: &'a Places,
    pub interrupted: bool,
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed<'a> {
    verdict: Verdict,
    interrupted: bool,
    seed: u64,
    workload: &'a Workload,
    allowed_faults: &'a [String],
    cluster: &'a About,
    build: &'static str,
    began_unix_millis: u64,
    #[serde(flatten)]
    statistics: &'a Statistics,
    expectations: &'a [Expectation],
    check: tell::Printed<'a>,
    history: HistoryFile<'a>,
    report: String,
    check_again: String,
}

#[derive(Serialize)]
struct HistoryFile<'a> {
    path: String,
    lines: u64,
    xxh3: &'a str,
}

/// What is seen while it runs.
pub fn progress(trial: &Trial, elapsed: Duration, duration: Duration) -> String {
    let seen = trial.progress();
    let (faults, now) = trial.in_force();
    let silent = seen.acknowledged.map(Duration::from_nanos).unwrap_or_default();
    let silent = match elapsed.saturating_sub(silent) {
        short if short < Duration::from_millis(300) => String::new(),
        long => format!(", no write acknowledged for {}", short_duration(long)),
    };
    format!(
        "{} of {}: {} ok, {} failed, {} unknown{silent}; {faults} faults{}{}",
        short_duration(elapsed),
        short_duration(duration),
        seen.ok,
        seen.failed,
        seen.unknown,
        if now.is_empty() { "" } else { ", now " },
        now.join(" and "),
    )
}

impl Told<'_> {
    pub fn print(&self, global: &Global) -> Result<(), Failure> {
        match global.output {
            Format::Json => output::json(&self.printed()),
            Format::Name => output::line(self.verdict.name()),
            Format::Table => self.page(),
        }
    }

    fn check_again(&self) -> String {
        format!("kvctl check {}", self.places.history.display())
    }

    fn printed(&self) -> Printed<'_> {
        let recording = &self.record.recording;
        Printed {
            verdict: self.verdict,
            interrupted: self.interrupted,
            seed: self.record.seed,
            workload: &self.record.workload,
            allowed_faults: &self.record.faults,
            cluster: &self.record.about,
            build: VERSION,
            began_unix_millis: self.record.began_unix_millis,
            statistics: self.statistics,
            expectations: &self.record.expectations,
            check: tell::printed(&self.checked),
            history: HistoryFile {
                path: self.places.history.display().to_string(),
                lines: recording.lines,
                xxh3: &recording.hash,
            },
            report: self.places.report.display().to_string(),
            check_again: self.check_again(),
        }
    }

    fn page(&self) -> Result<(), Failure> {
        let check = tell::printed(&self.checked);
        let Statistics { latency_seconds: latency, longest_gap: gap, leaders, .. } =
            self.statistics;
        tell::operations(&self.statistics.operations)?;
        output::line(format!(
            "{:.0} a second, answered in {} (p50), {} (p99), {} at most; {} final reads",
            self.statistics.ops_per_second,
            time(latency.p50),
            time(latency.p99),
            time(latency.max),
            self.statistics.final_reads,
        ))?;
        self.faults()?;
        output::line(format!(
            "\nlongest time without an acknowledged write: {}, from {} on",
            time(gap.seconds),
            time(gap.began_seconds),
        ))?;
        if let Some(watches) = &self.statistics.watches {
            output::line(format!(
                "{} watches were told {} events over {} interruptions; {} began again after a \
                 compaction; longest time that one heard nothing: {}",
                watches.watches,
                watches.events,
                watches.interruptions,
                watches.compactions,
                time(watches.longest_silence_seconds),
            ))?;
        }
        let led =
            leaders.nodes.iter().map(|led| format!("node {} {}", led.node, time(led.seconds)));
        output::line(format!(
            "{} leaderships in terms {} to {}: {}; nobody {}",
            leaders.leaderships,
            leaders.first_term,
            leaders.last_term,
            led.collect::<Vec<_>>().join(", "),
            time(leaders.leaderless_seconds),
        ))?;
        output::line(casualties(&self.statistics.casualties))?;
        for expectation in &self.record.expectations {
            let held = held(expectation.held);
            output::line(format!("{}: {held}: {}", expectation.name, expectation.detail))?;
        }
        tell::stories(&check)?;
        self.verdict(&check)
    }

    fn faults(&self) -> Result<(), Failure> {
        if self.statistics.faults.is_empty() {
            return output::line("\nno faults were injected");
        }
        output::line("")?;
        let head = ["fault", "injected", "silence", "at most", "recovery", "at most"];
        let mut table = output::table(&head);
        for OfKind { kind, injected, refused, silence_seconds, recovery_seconds } in
            &self.statistics.faults
        {
            let refused = match refused {
                0 => String::new(),
                refused => format!(" ({refused} refused)"),
            };
            let [Spread { median: silence, max: longest }, Spread { median, max }] =
                [*silence_seconds, *recovery_seconds];
            let time = |seconds: Option<f64>| seconds.map_or("-".to_owned(), time);
            table.add_row([
                kind.clone(),
                format!("{injected}{refused}"),
                time(silence),
                time(longest),
                time(median),
                time(max),
            ]);
        }
        output::print_table(&mut table)
    }

    fn verdict(&self, check: &tell::Printed<'_>) -> Result<(), Failure> {
        let Record { seed, workload, about, recording, .. } = self.record;
        let kinds: Vec<_> = workload.kinds.iter().map(|kind| kind.name()).collect();
        output::line(format!(
            "\n{} clients ({}), {} nodes, transport {}, durability {}, build {}, {}",
            workload.clients,
            kinds.join(", "),
            about.nodes,
            about.transport,
            about.durability,
            about.build,
            timestamp(self.record.began_unix_millis),
        ))?;
        let lines = recording.lines;
        let history = self.places.history.display();
        output::line(format!("history: {history} ({lines} lines, XXH3 {})", recording.hash))?;
        output::line(format!("report: {}", self.places.report.display()))?;
        let cut = if self.interrupted { ", interrupted" } else { "" };
        output::line(format!(
            "{}: {} operations on {} keys, {} faults in {}{cut}, seed {seed}; \
             {} keys valid, {} violated, {} unknown",
            self.verdict.name(),
            self.record.history().operations.len(),
            check.keys,
            self.statistics.injected(),
            time(self.statistics.seconds),
            check.keys_valid,
            check.keys_violated,
            check.keys_unknown,
        ))?;
        if self.verdict != Verdict::Valid {
            output::line(format!("check it again: {}", self.check_again()))?;
        }
        tell::hints(check, &self.check_again());
        Ok(())
    }
}

fn time(seconds: f64) -> String {
    short_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

/// What befell the nodes, in words.
fn casualties(toll: &Toll) -> String {
    format!(
        "{} changes of leader, {} starts of nodes; at least {} snapshots were installed, {} of \
         them at a node where a watch stood",
        toll.leader_changes,
        toll.node_starts,
        toll.snapshots_installed,
        toll.snapshots_installed_under_watches,
    )
}

/// What became of an expectation, in a word.
pub fn held(held: Held) -> &'static str {
    match held {
        Held::Yes => "held",
        Held::No => "BROKEN",
        Held::Unknown => "not seen",
    }
}

/// As of `kvctl check`, and a test case for each expectation, with the figures beside them.
pub fn junit(checked: &Checked<'_>, record: &Record, statistics: &Statistics) -> Report {
    let mut report = tell::junit("kvctl verify", checked);
    let mut suite = TestSuite::new("expectations");
    for Count { f, ok, fail, mismatch, info } in &statistics.operations {
        let counts = format!("{ok} ok, {fail} fail, {mismatch} mismatch, {info} info");
        suite.add_property((format!("operations.{f}"), counts));
    }
    let gap = statistics.longest_gap.seconds.to_string();
    suite.add_property(("longest_gap_seconds", gap.as_str()));
    if let Some(watches) = &statistics.watches {
        let silence = watches.longest_silence_seconds.to_string();
        suite.add_property(("watches.longest_silence_seconds", silence.as_str()));
    }
    let toll = &statistics.casualties;
    for (name, count) in [
        ("leader_changes", toll.leader_changes),
        ("node_starts", toll.node_starts),
        ("snapshots_installed", toll.snapshots_installed),
        ("snapshots_installed_under_watches", toll.snapshots_installed_under_watches),
    ] {
        suite.add_property((format!("casualties.{name}"), count.to_string()));
    }
    for Expectation { name, held, detail } in &record.expectations {
        let kind = match held {
            Held::Yes => None,
            Held::No => Some(NonSuccessKind::Failure),
            Held::Unknown => Some(NonSuccessKind::Error),
        };
        let status = kind.map_or_else(TestCaseStatus::success, |kind| {
            let mut status = TestCaseStatus::non_success(kind);
            status.set_message(detail.clone());
            status
        });
        suite.add_test_case(TestCase::new(*name, status));
    }
    report.add_test_suite(suite);
    report
}

//! What was found in a history: for people, for programs, for whoever collects test reports.

use std::path::Path;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use serde::Serialize;

use super::Checked;
use crate::cli::Global;
use crate::cli::failure::Failure;
use crate::cli::output::{self, Format};
use crate::cli::units::short_duration;
use crate::verify::history::{Count, Kind};
use crate::verify::judge::{Judged, Property, Subject, Violation, Why};

#[derive(Serialize)]
pub struct Printed<'a> {
    verdict: &'static str,
    operations: Vec<Count>,
    pub keys: usize,
    pub keys_valid: usize,
    pub keys_violated: usize,
    pub keys_unknown: usize,
    seconds: f64,
    violations: Vec<Violated<'a>>,
    unknown: Vec<Unknown>,
}

#[derive(Serialize)]
pub struct Violated<'a> {
    key: String,
    property: &'static str,
    story: &'a [String],
    why: &'a str,
    part: Vec<Part>,
}

#[derive(Serialize)]
struct Part {
    process: u64,
    f: &'static str,
    line: u64,
    ended_line: Option<u64>,
}

#[derive(Serialize)]
pub struct Unknown {
    key: String,
    why: &'static str,
}

/// Prints the verdict.
pub fn verdict(global: &Global, checked: &Checked<'_>) -> Result<(), Failure> {
    let printed = printed(checked);
    match global.output {
        Format::Json => output::json(&printed),
        Format::Name => printed.violations.iter().try_for_each(|found| output::line(&found.key)),
        Format::Table => table(&printed, checked),
    }
}

pub fn printed<'a>(checked: &Checked<'a>) -> Printed<'a> {
    let named = |subject: &Subject| subject.name(checked.history);
    let violations = checked.subjects.iter().filter_map(|subject| match &subject.verdict {
        Judged::Violated(violation) => Some(violated(checked, named(subject), violation)),
        _ => None,
    });
    let unknown = checked.subjects.iter().filter_map(|subject| match &subject.verdict {
        Judged::Unknown(why) => Some(Unknown { key: named(subject), why: reason(*why) }),
        _ => None,
    });
    Printed {
        verdict: match (checked.violated(), checked.unknown()) {
            (0, 0) => "valid",
            (0, _) => "unknown",
            _ => "violation",
        },
        operations: checked.history.counts(),
        keys: checked.count(|_| true),
        keys_valid: checked.count(|judged| matches!(judged, Judged::Valid)),
        keys_violated: checked.violated(),
        keys_unknown: checked.unknown(),
        seconds: checked.elapsed.as_secs_f64(),
        violations: violations.collect(),
        unknown: unknown.collect(),
    }
}

fn violated<'a>(checked: &Checked<'a>, key: String, violation: &'a Violation) -> Violated<'a> {
    let part = violation.part.iter().map(|place| {
        let operation = &checked.history.operations[*place];
        Part {
            process: operation.process,
            f: operation.call.name(),
            line: operation.called.line,
            ended_line: operation.ended.map(|ended| ended.line),
        }
    });
    Violated {
        key,
        property: violation.property.name(),
        story: &violation.story.lines,
        why: &violation.story.why,
        part: part.collect(),
    }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Steps => "steps",
        Why::Stopped => "stopped",
    }
}

/// Violations that are told in full.
const MAX_TOLD: usize = 10;

fn table(printed: &Printed<'_>, checked: &Checked<'_>) -> Result<(), Failure> {
    operations(&printed.operations)?;
    stories(printed)?;
    let took = short_duration(checked.elapsed);
    output::line(format!(
        "\n{}: {} operations on {} keys in {took}; {} valid, {} violated, {} unknown",
        printed.verdict,
        checked.history.operations.len(),
        printed.keys,
        printed.keys_valid,
        printed.keys_violated,
        printed.keys_unknown,
    ))?;
    hints(printed, "again with");
    Ok(())
}

/// What became of the operations of each function.
pub fn operations(counts: &[Count]) -> Result<(), Failure> {
    let mut table = output::table(&["operation", "ok", "fail", "mismatch", "unknown"]);
    for count in counts {
        let numbers = [count.ok, count.fail, count.mismatch, count.info].map(|n| n.to_string());
        table.add_row([count.f.to_owned()].into_iter().chain(numbers));
    }
    output::print_table(&mut table)
}

/// The contradictions.
pub fn stories(printed: &Printed<'_>) -> Result<(), Failure> {
    for found in printed.violations.iter().take(MAX_TOLD) {
        output::line(format!("\n{} of `{}` is violated:", found.property, found.key))?;
        found.story.iter().try_for_each(|line| output::line(format!("  {line}")))?;
        output::line(format!("  {}", found.why))?;
    }
    if printed.violations.len() > MAX_TOLD {
        output::line(format!("\n… and {} more keys", printed.violations.len() - MAX_TOLD))?;
    }
    Ok(())
}

/// What to do about what is unknown: `again` judges once more, with options of its own.
pub fn hints(printed: &Printed<'_>, again: &str) {
    let stopped = printed.unknown.iter().filter(|unknown| unknown.why == "stopped").count();
    if stopped > 0 {
        output::note(format!("{stopped} keys were not judged in time: try {again} --timeout 1h"));
    }
    if printed.unknown.len() > stopped {
        let steps = printed.unknown.len() - stopped;
        output::note(format!(
            "{steps} keys have too many possible orders: try {again} --max-steps 1000000000"
        ));
    }
}

/// The verdict as JUnit XML: a test case for each property, and one for each key that broke it or
/// could not be judged. What is unknown is an error there, not a failure, and not a success.
pub fn junit(name: &str, checked: &Checked<'_>) -> Report {
    let mut report = Report::new(name);
    report.set_time(checked.elapsed);
    let counts = checked.history.counts();
    let says_something = |property: &Property| {
        property.needs().is_none_or(|f| counts.iter().any(|count| count.f == f))
    };
    for property in Property::ALL.into_iter().filter(says_something) {
        let mut suite = TestSuite::new(property.name());
        for subject in checked.subjects {
            let kind = checked.history.keys[subject.keys[0]].kind;
            if (property == Property::Watches) != matches!(kind, Kind::Watched { .. }) {
                continue;
            }
            let status = match &subject.verdict {
                Judged::Violated(violation) if violation.property == property => {
                    let story = &violation.story;
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                    status.set_message(story.why.clone()).set_description(story.lines.join("\n"));
                    status
                }
                Judged::Unknown(why) => {
                    let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
                    status.set_message(format!(
                        "no verdict: out of {}",
                        match why {
                            Why::Steps => "steps",
                            Why::Stopped => "time",
                        }
                    ));
                    status
                }
                _ => continue,
            };
            suite.add_test_case(TestCase::new(
                format!("key {}", subject.name(checked.history)),
                status,
            ));
        }
        let of_watches = property == Property::Watches;
        let valid = checked.valid(of_watches);
        if valid > 0 || suite.test_cases.is_empty() {
            let name = format!("{valid} keys that are valid");
            suite.add_test_case(TestCase::new(name, TestCaseStatus::success()));
        }
        report.add_test_suite(suite);
    }
    report
}

/// Writes a report to a file.
pub fn write_junit(report: &Report, path: &Path) -> Result<(), Failure> {
    let xml = report
        .to_string()
        .map_err(|error| Failure::failed(format!("cannot write JUnit XML: {error}")))?;
    std::fs::write(path, xml)
        .map_err(|error| Failure::failed(format!("cannot write {}: {error}", path.display())))
}

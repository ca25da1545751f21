//! What is made of a record: figures, a verdict, a page.

use std::time::Duration;

use super::casualties::Casualties;
use super::recorder::Recording;
use super::report::html;
use super::verdict::About;
use super::{Expectation, Injury, Leadership, Record, Statistics, Verdict, Workload};
use crate::chaos::FaultId;
use crate::types::NodeId;
use crate::verify::generate::{Plan, generate};
use crate::verify::history::{Event, Reader, Type};
use crate::verify::judge::Limits;

const SECOND: u64 = 1_000_000_000;

fn event(process: u64, kind: Type, f: &str, time: u64, value: Option<&str>) -> Event {
    Event {
        process,
        kind,
        f: f.to_owned(),
        key: Some("k".to_owned()),
        lease: None,
        value: value.map(|text| text.into()),
        time: Some(time),
        node: Some(1),
        rev: None,
        error: None,
    }
}

/// A write that is acknowledged at this moment, a millisecond after it was asked for.
fn write(value: &str, at: u64) -> [Event; 2] {
    [
        event(1, Type::Invoke, "write", at - 1_000_000, Some(value)),
        event(1, Type::Ok, "write", at, None),
    ]
}

fn record(events: &[Event]) -> Record {
    let mut reader = Reader::default();
    for event in events {
        reader.line(event.to_line().trim_end().as_bytes()).unwrap();
    }
    let lines = events.len() as u64;
    Record {
        seed: 7,
        workload: Workload::default(),
        faults: vec!["pause".into()],
        about: About {
            name: "default".into(),
            nodes: 5,
            transport: "unix".into(),
            durability: "fsync".into(),
            build: "0".into(),
        },
        began_unix_millis: 0,
        worked: Duration::from_secs(10),
        lanes: 15,
        onlookers: 0,
        seen: None,
        recording: Recording { history: reader.finish(), hash: "abc".into(), lines, trouble: None },
        injuries: Vec::new(),
        leaderships: Vec::new(),
        casualties: Casualties::default(),
        expectations: vec![Expectation::new("recovery", Ok("it was ready".into()))],
    }
}

fn injury(begun: u64, ended: u64, refused: Option<&str>) -> Injury {
    Injury {
        kind: "pause".into(),
        what: "pause <leader>".into(),
        id: refused.is_none().then_some(FaultId(1)),
        begun,
        ended,
        refused: refused.map(str::to_owned),
    }
}

fn page(record: &Record) -> (Verdict, String) {
    let judgement = record.judge(Limits { steps: 1_000_000, go_on: &mut |_| true });
    let statistics = Statistics::of(record);
    (judgement.verdict, html(record, &judgement, &statistics, "/h.jsonl"))
}

#[test]
fn silences_and_recoveries_are_those_of_the_writes() {
    let seconds = |n: f64| (n * SECOND as f64) as u64;
    let writes = [1.0, 2.0, 5.0, 5.5].map(|at| write(&at.to_string(), seconds(at)));
    let mut record = record(&writes.concat());
    record.injuries = vec![
        injury(seconds(2.5), seconds(4.0), None),
        // Over in the very moment of an acknowledgement, and one after which nothing came.
        injury(seconds(1.5), seconds(2.0), None),
        injury(seconds(6.0), seconds(7.0), None),
        injury(seconds(8.0), seconds(8.0), Some("nobody leads")),
    ];
    let leader = |at: f64, leader: Option<u64>, term| Leadership {
        since: seconds(at),
        leader: leader.map(NodeId),
        term,
    };
    record.leaderships =
        vec![leader(0.0, Some(1), 2), leader(2.5, None, 2), leader(4.5, Some(3), 4)];
    let statistics = Statistics::of(&record);
    assert_eq!(statistics.longest_gap.seconds, 4.5, "from the last write to the end");
    let [of] = &statistics.faults[..] else { panic!("{:?}", statistics.faults) };
    assert_eq!((of.injected, of.refused), (3, 1));
    assert_eq!((of.silence_seconds.median, of.silence_seconds.max), (Some(3.0), Some(4.5)));
    assert_eq!((of.recovery_seconds.median, of.recovery_seconds.max), (Some(1.0), Some(1.0)));
    let leaders = &statistics.leaders;
    assert_eq!((leaders.leaderships, leaders.first_term, leaders.last_term), (2, 2, 4));
    assert_eq!((leaders.leaderless_seconds, leaders.nodes[0].seconds), (2.0, 2.5));
    assert_eq!(statistics.latency_seconds.max, 0.001);
    let writes: f64 = statistics.curves.writes.iter().sum();
    assert!((writes * statistics.curves.bucket_seconds - 4.0).abs() < 1e-9);
}

#[test]
fn a_planted_violation_is_found_and_its_story_is_on_the_page() {
    let mut events = generate(&Plan { keys: 3, unknown_percent: 0, ..Plan::default() });
    assert_eq!(page(&record(&events)).0, Verdict::Valid);
    let read = events.iter_mut().rev().find(|it| it.f == "read" && it.kind == Type::Ok).unwrap();
    read.value = Some("</script><b>never & written".into());
    let (verdict, page) = page(&record(&events));
    assert_eq!(verdict, Verdict::Violation);
    assert!(page.contains("Nobody ever wrote `\\u003c/script>\\u003cb>never & written`."));
    assert!(page.contains("kvctl check /h.jsonl"));
    assert_eq!(page.matches("</script>").count(), 2, "data ends no element");
}

#[test]
fn of_many_operations_a_part_is_drawn_and_the_page_says_so() {
    let plan = Plan { operations: 100_000, keys: 300, unknown_percent: 1, ..Plan::default() };
    let mut record = record(&generate(&plan));
    record.injuries = vec![injury(1, 2, None)];
    let statistics = Statistics::of(&record);
    let judgement = record.judge(Limits { steps: 0, go_on: &mut |_| false });
    assert_eq!(judgement.verdict, Verdict::Unknown);
    let page = html(&record, &judgement, &statistics, "/h.jsonl");
    assert!(page.contains("\"count\":100000") && page.contains("of the rest, one of "));
    assert!(page.contains("pause \\u003cleader>"));
    assert!(page.len() < 3_000_000, "{}", page.len());
}

#[test]
fn a_record_of_nothing_has_figures_and_a_page() {
    let record = record(&[]);
    let (verdict, page) = page(&record);
    assert_eq!(verdict, Verdict::Valid);
    assert!(page.contains("\"keys_judged\":0"));
    assert_eq!(Statistics::of(&record).longest_gap.seconds, 10.0);
}

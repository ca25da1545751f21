//! Watches that told the truth, and what becomes of them when something is changed in them.

use serde_json::{Value, json};

use super::{judged, read};
use crate::types::Random;
use crate::verify::generate::{Plan, generate};
use crate::verify::history::{Event, Type};
use crate::verify::judge::{Judged, Property};

/// A history with watches, in which all writes say their revisions.
fn right(seed: u64) -> Vec<Event> {
    generate(&Plan {
        seed,
        operations: 200,
        clients: 4,
        keys: 2,
        unknown_percent: 0,
        revisions: true,
        everything: true,
        ..Plan::default()
    })
}

/// The watches that were told something.
fn watches(events: &[Event]) -> Vec<usize> {
    let told = |event: &Event| {
        let changes = event.value.as_ref().and_then(|value| value["events"].as_array());
        event.f == "watch"
            && event.kind == Type::Ok
            && changes.is_some_and(|changes| !changes.is_empty())
    };
    (0..events.len()).filter(|at| told(&events[*at])).collect()
}

fn changes(event: &mut Event) -> &mut Vec<Value> {
    event.value.as_mut().unwrap()["events"].as_array_mut().unwrap()
}

fn judge(events: &[Event]) -> Vec<Judged> {
    let lines: String = events.iter().map(Event::to_line).collect();
    judged(&read(&lines).unwrap_or_else(|bad| panic!("{bad}")))
}

/// What is wrong with watches, and with nothing else.
fn is_violated(events: &[Event]) -> bool {
    let mut is_violated = false;
    for judged in judge(events) {
        match judged {
            Judged::Violated(violation) => {
                assert_eq!(violation.property, Property::Watches, "{:#?}", violation.story);
                is_violated = true;
            }
            judged => assert_eq!(judged, Judged::Valid),
        }
    }
    is_violated
}

type Lie = (&'static str, fn(&mut Vec<Value>, usize));

/// What may be changed in the list of changes, at one of them.
const LIES: [Lie; 8] = [
    ("a change is missing", |changes, at| drop(changes.remove(at))),
    ("it comes twice", |changes, at| changes.insert(at, changes[at].clone())),
    ("it comes before the one before it", |changes, at| {
        match at.checked_sub(1).filter(|before| changes[*before][0] != changes[at][0]) {
            Some(before) => changes.swap(before, at),
            None => drop(changes.remove(at)),
        }
    }),
    ("another value", |changes, at| changes[at][2] = json!("never written")),
    ("deleted, and it was not", |changes, at| {
        let is = &changes[at][2];
        changes[at][2] = if is.is_null() { json!("never written") } else { Value::Null };
    }),
    ("another key", |changes, at| {
        changes[at][1] = json!(if changes[at][1] == "k0" { "k1" } else { "k0" });
    }),
    ("a revision too far", |changes, at| changes[at][0] = json!(1_000_000)),
    ("a key that is not watched", |changes, at| changes[at][1] = json!("somewhere/else")),
];

#[test]
fn every_lie_of_a_watch_is_caught() {
    let mut random = Random::from_seed(1);
    for seed in 0..4 {
        let events = right(seed);
        assert!(!is_violated(&events));
        let watches = watches(&events);
        assert!(watches.len() > 3, "{}", watches.len());
        for (name, lie) in LIES {
            for _ in 0..10 {
                let mut events = events.clone();
                let watch = watches[random.below(watches.len() as u64) as usize];
                let changes = changes(&mut events[watch]);
                // That a key went with its lease nobody else may have noticed.
                let all = (0..changes.len()).filter(|at| !changes[*at][2].is_null());
                let all: Vec<usize> = all.collect();
                let Some(at) = all.get(random.below(all.len().max(1) as u64) as usize) else {
                    continue;
                };
                let at = *at;
                let before = changes.clone();
                lie(changes, at);
                assert_ne!(*changes, before, "{name}");
                assert!(is_violated(&events), "{name}: {}", events[watch].to_line());
            }
        }
    }
}

fn told(lines: &str) -> String {
    let judged = judged(&read(lines).unwrap());
    let story = judged.into_iter().find_map(|judged| match judged {
        Judged::Violated(violation) => Some(violation.story),
        _ => None,
    });
    let story = story.expect(lines);
    format!("{}\n{}", story.lines.join("\n"), story.why)
}

const WRITE: &str = r#"{"process":1,"type":"invoke","f":"write","key":"a/x","value":"1"}
{"process":1,"type":"ok","f":"write","key":"a/x","rev":8}
{"process":1,"type":"invoke","f":"write","key":"a/y","value":"2"}
{"process":1,"type":"info","f":"write","key":"a/y"}
"#;

/// A watch of all that begin with `a/`, that was told of these up to a revision.
fn watch(process: u64, events: &str, upto: u64) -> String {
    format!(
        "{{\"process\":{process},\"type\":\"invoke\",\"f\":\"watch\",\"key\":\"a/\",\
         \"value\":{{\"from\":7,\"prefix\":true}}}}\n\
         {{\"process\":{process},\"type\":\"ok\",\"f\":\"watch\",\"key\":\"a/\",\
         \"value\":{{\"events\":{events},\"upto\":{upto}}}}}\n"
    )
}

#[test]
fn contradictions_are_told() {
    assert_eq!(
        told(&format!("{WRITE}{}", watch(2, "[]", 9))),
        "\
1. process 1 wrote `1` to a/x on line 1 and was told ok (revision 8) on line 2
2. after that, process 2 began a watch of a/* from revision 7 on line 5 and was told nothing up to \
revision 9 on line 6
Revision 8 changed `a/x`, and the watch, which went from revision 7 to 9, was not told."
    );
    let both = [watch(2, r#"[[8,"a/x","1"],[9,"a/y","2"]]"#, 9), watch(3, r#"[[8,"a/x","1"]]"#, 9)];
    assert!(told(&format!("{WRITE}{}", both.concat())).ends_with(
        "Revision 9 changed `a/y`, and the watch, which went from revision 7 to 9, was not told."
    ));
    for (events, why) in [
        (r#"[[8,"a/x","2"]]"#, "Revision 8 left `1` under `a/x`, and the watch was told `2`."),
        (r#"[[8,"a/z","1"]]"#, "Revision 8 was the change of another key than `a/z`."),
        (r#"[[8,"a/x","1"],[9,"a/z","3"]]"#, "Nobody wrote `3` to `a/z` at revision 9."),
        (r#"[[8,"a/x","1"],[9,"a/x",null]]"#, "Nobody deleted `a/x` at revision 9."),
        (r#"[[8,"a/x","1"],[8,"a/x","1"]]"#, "It was told twice of revision 8 of `a/x`."),
        (r#"[[9,"a/y","2"],[8,"a/x","1"]]"#, "It was told of revision 8 after 9."),
    ] {
        let told = told(&format!("{WRITE}{}", watch(2, events, 9)));
        assert!(told.ends_with(why), "{told}");
    }
    let (twice, no) = (r#"[[8,"a/x","1"],[9,"a/y","2"],[10,"a/y","2"]]"#, "2 revisions left `2`");
    assert!(told(&format!("{WRITE}{}", watch(2, twice, 10))).contains(no));
    let early = format!("{}{WRITE}", watch(2, r#"[[8,"a/x","1"]]"#, 8));
    assert!(told(&early).ends_with("It was told before anybody wrote `1` to `a/x`."));
    let early = format!("{}{WRITE}", watch(2, r#"[[7,"a/y","2"]]"#, 7));
    assert!(told(&early).ends_with("It was told before anybody wrote `2` to `a/y`."));
}

#[test]
fn who_saw_a_key_otherwise_contradicts_the_watch() {
    let other = r#"{"process":5,"type":"invoke","f":"delete","key":"a/x"}
{"process":5,"type":"ok","f":"delete","key":"a/x","rev":9}
"#;
    let events = r#"[[8,"a/x","1"]]"#;
    assert!(told(&format!("{WRITE}{other}{}", watch(2, events, 9))).ends_with(
        "At revision 9 `a/x` was nothing, and the last change up to there that the watch was told \
         of, at 8, had left `1`."
    ));
    let right = format!("{WRITE}{other}{}", watch(2, r#"[[8,"a/x","1"],[9,"a/x",null]]"#, 9));
    assert_eq!(judged(&read(&right).unwrap()), [const { Judged::Valid }; 3]);
}

#[test]
fn what_is_not_known_is_not_missed() {
    for events in [r#"[[8,"a/x","1"]]"#, r#"[[8,"a/x","1"],[11,"a/y","2"]]"#] {
        let lines = format!("{WRITE}{}", watch(2, events, 12));
        assert_eq!(judged(&read(&lines).unwrap()), [const { Judged::Valid }; 3], "{lines}");
    }
}

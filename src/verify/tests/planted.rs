//! One fault of each kind, in the middle of a history that is right otherwise.

use super::{judged, read};
use crate::verify::judge::{Judged, Property, Violation};

/// A history in shorthand: `process call` begins, `process! answer` ends. Calls are `r`, `w:a`,
/// `c:a>b`, `a:x` and `d`; answers are `ok`, a value or `-` for absent (of a read), `no`
/// (mismatch), `fail` and `info`. `@7` after an answer is a revision.
fn story(text: &str) -> String {
    let mut lines = String::new();
    let mut calls = std::collections::BTreeMap::new();
    let value = |text: &str| if text == "-" { "null".into() } else { format!("\"{text}\"") };
    for (at, step) in text.split(';').map(str::trim).filter(|step| !step.is_empty()).enumerate() {
        let (who, what) = step.split_once(' ').unwrap();
        let process = who.trim_end_matches('!');
        let (kind, f, extra) = if who == process {
            let (f, argument) = what.split_once(':').unwrap_or((what, ""));
            let (f, extra) = match (f, argument.split_once('>')) {
                ("w", _) => ("write", format!(",\"value\":{}", value(argument))),
                ("a", _) => ("append", format!(",\"value\":{}", value(argument))),
                ("c", Some((old, new))) => {
                    ("cas", format!(",\"value\":[{},{}]", value(old), value(new)))
                }
                ("d", _) => ("delete", String::new()),
                _ => ("read", String::new()),
            };
            calls.insert(process.to_owned(), f);
            ("invoke", f, extra)
        } else {
            let (what, rev) = what.split_once('@').unwrap_or((what, ""));
            let rev = if rev.is_empty() { String::new() } else { format!(",\"rev\":{rev}") };
            let (kind, extra) = match what {
                "ok" => ("ok", rev),
                "no" => ("fail", ",\"error\":\"mismatch\"".to_owned()),
                "fail" | "info" => (what, String::new()),
                found => ("ok", format!(",\"value\":{}{rev}", value(found))),
            };
            (kind, calls[process], extra)
        };
        let time = at as u64 * 1_000_000 + 1_200_000_000;
        lines += &format!(
            "{{\"process\":{process},\"type\":\"{kind}\",\"f\":\"{f}\",\"key\":\"k\",\
             \"time\":{time}{extra}}}\n"
        );
    }
    lines
}

fn verdict(text: &str) -> Judged {
    judged(&read(&story(text)).unwrap_or_else(|error| panic!("{text}: {error}"))).remove(0)
}

fn violation(text: &str) -> Violation {
    match verdict(text) {
        Judged::Violated(violation) => *violation,
        other => panic!("{text}: {other:?}"),
    }
}

/// What goes on before each fault: right, and no part of it.
const BEFORE: &str =
    "80 w:p; 81 r; 81! p; 80! ok; 82 c:p>q; 83 a:z; 83! ok; 82! ok; 84 c:n>s; 84! info;
    85 r; 85! qz; 86 d; 86! ok; 87 r; 87! -;";

#[test]
fn every_kind_of_fault_is_caught_and_made_small() {
    use Property::{Durability, Linearizability, Revisions};
    for (name, fault, property, operations) in [
        ("stale read", "1 w:a;1! ok;1 w:b;1! ok;2 r;2! a;2 r;2! b", Linearizability, 3),
        ("lost write", "1 w:a;1! ok;1 w:b;1! ok;2 r;2! a;3 r;3! a", Durability, 3),
        ("never written", "1 w:a;1! ok;2 r;2! x", Linearizability, 1),
        ("from the future", "2 r;1 w:a;1! ok;2! f;3 w:f;3! ok", Linearizability, 1),
        ("cas won twice", "1 w:a;1! ok;1 c:a>b;2 c:a>c;1! ok;2! ok", Linearizability, 3),
        ("mismatch of what was there", "1 w:a;1! ok;3 w:b;3! ok;2 c:b>c;2! no", Linearizability, 2),
        ("append lost", "1 w:a;1! ok;1 a:x;1! ok;2 r;2! a;2 r;2! a", Durability, 3),
        ("append late", "1 w:a;1! ok;1 a:x;1! ok;2 r;2! a;2 r;2! ax", Linearizability, 3),
        ("append twice", "1 w:a;1! ok;1 a:x;1! ok;2 r;2! axx", Linearizability, 3),
        ("append reordered", "1 w:a;1! ok;1 a:x;1! ok;1 a:y;1! ok;2 r;2! ayx", Linearizability, 4),
        ("delete undone", "1 w:a;1! ok;1 d;1! ok;2 r;2! a;2 r;2! a", Durability, 3),
        ("dirty read", "1 w:a;1! ok;2 w:b;2! fail;3 r;3! b", Linearizability, 1),
        ("revisions", "1 w:a;1! ok@9;2 w:b;2! ok@9", Revisions, 2),
        ("unknown twice", "1 w:u;1! info;2 r;2! u;3 w:b;3! ok;2 r;2! u", Linearizability, 4),
    ] {
        let text = format!("{BEFORE}{fault}");
        assert!(matches!(verdict(BEFORE), Judged::Valid));
        let found = violation(&text);
        assert_eq!(found.property, property, "{name}: {:#?}", found.story);
        assert!(found.part.len() <= operations, "{name}: {:#?}", found.story);
    }
}

#[test]
fn what_looks_like_a_fault_and_is_none_is_valid() {
    for text in [
        "1 w:a;2 r;2! a;1! ok",
        "1 w:a;1! info;2 r;2! -;2 r;2! a",
        "1 w:a;1! ok;2 w:u;2! info;3 c:a>b;3! no",
        "1 w:a;1! ok;2 c:a>b;3 c:a>c;2! ok;3! no;4 r;4! b",
        "1 a:x;2 a:y;1! ok;2! ok;3 r;3! yx",
        "1 w:a;1! ok@5;2 w:b;3 w:c;3! ok@7;2! ok@6;4 d;4! ok@7",
    ] {
        assert_eq!(verdict(text), Judged::Valid, "{text}");
    }
}

fn told(text: &str) -> String {
    let story = violation(text).story;
    format!("{}\n{}", story.lines.join("\n"), story.why)
}

#[test]
fn a_violation_is_told_as_a_story() {
    let text = format!("{BEFORE}1 w:a;1! ok;3 w:b;5 c:a>c;3! ok@12;5! no;5 r;5! a@11;6 r;6! b");
    assert_eq!(
        told(&text),
        "\
1. process 1 wrote `a` at 1.216 s (line 17) and was told ok at 1.217 s (line 18)
2. after that, process 3 wrote `b` at 1.218 s (line 19) and was told ok (revision 12) at 1.220 s \
(line 21)
3. after that, process 5 read at 1.222 s (line 23) and was told `a` (revision 11) at 1.223 s \
(line 24)
There is no order of these, each at one moment between its call and its answer, that explains what \
they were told."
    );
    assert!(told("1 w:a;1! fail;2 r;2! a").ends_with(
        "`a` comes from a write of process 1 (line 1), which was told that it had failed."
    ));
    assert!(told("2 r;2! a;1 w:a;1! ok").ends_with(
        "`a` comes from a write of process 1 that began on line 3, after this had ended."
    ));
    assert!(told("2 r;2! a").ends_with("Nobody ever wrote `a`."));
}

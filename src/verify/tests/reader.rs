//! Lines that make sense, and lines that do not.

use super::read;
use crate::verify::generate::{Plan, generate};
use crate::verify::history::{Event, Found, MAX_LINE, Outcome, Reader};

const BEGIN: &str = r#"{"process":1,"type":"invoke","f":"write","key":"k","value":"a","time":5}"#;

#[test]
fn what_is_written_is_read_again() {
    for event in generate(&Plan { revisions: true, ..Plan::default() }) {
        let line = event.to_line();
        let again: Event = serde_json::from_str(&line).unwrap();
        assert_eq!(again, event, "{line}");
    }
}

#[test]
fn fields_that_nobody_knows_are_skipped_and_most_may_lack() {
    let history = read(
        r#"{"process":1,"type":"invoke","f":"read","key":"k","value":null,"index":7}
           {"process":1,"type":"ok","f":"read","key":"k","value":null,"extra":{"a":[1]}}

           {"process":1,"type":"invoke","f":"cas","key":"k","value":[null,"a"]}
           {"process":1,"type":"fail","f":"cas","key":"k","error":"mismatch"}
           {"process":1,"type":"invoke","f":"delete","key":"k"}"#,
    )
    .unwrap();
    let outcomes: Vec<_> = history.operations.iter().map(|o| o.outcome.clone()).collect();
    let found = Outcome::Ok { found: Found::Value(None), rev: None };
    assert_eq!(outcomes, [found, Outcome::Mismatch, Outcome::Unknown]);
    assert_eq!(history.operations[2].called.line, 6);
    assert_eq!(history.operations[2].ended, None);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_line() {
    for (second, why) in [
        ("{", "line 2: this is no JSON: EOF while parsing an object (column 1)"),
        ("[]", "line 2: invalid length 0, expected struct Event with 10 elements (column 2)"),
        (r#"{"process":1}"#, "line 2: missing field `type` (column 13)"),
        (
            r#"{"process":2,"type":"invoke","f":"seek","key":"k"}"#,
            "line 2: `seek` is no function that is known: read, write, cas, append, delete, txn, \
             lease, lock, watch",
        ),
        (
            r#"{"process":2,"type":"ok","f":"read","key":"k","value":null}"#,
            "line 2: process 2 ends a read that it never began",
        ),
        (
            r#"{"process":1,"type":"invoke","f":"read","key":"k"}"#,
            "line 2: process 1 begins a read, and its write of line 1 has not ended",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"read","key":"k","time":4}"#,
            "line 2: time goes back, from 5 to 4",
        ),
        (
            r#"{"process":1,"type":"ok","f":"write","key":"j"}"#,
            "line 2: process 1 ends a write of `j`, and what it began on line 1 is a write of `k`",
        ),
        (
            r#"{"process":1,"type":"ok","f":"write","key":"k","value":"b"}"#,
            "line 2: the value is not that of the invocation on line 1",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"write","key":"k","value":7}"#,
            "line 2: a write needs a \"value\", and it is a string",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"cas","key":"k","value":["a"]}"#,
            "line 2: a cas needs a \"value\", and it is [old, new]",
        ),
        (
            r#"{"process":2,"type":"invoke","f":"cas","key":"k","value":["a",1]}"#,
            "line 2: of a cas, old and new are strings or null",
        ),
    ] {
        let error = read(&format!("{BEGIN}\n{second}\n")).expect_err(second);
        assert_eq!(error.to_string(), why);
    }
    let info = r#"{"process":1,"type":"info","f":"write","key":"k"}"#;
    let error = read(&format!("{BEGIN}\n{info}\n{}", BEGIN)).expect_err("it is gone");
    assert_eq!(
        error.to_string(),
        "line 3: process 1 goes on, and its operation ended in `info` on line 2: whoever goes on \
         after that needs a new number"
    );
    let read_without = r#"{"process":1,"type":"invoke","f":"read","key":"k"}
{"process":1,"type":"ok","f":"read","key":"k"}"#;
    let error = read(read_without).expect_err("what did it find?");
    assert!(
        error.to_string().starts_with("line 2: a read that is ok needs a \"value\""),
        "{error}"
    );
    let error = Reader::default().line(&vec![b' '; MAX_LINE + 1]).expect_err("too long");
    assert_eq!(error.to_string(), "line 1: it is longer than 1048576 bytes");
}

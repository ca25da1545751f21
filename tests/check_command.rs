//! `kvctl check` as its users meet it: exit codes, what stands on which stream, the reports.

mod kvctl_home;

use kvctl_home::Home;
use kvraft::verify::generate::{Plan, generate};
use serde_json::Value;

/// What process 2 reads at first had been overwritten before.
fn stale() -> String {
    let steps = [
        (1, "invoke", "write", ",\"value\":\"a\""),
        (1, "ok", "write", ""),
        (1, "invoke", "write", ",\"value\":\"b\""),
        (1, "ok", "write", ""),
        (2, "invoke", "read", ""),
        (2, "ok", "read", ",\"value\":\"a\""),
        (2, "invoke", "read", ""),
        (2, "ok", "read", ",\"value\":\"b\""),
    ];
    let line = |(at, (process, kind, f, value)): (usize, &(u64, &str, &str, &str))| {
        let time = 1_200_000_000 + at * 1_000_000;
        format!(
            "{{\"process\":{process},\"type\":\"{kind}\",\"f\":\"{f}\",\"key\":\"k\",\
             \"time\":{time}{value}}}\n"
        )
    };
    steps.iter().enumerate().map(line).collect()
}

fn valid() -> String {
    generate(&Plan { keys: 3, ..Plan::default() }).iter().map(|event| event.to_line()).collect()
}

#[test]
fn a_valid_history_ends_with_0() {
    let home = Home::new();
    let checked = home.run_with(&["check", "-"], valid().as_bytes());
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
    assert!(checked.out.starts_with("OPERATION  OK"), "{}", checked.out);
    assert!(checked.out.contains("\nvalid: 1000 operations on 3 keys in "), "{}", checked.out);
    assert_eq!(checked.err, "");
    let empty = home.run_with(&["check", "-", "-o", "json"], b"");
    let json: Value = serde_json::from_str(&empty.out).unwrap();
    assert_eq!((empty.code, &json["verdict"], &json["keys"]), (0, &"valid".into(), &0.into()));
}

#[test]
fn a_violation_ends_with_4_and_is_told_on_every_channel() {
    let home = Home::new();
    let path = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let (file, xml) = (path("history.jsonl"), path("report.xml"));
    std::fs::write(&file, stale()).unwrap();
    let checked = home.run(&["check", &file, "--junit", &xml]);
    assert_eq!(checked.code, 4, "{}{}", checked.out, checked.err);
    for says in [
        "linearizability of `k` is violated:\n  1. process 1 wrote `a` at 1.200 s (line 1)",
        "  3. after that, process 2 read at 1.204 s (line 5) and was told `a` at 1.205 s (line 6)",
        "\nviolation: 4 operations on 1 keys in ",
    ] {
        assert!(checked.out.contains(says), "{says}: {}", checked.out);
    }
    let xml = std::fs::read_to_string(xml).unwrap();
    assert!(xml.contains("<testsuites name=\"kvctl check\" tests=\"3\""), "{xml}");
    assert!(xml.contains("failures=\"1\""), "{xml}");
    assert!(xml.contains("<testcase name=\"key k\""), "{xml}");

    let checked = home.run(&["check", &file, "-o", "json"]);
    let json: Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!((checked.code, &json["schema_version"]), (4, &1.into()));
    let found = &json["violations"][0];
    assert_eq!((&found["key"], &found["property"]), (&"k".into(), &"linearizability".into()));
    assert_eq!((&found["part"][2]["line"], &found["part"][2]["f"]), (&5.into(), &"read".into()));
    assert_eq!(json["operations"][0]["ok"], 2);

    let checked = home.run(&["check", &file, "-o", "name"]);
    assert_eq!((checked.code, checked.out.as_str()), (4, "k\n"));
}

#[test]
fn transactions_leases_locks_and_watches_are_judged() {
    let home = Home::new();
    let plan = Plan {
        operations: 400,
        unknown_percent: 2,
        keys: 3,
        revisions: true,
        everything: true,
        ..Plan::default()
    };
    let lines: String = generate(&plan).iter().map(|event| event.to_line()).collect();
    let checked = home.run_with(&["check", "-"], lines.as_bytes());
    assert_eq!(checked.code, 0, "{}{}", checked.out, checked.err);
    for f in ["txn", "lease", "lock", "watch"] {
        assert!(checked.out.contains(&format!("\n{f} ")), "{}", checked.out);
    }
    let two = r#"{"process":1,"type":"invoke","f":"lock","key":"door","value":["acquire","a"]}
{"process":1,"type":"ok","f":"lock","key":"door","rev":2}
{"process":2,"type":"invoke","f":"lock","key":"door","value":["acquire","b"]}
{"process":2,"type":"ok","f":"lock","key":"door","rev":3}
"#;
    let xml = home.path().join("report.xml");
    let checked = home.run_with(&["check", "-", "--junit", xml.to_str().unwrap()], two.as_bytes());
    assert_eq!(checked.code, 4, "{}{}", checked.out, checked.err);
    assert!(checked.out.contains("locks of `door` is violated:\n"), "{}", checked.out);
    let xml = std::fs::read_to_string(xml).unwrap();
    assert!(xml.contains("<testsuite name=\"locks\"") && !xml.contains("watches"), "{xml}");
}

#[test]
fn what_cannot_be_decided_ends_with_5_and_is_not_valid() {
    let home = Home::new();
    let checked = home.run_with(&["check", "-", "--max-steps", "5"], valid().as_bytes());
    assert_eq!(checked.code, 5, "{}{}", checked.out, checked.err);
    assert!(checked.out.contains("\nunknown: 1000 operations"), "{}", checked.out);
    assert!(checked.err.contains("3 keys have too many possible orders"), "{}", checked.err);
    let json = home.run_with(&["check", "-", "-o", "json", "--max-steps", "5"], valid().as_bytes());
    let json: Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((&json["verdict"], &json["keys_unknown"]), (&"unknown".into(), &3.into()));
    assert_eq!(json["unknown"][0]["why"], "steps");

    let late = home.run_with(&["check", "-", "--timeout", "1us"], valid().as_bytes());
    assert_eq!(late.code, 5, "{}{}", late.out, late.err);
    assert!(late.err.contains("3 keys were not judged in time"), "{}", late.err);
}

#[test]
fn a_violated_key_is_enough_whatever_is_unknown_of_others() {
    let home = Home::new();
    let stale: String = stale().lines().take(6).map(|line| format!("{line}\n")).collect();
    // Another key, which takes more steps.
    let plan = Plan { operations: 100, ..Plan::default() };
    let others = generate(&plan).into_iter().map(|mut event| {
        event.process += 100;
        event.time = None;
        event.to_line()
    });
    let both = stale + &others.collect::<String>();
    let checked =
        home.run_with(&["check", "-", "-o", "json", "--max-steps", "20"], both.as_bytes());
    let json: Value = serde_json::from_str(&checked.out).unwrap();
    assert_eq!(checked.code, 4, "{json}");
    assert_eq!((&json["verdict"], &json["keys_unknown"]), (&"violation".into(), &1.into()));
}

#[test]
fn what_makes_no_sense_ends_with_2_and_the_line() {
    let home = Home::new();
    let bad = home.run_with(&["check", "-"], format!("{}oops\n", stale()).as_bytes());
    assert_eq!(bad.code, 2);
    assert_eq!(
        bad.err,
        "error: standard input, line 9: this is no JSON: expected value (column 1)\n"
    );
    let mut long = stale().into_bytes();
    long.extend(vec![b'x'; 3 << 20]);
    let long = home.run_with(&["check", "-"], &long);
    assert_eq!(long.code, 2);
    assert!(long.err.contains("line 9: it is longer than 1048576 bytes"), "{}", long.err);
    assert!(home.fails(2, &["check", "/nowhere/history"]).contains("cannot read /nowhere/history"));
}

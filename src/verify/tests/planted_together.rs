//! Faults of transactions, leases and locks, each in the middle of a history that is right.

use std::collections::BTreeMap;

use super::{judged, read};
use crate::verify::judge::{Judged, Property, Violation};

/// A history in shorthand, a step a line: milliseconds, process, and what it asks for (`f key
/// value`, JSON, with `+lease` at the end) or, after `=`, what became of it: `ok`, `ok value`,
/// `no` (mismatch), `info`, each with `@revision` if it had one.
fn story(text: &str) -> String {
    let mut lines = String::new();
    let mut begun: BTreeMap<&str, String> = BTreeMap::new();
    for step in text.lines().map(str::trim).filter(|step| !step.is_empty()) {
        let (millis, rest) = step.split_once(' ').unwrap();
        let (process, what) = rest.split_once(' ').unwrap();
        let nanos = millis.parse::<u64>().unwrap() * 1_000_000;
        let line = match what.strip_prefix("= ") {
            None => {
                let (what, lease) = what.split_once(" +").unwrap_or((what, ""));
                let mut words = what.splitn(3, ' ');
                let (f, key) = (words.next().unwrap(), words.next().unwrap());
                let key = if f == "txn" { String::new() } else { format!(",\"key\":\"{key}\"") };
                let value = words.next().map_or(String::new(), |it| format!(",\"value\":{it}"));
                let lease = if lease.is_empty() {
                    String::new()
                } else {
                    format!(",\"lease\":\"{lease}\"")
                };
                begun.insert(process, format!("\"f\":\"{f}\"{key}"));
                format!("\"type\":\"invoke\",{}{value}{lease}", begun[process])
            }
            Some(ended) => {
                let (ended, rev) = ended.split_once('@').unwrap_or((ended, ""));
                let rev = if rev.is_empty() { String::new() } else { format!(",\"rev\":{rev}") };
                let (kind, more) = match ended.split_once(' ').unwrap_or((ended, "")) {
                    ("no", _) => ("fail", ",\"error\":\"mismatch\"".to_owned()),
                    (kind, "") => (kind, String::new()),
                    (kind, value) => (kind, format!(",\"value\":{value}")),
                };
                format!("\"type\":\"{kind}\",{}{more}{rev}", begun[process])
            }
        };
        lines += &format!("{{\"process\":{process},\"time\":{nanos},{line}}}\n");
    }
    lines
}

fn verdict(text: &str) -> Judged {
    let history = read(&story(text)).unwrap_or_else(|bad| panic!("{text}: {bad}"));
    let mut judged = judged(&history);
    let violated = judged.iter().position(|it| matches!(it, Judged::Violated(_)));
    match violated {
        Some(at) => judged.swap_remove(at),
        None if judged.iter().all(|it| *it == Judged::Valid) => Judged::Valid,
        None => panic!("{text}: {judged:?}"),
    }
}

fn violation(text: &str) -> Violation {
    match verdict(text) {
        Judged::Violated(violation) => *violation,
        other => panic!("{text}: {other:?}"),
    }
}

fn told(text: &str) -> String {
    let story = violation(text).story;
    format!("{}\n{}", story.lines.join("\n"), story.why)
}

/// Two keys that are always changed together, and one who read the one before and the other after.
const TORN: &str = r#"
    0 1 txn - [["write","a","1"],["write","b","1"]]
    1 1 = ok [["write","a","1"],["write","b","1"]]
    2 1 txn - [["check","a","1"],["write","a","2"],["write","b","2"]]
    4 2 txn - [["read","a"],["read","b"]]
    6 1 = ok [["check","a","1"],["write","a","2"],["write","b","2"]]
    7 2 = ok [["read","a","1"],["read","b","2"]]
"#;

#[test]
fn every_kind_of_fault_is_caught() {
    use Property::{Leases, Locks, Revisions, Transactions};
    for (name, property, operations, text) in [
        ("torn", Transactions, 3, TORN),
        (
            "write skew",
            Transactions,
            2,
            r#"0 1 txn - [["check","a",null],["write","b","1"]]
               0 2 txn - [["check","b",null],["write","a","1"]]
               1 1 = ok [["check","a",null],["write","b","1"]]
               1 2 = ok [["check","b",null],["write","a","1"]]"#,
        ),
        (
            "a mismatch where all was as it was checked",
            Transactions,
            1,
            r#"0 1 txn - [["check","a",null],["check","b",null],["write","b","1"]]
               1 1 = no"#,
        ),
        (
            "half of it",
            Transactions,
            2,
            r#"0 1 txn - [["write","a","1"],["write","b","1"]]
               1 1 = ok [["write","a","1"],["write","b","1"]]
               2 2 read b
               3 2 = ok null"#,
        ),
        (
            "its own write is not seen",
            Transactions,
            1,
            r#"0 1 txn - [["write","a","1"],["read","a"]]
               1 1 = ok [["write","a","1"],["read","a",null]]"#,
        ),
        (
            "revisions of transactions",
            Revisions,
            2,
            r#"0 1 txn - [["write","a","1"],["write","b","1"]]
               1 1 = ok [["write","a","1"],["write","b","1"]]@8
               2 2 write b "2"
               3 2 = ok@7"#,
        ),
        (
            "a lease that ends too early",
            Leases,
            3,
            r#"0 1 lease l ["grant",100]
               1 1 = ok
               2 1 write k "v" +l
               3 1 = ok
               50 1 lease l ["keep-alive"]
               51 1 = ok
               148 2 read k
               149 2 = ok null"#,
        ),
        (
            "a key that outlives its lease",
            Leases,
            4,
            r#"0 1 lease l ["grant",100]
               1 1 = ok
               2 1 write k "v" +l
               3 1 = ok
               4 1 lease l ["revoke"]
               5 1 = ok
               6 2 read k
               7 2 = ok "v""#,
        ),
        (
            "kept alive after it was revoked",
            Leases,
            3,
            r#"0 1 lease l ["grant",100]
               1 1 = ok
               4 1 lease l ["revoke"]
               5 1 = ok
               6 2 lease l ["keep-alive"]
               7 2 = ok"#,
        ),
        (
            "gone before its time",
            Leases,
            2,
            r#"0 1 lease l ["grant",100]
               1 1 = ok
               2 2 lease l ["keep-alive"]
               3 2 = no"#,
        ),
        (
            "half of what was attached is gone",
            Leases,
            5,
            r#"0 1 lease l ["grant",10]
               1 1 = ok
               2 1 write a "v" +l
               3 1 = ok
               4 1 write b "v" +l
               5 1 = ok
               30 2 read a
               31 2 = ok null
               32 2 read b
               33 2 = ok "v""#,
        ),
        (
            "two hold it",
            Locks,
            2,
            r#"0 1 lock door ["acquire","a"]
               1 1 = ok@2
               2 2 lock door ["acquire","b"]
               3 2 = ok@3"#,
        ),
        (
            "taken before the lease was over",
            Locks,
            3,
            r#"0 1 lease l ["grant",100]
               1 1 = ok
               2 1 lock door ["acquire","a"] +l
               3 1 = ok@2
               50 2 lock door ["acquire","b"]
               60 2 = ok@4"#,
        ),
        (
            "released, and it was somebody else's",
            Locks,
            3,
            r#"0 1 lock door ["acquire","a"]
               1 1 = ok
               2 1 lock door ["release","a"]
               3 1 = ok
               4 1 lock door ["release","a"]
               5 1 = ok"#,
        ),
        (
            "tokens that go back",
            Revisions,
            2,
            r#"0 1 lock door ["acquire","a"]
               1 1 = ok@9
               2 1 lock door ["release","a"]
               3 1 = ok@10
               4 2 lock door ["acquire","b"]
               5 2 = ok@8"#,
        ),
        (
            "a token that was given out of turn",
            Locks,
            3,
            r#"0 1 lock door ["acquire","a"]
               1 2 lock door ["acquire","b"]
               2 2 = ok@9
               3 2 lock door ["release","b"]
               4 2 = ok
               5 1 = ok@8
               6 1 lock door ["release","a"]
               7 1 = ok"#,
        ),
        (
            "a release that makes no revision",
            Revisions,
            2,
            r#"0 1 lock door ["acquire","a"]
               1 1 = ok@9
               2 1 lock door ["release","a"]
               3 1 = ok@9"#,
        ),
        (
            "a lease of ages that is over at once",
            Leases,
            2,
            r#"0 1 lease l ["grant",288230376151711744]
               1 1 = ok
               2 2 lease l ["keep-alive"]
               3 2 = no"#,
        ),
        (
            "one token for two",
            Revisions,
            2,
            r#"0 1 lock door ["acquire","a"]
               1 2 lock door ["acquire","b"]
               5 1 = ok@9
               6 2 = ok@9"#,
        ),
    ] {
        let found = violation(text);
        assert_eq!(found.property, property, "{name}: {:#?}", found.story);
        assert!(found.part.len() <= operations, "{name}: {:#?}", found.story);
    }
}

#[test]
fn what_looks_like_a_fault_and_is_none_is_valid() {
    for text in [
        // The lease is over, and the door is free.
        r#"0 1 lease l ["grant",100]
           1 1 = ok
           2 1 lock door ["acquire","a"] +l
           3 1 = ok@2
           50 2 lock door ["acquire","b"]
           102 2 = ok@4
           103 1 lock door ["release","a"]
           104 1 = no"#,
        // Nobody knows whether it was kept alive, or granted.
        r#"0 1 lease l ["grant",10]
           1 1 = info
           2 2 write k "v" +l
           3 2 = ok
           8 3 lease l ["keep-alive"]
           9 3 = info
           10 4 read k
           11 4 = ok null"#,
        // Nobody knows whether it was swapped, which took it off its lease.
        r#"0 1 lease l ["grant",100000]
           1 1 = ok
           2 1 write k "a" +l
           3 1 = ok
           4 2 cas k ["a","b"]
           5 1 lease l ["revoke"]
           6 1 = ok
           7 3 read k
           8 3 = ok "b""#,
        // Without times, a lease may end whenever it likes; and a write without it detaches.
        r#"0 1 lease l ["grant",10]
           1 1 = ok
           2 1 write k "v" +l
           3 1 = ok
           4 1 write k "w"
           5 1 = ok
           20 2 lease l ["keep-alive"]
           21 2 = no
           22 2 read k
           23 2 = ok "w""#,
        r#"0 1 txn - [["check","a",null],["check","b","1"],["write","b","2"]]
           1 1 = no
           2 1 txn - [["write","a","1"],["append","a","2"],["read","a"]]
           3 1 = ok [["write","a","1"],["append","a","2"],["read","a","12"]]
           4 1 txn - [["delete","a"],["read","a"]]
           5 1 = ok [["delete","a"],["read","a",null]]"#,
    ] {
        assert_eq!(verdict(text), Judged::Valid, "{text}");
    }
}

#[test]
fn without_times_a_lease_may_end_at_once() {
    let early = r#"0 1 lease l ["grant",100]
        1 1 = ok
        2 1 write k "v" +l
        3 1 = ok
        4 2 read k
        5 2 = ok null"#;
    assert!(matches!(verdict(early), Judged::Violated(_)));
    let timeless: String = story(early)
        .lines()
        .map(|line| {
            let mut line: serde_json::Value = serde_json::from_str(line).unwrap();
            line.as_object_mut().unwrap().remove("time");
            format!("{line}\n")
        })
        .collect();
    assert_eq!(judged(&read(&timeless).unwrap()), [Judged::Valid]);
}

#[test]
fn violations_are_told_as_stories() {
    assert_eq!(
        told(TORN),
        "\
1. process 1 began a transaction (write `1` to a; write `1` to b) at 0.000 s (line 1) and was told \
ok at 0.001 s (line 2)
2. after that, process 1 began a transaction (check a for `1`; write `2` to a; write `2` to b) at \
0.002 s (line 3) and was told ok at 0.006 s (line 5)
3. after 1 had ended, process 2 began a transaction (read a; read b) at 0.004 s (line 4) and was \
told `1`, `2` at 0.007 s (line 6)
There is no order of these, each at one moment between its call and its answer, that explains what \
they were told."
    );
    let text = r#"0 1 lease l ["grant",100]
        1 1 = ok
        2 1 lock door ["acquire","a"] +l
        3 1 = ok@2
        50 2 lock door ["acquire","b"]
        60 2 = ok@4"#;
    assert_eq!(
        told(text),
        "\
1. process 1 wanted lock door for `a` with lease l at 0.002 s (line 3) and was told ok (revision \
2) at 0.003 s (line 4)
2. after that, process 2 wanted lock door for `b` at 0.050 s (line 5) and was told ok (revision \
4) at 0.060 s (line 6)
There is no order of these in which nobody holds the lock door while another does."
    );
}

#[test]
fn what_makes_no_sense_is_refused_with_its_line() {
    for (text, why) in [
        (r#"0 1 lock k ["take","a"]"#, "line 1: a lock needs a \"value\": [\"acquire\",holder] or"),
        (r#"0 1 lease k ["grant",0]"#, "line 1: a lease needs a \"value\": [\"grant\",millisec"),
        (r#"0 1 txn - []"#, "line 1: a txn needs at least one step"),
        (r#"0 1 txn - [["read","a"],["check","a","b"]]"#, "line 1: step 2: checks stand first"),
        (r#"0 1 txn - [["write","a",7]]"#, "line 1: step 1: it is [\"check\",key,value], ["),
        (
            r#"0 1 watch k {"prefix":true}"#,
            "line 1: a watch needs a \"value\": {\"from\":revision}",
        ),
        (r#"0 1 delete k +l"#, "line 1: a delete attaches nothing to a \"lease\""),
        (
            "0 1 watch k {\"from\":2}\n1 1 = ok {\"events\":[[1]]}",
            "line 2: a watch that is ok needs a \"value\": {\"events\":[[revision,key,value],…],",
        ),
        (
            "0 1 txn - [[\"read\",\"a\"]]\n1 1 = ok",
            "line 2: a txn that is ok repeats its steps, and of each read says what it found",
        ),
        (
            "0 1 txn - [[\"read\",\"a\"]]\n1 1 = ok [[\"read\",\"b\",null]]",
            "line 2: the value is not that of the invocation on line 1",
        ),
        (
            "0 1 txn - [[\"read\",\"a\"]]\n1 1 = no",
            "line 2: a txn without a check cannot be a mismatch",
        ),
        (
            "0 1 lease k [\"grant\",5]\n1 1 = ok\n2 1 lease k [\"grant\",5]",
            "line 3: this lease was granted on line 1 already: another one needs a new name",
        ),
    ] {
        let error = read(&story(text)).expect_err(text).to_string();
        assert!(error.starts_with(why), "{error}");
    }
    let error = read(r#"{"process":1,"type":"invoke","f":"read"}"#).expect_err("of what?");
    assert_eq!(error.to_string(), "line 1: a read needs a \"key\"");
}

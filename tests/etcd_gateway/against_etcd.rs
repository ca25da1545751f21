//! The same requests to a real etcd and to a node, answer by answer.

use http::Method;
use serde_json::Value;

use super::cases::{CASES, Same};
use super::client::{Answer, Web};
use super::reference::Reference;

/// The store's revision.
fn revision(web: &Web) -> u64 {
    let answer = web.post("/v3/kv/range", r#"{"key":"AA=="}"#);
    let answer: Value = serde_json::from_str(&answer.text).unwrap();
    answer["header"]["revision"].as_str().unwrap().parse().unwrap()
}

/// With revisions counted from `base`, and without what is each cluster's own.
fn common(text: &str, base: u64) -> String {
    let mut common = String::new();
    let mut rest = text;
    while let Some(begin) = rest.find("\":\"") {
        let (before, after) = rest.split_at(begin + 3);
        common.push_str(before);
        let (value, after) = after.split_at(after.find('"').unwrap_or(after.len()));
        let name = before[..begin].rsplit('"').next().unwrap_or_default();
        match (name, value.parse::<u64>()) {
            ("cluster_id" | "member_id" | "raft_term", Ok(_)) => common.push('*'),
            ("revision" | "create_revision" | "mod_revision", Ok(revision)) => {
                common.push_str(&format!("@{}", revision - base));
            }
            _ => common.push_str(value),
        }
        rest = after;
    }
    common + rest
}

/// `@3` becomes the third revision after `base`.
fn placed(text: &str, base: u64) -> String {
    (1..=9).fold(text.to_owned(), |text, number: u64| {
        text.replace(&format!("@{number}"), &(base + number).to_string())
    })
}

/// Not among them: how an answer is cut. etcd's errors come in chunks.
const HEADERS: [&str; 5] = [
    "content-type",
    "allow",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
];

#[test]
fn a_node_answers_as_etcd_does() {
    let etcd = Reference::start(1, &[]);
    let (_home, nodes) = super::cluster(1);
    let (theirs, ours) = (&Web::at(&etcd.addresses[0]), &nodes[0]);
    let bases = (revision(theirs), revision(ours));
    let mut different = Vec::new();
    for (method, path, body, same) in CASES {
        let verb = Method::from_bytes(method.as_bytes()).unwrap();
        let ask = |web: &Web, base| web.ask(&verb, path, &placed(body, base)).unwrap();
        let (theirs, ours) = (ask(theirs, bases.0), ask(ours, bases.1));
        let text = |answer: &Answer, base| match same {
            Same::All => common(&answer.text, base),
            Same::Code => {
                let answer: Value = serde_json::from_str(&answer.text).unwrap();
                assert!(answer["error"] == answer["message"] && answer["error"].is_string());
                answer["code"].to_string()
            }
        };
        let (text_of_theirs, text_of_ours) = (text(&theirs, bases.0), text(&ours, bases.1));
        let headers = |answer: &Answer| {
            HEADERS.iter().map(|name| answer.header(name).to_owned()).collect::<Vec<_>>()
        };
        if theirs.status != ours.status
            || text_of_theirs != text_of_ours
            || headers(&theirs) != headers(&ours)
        {
            different.push(format!(
                "{method} {path} {body}\n  etcd: {} {text_of_theirs} {:?}\n  ours: {} \
                 {text_of_ours} {:?}",
                theirs.status,
                headers(&theirs),
                ours.status,
                headers(&ours)
            ));
        }
    }
    assert!(CASES.len() > 60 && different.is_empty(), "{}", different.join("\n"));
}

#[test]
fn the_comparison_sees_what_differs() {
    let ours =
        r#"{"header":{"cluster_id":"7","revision":"12"},"kvs":[{"key":"7","mod_revision":"11"}]}"#;
    let theirs =
        r#"{"header":{"cluster_id":"9","revision":"3"},"kvs":[{"key":"7","mod_revision":"2"}]}"#;
    let both =
        r#"{"header":{"cluster_id":"*","revision":"@2"},"kvs":[{"key":"7","mod_revision":"@1"}]}"#;
    assert_eq!((common(ours, 10), common(theirs, 1)), (both.to_owned(), both.to_owned()));
    assert_ne!(common(ours, 10), common(ours, 9));
    assert_eq!(placed(r#"{"revision":"@2"}"#, 40), r#"{"revision":"42"}"#);
}

//! What Prometheus finds at a living cluster's nodes and supervisor.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use kvctl_home::{Home, wait_until};

mod kvctl_home;

/// Who shows metrics, and where: each node, and the supervisor.
fn places(home: &Home) -> Vec<(String, String)> {
    let status = home.json(&["cluster", "status"]);
    let nodes =
        status["nodes"].as_array().unwrap().iter().map(|node| {
            (format!("node {}", node["node"]), node["http"].as_str().unwrap().to_owned())
        });
    let supervisor = status["http_address"].as_str().unwrap().to_owned();
    nodes.chain([("the supervisor".to_owned(), supervisor)]).collect()
}

fn scrape(address: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200"), "{head}");
    body.to_owned()
}

/// Names with their labels.
fn series(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    samples.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
}

/// Everything of which something is counted.
fn live(home: &Home) {
    home.ok(&["put", "k", "v"]);
    home.ok(&["get", "k"]);
    home.ok(&["get", "k", "--stale"]);
    home.ok(&["lease", "grant", "60s"]);
    home.ok(&["put", "k", "w"]);
    let revision = home.json(&["get", "k"])["revision"].to_string();
    home.ok(&["del", "k"]);
    home.ok(&["compact", &revision]);
    home.ok(&["snapshot", "now"]);
    home.ok(&["leader", "transfer"]);
    home.ok(&["node", "kill", "leader"]);
    home.ok(&["cluster", "wait"]);
    home.ok(&["chaos", "pause", "leader"]);
    home.ok(&["put", "k", "v"]);
    home.ok(&["chaos", "heal"]);
    home.ok(&["cluster", "wait"]);
    home.ok(&["chaos", "delay", "5ms", "--links", "1-2"]);
    home.ok(&["chaos", "isolate", "3"]);
    home.ok(&["put", "k", "v"]);
}

#[test]
fn every_series_is_there_before_its_first_event() {
    let home = Home::with(3);
    let shown = |home: &Home| -> Vec<_> {
        places(home).into_iter().map(|(who, at)| (who, series(&scrape(&at)))).collect()
    };
    let before = shown(&home);
    live(&home);
    home.ok(&["chaos", "heal"]);
    home.ok(&["cluster", "wait"]);
    for ((who, before), (_, after)) in before.iter().zip(shown(&home)) {
        let new: Vec<_> = after.difference(before).collect();
        assert!(new.is_empty(), "{who} shows what it did not show before: {new:#?}");
        let gone: Vec<_> = before.difference(&after).collect();
        assert!(gone.is_empty(), "{who} shows no more: {gone:#?}");
    }
}

#[test]
fn prometheus_own_linter_has_nothing_to_say() {
    let home = Home::with(3);
    live(&home);
    let promtool = std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into());
    for (who, at) in &places(&home) {
        let mut check = Command::new(&promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("promtool is part of Debian's package prometheus; or name one: PROMTOOL");
        check.stdin.take().unwrap().write_all(scrape(at).as_bytes()).unwrap();
        let ended = kvctl_home::ended(check.wait_with_output().unwrap());
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "of {who}: {}", ended.out);
    }
}

#[test]
fn faults_and_lag_are_seen_where_they_are() {
    let home = Home::with(3);
    let leader = home.leader();
    let follower = (1..=3).find(|id| *id != leader).unwrap();
    home.ok(&["chaos", "pause", &follower.to_string()]);
    home.ok(&["put", "k", "v"]);
    let places = places(&home);
    let (of_leader, supervisor) = (&places[leader as usize - 1].1, &places[3].1);
    wait_until("the lag is not seen", || {
        let text = scrape(of_leader);
        let lag = |unit| format!("kvraft_peer_lag_{unit}{{peer=\"{follower}\"}}");
        value(&text, &lag("entries")) >= 1.0 && value(&text, &lag("seconds")) > 0.3
    });
    let text = scrape(supervisor);
    let active = format!("kvraft_chaos_fault_active{{kind=\"pause\",target=\"{follower}\"}}");
    assert_eq!(value(&text, &active), 1.0);
    assert_eq!(value(&text, "kvraft_chaos_faults{kind=\"pause\"}"), 1.0);
    assert_eq!(value(&text, "kvraft_chaos_injections_total{kind=\"pause\"}"), 1.0);
    home.ok(&["chaos", "heal"]);
    wait_until("the follower does not catch up", || {
        let text = scrape(of_leader);
        value(&text, &format!("kvraft_peer_lag_entries{{peer=\"{follower}\"}}")) == 0.0
    });
    let text = scrape(supervisor);
    assert_eq!(value(&text, &active), 0.0);
    assert_eq!(value(&text, "kvraft_chaos_injections_total{kind=\"pause\"}"), 1.0);
}

#[test]
fn a_trial_of_the_cluster_is_counted_by_its_verdict() {
    let home = Home::with(3);
    let tried = home.run(&["verify", "--duration", "2s", "--reads", "stale", "--seed", "3"]);
    let verdict = match tried.code {
        0 => "valid",
        4 => "violation",
        code => panic!("{code}: {}{}", tried.out, tried.err),
    };
    let text = scrape(&places(&home)[3].1);
    assert_eq!(value(&text, &format!("kvraft_verify_trials_total{{verdict=\"{verdict}\"}}")), 1.0);
    let violated: f64 = series(&text)
        .iter()
        .filter(|it| it.starts_with("kvraft_verify_violations_total"))
        .map(|it| value(&text, it))
        .sum();
    assert_eq!(violated > 0.0, verdict == "violation");
    let events = home.ok(&["cluster", "events"]);
    assert!(events.contains(&format!("trial-{verdict}")), "{events}");
}

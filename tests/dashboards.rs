//! Dashboards, rules and alerts: each expression is executed by a real Prometheus that asks a real
//! cluster, on which something is broken.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kvctl_home::{Home, wait_until};
use prometheus_api::Prometheus;
use serde_json::Value;

mod kvctl_home;
mod prometheus_api;

/// Every dashboard, by the name of its file.
fn dashboards() -> BTreeMap<String, Value> {
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards");
    let files = fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    files
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let text = fs::read_to_string(&path).unwrap();
            (name, serde_json::from_str(&text).unwrap())
        })
        .collect()
}

/// All panels, those within rows too; the rows themselves left out.
fn panels(dashboard: &Value) -> Vec<&Value> {
    let mut all = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        match panel["type"].as_str() {
            Some("row") => all.extend(panel["panels"].as_array().into_iter().flatten()),
            _ => all.push(panel),
        }
    }
    all
}

/// As Grafana would send it.
fn filled_in(expression: &str) -> String {
    let values = [
        ("$__rate_interval", "10s"),
        ("$__interval", "1s"),
        ("$__range", "60s"),
        ("$cluster", "default"),
        ("$node", ".*"),
    ];
    let mut text = expression.to_owned();
    for (variable, value) in values {
        text = text.replace(variable, value);
    }
    assert!(!text.contains('$'), "a variable that is not known: {text}");
    text
}

fn text<'v>(value: &'v Value, what: &str) -> &'v str {
    value.as_str().unwrap_or_else(|| panic!("{what}: {value}"))
}

#[test]
fn dashboards_can_be_imported_anywhere_and_speak_one_language() {
    let mut uids = BTreeSet::new();
    for (file, dashboard) in dashboards() {
        assert!(uids.insert(text(&dashboard["uid"], &file).to_owned()), "{file}: its uid is used");
        assert!(dashboard["id"].is_null(), "{file} has a fixed id");
        assert!(dashboard["tags"].as_array().unwrap().contains(&"kvraft".into()), "{file}");
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        let names: Vec<_> = variables.iter().map(|it| text(&it["name"], &file)).collect();
        assert!(names.starts_with(&["datasource", "cluster"]), "{file}: {names:?}");
        let links = dashboard["links"].as_array().unwrap();
        assert!(links.iter().any(|link| link["type"] == "dashboards"), "{file} leads nowhere");
        let mut ids = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = format!("{file}, {}", text(&panel["title"], &file));
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id is used");
            let description = text(&panel["description"], &title);
            assert!(description.contains("Good"), "{title} does not say what is good");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            for target in panel["targets"].as_array().unwrap() {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{title}");
                let expression = text(&target["expr"], &title);
                assert!(expression.contains("$cluster"), "{title}: of which cluster? {expression}");
            }
        }
    }
    assert!(uids.len() >= 5, "{uids:?}");
}

/// A program that ends with it.
struct Ending(Child);

impl Drop for Ending {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A cluster with Prometheus beside it, to which all happens that a panel shows.
fn lively() -> (Home, Prometheus) {
    let home = Home::with(3);
    home.ok(&["ops", "up", "--no-grafana", "--windows", "short"]);
    let prometheus = Prometheus::beside(&home);
    wait_until("Prometheus does not ask everybody", || prometheus.healthy().len() == 4);
    (home, prometheus)
}

fn happen(home: &Home) {
    home.ok(&["bench", "--op", "mixed", "--clients", "4", "--duration", "2s", "--warm-up", "0s"]);
    home.ok(&[
        "bench",
        "--op",
        "stale-get",
        "--clients",
        "4",
        "--duration",
        "1s",
        "--warm-up",
        "0s",
    ]);
    home.ok(&["lease", "grant", "60s"]);
    home.ok(&["snapshot", "now"]);
    home.ok(&["chaos", "delay", "5ms", "--links", "1-2"]);
    home.ok(&["chaos", "pause", "leader"]);
    home.ok(&["put", "k", "v"]);
    home.ok(&["chaos", "heal"]);
    home.ok(&["node", "kill", "leader"]);
    home.ok(&["cluster", "wait"]);
    home.ok(&["chaos", "loss", "20%", "--links", "1-3"]);
    home.ok(&["bench", "--op", "put", "--clients", "4", "--duration", "2s", "--warm-up", "0s"]);
}

/// Every expression of every panel, and where it stands.
fn expressions() -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (file, dashboard) in dashboards() {
        for panel in panels(&dashboard) {
            for target in panel["targets"].as_array().unwrap() {
                let expression = filled_in(text(&target["expr"], &file));
                all.push((format!("{file}, {}", panel["title"]), expression));
            }
        }
    }
    all
}

fn finds(prometheus: &Prometheus, expression: &str) -> bool {
    prometheus.query(expression).as_array().is_some_and(|it| !it.is_empty())
}

#[test]
fn every_expression_of_every_panel_finds_its_data() {
    let (home, prometheus) = lively();
    happen(&home);
    let mut empty = expressions();
    assert!(empty.len() > 100, "{}", empty.len());
    empty.retain(|(_, expression)| !finds(&prometheus, expression));
    // What is left shows what is not told, or that somebody is away.
    home.ok(&["chaos", "heal"]);
    let mut drill = home.command(&["chaos", "drill", "--within", "1s", "--patience", "1m"]);
    drill.args(["--exercise", "dead-follower", "--seed", "1"]);
    let drill = drill.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let _drill = Ending(drill);
    wait_until("the drill does not begin", || {
        finds(&prometheus, "kvraft_chaos_faults{kind=\"hidden\"} > 0")
    });
    // Each target is asked at its own moment: what one tells of it, another tells a little later.
    let deadline = Instant::now() + Duration::from_secs(20);
    while !empty.is_empty() {
        assert!(Instant::now() < deadline, "{} find nothing: {empty:#?}", empty.len());
        std::thread::sleep(Duration::from_millis(100));
        empty.retain(|(_, expression)| !finds(&prometheus, expression));
    }
}

#[test]
fn every_variable_has_values_and_every_annotation_is_understood() {
    let (home, prometheus) = lively();
    home.ok(&["put", "k", "v"]);
    for (file, dashboard) in dashboards() {
        let variables = dashboard["templating"]["list"].as_array().unwrap();
        for variable in variables.iter().filter(|it| it["type"] == "query") {
            let query = &variable["query"];
            let query = query["query"].as_str().or(query.as_str()).unwrap();
            let inner = query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap();
            let (series, label) = inner.rsplit_once(',').unwrap();
            let found = prometheus.query(&filled_in(series));
            let has = |it: &Value| it["metric"][label.trim()].is_string();
            assert!(found.as_array().unwrap().iter().any(has), "{file}: {query}");
        }
        let annotations = dashboard["annotations"]["list"].as_array().unwrap();
        let annotations = annotations.iter().filter_map(|it| it["target"]["expr"].as_str());
        assert!(annotations.clone().count() > 0, "{file} draws no faults");
        annotations.for_each(|it| drop(prometheus.query(&filled_in(it))));
    }
}

#[test]
fn every_rule_and_alert_is_evaluated_without_a_fault() {
    let (home, prometheus) = lively();
    happen(&home);
    let rules = prometheus.get("/api/v1/rules");
    let groups = rules["groups"].as_array().unwrap();
    let rules: Vec<_> = groups.iter().flat_map(|it| it["rules"].as_array().unwrap()).collect();
    assert!(rules.len() > 25, "{}", rules.len());
    for rule in rules {
        let name = text(&rule["name"], "a rule");
        assert_eq!(rule["health"], "ok", "{name}: {}", rule["lastError"]);
        if rule["type"] == "recording" {
            let found = prometheus.query(name);
            assert!(found.as_array().is_some_and(|it| !it.is_empty()), "{name} has no data");
        }
    }
}

/// promtool's unit tests: each alert fires when it must, and not in the nearest harmless case.
#[test]
fn alerts_fire_when_they_must_and_only_then() {
    let promtool = std::env::var_os("PROMTOOL").unwrap_or_else(|| "promtool".into());
    let place = concat!(env!("CARGO_MANIFEST_DIR"), "/ops/prometheus");
    let tests: Vec<_> = fs::read_dir(format!("{place}/tests"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|it| it == "yml"))
        .collect();
    assert!(!tests.is_empty());
    let run = |arguments: &[&str], files: &[std::path::PathBuf]| {
        let output = Command::new(&promtool).args(arguments).args(files).output();
        let ended = kvctl_home::ended(output.expect("promtool is part of Debian's prometheus"));
        assert_eq!(ended.code, 0, "{}{}", ended.out, ended.err);
    };
    run(
        &["check", "rules"],
        &[place.to_owned() + "/rules.yml", place.to_owned() + "/alerts.yml"].map(Into::into),
    );
    run(&["test", "rules"], &tests);
    // Each has its cases, and its page.
    let alerts = fs::read_to_string(format!("{place}/alerts.yml")).unwrap();
    let cases: String = tests.iter().map(|path| fs::read_to_string(path).unwrap()).collect();
    let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for name in names {
        let count = cases.matches(&format!("alertname: {name}\n")).count();
        assert!(
            count >= 2,
            "{name} has {count} cases: one in which it fires, and one in which not"
        );
    }
    for page in alerts.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")) {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/").to_owned() + page.trim_matches('"');
        assert!(fs::exists(&page).unwrap(), "there is no {page}");
    }
}

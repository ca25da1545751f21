//! `kvctl ops`: a real Prometheus beside a living cluster.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;

use kvctl_home::{Home, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use prometheus_api::Prometheus;
use serde_json::Value;

mod kvctl_home;
mod prometheus_api;

fn side_car(home: &Home) -> Value {
    let status = home.json(&["ops", "status"]);
    assert_eq!(status["side_cars"].as_array().unwrap().len(), 1, "{status}");
    status["side_cars"][0].clone()
}

fn pid(process: &Value) -> i64 {
    process["pid"].as_i64().unwrap()
}

fn end(pid: i64) {
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGKILL).unwrap();
}

/// A dead process whose parent does not look is still listed.
fn lives(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn is_back(home: &Home, old: i64) -> bool {
    let it = side_car(home);
    it["state"] == "running" && pid(&it) != old
}

#[test]
fn prometheus_asks_everybody_and_follows_the_members() {
    let home = Home::with(1);
    home.ok(&["ops", "up", "--no-grafana"]);
    let prometheus = Prometheus::beside(&home);
    let asks = |whom: &[&str]| {
        let whom: BTreeSet<String> = whom.iter().map(|it| it.to_string()).collect();
        wait_until(&format!("Prometheus does not ask {whom:?}"), || prometheus.healthy() == whom);
    };
    asks(&["1", "supervisor"]);
    home.ok(&["member", "add"]);
    asks(&["1", "2", "supervisor"]);
    home.ok(&["member", "remove", "2"]);
    asks(&["1", "supervisor"]);
}

#[test]
fn what_stands_beside_the_cluster_lives_and_ends_with_it() {
    let home = Home::with(1);
    assert!(home.run(&["ops", "status"]).err.contains("kvctl ops up"));
    home.ok(&["ops", "up", "--no-grafana"]);
    let first = side_car(&home);
    // It dies, and comes back.
    end(pid(&first));
    wait_until("it does not come back", || is_back(&home, pid(&first)));
    let second = side_car(&home);
    assert_eq!(second["restarts"], 1);
    assert_eq!(second["address"], first["address"]);
    // The supervisor dies, and the next one finds it.
    end(home.json(&["cluster", "status"])["supervisor_pid"].as_i64().unwrap());
    wait_until("it is not adopted", || side_car(&home)["state"] == "running");
    assert_eq!(pid(&side_car(&home)), pid(&second));
    // It goes with the cluster, and comes with it.
    home.ok(&["cluster", "down"]);
    assert!(!lives(pid(&second)));
    home.ok(&["cluster", "up"]);
    wait_until("it does not come with the cluster", || is_back(&home, pid(&second)));
    // It remembers.
    let prometheus = Prometheus::beside(&home);
    assert!(prometheus.query("count_over_time(kvraft_term[1h])").is_array());
    let third = side_car(&home);
    home.ok(&["ops", "down"]);
    assert!(!lives(pid(&third)));
    assert_eq!(home.json(&["ops", "status"])["side_cars"], Value::Array(Vec::new()));
}

#[test]
fn a_program_that_is_not_there_or_does_not_run_is_told_with_what_to_do() {
    let home = Home::with(1);
    let mut command = home.command(&["ops", "up"]);
    command.env_remove("PROMETHEUS").env("PATH", "/nowhere");
    let ended = kvctl_home::ended(command.output().unwrap());
    assert_eq!(ended.code, 2);
    assert!(ended.err.contains("make ops") && ended.err.contains("--prometheus"), "{}", ended.err);
    let said = home.fails(2, &["ops", "up", "--prometheus", "/nowhere/prometheus"]);
    assert!(said.contains("/nowhere/prometheus"), "{said}");
    // One that ends at once is shown with its last words.
    let program = home.path().join("grafana-server");
    fs::write(&program, "#!/bin/sh\necho this is no Grafana, $2 >&2\nexit 3\n").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let ended = home.run(&["ops", "up", "--grafana", program.to_str().unwrap()]);
    assert_eq!(ended.code, 1, "{}{}", ended.out, ended.err);
    assert!(ended.out.contains("prometheus  running"), "{}", ended.out);
    assert!(ended.out.contains("grafana     backing-off"), "{}", ended.out);
    assert!(ended.err.contains("exit code 3: this is no Grafana"), "{}", ended.err);
    // What it would have been told.
    let place = home.path().join("default/ops/grafana");
    assert!(ended.err.contains(place.join("grafana.ini").to_str().unwrap()), "{}", ended.err);
    let source = fs::read_to_string(place.join("provisioning/datasources/kvraft.yaml")).unwrap();
    let address = Prometheus::beside(&home).address;
    assert!(source.contains(&format!("url: http://{address}")), "{source}");
}

/// A program that does of Grafana's work what the supervisor sees of it: it reads where to listen
/// from its configuration, and says there that it is well. (Perl is a part of every Debian.)
const GRAFANA: &str = r#"#!/usr/bin/perl
use strict;
use IO::Socket::INET;
my ($config) = grep { /grafana.ini$/ } @ARGV;
open(my $ini, '<', $config) or die "no $config";
my ($port) = map { /^http_port\s*=\s*(\d+)/ ? $1 : () } <$ini>;
my $door = IO::Socket::INET->new(
    LocalAddr => '127.0.0.1', LocalPort => $port, Listen => 5, ReuseAddr => 1,
) or die "cannot listen at $port: $!";
while (my $guest = $door->accept) {
    my $asked = <$guest>;
    while (<$guest>) { last if /^\r?\n$/ }
    my $answer = $asked =~ m{^GET /api/health } ? '200 OK' : '404 Not Found';
    print $guest "HTTP/1.1 $answer\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    close $guest;
}
"#;

#[test]
fn grafana_runs_once_it_is_well_outlives_its_supervisor_and_ends_with_the_cluster() {
    let home = Home::with(1);
    let program = home.path().join("grafana-server");
    fs::write(&program, GRAFANA).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    home.ok(&["ops", "up", "--grafana", program.to_str().unwrap()]);
    let grafana = || home.json(&["ops", "status"])["side_cars"][1].clone();
    let first = grafana();
    assert_eq!((&first["name"], &first["state"]), (&"grafana".into(), &"running".into()));
    end(pid(&first));
    let is_back = || grafana()["state"] == "running" && pid(&grafana()) != pid(&first);
    wait_until("it does not come back", is_back);
    let second = grafana();
    assert_eq!((&second["restarts"], &second["address"]), (&1.into(), &first["address"]));
    end(home.json(&["cluster", "status"])["supervisor_pid"].as_i64().unwrap());
    wait_until("it is not adopted", || grafana()["state"] == "running");
    assert_eq!(pid(&grafana()), pid(&second));
    home.ok(&["cluster", "down"]);
    assert!(!lives(pid(&second)));
}

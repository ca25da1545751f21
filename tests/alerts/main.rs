//! Each alert is made to fire on a living cluster by a real fault, and is over when that is mended.
//! Prometheus beside the cluster looks at seconds here where it otherwise looks at minutes.

#[path = "../kvctl_home/mod.rs"]
mod kvctl_home;
#[path = "../prometheus_api/mod.rs"]
mod prometheus_api;
mod watched;

mod clients;
mod data;
mod disks;
mod members;
mod quorum;
mod replication;
mod rolled_back;

#[test]
fn no_alert_is_left_out() {
    let alerts = include_str!("../../ops/prometheus/alerts.yml");
    let sources = [
        include_str!("clients.rs"),
        include_str!("data.rs"),
        include_str!("disks.rs"),
        include_str!("members.rs"),
        include_str!("quorum.rs"),
        include_str!("replication.rs"),
        include_str!("rolled_back.rs"),
    ];
    let names = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    for name in names {
        let short = format!("\"{}\"", name.strip_prefix("Kvraft").unwrap());
        let tried = sources.iter().any(|source| source.contains(&short));
        assert!(tried, "no test makes {name} fire");
    }
}

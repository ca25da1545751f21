//! Transactions, leases, locks and watches under faults, by etcd's API, on a living cluster.

mod kvctl_home;

use kvctl_home::Home;
use serde_json::Value;

fn of<'j>(json: &'j Value, list: &str, name: &str, is: &str) -> &'j Value {
    let found = json[list].as_array().unwrap().iter().find(|it| it[name] == is);
    found.unwrap_or_else(|| panic!("no {is} in {list}: {json:#}"))
}

#[test]
fn transactions_leases_locks_and_watches_hold_under_faults() {
    let home = Home::with(3);
    let json = home.json(&[
        "verify",
        "--duration",
        "12s",
        "--seed",
        "5",
        "--workloads",
        "register,txn,lease,lock,lock-service,watch",
        "--faults",
        "partition,isolate,kill,pause,delay",
    ]);
    assert_eq!(json["verdict"], "valid", "{json:#}");
    for f in ["write", "txn", "lease", "lock", "watch"] {
        let done = of(&json, "operations", "f", f)["ok"].as_u64().unwrap();
        assert!(done > 0, "{f}");
    }
    for name in ["leases", "watches", "recovery", "final reads"] {
        assert_eq!(of(&json, "expectations", "name", name)["held"], "yes", "{json:#}");
    }
    let number = |name: &str| json["watches"][name].as_u64().unwrap();
    assert!(number("watches") >= 6 && number("events") > 1_000, "{json:#}");
    // The same is in the file, and can be judged by itself.
    let again = home.json(&["check", json["history"]["path"].as_str().unwrap()]);
    assert_eq!(again["verdict"], "valid");
    assert_eq!(again["operations"], json["operations"]);
}

#[test]
fn watches_alone_are_refused_for_there_is_nothing_to_watch() {
    let home = Home::with(1);
    let said = home.fails(2, &["verify", "--workloads", "watch"]);
    assert!(said.contains("name another kind beside them"), "{said}");
}
    // Locks of the service were got, with tokens.
    let history = std::fs::read_to_string(json["history"]["path"].as_str().unwrap()).unwrap();
    let lines = history.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let got = lines.filter(|line| {
        let is_service = line["key"].as_str().is_some_and(|key| key.starts_with("lock-service/"));
        is_service && line["f"] == "lock" && line["type"] == "ok" && line["rev"].is_u64()
    });
    assert!(got.count() > 0, "{json:#}");

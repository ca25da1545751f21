//! What operators do with kvctl: members, the leadership, backups, and the loss of a quorum.

mod kvctl_home;

use std::fs;

use kvctl_home::Home;
use serde_json::Value;

/// Writes keys `k0` to `k<n>`.
fn fill(home: &Home, keys: u32) {
    let mut text = String::new();
    (0..keys).for_each(|i| text.push_str(&format!("{{\"key\":\"k{i}\",\"value\":\"v{i}\"}}\n")));
    let imported = home.run_with(&["import", "-"], text.as_bytes());
    assert_eq!(imported.code, 0, "{}", imported.err);
}

#[test]
fn members_and_leaders_are_named_and_what_cannot_be_is_refused() {
    let home = Home::with(3);
    let listed = home.json(&["member", "list"]);
    let members = listed["members"].as_array().unwrap();
    assert_eq!(members.len(), 3);
    for member in members {
        assert_eq!((&member["role"], &member["standing"]), (&"voter".into(), &"member".into()));
        assert_eq!(
            (&member["state"], &member["retired_since_millis"]),
            (&"running".into(), &Value::Null)
        );
    }
    let leader = listed["leader"].to_string();
    assert!(home.ok(&["member", "list"]).contains("voter (leader)"));
    assert_eq!(home.ok(&["member", "list", "-o", "name"]), "1\n2\n3\n");
    for (code, arguments, says) in [
        (1, &["member", "promote", "1"][..], "has a vote already"),
        (2, &["member", "remove", "9"], "there is no node 9"),
        (2, &["member", "add", "--id", "9"], "there is no node 9"),
        (1, &["member", "add", "--id", "2"], "was added already"),
        (2, &["leader", "transfer", "9"], "there is no node 9"),
        (1, &["leader", "transfer", &leader], "leads already"),
        (2, &["snapshot", "now", "--node", "9"], "there is no node 9"),
    ] {
        let err = home.fails(code, arguments);
        assert!(err.contains(says) && err.contains("next: "), "{arguments:?}: {err}");
    }
    // Without a majority among the rest, nobody can be spared.
    let down = if leader == "3" { "2" } else { "3" };
    home.ok(&["node", "stop", down]);
    let spared = if leader == "1" { "2" } else { "1" };
    let spared = if spared == down { "3" } else { spared };
    let err = home.fails(1, &["member", "remove", spared]);
    assert!(err.contains(&format!("start or remove node {down} first")), "{err}");
    for command in ["add", "promote", "remove"] {
        home.fails(2, &["member", command, "--timeout", "nothing"]);
    }
}

#[test]
fn a_member_comes_and_another_goes_and_the_history_tells() {
    let home = Home::with(3);
    fill(&home, 100);
    let added = home.json(&["member", "add"]);
    assert_eq!((&added["node"], &added["role"]), (&4.into(), &"voter".into()));
    assert!(home.ok(&["member", "add", "--learner"]).contains("node 5 added as a learner"));
    assert!(home.ok(&["member", "promote", "5"]).starts_with("node 5 votes"));
    // Whoever leads at that moment.
    let leader = home.json(&["member", "remove", "leader"])["node"].to_string();
    let err = home.fails(2, &["node", "start", &leader]);
    assert!(err.contains(&format!("node {leader} was removed")), "{err}");
    let listed = home.json(&["member", "list"]);
    let members = listed["members"].as_array().unwrap();
    let role = |id: &str| members.iter().find(|it| it["node"].to_string().as_str() == id).unwrap();
    assert_eq!(role(&leader)["role"], "retired");
    assert_eq!(role("5")["role"], "voter");
    assert_eq!(home.ok(&["member", "list", "-o", "name"]).lines().count(), 4);
    home.ok(&["member", "remove", &leader, "--purge"]);
    assert!(!home.path().join("default/nodes").join(&leader).exists());
    // All of it is still known after a night.
    home.ok(&["cluster", "down"]);
    let err = home.fails(2, &["cluster", "up", "-n", "4"]);
    assert!(err.contains("exists with -n 3") && err.contains("kvctl member add"), "{err}");
    home.ok(&["cluster", "up"]);
    assert_eq!(home.ok(&["get", "k99", "--node", "5"]), "v99\n");
    let leads = home.json(&["member", "list"])["leader"].as_u64();
    let to = members
        .iter()
        .map(|it| it["node"].as_u64())
        .find(|node| *node != leads && node.is_some_and(|node| node.to_string() != leader));
    let to = to.flatten().unwrap();
    let handover = home.json(&["leader", "transfer", &to.to_string()]);
    assert_eq!((&handover["to"], handover["took_millis"].is_u64()), (&to.into(), true));
    let restarted = home.run(&["cluster", "restart"]);
    assert_eq!(restarted.code, 0, "{}", restarted.err);
    assert!(!restarted.err.contains("is restarted as the leader"), "{}", restarted.err);
    let events = home.json(&["cluster", "events", "-n", "200"]);
    let events = events["events"].as_array().unwrap();
    for kind in ["member-added", "member-promoted", "member-removed", "leadership-transferred"] {
        assert!(events.iter().any(|event| event["kind"] == kind), "{kind}: {events:?}");
    }
}

#[test]
fn a_backup_becomes_a_cluster_of_its_own() {
    let home = Home::with(3);
    fill(&home, 500);
    let taken = home.json(&["snapshot", "now"]);
    assert_eq!(taken["taken"].as_array().unwrap().len(), 3);
    home.ok(&["put", "last", "acknowledged before the backup"]);
    let file = home.path().join("backup.snap");
    let file = file.to_str().unwrap();
    let saved = home.json(&["snapshot", "save", file]);
    assert_eq!(saved["bytes"], fs::metadata(file).unwrap().len());
    let beside = fs::read_dir(home.path()).unwrap().map(|it| it.unwrap().file_name());
    assert!(beside.filter(|name| name.to_string_lossy().ends_with(".tmp")).count() == 0);
    let err = home.fails(2, &["snapshot", "save", file]);
    assert!(err.contains("exists") && err.contains("--force"), "{err}");
    home.ok(&["snapshot", "save", file, "--force", "--node", "2"]);
    let inspected = home.json(&["snapshot", "inspect", file]);
    assert_eq!((&inspected["keys"], &inspected["revision"]), (&501.into(), &502.into()));

    let restored = home.json(&["snapshot", "restore", file, "--name", "new", "-n", "3"]);
    assert_eq!((&restored["started"], &restored["snapshot"]["keys"]), (&true.into(), &501.into()));
    assert_eq!(home.ok(&["--name", "new", "get", "last"]), "acknowledged before the backup\n");
    home.ok(&["--name", "new", "put", "only", "here"]);
    home.fails(1, &["get", "only"]);
    let id = |name: &str| home.json(&["--name", name, "cluster", "status"])["cluster"].clone();
    assert_ne!(id("new"), id("default"));
    assert!(home.ok(&["--name", "new", "member", "add"]).contains("node 4 added"));
    home.ok(&["--name", "new", "cluster", "down"]);
    home.ok(&["--name", "new", "cluster", "up"]);
    assert_eq!(home.ok(&["--name", "new", "scan", "--count-only"]), "502\n");
    let err = home.fails(1, &["--name", "new", "snapshot", "restore", file]);
    assert!(err.contains("already") && err.contains("--name NEW"), "{err}");

    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
    let err = home.fails(1, &["--name", "third", "snapshot", "restore", file]);
    assert!(err.contains("backup.snap") && err.contains("at offset"), "{err}");
    assert!(!home.path().join("third").exists());
    home.fails(1, &["snapshot", "inspect", file]);
}

#[test]
fn a_lost_quorum_is_recovered_from_who_survived() {
    let home = Home::with(5);
    fill(&home, 200);
    let nodes = home.path().join("default/nodes");
    for lost in ["3", "4", "5"] {
        home.ok(&["node", "stop", lost]);
    }
    home.fails(3, &["put", "k", "v", "--timeout", "1s"]);
    let err = home.fails(1, &["cluster", "recover", "--from", "1,2", "--dry-run"]);
    assert!(err.contains("take it down") && err.contains("kvctl cluster down"), "{err}");
    home.ok(&["cluster", "down"]);
    for lost in ["3", "4", "5"] {
        fs::remove_dir_all(nodes.join(lost)).unwrap();
    }
    let err = home.fails(2, &["cluster", "recover", "--from", "1,2"]);
    assert!(err.contains("nobody can be asked") && err.contains("--yes"), "{err}");
    let planned = home.json(&["cluster", "recover", "--from", "1,2", "--dry-run"]);
    assert_eq!(
        (&planned["acknowledged_may_be_lost"], &planned["done"]),
        (&true.into(), &false.into())
    );
    assert_eq!(planned["missing"], Value::from(vec![3, 4, 5]));
    let said = home.ok(&["cluster", "recover", "--from", "1,2", "--yes"]);
    assert!(said.contains("LOST, if the missing nodes had them"), "{said}");
    assert!(said.contains("what was changed is kept in"), "{said}");
    home.ok(&["cluster", "up"]);
    // The write whose outcome was unknown is there or not.
    assert!(["200\n", "201\n"].contains(&&home.ok(&["scan", "--count-only"])[..]));
    home.ok(&["put", "k", "v"]);
    for number in [6, 7] {
        assert_eq!(home.json(&["member", "add"])["node"], number);
    }
    let members = home.ok(&["member", "list", "-o", "name"]);
    assert_eq!(members.lines().count(), 3, "{members}");
    home.ok(&["node", "kill", "leader"]);
    assert_eq!(home.ok(&["get", "k", "--timeout", "20s"]), "v\n");
    let events = home.ok(&["cluster", "events", "-o", "name", "-n", "500"]);
    assert!(events.contains("cluster-recovered"), "{events}");
}

//! Ranges, the past, transactions and compaction, over the native client.

use serde_json::Value;

use crate::kvctl_home::{Home, wait_until};

/// A cluster whose nodes are of the version that has transactions.
fn cluster() -> Home {
    let home = Home::with(3);
    wait_until("transactions are known", || home.run(&["put", "a", "1", "--prev-kv"]).code == 0);
    home
}

/// The revision at which a key was set.
fn put(home: &Home, key: &str, value: &str) -> String {
    home.json(&["put", key, value])["revision"].to_string()
}

#[test]
fn ranges_come_in_every_order_and_as_they_were() {
    let home = cluster();
    put(&home, "u/1", "z");
    put(&home, "u/2", "x");
    let then = put(&home, "u/3", "y");
    put(&home, "u/1", "zz");
    home.ok(&["del", "u/2"]);
    let get = |more: &[&str]| home.ok(&[&["get"][..], more].concat());
    assert_eq!(get(&["u/", "--prefix"]), "u/1\tzz\nu/3\ty\n");
    assert_eq!(get(&["u/", "--prefix", "--rev", &then]), "u/1\tz\nu/2\tx\nu/3\ty\n");
    assert_eq!(get(&["u/1", "--rev", &then]), "z\n");
    assert_eq!(get(&["u/2", "u/4", "--rev", &then, "--keys-only"]), "u/2\nu/3\n");
    let by_value = ["u/", "--prefix", "--rev", &then, "--sort-by", "value", "-o", "name"];
    assert_eq!(get(&by_value), "u/2\nu/3\nu/1\n");
    let newest = ["", "--prefix", "--sort-by", "modify", "--order", "descend", "--limit", "1"];
    assert_eq!(get(&newest), "u/1\tzz\n");
    assert_eq!(get(&["u", "--from-key", "--count-only"]), "2\n");
    let limited = home.json(&["get", "u/", "--prefix", "--limit", "1"]);
    assert_eq!((&limited["count"], &limited["more"]), (&2.into(), &true.into()));
    assert_eq!(limited["items"][0]["value"], "zz");
    let none = home.fails(1, &["get", "u/2"]);
    assert!(none.contains("there is no key `u/2`"), "{none}");
    let none = home.fails(1, &["get", "u/9", "--rev", &then]);
    assert!(none.contains(&format!("no key `u/9` at revision {then}")), "{none}");
    let future = home.fails(1, &["get", "u/1", "--rev", "99999"]);
    assert!(future.contains("future revision"), "{future}");
    home.fails(2, &["get", "b", "a"]);

    let told = home.ok(&["compact", &then]);
    assert_eq!(told, format!("ok, forgot what was before revision {then}\n"));
    assert_eq!(get(&["u/2", "--rev", &then]), "x\n");
    let before = (then.parse::<u64>().unwrap() - 1).to_string();
    let gone = home.fails(1, &["get", "u/2", "--rev", &before]);
    assert!(gone.contains("compacted"), "{gone}");
    let again = home.fails(1, &["compact", &then]);
    assert!(again.contains("compacted"), "{again}");
    let future = home.fails(1, &["compact", "99999"]);
    assert!(future.contains("future revision"), "{future}");
    home.fails(2, &["compact", "the rest"]);
    let now = put(&home, "u/1", "zzz");
    let told = home.json(&["compact", &now]);
    assert_eq!((told["compacted"].to_string(), told["revision"].to_string()), (now.clone(), now));
}

#[test]
fn a_range_of_several_pages_is_of_one_revision_in_any_order() {
    let home = cluster();
    // Three pages and more.
    let large = "x".repeat(100 << 10);
    for number in 0..35 {
        let ended = home.run_with(&["put", &format!("b/{number:02}"), "-"], large.as_bytes());
        assert_eq!(ended.code, 0, "{}", ended.err);
    }
    for more in [&[][..], &["--order", "descend"], &["--sort-by", "create"]] {
        let arguments = [&["get", "b/", "--prefix", "--limit", "33"][..], more].concat();
        let listed = home.json(&arguments);
        let keys: Vec<&str> = listed["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["key"].as_str().unwrap())
            .collect();
        let mut expected: Vec<String> = (0..35).map(|number| format!("b/{number:02}")).collect();
        if more.contains(&"descend") {
            expected.reverse();
        }
        assert_eq!(keys, expected[..33], "{more:?}");
        assert_eq!((&listed["count"], &listed["more"]), (&35.into(), &true.into()));
    }
    assert_eq!(home.json(&["del", "b/", "--prefix"])["deleted"], 35);
    home.fails(1, &["del", "b/", "--prefix"]);
}

#[test]
fn puts_and_deletions_with_what_was_there_before() {
    let home = cluster();
    let put = home.json(&["put", "k", "1", "--prev-kv"]);
    assert_eq!((&put["existed"], &put["prev"]), (&false.into(), &Value::Null));
    let put = home.json(&["put", "k", "2", "--prev-kv"]);
    assert_eq!((&put["existed"], &put["prev"]["value"]), (&true.into(), &"1".into()));
    assert!(home.ok(&["put", "k", "3", "--prev-kv"]).ends_with("\nbefore: 2\n"));
    home.ok(&["put", "k", "--ignore-value"]);
    assert_eq!(home.json(&["get", "k"])["value"], "3");
    home.ok(&["put", "k", "4", "--ignore-lease"]);
    for wrong in [&["put", "none", "--ignore-value"][..], &["put", "none", "v", "--ignore-lease"]] {
        let err = home.fails(1, wrong);
        assert!(err.contains("key `none`") && err.contains("key not found"), "{err}");
    }
    let err = home.fails(1, &["put", "k", "v", "--lease", "7b"]);
    assert!(err.contains("lease not found"), "{err}");
    for key in ["r/1", "r/2", "r/3"] {
        home.ok(&["put", key, "v"]);
    }
    assert!(home.ok(&["del", "r/1", "--range", "r/3"]).starts_with("deleted 2 keys at revision"));
    assert_eq!(home.ok(&["scan", "r/", "-o", "name"]), "r/3\n");
    home.fails(2, &["del", "a", "b", "--prefix"]);
}

#[test]
fn transactions_from_a_file_decide_and_tell() {
    let home = cluster();
    home.ok(&["put", "alice", "100"]);
    home.ok(&["put", "bob", "0"]);
    let file = home.path().join("transfer.txt");
    let text = "\
compare:
  value(alice) = 100   # not yet
success:
  put alice 70
  put bob 30 --prev-kv
  get alice zzz
failure:
  get alice
";
    std::fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let done = home.json(&["txn", file]);
    assert_eq!(done["succeeded"], true);
    assert_eq!(done["responses"][1]["prev"]["value"], "0");
    assert_eq!(done["responses"][2]["items"][0]["value"], "70", "it sees its own writes");
    assert_eq!(done["responses"][2]["items"][1]["mod_revision"], done["revision"]);
    let told = home.ok(&["txn", file]);
    assert!(told.starts_with("the comparisons do not hold; done instead, at revision"), "{told}");
    assert!(told.ends_with(":\nget alice: 1 key\n  alice\t70\n"), "{told}");
    assert_eq!(home.ok(&["txn", file, "-o", "name"]), "failure\n");
    // As etcdctl's: parts by empty lines, from standard input.
    let piped = home.run_with(&["txn"], b"version(new) = 0\n\nput new 1\n\nget new\n");
    assert!(piped.code == 0 && piped.out.starts_with("the comparisons hold"), "{}", piped.err);
    let piped = home.run_with(&["txn", "-"], b"success:\n  put a\n");
    assert_eq!(piped.code, 2, "{}", piped.out);
    assert!(piped.err.contains("standard input: line 2: "), "{}", piped.err);
    let twice = home.run_with(&["txn"], b"success:\nput a 1\nput a 2\n");
    assert!(twice.code == 2 && twice.err.contains("duplicate key"), "{}", twice.err);
    let wrong = home.path().join("wrong.txt");
    std::fs::write(&wrong, "compare:\n  value(alice) = 1\nsuccess:\n  pot alice 2\n").unwrap();
    let wrong = wrong.to_str().unwrap();
    let err = home.fails(2, &["txn", wrong]);
    assert!(err.contains(&format!("`{wrong}`: line 4: ")), "{err}");
    home.fails(2, &["txn", "/nowhere/at/all"]);
}

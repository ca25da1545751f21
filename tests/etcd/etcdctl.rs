//! Debian's etcdctl, command by command, against five nodes of ours and a real etcd.

use crate::both::Both;
use crate::kvctl_home::{Home, wait_until};
use crate::reference::{Reference, etcdctl, in_memory};

/// Five nodes, and an etcd beside them.
fn both(members: usize) -> (Reference, Home, Both) {
    let etcd = Reference::start(members, &[]);
    let home = Home::within(in_memory("kvraft-"));
    home.ok(&["cluster", "up", "-n", "5"]);
    let ours: Vec<String> = home.ok(&["env", "-o", "name"]).lines().map(str::to_owned).collect();
    wait_until("transactions are known", || {
        etcdctl(&ours[0]).args(["del", "x", "--prev-kv"]).output().unwrap().status.success()
    });
    let both = Both::new(&etcd.addresses, &ours);
    (etcd, home, both)
}

#[test]
fn keys() {
    let (_etcd, _home, both) = both(1);
    let same = |arguments: &[&str]| both.same(arguments);
    same(&["put", "a", "1"]);
    same(&["put", "a", "2", "--prev-kv"]);
    same(&["put", "b", "", "--ignore-value"]);
    same(&["put", "a", "--ignore-value"]);
    same(&["put", "a", "3", "--ignore-lease"]);
    same(&["put", "a", "3", "--lease=7b"]);
    same(&["put", "", "3"]);
    both.same_with(&["put", "c"], "from standard input");
    for (key, value) in [("p/1", "z"), ("p/2", "y"), ("p/3", "x"), ("p/3", "w"), ("q", "v")] {
        same(&["put", key, value]);
    }
    for flags in [
        &["get", "a"][..],
        &["get", "nothing"],
        &["get", "a", "-w", "json"],
        &["get", "a", "-w", "fields"],
        &["get", "a", "--hex"],
        &["get", "a", "--print-value-only"],
        &["get", "a", "q"],
        &["get", "", "--prefix"],
        &["get", "", "--prefix", "--keys-only"],
        &["get", "p/", "--prefix", "--limit=2"],
        &["get", "p/", "--prefix", "--limit=2", "-w", "json"],
        &["get", "p/2", "--from-key"],
        &["get", "p/", "--prefix", "--rev=9"],
        &["get", "p/", "--prefix", "--rev=1000"],
        &["get", "p/", "--prefix", "--consistency=s"],
        &["get", "a", "--consistency=l"],
        &["get", "", "--prefix", "--sort-by=key", "--order=DESCEND"],
        &["get", "", "--prefix", "--sort-by=create", "--order=DESCEND"],
        &["get", "", "--prefix", "--sort-by=modify", "--order=ASCEND"],
        &["get", "", "--prefix", "--sort-by=value"],
        &["get", "p/", "--prefix", "--sort-by=version", "--order=DESCEND", "--limit=1"],
    ] {
        same(flags);
    }
    same(&["del", "p/1"]);
    same(&["del", "p/1"]);
    same(&["del", "p/1", "p/3", "--prev-kv"]);
    same(&["del", "p/", "--prefix"]);
    same(&["del", "b", "--from-key", "--prev-kv"]);
    same(&["get", "", "--from-key", "-w", "json"]);
}

#[test]
fn transactions_and_compaction() {
    let (_etcd, _home, both) = both(1);
    both.same(&["put", "a", "1"]);
    both.same(&["put", "b", "2"]);
    for text in [
        "value(\"a\") = \"1\"\n\nput a 2\nget a\n\nget b\n\n",
        "value(\"a\") = \"1\"\n\nput a 2\nget a\n\nget b\n\n",
        "mod(\"a\") > \"0\"\ncreate(\"b\") < \"9\"\nversion(\"b\") = \"1\"\n\ndel a\nput c 3\n\n\n",
        "\nget a c\nget \"\" --prefix\ndel a c\n\n\n",
        "\nput a 1\nput a 2\n\n\n",
        "\n\n\n",
    ] {
        both.same_with(&["txn"], text);
        both.same_with(&["txn", "-w", "json"], text);
    }
    for _ in 0..3 {
        both.same(&["put", "a", "again"]);
    }
    both.same(&["get", "a", "--rev=5"]);
    both.same(&["compaction", "5"]);
    both.same(&["compaction", "5"]);
    both.same(&["compact", "6", "--physical"]);
    both.same(&["compaction", "1000"]);
    both.same(&["get", "a", "--rev=5"]);
    both.same(&["get", "a", "--rev=6"]);
}

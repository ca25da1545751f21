//! Debian's etcdctl, command by command, against five nodes of ours and a real etcd.

use crate::both::{Both, Told};
use crate::etcd_client::addresses;
use crate::kvctl_home::Home;
use crate::reference::{CALM, Reference, in_memory};

/// Five nodes, and an etcd beside them.
pub fn both(members: usize) -> (Reference, Home, Both) {
    let etcd = Reference::start(members, &[]);
    let home = Home::within(in_memory("kvraft-"));
    home.up_with(5, &CALM);
    let both = Both::new(&etcd.addresses, &addresses(&home));
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

#[test]
fn watches() {
    let (_etcd, _home, both) = both(1);
    let put = |key: &str, value: &str| drop(both.same(&["put", key, value]));
    put("a", "1");
    put("b", "2");
    put("p/1", "3");
    let one = both.follow(&["watch", "a", "--rev=1"]);
    let some = both.follow(&["watch", "p/", "--prefix", "--prev-kv"]);
    let range = both.follow(&["watch", "a", "c", "--rev=2"]);
    let json = both.follow(&["watch", "a", "--rev=1", "-w", "json"]);
    let from = both.follow(&["watch", "b", "--from-key", "--rev=3"]);
    assert_eq!(one.lines(3), ["PUT", "a", "1"]);
    range.lines(6);
    json.lines(1);
    from.lines(6);
    // Whether it is there already shows only in what it prints.
    both.until_seen(&some, "p/0");
    put("p/1", "4");
    some.lines(5);
    both.same(&["del", "p/1"]);
    assert_eq!(some.lines(5), ["DELETE", "p/1", "4", "p/1", ""]);
    both.same_with(&["txn"], "\nput a 5\nput b 6\nput p/2 7\n\n\n");
    one.lines(3);
    range.lines(6);
    json.lines(1);
    some.lines(3);
    both.same(&["del", "a"]);
    one.lines(3);
    assert!(one.interrupt().is_none());
    let command = both.follow(&["watch", "b", "--rev=3", "--", "env"]);
    drop(command);
    let one = both.first();
    one.same(&["compaction", "6"]);
    let (code, lines) = one.follow(&["watch", "a", "--rev=2"]).end();
    assert!(code == Some(5) && lines[0].contains("compacted"), "{code:?} {lines:?}");
}

#[test]
fn leases() {
    let (_etcd, _home, both) = both(1);
    let granted = r"lease ([0-9a-f]+) granted";
    both.same_and_call("<long>", granted, &["lease", "grant", "600"]);
    both.same_and_call("<short>", granted, &["lease", "grant", "300"]);
    both.same_and_call("<least>", granted, &["lease", "grant", "0"]);
    both.same(&["lease", "grant", "10000000000"]);
    both.same(&["put", "a", "1", "--lease=<long>"]);
    both.same(&["put", "b", "1", "--lease=<long>"]);
    both.same(&["put", "c", "1", "--lease=<short>"]);
    both.same(&["put", "c", "1", "--lease=1234"]);
    both.same(&["lease", "timetolive", "<long>"]);
    both.same(&["lease", "timetolive", "<long>", "--keys"]);
    both.same(&["lease", "timetolive", "1234"]);
    both.same(&["lease", "keep-alive", "<short>", "--once"]);
    both.same(&["lease", "keep-alive", "1234", "--once"]);
    both.same(&["put", "b", "2"]);
    both.same(&["lease", "timetolive", "<long>", "--keys"]);
    both.same(&["lease", "revoke", "<long>"]);
    both.same(&["lease", "revoke", "<long>"]);
    both.same(&["get", "", "--from-key"]);
    // Kept alive by one who pings it, it outlives its time; left alone, its keys go with it, all at
    // one revision.
    both.same_and_call("<brief>", granted, &["lease", "grant", "2"]);
    let kept = both.follow(&["lease", "keep-alive", "<brief>"]);
    both.same(&["put", "x", "1", "--lease=<brief>"]);
    both.same(&["put", "y", "1", "--lease=<brief>"]);
    kept.lines(5);
    both.same(&["get", "x"]);
    let watched = both.follow(&["watch", "x", "z", "--rev=1", "-w", "json"]);
    watched.lines(1);
    kept.interrupt();
    let gone = watched.lines(1);
    assert_eq!(gone[0].matches("\"type\":1").count(), 2, "{gone:?}");
    both.same(&["lease", "timetolive", "<brief>"]);
    both.same(&["get", "", "--from-key", "-w", "json"]);
}

#[test]
fn locks_and_elections() {
    let (_etcd, _home, both) = both(1);
    let told = both.same(&["lock", "m", "--", "echo", "within"]);
    assert_eq!(told.out, ["within"]);
    assert_eq!(both.same(&["lock", "m", "--", "false"]).code, Some(1));
    let first = both.follow(&["lock", "m", "--ttl=5"]);
    both.call("<first>", first.line_of_each());
    both.same(&["get", "m/", "--prefix", "--keys-only"]);
    let second = both.follow(&["lock", "m"]);
    both.until("two stand in line", |told| told.out.len() == 4, &["get", "m/", "--prefix"]);
    first.interrupt();
    both.call("<second>", second.line_of_each());
    both.same(&["get", "m/", "--prefix", "--keys-only"]);
    second.interrupt();
    both.until("nobody holds it", |told| told.out.is_empty(), &["get", "m/", "--prefix"]);
    let leads = both.follow(&["elect", "e", "one"]);
    let key = leads.line_of_each();
    both.call("<one>", key);
    assert_eq!(leads.lines(1), ["one"]);
    let listens = both.follow(&["elect", "-l", "e"]);
    assert_eq!(listens.lines(2), ["<one>", "one"]);
    let waits = both.follow(&["elect", "e", "two"]);
    both.until("two stand", |told| told.out.len() == 4, &["get", "e/", "--prefix"]);
    leads.interrupt();
    both.call("<two>", waits.line_of_each());
    assert_eq!(waits.lines(1), ["two"]);
    assert_eq!(listens.lines(2), ["<two>", "two"]);
}

/// What `member list` says, without the ids and the places, which differ.
fn members(both: &Both) -> Vec<String> {
    both.same_but(&["member", "list"], |line| {
        let mut parts: Vec<&str> = line.split(", ").collect();
        assert_eq!(parts.len(), 6, "{line}");
        (parts[0], parts[2]) = ("<id>", if parts[2].is_empty() { "" } else { "<name>" });
        for place in [3, 4] {
            parts[place] = if parts[place].is_empty() { "" } else { "<url>" };
        }
        parts.join(", ")
    })
}

#[test]
fn members_come_and_go() {
    let (_etcd, _home, both) = both(5);
    let all_started = |told: &Told| told.out.iter().filter(|it| it.contains(", started,")).count();
    both.until("all are started", |told| all_started(told) == 5, &["member", "list"]);
    assert_eq!(members(&both), ["<id>, started, <name>, <url>, <url>, false"; 5]);
    let added = r"Member\s+([0-9a-f]+) added";
    let add = ["member", "add", "new", "--peer-urls=http://127.0.0.1:1", "--learner"];
    // A young cluster takes no member: not every node has been heard of for long enough.
    both.until_done(&add, "<new>", added);
    let all = members(&both);
    assert_eq!(all.len(), 6);
    assert!(all.contains(&"<id>, unstarted, , <url>, , true".to_owned()), "{all:?}");
    let told = |arguments: &[&str]| both.same(arguments);
    // Within the same second etcd makes the same id, and says that instead.
    let is_taken = |told: &Told| told.err.iter().any(|it| it.contains("Peer URLs already exists"));
    both.until("the URL is taken", is_taken, &add);
    let second = ["member", "add", "more", "--peer-urls=http://127.0.0.1:2", "--learner"];
    assert!(told(&second).err[0].contains("too many learner members"));
    told(&["member", "add", "bad", "--peer-urls=ftp://127.0.0.1:2", "--learner"]);
    let behind = told(&["member", "promote", "<new>"]);
    assert!(behind.err[0].contains("in sync with leader"), "{behind:?}");
    both.same_but(&["member", "update", "<new>", "--peer-urls=http://127.0.0.1:3"], cluster_aside);
    both.same_but(&["member", "remove", "<new>"], cluster_aside);
    for wrong in [
        &["member", "remove", "<new>"][..],
        &["member", "update", "abcd", "--peer-urls=http://127.0.0.1:3"],
        &["member", "remove", "abcd"],
    ] {
        assert!(told(wrong).err[0].contains("member not found"), "{wrong:?}");
    }
    assert_eq!(members(&both).len(), 5);
}

/// `Member 1 removed from cluster 2`, whichever they are.
fn cluster_aside(line: &str) -> String {
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_id = |word: &str| word.starts_with('<') || word.chars().all(|it| it.is_ascii_hexdigit());
    let shown = words.iter().map(|word| if is_id(word) { "<id>" } else { *word });
    shown.collect::<Vec<_>>().join(" ")
}

#[test]
fn maintenance() {
    let (_etcd, home, both) = both(5);
    for number in 0..10 {
        both.same(&["put", &format!("k{number}"), "v"]);
    }
    // Endpoint, id, version, size, whether it leads and learns, term, index, applied.
    let status = both.same_but(&["endpoint", "status"], |line| {
        let parts: Vec<&str> = line.split(", ").collect();
        assert!(parts[2].starts_with("3."), "{line}");
        let numbers = parts[6..9].iter().filter(|it| it.parse::<u64>().is_ok()).count();
        format!("{}, {} fields, {numbers} numbers, {}", parts[0], parts.len(), parts[5])
    });
    assert_eq!(status.len(), 5);
    assert_eq!(both.same_but(&["endpoint", "health"], str::to_owned).len(), 5);
    let hashes =
        both.same_but(&["endpoint", "hashkv"], |line| line.split(", ").next().unwrap().to_owned());
    assert_eq!(hashes.len(), 5);
    assert_eq!(both.same(&["alarm", "list"]).out, Vec::<String>::new());
    assert_eq!(both.same(&["alarm", "disarm"]).code, Some(0));
    assert_eq!(both.same(&["defrag"]).out.len(), 5);
    // To somebody who is no member, and to one who is.
    assert_eq!(both.same(&["move-leader", "1234"]).code, Some(1));
    both.call("<next>", both.followers());
    let moved = both.same_but(&["move-leader", "<next>"], cluster_aside);
    assert_eq!(moved, ["Leadership transferred from <id> to <id>"]);
    // The users' list of a cluster without users.
    both.same(&["user", "list"]);
    both.same(&["role", "list"]);
    assert!(both.same(&["auth", "enable"]).err[0].contains("root user does not exist"));
    // Each keeps a snapshot of its own kind; ours goes back to where it came from.
    let place = in_memory("snapshots-");
    let path = |name: &str| place.path().join(name).display().to_string();
    both.call("<file>", [path("theirs"), path("ours")]);
    let saved = both.first().with_names_of(&both).same(&["snapshot", "save", "<file>"]);
    assert_eq!(saved.out, ["Snapshot saved at <file>"]);
    home.ok(&["--name", "again", "snapshot", "restore", &path("ours"), "-n", "3"]);
    home.ok(&["--name", "again", "cluster", "up"]);
    assert_eq!(home.ok(&["--name", "again", "get", "k7"]).trim(), "v");
}

//! kvctl's commands over etcd's API.

use kvraft::etcd_client::pb::alarm_request::AlarmAction;
use kvraft::etcd_client::{Client, Options, pb};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::kvctl_home::{Home, wait_until};
use crate::place::{Place, at_each};
use crate::process::Running;
use crate::proxy::Proxy;

at_each! {
    a_watch_prints_a_line_an_event_and_ends_with_ctrl_c,
    a_watch_goes_on_elsewhere_and_says_so,
    leases_from_their_beginning_to_their_end,
    who_waits_for_a_lock_gets_it_next_and_with_a_higher_token,
    a_command_whose_lock_is_lost_is_ended,
    one_is_elected_and_others_see_who,
    upkeep,
}

fn a_watch_prints_a_line_an_event_and_ends_with_ctrl_c(place: &Place) {
    place.etcdctl(&["put", "k/1", "a"]);
    let watch = place.start(&["watch", "k/", "--prefix", "--rev", "2", "--prev-kv"]);
    assert_eq!(watch.line(), "2\tput\tk/1\ta");
    place.etcdctl(&["put", "k/1", "b\nc"]);
    assert_eq!(watch.line(), "3\tput\tk/1\tb\\nc\t(before: a)");
    place.etcdctl(&["put", "other", "x"]);
    place.etcdctl(&["del", "k/1"]);
    assert_eq!(watch.line(), "5\tdelete\tk/1\t(before: b\\nc)");
    let ended = watch.interrupt();
    assert_eq!((ended.code, &ended.err[..], ended.rest.len()), (Some(0), "", 0));

    let watch = place.start(&["watch", "k/1", "--rev", "3", "--prev-kv", "-o", "json"]);
    let line = |text: &str| serde_json::from_str::<Value>(text).unwrap();
    let put = line(&watch.line());
    assert_eq!((&put["type"], &put["revision"]), (&"put".into(), &3.into()));
    assert_eq!((&put["value"], &put["prev"]["value"]), (&"b\nc".into(), &"a".into()));
    let delete = line(&watch.line());
    assert_eq!((&delete["type"], &delete["key"]), (&"delete".into(), &"k/1".into()));
    assert_eq!((&delete["schema_version"], delete.get("value")), (&1.into(), None));
    watch.interrupt();

    place.etcdctl(&["compact", "4"]);
    // Whoever has answered this has forgotten, too.
    place.count("k/");
    let compacted = place.fails(1, &["watch", "k/1", "--rev", "2"]);
    assert!(compacted.contains("revision 2 is compacted"), "{compacted}");
    assert!(compacted.contains("next: or watch what is left: the same with --rev 4"));
    place.fails(2, &["watch", "k/1", "--rev", "0"]);
    place.fails(2, &["watch", "b", "a"]);
}

fn a_watch_goes_on_elsewhere_and_says_so(place: &Place) {
    let (first, second) = (Proxy::to(place.address()), Proxy::to(place.address()));
    let endpoints = format!("{},{}", first.address, second.address);
    place.etcdctl(&["put", "k", "1"]);
    let arguments = ["watch", "k", "--rev", "2", "--endpoints", &endpoints];
    let watch = Running::start(place.home.command(&arguments));
    assert_eq!(watch.line(), "2\tput\tk\t1");
    first.close();
    place.etcdctl(&["put", "k", "2"]);
    assert_eq!(watch.line(), "3\tput\tk\t2");
    let ended = watch.interrupt();
    assert_eq!(ended.code, Some(0));
    let says = format!("warning: {} is lost: ", first.address);
    assert!(ended.err.starts_with(&says), "{}", ended.err);
    let says = format!("goes on at {}, from revision 3", second.address);
    assert!(ended.err.contains(&says), "{}", ended.err);
}

fn leases_from_their_beginning_to_their_end(place: &Place) {
    let granted = place.json(&["lease", "grant", "60"]);
    let id = granted["id"].as_str().unwrap().to_owned();
    assert_eq!(granted["ttl_seconds"], 60);
    place.etcdctl(&["put", "n/1", "up", &format!("--lease={id}")]);
    let ttl = place.json(&["lease", "ttl", &id, "--keys"]);
    assert_eq!((&ttl["granted_seconds"], &ttl["keys"][0]["key"]), (&60.into(), &"n/1".into()));
    assert!(ttl["ttl_seconds"].as_u64().unwrap() >= 50, "{ttl}");
    let text = place.ok(&["lease", "ttl", &id, "--keys"]);
    assert!(text.starts_with(&format!("lease {id}: ")), "{text}");
    assert!(text.ends_with(" s of 60 s left\nn/1\n"), "{text}");
    assert_eq!(place.leases(), format!("{id}\n"));
    assert_eq!(place.json(&["lease", "list"])["leases"], json!([id]));
    let renewed = place.json(&["lease", "keep-alive", &id, "--once"]);
    assert_eq!((&renewed["id"], &renewed["ttl_seconds"]), (&id.as_str().into(), &60.into()));
    let kept = place.start(&["lease", "keep-alive", &id]);
    assert_eq!(kept.line(), format!("lease {id} renewed for 60 s"));
    let ended = kept.interrupt();
    assert_eq!((ended.code, &ended.err[..]), (Some(0), ""));
    assert_eq!(place.ok(&["lease", "revoke", &id]), format!("lease {id} revoked\n"));
    assert_eq!(place.count("n/"), 0);
    for gone in [&["lease", "ttl", &id][..], &["lease", "keep-alive", &id]] {
        let err = place.fails(1, gone);
        assert!(err.contains(&format!("there is no lease {id}")), "{err}");
    }
    let err = place.fails(1, &["lease", "revoke", &id]);
    assert!(err.contains("etcdserver: requested lease not found"), "{err}");
    place.fails(2, &["lease", "grant", "0"]);
    place.fails(2, &["lease", "ttl", "no lease"]);

    let short = place.ok(&["lease", "grant", "3s", "--id", "1a", "-o", "name"]);
    assert_eq!(short, "000000000000001a\n");
    let err = place.fails(1, &["lease", "grant", "3s", "--id", "1a"]);
    assert!(err.contains("etcdserver: lease already exists"), "{err}");
    let kept = place.start(&["lease", "keep-alive", "1a"]);
    kept.line();
    assert_eq!(place.json(&["lease", "revoke", "1a"])["id"], "000000000000001a");
    let ended = kept.end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("lease 000000000000001a is lost: its lease has ended"));
}

fn who_waits_for_a_lock_gets_it_next_and_with_a_higher_token(place: &Place) {
    let script = "echo $KVRAFT_FENCING_TOKEN $KVRAFT_LOCK_KEY; cat; exit 7";
    let mut first = place.start(&["lock", "m", "--", "sh", "-c", script]);
    let line = first.line();
    let (first_token, key) = line.split_once(' ').unwrap();
    assert!(key.starts_with("m/") && place.etcdctl(&["get", key]).starts_with(key));
    let mut second = place.start(&["lock", "m", "--", "sh", "-c", script]);
    wait_until("both have a key", || place.count("m/") == 2);
    first.type_in("worked\n");
    assert_eq!(first.line(), "worked");
    assert!(!second.has_ended() && !first.has_ended());
    first.close_input();
    assert_eq!(first.end().code, Some(7), "the command's own code");
    let line = second.line();
    let token = |text: &str| text.parse::<u64>().unwrap();
    assert!(token(line.split(' ').next().unwrap()) > token(first_token), "{line} {first_token}");
    second.close_input();
    assert_eq!(second.end().code, Some(7));
    assert_eq!(place.count("m/"), 0, "it is given up at once");
    assert_eq!(place.leases(), "");

    let held = place.start(&["lock", "m", "-o", "json"]);
    let told: Value = serde_json::from_str(&held.line()).unwrap();
    assert!(told["fencing_token"].as_u64().unwrap() > token(first_token), "{told}");
    let waiting = place.start(&["lock", "m"]);
    wait_until("both have a key", || place.count("m/") == 2);
    let ended = waiting.interrupt();
    assert_eq!(ended.code, Some(130), "{}", ended.err);
    wait_until("it waits no more", || place.count("m/") == 1);
    assert_eq!(held.interrupt().code, Some(0));
    assert_eq!(place.count("m/"), 0);
    let err = place.fails(2, &["lock", "m", "--", "/no/such/program"]);
    assert!(err.contains("cannot run `/no/such/program`"), "{err}");
    assert_eq!(place.count("m/"), 0, "nor is it held after that");
    place.fails(2, &["lock", "m", "--ttl", "0", "--", "true"]);
}

fn a_command_whose_lock_is_lost_is_ended(place: &Place) {
    let lease = || place.leases().trim().to_owned();
    let polite = "trap 'echo asked; exit 3' TERM; echo up; while :; do sleep 0.05; done";
    let locked = place.start(&["lock", "m", "--ttl", "3", "--", "sh", "-c", polite]);
    assert_eq!(locked.line(), "up");
    assert_eq!(place.json(&["lease", "ttl", &lease()])["granted_seconds"], 3);
    place.ok(&["lease", "revoke", &lease()]);
    assert_eq!(locked.line(), "asked");
    let ended = locked.end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("the lock `m` was lost, and the command was ended"), "{ended:?}");

    let deaf = "trap '' TERM; echo up; while :; do sleep 0.05; done";
    let locked = place.start(&["lock", "m", "--ttl", "3", "--", "sh", "-c", deaf]);
    assert_eq!(locked.line(), "up");
    place.ok(&["lease", "revoke", &lease()]);
    assert_eq!(locked.end().code, Some(1));

    // SIGTERM is the command's, and then the lock is given up.
    let locked = place.start(&["lock", "m", "--", "sh", "-c", polite]);
    assert_eq!(locked.line(), "up");
    locked.signal(Signal::TERM);
    assert_eq!(locked.line(), "asked");
    assert_eq!(locked.end().code, Some(3));
    assert_eq!(place.count("m/"), 0);
}

fn one_is_elected_and_others_see_who(place: &Place) {
    let listening = place.start(&["elect", "e", "--listen"]);
    let first = place.start(&["elect", "e", "one"]);
    let line = first.line();
    assert!(line.starts_with("leads as e/") && line.contains(", fencing token "), "{line}");
    assert!(listening.line().ends_with("\tone"));
    let second = place.start(&["elect", "e", "two", "-o", "json"]);
    wait_until("both stand", || place.count("e/") == 2);
    let ended = first.interrupt();
    assert_eq!((ended.code, &ended.err[..]), (Some(0), ""));
    let told: Value = serde_json::from_str(&second.line()).unwrap();
    assert!(told["key"].as_str().unwrap().starts_with("e/"), "{told}");
    assert!(listening.line().ends_with("\ttwo"));
    place.ok(&["lease", "revoke", told["lease"].as_str().unwrap()]);
    let ended = second.end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("it leads `e` no more"), "{}", ended.err);
    assert_eq!(listening.interrupt().code, Some(0));
    place.fails(2, &["elect", "e"]);
}

fn upkeep(place: &Place) {
    let done = place.ok(&["defrag"]);
    assert_eq!(done.lines().count(), place.addresses.len());
    for (line, address) in done.lines().zip(&place.addresses) {
        assert!(line.starts_with(&format!("{address} done in ")), "{line}");
    }
    let done = place.json(&["defrag"]);
    assert_eq!(done["endpoints"].as_array().unwrap().len(), place.addresses.len());
    assert_eq!(done["endpoints"][0]["error"], Value::Null);
    let some = format!("{},127.0.0.1:1", place.address());
    let err = place.home.run(&["defrag", "--endpoints", &some, "--timeout", "1s"]);
    assert_eq!((err.code, err.out.lines().count()), (1, 1), "{}", err.err);
    assert!(err.err.contains("error: 1 of 2 nodes were not defragmented"), "{}", err.err);
    assert_eq!(place.json(&["alarm", "list"])["alarms"], Value::Array(Vec::new()));
    // An alarm that etcd raises when it is told to.
    let raised = crate::block_on(async {
        let client = Client::new([place.address()], Options::default()).unwrap();
        let member_id = client.status().await.unwrap().header.unwrap().member_id;
        let (action, alarm) = (AlarmAction::Activate as i32, pb::AlarmType::Nospace as i32);
        client.alarm(pb::AlarmRequest { action, member_id, alarm }).await
    });
    raised.unwrap();
    assert!(place.ok(&["alarm", "list"]).ends_with(": nospace\n"));
    assert_eq!(place.json(&["alarm", "list"])["alarms"][0]["alarm"], "nospace");
    assert!(place.ok(&["alarm", "disarm"]).ends_with(": nospace is off\n"));
    assert_eq!(place.ok(&["alarm", "list"]), "");
}

#[test]
fn where_nobody_answers_is_said() {
    let home = Home::new();
    let err = home.fails(1, &["watch", "k"]);
    assert!(err.contains("there is no cluster `default`"), "{err}");
    let nobody = ["lease", "list", "--endpoints", "127.0.0.1:1", "--timeout", "200ms"];
    let err = home.fails(3, &nobody);
    assert!(err.contains("127.0.0.1:1: cannot connect"), "{err}");
    let err = home.fails(2, &["lock", "m", "--endpoints", "unix:/x"]);
    assert!(err.contains("`unix:/x` is no endpoint of etcd's API"), "{err}");
}

/// A cluster of ours is found without being named.
#[test]
fn our_own_cluster_is_found_and_missed() {
    let home = Home::with(3);
    let served = home.ok(&["env", "-o", "name"]);
    crate::block_on(async {
        let client = Client::new(served.lines(), Options::default()).unwrap();
        let mut revisions = Vec::new();
        for node in client.each() {
            let done = node.put(crate::client::put("k", "v")).await.unwrap();
            revisions.push(done.header.unwrap().revision);
        }
        assert_eq!(revisions, [2, 3, 4]);
        assert_eq!(client.member_list(false).await.unwrap().len(), 3);
        let refused = client.put(crate::client::put("", "v")).await.unwrap_err();
        assert_eq!(refused.text, "etcdserver: key is not provided");
    });
    home.ok(&["cluster", "down"]);
    let err = home.fails(1, &["lease", "list", "--timeout", "1s"]);
    assert!(err.contains("is not running") && err.contains("kvctl cluster up"), "{err}");
}

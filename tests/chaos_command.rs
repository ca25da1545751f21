//! `kvctl chaos` as people type it: the grammar through a real shell, mistakes pointed at, what is
//! said, and the exit codes.

mod kvctl_home;

use std::process::Command;

use kvctl_home::{Home, wait_until};

/// What a shell makes of a line: exit code, standard output and standard error.
fn shell(home: &Home, line: &str) -> (i32, String, String) {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_kvctl"));
    let path = format!("{}:/usr/bin:/bin", program.parent().unwrap().display());
    let mut command = Command::new("sh");
    command.args(["-c", line]).env("PATH", path).env("KVRAFT_HOME", home.path());
    let output = command.output().unwrap();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The links of the newest fault, as text.
fn links(home: &Home) -> String {
    home.json(&["chaos", "status"])["faults"].as_array().unwrap().last().unwrap()["links"]
        .to_string()
}

#[test]
fn a_fault_is_asked_for_shown_and_healed() {
    let home = Home::with(5);
    assert_eq!(home.ok(&["chaos", "status"]), "no fault is in force\n");
    assert_eq!(home.ok(&["chaos", "heal"]), "nothing was in force\n");

    // All ways to write it, quoted and unquoted, cut the same links.
    let ways =
        ["'1,2|3,4,5'", "1,2 3,4,5", "1,2/3,4,5", "'1, 2 | 3,4,5'", "1,2", "5,4,3", "'3,4,5|2,1'"];
    let mut cut = Vec::new();
    for way in ways {
        let (code, out, err) = shell(&home, &format!("kvctl chaos partition {way}"));
        assert_eq!(code, 0, "{way}: {err}");
        assert!(out.starts_with("fault ") && out.ends_with(", until healed\n"), "{out}");
        cut.push(links(&home));
        home.ok(&["chaos", "heal"]);
    }
    assert!(cut.iter().all(|it| *it == cut[0]), "{cut:?}");

    // Without quotes the shell cuts the line at the `|`: it does what its writer meant, and says so
    // where it can still be seen.
    let (code, _, err) = shell(&home, "kvctl chaos partition 1,2|3,4,5");
    assert_ne!(code, 0, "the shell's own: there is no command 3,4,5");
    assert!(err.contains("partition 1,2 | the rest, until healed"), "{err}");
    assert_eq!(links(&home), cut[0]);
    assert!(shell(&home, "kvctl cluster status").2.contains("an injected fault is in force"));
    assert_eq!(shell(&home, "kvctl chaos heal | true").0, 0);
    assert_eq!(home.ok(&["chaos", "status"]), "no fault is in force\n");

    let id = home.ok(&[
        "chaos", "delay", "1ms", "--links", "1-2,3:4", "--for", "1h", "--by", "me", "-o", "name",
    ]);
    let table = home.ok(&["chaos", "status"]);
    assert!(table.contains("delay 1ms on 1-2,3:4") && table.contains("59m"), "{table}");
    assert!(table.trim_end().ends_with("me"), "{table}");
    let healed = home.ok(&["chaos", "heal", id.trim()]);
    assert!(healed.contains("delay 1ms on 1-2,3:4 (in force for "), "{healed}");
    assert!(home.fails(1, &["chaos", "heal", id.trim()]).contains("is over"));
    assert!(home.fails(1, &["chaos", "heal", "99"]).contains("there is no fault 99"));
}

#[test]
fn mistakes_are_pointed_at_and_change_nothing() {
    let home = Home::with(3);
    let pointed = [
        (&["partition", "1,2|2,3"][..], "2 stands here a second time\n  1,2|2,3\n      ^"),
        (&["partition", "1|7"], "there is no node 7; there are 1, 2, 3\n  1|7\n    ^"),
        (&["partition", "1,,2"], "a node is missing here: its number, or a role\n  1,,2\n    ^"),
        (&["isolate", "boss"], "`boss` is no node"),
        (&["cut", "1-9"], "there is no node 9; there are 1, 2, 3\n  1-9\n    ^"),
        (&["cut", "1"], "`:` (one way) or `-` (both ways) is missing here\n  1\n   ^"),
        (&["delay", "-5ms"], "`-5ms` is no time"),
        (&["loss", "7"], "`7` is no share"),
        (&["loss", "101%"], "`101%` is no share"),
        (&["delay", "1ms", "--flap", "1s"], "write two times"),
        (&["delay", "1ms", "--for", "0s"], "it must be more than nothing"),
    ];
    for (arguments, why) in pointed {
        let said = home.fails(2, &[&["chaos"], arguments].concat());
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    let refused = [
        (&["rings"][..], "rings want at least four nodes"),
        (&["delay", "2h"], "is too long"),
        (&["delay", "0s"], "nothing is wrong with links of this policy"),
        (&["rate", "0"], "lets nothing through"),
        (&["bridge", "followers"], "a bridge is one node"),
        (&["partition", "leader|1,2,3"], "would stand in two groups"),
        (&["cut", "leader:leader"], "no link is concerned"),
    ];
    for (arguments, why) in refused {
        let said = home.fails(1, &[&["chaos"], arguments].concat());
        assert!(said.contains(why), "{arguments:?}: {said}");
    }
    assert_eq!(home.ok(&["chaos", "status"]), "no fault is in force\n");
}

#[test]
fn a_protected_cluster_wants_to_be_asked_twice() {
    let home = Home::new();
    home.up_with(3, &["protected = true"]);
    let said = home.fails(1, &["chaos", "isolate", "1,2"]);
    assert!(said.contains("no majority") && said.contains("say --yes"), "{said}");
    home.ok(&["chaos", "isolate", "1"]);
    let said = home.fails(1, &["chaos", "isolate", "2"]);
    assert!(said.contains("say --yes"), "with what is in force already: {said}");
    let (code, _, err) = shell(&home, "kvctl chaos isolate 2 --yes");
    assert!(code == 0 && err.contains("warning: this leaves no majority"), "{err}");
    home.ok(&["chaos", "heal"]);
    home.ok(&["node", "stop", "1"]);
    for (noun, verb) in [("node", "kill"), ("node", "pause"), ("chaos", "kill")] {
        let said = home.fails(1, &[noun, verb, "2"]);
        assert!(said.contains("say --yes"), "{noun} {verb}: {said}");
    }
    home.ok(&["node", "kill", "2", "--yes"]);
    home.ok(&["node", "start", "1"]);
}

/// As somebody types who copies two lines: an election is waited for.
#[test]
fn a_leader_that_is_just_being_elected_is_waited_for() {
    let home = Home::with(3);
    home.ok(&["chaos", "kill", "leader", "--for", "30s"]);
    home.ok(&["chaos", "delay", "1ms", "--links", "leader-all"]);
    home.ok(&["chaos", "heal"]);
    home.ok(&["cluster", "wait", "--ready"]);
    home.ok(&["node", "stop", "1"]);
    home.ok(&["node", "stop", "2"]);
    // The last one that runs may lead, until it has heard nobody for a while.
    let nobody_leads = || home.json(&["cluster", "status"])["leader"].is_null();
    wait_until("nobody leads", nobody_leads);
    let said = home.fails(1, &["chaos", "pause", "leader"]);
    assert!(said.contains("no leader is known"), "{said}");
}

#[test]
fn faults_of_nodes_are_asked_for_shown_and_healed() {
    let home = Home::with(3);
    for (ask, told) in [
        ("kill 2", "kill 2"),
        ("terminate 3 --for 1h", "terminate 3"),
        ("crash-loop 3 --every 10m", "crash-loop 3: every 600000 ms"),
        ("slow-cpu 1,2 --to 50%", "slow-cpu 1,2: to 50 %"),
        ("memory all --limit 1GiB", "memory all: limited to 1073741824 bytes"),
        ("clock jump followers -2s --for 1h", "clock followers: set back by 2000 ms"),
        ("clock jump 1 2s --for 1h", "clock 1: jump 2000 ms ahead"),
        ("clock drift 1 1.01", "clock 1: run at 1.01 times its rate"),
        ("clock stop 2", "clock 2: stop"),
        ("clock strobe 3 20ms --every 5ms", "clock 3: jump 20 ms ahead and back, every 5 ms"),
        ("disk slow 1 1ms --jitter 1ms", "disk 1: slow by 1 ms, ± 1 ms"),
        ("disk full 2 --flap 1s/1s", "disk 2: full, 1000 ms on and 1000 ms off"),
        ("disk read-errors 2 --share 1%", "disk 2: 1 % of reads fail"),
        ("disk write-errors 2 --share 0.5%", "disk 2: 0.5 % of writes fail"),
        ("disk sync-error 1", "disk 1: the next sync fails"),
        ("disk forget all", "disk all: forgets what is not synced"),
        ("disk tear 3", "disk 3: tears what is not synced"),
        ("corrupt 2", "corrupt 2: a bit of its log"),
    ] {
        let words: Vec<_> = ["chaos"].into_iter().chain(ask.split(' ')).collect();
        let said = home.ok(&words);
        assert!(said.contains(told), "{ask}: {said}");
        let id = said.split([' ', ':']).nth(1).unwrap().to_owned();
        assert!(home.ok(&["chaos", "status"]).contains(told));
        let healed = home.ok(&["chaos", "heal", &id]);
        assert!(healed.contains("meanwhile: ") && healed.contains("committed"), "{ask}: {healed}");
        home.ok(&["cluster", "wait"]);
    }
    for (ask, code, why) in [
        ("kill 7", 2, "there is no node 7"),
        ("clock drift 1 0", 1, "a clock runs 0.01 to 100 times as fast"),
        ("clock jump 1 0s", 2, "TIME"),
        ("disk read-errors 1 --share 0%", 1, "nothing is wrong with such a disk"),
        ("disk write-errors 1 --share 200%", 2, "from 0 to 1"),
        ("disk slow 1 2h", 1, "too long"),
        ("slow-cpu 1 --to 0%", 1, "1 % to 99 %"),
        ("crash-loop 1 --flap 1s/1s", 1, "does not flap"),
        ("corrupt all", 1, "one node at a time"),
    ] {
        let words: Vec<_> = ["chaos"].into_iter().chain(ask.split(' ')).collect();
        let said = home.fails(code, &words);
        assert!(said.contains(why), "{ask}: {said}");
    }
    assert_eq!(home.ok(&["chaos", "status"]), "no fault is in force\n");
}

//! What nodes and supervisor say of themselves, and how it is read; and a cluster in slow motion.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use kvctl_home::{Home, wait_until};
use serde_json::Value;

mod kvctl_home;

const PATIENCE: Duration = Duration::from_secs(20);

/// Lines as programs are told them.
fn lines(home: &Home, arguments: &[&str]) -> Vec<Value> {
    let command = [&["cluster", "logs", "-n", "1000", "-o", "json"], arguments].concat();
    home.ok(&command).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Whether it is a line of that node which says that.
fn says(line: &Value, node: impl Into<Value>, message: &str) -> bool {
    line["node"] == node.into() && line["line"].as_str().unwrap().contains(message)
}

#[test]
fn every_line_says_whose_it_is_and_where_in_the_history() {
    let home = Home::new();
    home.ok(&["cluster", "up", "-n", "3", "--log-format", "json"]);
    let first = home.leader();
    home.ok(&["put", "k", "v"]);
    home.ok(&["node", "stop", &first.to_string(), "--yes"]);
    home.ok(&["cluster", "wait"]);
    let second = home.leader();
    home.ok(&["node", "start", &first.to_string()]);
    let followed = |home: &Home| {
        let all = lines(home, &["--node", &first.to_string()]);
        let starts = all.iter().rposition(|line| says(line, first, "starts")).unwrap();
        all[starts..].iter().any(|line| says(line, first, "follows a leader"))
    };
    wait_until("it does not say whom it follows", || followed(&home));

    let all = lines(&home, &[]);
    let times: Vec<&str> = all.iter().map(|line| line["time"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    for node in [first, second] {
        let leads = all.iter().find(|line| says(line, node, "leads")).unwrap();
        let stands = all.iter().position(|line| says(line, node, "stands for election")).unwrap();
        assert!(all[stands..].contains(leads), "it stands before it leads");
        let fields = &leads["fields"];
        assert_eq!((&fields["node"], &leads["level"]), (&node.into(), &"INFO".into()));
        assert!(fields["term"].as_u64() >= Some(2), "{fields}");
        assert!(fields["index"].as_u64() >= Some(2), "{fields}");
        assert!(fields["target"].as_str().unwrap().starts_with("kvraft::node"), "{fields}");
    }
    let stopped = |line: &Value| says(line, Value::Null, "node-stopped");
    assert!(all.iter().any(stopped), "the supervisor's words are missing");
    // A file holds nothing but objects, and people are shown words.
    let file = home.path().join(format!("default/nodes/{second}/node.log"));
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let object: Value = serde_json::from_str(line).unwrap();
        assert_eq!(object["node"], second, "{line}");
    }
    let shown = home.ok(&["cluster", "logs", "--node", &second.to_string()]);
    assert!(shown.contains(" INFO leads ") && !shown.contains('{'), "{shown}");
    assert!(shown.lines().all(|line| line.starts_with(&format!("{second} │ 20"))), "{shown}");
    let severe = lines(&home, &["--level", "warn"]);
    assert!(severe.iter().all(|line| line["level"] == "WARN" || line["level"] == "ERROR"));
    assert!(home.fails(2, &["cluster", "logs", "--level", "loud"]).contains("none of error, warn"));
    assert!(home.fails(2, &["cluster", "logs", "--node", "7"]).contains("no node 7"));
}

/// `cluster logs -f`, which ends with it.
struct Following {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Following {
    fn begin(home: &Home) -> Following {
        let mut command = home.command(&["cluster", "logs", "-f", "-n", "1000"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            out.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Following { child, lines }
    }

    /// What comes, to the first line that is wanted.
    fn until(&self, wanted: impl Fn(&str) -> bool) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE);
            let line = line.unwrap_or_else(|_| panic!("it does not come: {seen:#?}"));
            seen.push(line);
            if wanted(&seen[seen.len() - 1]) {
                return seen;
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn logs_are_followed_in_order_through_what_comes_and_who_comes() {
    let home = Home::with(3);
    let first = home.leader();
    let following = Following::begin(&home);
    let mut seen = following.until(|line| line.contains("leads"));
    home.ok(&["node", "kill", &first.to_string()]);
    // Another one, or the same again: it is back at once.
    seen.extend(following.until(|line| !line.starts_with('s') && line.contains(" INFO leads ")));
    home.ok(&["member", "add"]);
    seen.extend(following.until(|line| line.starts_with("4 │") && line.contains("starts")));
    seen.extend(following.until(|line| line.starts_with("4 │") && line.contains("has a vote")));
    let times: Vec<&str> = seen.iter().map(|line| line.split(' ').nth(2).unwrap()).collect();
    // A member that is new has a file that was not looked at before.
    let known: Vec<&str> = (times.iter().zip(&seen))
        .filter(|(_, line)| !line.starts_with('4'))
        .map(|(time, _)| *time)
        .collect();
    assert!(known.is_sorted(), "{seen:#?}");
    assert!(seen.iter().any(|line| line.starts_with("s │")), "{seen:#?}");
}

/// In slow motion, so that who leads believes so for a while after it was cut off.
#[test]
fn entries_that_give_way_to_another_leaders_are_told() {
    let home = Home::new();
    home.ok(&["cluster", "up", "-n", "3", "--slow", "10x"]);
    let old = home.leader();
    let status = home.json(&["cluster", "status"]);
    let address = status["nodes"][old as usize - 1]["client"].as_str().unwrap().to_owned();
    home.ok(&["chaos", "isolate", "leader"]);
    let put = home.run(&["put", "k", "lost", "--endpoints", &address, "--timeout", "1s"]);
    assert_ne!(put.code, 0, "{}", put.out);
    wait_until("nobody else leads", || home.leader() != old);
    home.ok(&["put", "k", "kept", "--timeout", "20s"]);
    home.ok(&["chaos", "heal"]);
    wait_until("it does not say what gave way", || {
        let all = lines(&home, &["--node", &old.to_string(), "--level", "warn"]);
        all.iter().any(|line| says(line, old, "were never committed"))
    });
    assert_eq!(home.ok(&["get", "k", "--timeout", "20s"]), "kept\n");
}

#[test]
fn in_slow_motion_elections_and_messages_take_longer_and_all_goes_on() {
    let home = Home::new();
    let said = home.fails(2, &["cluster", "up", "--slow", "1000x"]);
    assert!(said.contains("from 1 to 50 times"), "{said}");
    home.ok(&["cluster", "up", "-n", "3", "--slow", "5x"]);
    let status = home.json(&["cluster", "status"]);
    assert_eq!(status["slow"], 5);
    assert!(home.ok(&["cluster", "status"]).contains("in slow motion (5x)"));
    let file = home.path().join("default/nodes/2/node.toml");
    let file = std::fs::read_to_string(file).unwrap();
    for line in [
        "election_timeout_min_millis = 750",
        "election_timeout_max_millis = 1500",
        "heartbeat_millis = 250",
        "link_delay_millis = 50",
    ] {
        assert!(file.lines().any(|it| it == line), "no {line}:\n{file}");
    }
    // There and back, and longer than 50 ms each way: a clock of the test's own would say so, too,
    // and would make it one of timings; nodes measure how long messages take.
    home.ok(&["put", "k", "v"]);
    let took = |home: &Home| {
        let status = home.json(&["cluster", "status"]);
        let leader = status["leader"].as_u64().unwrap() as usize;
        let links = status["nodes"][leader - 1]["report"]["links"].as_array().unwrap().clone();
        let of = |name: &str| links.iter().map(|it| it[name].as_u64().unwrap()).sum::<u64>();
        (of("deliveries"), of("delivery_micros"))
    };
    wait_until("nothing is delivered", || took(&home).0 > 0);
    let (deliveries, micros) = took(&home);
    assert!(micros / deliveries >= 50_000, "{micros} µs for {deliveries} deliveries");
    // It is no fault: nothing is in force, and healing changes nothing.
    assert_eq!(home.json(&["chaos", "status"])["faults"].as_array().unwrap().len(), 0);
    home.ok(&["chaos", "partition", "1|2,3"]);
    home.ok(&["chaos", "heal"]);
    home.ok(&["cluster", "wait", "--ready"]);
    home.ok(&["put", "k", "w"]);
    let said = home.fails(2, &["cluster", "up", "--slow", "7x"]);
    assert!(said.contains("--slow 5x, and 7x was asked for: set `slow = 7`"), "{said}");
}

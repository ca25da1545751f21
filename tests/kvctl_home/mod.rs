//! A home for clusters, and kvctl in it.

// Each test uses a part of it.
#![allow(dead_code)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// A home for clusters, in which nothing is left running when it goes.
pub struct Home {
    directory: TempDir,
}

/// How a command ended.
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Home {
    pub fn new() -> Home {
        Home { directory: TempDir::new().unwrap() }
    }

    /// In a directory that somebody has chosen.
    pub fn within(directory: TempDir) -> Home {
        Home { directory }
    }

    /// With a cluster of `nodes` nodes.
    pub fn with(nodes: u32) -> Home {
        let home = Home::new();
        home.ok(&["cluster", "up", "-n", &nodes.to_string()]);
        home
    }

    /// Starts a cluster of `nodes` nodes whose `cluster.toml` has these lines, each in the place of
    /// the one of the same name.
    pub fn up_with(&self, nodes: u32, lines: &[&str]) {
        self.ok(&["cluster", "up", "-n", &nodes.to_string()]);
        self.ok(&["cluster", "down"]);
        let file = self.path().join("default/cluster.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let name = |line: &str| line.split(" = ").next().unwrap_or_default().to_owned();
        let text: Vec<_> = text
            .lines()
            .map(|old| lines.iter().find(|new| name(new) == name(old)).copied().unwrap_or(old))
            .collect();
        assert!(lines.iter().all(|line| text.contains(line)), "{lines:?}");
        std::fs::write(&file, text.join("\n")).unwrap();
        self.ok(&["cluster", "up"]);
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
        command.args(arguments).env("KVRAFT_HOME", self.path());
        // What whoever runs the tests has set is not for them.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy();
            let is_ours = ["KVRAFT_NAME", "KVRAFT_ENDPOINTS", "KVRAFT_LOG", "TRACEPARENT"];
            if is_ours.contains(&&*name) || name.starts_with("OTEL_") {
                command.env_remove(&*name);
            }
        }
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().unwrap())
    }

    pub fn run_with(&self, arguments: &[&str], input: &[u8]) -> Ended {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // A command that stops reading is tested too: a broken pipe is no failure here.
        let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap();
        ended(output)
    }

    /// Runs what must succeed, and returns what it printed.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {}{}", ended.out, ended.err);
        ended.out
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["-o", "json"]].concat());
        let json: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["schema_version"], 1, "{text}");
        json
    }

    /// Who leads; on a busy machine there may be an election under way.
    pub fn leader(&self) -> u64 {
        let leader = || self.json(&["cluster", "status"])["leader"].as_u64();
        wait_until("nobody leads", || leader().is_some());
        leader().unwrap_or_else(|| self.leader())
    }

    /// Runs what must fail with `code`, and returns what it said of it.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, code, "{arguments:?}: {}{}", ended.out, ended.err);
        assert!(ended.err.starts_with("error: "), "{}", ended.err);
        ended.err
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for name in self.run(&["cluster", "list", "-o", "name"]).out.lines() {
            self.run(&["--name", name, "cluster", "down", "--purge"]);
        }
    }
}

pub fn ended(output: Output) -> Ended {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Ended {
        code: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

pub fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

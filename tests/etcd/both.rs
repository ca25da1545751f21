//! One command of etcdctl, against both; what it prints, sizes and names aside, must be the same.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, mpsc};
use std::time::{Duration, Instant};

use regex::Regex;

use crate::reference::etcdctl;

/// The longest that a line which should come is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// Two clusters, and what their ids stand for.
pub struct Both {
    sides: [Side; 2],
}

/// One of them.
pub struct Side {
    pub addresses: Vec<String>,
    /// Ids, addresses and names that differ, and what is written in their place.
    known: Mutex<Vec<(String, String)>>,
}

/// How a command ended, in words that both sides share.
#[derive(Debug, PartialEq)]
pub struct Told {
    pub code: Option<i32>,
    pub out: Vec<String>,
    pub err: Vec<String>,
}

impl Both {
    /// What etcd listens at, and what kvraft does.
    pub fn new(theirs: &[String], ours: &[String]) -> Both {
        Both { sides: [Side::new(theirs), Side::new(ours)] }
    }

    /// The first member of each alone, for what members may know at different moments.
    pub fn first(&self) -> Both {
        Both { sides: self.sides.each_ref().map(|side| Side::new(&side.addresses[..1])) }
    }

    /// From now on these ids, of one side and the other, are called `name`.
    pub fn call(&self, name: &str, ids: [String; 2]) {
        for (side, id) in self.sides.iter().zip(ids) {
            side.know(&id, name);
        }
    }

    /// Runs it against both; what they agree on.
    pub fn same(&self, arguments: &[&str]) -> Told {
        self.same_with(arguments, "")
    }

    pub fn same_with(&self, arguments: &[&str], input: &str) -> Told {
        let [theirs, ours] = self.each(|side| side.told(&side.run(arguments, input)));
        assert_eq!(ours, theirs, "kvraft (left) and etcd differ on {arguments:?}");
        ours
    }

    /// The same; in what was printed, the only match of `pattern`'s group is called `name` by both
    /// from now on.
    pub fn same_and_call(&self, name: &str, pattern: &str, arguments: &[&str]) -> Told {
        let pattern = Regex::new(pattern).unwrap();
        let outputs = self.each(|side| side.run(arguments, ""));
        let ids = outputs.each_ref().map(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let found = pattern.captures(&text);
            let found = found.unwrap_or_else(|| panic!("{arguments:?}: {output:?}"));
            found[1].to_owned()
        });
        self.call(name, ids);
        let [theirs, ours] = [0, 1].map(|side: usize| self.sides[side].told(&outputs[side]));
        assert_eq!(ours, theirs, "kvraft (left) and etcd differ on {arguments:?}");
        ours
    }

    /// The same, each line of what it prints put into words that both share, in their order.
    pub fn same_but(&self, arguments: &[&str], words: impl Fn(&str) -> String) -> Vec<String> {
        let outputs = self.each(|side| side.run(arguments, ""));
        let [theirs, ours] = [0, 1].map(|number: usize| {
            let told = self.sides[number].told(&outputs[number]);
            assert_eq!(told.code, Some(0), "{arguments:?}: {:?}", outputs[number]);
            let printed = told.out.iter().chain(&told.err);
            let mut lines: Vec<String> = printed.map(|line| words(line)).collect();
            lines.sort();
            lines
        });
        assert_eq!(ours, theirs, "kvraft (left) and etcd differ on {arguments:?}");
        ours
    }

    /// Runs it against each until it succeeds; what `pattern`'s group finds then is called `name`.
    pub fn until_done(&self, arguments: &[&str], name: &str, pattern: &str) {
        let pattern = Regex::new(pattern).unwrap();
        let ids = self.each(|side| {
            let end = Instant::now() + PATIENCE;
            loop {
                let output = side.run(arguments, "");
                let text = String::from_utf8_lossy(&output.stdout);
                if let Some(found) = pattern.captures(&text) {
                    return found[1].to_owned();
                }
                assert!(Instant::now() < end, "{arguments:?}: {output:?}");
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        self.call(name, ids);
    }

    /// What each prints, all of it.
    pub fn each_ends(&self, arguments: &[&str]) -> [String; 2] {
        self.each(|side| {
            let output = side.run(arguments, "");
            String::from_utf8_lossy(&output.stdout).into_owned()
        })
    }

    /// Of each, the id of a member that does not lead.
    pub fn followers(&self) -> [String; 2] {
        self.each(|side| {
            let output = side.run(&["endpoint", "status"], "");
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let mut follows = text.lines().map(|line| line.split(", ").collect::<Vec<_>>());
            follows.find(|parts| parts[4] == "false").unwrap()[1].to_owned()
        })
    }

    /// The same names as there.
    pub fn with_names_of(self, other: &Both) -> Both {
        for (own, side) in self.sides.iter().zip(&other.sides) {
            own.known.lock().unwrap().extend(side.known.lock().unwrap().iter().cloned());
        }
        self
    }

    /// Runs something for each side at the same time.
    fn each<T: Send>(&self, run: impl Fn(&Side) -> T + Sync) -> [T; 2] {
        let [theirs, ours] = &self.sides;
        std::thread::scope(|scope| {
            let first = scope.spawn(|| run(theirs));
            let second = run(ours);
            [first.join().unwrap(), second]
        })
    }

    /// Runs it against each until it prints what is waited for.
    pub fn until(&self, what: &str, seen: impl Fn(&Told) -> bool + Sync, arguments: &[&str]) {
        self.each(|side| {
            let end = Instant::now() + PATIENCE;
            while !seen(&side.told(&side.run(arguments, ""))) {
                assert!(Instant::now() < end, "{what}");
            }
        });
    }

    /// Puts `key` until the watch tells of it, on both sides equally often: it stands, and what it
    /// told of that is done with.
    pub fn until_seen(&self, watch: &Following<'_>, key: &str) {
        let end = Instant::now() + PATIENCE;
        for number in 1.. {
            assert!(Instant::now() < end, "{} sees nothing", watch.what);
            let value = format!("seen {number}");
            self.same(&["put", key, &value]);
            let seen = watch.children.each_ref().map(|follower| {
                let brief = Duration::from_millis(200);
                let mut lines = std::iter::from_fn(|| follower.lines.recv_timeout(brief).ok());
                lines.any(|line| line == value)
            });
            if seen == [true, true] {
                return;
            }
        }
    }

    /// Starts a command that goes on, against both.
    pub fn follow(&self, arguments: &[&str]) -> Following<'_> {
        let children = self.sides.each_ref().map(|side| Follower::start(side, arguments));
        Following { both: self, children, what: arguments.join(" ") }
    }
}

impl Side {
    fn new(addresses: &[String]) -> Side {
        let side = Side { addresses: addresses.to_vec(), known: Mutex::default() };
        for (number, address) in addresses.iter().enumerate() {
            side.know(address, &format!("<address {number}>"));
        }
        side
    }

    fn know(&self, id: &str, name: &str) {
        self.known.lock().unwrap().push((id.to_owned(), name.to_owned()));
    }

    /// A command, names replaced by what they stand for here.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = etcdctl(&self.addresses.join(","));
        for argument in arguments {
            let mut argument = (*argument).to_owned();
            for (id, name) in self.known.lock().unwrap().iter() {
                argument = argument.replace(name, id);
            }
            command.arg(argument);
        }
        command
    }

    fn run(&self, arguments: &[&str], input: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        // Whoever does not read it does not matter.
        let feed = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
        let output = child.wait_with_output().unwrap();
        feed.join().unwrap();
        output
    }

    fn told(&self, output: &Output) -> Told {
        let lines = |bytes: &[u8]| {
            let text = String::from_utf8_lossy(bytes);
            // etcdctl's own log says how it got there, with times in it.
            let lines = text.lines().filter(|line| !line.starts_with("{\"level\":"));
            lines.map(|line| self.shared(line)).collect()
        };
        Told { code: output.status.code(), out: lines(&output.stdout), err: lines(&output.stderr) }
    }

    /// A line without what must differ.
    fn shared(&self, line: &str) -> String {
        let mut line = line.to_owned();
        for (id, name) in self.known.lock().unwrap().iter() {
            // A member of ours is called by one digit, which may mean anything.
            if id.len() > 4 {
                line = line.replace(id.as_str(), name);
            }
        }
        for (pattern, name) in [
            (r"took = [0-9.]+[a-zµ]+", "took = <time>"),
            (r"remaining\([0-9]+s\)", "remaining(<time>)"),
            (r"\b[0-9.]+ [kM]?B\b", "<size>"),
            (r#""(cluster_id|member_id|raft_term|lease)":[0-9]+"#, r#""$1":<number>"#),
            (r#""(ClusterID|MemberID|RaftTerm)" : [0-9]+"#, r#""$1" : <number>"#),
        ] {
            line = Regex::new(pattern).unwrap().replace_all(&line, name).into_owned();
        }
        // A lease's keys come in no certain order.
        let keys = Regex::new(r"keys\(\[(.*)\]\)").unwrap();
        let sorted = |found: &regex::Captures<'_>| {
            let mut keys: Vec<_> = found[1].split(' ').collect();
            keys.sort_unstable();
            format!("keys([{}])", keys.join(" "))
        };
        keys.replace(&line, sorted).into_owned()
    }
}

/// A command that goes on, on both sides.
pub struct Following<'a> {
    both: &'a Both,
    children: [Follower; 2],
    what: String,
}

/// A process and the lines that it prints.
struct Follower {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Follower {
    fn start(side: &Side, arguments: &[&str]) -> Follower {
        let mut command = side.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines() {
                let Ok(line) = line else { break };
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Follower { child, lines }
    }

    fn line(&self, what: &str) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what} printed no more"))
    }
}

impl Following<'_> {
    /// The next `count` lines, which must be the same.
    pub fn lines(&self, count: usize) -> Vec<String> {
        let [theirs, ours] = [0, 1].map(|number: usize| {
            let (side, child) = (&self.both.sides[number], &self.children[number]);
            (0..count).map(|_| side.shared(&child.line(&self.what))).collect::<Vec<_>>()
        });
        assert_eq!(ours, theirs, "kvraft (left) and etcd differ on {}", self.what);
        ours
    }

    /// The next line of each, which may differ.
    pub fn line_of_each(&self) -> [String; 2] {
        self.children.each_ref().map(|child| child.line(&self.what))
    }

    /// Ends it as Ctrl-C does; how it ended must be the same.
    pub fn interrupt(mut self) -> Option<i32> {
        let [theirs, ours] = self.children.each_mut().map(|follower| {
            let pid = nix::unistd::Pid::from_raw(follower.child.id() as i32);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
            follower.child.wait().unwrap().code()
        });
        assert_eq!(ours, theirs, "kvraft (left) and etcd end {} differently", self.what);
        ours
    }

    /// Waits until it ends by itself, on both sides alike.
    pub fn end(mut self) -> (Option<i32>, Vec<String>) {
        let ends = [0, 1].map(|number: usize| {
            let follower = &mut self.children[number];
            let code = follower.child.wait().unwrap().code();
            let mut err = String::new();
            follower.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
            let rest = follower.lines.iter().collect::<Vec<_>>();
            let lines = rest.iter().map(String::as_str).chain(err.lines());
            let lines = lines.filter(|line| !line.starts_with("{\"level\":"));
            (code, lines.map(|line| self.both.sides[number].shared(line)).collect::<Vec<_>>())
        });
        let [theirs, ours] = ends;
        assert_eq!(ours, theirs, "kvraft (left) and etcd end {} differently", self.what);
        ours
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

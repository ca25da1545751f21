//! The house has floors, and an arrow only ever points down.
//!
//! **The problem.** Two promises of this project rest on what a module does *not* use. The lower
//! rooms can be simulated, replayed and reasoned about only while they touch no clock, thread,
//! socket, file, global randomness or hash order. And any room can be read on its own only while
//! it knows nothing of those above it. Neither promise survives by intention: one convenient
//! `use` is enough.
//!
//! **The rule.** This test reads every source file as the compiler's first pass would (comments
//! and strings aside), follows each path to the room it leads to, and refuses what breaks the
//! table below. It also keeps lines within 100 columns and asks of a file longer than 500 lines
//! that it says why, in its first ten lines, after `Why this file is long:`.
//!
//! **The caveats.** What a dependency does inside is not seen, nor what a macro of another crate
//! expands to. A room that is not in the table fails until it is given its floor.

#[path = "layering/scan.rs"]
mod scan;

use std::fs;
use std::path::{Path, PathBuf};

use scan::{Reference, references};

/// The rooms and their floors. A path may lead to a lower floor or stay in its room.
const FLOORS: &[(&str, u32)] = &[
    ("bin", 90), // the three mains
    ("cli", 80),
    ("testing", 75),
    ("trial", 72), // clients at work while faults come, and what was seen
    ("supervisor", 70),
    ("node", 60),
    ("client", 55),
    ("etcd_client", 55), // etcd's API from the other side, for our own programs
    ("control", 52),     // what operators say, and their side of the conversation
    ("rpc", 50),
    ("grpc", 50),
    ("observe", 45),
    ("sim", 42),
    ("replica", 40),
    ("scenario", 37), // what is done to a cluster, step by step, and what is expected of it
    ("verify", 35),   // what a history proves
    ("chaos", 32),    // faults that people inject
    ("record", 31),   // a core's life, step by step, and its replay
    ("kv", 30),
    ("storage", 30),
    ("link", 30),
    ("codec", 25), // of the boundary's types, for the log and for the wire
    ("config", 22),
    ("consensus", 20),
    ("schema", 0),
    ("museum", 0), // bugs, for the simulator alone
    ("types", 0),
    ("units", 0),     // times and sizes as people write them
    ("quota", 1),     // how much is stored at most
    ("retention", 1), // how much of the past is kept
];

/// The rooms in which the same input always gives the same output.
const DETERMINISTIC: &[&str] = &[
    "consensus",
    "replica",
    "kv",
    "link",
    "storage",
    "codec",
    "types",
    "museum",
    "sim",
    "verify",
    "chaos",
    "scenario",
    "units",
    "quota",
    "retention",
    "record",
];

/// The one place where a deterministic room meets the world: the disk that is real.
const REAL_DISK: &[&str] = &["src/storage/file_disk"];

/// What no deterministic room may name, and why. A path breaks the rule if it begins with one of
/// these, or if it imports the whole of a module that holds one.
const FORBIDDEN: &[(&str, &str)] = &[
    ("tokio", "an event loop"),
    ("tokio_util", "an event loop"),
    ("futures", "an event loop"),
    ("capnp_rpc", "an event loop"),
    ("hyper", "sockets"),
    ("nix", "the operating system"),
    ("rustix", "the operating system"),
    ("libc", "the operating system"),
    ("fs2", "files"),
    ("tempfile", "files"),
    ("rand", "randomness that no seed of ours decides"),
    ("std::time::Instant", "a clock"),
    ("std::time::SystemTime", "a clock"),
    ("std::time::UNIX_EPOCH", "a clock"),
    ("std::thread", "threads"),
    ("std::sync::mpsc", "channels between threads"),
    ("std::fs", "files"),
    ("std::net", "sockets"),
    ("std::os", "the operating system"),
    ("std::process", "processes"),
    ("std::env", "the environment"),
    ("std::io::stdin", "the terminal"),
    ("std::io::stdout", "the terminal"),
    ("std::io::stderr", "the terminal"),
    ("io::stdin", "the terminal"),
    ("io::stdout", "the terminal"),
    ("io::stderr", "the terminal"),
    ("std::collections::HashMap", "an order that differs from run to run"),
    ("std::collections::HashSet", "an order that differs from run to run"),
    ("std::collections::hash_map", "an order that differs from run to run"),
    ("std::collections::hash_set", "an order that differs from run to run"),
    ("std::hash::RandomState", "an order that differs from run to run"),
    ("imbl::HashMap", "an order that differs from run to run"),
    ("imbl::HashSet", "an order that differs from run to run"),
];

const COLUMNS: usize = 100;
const LINES: usize = 500;
const WHY_LONG: &str = "Why this file is long:";

#[test]
fn every_arrow_points_down_and_the_core_touches_nothing() {
    let files = sources(&["src", "bin"]);
    assert!(files.len() > 10, "the test must find the sources, found {files:?}");
    let broken: Vec<String> = files.iter().flat_map(|(name, text)| arrows(name, text)).collect();
    assert!(broken.is_empty(), "the layering is broken:\n{}", broken.join("\n"));
}

/// Rooms that may put a bug back, and choose which.
const CHOOSE_BUGS: &[&str] = &["src/museum", "src/sim/", "src/cli/sim/", ONLY_WITH_MUSEUM];

/// The one way for a bug into a node, which is compiled only if somebody asks for it.
const ONLY_WITH_MUSEUM: &str = "src/node/museum.rs";

/// Rooms that honour one, where its rule stands: by asking whether it is in force, and no more.
const HONOUR_BUGS: &[&str] = &["src/consensus/", "src/storage/", "src/replica/", "src/kv/"];

/// A switch that puts a bug back is a value; nothing that becomes a node may ever make one.
#[test]
fn no_node_can_be_given_a_bug() {
    let files = sources(&["src", "bin"]);
    let broken: Vec<String> = files.iter().flat_map(|(name, text)| bugs(name, text)).collect();
    assert!(broken.is_empty(), "bugs where none may be:\n{}", broken.join("\n"));
    let honoured = |(name, text): &(String, String)| {
        HONOUR_BUGS.iter().any(|room| name.starts_with(room)) && text.contains("has(Bug::")
    };
    assert!(files.iter().any(honoured), "the test must find the lines that honour bugs");
    let of = |wanted: &str| files.iter().find(|(name, _)| name == wanted).unwrap().1.as_str();
    let guarded = "#[cfg(feature = \"museum\")]\nmod museum;";
    assert!(of("src/node/mod.rs").contains(guarded) && !of(ONLY_WITH_MUSEUM).is_empty());
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let features = manifest.split("[features]").nth(1).unwrap().split("\n[").next().unwrap();
    assert!(!features.contains("default"), "no feature is on by itself: {features}");
}

/// Places that name a bug and must not.
fn bugs(name: &str, text: &str) -> Vec<String> {
    let is_test = name.contains("/tests/") || name.ends_with("/tests.rs");
    if is_test || CHOOSE_BUGS.iter().any(|room| name.starts_with(room)) {
        return Vec::new();
    }
    let honours = HONOUR_BUGS.iter().any(|room| name.starts_with(room));
    let is_wrong = |line: &&str| {
        let code = line.split("//").next().unwrap_or_default();
        let asked = if honours { code.matches("has(Bug::").count() } else { 0 };
        code.contains("Bugs::only") || code.matches("Bug::").count() > asked
    };
    let lines = text.lines().enumerate().filter(|(_, line)| is_wrong(line));
    lines.map(|(at, line)| format!("{name}:{}: {}", at + 1, line.trim())).collect()
}

#[test]
fn files_and_lines_keep_their_size() {
    let files = sources(&["src", "bin", "tests", "benches", "build.rs"]);
    let broken: Vec<String> = files.iter().flat_map(|(name, text)| sizes(name, text)).collect();
    assert!(broken.is_empty(), "too long:\n{}", broken.join("\n"));
}

/// Every Rust file under `roots`, as its path from the package's root and its text.
fn sources(roots: &[&str]) -> Vec<(String, String)> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting: Vec<PathBuf> = roots.iter().map(|root| package.join(root)).collect();
    let mut files = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            waiting.extend(entries.map(|entry| entry.expect("a directory's entry").path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
            let name = path.strip_prefix(package).expect("it was found below");
            files.push((name.to_str().expect("our names are UTF-8").to_owned(), text));
        }
    }
    files.sort();
    files
}

/// The modules that lead to a file: `src/kv/mod.rs` is `[kv]`, `src/kv/command.rs` `[kv, command]`.
fn module_of(name: &str) -> Vec<String> {
    let inside = name.strip_prefix("src/").unwrap_or(name).trim_end_matches(".rs");
    let mut module: Vec<String> = inside.split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|last| last == "mod" || last == "lib") {
        module.pop();
    }
    module
}

fn floor(room: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// What a file names that it must not.
fn arrows(name: &str, text: &str) -> Vec<String> {
    let module = module_of(name);
    // The crate's root only declares the rooms.
    let Some(room) = module.first() else { return Vec::new() };
    let Some(own_floor) = floor(room) else {
        return vec![format!("{name}: the room `{room}` has no floor in tests/layering.rs")];
    };
    let deterministic = DETERMINISTIC.contains(&room.as_str())
        && !REAL_DISK.iter().any(|real| name.starts_with(real));
    let mut broken = Vec::new();
    for Reference { line, path } in references(&module, text) {
        let shown = path.join("::");
        if path[0] == "crate" || path[0] == "kvraft" {
            match path.get(1).map(String::as_str) {
                Some(target) if target == room => {}
                Some(target) => match floor(target) {
                    Some(floor) if floor < own_floor => {}
                    Some(_) => broken.push(format!(
                        "{name}:{line}: `{room}` must not know `{target}` (`{shown}`)"
                    )),
                    None => broken.push(format!("{name}:{line}: `{shown}` leads to no room")),
                },
                None => {}
            }
        } else if deterministic && let Some(why) = forbidden(&path) {
            broken.push(format!("{name}:{line}: `{room}` is deterministic; `{shown}` is {why}"));
        }
    }
    broken
}

fn forbidden(path: &[String]) -> Option<&'static str> {
    FORBIDDEN.iter().find_map(|(rule, why)| {
        let rule: Vec<&str> = rule.split("::").collect();
        let named = path.iter().zip(&rule).all(|(a, b)| a == b) && path.len() >= rule.len();
        // `use std::time;` and `use std::time::*` bring in the clock under another name. `std::io`
        // alone is mostly its error type, so what else it holds is listed by its short name too.
        if *path == ["std", "io"] {
            return None;
        }
        let whole = path.strip_suffix(&["*".to_owned()]).unwrap_or(path);
        let contains = whole.len() < rule.len() && whole.iter().zip(&rule).all(|(a, b)| a == b);
        (named || contains).then_some(*why)
    })
}

/// Lines and files that are too long.
fn sizes(name: &str, text: &str) -> Vec<String> {
    let mut broken: Vec<String> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.chars().count() > COLUMNS)
        .map(|(number, _)| format!("{name}:{}: longer than {COLUMNS} columns", number + 1))
        .collect();
    let lines = text.lines().count();
    if lines > LINES && !text.lines().take(10).any(|line| line.contains(WHY_LONG)) {
        broken.push(format!("{name}: {lines} lines and no word of why (`{WHY_LONG} …`)"));
    }
    broken
}

/// A guard that guards nothing looks like one that does: here it is shown to bite.
mod the_test_itself {
    use super::*;

    fn bites(name: &str, text: &str) -> bool {
        !arrows(name, text).is_empty()
    }

    #[test]
    fn upward_arrows_are_seen_however_they_are_written() {
        for text in [
            "use crate::node::Shell;",
            "use crate::{types::Term, node::{self, Shell}};",
            "fn f() { crate::rpc::listen(); }",
            "use super::super::node;",
            "mod tests { use super::super::super::node::X; }",
            "pub use crate :: /* hidden */ supervisor as s;",
            "use crate::*;",
            "use crate::nowhere::X;",
            "type T = Vec<crate::cli::Table>;",
            "macro_rules! m { () => { $crate::node::f() } }",
        ] {
            assert!(bites("src/kv/command.rs", text), "{text}");
        }
        assert!(bites("src/kv/mod.rs", "use super::storage::Disk;"), "neighbours on a floor");
        assert!(bites("src/consensus/raft/mod.rs", "use crate::kv::Machine;"));
        assert!(bites("src/attic/mod.rs", ""), "a room without a floor");
    }

    #[test]
    fn downward_arrows_and_mere_words_are_not() {
        for text in [
            "use crate::types::{Term, NodeId};",
            "use crate::kv::Machine; use super::Outcome; use self::inner::X;",
            "mod tests { use super::*; use super::super::Machine; }",
            "// use crate::node::Shell;\n/* crate::cli /* nested */ crate::rpc */",
            "/// See [`crate::node::Shell`].\nfn f() {}",
            r####"const A: &str = "crate::node"; const B: &str = r#"crate::rpc""#;"####,
            "let c = '\"'; let d = b'\\''; fn f<'a>(x: &'a str) {} // crate::node",
            "use std::time::Duration; let t = x.tokio; let rand = rand + 1;",
            "use std::collections::{BTreeMap, VecDeque}; use std::io;",
        ] {
            assert_eq!(arrows("src/kv/command.rs", text), Vec::<String>::new(), "{text}");
        }
        assert!(!bites("bin/kvctl.rs", "fn main() { kvraft::cli::main() }"));
        assert!(!bites("src/lib.rs", "pub mod node;"));
    }

    #[test]
    fn the_world_is_kept_out_of_the_deterministic_rooms() {
        for text in [
            "use tokio::sync::mpsc;",
            "use std::{fmt, time::{Duration, Instant}};",
            "let now = std::time::SystemTime::now();",
            "use std::time; let now = time::Instant::now();",
            "use std::time::*;",
            "use std::*;",
            "use std::time::{self, Duration};",
            "use std::collections::HashMap;",
            "use std::collections::*;",
            "use std::collections as c;",
            "fn f(m: &std::collections::HashSet<u8>) {}",
            "::std::thread::spawn(f);",
            "use std::{thread as t, fmt};",
            "let x: u64 = rand::random();",
            "use std::os::unix::net::UnixStream;",
            "use std::io; fn f() { io::stdout().flush() }",
        ] {
            for room in ["consensus", "replica", "kv", "link", "storage"] {
                assert!(bites(&format!("src/{room}/mod.rs"), text), "{room}: {text}");
            }
            assert!(!bites("src/node/mod.rs", text), "the shell may: {text}");
            assert!(!bites(&format!("{}.rs", REAL_DISK[0]), text), "the real disk may: {text}");
        }
    }

    #[test]
    fn bugs_are_chosen_in_few_places_and_honoured_in_few_more() {
        let honest = "if self.has(Bug::CommitOldTerm) {}\n// Bugs::only(Bug::NoSessions)";
        let chosen = "let bugs = Bugs::only(bug);";
        assert!(bugs("src/consensus/raft/safety.rs", honest).is_empty());
        assert_eq!(bugs("src/consensus/raft/safety.rs", "let b = Bug::NoSessions;").len(), 1);
        assert_eq!(bugs("src/replica/mod.rs", chosen).len(), 1);
        assert_eq!(bugs("src/node/run.rs", honest).len(), 1, "a node honours none");
        assert_eq!(bugs("bin/kvnode.rs", chosen).len(), 1);
        assert!(bugs("src/sim/steering.rs", chosen).is_empty());
        assert!(bugs("src/kv/tests/version.rs", chosen).is_empty());
    }

    #[test]
    fn the_place_of_a_violation_is_named() {
        let broken = arrows("src/link/mod.rs", "//! Prose.\n\nuse std::fmt;\nuse crate::rpc::X;\n");
        assert_eq!(broken, ["src/link/mod.rs:4: `link` must not know `rpc` (`crate::rpc::X`)"]);
    }

    #[test]
    fn long_lines_and_long_files_are_seen() {
        assert!(sizes("a.rs", &"ä".repeat(100)).is_empty(), "columns, not bytes");
        assert!(!sizes("a.rs", &"x".repeat(101)).is_empty());
        let long = "x\n".repeat(501);
        assert!(!sizes("a.rs", &long).is_empty());
        assert!(sizes("a.rs", &format!("//! {WHY_LONG} one table.\n{long}")).is_empty());
        assert!(!sizes("a.rs", &format!("{long}// {WHY_LONG} said too late\n")).is_empty());
    }
}

//! Whatever comes from outside, nothing panics: each target of the fuzzer, for a short while.
//!
//! # The problem
//! A node reads bytes that others wrote: peers, clients, its own disk after years. One index out of
//! range, one `unwrap` too many, and a stranger can stop a node; the same message, sent to all,
//! stops the cluster.
//!
//! # How
//! [`targets`] says what is fuzzed. Here every target eats its corpus (`fuzz/corpus`, which
//! libFuzzer found and everybody keeps), its own well-formed samples, and thousands of inputs made
//! from both by a seeded generator: always the same ones, so a failure is a failure for everybody.
//! `make soak` runs the same targets under libFuzzer, which sees which branches an input takes, for
//! as long as one likes (`ops/fuzz.sh`).
//!
//! A failing input is written out as an array of bytes: a new file in the corpus, and the test
//! repeats it for ever.

#[path = "../spec/disk.rs"]
mod disk;
mod found;
mod targets;

use std::path::Path;

use kvraft::types::Random;
use targets::{ALL, Target};

/// Inputs made up for each target.
const GENERATED: u64 = 3000;
/// No made-up input is longer.
const LONGEST: usize = 2048;

#[test]
fn no_target_panics_on_its_corpus_and_on_made_up_inputs() {
    for target in ALL {
        let mut known = (target.samples)();
        assert!(!known.is_empty());
        known.extend(corpus(target.name));
        known.iter().for_each(|input| eat(target, input));
        let mut random = Random::from_seed(7);
        for _ in 0..GENERATED {
            eat(target, &made_up(&mut random, &known));
        }
    }
}

/// A target that gets nowhere would survive everything. The corpus of this one leads a node through
/// all that a node does.
#[test]
fn lives_among_liars_get_somewhere() {
    let lives: Vec<_> = corpus("raft_step").iter().map(|life| targets::step::live(life)).collect();
    let lives_that = |does: fn(&targets::step::Reached) -> bool| lives.iter().any(does);
    assert!(lives_that(|life| life.led), "win an election");
    assert!(lives_that(|life| life.committed_as_leader), "commit");
    assert!(lives_that(|life| life.members_changed), "begin to change the members");
    assert!(lives_that(|life| life.served), "serve a read");
    assert!(lives_that(|life| life.followed), "take entries");
    assert!(lives_that(|life| life.truncated), "remove entries");
    assert!(lives_that(|life| life.installed), "install a snapshot");
    assert!(lives_that(|life| life.compacted), "forget entries");
}

/// A directory of the corpus with a misspelt name would feed nobody.
#[test]
fn corpus_directories_belong_to_targets() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let directories = std::fs::read_dir(&root).expect("the corpus is kept");
    for directory in directories {
        let name = directory.expect("a directory").file_name();
        assert!(ALL.iter().any(|target| name == target.name), "{name:?} feeds no target");
    }
}

fn eat(target: &Target, input: &[u8]) {
    if std::panic::catch_unwind(|| (target.run)(input)).is_err() {
        panic!("the target {} does not survive {input:?}", target.name);
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let Ok(files) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = files.filter_map(|file| Some(file.ok()?.path())).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).expect("a file of the corpus")).collect()
}

/// A known input, changed a little; or something out of nothing.
fn made_up(random: &mut Random, known: &[Vec<u8>]) -> Vec<u8> {
    let pick = |random: &mut Random| known[random.below(known.len() as u64) as usize].clone();
    let mut input = if random.chance(0.1) { Vec::new() } else { pick(random) };
    for _ in 0..1 + random.below(6) {
        let at = random.below(input.len() as u64 + 1) as usize;
        match random.below(7) {
            0 if at < input.len() => input[at] ^= 1 << random.below(8),
            1 if at < input.len() => input[at] = random.bits() as u8,
            2 => input.truncate(at),
            3 => {
                let more = (0..random.below(24)).map(|_| random.bits() as u8);
                input.splice(at..at, more.collect::<Vec<_>>());
            }
            4 => {
                let other = pick(random);
                let from = random.below(other.len() as u64 + 1) as usize;
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            5 => {
                let edges = [0, 1, u64::MAX, 1 << 60, 1 << 62, 1 << 63];
                let edge = edges[random.below(6) as usize].to_le_bytes();
                let end = (at + 8).min(input.len());
                input.splice(at..end, edge);
            }
            _ => {
                let repeated = input[at..].to_vec();
                input.extend_from_slice(&repeated);
            }
        }
        input.truncate(LONGEST);
    }
    input
}

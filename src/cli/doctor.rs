//! `kvctl doctor`: is this machine fit for a cluster, and is anything left over?

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use serde::Serialize;

use super::Global;
use super::failure::{Exit, Failure, Outcome};
use super::output::{self, Format, Progress};
use super::units::{short_duration, short_size};
use crate::config::{ClusterDirectory, Home};
use crate::control::SupervisorClient;
use crate::supervisor::receipt;
use crate::supervisor::spawn::program;

/// Open files that a node with many clients may need.
const OPEN_FILES: u64 = 1_024;
/// Room for five nodes' first segments, twice; below, a new cluster may fill the disk at once.
const FREE_WARN: u64 = 1 << 30;
const FREE_FAIL: u64 = 350 << 20;
/// How many times a write is synced to see how long it takes.
const SYNCS: usize = 20;
/// A median above this makes every write of the cluster slow.
const SYNC_WARN: Duration = Duration::from_millis(20);
/// The kernel's longest path of a Unix socket.
const SOCKET_PATH: usize = 107;
/// `tmpfs` and `ramfs` as statfs names them.
const MEMORY_FILE_SYSTEMS: [i64; 2] = [0x0102_1994, 0x8584_58f6];

/// Check this machine: limits, disk, fsync, sockets, kernel, programs, leftovers
///
/// Exits with 1 if a check fails; warnings do not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kvctl doctor
  kvctl doctor -o json | jq '.checks[] | select(.verdict != \"ok\")'

JSON fields: schema_version, checks: name, verdict (ok, warn, fail), finding, advice (null if ok)")]
pub struct Doctor {}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// What a check found.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    finding: String,
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, finding: impl Into<String>) -> Check {
        Check { name, verdict: Verdict::Ok, finding: finding.into(), advice: None }
    }

    fn warn(name: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Check {
        let advice = Some(advice.into());
        Check { name, verdict: Verdict::Warn, finding: finding.into(), advice }
    }

    fn fail(name: &'static str, finding: impl Into<String>, advice: impl Into<String>) -> Check {
        Check { verdict: Verdict::Fail, ..Check::warn(name, finding, advice) }
    }
}

/// What `-o json` prints.
#[derive(Serialize)]
struct Printed {
    checks: Vec<Check>,
}

pub async fn run(global: &Global, _: &Doctor) -> Outcome {
    let home = Home::from_environment()?;
    let progress = Progress::spinner("looking");
    let mut checks = vec![programs(), open_files(), pidfd()];
    checks.push(owner(&home));
    match existing(home.path()) {
        Some(place) => {
            checks.push(free(&place));
            checks.push(sync(&place));
        }
        None => checks.push(Check::fail(
            "disk",
            format!("no part of {} exists", home.path().display()),
            "set KVRAFT_HOME to a directory on a disk",
        )),
    }
    checks.push(socket_path(&home.cluster(&global.name)));
    checks.extend(leftovers(&home).await);
    drop(progress);
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Fail).count();
    match global.output {
        Format::Json => output::json(&Printed { checks })?,
        Format::Name => checks
            .iter()
            .filter(|check| check.verdict != Verdict::Ok)
            .try_for_each(|check| output::line(check.name))?,
        Format::Table => checks.iter().try_for_each(print)?,
    }
    match failed {
        0 => Ok(0),
        _ => Err(Failure::new(Exit::Failed, format!("{failed} checks failed"))),
    }
}

fn print(check: &Check) -> Result<(), Failure> {
    use anstyle::{AnsiColor, Style};
    let (word, colour) = match check.verdict {
        Verdict::Ok => ("ok  ", AnsiColor::Green),
        Verdict::Warn => ("warn", AnsiColor::Yellow),
        Verdict::Fail => ("FAIL", AnsiColor::Red),
    };
    let style = Style::new().fg_color(Some(colour.into()));
    output::line(format!("{style}{word}{style:#}  {:<12} {}", check.name, check.finding))?;
    match &check.advice {
        Some(advice) => output::line(format!("                    → {advice}")),
        None => Ok(()),
    }
}

fn programs() -> Check {
    const NAME: &str = "programs";
    let missing: Vec<String> = ["kvsupd", "kvnode"]
        .iter()
        .filter_map(|name| program(name).err())
        .map(|error| error.to_string())
        .collect();
    match missing.is_empty() {
        true => Check::ok(NAME, "kvsupd and kvnode are there"),
        false => Check::fail(
            NAME,
            missing.join("; "),
            "install all three programs in one directory, or set KVRAFT_BIN_DIR to theirs",
        ),
    }
}

fn open_files() -> Check {
    const NAME: &str = "open-files";
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, _)) if soft >= OPEN_FILES => Check::ok(NAME, format!("up to {soft} a process")),
        Ok((soft, hard)) => Check::warn(
            NAME,
            format!("only {soft} a process"),
            format!("raise it: ulimit -n {}", OPEN_FILES.min(hard)),
        ),
        Err(error) => Check::warn(NAME, format!("not known: {error}"), "look at: ulimit -n"),
    }
}

fn pidfd() -> Check {
    const NAME: &str = "kernel";
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    let me = rustix::process::getpid();
    match rustix::process::pidfd_open(me, rustix::process::PidfdFlags::empty()) {
        Ok(_) => Check::ok(NAME, format!("Linux {release}, with pidfd")),
        Err(error) => Check::fail(
            NAME,
            format!("Linux {release} has no pidfd ({error})"),
            "the supervisor needs Linux 5.3 or later, without a filter on pidfd_open",
        ),
    }
}

fn owner(home: &Home) -> Check {
    const NAME: &str = "home";
    let path = home.path().display();
    let advice = "set KVRAFT_HOME to a directory of your own";
    let clusters = match home.list() {
        Ok(clusters) => clusters,
        Err(error) => return Check::fail(NAME, error.to_string(), advice),
    };
    match clusters.iter().find_map(|(_, directory)| directory.check_owner().err()) {
        Some(error) => Check::warn(NAME, error.to_string(), advice),
        None => Check::ok(NAME, format!("{path}, {} clusters", clusters.len())),
    }
}

/// The deepest part of `path` that exists.
fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors().find(|part| part.is_dir()).map(Path::to_owned)
}

fn free(place: &Path) -> Check {
    const NAME: &str = "disk";
    let free = match statvfs(place) {
        Ok(disk) => disk.blocks_available() * disk.fragment_size(),
        Err(error) => {
            let advice = "set KVRAFT_HOME to a directory that you may read";
            return Check::fail(NAME, format!("{}: {error}", place.display()), advice);
        }
    };
    let finding = format!("{} free at {}", short_size(free), place.display());
    let advice = "make room, or set KVRAFT_HOME to another disk: each node takes 64 MiB at once";
    match free {
        FREE_WARN.. => Check::ok(NAME, finding),
        FREE_FAIL..FREE_WARN => Check::warn(NAME, finding, advice),
        _ => Check::fail(NAME, finding, advice),
    }
}

fn sync(place: &Path) -> Check {
    const NAME: &str = "fsync";
    let in_memory = nix::sys::statfs::statfs(place)
        .is_ok_and(|disk| MEMORY_FILE_SYSTEMS.contains(&disk.filesystem_type().0));
    match time_syncs(place) {
        Err(error) => Check::fail(
            NAME,
            format!("cannot write in {}: {error}", place.display()),
            "set KVRAFT_HOME to a directory that you may write to",
        ),
        Ok(times) if in_memory => Check::warn(
            NAME,
            format!("{}, but {} is in memory", describe(&times), place.display()),
            "a power cut loses everything there: set KVRAFT_HOME to a directory on a disk",
        ),
        Ok(times) if times[times.len() / 2] > SYNC_WARN => Check::warn(
            NAME,
            describe(&times),
            "every write waits for this: a faster disk makes a faster cluster",
        ),
        Ok(times) => Check::ok(NAME, describe(&times)),
    }
}

fn describe(times: &[Duration]) -> String {
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    format!("4 KiB are durable in {} (worst {})", short_duration(median), short_duration(worst))
}

/// The times that synced writes take, sorted.
fn time_syncs(place: &Path) -> io::Result<Vec<Duration>> {
    let path = place.join(format!(".kvraft-doctor-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let times = time_syncs_of(&file);
    fs::remove_file(&path)?;
    times
}

fn time_syncs_of(mut file: &File) -> io::Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let began = Instant::now();
        file.write_all(&[0x5a; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn socket_path(directory: &ClusterDirectory) -> Check {
    const NAME: &str = "sockets";
    let longest = directory.path().join("nodes/31/control.sock");
    let length = longest.as_os_str().len();
    match length > SOCKET_PATH {
        false => Check::ok(NAME, format!("their paths have {length} of {SOCKET_PATH} bytes")),
        true if Path::new("/proc/self/fd").is_dir() => Check::ok(
            NAME,
            format!("their paths have {length} bytes, reached through /proc/self/fd"),
        ),
        true => Check::fail(
            NAME,
            format!("their paths have {length} bytes, and /proc is not mounted"),
            "mount /proc, or set KVRAFT_HOME to a shorter path",
        ),
    }
}

/// Clusters of which something runs or lies about although nobody keeps them.
async fn leftovers(home: &Home) -> Vec<Check> {
    const NAME: &str = "leftovers";
    let mut found = Vec::new();
    for (name, directory) in home.list().unwrap_or_default() {
        if SupervisorClient::connect(&directory.supervisor_address()).await.is_ok() {
            continue;
        }
        let advice = format!("clean up: kvctl --name {name} cluster down");
        match receipt::look(&directory) {
            Ok(left) if left.is_clean() => {}
            Ok(left) => found.push(Check::warn(
                NAME,
                format!(
                    "cluster `{name}` has no supervisor, but processes {}, sockets {}, ports {}, \
                     locks {}",
                    left.processes.len(),
                    left.sockets.len(),
                    left.ports.len(),
                    left.locks.len()
                ),
                advice,
            )),
            Err(error) => {
                found.push(Check::warn(NAME, format!("cluster `{name}`: {error}"), advice));
            }
        }
    }
    if found.is_empty() {
        found.push(Check::ok(NAME, "none"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_can_be_written_passes_and_is_left_clean() {
        let place = tempfile::tempdir().unwrap();
        assert_ne!(sync(place.path()).verdict, Verdict::Fail);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
        assert_eq!(sync(&place.path().join("missing")).verdict, Verdict::Fail);
    }

    #[test]
    fn a_long_path_is_no_failure_where_proc_is_mounted() {
        let home = Home::at(format!("/{}", "x".repeat(200))).unwrap();
        let check = socket_path(&home.cluster(&Default::default()));
        assert_eq!(check.verdict, Verdict::Ok);
        assert!(check.finding.contains("/proc/self/fd"));
    }
}

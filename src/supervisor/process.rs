//! Processes: who they are, whether they live, and how one hears of their end.
//!
//! # The problem
//!
//! A number is not a process. Process 4711 of yesterday is gone, and today the number belongs to
//! somebody's editor: a supervisor that comes back after its own death, or after a power cut, and
//! sends SIGKILL to the number in its file, kills the editor.
//!
//! # The rule
//!
//! - A process is its boot, its number and its start time together ([`Identity`]). `/proc` tells
//!   all three; no two processes share them.
//! - Signals go through a pidfd, which names one process for ever. It is opened first and the
//!   identity compared afterwards: whatever the number meant before, it is this process that is
//!   compared, and this one that is signalled.
//! - A pidfd becomes readable when its process ends, whoever its parent is: no polling.
//! - A zombie is dead. It holds nothing but its number, and a container's first process may never
//!   reap it.
//!
//! # Caveat
//!
//! Only a parent learns how its child ended. Of an adopted process the supervisor learns that it
//! ended: [`Exit::Unknown`].

use std::cell::RefCell;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Child;

use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, getrlimit, pidfd_open, pidfd_send_signal, prlimit,
};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::lifecycle::{Exit, Signal};

/// One process, never to be taken for another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The kernel's own name for its present boot.
    pub boot: String,
    pub pid: u32,
    /// In clock ticks since the boot: field 22 of `/proc/<pid>/stat`.
    pub start_time: u64,
}

/// What `/proc/<pid>/stat` says, as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    start_time: u64,
}

impl Stat {
    /// `None`: there is no such process.
    fn of(pid: u32) -> io::Result<Option<Stat>> {
        let text = match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(text) => text,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Stat::parse(&text).map(Some).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat says {text:?}"))
        })
    }

    /// `pid (name) state ppid …`, where the name may hold anything, blanks and brackets too.
    fn parse(text: &str) -> Option<Stat> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = fields.next()?.chars().next()?;
        // The state is field 3, so the start time, field 22, comes 18 fields after the next.
        let start_time = fields.nth(18)?.parse().ok()?;
        Some(Stat { state, start_time })
    }

    fn is_dead(self) -> bool {
        matches!(self.state, 'Z' | 'X' | 'x')
    }
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// The kernel's own name for its present boot.
pub fn boot() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

impl Identity {
    /// Of the living process `pid`.
    pub fn of(pid: u32) -> io::Result<Option<Identity>> {
        let boot = boot()?;
        let stat = Stat::of(pid)?.filter(|stat| !stat.is_dead());
        Ok(stat.map(|stat| Identity { boot, pid, start_time: stat.start_time }))
    }

    /// Of this very process.
    pub fn of_self() -> io::Result<Identity> {
        Identity::of(std::process::id())?
            .ok_or_else(|| io::Error::other("/proc does not show this process: is it mounted?"))
    }

    /// Whether it lives.
    pub fn is_alive(&self) -> io::Result<bool> {
        Ok(Identity::of(self.pid)?.as_ref() == Some(self))
    }
}

/// A living process that is watched.
#[derive(Debug)]
pub struct Process {
    pub identity: Identity,
    pidfd: AsyncFd<OwnedFd>,
    /// If it is our own child: then its end must be reaped.
    child: RefCell<Option<Child>>,
}

impl Process {
    /// Watches our own child. Wants a tokio runtime around it.
    pub fn of_child(child: Child) -> io::Result<Process> {
        let pid = child.id();
        // Not reaped yet, so that the number is certainly the child's, and `stat` is there even if
        // it has ended.
        let start_time = Stat::of(pid)?.map_or(0, |stat| stat.start_time);
        let identity = Identity { boot: boot()?, pid, start_time };
        let pidfd = watch(open(pid)?)?;
        Ok(Process { identity, pidfd, child: RefCell::new(Some(child)) })
    }

    /// Watches somebody else's; `None` if it is dead. Wants a tokio runtime around it.
    pub fn of_identity(identity: &Identity) -> io::Result<Option<Process>> {
        let pidfd = match open(identity.pid) {
            Ok(pidfd) => pidfd,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        if !identity.is_alive()? {
            return Ok(None);
        }
        let pidfd = watch(pidfd)?;
        Ok(Some(Process { identity: identity.clone(), pidfd, child: RefCell::new(None) }))
    }

    /// Its number.
    pub fn pid(&self) -> u32 {
        self.identity.pid
    }

    /// Sends a signal. A process that has ended takes none, which is no error: its end is told by
    /// [`ended`](Process::ended).
    pub fn send(&self, signal: Signal) -> io::Result<()> {
        use rustix::process::Signal as Number;
        let number = match signal {
            Signal::Terminate => Number::TERM,
            Signal::Kill => Number::KILL,
            Signal::Pause => Number::STOP,
            Signal::Continue => Number::CONT,
        };
        match pidfd_send_signal(self.pidfd.get_ref().as_fd(), number).map_err(io::Error::from) {
            Err(error) if is_gone(&error) => Ok(()),
            other => other,
        }
    }

    /// Limits the memory of its data (RLIMIT_DATA, soft: it can be lifted again); `None`: as much
    /// as it may have.
    pub fn limit_memory(&self, bytes: Option<u64>) -> io::Result<()> {
        let pid = i32::try_from(self.identity.pid).ok().and_then(Pid::from_raw);
        // Its hard limit is ours; raising it is not for everybody.
        let maximum = getrlimit(Resource::Data).maximum;
        let current = [bytes, maximum].into_iter().flatten().min();
        prlimit(pid, Resource::Data, Rlimit { current, maximum })?;
        Ok(())
    }

    /// Whether it is stopped, by SIGSTOP or the like.
    pub fn is_paused(&self) -> bool {
        matches!(Stat::of(self.identity.pid), Ok(Some(Stat { state: 'T' | 't', .. })))
    }

    /// Waits for its end.
    pub async fn ended(&self) -> io::Result<Exit> {
        drop(self.pidfd.readable().await?);
        match self.child.borrow_mut().take() {
            None => Ok(Exit::Unknown),
            Some(mut child) => {
                // It has ended: this reaps it, and waits for nothing.
                let status = child.wait()?;
                Ok(match (status.code(), status.signal()) {
                    (Some(code), _) => Exit::Code(code),
                    (None, Some(signal)) => Exit::Signal(signal),
                    (None, None) => Exit::Unknown,
                })
            }
        }
    }
}

fn watch(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what watches it, never lent out to be closed or replaced,
    // and closed only after the watch has ended with it.
    Ok(unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) }?)
}

fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{pid} is no number of a process"))
    })?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// Living processes of this user that run `program` (by the last part of its path) with `argument`
/// among their arguments, whoever started them; this process left out.
///
/// This finds what no file knows: a node that was spawned by a supervisor which died before it
/// could write that down. A supervisor and its nodes are always started with a path of their own
/// among the arguments. The program's name is asked for because an editor may have the same file
/// among its arguments, and must not be taken for a node.
pub fn running(program: &str, argument: &Path) -> io::Result<Vec<Identity>> {
    let user = nix::unistd::geteuid().as_raw();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        // Processes come and go while one looks: what cannot be read is not there.
        let Ok(entry) = entry else { continue };
        let pid = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = pid.filter(|pid| *pid != std::process::id()) else { continue };
        if !entry.metadata().is_ok_and(|metadata| metadata.uid() == user) {
            continue;
        }
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let has = |test: &dyn Fn(&OsStr) -> bool| {
            line.split(|byte| *byte == 0).any(|part| test(OsStr::from_bytes(part)))
        };
        if has(&|part| part == argument.as_os_str())
            && has(&|part| Path::new(part).file_name() == Some(OsStr::new(program)))
        {
            found.extend(Identity::of(pid)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn sleeper() -> Child {
        let mut command = Command::new("sleep");
        command.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    }

    #[test]
    fn the_name_in_stat_may_hold_anything() {
        let tail = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 0";
        let expected = Some(Stat { state: 'S', start_time: 4242 });
        assert_eq!(Stat::parse(&format!("7 (a) b) Z 9) {tail}")), expected);
        assert_eq!(Stat::parse("7 (a) S 1 2"), None);
    }

    #[tokio::test]
    async fn a_child_is_watched_signalled_and_reaped() {
        let process = Process::of_child(sleeper()).unwrap();
        assert!(process.identity.is_alive().unwrap());
        process.send(Signal::Pause).unwrap();
        while !process.is_paused() {
            tokio::task::yield_now().await;
        }
        process.send(Signal::Kill).unwrap();
        assert_eq!(process.ended().await.unwrap(), Exit::Signal(9));
        assert!(!process.identity.is_alive().unwrap());
        process.send(Signal::Kill).unwrap();
    }

    #[tokio::test]
    async fn an_adopted_process_ends_in_a_way_unknown_and_its_zombie_counts_as_dead() {
        let mut child = sleeper();
        let identity = Identity::of(child.id()).unwrap().unwrap();
        let process = Process::of_identity(&identity).unwrap().unwrap();
        process.send(Signal::Terminate).unwrap();
        assert_eq!(process.ended().await.unwrap(), Exit::Unknown);
        // Nobody has reaped it yet.
        assert!(Path::new(&format!("/proc/{}", child.id())).exists());
        assert!(!identity.is_alive().unwrap());
        assert!(Process::of_identity(&identity).unwrap().is_none());
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn another_process_of_the_same_number_is_another() {
        let mut child = sleeper();
        let mut identity = Identity::of(child.id()).unwrap().unwrap();
        identity.start_time -= 1;
        assert!(!identity.is_alive().unwrap());
        assert!(Process::of_identity(&identity).unwrap().is_none());
        identity.start_time += 1;
        identity.boot = "an earlier one".into();
        assert!(Process::of_identity(&identity).unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn processes_are_found_by_program_and_argument() {
        let temporary = tempfile::tempdir().unwrap();
        let path = temporary.path().join("node.toml");
        let start = |name: &str| {
            let mut shell = Command::new("sh");
            shell.args(["-c", "read line", name]).arg(&path).stdin(Stdio::piped());
            shell.spawn().unwrap()
        };
        let (mut node, mut editor) = (start("/somewhere/kvnode"), start("/usr/bin/editor"));
        // The arguments are the shell's own only once it has replaced the fork of this process.
        let found = loop {
            let found = running("kvnode", &path).unwrap();
            if !found.is_empty() && !running("editor", &path).unwrap().is_empty() {
                break found;
            }
            std::thread::yield_now();
        };
        assert_eq!(found.iter().map(|it| it.pid).collect::<Vec<_>>(), [node.id()]);
        for child in [&mut node, &mut editor] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert!(running("kvnode", &path).unwrap().is_empty());
    }
}

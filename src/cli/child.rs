//! A command that kvctl wraps: started, waited for, ended.
//!
//! # What can go wrong
//!
//! - *Ctrl-C.* The terminal sends it to the command as well, which may have its own use for it: it
//!   decides how to end, and is waited for.
//! - *SIGTERM* reaches kvctl alone, and is handed on.
//! - *It must end, and does not want to.* It is asked, given a moment, and killed. Its own children
//!   are its own affair.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::failure::{Exit, Failure};

/// The command and its arguments, ready for what else it is to know.
pub fn command(words: &[OsString]) -> Result<Command, Failure> {
    let (program, arguments) =
        words.split_first().ok_or_else(|| Failure::usage("there is no command to run"))?;
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true);
    Ok(command)
}

/// Starts it.
pub fn spawn(mut command: Command) -> Result<Child, Failure> {
    command.spawn().map_err(|error| {
        let program = command.as_std().get_program().display();
        Failure::new(Exit::Usage, format!("cannot run `{program}`: {error}"))
    })
}

/// Waits for it, and returns its code.
pub async fn wait(child: &mut Child) -> Result<u8, Failure> {
    let ended = wait_and_relay(child).await;
    Ok(code(ended.map_err(|error| Failure::failed(format!("cannot wait for it: {error}")))?))
}

async fn wait_and_relay(child: &mut Child) -> io::Result<ExitStatus> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            _ = interrupts.recv() => {}
            _ = terminations.recv() => ask_to_end(child),
        }
    }
}

/// Ends it: SIGTERM, and after `grace` SIGKILL.
pub async fn end(child: &mut Child, grace: Duration) {
    ask_to_end(child);
    if timeout(grace, child.wait()).await.is_err() {
        // It fails only if it has just ended.
        let _ = child.kill().await;
    }
}

fn ask_to_end(child: &Child) {
    if let Some(pid) = child.id().and_then(|pid| i32::try_from(pid).ok()) {
        // It may have ended just now.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
}

/// The command's code; as shells do, 128 and the signal's number if one killed it.
fn code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(1)
}

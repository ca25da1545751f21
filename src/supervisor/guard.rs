//! A process that ends a timed pause even if nobody else is left to.
//!
//! A node that is stopped by SIGSTOP cannot count its own time, and the supervisor may die before
//! the pause is over. So a timed pause has a guard: a process in a session of its own that holds
//! the node's pidfd, which names this one process for ever, and sends SIGCONT when it is time. It
//! ends with the node, or when the pause is healed earlier.

use std::io;
use std::process::Command;
use std::time::Duration;

use super::daemon::{Daemon, unix_millis};
use super::lifecycle::Signal;
use super::process::{Identity, Process};
use super::spawn::detached;

/// A calendar that is set back or forward meanwhile is noticed within this time.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// What the guard does: waits until `until_millis` (Unix time), and lets the process go on.
pub fn guard(identity: &str, until_millis: u64) -> io::Result<()> {
    let identity: Identity = serde_json::from_str(identity).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let Some(process) = Process::of_identity(&identity)? else { return Ok(()) };
        loop {
            let left = Duration::from_millis(until_millis.saturating_sub(unix_millis()));
            if left.is_zero() {
                return process.send(Signal::Continue);
            }
            tokio::select! {
                () = tokio::time::sleep(left.min(LONGEST_NAP)) => {}
                ended = process.ended() => return ended.map(drop),
            }
        }
    })
}

impl Daemon {
    /// Starts a guard over `process`.
    pub(super) fn start_guard(
        &self,
        process: &Identity,
        until_millis: u64,
    ) -> io::Result<Identity> {
        let mut command = Command::new(std::env::current_exe()?);
        let identity = serde_json::to_string(process).map_err(io::Error::other)?;
        command.args(["--guard", &identity, "--until", &until_millis.to_string()]);
        let child = detached(command, &self.directory.path().join("guard.stderr"))?;
        let guard = Process::of_child(child)?;
        let identity = guard.identity.clone();
        // Somebody has to hear of its end, or it would stay as a zombie.
        tokio::task::spawn_local(async move { guard.ended().await });
        Ok(identity)
    }
}

/// Ends a guard that is not needed any more.
pub(super) fn end_guard(guard: &Identity) {
    let ended = Process::of_identity(guard)
        .and_then(|guard| guard.map_or(Ok(()), |guard| guard.send(Signal::Kill)));
    if let Err(error) = ended {
        tracing::warn!(pid = guard.pid, %error, "cannot end the guard of a pause");
    }
}

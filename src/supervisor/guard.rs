//! A process that lets a stopped node go on even if nobody else is left to.
//!
//! A node that is stopped by SIGSTOP cannot count its own time, and the supervisor may die before
//! the pause is over. So a timed pause has a guard: a process in a session of its own that holds
//! the node's pidfd, which names this one process for ever, and sends SIGCONT when it is time. It
//! ends with the node, or when the pause is healed earlier.
//!
//! A node that is to be slow is stopped and let go on ten times a second, by a guard too.

use std::io;
use std::process::Command;
use std::rc::Rc;
use std::time::Duration;

use super::daemon::Daemon;
use super::lifecycle::Signal;
use super::process::{Identity, Process};
use super::spawn::detached;
use crate::control::unix_millis;
use crate::types::NodeId;

/// A calendar that is set back or forward meanwhile is noticed within this time.
const LONGEST_NAP: Duration = Duration::from_secs(1);

/// For a guard to vanish after SIGKILL.
const END_PATIENCE: Duration = Duration::from_secs(1);

/// A round of being slow: for a part of it the node runs.
const ROUND: Duration = Duration::from_millis(100);

/// What the guard does: waits until `until_millis` (Unix time), and lets the process go on. With a
/// `share`, from 0 to 1, it lets it run for that part of the time until then.
pub fn guard(identity: &str, until_millis: Option<u64>, share: Option<f64>) -> io::Result<()> {
    let identity: Identity = serde_json::from_str(identity).map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let Some(process) = Process::of_identity(&identity)? else { return Ok(()) };
        let (runs, stands) = match share {
            Some(share) => (ROUND.mul_f64(share.clamp(0.0, 1.0)), Some(ROUND)),
            None => (LONGEST_NAP, None),
        };
        loop {
            let left = until_millis.map_or(u64::MAX, |until| until.saturating_sub(unix_millis()));
            if left == 0 {
                return process.send(Signal::Continue);
            }
            let nap = runs.min(Duration::from_millis(left));
            if stays(&process, nap).await? {
                return Ok(());
            }
            if let Some(round) = stands {
                process.send(Signal::Pause)?;
                let gone = stays(&process, round - runs).await?;
                process.send(Signal::Continue)?;
                if gone {
                    return Ok(());
                }
            }
        }
    })
}

/// Waits for so long, or for the end of the process; whether it has ended.
async fn stays(process: &Process, time: Duration) -> io::Result<bool> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(false),
        ended = process.ended() => ended.map(|_| true),
    }
}

impl Daemon {
    /// Starts a guard over `process`, of node `id`. See [`guard`].
    pub(super) fn start_guard(
        self: &Rc<Self>,
        id: NodeId,
        process: &Identity,
        until_millis: Option<u64>,
        share: Option<f64>,
    ) -> io::Result<Identity> {
        let mut command = Command::new(std::env::current_exe()?);
        let identity = serde_json::to_string(process).map_err(io::Error::other)?;
        command.args(["--guard", &identity]);
        if let Some(until) = until_millis {
            command.args(["--until", &until.to_string()]);
        }
        if let Some(share) = share {
            command.args(["--share", &share.to_string()]);
        }
        let child = detached(command, &self.directory.path().join("guard.stderr"))?;
        let guard = Process::of_child(child)?;
        let identity = guard.identity.clone();
        self.watch_guard(id, guard);
        Ok(identity)
    }

    /// Watches the guards that an earlier supervisor started.
    pub(super) fn watch_guards(self: &Rc<Self>) {
        let guards = self.inner.borrow().state.chaos.guards.clone();
        for guard in guards {
            match Process::of_identity(&guard.process) {
                Ok(Some(process)) => self.watch_guard(guard.node, process),
                Ok(None) => self.go_on(guard.node),
                Err(error) => tracing::error!(node = %guard.node, %error, "has lost its guard"),
            }
        }
    }

    /// Somebody has to hear of a guard's end: it would stay as a zombie; and if it was killed while
    /// the node that it slows stood still, the node must go on.
    fn watch_guard(self: &Rc<Self>, id: NodeId, guard: Process) {
        let this = self.clone();
        tokio::task::spawn_local(async move {
            if let Err(error) = guard.ended().await {
                tracing::error!(node = %id, %error, "cannot hear of the end of its guard");
            }
            this.go_on(id);
        });
    }

    /// Lets `id` go on if it is slowed down: a pause is ended by those who know of it.
    fn go_on(&self, id: NodeId) {
        let inner = self.inner.borrow();
        let process = inner.nodes.get(&id).and_then(|node| node.process.clone());
        drop(inner);
        if self.is_slowed(id)
            && let Some(Err(error)) = process.map(|process| process.send(Signal::Continue))
        {
            tracing::error!(node = %id, %error, "cannot let it go on");
        }
    }
}

/// Ends a guard that is not needed any more, and waits for its end: what it did last must not come
/// after what is done next.
pub(super) async fn end_guard(guard: &Identity) {
    let end = async {
        let Some(process) = Process::of_identity(guard)? else { return Ok(()) };
        process.send(Signal::Kill)?;
        stays(&process, END_PATIENCE).await.map(drop)
    };
    let ended: io::Result<()> = end.await;
    if let Err(error) = ended {
        tracing::warn!(pid = guard.pid, %error, "cannot end the guard of a node");
    }
}

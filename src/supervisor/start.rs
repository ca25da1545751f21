//! The life of one process: initialised once, started, found, and ended.
//!
//! # What can go wrong
//!
//! - *A wish overtakes a start.* `kvnode init` takes a moment, and meanwhile somebody says `stop`.
//!   Each start has a number, and does nothing once another wish was heard; and of one node only
//!   one start runs at a time.
//! - *A node is initialised twice.* An empty directory that voted once would vote again in the same
//!   term. So that it was initialised is on disk before its first run.

use std::process::Command;
use std::rc::Rc;
use std::time::Duration;
use std::{fs, io};

use super::daemon::Daemon;
use super::lifecycle::{EXIT_REFUSED, Exit, Reason};
use super::process::Process;
use super::spawn::{detached, last_lines_from, words_file};
use crate::control::State;
use crate::types::NodeId;

/// For `kvnode init`, which writes one small file.
const INIT_PATIENCE: Duration = Duration::from_secs(30);

impl Daemon {
    /// Begins to start `id`.
    pub(super) fn spawn(self: &Rc<Self>, id: NodeId, reason: Reason) {
        let start = {
            let mut inner = self.inner.borrow_mut();
            let Some(node) = inner.nodes.get_mut(&id) else { return };
            node.start += 1;
            node.start
        };
        let this = self.clone();
        tokio::task::spawn_local(async move { this.start(id, start, reason).await });
    }

    /// Whether the start numbered `start` is still what is wanted.
    fn is_wanted(&self, id: NodeId, start: u64) -> bool {
        let inner = self.inner.borrow();
        inner.nodes.get(&id).is_some_and(|node| {
            node.start == start
                && node.lifecycle.state() == State::Starting
                && !node.lifecycle.has_process()
        })
    }

    async fn start(self: Rc<Self>, id: NodeId, start: u64, reason: Reason) {
        let lock = self.inner.borrow().nodes.get(&id).map(|node| node.starting.clone());
        let Some(lock) = lock else { return };
        let _one_at_a_time = lock.lock().await;
        if !self.is_wanted(id, start) {
            return;
        }
        // Who the others are may have changed since its last life.
        let written = {
            let inner = self.inner.borrow();
            inner.state.write_node_config(&self.config, &self.directory, id)
        };
        if let Err(error) = written {
            tracing::warn!(node = %id, "{error}");
        }
        self.write_faults(id);
        if let Err((why, hopeless)) = self.initialise(id).await {
            self.note(id, |node, now| node.spawn_failed(now, &why, hopeless));
            return;
        }
        if !self.is_wanted(id, start) {
            return;
        }
        let place = self.directory.node(id);
        let mut command = Command::new(&self.kvnode);
        command.arg("run").arg("--config").arg(place.node_toml()).current_dir(place.path());
        let said = words_file(&place.stderr()).and_then(|file| Ok(file.metadata()?.len()));
        let spawned = detached(command, &place.stderr()).and_then(Process::of_child);
        match spawned {
            Ok(process) => self.started(id, Rc::new(process), reason, said.unwrap_or(0)),
            Err(error) => {
                let why = format!("cannot start {}: {error}", self.kvnode.display());
                let hopeless = matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                );
                self.note(id, |node, now| node.spawn_failed(now, &why, hopeless));
            }
        }
    }

    /// Runs `kvnode init`, once in a node's life. The error says whether it is final.
    async fn initialise(self: &Rc<Self>, id: NodeId) -> Result<(), (String, bool)> {
        if self.inner.borrow().state.nodes.get(&id).is_some_and(|record| record.initialised) {
            return Ok(());
        }
        let place = self.directory.node(id);
        let joins = self.inner.borrow().state.nodes.get(&id).is_some_and(|record| !record.founder);
        // An earlier supervisor may have died between creating the log and writing that down. The
        // log knows whose it is, and the node checks it.
        let has_log = fs::read_dir(place.log_directory()).is_ok_and(|mut it| {
            it.any(|entry| {
                entry.is_ok_and(|entry| entry.path().extension() == Some("seg".as_ref()))
            })
        });
        if !has_log {
            let mut command = tokio::process::Command::new(&self.kvnode);
            command.arg("init").arg("--config").arg(place.node_toml());
            match joins {
                true => command.arg("--join"),
                false => command.arg("--initial").arg(self.directory.members_toml()),
            };
            command.stdin(std::process::Stdio::null()).kill_on_drop(true);
            let output = tokio::time::timeout(INIT_PATIENCE, command.output()).await;
            let failed = |why: String| format!("cannot initialise its data directory: {why}");
            match output {
                Err(_) => return Err((failed(format!("no end within {INIT_PATIENCE:?}")), false)),
                Ok(Err(error)) => {
                    let program = self.kvnode.display();
                    return Err((failed(format!("cannot start {program}: {error}")), true));
                }
                Ok(Ok(output)) if !output.status.success() => {
                    let words = String::from_utf8_lossy(&output.stderr);
                    let hopeless = matches!(output.status.code(), Some(2 | EXIT_REFUSED));
                    return Err((failed(format!("{}: {}", output.status, words.trim())), hopeless));
                }
                Ok(Ok(_)) => {}
            }
        }
        if let Some(record) = self.inner.borrow_mut().state.nodes.get_mut(&id) {
            record.initialised = true;
        }
        self.touch();
        // Before its first run: were this forgotten, an empty directory could be initialised again
        // later, and the node would vote twice in a term.
        self.is_saved().await;
        Ok(())
    }

    /// A process of `node` runs, spawned by us.
    fn started(self: &Rc<Self>, id: NodeId, process: Rc<Process>, reason: Reason, said: u64) {
        let pid = process.pid();
        self.inner.borrow_mut().state.chaos.starts += 1;
        self.take(id, process.clone(), false, said);
        self.harm_again(id, &process);
        self.metrics.started(id, reason);
        self.note(id, |node, _| node.spawned(pid, reason));
    }

    /// A process of `node` was found running.
    pub(super) fn adopt(self: &Rc<Self>, id: NodeId, process: Process) {
        let paused = process.is_paused() && !self.is_slowed(id);
        let said = fs::metadata(self.directory.node(id).stderr()).map_or(0, |it| it.len());
        self.take(id, Rc::new(process), true, said);
        if let Some(record) = self.inner.borrow_mut().state.nodes.get_mut(&id) {
            record.initialised = true;
        }
        self.note(id, |node, _| node.adopted(paused));
    }

    fn take(self: &Rc<Self>, id: NodeId, process: Rc<Process>, adopted: bool, said: u64) {
        let now = self.now();
        if let Some(node) = self.inner.borrow_mut().nodes.get_mut(&id) {
            node.process = Some(process.clone());
            node.report = None;
            node.answered = now;
            node.adopted = adopted;
        }
        let this = self.clone();
        tokio::task::spawn_local(async move {
            let exit = process.ended().await.unwrap_or_else(|error| {
                tracing::error!(node = %id, %error, "cannot hear of the end of its process");
                Exit::Unknown
            });
            this.exited(id, exit, said);
        });
    }

    fn exited(self: &Rc<Self>, id: NodeId, exit: Exit, said: u64) {
        if let Some(node) = self.inner.borrow_mut().nodes.get_mut(&id) {
            node.process = None;
            node.report = None;
        }
        self.spend_faults(id);
        let place = self.directory.node(id);
        let mut words = last_lines_from(&place.stderr(), said, 3);
        if words.is_empty() {
            words = last_lines_from(&place.log_file(), 0, 3);
        }
        self.note(id, |node, now| node.exited(now, exit, &words));
        self.judge_leader();
    }

    /// Waits until no node is in the middle of being started.
    pub(super) async fn no_start_under_way(&self) {
        let locks: Vec<_> =
            self.inner.borrow().nodes.values().map(|node| node.starting.clone()).collect();
        for lock in locks {
            drop(lock.lock().await);
        }
    }
}

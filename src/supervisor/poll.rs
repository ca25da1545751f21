//! Asking each node how it is.
//!
//! That a process lives says little: it may be stuck, stopped, or busy with a long recovery. So
//! each node is asked for its status, over one connection that is kept, a few times a second; much
//! more often while the cluster is unsettled, because somebody waits for it then, and in slow
//! motion, because somebody looks.
//!
//! # What can go wrong
//!
//! - *A paused process keeps its sockets.* Connecting succeeds, and no answer comes: each question
//!   has a deadline, and after one that passed a new connection is made.
//! - *An answer from before a pause arrives after it.* It must not be taken for the end of the
//!   pause: while a node is paused only the answer to a question that was asked while paused
//!   counts, and that is asked only when the process is seen to run.

use std::rc::Rc;
use std::time::Duration;

use super::daemon::Daemon;
use super::process::Identity;
use crate::config::Address;
use crate::control::{NodeClient, NodeStatus, Role, State, unix_millis};
use crate::types::NodeId;

/// Between two questions, when all is well.
const CALM: Duration = Duration::from_millis(250);

/// The same in slow motion. At 20x a message takes five times as long, and no step is missed.
const WATCHFUL: Duration = Duration::from_millis(40);

/// Between two questions, when something has changed or is missing.
const EAGER: Duration = Duration::from_millis(10);

/// For how long after the last change one is eager, even if something is still missing.
const EAGER_FOR: Duration = Duration::from_secs(10);

/// For one answer.
const PATIENCE: Duration = Duration::from_secs(1);

impl Daemon {
    /// Keeps asking `node` from now on, until it is removed.
    pub(super) fn begin_asking(self: &Rc<Self>, id: NodeId) {
        tokio::task::spawn_local(self.clone().keep_asking(id));
    }

    async fn keep_asking(self: Rc<Self>, id: NodeId) {
        let mut changes = self.changes();
        let mut line: Option<(Identity, NodeClient)> = None;
        let calm = if self.config.timings.slow.is_real_time() { CALM } else { WATCHFUL };
        loop {
            changes.borrow_and_update();
            let asked = match self.inner.borrow().nodes.get(&id) {
                None => return,
                Some(node) => node.process.clone().map(|it| (it, node.lifecycle.state())),
            };
            let Some((process, state)) = asked else {
                line = None;
                if changes.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if state != State::Paused || !process.is_paused() {
                line = line.filter(|(of, client)| *of == process.identity && !client.is_closed());
                match self.ask(id, line.take().map(|(_, client)| client)).await {
                    Ok((client, status)) => {
                        line = Some((process.identity.clone(), client));
                        self.answered(id, &process.identity, status, state);
                    }
                    Err(error) => {
                        tracing::debug!(node = %id, %error, "no status");
                        let paused = process.is_paused() && !self.is_slowed(id);
                        self.unanswered(id, paused);
                    }
                }
            }
            // A change of any node's state ends the calm, though not between two questions in a
            // hurry: the node that changes state would be asked in a tight loop.
            tokio::time::sleep(EAGER).await;
            if !self.is_unsettled() {
                let _ = tokio::time::timeout(calm - EAGER, changes.changed()).await;
            }
        }
    }

    async fn ask(
        &self,
        id: NodeId,
        client: Option<NodeClient>,
    ) -> Result<(NodeClient, NodeStatus), crate::control::ControlError> {
        let client = match client {
            Some(client) => client,
            None => {
                let address = Address::Unix(self.directory.node(id).socket("control"));
                NodeClient::connect(id, &address).await?
            }
        };
        let status = client.status(PATIENCE).await?;
        Ok((client, status))
    }

    fn answered(self: &Rc<Self>, id: NodeId, of: &Identity, status: NodeStatus, asked_in: State) {
        let now = self.now();
        let leads = (status.role == Role::Leader).then(|| status.clone());
        let fits = {
            let mut inner = self.inner.borrow_mut();
            let Some(node) = inner.nodes.get_mut(&id) else { return };
            let same = node.process.as_ref().is_some_and(|process| process.identity == *of);
            let state = node.lifecycle.state();
            let fits = same && (state != State::Paused || asked_in == State::Paused);
            if fits {
                node.answered = now;
                node.report = Some((status, unix_millis()));
            }
            fits
        };
        if fits {
            self.note(id, |node, _| node.answered());
            self.remind_of_faults(id);
            self.judge_leader();
            self.look();
            if let Some(leader) = leads {
                self.look_for_the_removed(&leader);
            }
        }
    }

    fn unanswered(self: &Rc<Self>, id: NodeId, paused: bool) {
        let patience = Duration::from_millis(self.config.supervisor.unresponsive_after_millis);
        let silence = {
            let inner = self.inner.borrow();
            inner.nodes.get(&id).map_or(Duration::ZERO, |node| self.now().since(node.answered))
        };
        if paused {
            self.note(id, |node, _| node.seen_paused());
            self.judge_leader();
        } else if silence > patience {
            self.note(id, |node, _| node.silent(patience));
        }
    }

    /// Whether somebody may be waiting for a change.
    fn is_unsettled(&self) -> bool {
        let lately = {
            let inner = self.inner.borrow();
            self.now().since(inner.unsettled) < EAGER_FOR
        };
        lately && !self.is_ready()
    }
}

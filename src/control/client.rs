//! The asking side: one conversation with a node, and one with a supervisor.
//!
//! Every call has a deadline, because the other process may be paused, and a paused process keeps
//! its sockets open and says nothing for ever. Whoever gets [`ControlError::Timeout`] or
//! [`ControlError::Broken`] does not know whether the call was carried out.

use std::future::Future;
use std::time::Duration;

use super::convert::{ControlError, Refusal};
use super::orders::wire_millis;
use super::types::{Action, ClusterStatus, Event, Handover, NodeStatus, Stopped, Taken};
use crate::config::Address;
use crate::rpc::{Connection, Limits, connect};
use crate::schema::control_capnp as schema;
use crate::types::{NodeId, Term};

/// For what is answered at once.
pub(super) const SHORT: Duration = Duration::from_secs(5);

/// For an action: a stop takes up to its grace (at most [`MAX_GRACE`]), and a start a while.
pub(super) const ACTION: Duration = Duration::from_secs(75);

/// The longest time between SIGTERM and SIGKILL that can be asked for.
pub const MAX_GRACE: Duration = Duration::from_secs(60);

/// The conversation with one node. Lives on a `LocalSet`; ends when dropped.
#[derive(Debug)]
pub struct NodeClient {
    conversation: Conversation<schema::node::Client>,
}

/// The conversation with a supervisor. Lives on a `LocalSet`; ends when dropped.
#[derive(Debug)]
pub struct SupervisorClient {
    conversation: Conversation<schema::supervisor::Client>,
}

struct Conversation<C> {
    who: String,
    client: C,
    connection: Connection,
}

impl<C> std::fmt::Debug for Conversation<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "conversation with {}", self.who)
    }
}

impl<C: capnp::capability::FromClientHook> Conversation<C> {
    async fn open(who: &str, address: &Address) -> Result<Conversation<C>, ControlError> {
        let who = format!("{who} at {address}");
        match tokio::time::timeout(SHORT, connect(address)).await {
            Ok(Ok(stream)) => {
                let (client, connection) = Connection::open(stream, Limits::default());
                Ok(Conversation { who, client, connection })
            }
            Ok(Err(error)) => Err(ControlError::Unreachable { who, why: error.source.to_string() }),
            Err(_) => Err(ControlError::Timeout { who, millis: SHORT.as_millis() }),
        }
    }

    /// Waits for `call`, as long as its deadline allows.
    async fn call<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<T, capnp::Error>>,
    ) -> Result<T, ControlError> {
        match tokio::time::timeout(deadline, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(ControlError::Broken { who: self.who.clone(), why: error.extra }),
            Err(_) => {
                Err(ControlError::Timeout { who: self.who.clone(), millis: deadline.as_millis() })
            }
        }
    }
}

/// `refused` in an answer: empty when it was done.
pub(super) fn refused(text: capnp::Result<capnp::text::Reader<'_>>) -> Result<(), ControlError> {
    let wrong = ControlError::malformed("refused");
    let text = text.map_err(&wrong)?.to_str().map_err(|error| wrong(error.into()))?;
    match text.is_empty() {
        true => Ok(()),
        false => Err(ControlError::Refused(text.to_owned().into())),
    }
}

/// The same, where `yes` may have changed the answer.
pub(super) fn guarded(
    text: capnp::Result<capnp::text::Reader<'_>>,
    guarded: bool,
) -> Result<(), ControlError> {
    refused(text).map_err(|error| match error {
        ControlError::Refused(refusal) => ControlError::Refused(Refusal { guarded, ..refusal }),
        other => other,
    })
}

/// `refused` and `unfinished` in an answer: both empty when it was done.
fn unfinished(
    refusal: capnp::Result<capnp::text::Reader<'_>>,
    missing: capnp::Result<capnp::text::Reader<'_>>,
) -> Result<(), ControlError> {
    refused(refusal)?;
    match refused(missing) {
        Err(ControlError::Refused(missing)) => Err(ControlError::Unfinished(missing.why)),
        other => other,
    }
}

/// The supervisor's answer may come so much later than the time that it was given is over.
const LATE: Duration = Duration::from_secs(10);

impl NodeClient {
    pub(super) fn client(&self) -> &schema::node::Client {
        &self.conversation.client
    }

    pub(super) async fn call<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<T, capnp::Error>>,
    ) -> Result<T, ControlError> {
        self.conversation.call(deadline, call).await
    }

    /// Connects to the control socket of `node`.
    pub async fn connect(node: NodeId, address: &Address) -> Result<NodeClient, ControlError> {
        let conversation = Conversation::open(&format!("node {node}"), address).await?;
        Ok(NodeClient { conversation })
    }

    /// What the node says of itself.
    pub async fn status(&self, deadline: Duration) -> Result<NodeStatus, ControlError> {
        let request = self.conversation.client.status_request();
        let response = self.conversation.call(deadline, request.send().promise).await?;
        let wrong = ControlError::malformed("status");
        NodeStatus::read(response.get().map_err(&wrong)?.get_status().map_err(&wrong)?)
    }

    /// Asks it to stop gracefully; returns when it takes no new request.
    pub async fn shutdown(&self, deadline: Duration) -> Result<(), ControlError> {
        let request = self.conversation.client.shutdown_request();
        self.conversation.call(deadline, request.send().promise).await?;
        Ok(())
    }

    /// Puts a list of faults in force: the text of `faults.json`.
    pub async fn set_faults(&self, table: &str, deadline: Duration) -> Result<(), ControlError> {
        let mut request = self.conversation.client.set_faults_request();
        request.get().set_table(table);
        let response = self.conversation.call(deadline, request.send().promise).await?;
        refused(response.get().map_err(ControlError::malformed("setFaults"))?.get_refused())
    }

    /// Whether the conversation is over.
    pub fn is_closed(&self) -> bool {
        self.conversation.connection.is_closed()
    }
}

impl SupervisorClient {
    pub(super) fn supervisor(&self) -> &schema::supervisor::Client {
        &self.conversation.client
    }

    pub(super) async fn call<T>(
        &self,
        deadline: Duration,
        call: impl Future<Output = Result<T, capnp::Error>>,
    ) -> Result<T, ControlError> {
        self.conversation.call(deadline, call).await
    }

    /// Connects to the supervisor's socket at `address`.
    pub async fn connect(address: &Address) -> Result<SupervisorClient, ControlError> {
        let conversation = Conversation::open("the supervisor", address).await?;
        Ok(SupervisorClient { conversation })
    }

    /// What it knows of its cluster.
    pub async fn status(&self) -> Result<ClusterStatus, ControlError> {
        let request = self.conversation.client.status_request();
        let response = self.conversation.call(SHORT, request.send().promise).await?;
        let wrong = ControlError::malformed("status");
        ClusterStatus::read(response.get().map_err(&wrong)?.get_status().map_err(&wrong)?)
    }

    /// Does `action` to `node` (`None`: to the leader) and returns, once it is done, the node it
    /// was done to. `yes`: even if it takes away the quorum of a protected cluster.
    pub async fn act(
        &self,
        node: Option<NodeId>,
        action: Action,
        yes: bool,
    ) -> Result<NodeId, ControlError> {
        let mut request = self.conversation.client.act_request();
        request.get().set_node(node.map_or(0, |node| node.0));
        request.get().set_action(action.into());
        request.get().set_yes(yes);
        let response = self.conversation.call(ACTION, request.send().promise).await?;
        let answer = response.get().map_err(ControlError::malformed("act"))?;
        guarded(answer.get_refused(), answer.get_guarded())?;
        Ok(NodeId(answer.get_node()))
    }

    /// Stops every node and then the supervisor; `grace` lies between SIGTERM and SIGKILL, `None`:
    /// as the cluster's configuration says.
    pub async fn down(&self, grace: Option<Duration>) -> Result<Vec<Stopped>, ControlError> {
        let grace = grace.map(|grace| grace.clamp(Duration::from_millis(1), MAX_GRACE));
        let mut request = self.conversation.client.down_request();
        request.get().set_grace_millis(grace.map_or(0, |grace| grace.as_millis() as u32));
        // Followers and leader each get the grace, one after the other.
        let deadline = 2 * grace.unwrap_or(MAX_GRACE) + Duration::from_secs(15);
        let response = self.conversation.call(deadline, request.send().promise).await?;
        let wrong = ControlError::malformed("down");
        let answer = response.get().map_err(&wrong)?;
        refused(answer.get_refused())?;
        answer.get_stopped().map_err(&wrong)?.iter().map(Stopped::read).collect()
    }

    /// The first `limit` events after the sequence `after`, or, if `after` is 0, the newest. If
    /// there is none, waits up to `wait` for one.
    pub async fn events(
        &self,
        after: u64,
        limit: u32,
        wait: Duration,
    ) -> Result<Vec<Event>, ControlError> {
        let mut request = self.conversation.client.events_request();
        request.get().set_after(after);
        request.get().set_limit(limit);
        request.get().set_wait_millis(u32::try_from(wait.as_millis()).unwrap_or(u32::MAX));
        let deadline = SHORT.saturating_add(wait);
        let response = self.conversation.call(deadline, request.send().promise).await?;
        let wrong = ControlError::malformed("events");
        let answer = response.get().map_err(&wrong)?;
        answer.get_events().map_err(&wrong)?.iter().map(Event::read).collect()
    }

    /// Whether the conversation is over.
    pub fn is_closed(&self) -> bool {
        self.conversation.connection.is_closed()
    }

    /// Adds a node to the cluster: a new one, or `node`, whose joining is not finished. It becomes
    /// a voter once it has caught up, unless it is to stay a learner. Returns its number.
    pub async fn member_add(
        &self,
        node: Option<NodeId>,
        learner: bool,
        timeout: Duration,
    ) -> Result<NodeId, ControlError> {
        let mut request = self.conversation.client.member_add_request();
        request.get().set_node(node.map_or(0, |node| node.0));
        request.get().set_learner(learner);
        request.get().set_timeout_millis(wire_millis(timeout));
        let response = self.conversation.call(timeout + LATE, request.send().promise).await?;
        let answer = response.get().map_err(ControlError::malformed("memberAdd"))?;
        unfinished(answer.get_refused(), answer.get_unfinished())?;
        Ok(NodeId(answer.get_node()))
    }

    /// Gives a learner a vote, once it has caught up.
    pub async fn member_promote(
        &self,
        node: NodeId,
        timeout: Duration,
    ) -> Result<(), ControlError> {
        let mut request = self.conversation.client.member_promote_request();
        request.get().set_node(node.0);
        request.get().set_timeout_millis(wire_millis(timeout));
        let response = self.conversation.call(timeout + LATE, request.send().promise).await?;
        let answer = response.get().map_err(ControlError::malformed("memberPromote"))?;
        unfinished(answer.get_refused(), answer.get_unfinished())
    }

    /// Removes a node from the cluster and ends its process; with `purge`, its data goes too.
    pub async fn member_remove(
        &self,
        node: NodeId,
        purge: bool,
        timeout: Duration,
    ) -> Result<(), ControlError> {
        let mut request = self.conversation.client.member_remove_request();
        request.get().set_node(node.0);
        request.get().set_purge(purge);
        request.get().set_timeout_millis(wire_millis(timeout));
        let response = self.conversation.call(timeout + LATE, request.send().promise).await?;
        let answer = response.get().map_err(ControlError::malformed("memberRemove"))?;
        unfinished(answer.get_refused(), answer.get_unfinished())
    }

    /// Hands the leadership to `to`, or to whoever is furthest.
    pub async fn transfer(
        &self,
        to: Option<NodeId>,
        timeout: Duration,
    ) -> Result<Handover, ControlError> {
        let mut request = self.conversation.client.transfer_request();
        request.get().set_to(to.map_or(0, |node| node.0));
        request.get().set_timeout_millis(wire_millis(timeout));
        let response = self.conversation.call(timeout + LATE, request.send().promise).await?;
        let wrong = ControlError::malformed("transfer");
        let answer = response.get().map_err(&wrong)?;
        unfinished(answer.get_refused(), answer.get_unfinished())?;
        let handover = answer.get_handover().map_err(&wrong)?;
        Ok(Handover {
            from: NodeId(handover.get_from()),
            to: NodeId(handover.get_to()),
            term: Term(handover.get_term()),
            took_millis: handover.get_took_millis(),
        })
    }

    /// Has snapshots taken: by `node`, or by every node that runs.
    pub async fn take_snapshot(
        &self,
        node: Option<NodeId>,
        timeout: Duration,
    ) -> Result<Vec<Taken>, ControlError> {
        let mut request = self.conversation.client.take_snapshot_request();
        request.get().set_node(node.map_or(0, |node| node.0));
        request.get().set_timeout_millis(wire_millis(timeout));
        let response = self.conversation.call(timeout + LATE, request.send().promise).await?;
        let wrong = ControlError::malformed("takeSnapshot");
        let answer = response.get().map_err(&wrong)?;
        unfinished(answer.get_refused(), answer.get_unfinished())?;
        answer.get_taken().map_err(&wrong)?.iter().map(Taken::read).collect()
    }
}

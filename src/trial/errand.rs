//! What an operator of a scenario does, who asks again until it is done.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep};

use crate::config::Address;
use crate::control::{Action, ControlError, SupervisorClient};
use crate::types::NodeId;

/// Before it is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// An order, with all roles looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// To each of these, at the same time.
    Act {
        nodes: Vec<NodeId>,
        action: Action,
    },
    Transfer {
        from: Option<NodeId>,
        to: Option<NodeId>,
    },
    Add {
        learner: bool,
    },
    Promote {
        node: NodeId,
    },
    Remove {
        node: NodeId,
    },
    Snapshot,
}

/// Carries it out, until `end`; what came of it, in words.
pub async fn carry_out(mut errand: Errand, supervisor: Address, end: Instant) -> String {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match once(&mut errand, &supervisor, left.max(ASK_AGAIN)).await {
            Ok(done) => return done,
            Err(ControlError::Refused(_)) if left > ASK_AGAIN => sleep(ASK_AGAIN).await,
            Err(error) => return format!("not done: {error}"),
        }
    }
}

/// What is done of it is not asked for again.
async fn once(
    errand: &mut Errand,
    supervisor: &Address,
    patience: Duration,
) -> Result<String, ControlError> {
    let client = SupervisorClient::connect(supervisor).await?;
    match errand {
        Errand::Act { nodes, action } => {
            if *action == Action::Kill {
                // Who has no process is as dead as it can be.
                let status = client.status().await?;
                nodes.retain(|node| status.node(*node).is_some_and(|state| state.pid.is_some()));
            }
            let all = nodes.iter().map(|node| client.act(Some(*node), *action, true));
            let done = join_all(all).await;
            let is_done: Vec<bool> = done.iter().map(Result::is_ok).collect();
            let mut is_done = is_done.into_iter();
            nodes.retain(|_| !is_done.next().unwrap_or(false));
            done.into_iter().collect::<Result<Vec<_>, _>>()?;
            Ok("done".to_owned())
        }
        Errand::Transfer { from, to } => {
            let leader = client.status().await?.leader;
            let is_done = if to.is_some() { leader == *to } else { leader != *from };
            if let (true, Some(leader)) = (is_done, leader) {
                return Ok(format!("node {leader} leads"));
            }
            let done = client.transfer(*to, patience).await?;
            Ok(format!(
                "node {} leads in term {}, after {} ms",
                done.to, done.term, done.took_millis
            ))
        }
        Errand::Add { learner } => {
            let node = client.member_add(None, *learner, patience).await?;
            Ok(format!("node {node} is a member"))
        }
        Errand::Promote { node } => {
            client.member_promote(*node, patience).await?;
            Ok(format!("node {node} votes"))
        }
        Errand::Remove { node } => {
            client.member_remove(*node, false, patience).await?;
            Ok(format!("node {node} is gone"))
        }
        Errand::Snapshot => {
            let taken = client.take_snapshot(None, patience).await?;
            Ok(format!("{} nodes have taken one", taken.len()))
        }
    }
}

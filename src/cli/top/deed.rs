//! What can be done from the screen.

use std::time::Duration;

use crate::chaos::{Injection, LinkWish, Links, Who, Wish};
use crate::cli::{Global, cluster};
use crate::control::{Action, ControlError, SupervisorClient};
use crate::link::Policy;
use crate::types::NodeId;

/// For a handover.
const TRANSFER_TIMEOUT: Duration = Duration::from_secs(20);

/// Something to do to a node, or to all.
#[derive(Clone, Debug, PartialEq)]
pub struct Deed {
    pub what: What,
    /// Even if it takes away the quorum of a protected cluster.
    pub yes: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum What {
    Act(NodeId, Action),
    Isolate(NodeId),
    /// Its links, both ways.
    Delay(NodeId, Duration),
    Lose(NodeId, f64),
    Transfer(NodeId),
    HealAll,
}

impl std::fmt::Display for What {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            What::Act(node, action) => write!(f, "{} node {node}", action.as_str()),
            What::Isolate(node) => write!(f, "isolate node {node}"),
            What::Delay(node, delay) => write!(f, "delay node {node}'s links by {delay:?}"),
            What::Lose(node, share) => {
                write!(f, "lose {:.0} % on node {node}'s links", share * 100.0)
            }
            What::Transfer(node) => write!(f, "hand the leadership to node {node}"),
            What::HealAll => f.write_str("heal everything"),
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    Done(String),
    /// It was not done, for this reason.
    Refused(String),
    /// A guard stands before it; this would be let past.
    Guarded(String, Deed),
}

/// Does it.
pub async fn perform(global: &Global, deed: Deed) -> Said {
    let supervisor = match cluster::supervisor(global).await {
        Ok(supervisor) => supervisor,
        Err(failure) => return Said::Refused(format!("{}: {}", deed.what, failure.message)),
    };
    match carry_out(&supervisor, &deed).await {
        Ok(words) => Said::Done(words),
        Err(error) => {
            let why = format!("{}: {error}", deed.what);
            match error {
                ControlError::Refused(it) if it.guarded => {
                    Said::Guarded(why, Deed { yes: true, ..deed })
                }
                _ => Said::Refused(why),
            }
        }
    }
}

async fn carry_out(supervisor: &SupervisorClient, deed: &Deed) -> Result<String, ControlError> {
    let what = &deed.what;
    let wish = match what {
        What::Act(node, action) => {
            supervisor.act(Some(*node), *action, deed.yes).await?;
            return Ok(format!("done: {what}"));
        }
        What::Transfer(node) => {
            let handover = supervisor.transfer(Some(*node), TRANSFER_TIMEOUT).await?;
            return Ok(format!("node {} leads in term {}", handover.to, handover.term));
        }
        What::HealAll => {
            let healed = supervisor.heal(&[]).await?.healed;
            let words: Vec<_> = healed.iter().map(|it| format!("{}: {it}", it.what)).collect();
            return Ok(match words.is_empty() {
                true => "no fault was in force".to_owned(),
                false => format!("healed {}", words.join("; ")),
            });
        }
        What::Isolate(node) => Wish::Isolate { nodes: vec![Who::Node(*node)] },
        What::Delay(node, delay) => links(*node, Policy { delay: *delay, ..Policy::default() }),
        What::Lose(node, loss) => {
            links(*node, Policy { loss: *loss, loss_burst: 1.0, ..Policy::default() })
        }
    };
    let by = "top".to_owned();
    let injection = Injection { wish, flap: None, duration_millis: None, by, blind: false };
    let begun = supervisor.inject(&injection, deed.yes).await?;
    let warning = begun.warning.map_or(String::new(), |warning| format!("; {warning}"));
    Ok(format!("fault {}: {}{warning}", begun.fault.id, begun.fault))
}

/// All links of a node, both ways.
fn links(node: NodeId, policy: Policy) -> Wish {
    let wish = LinkWish { from: Who::Node(node), to: Who::All, both: true };
    Wish::Link { links: Links::These(vec![wish]), policy }
}

//! Faults on purpose, as the supervisor is asked for them.

use serde::{Deserialize, Serialize};

use super::client::{ACTION, SHORT, SupervisorClient, guarded, refused};
use super::convert::ControlError;
use crate::chaos::{Fault, FaultId, Healed, Injection};
use crate::types::NodeId;

/// A fault that has begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Injected {
    pub fault: Fault,
    /// What whoever asked should know.
    pub warning: Option<String>,
    /// Nodes that live and do not answer: they get it when they do.
    pub unheard: Vec<NodeId>,
}

/// What `heal` ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    pub healed: Vec<Healed>,
    /// Nodes that live and do not answer: for them it ends when they do.
    pub unheard: Vec<NodeId>,
}

type Words<'a> = capnp::Result<capnp::text::Reader<'a>>;

pub(super) fn json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: Words,
) -> Result<T, ControlError> {
    let wrong = ControlError::malformed(what);
    let text = text.map_err(&wrong)?.to_str().map_err(|error| wrong(error.into()))?;
    serde_json::from_str(text).map_err(|error| wrong(capnp::Error::failed(error.to_string())))
}

fn nodes(
    list: capnp::Result<capnp::primitive_list::Reader<'_, u64>>,
) -> Result<Vec<NodeId>, ControlError> {
    Ok(list.map_err(ControlError::malformed("unheard"))?.iter().map(NodeId).collect())
}

impl SupervisorClient {
    /// Begins a fault; returns when every node that answers has it. `yes`: even if it takes away
    /// the quorum of a protected cluster.
    pub async fn inject(&self, injection: &Injection, yes: bool) -> Result<Injected, ControlError> {
        let mut request = self.supervisor().inject_request();
        request.get().set_injection(serde_json::to_string(injection).unwrap_or_default().as_str());
        request.get().set_yes(yes);
        let response = self.call(ACTION, request.send().promise).await?;
        let wrong = ControlError::malformed("inject");
        let answer = response.get().map_err(&wrong)?;
        guarded(answer.get_refused(), answer.get_guarded())?;
        let warning = answer.get_warning().map_err(&wrong)?.to_string().unwrap_or_default();
        Ok(Injected {
            fault: json("fault", answer.get_fault())?,
            warning: Some(warning).filter(|warning| !warning.is_empty()),
            unheard: nodes(answer.get_unheard())?,
        })
    }

    /// Ends the faults of these numbers, or all.
    pub async fn heal(&self, ids: &[FaultId]) -> Result<Receipt, ControlError> {
        let mut request = self.supervisor().heal_request();
        let mut list = request.get().init_faults(ids.len() as u32);
        for (at, id) in (0..).zip(ids) {
            list.set(at, id.0);
        }
        let response = self.call(ACTION, request.send().promise).await?;
        let answer = response.get().map_err(ControlError::malformed("heal"))?;
        refused(answer.get_refused())?;
        let (healed, unheard) = (answer.get_healed(), nodes(answer.get_unheard())?);
        Ok(Receipt { healed: json("healed", healed)?, unheard })
    }

    /// The faults in force.
    pub async fn faults(&self) -> Result<Vec<Fault>, ControlError> {
        let request = self.supervisor().faults_request();
        let response = self.call(SHORT, request.send().promise).await?;
        let answer = response.get().map_err(ControlError::malformed("faults"))?;
        json("faults", answer.get_faults())
    }
}

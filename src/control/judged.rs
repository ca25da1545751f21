//! What a trial found, as it is told to the supervisor of the cluster that was tried.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::client::{SHORT, SupervisorClient, refused};
use super::convert::ControlError;

/// The end of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Judged {
    /// `valid`, `violation` or `unknown`.
    pub verdict: String,
    pub seed: u64,
    pub operations: u64,
    /// What did not hold, and how many keys, locks and so on it did not hold for.
    #[serde(default)]
    pub violations: BTreeMap<String, u64>,
}

impl SupervisorClient {
    /// Tells it how a trial of its cluster ended.
    pub async fn judged(&self, judged: &Judged) -> Result<(), ControlError> {
        let mut request = self.supervisor().judged_request();
        request.get().set_verdict(serde_json::to_string(judged).unwrap_or_default().as_str());
        let response = self.call(SHORT, request.send().promise).await?;
        refused(response.get().map_err(ControlError::malformed("judged"))?.get_refused())
    }
}

//! Prometheus and Grafana beside a cluster, as its supervisor is asked for them.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::client::{SupervisorClient, refused};
use super::convert::ControlError;
use super::faults::json;

/// For a program to be stopped and another one to be ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Over what time rates are taken, and for how long something must be so before it is an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Windows {
    /// Minutes: for whoever is on call
    #[default]
    Usual,
    /// Seconds in the place of minutes: for rehearsals
    Short,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OpsOrder {
    /// Both programs are to run from now on, whenever the cluster does.
    Up { prometheus: PathBuf, grafana: Option<PathBuf>, windows: Windows },
    /// Neither is. What they have stored stays.
    Down,
    /// Nothing is to change.
    Look,
}

/// What stands beside the cluster; empty: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpsStatus {
    pub windows: Windows,
    pub side_cars: Vec<SideCarStatus>,
    /// Dashboards, ready to be imported.
    pub dashboards: PathBuf,
}

/// One program beside the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SideCarStatus {
    /// `prometheus` or `grafana`.
    pub name: String,
    pub state: SideCarState,
    /// Where its page is.
    pub address: SocketAddr,
    pub pid: Option<u32>,
    pub restarts: u32,
    /// Why it does not run.
    pub problem: Option<String>,
    pub log: PathBuf,
}

/// Whether it serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SideCarState {
    /// It runs, and does not answer yet.
    Starting,
    Running,
    /// It ended, and is tried again after a while.
    BackingOff,
    /// The cluster is going down, or it is on its way out.
    Stopping,
}

impl SideCarState {
    pub fn as_str(self) -> &'static str {
        match self {
            SideCarState::Starting => "starting",
            SideCarState::Running => "running",
            SideCarState::BackingOff => "backing-off",
            SideCarState::Stopping => "stopping",
        }
    }
}

impl SupervisorClient {
    /// Carries out `order`, and says how things stand then: what is to run answers by then, or
    /// there is a problem.
    pub async fn ops(&self, order: &OpsOrder) -> Result<OpsStatus, ControlError> {
        let mut request = self.supervisor().ops_request();
        request.get().set_order(serde_json::to_string(order).unwrap_or_default().as_str());
        let response = self.call(PATIENCE, request.send().promise).await?;
        let answer = response.get().map_err(ControlError::malformed("ops"))?;
        refused(answer.get_refused())?;
        json("ops", answer.get_status())
    }
}
